"""Minimal gated unit (Zhou et al. 2016)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Stored gate order: f h.

    f_t  = sigma(W_f [h_{t-1}, x_t] + b_f)
    h~_t = tanh(W_h [f_t * h_{t-1}, x_t] + b_h)
    h_t  = (1 - f_t) * h_{t-1} + f_t * h~_t
    """
    x_f, x_h = projected(w, x, 2, normalization)
    u_f, u_h = products_of(w, 2, structure, blocks, normalization)
    f = sigmoid(x_f + u_f(masked(h, left_masks, 0)))
    candidate = np.tanh(x_h + u_h(masked(f * h, left_masks, 1)))
    return ((1.0 - f) * h + f * candidate,)
