"""What models that generate sequences share: compiled decoding of any number of rows."""

import json
import weakref

import keras
import numpy as np
from keras import ops, tree

from keras_rnnx.arguments import FromConfig, between, config_of, positive
from keras_rnnx.models.text import TextModel
from keras_rnnx.seq2seq.decoding import Decoded, compiled
from keras_rnnx.seq2seq.strategies import Greedy


def roomy(length):
    """The next of a few lengths, four to an octave, so that varying lengths compile few programs."""
    grain = 2 ** max(0, int(length).bit_length() - 3)
    return -(-int(length) // grain) * grain


def right_padded(rows, length):
    """Integers (N, T) padded with 0 to (N, length)."""
    return np.pad(rows, [(0, 0), (0, length - rows.shape[1])])


class GeneratingModel(FromConfig, TextModel):
    """A model with a `program` that decodes a batch of arrays, which `decode_rows` compiles and runs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._programs = ({}, weakref.WeakKeyDictionary())
        self.accuracy = keras.metrics.Mean(name="accuracy")

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), **config_of(self, GeneratingModel, keras.Model)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of `compile`, or else the mean cross-entropy; measures the accuracy."""
        loss, accuracy, count = masked_cross_entropy(y, y_pred, sample_weight)
        self.accuracy.update_state(accuracy, sample_weight=count)
        if getattr(self, "loss", None) is not None:
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + sum(self.losses)

    def program(self, arrays, strategy, **settings):
        """Decodes a batch: a function of arrays that runs compiled and returns a `Decoded`."""
        raise NotImplementedError

    def allowed(self, logits, text, start, unknown):
        """Logits (N, V) without the tokens that are never said: padding, the start, and perhaps unknown words."""
        barred = {0, start} | (set() if unknown or text is None else {text.unknown_id})
        barred = ops.convert_to_tensor([i in barred for i in range(logits.shape[-1])])
        return ops.where(barred, ops.full_like(logits, float("-inf")), logits)

    def decode_rows(self, arrays, strategy, batch_size, **settings):
        """Decodes rows, batch by batch.

        Args:
            arrays: a dict of NumPy arrays (N, ...).
            strategy: a `Strategy` or None for `Greedy()`.
            batch_size: int > 0; the last batch is filled up with its first row.
            **settings: what `program` takes besides.

        Returns:
            A `Decoded` of NumPy arrays with N rows.
        """
        if not self.built:
            raise ValueError("Expected a model that has been trained, loaded or called. Received: one without weights")
        strategy = Greedy() if strategy is None else strategy
        count, parts = len(next(iter(arrays.values()))), []
        size = min(positive("batch_size", batch_size), roomy(max(count, 1)))
        for first in range(0, count, size):
            batch = {name: a[first : first + size] for name, a in arrays.items()}
            rows = len(next(iter(batch.values())))
            filled = {n: np.concatenate([a, np.repeat(a[:1], size - rows, axis=0)]) for n, a in batch.items()}
            made = self._program_of(filled, strategy, settings)(filled)
            parts.append([None if a is None else ops.convert_to_numpy(a)[:rows] for a in made])
        if not parts:
            raise ValueError("Expected at least one sequence. Received: none")
        return Decoded(*(None if each[0] is None else np.concatenate(each) for each in zip(*parts, strict=True)))

    def _program_of(self, arrays, strategy, settings):
        """The compiled program for shapes, settings and a strategy, made once for each."""
        shared, own = self._programs
        if strategy.variables:  # its draws go on from call to call, so it is not the same as another one like it
            programs = own.setdefault(strategy, {})
            name = ""
        else:
            programs, name = shared, json.dumps(keras.saving.serialize_keras_object(strategy), sort_keys=True)
        key = (name, tuple(sorted(settings.items())), *((n, a.shape, str(a.dtype)) for n, a in sorted(arrays.items())))
        if key not in programs:

            def program(arrays):
                return tuple(self.program(arrays, strategy, **settings))

            programs[key] = compiled(program, [*self.variables, *strategy.variables])
        return lambda arrays: programs[key](tree.map_structure(ops.convert_to_tensor, arrays))


class Bridges(keras.layers.Layer):
    r"""The states in which a decoder starts: \(\tanh(z W + b)\) of a vector z (B, Z), for each of them.

    Args:
        sizes: list of int > 0, the sizes of the states.
    """

    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.sizes = list(sizes)
        self.layers = [
            keras.layers.Dense(n, "tanh", dtype=self.dtype_policy, name=f"state_{i}") for i, n in enumerate(self.sizes)
        ]

    def build(self, input_shape):
        """Builds the layers."""
        for layer in self.layers:
            layer.build(input_shape)

    def call(self, z):
        """The states, a list."""
        return [layer(z) for layer in self.layers]

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), "sizes": self.sizes}


