"""LSTM with coupled input and forget gate (CIFG of Greff et al. 2017)."""

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
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i z o. p_i and p_o may be absent.

    i_t = sigma(x_t W_i + h_{t-1} U_i + p_i * c_{t-1} + b_i)
    f_t = 1 - i_t
    z_t = tanh (x_t W_z + h_{t-1} U_z + b_z)
    c_t = z_t * i_t + c_{t-1} * f_t
    o_t = sigma(x_t W_o + h_{t-1} U_o + p_o * c_t + b_o)
    y_t = tanh(c_t) * o_t
    """
    sigma, tanh = recurrent_activation, activation
    x_i, x_z, x_o = projected(w, x, 3, normalization)
    u_i, u_z, u_o = products_of(w, 3, structure, blocks, normalization)
    h = masked(h, left_masks, 0)
    i = sigma(x_i + u_i(h) + w.get("p_i", 0.0) * c)
    z = tanh(x_z + u_z(h))
    c_new = z * i + c * (1.0 - i)
    o = sigma(x_o + u_o(h) + w.get("p_o", 0.0) * c_new)
    return tanh(c_new) * o, c_new
