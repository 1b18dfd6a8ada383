"""Stackable recurrent cell, STAR (Turkoglu et al. 2021)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Kernel and bias k z, recurrent_kernel k.

    k_t = sigma(W_x x_t + W_h h_{t-1} + b_k)
    z_t = tanh(W_z x_t + b_z)
    h_t = tanh((1 - k_t) * h_{t-1} + k_t * z_t)
    """
    x_k, x_z = projected(w, x, 2, normalization)
    (u_k,) = products_of(w, 1, structure, blocks, normalization)
    k = sigmoid(x_k + u_k(masked(h, left_masks, 0)))
    z = np.tanh(x_z)
    return (np.tanh((1.0 - k) * h + k * z),)
