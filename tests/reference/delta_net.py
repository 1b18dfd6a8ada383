"""DeltaNet (Schlag, Irie, Schmidhuber 2021, arXiv 2102.11174; Yang et al. 2024, arXiv 2406.06484)."""

import numpy as np

from .activations import sigmoid
from .heads import columns, convolved, in_heads, joined, read, rms_norm, silu, unit, written


def step(w, x, S, before=None, *, heads, keys, epsilon=1e-5, tiny=1e-6):
    """One step: S_{t-1} and the last rows of x W -> the same of t, and y_t. Without `before` there is no conv.

    q_t = L2norm(SiLU(conv(x W_Q)_t)), k_t likewise
    v_t = SiLU(conv(x W_V)_t)
    beta_t = sigma(x_t W_beta)
    v_old = S_{t-1} k_t
    v_new = beta_t v_t + (1 - beta_t) v_old
    S_t = S_{t-1} - v_old k_t^T + v_new k_t^T      here its transpose
    y_t = RMSNorm(S_t q_t) W_O
    """
    units = S.shape[-1] * heads
    keyed = heads * keys
    *qkv, beta = columns(w, x, {"q": keyed, "k": keyed, "v": units, "beta": heads})
    q, k, v, rows = short_convolution(w, qkv, before)
    q, k, v = (in_heads(p, heads) for p in (q, k, v))
    q, k, beta = unit(q, tiny), unit(k, tiny), sigmoid(beta)[..., None]
    v_old = read(S, k)
    v_new = beta * v + (1 - beta) * v_old
    S = S - written(k, v_old) + written(k, v_new)
    y = joined(rms_norm(read(S, q), epsilon) * w["norm_gain"]) @ w["output_kernel"]
    return S, *rows, y


def short_convolution(w, qkv, before):
    """SiLU(conv) of q, k and v, and the list of rows to carry on (none without conv)."""
    if before is None:
        return *[silu(p) for p in qkv], []
    ends = np.cumsum([p.shape[-1] for p in qkv])[:-1]
    after, rows = convolved(w["conv_kernel"], np.concatenate(qkv, axis=-1), before)
    return *np.split(after, ends, axis=-1), [rows]
