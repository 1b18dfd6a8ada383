"""Echo state network (Jaeger 2001, GMD report 148)."""

import numpy as np

from .products import masked, products_of, projected


def step(w, x, h, *, activation=np.tanh, leak=1.0, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step of a leaky reservoir: h_t = (1 - leak) h_{t-1} + leak tanh(x_t W + h_{t-1} U + b)."""
    (x_W,) = projected(w, x, 1, normalization)
    (u,) = products_of(w, 1, structure, blocks, normalization)
    return ((1 - leak) * h + leak * activation(x_W + u(masked(h, left_masks, 0))),)
