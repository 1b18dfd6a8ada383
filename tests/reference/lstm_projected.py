"""LSTM with a recurrent projection layer (Sak, Senior & Beaufays 2014)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, r, c, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: (r_{t-1} (P,), c_{t-1} (H,)) -> (r_t, c_t). Stored gate order: i f g o. No peepholes.

    i_t = sigma(x_t W_i + r_{t-1} U_i + b_i),  f_t and o_t alike
    c_t = f_t * c_{t-1} + i_t * tanh(x_t W_g + r_{t-1} U_g + b_g)
    m_t = o_t * tanh(c_t)
    r_t = m_t W_r                              the projection is what the gates and the next layer read

    left_masks: of r_{t-1} before U, then of m_t before W_r.
    """
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    r = masked(r, left_masks, 0)
    i, f, o = sigmoid(x_i + u_i(r)), sigmoid(x_f + u_f(r)), sigmoid(x_o + u_o(r))
    c_new = f * c + i * np.tanh(x_g + u_g(r))
    m = o * np.tanh(c_new)
    return masked(m, left_masks, 1) @ w["projection_kernel"], c_new
