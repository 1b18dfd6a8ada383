"""Diagonal state space models: S4D (Gu et al. 2022, arXiv 2206.11893) and S5 (Smith et al. 2023, arXiv 2208.04933)."""

import numpy as np

from .products import projected, split


def discrete(A, dt, discretization):
    """A-bar and the factor of B in B-bar.

    zero-order hold: exp(dt A), (exp(dt A) - 1) / A
    bilinear:        (1 + dt A / 2) / (1 - dt A / 2), dt / (1 - dt A / 2)
    """
    if discretization == "zoh":
        return np.exp(dt * A), (np.exp(dt * A) - 1) / A
    return (1 + dt * A / 2) / (1 - dt * A / 2), dt / (1 - dt * A / 2)


def s4d_step(w, x, h_re, h_im, delta=1.0, *, discretization="zoh"):
    """One step of S4D: h_{t-1} -> h_t, and u_t beside. B is 1; states lie unit after unit, in conjugate pairs.

    A = -exp(A_log) + i A_im
    h_t = A-bar * h_{t-1} + B-bar u_t        for each unit, with the step delta exp(log_step)
    y_t = 2 Re(C h_t) + D u_t
    """
    u = x @ w["input_kernel"] if "input_kernel" in w else x
    dt = (np.exp(w["log_step"]) * delta)[..., None]
    A_bar, B_bar = discrete(-np.exp(w["A_log"]) + 1j * w["A_im"], dt, discretization)
    h = A_bar * (h_re + 1j * h_im).reshape(*x.shape[:-1], *A_bar.shape[-2:]) + B_bar * u[..., None]
    h = h.reshape(h_re.shape)
    return h.real, h.imag, u


def s4d_readout(w, states, u):
    """y_t."""
    C = w["C_re"] + 1j * w["C_im"]
    h = (states[0] + 1j * states[1]).reshape(*states[0].shape[:-1], *C.shape)
    return 2 * (C * h).real.sum(-1) + w["skip"] * u + w.get("bias", 0.0)


def s5_step(w, x, h_re, h_im, delta=1.0, *, discretization="zoh", clip_poles=False):
    """One step of S5: h_{t-1} -> h_t, and x_t beside. Each complex state stands for a conjugate pair.

    h_t = Lambda-bar * h_{t-1} + B-bar x_t       with the step delta exp(log_step)
    y_t = 2 Re(C h_t) + D x_t                    with a matrix D where sizes differ
    """
    B_re, B_im = projected(w, x, 2, None)
    A_re = np.minimum(w["Lambda_re"], -1e-4) if clip_poles else w["Lambda_re"]
    A_bar, factor = discrete(A_re + 1j * w["Lambda_im"], np.exp(w["log_step"]) * delta, discretization)
    h = A_bar * (h_re + 1j * h_im) + factor * (B_re + 1j * B_im)
    return h.real, h.imag, x


def s5_readout(w, states, x):
    """y_t."""
    C_re, C_im = split(w["output_kernel"].T, 2)
    y = 2 * ((states[0] + 1j * states[1]) @ (C_re + 1j * C_im).T).real
    return y + (x * w["skip"] if "skip" in w else x @ w["skip_kernel"])
