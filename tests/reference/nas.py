"""The cell found by neural architecture search (Zoph & Le 2017; the authors' cell in TensorFlow)."""

import numpy as np

from .activations import relu, sigmoid
from .products import masked, products_of, projected


def step(w, x, h, c, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step: (h_{t-1}, c_{t-1}) -> (h_t, c_t). Eight branches, stored 0..7: X_k = x_t W_k, M_k = h_{t-1} U_k + b_k.

    l1_0 = sigma(X_0 + M_0)   l1_1 = relu(X_1 + M_1)     l2_0 = tanh(l1_0 * l1_1)
    l1_2 = sigma(X_2 + M_2)   l1_3 = relu(X_3 * M_3)     l2_1 = tanh(l1_2 + l1_3)     the product of branch 3
    l1_4 = tanh (X_4 + M_4)   l1_5 = sigma(X_5 + M_5)    l2_2 = tanh(l1_4 * l1_5)
    l1_6 = tanh (X_6 + M_6)   l1_7 = sigma(X_7 + M_7)    l2_3 = sigma(l1_6 + l1_7)
    c_t = tanh(l2_0 + c_{t-1}) * l2_1
    h_t = tanh(c_t * tanh(l2_2 + l2_3))
    """
    X = projected({k: v for k, v in w.items() if k != "bias"}, x, 8, normalization)
    h = masked(h, left_masks, 0)
    M = [u(h) for u in products_of(w, 8, structure, blocks, normalization)]
    if "bias" in w:
        M = [m + b for m, b in zip(M, np.split(w["bias"], 8), strict=True)]
    first = [
        sigmoid(X[0] + M[0]),
        relu(X[1] + M[1]),
        sigmoid(X[2] + M[2]),
        relu(X[3] * M[3]),
        np.tanh(X[4] + M[4]),
        sigmoid(X[5] + M[5]),
        np.tanh(X[6] + M[6]),
        sigmoid(X[7] + M[7]),
    ]
    second = [
        np.tanh(first[0] * first[1]),
        np.tanh(first[2] + first[3]),
        np.tanh(first[4] * first[5]),
        sigmoid(first[6] + first[7]),
    ]
    c_new = np.tanh(second[0] + c) * second[1]
    return np.tanh(c_new * np.tanh(second[2] + second[3])), c_new
