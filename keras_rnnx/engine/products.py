r"""The recurrent product \(h U\) in its structures: dense, diagonal, block diagonal, low rank, or a convolution.

A structure is linear and acts on rows, so that the engine can apply it to (B, H) inside the loop and take the gradient
of its weights once, over all T*B rows, after it.
"""

from keras import ops

from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.gates import span


def columns(weights, gates, names):
    """The part of a product's weights that makes some of its gates.

    Args:
        weights: dict of arrays: `kernel` (H, G*H), or `diagonal` (G*H,), or `blocks` (N, H/N, G*H/N), or `left` (H, R)
            and `right` (R, G*H), or `conv` (size of the window, H, G*H); and perhaps `bias` (G*H,).
        gates: the names of all gates, in storage order.
        names: the wanted ones, neighbours in that order; None for all.
    """
    if names is None or tuple(names) == tuple(gates):
        return weights
    first, last = span(gates, names)

    def part(a):
        units = a.shape[-1] // len(gates)
        return a[..., first * units : last * units]

    return {key: a if key == "left" else part(a) for key, a in weights.items()}


def apply(weights, left, dtype):
    """The product of rows `left` (..., H) with the weights: (..., gates * H), in `dtype`.

    With `conv` a row is a map (space, H), and its product the convolution that keeps the space.
    """
    if "kernel" in weights:
        product = backend.matmul(left, weights["kernel"], dtype)
    elif "diagonal" in weights:
        diagonal = ops.cast(weights["diagonal"], dtype)
        repeats = diagonal.shape[-1] // left.shape[-1]
        product = ops.concatenate([left] * repeats, axis=-1) * diagonal
    elif "blocks" in weights:
        product = _block_product(weights["blocks"], left, dtype)
    elif "conv" in weights:
        product = convolve(left, weights["conv"], dtype, padding="same")
    else:
        inner = backend.matmul(left, weights["left"], dtype)
        product = backend.matmul(inner, weights["right"], dtype)
    if "bias" in weights:
        product = product + ops.cast(weights["bias"], dtype)
    return product


def convolve(maps, kernel, dtype, strides=1, padding="valid", dilation=1):
    """The convolution of maps (B, space, C) with a kernel (window, C, N): (B, space, N), in `dtype`."""
    made = ops.conv(ops.cast(maps, kernel.dtype), kernel, strides, padding, "channels_last", dilation)
    return ops.cast(made, dtype)


def _block_product(blocks, left, dtype):
    count, size, width = blocks.shape
    rows = ops.shape(left)[:-1]
    heads = ops.moveaxis(ops.reshape(left, (-1, count, size)), 0, 1)
    product = backend.matmul(heads, blocks, dtype)  # (N, rows, gates * H/N)
    product = ops.reshape(product, (count, -1, width // size, size))
    return ops.reshape(ops.transpose(product, (1, 2, 0, 3)), (*rows, count * width))
