"""Linear recurrence with a constant diagonal (Martin & Cundy 2018, arXiv 1709.04057)."""

import numpy as np

from .products import projected


def step(w, x, h):
    """One step: h_{t-1} -> h_t.

    h_t = a * h_{t-1} + x_t W + b,  a = tanh(alpha)
    """
    (z,) = projected(w, x, 1, None)
    return (np.tanh(w["alpha"]) * h + z,)
