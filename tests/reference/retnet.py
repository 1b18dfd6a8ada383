"""Multi-scale retention (Sun et al. 2023, arXiv 2307.08621), equations (1) to (8)."""

import numpy as np

from .heads import columns, in_heads, joined, layer_norm, read, silu, written


def turned(S, theta):
    """Rows 2p and 2p + 1 as a complex number, times e^{-i theta_p}.

    (4) reads Re(q_n e^{i n theta} conj(k_m e^{i m theta})) = Re(q_n conj(k_m e^{-i (n - m) theta})): between
    two steps the key of a pair of rows turns by -theta.
    """
    even, odd = S[..., 0::2, :], S[..., 1::2, :]
    pair = (even + 1j * odd) * np.exp(-1j * theta)[:, None]
    return np.stack([pair.real, pair.imag], axis=-2).reshape(S.shape)


def step(w, x, S, *, heads, keys, epsilon=1e-5):
    """One step: S_{t-1} -> S_t and y_t.

    q_t, k_t, v_t = x_t W_Q, x_t W_K / sqrt(K), x_t W_V
    gamma = 1 - 2^(-5 - arange(0, heads))
    theta_p = 10000^(-p / (K/2 - 1))               the paper gives no theta; so in the authors' code
    S_t = gamma e^{-i theta} S_{t-1} + k_t^T v_t   of each head
    Y_t = GroupNorm(concat(q_t S_t of each head))
    y_t = (swish(x_t W_G) * Y_t) W_O
    """
    units = S.shape[-1] * heads
    q, k, v, g = columns(w, x, {"q": heads * keys, "k": heads * keys, "v": units, "g": units})
    q, k, v = (in_heads(p, heads) for p in (q, k / np.sqrt(keys), v))
    gamma = 1 - 2.0 ** (-5 - np.arange(heads))
    theta = 10000.0 ** -np.linspace(0, 1, keys // 2)
    S = gamma[:, None, None] * turned(S, theta) + written(k, v)
    return S, (silu(g) * joined(layer_norm(read(S, q), epsilon))) @ w["output_kernel"]
