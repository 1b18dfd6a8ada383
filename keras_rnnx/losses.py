"""Losses and metrics of sequences, in which only the valid steps count.

Keras says in two ways which steps of predictions are valid: by the mask that they carry when their model passes masks
on, and by a `sample_weight` that is zero at the others. Both are read here. A loss that leaves out steps by itself
(`ignore_class`) says so by a mask on its values, which is read too.
"""

import itertools
import math

import keras
from keras import ops

from keras_rnnx import arguments
from keras_rnnx.engine import masks
from keras_rnnx.engine.gates import at_least_single

__all__ = ["BitsPerCharacter", "Perplexity", "QuantileLoss", "SequenceLoss"]

OVER_TIME = ("sum", "mean", None)
OVER_BATCH = ("mean", "steps", "sum", None)


class CarriedMask(keras.layers.Layer):
    """The mask (B, T) that a tensor carries: Keras hands it to a layer that is called on the tensor."""

    def call(self, inputs, mask=None):
        """The mask; True everywhere where there is none."""
        return ops.ones(ops.shape(inputs)[:2], "bool") if mask is None else masks.checked("mask", mask, inputs.shape)

    def compute_mask(self, inputs, previous_mask):
        """None: the result is no sequence of its own."""
        return None


class StepLosses:
    """The loss of each step of a batch of sequences.

    What stands at steps that are not valid reaches neither the values nor a gradient, be it infinite or a label that
    does not exist.

    Args:
        loss: see `SequenceLoss`.
    """

    def __init__(self, loss):
        self.loss = None if loss is None else keras.losses.get(loss)
        if self.loss is None:
            raise ValueError("Expected `loss` to be a Keras loss or a function. Received: loss=None")
        self._function = self.loss.call if isinstance(self.loss, keras.losses.Loss) else self.loss
        self._carried = CarriedMask(autocast=False)

    def __call__(self, y_true, y_pred, sample_weight, dtype):
        """The losses, their weights and which steps are valid, (B, T) each; zero at the others."""
        dtype = at_least_single(dtype)
        valid = self._carried(y_pred)
        y_true, y_pred = (ops.convert_to_tensor(a, dtype) for a in (y_true, y_pred))
        y_true, y_pred = _aligned(y_true, y_pred)
        weights = _weights_of_steps(sample_weight, y_pred, dtype)
        valid = ops.logical_and(valid, weights != 0)
        # Ones, as a row of zeros is no distribution, and some losses divide by its sum.
        y_pred = ops.where(masks.rows(valid, y_pred), y_pred, ops.ones_like(y_pred))
        losses = self._function(masks.quiet(y_true, valid), y_pred)
        rank = len(losses.shape)
        if rank < 2:
            raise ValueError(
                "Expected a loss with one value for each step, (batch, time). "
                f"Received: shape {tuple(losses.shape)} for predictions of shape {tuple(y_pred.shape)}"
            )
        valid = ops.logical_and(valid, self._carried(losses))
        losses = ops.mean(losses, axis=tuple(range(2, rank))) if rank > 2 else losses
        return masks.quiet(losses, valid), masks.quiet(weights, valid), valid


def _fit(*shapes):
    """Whether shapes are the same as far as they are known and both have the axis."""
    return all(len({n for n in axis if n is not None}) <= 1 for axis in zip(*shapes, strict=False))


def _aligned(y_true, y_pred):
    """Targets and predictions (B, T, ...) with features; raises where they are of different steps."""
    shapes = [tuple(a.shape) for a in (y_true, y_pred)]
    if min(map(len, shapes)) < 2 or not _fit(*(shape[:2] for shape in shapes)):
        raise ValueError(
            "Expected `y_true` and `y_pred` of shape (batch, time, ...) with the same batch and time. "
            f"Received: {shapes[0]} and {shapes[1]}"
        )
    y_pred = y_pred[:, :, None] if len(y_pred.shape) == 2 else y_pred
    if len(y_true.shape) == len(y_pred.shape) - 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    return y_true, y_pred


