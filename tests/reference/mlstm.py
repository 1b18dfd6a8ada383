"""Matrix LSTM of xLSTM (Beck et al. 2024, arXiv 2405.04517), equations (19) to (27)."""

import numpy as np

from .activations import sigmoid
from .heads import columns, in_heads, joined, read, written


def step(w, x, C, n, m, *, heads, keys, forget_gate="sigmoid"):
    """One step: C_{t-1} e^{-m}, n_{t-1} e^{-m}, m_{t-1} -> the same of t, and h_t.

    q_t = W_q x_t + b_q
    k_t = W_k x_t / sqrt(K) + b_k
    v_t = W_v x_t + b_v
    i_t = exp(w_i x_t + b_i)
    f_t = sigma(w_f x_t + b_f)  or  exp(w_f x_t + b_f)
    o_t = sigma(W_o x_t + b_o)
    C_t = f_t C_{t-1} + i_t v_t k_t^T            here its transpose
    n_t = f_t n_{t-1} + i_t k_t
    h_t = o_t * (C_t q_t) / max(|n_t . q_t|, 1)
    m_t = max(log f_t + m_{t-1}, log i_t)        (15): any m leaves h as it is; see `unscaled`
    """
    units = C.shape[-1] * heads
    sizes = {"q": heads * keys, "k": heads * keys, "v": units, "o": units, "i": heads, "f": heads}
    bias = w.get("bias", np.zeros(w["kernel"].shape[-1]))
    q, k, v, o, i, f = columns({"kernel": w["kernel"]}, x, sizes)
    b_q, b_k, b_v, b_o, b_i, b_f = np.split(bias, np.cumsum(list(sizes.values()))[:-1])
    q, k, v = (in_heads(a, heads) for a in (q + b_q, k / np.sqrt(keys) + b_k, v + b_v))
    i = np.exp(i + b_i)
    f = sigmoid(f + b_f) if forget_gate == "sigmoid" else np.exp(f + b_f)
    C, n = unscaled(C, n, m)
    C = f[..., None, None] * C + i[..., None, None] * written(k, v)
    n = f[..., None] * n + i[..., None] * k
    h = read(C, q) / np.maximum(np.abs((n * q).sum(axis=-1, keepdims=True)), 1.0)
    m = np.maximum(np.log(f) + m, np.log(i))
    return *unscaled(C, n, -m), m, sigmoid(o + b_o) * joined(h)


def unscaled(C, n, m, exp=np.exp):
    """C e^m and n e^m: what the states mean, whatever the stabilizer."""
    return C * exp(m)[..., None, None], n * exp(m)[..., None]
