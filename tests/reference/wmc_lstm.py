"""LSTM with working memory connections (Landi, Baraldi, Cornia & Cucchiara 2021)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, c, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i f g o.

    i_t = sigma(x_t W_i + h_{t-1} U_i + tanh(c_{t-1} V_i) + b_i)
    f_t = sigma(x_t W_f + h_{t-1} U_f + tanh(c_{t-1} V_f) + b_f)
    g_t = tanh (x_t W_g + h_{t-1} U_g + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = sigma(x_t W_o + h_{t-1} U_o + tanh(c_t V_o) + b_o)
    h_t = o_t * tanh(c_t)

    left_masks: of h_{t-1} before U, of c_{t-1} before V_i and V_f, of c_t before V_o.
    """
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    V_i, V_f = np.split(w["memory_kernel"], 2, axis=-1)
    old = masked(c, left_masks, 1)
    i = sigmoid(x_i + u_i(left) + np.tanh(old @ V_i))
    f = sigmoid(x_f + u_f(left) + np.tanh(old @ V_f))
    c_new = f * c + i * np.tanh(x_g + u_g(left))
    o = sigmoid(x_o + u_o(left) + np.tanh(masked(c_new, left_masks, 2) @ w["output_memory_kernel"]))
    return o * np.tanh(c_new), c_new
