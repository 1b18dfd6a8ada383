"""Gated DeltaNet (Yang, Kautz, Hatamizadeh 2025, arXiv 2412.06464), equation (10) and section 3.4."""

import numpy as np

from .activations import sigmoid
from .delta_net import short_convolution
from .heads import columns, in_heads, joined, read, rms_norm, silu, softplus, unit, written


def step(w, x, S, before=None, *, heads, keys, epsilon=1e-5, tiny=1e-6):
    """One step: S_{t-1} and the last rows of x W -> the same of t, and y_t. Without `before` there is no conv.

    q_t = L2norm(SiLU(conv(x W_Q)_t)), k_t likewise
    v_t = SiLU(conv(x W_V)_t)
    beta_t = sigma(x_t W_beta)
    alpha_t = exp(-exp(A_log) softplus(x_t W_a + b_dt))
    S_t = S_{t-1} (alpha_t (I - beta_t k_t k_t^T)) + beta_t v_t k_t^T      here its transpose
    y_t = (RMSNorm(S_t q_t) * SiLU(x_t W_g)) W_O
    """
    units = S.shape[-1] * heads
    keyed = heads * keys
    sizes = {"q": keyed, "k": keyed, "v": units, "beta": heads, "a": heads, "g": units}
    *qkv, beta, a, g = columns(w, x, sizes, ["q", "k", "v", "beta", "g"])
    q, k, v, rows = short_convolution(w, qkv, before)
    q, k, v = (in_heads(p, heads) for p in (q, k, v))
    q, k, beta = unit(q, tiny), unit(k, tiny), sigmoid(beta)[..., None]
    alpha = np.exp(-np.exp(w["A_log"]) * softplus(a + w["dt_bias"]))[..., None, None]
    erase = np.eye(keys) - beta[..., None] * written(k, k)
    S = alpha * (erase @ S) + written(k, beta * v)
    o = joined(rms_norm(read(S, q), epsilon) * w["norm_gain"])
    return S, *rows, (o * silu(g)) @ w["output_kernel"]
