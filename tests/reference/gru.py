"""Gated recurrent unit (Cho et al. 2014), with the reset gate before or after the product."""

from functools import partial

import numpy as np

from .activations import sigmoid
from .products import masked, normalize, per_gate, recurrent_matrices, split


def step(
    w,
    x,
    h,
    *,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    reset_after=True,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: h_{t-1} -> h_t. Stored gate order: z r n. z is the share of the old state.

    reset_after=False (arXiv 1406.1078v1), bias b (3H,):
        z_t = sigma(x_t W_z + h_{t-1} U_z + b_z)                    update gate
        r_t = sigma(x_t W_r + h_{t-1} U_r + b_r)                    reset gate
        n_t = tanh (x_t W_n + (r_t * h_{t-1}) U_n + b_n)            candidate
    reset_after=True (cuDNN), bias rows b, b' (2, 3H):
        z_t = sigma(x_t W_z + b_z + h_{t-1} U_z + b'_z)
        r_t = sigma(x_t W_r + b_r + h_{t-1} U_r + b'_r)
        n_t = tanh (x_t W_n + b_n + r_t * (h_{t-1} U_n + b'_n))
    both:
        h_t = z_t * h_{t-1} + (1 - z_t) * n_t

    With normalization every product is N(.) times its gain (p_. and q_. below), before its bias.
    left_masks: multiplier of h_{t-1} before U; reset_after=False: a second one, of r_t * h_{t-1}
    before U_n.
    """
    W_z, W_r, W_n = split(w["kernel"], 3)
    U_z, U_r, U_n = recurrent_matrices(w, structure, 3, blocks)
    p_z, p_r, p_n = per_gate(w, "kernel_gain", 3, 1.0)
    q_z, q_r, q_n = per_gate(w, "recurrent_gain", 3, 1.0)
    N = partial(normalize, kind=normalization)
    sigma, tanh = recurrent_activation, activation

    left = masked(h, left_masks, 0)
    if reset_after:
        b, b_rec = w["bias"] if "bias" in w else np.zeros((2, w["kernel"].shape[1]))
        b_z, b_r, b_n = split(b, 3)
        d_z, d_r, d_n = split(b_rec, 3)
        z = sigma(N(x @ W_z, p_z) + b_z + N(left @ U_z, q_z) + d_z)
        r = sigma(N(x @ W_r, p_r) + b_r + N(left @ U_r, q_r) + d_r)
        n = tanh(N(x @ W_n, p_n) + b_n + r * (N(left @ U_n, q_n) + d_n))
    else:
        b_z, b_r, b_n = per_gate(w, "bias", 3, 0.0)
        z = sigma(N(x @ W_z, p_z) + N(left @ U_z, q_z) + b_z)
        r = sigma(N(x @ W_r, p_r) + N(left @ U_r, q_r) + b_r)
        left = masked(r * h, left_masks, 1)
        n = tanh(N(x @ W_n, p_n) + N(left @ U_n, q_n) + b_n)
    return (z * h + (1 - z) * n,)
