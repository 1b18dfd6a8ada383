"""ODE-RNN (Rubanova et al. 2019, arXiv 1907.03907)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    h,
    *,
    delta=1.0,
    ode_layers=1,
    solver="euler",
    ode_steps=1,
    update="gru",
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: h_{t-1} -> h_t. Stored gate order: z r n.

    h' = ODESolve(f, h_{t-1}, delta_t),  dh/dt = f(h) = tanh(... tanh(h A_1 + a_1) ...) A_out + a_out
    z_t = sigma(x_t W_z + h' U_z + b_z)
    r_t = sigma(x_t W_r + h' U_r + b_r)
    n_t = tanh(x_t W_n + (r_t * h') U_n + b_n)
    h_t = z_t * h' + (1 - z_t) * n_t                 the authors' GRU: the update gate keeps
    update="vanilla": h_t = tanh(x_t W + h' U + b)
    """
    used = iter(range(10**6))  # the masks in the order of the products

    def operand(v):
        return masked(v, left_masks, next(used))

    def f(v):
        for n in range(1, ode_layers + 1):
            v = np.tanh(operand(v) @ w[f"ode_{n}_kernel"] + w.get(f"ode_{n}_bias", 0.0))
        return operand(v) @ w["ode_output_kernel"] + w.get("ode_output_bias", 0.0)

    dt, v = delta / ode_steps, h
    for _ in range(ode_steps):
        k_1 = f(v)
        if solver == "euler":
            v = v + dt * k_1
        elif solver == "midpoint":
            v = v + dt * f(v + dt / 2 * k_1)
        else:
            k_2 = f(v + dt / 2 * k_1)
            k_3 = f(v + dt / 2 * k_2)
            k_4 = f(v + dt * k_3)
            v = v + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
    if update == "vanilla":
        (x_n,) = projected(w, x, 1, normalization)
        (u_n,) = products_of(w, 1, structure, blocks, normalization)
        return (np.tanh(x_n + u_n(operand(v))),)
    x_z, x_r, x_n = projected(w, x, 3, normalization)
    u_z, u_r, u_n = products_of(w, 3, structure, blocks, normalization)
    left = operand(v)
    z, r = sigmoid(x_z + u_z(left)), sigmoid(x_r + u_r(left))
    n = np.tanh(x_n + u_n(operand(r * v)))
    return (z * v + (1 - z) * n,)
