"""Quasi-recurrent network (Bradbury et al. 2017, arXiv 1611.01576)."""

import numpy as np

from .activations import sigmoid, tanh
from .products import split


def step(w, x, c, past=None, *, pooling="fo", activation=tanh):
    """One step: c_{t-1}, (x_{t-W+1} .. x_{t-1}) -> c_t, (x_{t-W+2} .. x_t), o_t. Columns: z f, z f o or z f o i.

    z_t = tanh(W_z * X), f_t = sigma(W_f * X), o_t = sigma(W_o * X), i_t = sigma(W_i * X),
    convolutions over the window X = x_{t-W+1} .. x_t, with a bias
    f-pooling:   h_t = f_t * h_{t-1} + (1 - f_t) * z_t
    fo-pooling:  c_t = f_t * c_{t-1} + (1 - f_t) * z_t,   h_t = o_t * c_t
    ifo-pooling: c_t = f_t * c_{t-1} + i_t * z_t,         h_t = o_t * c_t
    """
    window = x if past is None else np.concatenate([past, x], axis=-1)
    z, f, *rest = split(window @ w["kernel"] + w.get("bias", 0.0), len(pooling) + 1)
    f = sigmoid(f)
    i = sigmoid(rest[1]) if pooling == "ifo" else 1 - f
    o = sigmoid(rest[0]) if rest else np.zeros_like(f)
    c = f * c + i * activation(z)
    return (c, o) if past is None else (c, window[..., x.shape[-1] :], o)


def readout(w, states, o):
    """h_t = o_t * c_t."""
    return o * states[0]