def next_tokens(tokens, end):
    """What a decoder reads and what it is to say, of token sequences (N, T).

    The one is without the last token, and without any end token, after which nothing is read; the other without the
    first token.
    """
    read = tokens[:, :-1]
    return (read if end is None else np.where(read == end, 0, read)), tokens[:, 1:]


def checked_tokens(name, tokens, vocabulary, least=2):
    """Tokens (N, T) as a NumPy array, or a ValueError where they are none of this vocabulary."""
    tokens = np.asarray(tokens)
    if tokens.ndim != 2 or tokens.shape[1] < least or tokens.dtype.kind not in "iu":
        raise ValueError(
            f"Expected {name} (N, T >= {least}) of integers. Received: {tokens.dtype} of shape {tokens.shape}"
        )
    return between(name, tokens, 0, vocabulary - 1)


def checked_ends(text, start, end, vocabulary):
    """The start and the end token: those of a `Text`, or the given ones; each may be None.

    Raises:
        ValueError: if both say one, or they are not two tokens of the vocabulary.
    """
    if text is not None:
        if start is not None or end is not None:
            raise ValueError(f"Expected no `start` and `end` beside a Text. Received: {start!r} and {end!r}")
        if text.size != vocabulary:
            raise ValueError(f"Expected a decoder of the {text.size} tokens of its Text. Received: one of {vocabulary}")
        start, end = text.start_id, text.end_id
    given = [positive(name, token) for name, token in (("start", start), ("end", end)) if token is not None]
    if len(set(given)) < len(given) or max(given, default=0) >= vocabulary:
        raise ValueError(f"Expected different tokens below {vocabulary}. Received: start={start!r}, end={end!r}")
    return start, end


def generated(made, text):
    """The best sequences of a `Decoded`, or lists of the K best: texts, or integers without the end token."""
    if text is not None:
        best = [text.decode(row) for row in made.tokens]
    else:
        ends = made.lengths - made.finished
        best = [[t[:n] for t, n in zip(*row, strict=True)] for row in zip(made.tokens, ends, strict=True)]
    return best if made.tokens.shape[1] > 1 else [row[0] for row in best]


def masked_cross_entropy(y, logits, sample_weight=None):
    """The mean cross-entropy of tokens (B, T) that are no padding, and the share of right ones, with their number.

    Args:
        y: (B, T) integers; 0 does not count.
        logits: (B, T, V).
        sample_weight: (B,) or (B, T) or None.

    Returns:
        Three scalars: the mean loss, the accuracy, the sum of the weights.
    """
    counted = ops.cast(ops.not_equal(y, 0), logits.dtype)
    if sample_weight is not None:
        weight = ops.cast(sample_weight, logits.dtype)
        counted = counted * (weight[:, None] if len(weight.shape) == 1 else weight)
    total = ops.maximum(ops.sum(counted), keras.config.epsilon())
    losses = keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
    right = ops.cast(ops.equal(ops.cast(ops.argmax(logits, axis=-1), "int32"), ops.cast(y, "int32")), logits.dtype)
    return ops.sum(counted * losses) / total, ops.sum(counted * right) / total, ops.sum(counted)
