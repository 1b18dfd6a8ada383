"""Simple recurrent unit (Lei et al. 2018, arXiv 1709.02755), and its second version, which is linear in its state."""

import numpy as np

from .activations import linear, sigmoid, tanh
from .products import normalize, per_gate, split


def carried(w, x):
    """x_t, or x_t W_in where its size is not that of the state."""
    return x @ w["input_kernel"] if "input_kernel" in w else x


def gates(w, x, normalization=None):
    """x W, x W_f + b_f, x W_r + b_r. Stored gate order: z f r, biases f r."""
    gains, biases = per_gate(w, "kernel_gain", 3, 1.0), per_gate(w, "bias", 2, 0.0)
    z, f, r = (normalize(x @ W, q, normalization) for W, q in zip(split(w["kernel"], 3), gains, strict=True))
    return z, f + biases[0], r + biases[1]


def step(w, x, h, c, *, alpha=3.0**0.5, activation=linear, normalization=None):
    """One step: h_{t-1}, c_{t-1} -> h_t, c_t.

    f_t = sigma(W_f x_t + v_f * c_{t-1} + b_f)
    c_t = f_t * c_{t-1} + (1 - f_t) * (W x_t)
    r_t = sigma(W_r x_t + v_r * c_{t-1} + b_r)
    h_t = r_t * g(c_t) + (1 - r_t) * x_t * alpha,   alpha = sqrt(1 + 2 exp(b)) with the highway bias b
    """
    z, f, r = gates(w, x, normalization)
    f = sigmoid(f + w["v_f"] * c)
    r = sigmoid(r + w["v_r"] * c)
    c_new = f * c + (1 - f) * z
    return r * activation(c_new) + (1 - r) * carried(w, x) * alpha, c_new


def linear_step(w, x, c):
    """One step of the second version: c_{t-1} -> c_t, and r_t beside (1 - r_t) * x_t.

    f_t = sigma(W_f x_t + b_f)
    r_t = sigma(W_r x_t + b_r)
    c_t = f_t * c_{t-1} + (1 - f_t) * (W x_t)
    h_t = r_t * g(c_t) + (1 - r_t) * x_t
    """
    z, f, r = gates(w, x)
    f, r = sigmoid(f), sigmoid(r)
    return f * c + (1 - f) * z, np.concatenate([r, (1 - r) * carried(w, x)], axis=-1)


def linear_readout(w, states, beside, *, activation=tanh):
    """h_t."""
    r, rest = split(beside, 2)
    return r * activation(states[0]) + rest
