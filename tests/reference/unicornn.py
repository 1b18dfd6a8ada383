"""The undamped independent controlled oscillatory network (Rusch & Mishra 2021), one layer."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    y,
    z,
    *,
    dt=0.19,
    alpha=30.65,
    activation=np.tanh,
    structure="diagonal",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """Symplectic Euler step of a Hamiltonian system; units meet only through V.

    z_n = z_{n-1} - dt s(c) * (tanh(w * y_{n-1} + V x_n + b) + alpha y_{n-1})
    y_n = y_{n-1} + dt s(c) * z_n
    s(c) = 0.5 + 0.5 tanh(c / 2)

    left_masks: of y_{n-1} in w * y_{n-1}, not in alpha y_{n-1}.
    """
    (V,) = projected(w, x, 1, normalization)
    (W,) = products_of(w, 1, structure, blocks, normalization)

    step_size = dt * sigmoid(w["c"])
    z_new = z - step_size * (activation(W(masked(y, left_masks, 0)) + V) + alpha * y)
    return y + step_size * z_new, z_new
