"""Long short-term memory (Hochreiter & Schmidhuber 1997) with forget gate (Gers et al. 2000)."""

from functools import partial

import numpy as np

from .activations import sigmoid
from .products import masked, normalize, per_gate, recurrent_matrices, split


def step(
    w,
    x,
    h,
    c,
    *,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Stored gate order: i f g o.

    i_t = sigma(x_t W_i + h_{t-1} U_i + b_i)        input gate
    f_t = sigma(x_t W_f + h_{t-1} U_f + b_f)        forget gate
    g_t = tanh (x_t W_g + h_{t-1} U_g + b_g)        candidate
    o_t = sigma(x_t W_o + h_{t-1} U_o + b_o)        output gate
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t)

    With normalization every x_t W_. and h_{t-1} U_. is N(.) times its gain (p_. and q_. below).
    left_masks: one multiplier, of h_{t-1} before U; c is never dropped.
    """
    W_i, W_f, W_g, W_o = split(w["kernel"], 4)
    U_i, U_f, U_g, U_o = recurrent_matrices(w, structure, 4, blocks)
    b_i, b_f, b_g, b_o = per_gate(w, "bias", 4, 0.0)
    p_i, p_f, p_g, p_o = per_gate(w, "kernel_gain", 4, 1.0)
    q_i, q_f, q_g, q_o = per_gate(w, "recurrent_gain", 4, 1.0)
    N = partial(normalize, kind=normalization)
    sigma, tanh = recurrent_activation, activation

    h = masked(h, left_masks, 0)
    i = sigma(N(x @ W_i, p_i) + N(h @ U_i, q_i) + b_i)
    f = sigma(N(x @ W_f, p_f) + N(h @ U_f, q_f) + b_f)
    g = tanh(N(x @ W_g, p_g) + N(h @ U_g, q_g) + b_g)
    o = sigma(N(x @ W_o, p_o) + N(h @ U_o, q_o) + b_o)
    c_new = f * c + i * g
    h_new = o * tanh(c_new)
    return h_new, c_new
