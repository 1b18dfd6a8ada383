"""Many-to-one: a class for a whole sequence."""

import keras
import numpy as np

from keras_rnnx import arguments
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.models.base import Labels, TrunkModel
from keras_rnnx.models.pooling import MaskedMaxPooling, MaskedMeanPooling
from keras_rnnx.models.text import strings

POOLINGS = ("last", "max", "mean", "attention")


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SequenceClassifier(TrunkModel):
    r"""Reads a sequence and says of which class it is.

    $$ h_1, \dots, h_T = \text{Trunk}(x_1, \dots, x_T), \qquad v = \text{pooling}(h_1, \dots, h_T), \qquad
       p = \operatorname{softmax}(v W + b) $$

    with the logistic function in place of the softmax where classes do not exclude each other. Only valid steps count:
    padding, on either side, changes nothing. By `pooling`, v is the output after the last valid step (of a
    bidirectional trunk those of both directions, after the last step that each has read), the largest or the mean value
    over time, or a sum weighted by attention (`keras_rnnx.attention.AttentionPooling`).

    Args:
        classes: int C or a list of C names.
        cell: a cell, a list of cells or a recurrent layer of this package: see `Trunk`.
        depth: int > 0, the number of levels.
        bidirectional: bool, whether each level reads in both directions.
        residual: None, `"sum"`, `"highway"` or `"dense"`, around each level.
        dropout: rate in [0, 1) before, between and behind the levels.
        pooling: `"last"`, `"max"`, `"mean"` or `"attention"`.
        multi_label: bool, whether a sequence may be of any number of classes.
        text: a `Text` with a vocabulary: the model takes raw strings. None: it takes numbers.
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
        The probabilities (B, C), in float32 at least.

    `fit` and `evaluate` take as targets integers or names, (N,), or probabilities (N, C); with `multi_label` zeros and
    ones (N, C) or a list of names for each sequence. Without a `loss` in `compile` it is the cross-entropy. `predict`
    gives probabilities, `classify` classes.

    Raises:
        ValueError: if an argument is out of range, two contradict each other, or a name is none of the classes.

    Example:
        ```python
        text = keras_rnnx.models.Text(max_tokens=9000)
        text.adapt(reviews)
        cell = keras_rnnx.LSTMCell(48)
        model = keras_rnnx.models.SequenceClassifier(["bad", "good"], cell, bidirectional=True, text=text)
        model.compile("adam", metrics=["accuracy"])
        model.fit(reviews, verdicts, epochs=3)
        model.classify(["A quiet triumph."])  # ["good"]
        ```
    """

    def __init__(self, classes, cell, *args, pooling="last", multi_label=False, **kwargs):
        arguments.choice("pooling", pooling, POOLINGS)
        super().__init__(cell, *args, return_sequences=pooling != "last", **kwargs)
        self.labels = Labels("classes", classes, 1 if multi_label else 2)
        self.pooling = pooling
        self.multi_label = bool(multi_label)
        self.pool = None
        self.head = keras.layers.Dense(
            self.labels.count,
            activation="sigmoid" if multi_label else "softmax",
            dtype=at_least_single(self.compute_dtype),
            name="probabilities",
        )

    @property
    def classes(self):
        """The number of classes, or their names."""
        return self.labels.value

    def build_head(self, shape):
        """Builds the pooling and the output."""
        if self.pooling == "attention":
            from keras_rnnx.attention import AttentionPooling

            self.pool = AttentionPooling(shape[-1], dtype=self.dtype_policy, name="pooling")
        elif self.pooling != "last":
            kind = MaskedMaxPooling if self.pooling == "max" else MaskedMeanPooling
            self.pool = kind(dtype=self.dtype_policy, name="pooling")
        if self.pool is not None:
            self.pool.build(shape)
            shape = (shape[0], shape[-1])
        self.head.build(shape)

    def call(self, inputs, mask=None, training=False):
        """See the class."""
        valid = self.trunk.valid(inputs, mask)
        outputs = self.trunk(inputs, mask=valid, training=training)
        return self.head(outputs if self.pool is None else self.pool(outputs, mask=valid))

    def compute_mask(self, inputs, previous_mask):
        """None: the result is no sequence."""
        return None

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of `compile`, or else the cross-entropy."""
        if getattr(self, "loss", None) is not None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        count = self.labels.count
        if self.multi_label:
            loss = keras.losses.BinaryCrossentropy()
        elif len(y.shape) == 2 and y.shape[1] == count:
            loss = keras.losses.CategoricalCrossentropy()
        else:
            loss = keras.losses.SparseCategoricalCrossentropy()
        return loss(y, y_pred, sample_weight) + sum(self.losses)

    def preprocess(self, x, y=None, sample_weight=None):
        """Strings and names as arrays of numbers."""
        names = strings(y)
        if names is not None and self.multi_label:
            hot = np.zeros((len(names), self.labels.count), "float32")
            for row, given in zip(hot, names, strict=True):
                row[self.labels.numbers(given)] = 1
            y = hot
        elif names is not None:
            y = np.array(self.labels.numbers(names), "int32")
        y = np.asarray(y) if isinstance(y, (list, tuple)) else y
        if getattr(y, "ndim", 0) == 1:
            self.labels.check(y)
        return self.numbers_of(x), y, sample_weight

    def classify(self, x, **kwargs):
        """The class of each sequence.

        Args:
            x: as for `predict`, like the rest.

        Returns:
            A list of names, or of integers where the classes have no names: the most probable class of each sequence;
            with `multi_label` the list of those with a probability above 1/2.
        """
        probabilities = self.predict(x, **kwargs)
        names = self.labels.names or range(self.labels.count)
        if self.multi_label:
            return [[names[i] for i in np.flatnonzero(row > 0.5)] for row in probabilities]
        return [names[i] for i in np.argmax(probabilities, axis=-1)]
