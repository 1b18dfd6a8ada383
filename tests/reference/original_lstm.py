"""The first long short-term memory (Hochreiter & Schmidhuber 1997), without forget gate."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def squash_two(v):
    """g of the paper: the logistic function, scaled to (-2, 2)."""
    return 4.0 / (1.0 + np.exp(-v)) - 2.0


def squash_one(v):
    """h of the paper: the logistic function, scaled to (-1, 1)."""
    return 2.0 / (1.0 + np.exp(-v)) - 1.0


def step(
    w,
    x,
    h,
    c,
    *,
    input_squash=squash_two,
    output_squash=squash_one,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i g o.

    y_in  = sigma(net_in),  y_out = sigma(net_out),  net_. = x_t W_. + h_{t-1} U_. + b_.
    s_t = s_{t-1} + y_in * g(net_c)            the carousel has the weight 1: nothing forgets
    y_t = y_out * h(s_t)
    """
    x_i, x_g, x_o = projected(w, x, 3, normalization)
    u_i, u_g, u_o = products_of(w, 3, structure, blocks, normalization)
    h = masked(h, left_masks, 0)
    i = recurrent_activation(x_i + u_i(h))
    o = recurrent_activation(x_o + u_o(h))
    c_new = c + i * input_squash(x_g + u_g(h))
    return o * output_squash(c_new), c_new
