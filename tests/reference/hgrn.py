"""Hierarchically gated recurrent network (Qin et al. 2023, arXiv 2311.04823)."""

import numpy as np

from .activations import sigmoid
from .products import projected


def silu(v):
    return v * sigmoid(v)


def step(w, x, h_re, h_im, *, lower_bound=0.0, activation=silu):
    """One step: h_{t-1} -> h_t, complex, and g_t beside. Stored gate order: mu re im g_re g_im.

    mu_t = sigma(x_t W_mu + b_mu),  lambda_t = gamma + (1 - gamma) * mu_t
    c_t = silu(x_t W_re + b_re) + i silu(x_t W_im + b_im)
    h_t = lambda_t * exp(i theta) * h_{t-1} + (1 - lambda_t) * c_t
    g_t = sigma(x_t W_g + b_g)
    y_t = LayerNorm(g_t * [Re h_t, Im h_t]) W_o + b_o
    """
    mu, c_re, c_im, g_re, g_im = projected(w, x, 5, None)
    forget = lower_bound + (1 - lower_bound) * sigmoid(mu)
    c = activation(c_re) + 1j * activation(c_im)
    h = forget * np.exp(1j * w["theta"]) * (h_re + 1j * h_im) + (1 - forget) * c
    return h.real, h.imag, sigmoid(np.concatenate([g_re, g_im], axis=-1))


def real_step(w, x, h, *, lower_bound=0.0, activation=silu):
    """One step of the real form, theta = 0. Stored gate order: mu c g."""
    mu, c, g = projected(w, x, 3, None)
    forget = lower_bound + (1 - lower_bound) * sigmoid(mu)
    return forget * h + (1 - forget) * activation(c), sigmoid(g)


def readout(w, states, g, epsilon=1e-5):
    """y_t."""
    v = g * np.concatenate(states, axis=-1)
    v = v - v.mean(-1, keepdims=True)
    v = v / np.sqrt((v**2).mean(-1, keepdims=True) + epsilon)
    return (v * w["norm_gain"] + w["norm_bias"]) @ w["output_kernel"] + w.get("output_bias", 0.0)
