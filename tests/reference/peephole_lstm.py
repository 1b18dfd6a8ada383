"""Peephole LSTM (Gers, Schraudolph & Schmidhuber 2002)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    h,
    c,
    *,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i f g o.

    i_t = sigma(x_t W_i + h_{t-1} U_i + p_i * c_{t-1} + b_i)
    f_t = sigma(x_t W_f + h_{t-1} U_f + p_f * c_{t-1} + b_f)
    g_t = tanh (x_t W_g + h_{t-1} U_g + b_g)
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = sigma(x_t W_o + h_{t-1} U_o + p_o * c_t + b_o)       the new cell
    h_t = o_t * tanh(c_t)
    """
    sigma, tanh = recurrent_activation, activation
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    h = masked(h, left_masks, 0)
    i = sigma(x_i + u_i(h) + w["p_i"] * c)
    f = sigma(x_f + u_f(h) + w["p_f"] * c)
    g = tanh(x_g + u_g(h))
    c_new = f * c + i * g
    o = sigma(x_o + u_o(h) + w["p_o"] * c_new)
    return o * tanh(c_new), c_new
