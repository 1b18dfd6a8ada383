"""The gated unit with weighted time-delay feedback (Erichson et al. 2022)."""

import numpy as np

from .activations import sigmoid
from .products import masked, products_of, projected


def step(
    w,
    x,
    h,
    q,
    *,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """From h_n to h_{n+1}; q holds h_{n-tau} .. h_{n-1} side by side, the oldest first.

    u_n = tanh (W_1 h_n       + U_1 x_n)
    z_n = tanh (W_2 h_{n-tau} + U_2 x_n)
    g_n = sigma(W_3 h_n       + U_3 x_n)
    a_n = sigma(W_4 h_n       + U_4 x_n)
    h_{n+1} = (1 - g_n) * h_n + g_n * (u_n + a_n * z_n)

    Stored gate order: u g a z, each with a bias. left_masks: of h_n, then of h_{n-tau}.
    """
    U_1, U_3, U_4, U_2 = projected(w, x, 4, normalization)
    W_1, W_3, W_4, W_2 = products_of(w, 4, structure, blocks, normalization)
    H = h.shape[-1]

    left, delayed = masked(h, left_masks, 0), masked(q[..., :H], left_masks, 1)
    u = activation(W_1(left) + U_1)
    z = activation(W_2(delayed) + U_2)
    g = recurrent_activation(W_3(left) + U_3)
    a = recurrent_activation(W_4(left) + U_4)
    h_new = (1 - g) * h + g * (u + a * z)
    return h_new, np.concatenate([q[..., H:], h], axis=-1)
