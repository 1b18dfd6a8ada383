"""Parallel Legendre memory unit (Chilkuri & Eliasmith 2021, arXiv 2102.11417), equations (18) to (20), step by step."""

import functools

import numpy as np
from scipy.signal import cont2discrete


def identity(v):
    return v


@functools.cache
def system(order, theta, method):
    """A-bar (d, d) and B-bar (d,) for steps of 1; A and B of Voelker et al. (2019), equations (1) and (2)."""
    A, B = np.zeros((order, order)), np.zeros((order, 1))
    for i in range(order):
        B[i] = (2 * i + 1) * (-1) ** i / theta
        for j in range(order):
            A[i, j] = (2 * i + 1) / theta * (-1 if i < j else (-1) ** (i - j + 1))
    A_bar, B_bar, *_ = cont2discrete((A, B, np.eye(order), np.zeros((order, 1))), dt=1.0, method=method)
    return A_bar, B_bar[:, 0]


def step(w, x, m, *, order, theta, memories=1, method="zoh", encoder_activation=identity):
    """One step: m_{t-1} -> m_t, the memories one after the other; and W_x x_t, which the output reads beside m_t.

    u_t = f_1(U_x x_t + b_u)
    m_t = A-bar m_{t-1} + B-bar u_t      for each of the memories, which have one entry of u_t each
    """
    A, B = system(order, theta, method)
    u = encoder_activation(x @ w["input_encoder"] + w.get("encoder_bias", 0.0))
    m_new = np.empty_like(m)
    for k in range(memories):
        own = slice(k * order, (k + 1) * order)
        m_new[..., own] = m[..., own] @ A.T + u[..., k, None] * B
    return m_new, x @ w["kernel"]


def readout(w, states, beside, *, activation=np.tanh):
    """o_t = f_2(W_m m_t + W_x x_t + b_o)"""
    (m,) = states
    return activation(m @ w["memory_kernel"] + beside + w.get("bias", 0.0))
