"""FastGRNN (Kusupati et al. 2018, arXiv 1901.02358)."""

import numpy as np

from .activations import sigmoid
from .products import masked, per_gate, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Gate and candidate share W and U; stored order of the biases: z h.

    z_t  = sigma(x_t W + h_{t-1} U + b_z)
    h~_t = tanh (x_t W + h_{t-1} U + b_h)
    h_t  = (zeta (1 - z_t) + nu) * h~_t + z_t * h_{t-1}, zeta and nu in (0, 1): sigma of the trained numbers

    With a weight `kernel_left` W = kernel_left kernel.
    """
    plain = {name: a for name, a in w.items() if name != "bias"}
    if "kernel_left" in w:
        plain["kernel"] = w["kernel_left"] @ w["kernel"]
    (x_W,) = projected(plain, x, 1, normalization)
    (u,) = products_of(w, 1, structure, blocks, normalization)
    b_z, b_h = per_gate(w, "bias", 2, 0.0)
    a = x_W + u(masked(h, left_masks, 0))
    z, candidate = sigmoid(a + b_z), np.tanh(a + b_h)
    zeta, nu = sigmoid(w["zeta"]), sigmoid(w["nu"])
    return ((zeta * (1 - z) + nu) * candidate + z * h,)
