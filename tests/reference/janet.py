"""JANET (van der Westhuizen & Lasenby 2018)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, beta=1.0, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Stored gate order: f c.

    s_t  = x_t W_f + h_{t-1} U_f + b_f
    c~_t = tanh(x_t W_c + h_{t-1} U_c + b_c)
    c_t  = sigma(s_t) * c_{t-1} + (1 - sigma(s_t - beta)) * c~_t
    h_t  = c_t
    """
    x_f, x_c = projected(w, x, 2, normalization)
    u_f, u_c = products_of(w, 2, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    s = x_f + u_f(left)
    candidate = np.tanh(x_c + u_c(left))
    return (sigmoid(s) * h + (1.0 - sigmoid(s - beta)) * candidate,)
