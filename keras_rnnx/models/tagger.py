"""Many-to-many, Tx = Ty: a tag for every step of a sequence."""

import contextvars

import keras
import numpy as np
from keras import ops

from keras_rnnx.engine import masks
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.losses import OverReplicas
from keras_rnnx.models.base import Labels, TrunkModel
from keras_rnnx.models.crf import CRF
from keras_rnnx.models.text import strings, unpadded
from keras_rnnx.models.trunk import sequences_of

# Whether a call is that of `predict`, and is to give tags: on JAX the weights are at hand within the call alone.
PREDICTS = contextvars.ContextVar("PREDICTS", default=False)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SequenceTagger(TrunkModel):
    r"""Gives every step of a sequence a tag.

    $$ h_1, \dots, h_T = \text{Trunk}(x_1, \dots, x_T), \qquad s_t = h_t W + b, \qquad
       p(y \mid x) = \prod_t \operatorname{softmax}(s_t)_{y_t} $$

    or, with `crf`, p(y | x) of a linear chain whose potentials are s: see `CRF`. The loss is the model's own, with the
    weights w of the sequences and the number n of valid steps of each:

    $$ L = - \frac{\sum_b w_b \log p(y_b \mid x_b)}{\sum_b n_b} . $$

    Args:
        tags: int K or a list of K names.
        cell: a cell, a list of cells or a recurrent layer of this package: see `Trunk`.
        depth: int > 0, the number of levels.
        bidirectional: bool, whether each level reads in both directions.
        residual: None, `"sum"`, `"highway"` or `"dense"`, around each level.
        dropout: rate in [0, 1) before, between and behind the levels.
        crf: bool, or a `CRF`, which may have constraints.
        text: a `Text` with a vocabulary, without start and end tokens: the model takes raw strings. None: numbers.
        vocabulary: int V: the model takes integers in 0..V-1, 0 for padding. None, without `text`: vectors.
        embedding: int, the width of the embedding of integers, or a `keras.layers.Embedding`. Default: 64.
        mask_value: number or None: a vector that has it in every entry is padding.
        seed: int or None, for `dropout`.

    Call:
        inputs: (B, T) integers or (B, T, D) vectors, or a dict with `sequences` and any of `mask`, `lengths`, `resets`
            and `deltas`: see `Trunk`.
        mask: (B, T) booleans or None.
        training: bool.

    Returns:
        The scores s (B, T, K), in float32 at least.

    `fit` and `evaluate` take as targets integers (N, T), in 0..K-1, or a list of integers or of names for each
    sequence, as many as it has tokens. A step with the target -1 is left out, as if it were masked. `sample_weight` is
    (N,), without a CRF also (N, T). The accuracy over valid steps is always measured, by the tags that `predict`
    gives. These are (N, T) int32, -1 at masked steps; or, where tags have names, a list of names for each sequence.

    Raises:
        ValueError: if an argument is out of range, two contradict each other, a name is none of the tags, tokens and
            tags differ in number, tags are not allowed by the CRF, or `compile` is given a loss.

    Example:
        ```python
        text = keras_rnnx.models.Text(standardize="lower")  # which keeps every token
        text.adapt(sentences)
        cell = keras_rnnx.LSTMCell(64)
        names = ["O", "B-PER", "I-PER"]
        crf = keras_rnnx.models.CRF(**keras_rnnx.models.allowed_transitions(names))
        model = keras_rnnx.models.SequenceTagger(names, cell, bidirectional=True, text=text, crf=crf)
        model.compile("adam")
        model.fit(sentences, tags, epochs=5)
        model.predict(["Ada Lovelace wrote it"])  # [["B-PER", "I-PER", "O", "O"]]
        ```

    Reference: Z. Huang, W. Xu and K. Yu, Bidirectional LSTM-CRF models for sequence tagging, arXiv:1508.01991.
    """

    def __init__(self, tags, cell, *args, crf=False, **kwargs):
        super().__init__(cell, *args, **kwargs)
        if self.text is not None and self.text.special:
            raise ValueError(f"Expected a Text without start and end tokens. Received: {self.text.special}")
        if not isinstance(crf, (bool, CRF)):
            raise ValueError(f"Expected `crf` to be a bool or a CRF. Received: crf={crf!r}")
        self.labels = Labels("tags", tags)
        dtype = at_least_single(self.compute_dtype)
        self.crf = CRF(dtype=dtype, name="crf") if crf is True else crf
        self.head = keras.layers.Dense(self.labels.count, dtype=dtype, name="scores")
        self.accuracy = keras.metrics.Mean(name="accuracy")

    @property
    def tags(self):
        """The number of tags, or their names."""
        return self.labels.value

    def build_head(self, shape):
        """Builds the scores and the CRF."""
        self.head.build(shape)
        if self.crf and not self.crf.built:
            self.crf.build((*shape[:-1], self.labels.count))

    def compile(self, optimizer="adam", loss=None, metrics=None, **kwargs):
        """See `keras.Model.compile`. No loss is given; the accuracy need not be."""
        if loss is not None:
            raise ValueError(f"Expected no loss, as a SequenceTagger has its own. Received: loss={loss!r}")
        metrics = [m for m in metrics or () if m not in ("accuracy", "acc")] or None
        super().compile(optimizer, metrics=metrics, **kwargs)

    def compile_from_config(self, config):
        """Compiles as `compile` did before the model was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.built:
            self.optimizer.build(self.trainable_variables)

    def call(self, inputs, mask=None, training=False):
        """See the class. Within `predict`: the tags."""
        valid = self.trunk.valid(inputs, mask)
        scores = self.head(self.trunk(inputs, mask=valid, training=training))
        return self.decode(scores, valid) if PREDICTS.get() else scores

    def compute_mask(self, inputs, previous_mask):
        """The mask of the inputs."""
        return self.trunk.valid(inputs, previous_mask)

    def decode(self, scores, mask=None):
        """The tags (B, T) int32 of scores (B, T, K): the best of each step, or the best path; -1 at masked steps."""
        if self.crf:
            return self.crf(scores, mask=mask)
        tags = ops.cast(ops.argmax(scores, axis=-1), "int32")
        return tags if mask is None else ops.where(mask, tags, -1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """L, with the penalties of regularizers; measures the accuracy."""
        shape, scores = tuple(y_pred.shape), y_pred
        masks.checked_shape("tags", y, shape)
        y = ops.cast(ops.reshape(y, ops.shape(scores)[:2]), "int32")
        valid, labelled = self.trunk.valid(x), y >= 0
        counted = labelled if valid is None else ops.logical_and(valid, labelled)
        count = ops.cast(counted, scores.dtype)
        right = ops.equal(self.decode(ops.stop_gradient(scores), counted), y)
        self.accuracy.update_state(ops.cast(right, scores.dtype), sample_weight=count)
        y = ops.where(counted, y, 0)
        weight = 1 if sample_weight is None else ops.cast(sample_weight, scores.dtype)
        if self.crf:
            if sample_weight is not None and len(weight.shape) != 1:
                raise ValueError(f"Expected `sample_weight` of shape (batch,). Received: {tuple(weight.shape)}")
            losses = -self.crf.log_likelihood(scores, y, counted)
        else:
            losses = keras.losses.sparse_categorical_crossentropy(y, scores, from_logits=True)
            losses = masks.quiet(losses, counted)
            if sample_weight is not None and len(weight.shape) == 1:
                weight = weight[:, None]
        loss = ops.sum(weight * losses) / ops.maximum(ops.sum(count), 1)
        return OverReplicas()(loss[None], loss[None]) + sum(self.losses)

    def predict_step(self, *args):
        """See `keras.Model`."""
        token = PREDICTS.set(True)
        try:
            return super().predict_step(*args)
        finally:
            PREDICTS.reset(token)

    # ---- raw data ----

    def preprocess(self, x, y=None, sample_weight=None):
        """Strings, names and lists as arrays of numbers."""
        x = self.numbers_of(x)
        if isinstance(y, (list, tuple)) or strings(y) is not None:
            y = self._rows(y, x)
        self.labels.check(y, lowest=-1)
        if isinstance(y, np.ndarray):
            masks.checked_shape("tags", y, tuple(sequences_of(x).shape))
            if self.crf:
                self._check_allowed(y.reshape(y.shape[:2]), x)
        return x, y, sample_weight

    def _rows(self, y, x):
        """Tags (N, T) from a list for each sequence, with -1 behind them."""
        sequences = sequences_of(x)
        names = strings(y)
        if names is not None and any(isinstance(row, str) for row in names):
            raise ValueError(f"Expected a list of tags for each sequence. Received: {names[0]!r}")
        rows = [self.labels.numbers(unpadded(row)) for row in names] if names is not None else y
        if len(rows) != len(sequences):
            raise ValueError(f"Expected tags for {len(sequences)} sequences. Received: tags for {len(rows)}")
        steps = sequences.shape[1]
        made = np.full((len(rows), steps), -1, "int32")
        for i, row in enumerate(rows):
            made[i, : len(row)] = row[:steps]
            tokens = np.count_nonzero(sequences[i]) if self.trunk.vocabulary is not None else None
            if tokens is not None and min(len(row), steps) != tokens:
                raise ValueError(
                    f"Expected as many tags as tokens. Received: {len(row)} tags for {tokens} tokens in sequence {i}; "
                    "a Text that strips punctuation may have left out tokens"
                )
        return made

    def _check_allowed(self, y, x):
        """Raises where tags (N, T) have probability zero."""
        flags = (self.crf.allowed, self.crf.allowed_start, self.crf.allowed_end)
        if not any(flags):
            return
        counted, valid = y >= 0, self.trunk.valid(x)
        counted = counted if valid is None else counted & ops.convert_to_numpy(valid)
        order = np.argsort(~counted, axis=1, kind="stable")
        y = np.take_along_axis(np.where(counted, y, -1), order, axis=1)  # what is counted comes in front
        last = np.take_along_axis(y, np.maximum(counted.sum(axis=1, keepdims=True) - 1, 0), axis=1)
        for allowed, tags in zip(
            flags, (np.stack([y[:, :-1].ravel(), y[:, 1:].ravel()]), y[None, :, 0], last.T), strict=True
        ):
            if allowed is None:
                continue
            tags = tags[:, np.all(tags >= 0, axis=0)]
            wrong = np.flatnonzero(~np.array(allowed)[tuple(tags)])
            if len(wrong):
                names = [str((self.labels.names or range(self.labels.count))[i]) for i in tags[:, wrong[0]]]
                where = "one after the other" if len(names) == 2 else "at the start or the end"
                raise ValueError(f"Expected tags that the CRF allows. Received: {' '.join(names)} {where}")

    def postprocess(self, predictions):
        """Tags (N, T) as they are, or where they have names, a list of names for each sequence."""
        if self.labels.names is None:
            return predictions
        return [[self.labels.names[i] for i in row if i >= 0] for row in predictions]
