"""Forecasts of many steps from a window of the past."""

import operator

import keras
from keras import ops, tree

from keras_rnnx import arguments
from keras_rnnx.engine import masks
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.layers.rnn import RNN
from keras_rnnx.losses import checked_quantiles
from keras_rnnx.models.trunk import GIVEN, Trunk

MODES = ("direct", "recursive")
NORMALIZATIONS = (None, "mean", "standard")
EPSILON = 1e-5  # RevIN's


class FeedbackCell(keras.layers.Layer):
    """Levels that read, at each step, their own last forecast beside the covariates of the step.

    Args:
        decoder: a `Trunk` that returns its states.
        head: a layer from its output (B, H) to the numbers (B, N) from which a forecast is made.
        point: function of these numbers that gives the forecast (B, K) that is fed back.
        width: int, K.
    """

    def __init__(self, decoder, head, point, width, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.decoder, self.head, self.point, self.width = decoder, head, point, width

    @property
    def _cells(self):
        return [level.cell for level in self.decoder.layer.levels]

    @property
    def state_size(self):
        """The forecast, then the states of all levels."""
        return [self.width, *[size for cell in self._cells for size in tree.flatten(cell.state_size)]]

    @property
    def output_size(self):
        """N."""
        return self.head.units

    def get_initial_state(self, batch_size=None):
        """Zeros, and the initial states of the levels."""
        states = [tree.flatten(cell.get_initial_state(batch_size=batch_size)) for cell in self._cells]
        return [ops.zeros((batch_size, self.width), self._cells[0].state_dtype), *tree.flatten(states)]

    @property
    def draws(self):
        """Whether training draws something, or measures it, for a whole sequence."""
        cells = [each for cell in self._cells for each in (cell, *getattr(cell, "cells", ()))]
        return bool(self.decoder.layer.dropout) or any(getattr(c, "draws", False) or c.measures for c in cells)

    def call(self, inputs, states):
        """One step: covariates (B, C) to numbers (B, N)."""
        forecast, *states = states
        x = ops.concatenate([ops.cast(forecast, inputs.dtype), inputs], axis=-1)
        outputs, *states = self.decoder(x[:, None], initial_state=states)
        made = self.head(outputs[:, 0])
        return made, [self.point(made), *tree.flatten(states)]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Forecaster(keras.Model):
    r"""A window of the past to the next steps, as numbers or as quantiles.

    The recurrent levels of the encoder read the window \(x_1, \ldots, x_T\) and end in the output h. Then, with the
    known covariates \(c_j\) of a future step j,

    $$ \texttt{"direct"}: \quad [a_1; \ldots; a_J] = h W + b, \qquad\text{or}\quad
       [u_1; \ldots; u_J] = h W + b, \quad a_j = [\operatorname{relu}([u_j; c_j] V + d); c_j] R + r \tag{1} $$
    $$ \texttt{"recursive"}: \quad h_j, s_j = \text{decoder}([\hat y_{j-1}; c_j], s_{j-1}), \qquad
       a_j = h_j R + r \tag{2} $$

    where the decoder has levels like those of the encoder, starts from the encoder's last states (the mean of both
    directions where it is bidirectional), and \(\hat y_0\) is the last known value. In training \(\hat y_{j-1}\) is
    the true value where `targets` are among the inputs (teacher forcing), otherwise, and always outside training, its
    own forecast (free running). Without quantiles \(\hat y_j = a_j\). With quantiles \(q_1 < \ldots < q_Q\), of which
    \(q_m\) is next to 0.5, they never cross:

    $$ \hat y_j^{(m)} = a_j^{(m)}, \qquad \hat y_j^{(i)} = \hat y_j^{(i-1)} + \operatorname{softplus}(a_j^{(i)})
       \ (i > m), \qquad
       \hat y_j^{(i)} = \hat y_j^{(i+1)} - \operatorname{softplus}(a_j^{(i)}) \ (i < m) \tag{3} $$

    and \(\hat y^{(m)}\) is fed back. `normalization` takes the mean \(\mu\) of the valid steps of each window and
    feature from what is read, and divides by \(\sigma = \sqrt{\operatorname{var} + 10^{-5}}\) with `"standard"`;
    forecasts get them back: \(\hat y \sigma + \mu\). `future` stays as it is. With `lags`, the normalized targets so
    many steps before step j, which the window holds, are among \(c_j\) (0 where they are masked): last season's value
    is then only a linear map away.

    Differs from the papers: equation (1) is MQ-RNN without the context that all steps share; RevIN's learned scale and
    shift are left out.

    Args:
        horizon: int > 0, J.
        cell: see `Trunk`, as the next four.
        depth: int > 0, the number of levels.
        bidirectional: bool, of the encoder; a decoder reads forwards.
        residual: None, `"sum"`, `"highway"` or `"dense"`.
        dropout: rate in [0, 1).
        mode: `"direct"` or `"recursive"`.
        targets: int K, the first K features are forecast; None: the first one, without an axis of its own.
        quantiles: increasing numbers in (0, 1), Q of them, or None.
        normalization: None, `"mean"` or `"standard"`.
        lags: integers >= J, of steps; windows are at least as long as the largest of them.
        context: int > 0, the width of \(u_j\).
        seed: int or None, for `dropout`.

    Call:
        inputs: (B, T, F); or a dict with `sequences`, any of `mask`, `lengths`, `resets` and `deltas` (see `RNN`),
            `future` (B, J, C), the known covariates, in all calls or in none, and, for `"recursive"`, `targets` as the
            outputs, but without Q, which count only in training. `deltas` are those of the window: the steps of a
            decoder are 1 apart, and other distances are covariates.
        mask: (B, T) booleans or None.
        training: bool.

    Returns:
        (B, J[, K][, Q]), in float32 at least.

    Raises:
        ValueError: if an argument is out of range, the inputs do not fit, or a decoder with dropout, zoneout or batch
            statistics, which belong to a whole sequence, is to run freely in training.

    Example:
        >>> model = keras_rnnx.models.Forecaster(24, keras_rnnx.GRUCell(32), quantiles=[0.1, 0.5, 0.9])
        >>> model.compile("adam", keras_rnnx.losses.QuantileLoss(model.quantiles))
        >>> inputs, targets = keras_rnnx.models.windows(series, length=96, horizon=24)
        >>> model.fit(inputs, targets)

    Reference: R. Wen et al., A multi-horizon quantile recurrent forecaster, arXiv:1711.11053. D. Salinas, V. Flunkert
        and J. Gasthaus, DeepAR, arXiv:1704.04110 (recursive). Y. Park et al., Learning quantile functions without
        quantile crossing for distribution-free time series forecasting, arXiv:2111.06581. T. Kim et al., Reversible
        instance normalization for accurate time-series forecasting against distribution shift, ICLR 2022.
    """

    def __init__(
        self,
        horizon,
        cell,
        depth=1,
        bidirectional=False,
        residual=None,
        dropout=0.0,
        *,
        mode="direct",
        targets=None,
        quantiles=None,
        normalization=None,
        lags=(),
        context=16,
        seed=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.horizon = arguments.positive("horizon", horizon)
        self.mode = arguments.choice("mode", mode, MODES)
        self.targets = None if targets is None else arguments.positive("targets", targets)
        self.quantiles = None if quantiles is None else checked_quantiles(quantiles)
        self.normalization = arguments.choice("normalization", normalization, NORMALIZATIONS)
        self.lags = [arguments.positive("lags", lag) for lag in lags]
        if min(self.lags, default=self.horizon) < self.horizon:
            raise ValueError(
                f"Expected `lags` >= horizon = {self.horizon}, or they are not known. Received: lags={lags!r}"
            )
        self.context = arguments.positive("context", context)
        self.median = min(range(self._levels), key=lambda i: abs((self.quantiles or [0.5])[i] - 0.5))
        self.encoder = Trunk(
            cell,
            depth,
            bidirectional,
            residual,
            dropout,
            return_sequences=False,
            return_state=mode == "recursive",
            seed=seed,
            dtype=self.dtype_policy,
            name="encoder",
        )
        self.decoder = self._decoder() if mode == "recursive" else None

    cell, depth, bidirectional, residual, dropout, seed = (
        property(operator.attrgetter(f"encoder.{name}"), doc="See `Trunk`.")
        for name in ("cell", "depth", "bidirectional", "residual", "dropout", "seed")
    )

    @property
    def _features(self):
        return self.targets or 1

    @property
    def _levels(self):
        return len(self.quantiles or [None])

    def _decoder(self):
        levels = self.encoder.layer
        cells = [getattr(level, "forward_layer", level).cell for level in levels.levels]
        copies = [arguments.copy_of(cell, f"decoder_{cell.name}", 7 * n + 7) for n, cell in enumerate(cells)]
        return Trunk(
            copies,
            residual=levels.residual,
            dropout=self.dropout,
            return_state=True,
            seed=self.seed,
            dtype=self.dtype_policy,
            name="decoder",
        )

    # ---- Keras ----

    def build(self, input_shape):
        """Builds encoder, decoder and heads."""
        given = input_shape if isinstance(input_shape, dict) else {"sequences": input_shape}
        past, future = tuple(given["sequences"]), given.get("future")
        if len(past) != 3 or (past[2] is not None and past[2] < self._features):
            raise ValueError(
                f"Expected windows of shape (B, T, F) with F >= {self._features}, the targets first. Received: {past}"
            )
        self.known = 0 if future is None else tuple(future)[2]
        self.covariates = self.known + len(self.lags) * self._features
        self.encoder.build(past)
        count = self._features * self._levels
        if self.mode == "recursive":
            self.decoder.build((past[0], self.horizon, self._features + self.covariates))
            self.head = self._dense(count, "head", self.decoder)
            cell = FeedbackCell(self.decoder, self.head, self._point, self._features, dtype=self.dtype_policy)
            self.loop = RNN(cell, return_sequences=True, dtype=self.dtype_policy, name="loop")
            self.loop.build((past[0], self.horizon, self.covariates))
        elif self.covariates:
            self.contexts = self._dense(self.horizon * self.context, "contexts", self.encoder)
            self.mix = self._dense(self.context, "mix", self.context + self.covariates, activation="relu")
            self.head = self._dense(count, "head", self.context + self.covariates)
        else:
            self.head = self._dense(self.horizon * count, "head", self.encoder)
        self.built = True

    def _dense(self, units, name, below, **options):
        width = below if isinstance(below, int) else below.layer.shape_of_step[-1]
        dtype = at_least_single(self.compute_dtype) if name == "head" else self.dtype_policy
        layer = keras.layers.Dense(units, dtype=dtype, name=name, **options)
        layer.build((None, width))
        return layer

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), **arguments.config_of(self, keras.Model)}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A model from its configuration."""
        return cls(**arguments.deserialized(config, custom_objects))

    def compute_mask(self, inputs, previous_mask):
        """None: every future step is valid."""
        return None

    # ---- the call ----

    def call(self, inputs, mask=None, training=False):
        """See the class."""
        given = self._checked(inputs)
        dtype = at_least_single(self.compute_dtype)
        x = ops.cast(given["sequences"], dtype)
        past = {name: given[name] for name in GIVEN if name in given}
        valid = self.encoder.valid({**past, "sequences": x}, mask)
        x = x if valid is None else masks.quiet(x, valid)
        mean, scale = self._of_window(x, valid)
        x = (x - mean) / scale
        x = x if valid is None else masks.quiet(x, valid)
        mean, scale = (a[:, :, : self._features] for a in (mean, scale))
        past = {name: past[name] for name in ("resets", "deltas") if name in past}
        past |= {"sequences": x} if valid is None else {"sequences": x, "mask": valid}
        future = self._covariates(x, given)
        if self.mode == "direct":
            made = self._direct(self.encoder(past, training=training), future)
        else:
            known = given.get("targets") if training else None
            if known is not None:
                known = ops.reshape(ops.cast(known, dtype), (-1, self.horizon, self._features))
                known = (known - mean) / scale
            made = self._recursive(past, valid, future, known, training)
        made = ops.reshape(ops.cast(made, dtype), (-1, self.horizon, self._features, self._levels))
        forecast = self._ordered(made) * scale[..., None] + mean[..., None]
        forecast = forecast if self.quantiles else forecast[..., 0]
        return forecast if self.targets else forecast[:, :, 0]

    def _checked(self, inputs):
        given = inputs if isinstance(inputs, dict) else {"sequences": inputs}
        allowed = {"sequences", *GIVEN, "future", *(["targets"] if self.mode == "recursive" else [])}
        if "sequences" not in given or not set(given) <= allowed:
            raise ValueError(f"Expected a dict with 'sequences' among {sorted(allowed)}. Received: {sorted(given)}")
        expected = {"future": (self.horizon, self.known)} if self.known or "future" in given else {}
        if "targets" in given:
            expected["targets"] = (self.horizon,) if self.targets is None else (self.horizon, self.targets)
        batch, steps = given["sequences"].shape[:2]
        for name, shape in expected.items():
            received = tuple(given[name].shape) if name in given else None
            if received is None or received[1:] != shape or len({received[0], batch} - {None}) > 1:
                raise ValueError(f"Expected `{name}` of shape {(batch, *shape)}. Received: shape {received}")
        if steps is not None and steps < max(self.lags, default=0):
            raise ValueError(f"Expected windows of at least {max(self.lags)} steps, as `lags` say. Received: {steps}")
        return given

    def _covariates(self, x, given):
        """What is known of each future step, (B, J, C), from normalized windows and the inputs."""
        known = [ops.zeros((ops.shape(x)[0], self.horizon, 0), x.dtype)]
        if "future" in given:
            known.append(ops.cast(given["future"], x.dtype))
        known += [x[:, -lag : self.horizon - lag or None, : self._features] for lag in self.lags]
        return ops.concatenate(known, axis=-1)

    def _of_window(self, x, valid):
        """The mean and the scale (B, 1, F) of each window."""
        if self.normalization is None:
            return ops.zeros_like(x[:, :1]), ops.ones_like(x[:, :1])
        counts = ops.ones_like(x[:, :, :1]) if valid is None else ops.cast(valid, x.dtype)[:, :, None]
        total = ops.maximum(ops.sum(counts, axis=1, keepdims=True), 1)
        mean = ops.sum(x, axis=1, keepdims=True) / total
        if self.normalization == "mean":
            return mean, ops.ones_like(mean)
        variance = ops.sum(ops.square(x - mean) * counts, axis=1, keepdims=True) / total
        return mean, ops.sqrt(variance + EPSILON)

    def _direct(self, h, future):
        """Equation (1)."""
        if not self.covariates:
            return self.head(h)
        contexts = ops.reshape(self.contexts(h), (-1, self.horizon, self.context))
        future = ops.cast(future, contexts.dtype)
        mixed = self.mix(ops.concatenate([contexts, future], axis=-1))
        return self.head(ops.concatenate([mixed, future], axis=-1))

    def _recursive(self, past, valid, future, known, training):
        """Equation (2)."""
        _, *states = self.encoder(past, training=training)
        states = tree.flatten([self._both_directions(level) for level in states])
        x = past["sequences"][:, :, : self._features]
        last = x[:, -1] if valid is None else masks.last_read(ops.swapaxes(x, 0, 1), ops.transpose(valid))[-1]
        if known is None:
            if training and self.loop.cell.cell.draws:
                raise ValueError(
                    "Expected `targets` among the inputs of a training step, as dropout, zoneout and batch statistics "
                    "of a decoder belong to a whole sequence. Received: a decoder with one of them that runs freely"
                )
            return self.loop(future, initial_state=[last, *states], training=training)
        before = ops.concatenate([last[:, None], known[:, :-1]], axis=1)
        x = ops.concatenate([before, future], axis=-1)
        return self.head(self.decoder(x, initial_state=states, training=training)[0])

    def _both_directions(self, level):
        if not self.encoder.layer.bidirectional:
            return level
        half = len(level) // 2
        return [(a + b) / 2 for a, b in zip(level[:half], level[half:], strict=True)]

    def _point(self, made):
        """The number of each target that is fed back, (B, K)."""
        return ops.reshape(made, (-1, self._features, self._levels))[:, :, self.median]

    def _ordered(self, made):
        """Equation (3), over the last axis."""
        m = self.median
        steps, middle = ops.softplus(made), made[..., m : m + 1]
        below = ops.flip(ops.cumsum(ops.flip(steps[..., :m], axis=-1), axis=-1), axis=-1)
        return ops.concatenate([middle - below, middle, middle + ops.cumsum(steps[..., m + 1 :], axis=-1)], axis=-1)
