"""Multiplicative LSTM (Krause, Murray, Renals & Lu 2017)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, c, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i f g o m; U and b have no m.

    m_t = (x_t W_m) * (h_{t-1} V)
    i_t = sigma(x_t W_i + m_t U_i + b_i),  f_t and o_t alike
    c_t = f_t * c_{t-1} + i_t * tanh(x_t W_g + m_t U_g + b_g)
    h_t = o_t * tanh(c_t)

    left_masks: of h_{t-1} before V, of m_t before U.
    """
    bias = w.get("bias", np.zeros(w["kernel"].shape[-1] // 5 * 4))
    w_m = {**w, "bias": np.concatenate([bias, np.zeros(bias.size // 4)])}
    x_i, x_f, x_g, x_o, x_m = projected(w_m, x, 5, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    m = masked(x_m * (masked(h, left_masks, 0) @ w["multiplicative_kernel"]), left_masks, 1)
    i, f, o = sigmoid(x_i + u_i(m)), sigmoid(x_f + u_f(m)), sigmoid(x_o + u_o(m))
    c_new = f * c + i * np.tanh(x_g + u_g(m))
    return o * np.tanh(c_new), c_new
