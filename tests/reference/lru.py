"""Linear recurrent unit (Orvieto et al. 2023, arXiv 2303.06349)."""

import numpy as np

from .products import projected, split


def step(w, x, h_re, h_im):
    """One step: h_{t-1} -> h_t, complex, and the input beside.

    lambda = exp(-exp(nu) + i exp(theta))
    h_t = lambda * h_{t-1} + exp(gamma) * (x_t B)           with a bias x_t B + b, if any
    y_t = Re(h_t C) + d * x_t                               with a matrix for d where sizes differ
    """
    B_re, B_im = projected(w, x, 2, None)
    eigenvalue = np.exp(-np.exp(w["nu"]) + 1j * np.exp(w["theta"]))
    h = eigenvalue * (h_re + 1j * h_im) + np.exp(w["gamma"]) * (B_re + 1j * B_im)
    return h.real, h.imag, x


def readout(w, states, x, *, factor=1.0):
    """y_t; `factor` 2 where each complex state stands for a conjugate pair."""
    C_re, C_im = split(w["output_kernel"].T, 2)
    y = ((states[0] + 1j * states[1]) @ (C_re + 1j * C_im).T).real * factor
    return y + (x * w["skip"] if "skip" in w else x @ w["skip_kernel"])
