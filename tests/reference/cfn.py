"""Chaos-free network (Laurent & von Brecht 2017, arXiv 1612.06212)."""

import numpy as np

from .activations import sigmoid
from .products import masked, per_gate, products_of, projected


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: h_{t-1} -> h_t. Stored order: theta eta w; w has neither a recurrent product nor a bias.

    theta_t = sigma(h_{t-1} U_theta + x_t V_theta + b_theta)
    eta_t   = sigma(h_{t-1} U_eta + x_t V_eta + b_eta)
    h_t     = theta_t * tanh(h_{t-1}) + eta_t * tanh(x_t W)
    """
    plain = {name: a for name, a in w.items() if name != "bias"}
    v_theta, v_eta, v_w = projected(plain, x, 3, normalization)
    u_theta, u_eta = products_of(w, 2, structure, blocks, normalization)
    b_theta, b_eta = per_gate(w, "bias", 2, 0.0)
    left = masked(h, left_masks, 0)
    theta = sigmoid(u_theta(left) + v_theta + b_theta)
    eta = sigmoid(u_eta(left) + v_eta + b_eta)
    return (theta * np.tanh(h) + eta * np.tanh(v_w),)
