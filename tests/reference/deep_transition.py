"""Depth inside one step (Pascanu, Gulcehre, Cho, Bengio 2014, arXiv 1312.6026)."""

from functools import partial

import numpy as np

from .activations import linear
from .products import masked, normalize, recurrent_matrices


def inputs(w, x, *, input_layers=(), activation=np.tanh):
    """Deep input: x~ = f(... f(x A_1 + a_1) ... A_k + a_k); x~ = x without input layers."""
    for k in range(1, len(input_layers) + 1):
        x = activation(x @ w[f"input_kernel_{k}"] + w.get(f"input_bias_{k}", 0.0))
    return x


def readout(w, h, *, output_layers=(), activation=np.tanh, output_activation=linear):
    """Deep output: q_0 = h, q_p = f(q_{p-1} O_p + o_p); the last layer has g instead of f."""
    for p in range(1, len(output_layers) + 1):
        f = output_activation if p == len(output_layers) else activation
        h = f(h @ w[f"output_kernel_{p}"] + w.get(f"output_bias_{p}", 0.0))
    return h


def step(
    w,
    x,
    h,
    *,
    input_layers=(),
    transition_layers=(),
    shortcut=False,
    activation=np.tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """Deep transition, one step: h_{t-1} -> h_t, through L = len(transition_layers) layers.

    x~  = inputs(x_t)
    s_1 = f(x~ W + h_{t-1} U + b)
    s_l = f(s_{l-1} V_l + v_l)                               l = 2 ... L
    h_t = f(s_L V_{L+1} + v_{L+1} [+ h_{t-1} S])             S with shortcut
    L = 0: h_t = f(x~ W + h_{t-1} U + b)

    V_l, v_l: transition_kernel_l, transition_bias_l. S: shortcut_kernel.
    Normalization acts on x~ W and h_{t-1} U alone.
    left_masks, in order of use: of h_{t-1} before U; s_1 before V_2; ...; s_L before V_{L+1};
    h_{t-1} before S. `None` is no multiplier.
    """
    f = activation
    N = partial(normalize, kind=normalization)
    L = len(transition_layers)
    (U,) = recurrent_matrices(w, structure, 1, blocks)
    if left_masks is None:
        left_masks = [None] * (L + 2)

    x = inputs(w, x, input_layers=input_layers, activation=activation)
    s = f(
        N(x @ w["kernel"], w.get("kernel_gain", 1.0))
        + N(masked(h, left_masks, 0) @ U, w.get("recurrent_gain", 1.0))
        + w.get("bias", 0.0)
    )
    for l in range(2, L + 2):
        v = masked(s, left_masks, l - 1) @ w[f"transition_kernel_{l}"]
        v = v + w.get(f"transition_bias_{l}", 0.0)
        if l == L + 1 and shortcut:
            v = v + masked(h, left_masks, L + 1) @ w["shortcut_kernel"]
        s = f(v)
    return (s,)
