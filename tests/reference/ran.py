"""Recurrent additive network (Lee, Levy & Zettlemoyer 2017)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    h,
    c,
    *,
    activation=np.tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i f c; c has neither U nor b.

    c~_t = x_t W_c
    i_t  = sigma(x_t W_i + h_{t-1} U_i + b_i)
    f_t  = sigma(x_t W_f + h_{t-1} U_f + b_f)
    c_t  = i_t * c~_t + f_t * c_{t-1}
    h_t  = g(c_t),  g tanh or the identity
    """
    bias = w.get("bias", np.zeros(2 * h.shape[-1]))
    x_i, x_f, x_c = projected({**w, "bias": np.concatenate([bias, np.zeros(h.shape[-1])])}, x, 3, normalization)
    u_i, u_f = products_of(w, 2, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    i, f = sigmoid(x_i + u_i(left)), sigmoid(x_f + u_f(left))
    c_new = i * x_c + f * c
    return activation(c_new), c_new
