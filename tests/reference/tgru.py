"""Strongly typed GRU (Balduzzi & Ghifary 2016)."""

import numpy as np

from .activations import sigmoid
from .products import projected, split


def step(w, x, h, p, *, normalization=None):
    """One step: (h, p)_{t-1} -> (h, p)_t with p_t = x_t V. Stored gate order: z f o.

    z_t = V_z x_{t-1} + W_z x_t + b_z
    f_t = sigma(V_f x_{t-1} + W_f x_t + b_f)
    o_t = tanh(V_o x_{t-1} + W_o x_t + b_o)
    h_t = f_t * h_{t-1} + z_t * o_t
    """
    x_z, x_f, x_o = projected(w, x, 3, normalization)
    p_z, p_f, p_o = split(p, 3)
    z = p_z + x_z
    f = sigmoid(p_f + x_f)
    o = np.tanh(p_o + x_o)
    return f * h + z * o, x @ w["previous_kernel"]
