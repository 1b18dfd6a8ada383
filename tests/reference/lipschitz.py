"""The Lipschitz network (Erichson et al. 2021)."""

import numpy as np

from .products import masked, normalize, per_gate, projected, recurrent_matrices


def step(
    w,
    x,
    h,
    *,
    beta=0.75,
    gamma=0.001,
    epsilon=0.03,
    solver="euler",
    activation=np.tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """A step of size epsilon of h' = A h + tanh(W h + U x + b).

    A = (1 - beta_A) (M_A + M_A^T) + beta_A (M_A - M_A^T) - gamma_A I, and W in the same way from
    M_W, beta_W, gamma_W. Stored gate order: M_A M_W, transposed, for rows.

    euler: h_t = h_{t-1} + epsilon f(h_{t-1})
    rk2:   h_t = h_{t-1} + epsilon f(h_{t-1} + epsilon / 2 f(h_{t-1})), the midpoint rule

    With normalization the two products with h are normalized, as U x is.
    left_masks: of the argument of each f, in order.
    """
    beta_A, beta_W = np.broadcast_to(beta, 2)
    gamma_A, gamma_W = np.broadcast_to(gamma, 2)
    M_A, M_W = recurrent_matrices(w, structure, 2, blocks)
    q_A, q_W = per_gate(w, "recurrent_gain", 2, 1.0)
    (U,) = projected(w, x, 1, normalization)
    identity = np.eye(len(M_A))
    A = (1 - beta_A) * (M_A + M_A.T) + beta_A * (M_A - M_A.T) - gamma_A * identity
    W = (1 - beta_W) * (M_W + M_W.T) + beta_W * (M_W - M_W.T) - gamma_W * identity

    def f(h, use):
        left = masked(h, left_masks, use)
        return normalize(left @ A, q_A, normalization) + activation(normalize(left @ W, q_W, normalization) + U)

    if solver == "euler":
        return (h + epsilon * f(h, 0),)
    if solver == "rk2":
        return (h + epsilon * f(h + 0.5 * epsilon * f(h, 0), 1),)
    raise ValueError(f"Expected solver 'euler' or 'rk2'. Received: solver={solver!r}")
