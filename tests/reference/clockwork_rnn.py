"""Clockwork RNN (Koutnik et al. 2014, arXiv 1402.3511)."""

import numpy as np

from .products import masked, normalize, projected


def step(
    w,
    x,
    h,
    clock,
    *,
    activation=np.tanh,
    periods=(1, 2, 4, 8),
    normalization=None,
    left_masks=None,
):
    """One step: (h_{t-1}, clock) -> (h_t, clock + 1), where the rounded clock is t.

    Module i of equal size has period T_i, T_1 < T_2 < ... It reads the modules j with T_j >= T_i alone, and changes
    only where t mod T_i = 0:
        h_i = f(x_t W_i + sum over j >= i of h_j U_ji + b_i)   if t mod T_i = 0, else the old h_i
    """
    size = h.shape[-1] // len(periods)
    U = w["recurrent_kernel"].copy()
    for i in range(len(periods)):  # the target
        for j in range(i):  # a faster source
            U[j * size : (j + 1) * size, i * size : (i + 1) * size] = 0.0
    (x_W,) = projected(w, x, 1, normalization)
    h_U = normalize(masked(h, left_masks, 0) @ U, w.get("recurrent_gain", 1.0), normalization)
    fresh = activation(x_W + h_U)
    t = np.round(clock)
    due = np.concatenate([np.repeat(t % T == 0, size, axis=-1) for T in periods], axis=-1)
    return np.where(due, fresh, h), clock + 1
