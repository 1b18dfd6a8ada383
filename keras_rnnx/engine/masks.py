"""Masks, lengths and resets: checked, brought to one form, and put in reading order."""

import keras
from keras import ops

from keras_rnnx.engine.backends import backend


def checked(name, value, shape):
    """`value` as a boolean (B, T) tensor, or None.

    Args:
        name: the argument's name, for the error.
        value: None, or booleans (or 0 and 1) of shape (B, T); a trailing axis of size 1 is dropped.
        shape: the shape of the inputs, (B, T, ...).

    Raises:
        ValueError: if the shape is another one.
    """
    if value is None:
        return None
    value = ops.convert_to_tensor(value)
    checked_shape(name, value, shape)
    if len(value.shape) == 3:
        value = ops.squeeze(value, -1)
    return ops.cast(value, "bool")


def checked_shape(name, value, shape):
    """Raises unless `value` is None or of shape (B, T) or (B, T, 1), as far as shapes are known."""
    if value is None:
        return
    received = tuple(value.shape)
    expected = tuple(shape[:2])
    flags = received[:2] if len(received) == 3 and received[2] == 1 else received
    if len(flags) != 2 or any(a is not None and b is not None and a != b for a, b in zip(flags, expected, strict=True)):
        raise ValueError(f"Expected `{name}` of shape (batch, time) = {expected}. Received: shape {received}")


def from_lengths(lengths, shape):
    """The mask (B, T) of sequences that are valid up to their length.

    Args:
        lengths: integers (B,), 0 <= length <= T.
        shape: (B, T) of the inputs, static or dynamic entries.

    Raises:
        ValueError: if the rank or dtype is wrong, or (where values are known) a length is negative or above T.
    """
    lengths = ops.convert_to_tensor(lengths)
    batch, steps = shape
    known_sizes = [n for n in (batch, *lengths.shape[:1]) if isinstance(n, int)]
    fits = len(lengths.shape) == 1 and len(set(known_sizes)) <= 1
    if not fits or "int" not in keras.backend.standardize_dtype(lengths.dtype):
        raise ValueError(
            f"Expected `lengths` of shape (batch,) = ({batch},) and an integer dtype. "
            f"Received: shape {tuple(lengths.shape)}, dtype {lengths.dtype}"
        )
    values = backend.known(lengths)
    if values is not None and isinstance(steps, int) and values.size:
        low, high = values.min(), values.max()
        if low < 0 or high > steps:
            raise ValueError(f"Expected 0 <= lengths <= time = {steps}. Received: lengths from {low} to {high}")
    return ops.arange(steps)[None, :] < ops.cast(lengths, "int32")[:, None]


def reorder(outputs, mask, start=None):
    """Outputs of a reversed walk, aligned to time, in the order in which they were made.

    The j-th valid position gets the j-th output; a masked position repeats the output before it.

    Args:
        outputs: (B, T, ...), aligned to time.
        mask: (B, T) bool, or None for a plain flip.
        start: (B, ...), the output before the first step. Default: zeros.
    """
    if mask is None:
        return ops.flip(outputs, axis=1)
    steps = ops.shape(mask)[1]
    valid = ops.cast(mask, "int32")
    made = ops.cumsum(valid, axis=1)  # how many outputs are there up to each position
    positions = ops.arange(steps)[None, :] + 0 * valid
    backwards = ops.argsort(ops.where(mask, -positions, steps), axis=1)  # valid positions, last first
    source = ops.take_along_axis(backwards, ops.maximum(made - 1, 0), axis=1)

    def like_outputs(a):
        return ops.reshape(a, (*ops.shape(a), *[1] * (len(outputs.shape) - 2)))

    read = ops.take_along_axis(outputs, like_outputs(source), axis=1)
    start = ops.zeros_like(outputs[:, 0]) if start is None else ops.cast(start, outputs.dtype)
    return ops.where(like_outputs(made > 0), read, start[:, None])
