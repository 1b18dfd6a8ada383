"""Ordered neurons LSTM (Shen, Tan, Sordoni & Courville 2019)."""

import numpy as np

from .activations import sigmoid, softmax
from .products import masked, products_of, projected


def cumax(v):
    """cumsum(softmax(v)): the probability that the split lies at or before each place."""
    return np.cumsum(softmax(v), axis=-1)


def step(w, x, h, c, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i f g o; of the master gates: f i.

    i_t, f_t, o_t = sigma(x_t W_. + h_{t-1} U_. + b_.),  c^_t = tanh(x_t W_c + h_{t-1} U_c + b_c)
    f~_t = cumax(x_t W_f~ + h_{t-1} U_f~ + b_f~)
    i~_t = 1 - cumax(x_t W_i~ + h_{t-1} U_i~ + b_i~)
    w_t  = f~_t * i~_t                                   each master gate repeated over its chunk of units
    f^_t = f_t * w_t + (f~_t - w_t)
    i^_t = i_t * w_t + (i~_t - w_t)
    c_t  = f^_t * c_{t-1} + i^_t * c^_t
    h_t  = o_t * tanh(c_t)

    left_masks: of h_{t-1} before U, of h_{t-1} before the matrix of the master gates.
    """
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    i, f, o = sigmoid(x_i + u_i(left)), sigmoid(x_f + u_f(left)), sigmoid(x_o + u_o(left))
    master = x @ w["master_input_kernel"] + masked(h, left_masks, 1) @ w["master_kernel"] + w.get("master_bias", 0.0)
    master_f, master_i = np.split(master, 2, axis=-1)
    chunk = h.shape[-1] // master_f.shape[-1]
    master_f, master_i = (np.repeat(m, chunk, axis=-1) for m in (cumax(master_f), 1.0 - cumax(master_i)))
    overlap = master_f * master_i
    f_hat = f * overlap + (master_f - overlap)
    i_hat = i * overlap + (master_i - overlap)
    c_new = f_hat * c + i_hat * np.tanh(x_g + u_g(left))
    return o * np.tanh(c_new), c_new
