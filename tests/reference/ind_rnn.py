"""Independently recurrent network (Li et al. 2018, arXiv 1803.04831)."""

from .activations import relu
from .products import masked, products_of, projected


def step(w, x, h, *, activation=relu, structure="diagonal", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t = relu(x_t W + u * h_{t-1} + b)."""
    (x_W,) = projected(w, x, 1, normalization)
    (u,) = products_of(w, 1, structure, blocks, normalization)
    return (activation(x_W + u(masked(h, left_masks, 0))),)