def _weights_of_steps(sample_weight, y_pred, dtype):
    """Weights (B, T) from None, (B,), (B, 1), (B, T) or (B, T, 1)."""
    steps = ops.shape(y_pred)[:2]
    if sample_weight is None:
        return ops.ones(steps, dtype)
    weights = ops.convert_to_tensor(sample_weight, dtype)
    given = tuple(weights.shape)
    if len(given) == 1:
        weights = weights[:, None]
    elif len(given) == 3 and given[2] == 1:
        weights = weights[:, :, 0]
    shape, expected = tuple(weights.shape), tuple(y_pred.shape[:2])
    if len(shape) != 2 or not (_fit(shape, expected) or (shape[1] == 1 and _fit(shape[:1], expected))):
        raise ValueError(
            f"Expected `sample_weight` of shape (batch,) or (batch, time) = {expected}. Received: shape {given}"
        )
    return ops.broadcast_to(weights, steps)


def _ratio(total, count):
    """total / count, and total, which is zero then, where the count is zero."""
    return total / ops.where(count == 0, ops.ones_like(count), count)


class OverReplicas(keras.losses.Loss):
    """A mean over a batch, weighted as Keras weights means where several replicas have a part of the batch each."""

    def call(self, y_true, y_pred):
        """The mean as it is."""
        return y_pred


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SequenceLoss(keras.losses.Loss):
    r"""A loss of sequences: summed or averaged over the valid steps, then over the batch.

    With the loss \(\ell_{bt}\) of step t of sequence b, its weight \(w_{bt}\) (1 unless given, 0 where the step is
    masked) and the number \(n_{bt}\) of valid steps there (1 or 0), the loss of a sequence is
    $$ L_b = \sum_t w_{bt}\, \ell_{bt} \quad \texttt{over\_time="sum"}, \qquad
       L_b = \frac{\sum_t w_{bt}\, \ell_{bt}}{\sum_t n_{bt}} \quad \texttt{"mean"} \tag{1} $$

    and that of a batch, with the number B' of sequences that have a valid step,
    $$ L = \frac{1}{B'} \sum_b L_b \quad \texttt{over\_batch="mean"}, \qquad
       L = \frac{\sum_{bt} w_{bt}\, \ell_{bt}}{\sum_{bt} n_{bt}} \quad \texttt{"steps"}, \qquad
       L = \sum_b L_b \quad \texttt{"sum"} \tag{2} $$

    The sum over time is the negative log-likelihood of a sequence where \(\ell\) is a cross-entropy. `"steps"` is
    the mean over all valid steps of the batch, whose exponential is the perplexity. A sequence, or a batch, without
    a valid step has the loss 0 and finite gradients, and counts in no mean. Padding changes nothing.

    Args:
        loss: name of a Keras loss, a `keras.losses.Loss`, whose own reduction is not used, or a function
            `(y_true, y_pred)`, that gives one value for each step, (B, T), or several, (B, T, ...), which are averaged.
        over_time: `"sum"`, `"mean"`, or None: the steps stay apart.
        over_batch: `"mean"`, `"steps"` (only with `over_time="sum"`), `"sum"`, or None: the sequences stay apart.
            `over_time=None` with `"mean"` is the mean over the valid entries of each step, (T,).
        weighted_count: bool, whether n in the means over steps is the weight rather than 1 where that is not 0.

    Call:
        y_true: (B, T), (B, T, 1) or as the loss wants it.
        y_pred: (B, T) or (B, T, ...), with or without a mask.
        sample_weight: (B,) or (B, T) numbers; a step of weight 0 is not valid. Default: 1.

    Returns:
        A scalar; (B,) with `over_batch=None`, (T,) with `over_time=None`, (B, T) with both. In float32 at least.

    TF-Addons' `SequenceLoss` divides by the sum of the weights where it says "average", by the number of steps where it
    says "sum": its `average_across_timesteps` with `average_across_batch` is `over_batch="steps"` with
    `weighted_count=True`, its `sum_over_timesteps` with `sum_over_batch` is `over_batch="steps"`; with one of the axes
    alone this axis takes `"mean"` here and the other None.

    Raises:
        ValueError: if an argument is none of these, or shapes do not fit.

    Example:
        >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        >>> model.compile("adam", loss=keras_rnnx.losses.SequenceLoss(loss, over_batch="steps"))

    Reference: I. Goodfellow, Y. Bengio and A. Courville, Deep learning, MIT Press, 2016, section 10.2, equation 10.12.
    """

    def __init__(
        self,
        loss="sparse_categorical_crossentropy",
        over_time="sum",
        over_batch="mean",
        *,
        weighted_count=False,
        name="sequence_loss",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        self._steps = StepLosses(loss)
        self.over_time = arguments.choice("over_time", over_time, OVER_TIME)
        self.over_batch = arguments.choice("over_batch", over_batch, OVER_BATCH)
        if over_batch == "steps" and over_time != "sum":
            raise ValueError(f"Expected over_time='sum' with over_batch='steps'. Received: over_time={over_time!r}")
        self.weighted_count = bool(weighted_count)
        self._over_replicas = OverReplicas()

    @property
    def loss(self):
        """The loss of a step."""
        return self._steps.loss

    def get_config(self):
        """The arguments."""
        return {
            "loss": keras.losses.serialize(self.loss),
            "over_time": self.over_time,
            "over_batch": self.over_batch,
            "weighted_count": self.weighted_count,
            "name": self.name,
            "dtype": self.dtype,
        }

    def call(self, y_true, y_pred):
        """The losses of the steps, (B, T), zero at masked ones."""
        return self._steps(y_true, y_pred, None, self.dtype)[0]

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss of a batch."""
        losses, weights, valid = self._steps(y_true, y_pred, sample_weight, self.dtype)
        result = self._reduced(losses * weights, weights if self.weighted_count else ops.cast(valid, losses.dtype))
        if len(result.shape) == 0 and self.over_batch != "sum":
            return self._over_replicas(result[None], result[None])
        return result

    def _reduced(self, losses, counts):
        """Equations (1) and (2)."""
        if self.over_batch == "steps":
            return _ratio(ops.sum(losses), ops.sum(counts))
        if self.over_time is not None:
            each, losses = ops.sum(counts, axis=1), ops.sum(losses, axis=1)
            losses = _ratio(losses, each) if self.over_time == "mean" else losses
            counts = ops.cast(each != 0, losses.dtype)
        if self.over_batch is None:
            return losses
        losses = ops.sum(losses, axis=0)
        return _ratio(losses, ops.sum(counts, axis=0)) if self.over_batch == "mean" else losses


@keras.saving.register_keras_serializable(package="keras_rnnx")
class QuantileLoss(keras.losses.Loss):
    r"""The pinball loss of forecasts of several quantiles.

    $$ \ell(y, \hat y) = \frac{1}{Q} \sum_{q} \max\bigl(q\,(y - \hat y_q),\; (q - 1)(y - \hat y_q)\bigr) $$

    It is smallest in expectation where \(\hat y_q\) is the q-quantile of y. Entries of several features at one step are
    averaged. Masked steps are left out of the mean where the predictions carry a mask; for sums over time, or weights
    for each step, give it to `SequenceLoss`.

    Args:
        quantiles: increasing numbers in (0, 1), Q of them.
        reduction: as in `keras.losses.Loss`.

    Call:
        y_true: (B, T) or (B, T, F); an axis of size 1 may follow.
        y_pred: (B, T, Q) or (B, T, F, Q).

    Raises:
        ValueError: if `quantiles` are none, or shapes do not fit.

    Example:
        >>> loss = keras_rnnx.losses.QuantileLoss([0.1, 0.5, 0.9])
        >>> model.compile("adam", loss=loss)

    Reference: R. Koenker and G. Bassett, Regression quantiles, Econometrica 46(1), 1978.
    """

    def __init__(self, quantiles, reduction="sum_over_batch_size", name="quantile_loss", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.quantiles = checked_quantiles(quantiles)

    def get_config(self):
        """The arguments."""
        return {"quantiles": self.quantiles, **super().get_config(), "dtype": self.dtype}

    def call(self, y_true, y_pred):
        """The mean over the quantiles, and the features, of each step: (B, T)."""
        rank = len(y_pred.shape)
        if len(y_true.shape) == rank and y_true.shape[-1] == 1:
            y_true = y_true[..., 0]
        fits = rank == len(y_true.shape) + 1 and _fit(tuple(y_true.shape), tuple(y_pred.shape[:-1]))
        if rank < 2 or not fits or y_pred.shape[-1] != len(self.quantiles):
            raise ValueError(
                f"Expected `y_pred` of the shape of `y_true` with an axis of {len(self.quantiles)} quantiles behind. "
                f"Received: {tuple(y_true.shape)} and {tuple(y_pred.shape)}"
            )
        error = y_true[..., None] - y_pred
        q = ops.convert_to_tensor(self.quantiles, error.dtype)
        return ops.mean(ops.maximum(q * error, (q - 1) * error), axis=tuple(range(min(2, rank - 1), rank)))


def checked_quantiles(quantiles):
    """`quantiles` as a list of floats, or a ValueError that says what they have to be."""
    given = quantiles if isinstance(quantiles, (list, tuple)) else []
    given = [arguments.number("quantiles", q, "(0, 1)") for q in given]
    if not given or not all(a < b for a, b in itertools.pairwise(given)):
        raise ValueError(f"Expected `quantiles` to be increasing numbers in (0, 1). Received: quantiles={quantiles!r}")
    return given


class MeanOverSteps(keras.metrics.Metric):
    """The mean loss of the valid steps of all batches since the last reset; see `Perplexity`."""

    def __init__(self, loss="sparse_categorical_crossentropy", name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self._steps = StepLosses(loss)
        self.total = self.add_variable((), "zeros", dtype=self.dtype, name="total")
        self.count = self.add_variable((), "zeros", dtype=self.dtype, name="count")

    @property
    def loss(self):
        """The loss of a step."""
        return self._steps.loss

    def get_config(self):
        """The arguments."""
        return {"loss": keras.losses.serialize(self.loss), **super().get_config()}

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch: y_true (B, T), y_pred (B, T, V), sample_weight (B,) or (B, T) or None."""
        losses, weights, _ = self._steps(y_true, y_pred, sample_weight, self.dtype)
        self.total.assign_add(ops.cast(ops.sum(losses * weights), self.dtype))
        self.count.assign_add(ops.cast(ops.sum(weights), self.dtype))

    def mean(self):
        """The mean; 0 where there was no step."""
        return _ratio(ops.cast(self.total, self.dtype), ops.cast(self.count, self.dtype))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Perplexity(MeanOverSteps):
    r"""The perplexity: the exponential of the mean cross-entropy of a valid step.

    $$ \exp\Bigl(\frac{\sum_{bt} w_{bt}\, \ell_{bt}}{\sum_{bt} w_{bt}}\Bigr) $$

    The sums run over all batches, so that a step counts the same in a long and in a short one. Keras gives
    `sample_weight` to `weighted_metrics` alone; a mask on the predictions is read in any case.

    Args:
        loss: the cross-entropy, in natural units; see `SequenceLoss`. For logits:
            `keras.losses.SparseCategoricalCrossentropy(from_logits=True)`.

    Example:
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=[keras_rnnx.losses.Perplexity()])
    """

    def __init__(self, loss="sparse_categorical_crossentropy", name="perplexity", dtype=None):
        super().__init__(loss, name=name, dtype=dtype)

    def result(self):
        """The perplexity; 1 where there was no step."""
        return ops.exp(self.mean())


@keras.saving.register_keras_serializable(package="keras_rnnx")
class BitsPerCharacter(MeanOverSteps):
    r"""The mean cross-entropy of a valid step in bits, \(\log_2\) of the `Perplexity`.

    Args:
        loss: see `Perplexity`.

    Example:
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=[keras_rnnx.losses.BitsPerCharacter()])
    """

    def __init__(self, loss="sparse_categorical_crossentropy", name="bits_per_character", dtype=None):
        super().__init__(loss, name=name, dtype=dtype)

    def result(self):
        """The bits; 0 where there was no step."""
        return self.mean() / math.log(2)
