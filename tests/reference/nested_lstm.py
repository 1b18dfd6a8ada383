"""Nested LSTM (Moniz & Krueger 2017)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, c, c_inner, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: (h, c, c~)_{t-1} -> (h, c, c~)_t; the memory of the outer LSTM is an inner LSTM.

    i, f, o = sigma(x_t W_. + h_{t-1} U_. + b_.)
    h~_{t-1} = f * c_{t-1}                                       the inner LSTM's old state
    x~_t     = i * tanh(x_t W_c + h_{t-1} U_c + b_c)             and its input
    i~, f~, o~ = sigma(x~_t W~_. + h~_{t-1} U~_. + b~_.)
    c~_t = f~ * c~_{t-1} + i~ * tanh(x~_t W~_c + h~_{t-1} U~_c + b~_c)
    h~_t = o~ * tanh(c~_t)
    c_t  = h~_t
    h_t  = o * tanh(c_t)

    Stored gate order, outer and inner: i f c o. left_masks: of h_{t-1} before U, of x~_t, of h~_{t-1}.
    """
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    i, f, o = sigmoid(x_i + u_i(left)), sigmoid(x_f + u_f(left)), sigmoid(x_o + u_o(left))
    inner_h = masked(f * c, left_masks, 2)
    inner_x = masked(i * np.tanh(x_g + u_g(left)), left_masks, 1)
    inner = inner_x @ w["inner_input_kernel"] + inner_h @ w["inner_kernel"] + w.get("inner_bias", 0.0)
    i_in, f_in, g_in, o_in = np.split(inner, 4, axis=-1)
    c_inner_new = sigmoid(f_in) * c_inner + sigmoid(i_in) * np.tanh(g_in)
    c_new = sigmoid(o_in) * np.tanh(c_inner_new)
    return o * np.tanh(c_new), c_new, c_inner_new
