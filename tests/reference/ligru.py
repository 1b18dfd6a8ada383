"""Light GRU (Ravanelli et al. 2018), whose input products are batch-normalized."""

from functools import partial

import numpy as np

from .activations import relu, sigmoid
from .loop import run
from .products import masked, per_gate, products_of, projected, split

EPSILON = 1e-5
MOMENTUM = 0.95


def step(w, x, h, *, activation=relu, structure="dense", blocks=None, normalization=None, left_masks=None):
    """One step of inference: h_{t-1} -> h_t. Stored gate order: z h.

    z_t   = sigma(BN(W_z x_t) + U_z h_{t-1} + b_z)
    h~_t  = relu(BN(W_h x_t) + U_h h_{t-1} + b_h)
    h_t   = z_t * h_{t-1} + (1 - z_t) * h~_t
    BN(a) = gamma * (a - mu) / sqrt(var + 1e-5), mu and var the moving ones

    Without weights of BN, BN(a) = a. With normalization W x is N(W x) times its gain, before BN.
    """
    a_z, a_h = products_of_inputs(w, x, normalization)
    if "moving_mean" in w:
        gamma, mu, var = (split(w[name], 2) for name in ("batch_gain", "moving_mean", "moving_variance"))
        a_z = gamma[0] * (a_z - mu[0]) / np.sqrt(var[0] + EPSILON)
        a_h = gamma[1] * (a_h - mu[1]) / np.sqrt(var[1] + EPSILON)
    b_z, b_h = per_gate(w, "bias", 2, 0.0)
    u_z, u_h = products_of(w, 2, structure, blocks, normalization)
    left = masked(h, left_masks, 0)
    z = sigmoid(a_z + u_z(left) + b_z)
    candidate = activation(a_h + u_h(left) + b_h)
    return (z * h + (1.0 - z) * candidate,)


def products_of_inputs(w, x, normalization=None):
    """W_z x and W_h x, without a bias."""
    return projected({name: a for name, a in w.items() if name != "bias"}, x, 2, normalization)


def train(w, x, h, mask=None, *, go_backwards=False, left_masks=None, **options):
    """A sequence in training: BN by the mean and the biased variance of each column of W x over all valid steps.

    Args:
        w: the weights, with those of BN.
        x: (B, T, D).
        h: (B, H).
        mask: (B, T) bool with at least one valid step; `None` is all valid.
        go_backwards, left_masks: see `run`.
        options: those of `step`.

    Returns:
        Outputs (B, T, H), the final state (B, H), the new moving mean and the new moving variance (2H,).
    """
    rows = []
    for row in range(x.shape[0]):
        for t in range(x.shape[1]):
            if mask is None or mask[row, t]:
                rows.append(np.concatenate(products_of_inputs(w, x[row, t], options.get("normalization"))))
    mu = sum(rows) / len(rows)
    var = sum((a - mu) ** 2 for a in rows) / len(rows)

    now = {**w, "moving_mean": mu, "moving_variance": var}
    (outputs,), (final,) = run(
        partial(step, now, **options), x, [h], mask=mask, go_backwards=go_backwards, left_masks=left_masks
    )
    mean = MOMENTUM * w["moving_mean"] + (1 - MOMENTUM) * mu
    variance = MOMENTUM * w["moving_variance"] + (1 - MOMENTUM) * var
    return outputs, final, mean, variance
