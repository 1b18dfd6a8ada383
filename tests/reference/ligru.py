"""Light GRU (Ravanelli et al. 2018), with a bias in place of batch normalization."""

from .activations import relu, sigmoid
from .products import masked, products_of, projected


def step(w, x, h, *, activation=relu, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Stored gate order: z h.

    z_t  = sigma(W_z x_t + b_z + U_z h_{t-1})
    h~_t = relu(W_h x_t + b_h + U_h h_{t-1})
    h_t  = z_t * h_{t-1} + (1 - z_t) * h~_t
    """
    x_z, x_h = projected(w, x, 2, normalization)
    u_z, u_h = products_of(w, 2, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    z = sigmoid(x_z + u_z(left))
    candidate = activation(x_h + u_h(left))
    return (z * h + (1.0 - z) * candidate,)
