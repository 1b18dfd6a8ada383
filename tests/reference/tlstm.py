"""Strongly typed LSTM (Balduzzi & Ghifary 2016)."""

import numpy as np

from .activations import sigmoid
from .products import projected


def step(w, x, h, c, v, *, normalization=None):
    """One step: (h_{t-1}, c_{t-1}, x_{t-1} V) -> (h_t, c_t, x_t V). Stored order: z f o; V is previous_kernel.

    z_t = x_{t-1} V_z + x_t W_z + b_z
    f_t = sigma(x_{t-1} V_f + x_t W_f + b_f)
    o_t = tau  (x_{t-1} V_o + x_t W_o + b_o)
    c_t = f_t * c_{t-1} + (1 - f_t) * z_t
    h_t = c_t * o_t
    """
    x_z, x_f, x_o = projected(w, x, 3, normalization)
    v_z, v_f, v_o = np.split(v, 3, axis=-1)
    f = sigmoid(x_f + v_f)
    c_new = f * c + (1.0 - f) * (x_z + v_z)
    return c_new * np.tanh(x_o + v_o), c_new, x @ w["previous_kernel"]
