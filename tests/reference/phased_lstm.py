"""Phased LSTM (Neil et al. 2016, arXiv 1610.09513)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def gate(w, time, leak):
    """k of each unit at a time (..., 1).

    phi = ((t - s) mod tau) / tau,  tau = exp(log_period),  s = phase tau,  r_on = sigma(ratio_logit)
    k = 2 phi / r_on            where phi < r_on / 2
        2 - 2 phi / r_on        where r_on / 2 <= phi < r_on
        leak phi                elsewhere
    """
    tau, on = np.exp(w["log_period"]), sigmoid(w["ratio_logit"])
    phi = np.mod(time - w["phase"] * tau, tau) / tau
    return np.where(phi < on / 2, 2 * phi / on, np.where(phi < on, 2 - 2 * phi / on, leak * phi))


def step(
    w,
    x,
    h,
    c,
    time,
    *,
    delta=1.0,
    peepholes=True,
    leak=0.001,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h, c, t)_{j-1} -> (h, c, t)_j. Stored gate order: i f g o.

    t_j = t_{j-1} + delta_j
    i_j = sigma(x_j W_i + h_{j-1} U_i + p_i * c_{j-1} + b_i)
    f_j = sigma(x_j W_f + h_{j-1} U_f + p_f * c_{j-1} + b_f)
    c~  = f_j * c_{j-1} + i_j * tanh(x_j W_g + h_{j-1} U_g + b_g)
    o_j = sigma(x_j W_o + h_{j-1} U_o + p_o * c~ + b_o)          c~ as in the authors' program
    c_j = k_j * c~ + (1 - k_j) * c_{j-1}
    h_j = k_j * o_j * tanh(c~) + (1 - k_j) * h_{j-1}
    """
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    p_i, p_f, p_o = (w[name] if peepholes else 0.0 for name in ("p_i", "p_f", "p_o"))
    left = masked(h, left_masks, 0)
    time_new = time + delta
    k = gate(w, time_new, leak)
    i = sigmoid(x_i + u_i(left) + p_i * c)
    f = sigmoid(x_f + u_f(left) + p_f * c)
    c_open = f * c + i * np.tanh(x_g + u_g(left))
    o = sigmoid(x_o + u_o(left) + p_o * c_open)
    return k * o * np.tanh(c_open) + (1 - k) * h, k * c_open + (1 - k) * c, time_new
