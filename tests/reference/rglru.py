"""Real-gated linear recurrent unit and its complex form (De et al. 2024, Griffin, arXiv 2402.19427)."""

import numpy as np

from .activations import sigmoid
from .products import split


def gates(w, x):
    """x W_a + b_a and x W_x + b_x, where W_a and W_x have blocks on their diagonals, one a head."""
    blocks = w["kernel"] if w["kernel"].ndim == 3 else w["kernel"][None]
    rows = split(x, len(blocks))
    parts = [split(row @ block, 2) for row, block in zip(rows, blocks, strict=True)]
    r, i = (np.concatenate([part[g] for part in parts], axis=-1) for g in range(2))
    b_a, b_x = split(w["bias"], 2) if "bias" in w else (0.0, 0.0)
    return sigmoid(r + b_a), sigmoid(i + b_x)


def step(w, x, h, *, c=8.0):
    """One step: h_{t-1} -> h_t. Stored gate order: r i. Where sizes differ x_t is x_t W_in throughout.

    r_t = sigma(x_t W_a + b_a),  i_t = sigma(x_t W_x + b_x)
    a_t = a^(c r_t),  a = sigma(Lambda)
    h_t = a_t * h_{t-1} + sqrt(1 - a_t^2) * (i_t * x_t)
    """
    x = x @ w["input_kernel"] if "input_kernel" in w else x
    r, i = gates(w, x)
    a = sigmoid(w["Lambda"]) ** (c * r)
    return (a * h + np.sqrt(1 - a**2) * (i * x),)


def complex_step(w, x, h_re, h_im, *, c=8.0):
    """One step of the complex form (appendix B): x_t is read as a complex vector of half the size.

    a = sigma(Lambda) exp(i theta),  a_t = a^(c r_t)
    h_t = a_t * h_{t-1} + sqrt(1 - |a_t|^2) * (i_t * x_t)
    y_t = [Re h_t, Im h_t]
    """
    x = x @ w["input_kernel"] if "input_kernel" in w else x
    r, i = gates(w, x)
    x_re, x_im = split(x, 2)
    a = np.exp((np.log(sigmoid(w["Lambda"])) + 1j * w["theta"]) * c * r)
    h = a * (h_re + 1j * h_im) + np.sqrt(1 - np.abs(a) ** 2) * (i * (x_re + 1j * x_im))
    return h.real, h.imag, x


def complex_readout(w, states, beside):
    """y_t."""
    return np.concatenate(states, axis=-1)
