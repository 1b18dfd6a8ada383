"""FastRNN (Kusupati et al. 2018, arXiv 1901.02358)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, activation=np.tanh, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t.

    h~_t = tanh(x_t W + h_{t-1} U + b)
    h_t  = alpha h~_t + beta h_{t-1}, alpha and beta in (0, 1): sigma of the trained numbers
    """
    (x_W,) = projected(w, x, 1, normalization)
    (u_h,) = products_of(w, 1, structure, blocks, normalization)
    candidate = activation(x_W + u_h(masked(h, left_masks, 0)))
    return (sigmoid(w["alpha"]) * candidate + sigmoid(w["beta"]) * h,)
