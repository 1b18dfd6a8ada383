"""Fast-slow network (Mujika et al. 2017, arXiv 1705.08639), equations (1) to (5), of LSTMs or other cells."""

import numpy as np

from . import lstm


def step(w, x, *states, count=2, fast=lstm.step, slow=lstm.step):
    """One step: (h^F, ..., h^S, ...)_{t-1} -> the same of t. The output is h^F_k.

    h^{F_1}_t = f^{F_1}(h^{F_k}_{t-1}, x_t)
    h^S_t     = f^S(h^S_{t-1}, h^{F_1}_t)
    h^{F_2}_t = f^{F_2}(h^{F_1}_t, h^S_t)
    h^{F_i}_t = f^{F_i}(h^{F_{i-1}}_t)          for 3 <= i <= k: no input

    All states of a fast cell pass to the next one, c of an LSTM too. Every f has weights of its own.

    Args:
        w: {"fast": [weights of f^{F_1}, ...], "slow": weights of f^S}; a kernel without input has no rows.
        states: those of the fast cells, `count` of them, then those of the slow one.
        count: the number of states of a fast cell.
        fast: the step of the fast cells, or a list of one for each.
        slow: that of the slow cell.
    """
    F, S = states[:count], states[count:]
    steps = list(fast) if isinstance(fast, (list, tuple)) else [fast] * len(w["fast"])
    if len(steps) < 2:
        raise ValueError(f"Expected two fast cells or more. Received: {len(steps)}")
    none = np.zeros((*np.shape(x)[:-1], 0))
    F = steps[0](w["fast"][0], x, *F)
    S = slow(w["slow"], F[0], *S)
    F = steps[1](w["fast"][1], S[0], *F)
    for f, w_i in zip(steps[2:], w["fast"][2:], strict=True):
        F = f(w_i, none, *F)
    return *F, *S
