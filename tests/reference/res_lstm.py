"""Residual LSTM (Kim, El-Khamy & Lee 2017)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    h,
    c,
    *,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i f g o.

    i_t = sigma(x_t W_i + h_{t-1} U_i + p_i * c_{t-1} + b_i)
    f_t = sigma(x_t W_f + h_{t-1} U_f + p_f * c_{t-1} + b_f)
    d_t = f_t * c_{t-1} + i_t * tanh(x_t W_c + h_{t-1} U_c + b_c)         the new cell
    o_t = sigma(x_t W_o + h_{t-1} U_o + p_o * d_t + b_o)
    r_t = tanh(d_t)
    m_t = r_t W_p
    h_t = o_t * (m_t + x_t W_h),   W_h the identity where x is as wide as h
    """
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    i = sigmoid(x_i + u_i(left) + w["p_i"] * c)
    f = sigmoid(x_f + u_f(left) + w["p_f"] * c)
    c_new = f * c + i * np.tanh(x_g + u_g(left))
    o = sigmoid(x_o + u_o(left) + w["p_o"] * c_new)
    m = masked(np.tanh(c_new), left_masks, 1) @ w["projection_kernel"]
    shortcut = x @ w["input_kernel"] if "input_kernel" in w else x
    return o * (m + shortcut), c_new
