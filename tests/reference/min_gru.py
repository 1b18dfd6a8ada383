"""Minimal gated recurrent unit (Feng et al. 2024, arXiv 2410.01201)."""

from .activations import sigmoid
from .products import projected


def step(w, x, h, *, activation=lambda v: v):
    """One step: h_{t-1} -> h_t. Stored gate order: z n.

    z_t = sigma(x_t W_z + b_z)
    n_t = f(x_t W_n + b_n)                        the paper's h~
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t
    """
    z, n = projected(w, x, 2, None)
    return ((1 - sigmoid(z)) * h + sigmoid(z) * activation(n),)
