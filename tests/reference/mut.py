"""The three mutants of an evolutionary search over recurrent cells (Jozefowicz et al. 2015).

The paper's h_t and h_{t+1} are h_{t-1} and h_t here. Where it adds the input itself, x W_in stands for x if the sizes
differ.
"""

import numpy as np

from .activations import sigmoid
from .products import masked, per_gate, products_of, projected


def without_bias(w):
    """The weights without `bias`, whose gates are not those of `kernel`."""
    return {name: a for name, a in w.items() if name != "bias"}


def bare(w, x):
    """x, or x W_in."""
    return x @ w["input_kernel"] if "input_kernel" in w else x


def mut1(w, x, h, *, tanh=np.tanh, structure="dense", blocks=None, normalization=None, left_masks=None):
    """Kernel z r, recurrent_kernel r h, bias z r h.

    z   = sigma(W_xz x_t + b_z)
    r   = sigma(W_xr x_t + W_hr h_{t-1} + b_r)
    h_t = tanh(W_hh (r * h_{t-1}) + tanh(x_t) + b_h) * z + h_{t-1} * (1 - z)
    """
    x_z, x_r = projected(without_bias(w), x, 2, normalization)
    u_r, u_h = products_of(w, 2, structure, blocks, normalization)
    b_z, b_r, b_h = per_gate(w, "bias", 3, 0.0)
    z = sigmoid(x_z + b_z)
    r = sigmoid(x_r + u_r(masked(h, left_masks, 0)) + b_r)
    return (tanh(u_h(masked(r * h, left_masks, 1)) + tanh(bare(w, x)) + b_h) * z + h * (1.0 - z),)


def mut2(w, x, h, *, tanh=np.tanh, structure="dense", blocks=None, normalization=None, left_masks=None):
    """Kernel z h, recurrent_kernel z r h, bias z h r.

    z   = sigma(W_xz x_t + W_hz h_{t-1} + b_z)
    r   = sigma(x_t + W_hr h_{t-1} + b_r)
    h_t = tanh(W_hh (r * h_{t-1}) + W_xh x_t + b_h) * z + h_{t-1} * (1 - z)
    """
    x_z, x_h = projected(without_bias(w), x, 2, normalization)
    u_z, u_r, u_h = products_of(w, 3, structure, blocks, normalization)
    b_z, b_h, b_r = per_gate(w, "bias", 3, 0.0)
    left = masked(h, left_masks, 0)
    z = sigmoid(x_z + u_z(left) + b_z)
    r = sigmoid(bare(w, x) + u_r(left) + b_r)
    return (tanh(u_h(masked(r * h, left_masks, 1)) + x_h + b_h) * z + h * (1.0 - z),)


def mut3(w, x, h, *, tanh=np.tanh, structure="dense", blocks=None, normalization=None, left_masks=None):
    """Stored gate order: z r h.

    z   = sigma(W_xz x_t + W_hz tanh(h_{t-1}) + b_z)
    r   = sigma(W_xr x_t + W_hr h_{t-1} + b_r)
    h_t = tanh(W_hh (r * h_{t-1}) + W_xh x_t + b_h) * z + h_{t-1} * (1 - z)
    """
    x_z, x_r, x_h = projected(w, x, 3, normalization)
    u_z, u_r, u_h = products_of(w, 3, structure, blocks, normalization)
    z = sigmoid(x_z + u_z(masked(tanh(h), left_masks, 0)))
    r = sigmoid(x_r + u_r(masked(h, left_masks, 1)))
    return (tanh(u_h(masked(r * h, left_masks, 2)) + x_h) * z + h * (1.0 - z),)
