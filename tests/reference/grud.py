"""GRU-D (Che et al. 2018, arXiv 1606.01865)."""

import numpy as np

from .activations import sigmoid
from .products import masked, per_gate, products_of, split


def observed(x, missing):
    """Values and m, 1 where a value is observed: from NaN, or from the second half of x."""
    if missing == "nan":
        m = 1.0 - np.isnan(x)
        return np.where(m == 1, x, 0.0), m
    values, flags = split(x, 2)
    return values, (flags > 0.5) * 1.0


def step(w, x, h, last, since, *, delta=1.0, missing="nan", structure="dense", blocks=None, left_masks=None):
    """One step: (h, last, since)_{t-1} -> (h, last, since)_t. Stored gate order: z r n; n is the paper's h~.

    delta^d_t  the time since feature d was observed before t: the interval, plus `since`, which is 0 where d was
               observed at t - 1
    gamma_x = exp(-max(0, w_gamma * delta_t + b))          gamma_h = exp(-max(0, delta_t W_gamma + b))
    x^_t = m_t * x_t + (1 - m_t) * (gamma_x * x_{t'} + (1 - gamma_x) * x~)      x~ the mean, x_{t'} the last value
    h^   = gamma_h * h_{t-1}
    z_t = sigma(x^_t W_z + h^ U_z + m_t V_z + b_z)
    r_t = sigma(x^_t W_r + h^ U_r + m_t V_r + b_r)
    n_t = tanh(x^_t W_n + (r_t * h^) U_n + m_t V_n + b_n)
    h_t = (1 - z_t) * h^ + z_t * n_t
    """
    values, m = observed(x, missing)
    mean = w["mean"]
    elapsed = since + delta
    fade_x = np.exp(-np.maximum(0.0, w["input_decay_kernel"] * elapsed + w.get("input_decay_bias", 0.0)))
    product = masked(elapsed, left_masks, 0) @ w["hidden_decay_kernel"]
    fade_h = np.exp(-np.maximum(0.0, product + w.get("hidden_decay_bias", 0.0)))
    value_before = last + mean
    filled = m * values + (1 - m) * (fade_x * value_before + (1 - fade_x) * mean)
    faded = fade_h * h
    x_masked = masked(filled, left_masks, 1)
    W, V, b = split(w["kernel"], 3), split(w["mask_kernel"], 3), per_gate(w, "bias", 3, 0.0)
    x_z, x_r, x_n = (x_masked @ W_g + m @ V_g + b_g for W_g, V_g, b_g in zip(W, V, b, strict=True))
    u_z, u_r, u_n = products_of(w, 3, structure, blocks, None)
    left = masked(faded, left_masks, 2)
    z, r = sigmoid(x_z + u_z(left)), sigmoid(x_r + u_r(left))
    n = np.tanh(x_n + u_n(masked(r * faded, left_masks, 3)))
    last_new = np.where(m == 1, values - mean, last)
    return (1 - z) * faded + z * n, last_new, np.where(m == 1, 0.0, elapsed)
