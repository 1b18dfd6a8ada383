"""Minimal LSTM that is linear in its state (Feng et al. 2024, arXiv 2410.01201)."""

from .activations import sigmoid
from .products import projected


def step(w, x, h, *, activation=lambda v: v):
    """One step: h_{t-1} -> h_t. Stored gate order: f i n.

    f_t = sigma(x_t W_f + b_f)
    i_t = sigma(x_t W_i + b_i)
    n_t = g(x_t W_n + b_n)                        the paper's h~
    f'_t, i'_t = f_t / (f_t + i_t), i_t / (f_t + i_t)
    h_t = f'_t * h_{t-1} + i'_t * n_t
    """
    f, i, n = projected(w, x, 3, None)
    f, i = sigmoid(f), sigmoid(i)
    return (f / (f + i) * h + i / (f + i) * activation(n),)
