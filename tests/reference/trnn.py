"""Strongly typed recurrent network, T-RNN (Balduzzi & Ghifary 2016, arXiv 1602.02218)."""

from .activations import sigmoid
from .products import projected


def step(w, x, h, *, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Stored order: z f, that is W V. No recurrent product, hence no mask.

    z_t = x_t W
    f_t = sigma(x_t V + b)
    h_t = f_t * h_{t-1} + (1 - f_t) * z_t
    """
    plain = {name: a for name, a in w.items() if name != "bias"}
    z, x_V = projected(plain, x, 2, normalization)
    f = sigmoid(x_V + w.get("bias", 0.0))
    return (f * h + (1 - f) * z,)
