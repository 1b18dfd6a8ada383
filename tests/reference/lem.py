"""Long expressive memory (Rusch et al. 2022)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    y,
    z,
    *,
    dt=1.0,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """y sees the new z. Stored gate order of V and b: d e z y; of W: d e z; W_y is memory_kernel.

    d_n = dt sigma(W_1 y_{n-1} + V_1 u_n + b_1)      step size of z, Delta t_n
    e_n = dt sigma(W_2 y_{n-1} + V_2 u_n + b_2)      step size of y, Delta t_n with a bar
    z_n = (1 - d_n) z_{n-1} + d_n tanh(W_z y_{n-1} + V_z u_n + b_z)
    y_n = (1 - e_n) y_{n-1} + e_n tanh(W_y z_n + V_y u_n + b_y)

    W_y z_n is never normalized. left_masks: of y_{n-1} before W, then of z_n before W_y.
    """
    V_1, V_2, V_z, V_y = projected(w, x, 4, normalization)
    W_1, W_2, W_z = products_of(w, 3, structure, blocks, normalization)

    left = masked(y, left_masks, 0)
    d = dt * recurrent_activation(W_1(left) + V_1)
    e = dt * recurrent_activation(W_2(left) + V_2)
    z_new = (1 - d) * z + d * activation(W_z(left) + V_z)
    y_new = (1 - e) * y + e * activation(masked(z_new, left_masks, 1) @ w["memory_kernel"] + V_y)
    return y_new, z_new
