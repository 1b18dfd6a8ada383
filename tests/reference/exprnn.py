"""The exponential network: an orthogonal recurrent matrix (Lezcano-Casado & Martinez-Rubio 2019)."""

import numpy as np

from .products import masked, normalize, per_gate, projected, recurrent_matrices


def exponential(A, terms=24):
    """exp(A) = (sum_k (A / 2^s)^k / k!)^(2^s), with s so large that |A / 2^s| < 1/2."""
    squarings = max(0, int(np.ceil(np.log2(np.abs(A).sum(axis=0).max() + 1e-300))) + 1)
    A = A / 2.0**squarings
    total = term = np.eye(len(A))
    for k in range(1, terms):
        term = term @ A / k
        total = total + term
    for _ in range(squarings):
        total = total @ total
    return total


def modrelu(v, b):
    """sign(v) relu(|v| + b): moves the size of v, never its sign."""
    return np.sign(v) * np.maximum(np.abs(v) + b, 0.0)


def step(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """h_t = modrelu(B h_{t-1} + T x_t), B = exp(A - A^T).

    Without bias modrelu is the identity. left_masks: of h_{t-1} before B.
    """
    (A,) = recurrent_matrices(w, structure, 1, blocks)
    (q,) = per_gate(w, "recurrent_gain", 1, 1.0)
    (T,) = projected(w, x, 1, normalization)
    v = normalize(masked(h, left_masks, 0) @ exponential(A - A.T), q, normalization) + T
    return (modrelu(v, w.get("modrelu_bias", 0.0)),)
