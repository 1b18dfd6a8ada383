"""Multiplicative integration (Wu et al. 2016, arXiv 1606.06630), the general form (4), in vanilla, LSTM and GRU."""

import numpy as np

from .activations import sigmoid
from .products import masked, per_gate, products_of, projected


def blocks_of(w, x, gates, structure, blocks, normalization):
    """For each gate the function left -> alpha o W x o U z + beta_1 o U z + beta_2 o W x + b, z = left."""
    biases = per_gate(w, "bias", gates, 0.0)
    products = products_of(w, gates, structure, blocks, normalization)
    inputs = projected({name: a for name, a in w.items() if name != "bias"}, x, gates, normalization)
    alphas, betas_1, betas_2 = (per_gate(w, name, gates, 1.0) for name in ("alpha", "beta_1", "beta_2"))

    def block(Wx, U, alpha, beta_1, beta_2, b):
        def made(z):
            Uz = U(z)
            return alpha * Wx * Uz + beta_1 * Uz + beta_2 * Wx + b

        return made

    return [block(*parts) for parts in zip(inputs, products, alphas, betas_1, betas_2, biases, strict=True)]


def vanilla_step(w, x, h, *, activation=np.tanh, structure="dense", blocks=None, normalization=None, left_masks=None):
    """h_t = tanh(alpha o W x_t o U h_{t-1} + beta_1 o U h_{t-1} + beta_2 o W x_t + b)"""
    (n,) = blocks_of(w, x, 1, structure, blocks, normalization)
    return (activation(n(masked(h, left_masks, 0))),)


def lstm_step(
    w,
    x,
    h,
    c,
    *,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """The LSTM whose four sums are blocks of this kind. Stored gate order: i f g o, g the paper's z."""
    left = masked(h, left_masks, 0)
    i, f, g, o = (block(left) for block in blocks_of(w, x, 4, structure, blocks, normalization))
    c_new = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
    return recurrent_activation(o) * activation(c_new), c_new


def gru_step(
    w,
    x,
    h,
    *,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """The GRU whose three sums are blocks of this kind, that of the candidate of W x_t and U (r_t o h_{t-1}).

    Stored gate order: z r n. h_t = z_t o h_{t-1} + (1 - z_t) o n_t, where the paper's z is 1 - z.
    """
    z, r, n = blocks_of(w, x, 3, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    z, r = recurrent_activation(z(left)), recurrent_activation(r(left))
    n = activation(n(masked(r * h, left_masks, 1)))
    return (z * h + (1 - z) * n,)
