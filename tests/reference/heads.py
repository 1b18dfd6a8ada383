"""What the twins of matrix memories share: heads, short convolutions, norms and the activations of their papers."""

import numpy as np

from .activations import sigmoid


def in_heads(v, heads):
    """(..., heads * size) -> (..., heads, size)."""
    return v.reshape(*v.shape[:-1], heads, -1)


def joined(v):
    """(..., heads, size) -> (..., heads * size)."""
    return v.reshape(*v.shape[:-2], -1)


def columns(w, x, sizes, biased=None):
    """x W + b, cut into parts of the given {name: columns}; b is there for the names in `biased` (None: all)."""
    names = list(sizes) if biased is None else biased
    ends = np.cumsum([sizes[n] for n in names])[:-1]
    bias = dict(zip(names, np.split(w["bias"], ends), strict=True)) if "bias" in w else {}
    parts = np.split(x @ w["kernel"], np.cumsum(list(sizes.values()))[:-1], axis=-1)
    return [part + bias.get(name, 0.0) for name, part in zip(sizes, parts, strict=True)]


def written(k, v):
    """k^T v for rows k (..., heads, K) and v (..., heads, V)."""
    return k[..., :, None] * v[..., None, :]


def read(S, q):
    """q S for each head."""
    return (q[..., :, None] * S).sum(axis=-2)


def convolved(w, u, before):
    """SiLU of the causal convolution of each column at this step, and the rows for the next one.

    c_t = sum_{j < W} w_j * u_{t - (W - 1 - j)}, w_0 for the oldest row

    Args:
        w: (W, C).
        u: (..., C), the row of this step.
        before: (..., W - 1, C), the rows before, the oldest first.
    """
    rows = np.concatenate([before, u[..., None, :]], axis=-2)
    return silu((w * rows).sum(axis=-2)), rows[..., 1:, :]


def silu(v):
    return v * sigmoid(v)


def softplus(v):
    return np.log1p(np.exp(v))


def unit(v, epsilon):
    """v / |v|, the norm of the last axis."""
    return v / np.sqrt((v**2).sum(axis=-1, keepdims=True) + epsilon)


def rms_norm(v, epsilon):
    return v / np.sqrt((v**2).mean(axis=-1, keepdims=True) + epsilon)


def layer_norm(v, epsilon):
    return rms_norm(v - v.mean(axis=-1, keepdims=True), epsilon)
