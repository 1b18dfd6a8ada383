"""Light recurrent unit (Ye et al. 2024)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Kernel f h; recurrent_kernel and bias f.

    h~_t = tanh(W_h x_t)
    f_t  = sigma(W_f x_t + U_f h_{t-1} + b_f)
    h_t  = (1 - f_t) * h_{t-1} + f_t * h~_t
    """
    x_f, x_h = projected({name: a for name, a in w.items() if name != "bias"}, x, 2, normalization)
    (u_f,) = products_of(w, 1, structure, blocks, normalization)
    f = sigmoid(x_f + u_f(masked(h, left_masks, 0)) + w.get("bias", 0.0))
    return ((1.0 - f) * h + f * np.tanh(x_h),)
