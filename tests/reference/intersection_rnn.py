"""Intersection RNN (Collins, Sohl-Dickstein & Sussillo 2017)."""

import numpy as np

from .activations import relu, sigmoid
from .products import masked, products_of, projected


def step(w, x, y, h, *, output_activation=relu, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> (y_t, h_t); y_{t-1} is not read. Stored gate order: y h gy gh.

    y_in = s1(W_yh h_{t-1} + W_yx x_t + b_y)
    h_in = s2(W_hh h_{t-1} + W_hx x_t + b_h)
    g_y  = sigma(W_gyh h_{t-1} + W_gyx x_t + b_gy)
    g_h  = sigma(W_ghh h_{t-1} + W_ghx x_t + b_gh)
    y_t  = g_y * x_t + (1 - g_y) * y_in        (x_t W_in where the sizes differ)
    h_t  = g_h * h_{t-1} + (1 - g_h) * h_in
    """
    del y
    x_y, x_h, x_gy, x_gh = projected(w, x, 4, normalization)
    u_y, u_h, u_gy, u_gh = products_of(w, 4, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    y_in = output_activation(x_y + u_y(left))
    h_in = np.tanh(x_h + u_h(left))
    g_y = sigmoid(x_gy + u_gy(left))
    g_h = sigmoid(x_gh + u_gh(left))
    through = x @ w["input_kernel"] if "input_kernel" in w else x
    return g_y * through + (1.0 - g_y) * y_in, g_h * h + (1.0 - g_h) * h_in
