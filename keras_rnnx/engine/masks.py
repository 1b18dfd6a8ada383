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


def checked_intervals(name, value, shape):
    """`value` as a (B, T) float tensor, or None.

    Args:
        name: the argument's name, for the error.
        value: None, or numbers >= 0 of shape (B, T); a trailing axis of size 1 is dropped.
        shape: the shape of the inputs, (B, T, ...).

    Raises:
        ValueError: if the shape is another one, or (where values are known) a number is negative.
    """
    checked_shape(name, value, shape)
    if value is None or isinstance(value, keras.KerasTensor):
        return value
    value = ops.convert_to_tensor(value)
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype)):
        value = ops.cast(value, "float32")
    if len(value.shape) == 3:
        value = ops.squeeze(value, -1)
    values = backend.known(value)
    if values is not None and values.size and values.min() < 0:
        raise ValueError(f"Expected `{name}` >= 0. Received: {name} down to {values.min()}")
    return value


def checked_lengths(lengths, batch):
    """Raises unless `lengths` is None or integers of shape (B,), as far as shapes are known."""
    if lengths is None:
        return
    known_sizes = [n for n in (batch, *lengths.shape[:1]) if isinstance(n, int)]
    fits = len(lengths.shape) == 1 and len(set(known_sizes)) <= 1
    if not fits or "int" not in keras.backend.standardize_dtype(lengths.dtype):
        raise ValueError(
            f"Expected `lengths` of shape (batch,) = ({batch},) and an integer dtype. "
            f"Received: shape {tuple(lengths.shape)}, dtype {lengths.dtype}"
        )


def from_lengths(lengths, shape):
    """The mask (B, T) of sequences that are valid up to their length.

    Args:
        lengths: integers (B,), 0 <= length <= T.
        shape: (B, T) of the inputs, static or dynamic entries.

    Raises:
        ValueError: if the rank or dtype is wrong, or (where values are known) a length is negative or above T.
    """
    batch, steps = shape
    lengths = ops.convert_to_tensor(lengths)
    checked_lengths(lengths, batch)
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
    made = ops.cumsum(ops.cast(mask, "int32"), axis=1)  # how many outputs are there up to each position
    backwards = places(mask, reverse=True)
    source = ops.take_along_axis(backwards, ops.maximum(made - 1, 0), axis=1)

    def like_outputs(a):
        return ops.reshape(a, (*ops.shape(a), *[1] * (len(outputs.shape) - 2)))

    read = ops.take_along_axis(outputs, like_outputs(source), axis=1)
    start = ops.zeros_like(outputs[:, 0]) if start is None else ops.cast(start, outputs.dtype)
    return ops.where(like_outputs(made > 0), read, start[:, None])


def reversed_intervals(deltas, mask=None, resets=None):
    """The interval that a walk from last to first reads at each step: that to the valid step it has just left.

    The first step read of a sequence, or of a document, gets the interval of that sequence's first valid step, so that
    reversing the valid steps by hand, with these intervals, gives the same walk.

    Args:
        deltas: (B, T), the time since the valid step before.
        mask: (B, T) bool, or None.
        resets: (B, T) bool, True at the first step of a document, or None.

    Returns:
        (B, T); what stands at masked steps means nothing.
    """
    if mask is None and resets is None:
        return ops.roll(deltas, -1, axis=1)
    none = ops.zeros_like(deltas, dtype="bool")
    mask = ~none if mask is None else mask
    documents = ops.cumsum(ops.cast(none if resets is None else resets, "int32"), axis=1)
    # In the order of the valid steps, then back: `source[j]` is the valid step whose interval the j-th one reads.
    order = places(mask)
    numbers = ops.where(ops.take_along_axis(mask, order, axis=1), ops.take_along_axis(documents, order, axis=1), -1)
    changes = numbers[:, 1:] != numbers[:, :-1]
    edge = ops.ones_like(mask[:, :1])
    first, last = ops.concatenate([edge, changes], axis=1), ops.concatenate([changes, edge], axis=1)
    count = ops.cumsum(ops.cast(first, "int32"), axis=1) - 1
    starts = ops.take_along_axis(places(first), count, axis=1)
    source = ops.where(last, starts, ops.arange(ops.shape(mask)[1])[None, :] + 1)
    steps = ops.take_along_axis(order, ops.minimum(source, ops.shape(mask)[1] - 1), axis=1)
    made = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    return ops.take_along_axis(ops.take_along_axis(deltas, steps, axis=1), ops.maximum(made - 1, 0), axis=1)


def rows(flags, like):
    """Flags with axes of size 1 behind, shaped to select rows of `like`, whose leading axes are theirs."""
    return ops.reshape(flags, (*ops.shape(flags), *[1] * (len(like.shape) - len(flags.shape))))


def quiet(a, mask):
    """a, whose leading axes are those of the mask, with zeros where that is False."""
    return ops.where(rows(mask, a), a, ops.zeros_like(a))


def bounded(arrays, bound, mask=None):
    """Arrays (B, ...) in [-bound, bound]; with a mask (B,) only where that is True."""
    inside = [ops.clip(a, -bound, bound) for a in arrays]
    if mask is None:
        return inside
    return [ops.where(rows(mask, a), new, a) for a, new in zip(arrays, inside, strict=True)]


def taken(a, places):
    """a (S, B, ...) at the places (T, B) of each row: (T, B, ...)."""
    return ops.take_along_axis(a, rows(places, a), axis=0)


def last_read(a, mask=None, resets=None):
    """a (T, B, ...) with each masked step's replaced by the last one read in its document, zero before any."""
    if mask is None:
        return a
    known = mask if resets is None else ops.logical_or(mask, resets)
    return held(quiet(a, mask), known)


def held(a, known):
    """a (T, B, ...) with each entry that is not known replaced by the last known one before it, zeros before any.

    Args:
        a: (T, B, ...).
        known: (T, B) bool.
    """
    known = ops.transpose(known)
    count = ops.cumsum(ops.cast(known, "int32"), axis=1)
    last = ops.transpose(ops.take_along_axis(places(known), ops.maximum(count - 1, 0), axis=1))
    found = ops.transpose(count) > 0
    return ops.where(rows(found, a), taken(a, last), ops.zeros_like(a))


def places(flags, reverse=False):
    """The positions (B, T) at which flags are True, in order, or last first; then the other positions."""
    steps = ops.shape(flags)[1]
    positions = ops.arange(steps)[None, :] + ops.zeros_like(flags, dtype="int32")
    rank = ops.where(flags, -positions, steps) if reverse else ops.where(flags, positions, steps + positions)
    return ops.argsort(rank, axis=1)
