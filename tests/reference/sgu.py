"""Simple gated unit and deep simple gated unit (Gao & Glowacka 2016)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def hard_sigmoid(v):
    return np.clip(v / 5.0 + 0.5, 0.0, 1.0)


def softplus(v):
    return np.log1p(np.exp(v))


def sgu(
    w,
    x,
    h,
    *,
    gate=hard_sigmoid,
    output_activation=softplus,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: h_{t-1} -> h_t. Stored gate order: g z.

    x_g   = W_xh x_t + b_g
    z_g   = tanh(W_zxh (x_g * h_{t-1}))
    z_out = softplus(z_g * h_{t-1})
    z_t   = hard_sigmoid(W_xz x_t + b_z + W_hz h_{t-1})
    h_t   = z_out * z_t + (1 - z_t) * h_{t-1}
    """
    x_g, x_z = projected(w, x, 2, normalization)
    u_g, u_z = products_of(w, 2, structure, blocks, normalization)
    z_g = np.tanh(u_g(masked(x_g * h, left_masks, 0)))
    z_out = output_activation(z_g * h)
    z = gate(x_z + u_z(masked(h, left_masks, 1)))
    return (z_out * z + (1.0 - z) * h,)


def dsgu(
    w,
    x,
    h,
    *,
    gate=hard_sigmoid,
    output_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: h_{t-1} -> h_t. Kernel and bias g z, recurrent_kernel g o z.

    As `sgu`, with
    z_out = sigma(W_go (z_g * h_{t-1}))
    """
    x_g, x_z = projected(w, x, 2, normalization)
    u_g, u_o, u_z = products_of(w, 3, structure, blocks, normalization)
    z_g = np.tanh(u_g(masked(x_g * h, left_masks, 0)))
    z_out = output_activation(u_o(masked(z_g * h, left_masks, 1)))
    z = gate(x_z + u_z(masked(h, left_masks, 2)))
    return (z_out * z + (1.0 - z) * h,)
