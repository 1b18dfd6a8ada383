"""Time-aware LSTM (Baytas et al., KDD 2017)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def log_decay(delta):
    return 1 / np.log(np.e + delta)


def inverse_decay(delta):
    return 1 / np.maximum(1.0, delta)


def step(
    w,
    x,
    h,
    c,
    *,
    delta=1.0,
    decay=log_decay,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h, c)_{t-1} -> (h, c)_t. Stored gate order: i f g o; g is the paper's candidate.

    C^S  = tanh(c_{t-1} W_d + b_d)                  short-term memory
    C^T  = c_{t-1} - C^S                            long-term memory
    C*   = C^T + C^S decay(delta_t)                 adjusted previous memory
    c_t  = f_t * C* + i_t * tanh(x_t W_g + h_{t-1} U_g + b_g)
    h_t  = o_t * tanh(c_t)
    """
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    short = np.tanh(masked(c, left_masks, 0) @ w["decomposition_kernel"] + w.get("decomposition_bias", 0.0))
    adjusted = (c - short) + short * decay(delta)
    left = masked(h, left_masks, 1)
    i, f, o = sigmoid(x_i + u_i(left)), sigmoid(x_f + u_f(left)), sigmoid(x_o + u_o(left))
    c_new = f * adjusted + i * np.tanh(x_g + u_g(left))
    return o * np.tanh(c_new), c_new
