"""Simple gated recurrent network (Zu & Wei 2020)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. The same x_t W enters the gate and the state.

    f_t = sigma(x_t W + h_{t-1} U + b)
    i_t = 1 - f_t
    h_t = tanh(i_t * (x_t W) + f_t * h_{t-1})
    """
    plain = {name: a for name, a in w.items() if name != "bias"}
    (x_W,) = projected(plain, x, 1, normalization)
    (u_f,) = products_of(w, 1, structure, blocks, normalization)
    f = sigmoid(x_W + u_f(masked(h, left_masks, 0)) + w.get("bias", 0.0))
    i = 1 - f
    return (np.tanh(i * x_W + f * h),)
