"""Recurrent highway network (Zilly et al. 2017, arXiv 1607.03474)."""

import numpy as np

from .activations import sigmoid
from .products import masked, per_gate, products_of, projected, split


def step(
    w,
    x,
    s,
    *,
    depth=3,
    coupled=True,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: s_L of the step before -> s_L. Stored order: h t, or h t c with `coupled=False`.

    s_0 = s_L of the step before; for l = 1 .. L:
        h_l = tanh (x_t W_H [l = 1] + s_{l-1} R_Hl + b_Hl)
        t_l = sigma(x_t W_T [l = 1] + s_{l-1} R_Tl + b_Tl)
        c_l = sigma(x_t W_C [l = 1] + s_{l-1} R_Cl + b_Cl), or 1 - t_l where coupled
        s_l = h_l * t_l + s_{l-1} * c_l

    R_1: recurrent_kernel; R_l, b_l for l >= 2: depth_<l>_kernel, depth_<l>_bias. left_masks: of s_0 .. s_{L-1}.
    """
    gates = 2 if coupled else 3
    from_input = projected(w, x, gates, normalization)
    first = products_of(w, gates, structure, blocks, normalization)
    for layer in range(1, depth + 1):
        left = masked(s, left_masks, layer - 1)
        if layer == 1:
            a = [v + u(left) for v, u in zip(from_input, first, strict=True)]
        else:
            R = split(w[f"depth_{layer}_kernel"], gates)
            b = per_gate(w, f"depth_{layer}_bias", gates, 0.0)
            a = [left @ R_g + b_g for R_g, b_g in zip(R, b, strict=True)]
        h, t = np.tanh(a[0]), sigmoid(a[1])
        c = 1 - t if coupled else sigmoid(a[2])
        s = h * t + s * c
    return (s,)
