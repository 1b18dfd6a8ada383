"""Legendre memory unit (Voelker, Kajic & Eliasmith, NeurIPS 2019)."""

import numpy as np

from .products import masked, products_of, projected


def delay(order, theta):
    """A (d, d) and b (d,) of theta dm/dt = A m + b u, for columns m, divided by theta.

    a_ij = (2 i + 1) * (-1 where i < j, (-1)^(i - j + 1) where i >= j),  b_i = (2 i + 1) (-1)^i,  i, j from 0
    """
    A = np.array(
        [[(2 * i + 1) * (-1.0 if i < j else (-1.0) ** (i - j + 1)) for j in range(order)] for i in range(order)]
    )
    b = np.array([(2 * i + 1) * (-1.0) ** i for i in range(order)])
    return A / theta, b / theta


def exponential(M):
    """The matrix exponential, by 2^20 steps of its Taylor series."""
    small, total = M / 2**20, np.eye(len(M))
    change = small + small @ small / 2 + small @ small @ small / 6
    for _ in range(20):  # (1 + c)^2 - 1, which keeps the digits of c
        change = 2 * change + change @ change
    return total + change


def discrete(order, theta, discretization):
    """A-bar and b-bar of a step of length 1, with u held over it, or by Euler's rule."""
    A, b = delay(order, theta)
    if discretization == "euler":
        return np.eye(order) + A, b
    joint = np.zeros((order + 1, order + 1))
    joint[:order, :order], joint[:order, order] = A, b
    moved = exponential(joint)
    return moved[:order, :order], moved[:order, order]


def step(
    w,
    x,
    h,
    m,
    *,
    theta,
    discretization="zoh",
    activation=np.tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: (h, m)_{t-1} -> (h, m)_t.

    u_t = e_x . x_t + e_h . h_{t-1} + e_m . m_{t-1}
    m_t = A-bar m_{t-1} + b-bar u_t
    h_t = tanh(x_t W_x + h_{t-1} W_h + m_t W_m)
    """
    A, b = discrete(m.shape[-1], theta, discretization)
    (x_h,) = projected(w, x, 1, normalization)
    (u_h,) = products_of(w, 1, structure, blocks, normalization)
    u = x @ w["input_encoder"] + masked(h, left_masks, 0) @ w["hidden_encoder_kernel"]
    u = u + masked(m, left_masks, 1) @ w["memory_encoder_kernel"]
    m_new = m @ A.T + u * b
    h_new = activation(x_h + u_h(masked(h, left_masks, 2)) + masked(m_new, left_masks, 3) @ w["memory_kernel"])
    return h_new, m_new
