"""Bistable recurrent cell and its neuromodulated form (Vecoven, Ernst & Drion 2021)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def nbrc(
    w,
    x,
    h,
    *,
    activation=np.tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: h_{t-1} -> h_t. Kernel and bias a c h, recurrent_kernel a c.

    a_t = 1 + tanh(U_a x_t + W_a h_{t-1})
    c_t = sigma(U_c x_t + W_c h_{t-1})
    h_t = c_t * h_{t-1} + (1 - c_t) * tanh(U x_t + a_t * h_{t-1})
    """
    x_a, x_c, x_h = projected(w, x, 3, normalization)
    u_a, u_c = products_of(w, 2, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    a = 1.0 + np.tanh(x_a + u_a(left))
    c = sigmoid(x_c + u_c(left))
    return (c * h + (1.0 - c) * activation(x_h + a * h),)


def brc(w, x, h, *, structure="diagonal", **options):
    """The same with vectors w_a, w_c: w_a * h_{t-1} for W_a h_{t-1}."""
    return nbrc(w, x, h, structure=structure, **options)
