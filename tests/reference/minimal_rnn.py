"""MinimalRNN (Chen 2017)."""

import numpy as np

from .activations import sigmoid
from .products import masked, per_gate, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Bias: z u.

    z_t = tanh(W_x x_t + b_z)
    u_t = sigma(U_h h_{t-1} + U_z z_t + b_u)
    h_t = u_t * h_{t-1} + (1 - u_t) * z_t
    """
    (x_z,) = projected({name: a for name, a in w.items() if name != "bias"}, x, 1, normalization)
    (u_h,) = products_of(w, 1, structure, blocks, normalization)
    b_z, b_u = per_gate(w, "bias", 2, 0.0)
    z = np.tanh(x_z + b_z)
    update = sigmoid(u_h(masked(h, left_masks, 0)) + z @ w["update_kernel"] + b_u)
    return (update * h + (1.0 - update) * z,)
