"""Gated linear attention (Yang et al. 2024, arXiv 2312.06635), section 4.4 in its recurrent form (3)."""

from .activations import sigmoid
from .heads import columns, in_heads, joined, layer_norm, read, silu, written


def step(w, x, S, *, heads, keys, tau=16.0, epsilon=1e-5):
    """One step: S_{t-1} -> S_t and y_t.

    q_t, k_t, v_t = x_t W_Q, x_t W_K, x_t W_V
    alpha_t = sigma(x_t W_alpha^1 W_alpha^2 + b_alpha)^(1 / tau)
    S_t = (alpha_t^T 1) * S_{t-1} + k_t^T v_t     of each head
    o_t = q_t S_t
    r_t = Swish(x_t W_r + b_r)
    y_t = (r_t * concat(LN(o_t of each head))) W_O
    """
    units = S.shape[-1] * heads
    sizes = {"q": heads * keys, "k": heads * keys, "v": units, "r": units, "a": w["alpha_kernel"].shape[0]}
    q, k, v, r, a = columns(w, x, sizes, ["r"])
    alpha = sigmoid(a @ w["alpha_kernel"] + w.get("alpha_bias", 0.0)) ** (1 / tau)
    q, k, v, alpha = (in_heads(p, heads) for p in (q, k, v, alpha))
    S = alpha[..., None] * S + written(k, v)
    o = layer_norm(read(S, q), epsilon) * w["norm_gain"] + w["norm_bias"]
    return S, (silu(r) * joined(o)) @ w["output_kernel"]
