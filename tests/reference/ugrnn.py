"""Update gate RNN (Collins, Sohl-Dickstein & Sussillo 2017)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, activation=np.tanh, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Stored gate order: c g.

    c_t = s(W_ch h_{t-1} + W_cx x_t + b_c)
    g_t = sigma(W_gh h_{t-1} + W_gx x_t + b_g)
    h_t = g_t * h_{t-1} + (1 - g_t) * c_t
    """
    x_c, x_g = projected(w, x, 2, normalization)
    u_c, u_g = products_of(w, 2, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    c = activation(x_c + u_c(left))
    g = sigmoid(x_g + u_g(left))
    return (g * h + (1.0 - g) * c,)
