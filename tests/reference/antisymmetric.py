"""The antisymmetric network and its gated form (Chang et al. 2019)."""

import numpy as np

from .activations import sigmoid
from .products import masked, normalize, per_gate, projected, recurrent_matrices


def dampened(w, structure, blocks, gamma):
    """The paper's W_h - W_h^T - gamma I for rows: M = W_h^T, so M - M^T - gamma I."""
    (M,) = recurrent_matrices(w, structure, 1, blocks)
    return M - M.T - gamma * np.eye(len(M))


def step(
    w,
    x,
    h,
    *,
    epsilon=0.01,
    gamma=0.01,
    activation=np.tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """h_t = h_{t-1} + epsilon tanh((W_h - W_h^T - gamma I) h_{t-1} + V_h x_t + b_h)

    With normalization V_h x_t and the recurrent product are normalized.
    left_masks: of h_{t-1} before the matrix.
    """
    (V,) = projected(w, x, 1, normalization)
    (q,) = per_gate(w, "recurrent_gain", 1, 1.0)
    U = dampened(w, structure, blocks, gamma)
    product = normalize(masked(h, left_masks, 0) @ U, q, normalization)
    return (h + epsilon * activation(product + V),)


def gated_step(
    w,
    x,
    h,
    *,
    epsilon=0.01,
    gamma=0.01,
    activation=np.tanh,
    recurrent_activation=sigmoid,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """Both products with h share one matrix. Stored gate order of V and b: z h.

    z_t = sigma((W_h - W_h^T - gamma I) h_{t-1} + V_z x_t + b_z)
    h_t = h_{t-1} + epsilon z_t * tanh((W_h - W_h^T - gamma I) h_{t-1} + V_h x_t + b_h)
    """
    V_z, V_h = projected(w, x, 2, normalization)
    (q,) = per_gate(w, "recurrent_gain", 1, 1.0)
    U = dampened(w, structure, blocks, gamma)
    product = normalize(masked(h, left_masks, 0) @ U, q, normalization)
    z = recurrent_activation(product + V_z)
    return (h + epsilon * z * activation(product + V_h),)
