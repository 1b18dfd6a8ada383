"""Convolutional GRU, GRU-RCN (Ballas et al. 2016, arXiv 1511.06432), for maps of any number of dimensions."""

import numpy as np

from .activations import sigmoid
from .conv_lstm import correlate, projected
from .products import masked, split


def step(
    w,
    x,
    h,
    *,
    kernel_size,
    strides=1,
    padding="valid",
    dilation=1,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    left_masks=None,
):
    """One step: h_{t-1} -> h_t, for one example x (*space, C). Stored gate order: z r n, n the paper's h~.

    z_t = sigma(W_z * x_t + U_z * h_{t-1})
    r_t = sigma(W_r * x_t + U_r * h_{t-1})
    n_t = tanh (W * x_t + U * (r_t o h_{t-1}))
    h_t = (1 - z_t) h_{t-1} + z_t n_t

    Beside the paper: a bias in each W * x. left_masks: of h_{t-1} in the gates, of r_t o h_{t-1} in n_t.
    """
    x_z, x_r, x_n = projected(w, x, 3, kernel_size, strides, padding, dilation)
    U_z, U_r, U_n = split(w["recurrent_kernel"], 3)
    left = masked(h, left_masks, 0)
    z = recurrent_activation(x_z + correlate(left, U_z, padding="same"))
    r = recurrent_activation(x_r + correlate(left, U_r, padding="same"))
    n = activation(x_n + correlate(masked(r * h, left_masks, 1), U_n, padding="same"))
    return ((1 - z) * h + z * n,)
