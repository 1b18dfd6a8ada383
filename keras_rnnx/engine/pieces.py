"""The first axis of an array, cut into pieces of one size and joined again; sizes of zero (empty batches) included."""

from keras import ops


def short_of_whole(steps, size):
    """How many steps make `steps` a multiple of `size`; no remainder of a negative number, which tf2onnx gets wrong."""
    return (size - steps % size) % size


def padded(a, size):
    """a (T, ...) with zeros up to a multiple of `size`."""
    extra = short_of_whole(ops.shape(a)[0], size)
    if isinstance(extra, int) and not extra:
        return a
    return ops.concatenate([a, ops.zeros((extra, *ops.shape(a)[1:]), a.dtype)])


def in_pieces(a, size):
    """a (T, ...), T a multiple of `size`, as (T / size, size, ...)."""
    steps, *rest = ops.shape(a)
    return ops.reshape(a, (steps // size, size, *rest))


def merged(a):
    """(M, N, ...) as (M * N, ...)."""
    first, second, *rest = ops.shape(a)
    return ops.reshape(a, (first * second, *rest))
