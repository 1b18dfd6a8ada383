"""The coupled oscillatory network (Rusch & Mishra 2021)."""

import numpy as np

from .products import masked, products_of, projected


def step(
    w,
    x,
    y,
    z,
    *,
    dt=0.042,
    gamma=2.7,
    epsilon=4.7,
    damping="explicit",
    activation=np.tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """IMEX step of y'' = tanh(W y + W' y' + V u + b) - gamma y - epsilon y'.

    z_n = z_{n-1} + dt (tanh(W y_{n-1} + W' z_{n-1} + V u_n + b) - gamma y_{n-1} - epsilon z_m)
    y_n = y_{n-1} + dt z_n
    m = n - 1 with damping="explicit", m = n with "implicit": there z_n stands on both sides.

    W' is velocity_kernel; it is never normalized.
    left_masks: of y_{n-1} before W, then of z_{n-1} before W'.
    """
    (V,) = projected(w, x, 1, normalization)
    (W,) = products_of(w, 1, structure, blocks, normalization)
    W_velocity = w["velocity_kernel"]

    force = activation(W(masked(y, left_masks, 0)) + masked(z, left_masks, 1) @ W_velocity + V) - gamma * y
    if damping == "explicit":
        z_new = z + dt * (force - epsilon * z)
    elif damping == "implicit":
        z_new = (z + dt * force) / (1.0 + dt * epsilon)
    else:
        raise ValueError(f"Expected damping 'explicit' or 'implicit'. Received: damping={damping!r}")
    return y + dt * z_new, z_new
