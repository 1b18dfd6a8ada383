"""What models that generate sequences share: compiled decoding of any number of rows."""

import json
import weakref

import keras
import numpy as np
from keras import ops, tree

from keras_rnnx.arguments import positive
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


class GeneratingModel(TextModel):
    """A model with a `program` that decodes a batch of arrays, which `decode_rows` compiles and runs."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._programs = ({}, weakref.WeakKeyDictionary())

    def program(self, arrays, strategy, **settings):
        """Decodes a batch: a function of arrays that runs compiled and returns a `Decoded`."""
        raise NotImplementedError

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


def next_tokens(tokens):
    """What a decoder reads and what it is to say, of token sequences (N, T): without the last, without the first."""
    return tokens[:, :-1], tokens[:, 1:]


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
