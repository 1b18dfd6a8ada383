"""The simple recurrent network: Elman (1990) feeds back the state, Jordan (1986) the output."""

from functools import partial

import numpy as np

from .activations import linear
from .products import masked, normalize, recurrent_matrices


def step(
    w,
    x,
    state,
    *,
    activation=np.tanh,
    output_activation=linear,
    feedback="state",
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step; f is `activation`, g is `output_activation`.

    Elman (feedback="state"):   h_t = f(x_t W + h_{t-1} U + b)             new state h_t
    Jordan (feedback="output"): h_t = f(x_t W + y_{t-1} U + b)
                                y_t = g(h_t V + c)                         new state y_t

    V, c: output_kernel, output_bias. Elman's output y_t is `readout` of h_t.
    left_masks, in order of use: the operand of U; Jordan also h_t, the operand of V.
    `None` is no multiplier.
    """
    W, b = w["kernel"], w.get("bias", 0.0)
    (U,) = recurrent_matrices(w, structure, 1, blocks)
    N = partial(normalize, kind=normalization)

    left = masked(state, left_masks, 0)
    h_new = activation(N(x @ W, w.get("kernel_gain", 1.0)) + N(left @ U, w.get("recurrent_gain", 1.0)) + b)
    if feedback == "state":
        return (h_new,)
    if feedback == "output":
        return (readout(w, masked(h_new, left_masks, 1), output_activation),)
    raise ValueError(f"Expected feedback 'state' or 'output'. Received: feedback={feedback!r}")


def readout(w, h, output_activation=linear):
    """y = g(h V + c)."""
    return output_activation(h @ w["output_kernel"] + w.get("output_bias", 0.0))
