"""Matrix products of the cells: weights per gate, structured U, normalised products."""

from functools import partial

import numpy as np

EPSILON = 1e-3


def split(v, gates):
    """Cut the last axis into `gates` equal parts, in storage order."""
    return np.split(np.asarray(v), gates, axis=-1)


def per_gate(w, name, gates, absent):
    """The parts of `w[name]`, one a gate, or `absent` for each when `w` has no such weight."""
    return split(w[name], gates) if name in w else [absent] * gates


def normalize(v, gain, kind, gates=1):
    """Per gate `N(v_g) * gain_g`; `kind=None` returns `v` as it is.

    layer: N(v) = (v - mean(v)) / sqrt(var(v) + 1e-3), var the mean of squared deviations
    rms:   N(v) = v / sqrt(mean(v^2) + 1e-3)
    """
    if kind is None:
        return v
    parts = []
    for part in split(v, gates):
        if kind == "layer":
            part = part - part.mean(axis=-1, keepdims=True)
        elif kind != "rms":
            raise ValueError(f"Expected kind None, 'layer' or 'rms'. Received: kind={kind!r}")
        parts.append(part / np.sqrt((part**2).mean(axis=-1, keepdims=True) + EPSILON))
    return np.concatenate(parts, axis=-1) * gain


def recurrent_matrices(w, structure, gates, blocks=None):
    """U_1 ... U_G as full matrices, from the weights that a structure stores.

    dense:    recurrent_kernel (H, G*H), gate g is the g-th group of columns
    diagonal: recurrent_kernel (G*H,), U_g = diag(u_g)
    block:    recurrent_kernel (n, H/n, G*H/n): one matrix a block, its columns gate by gate.
              U_g has the blocks' parts for gate g along its diagonal, zeros elsewhere:
              unit j, as source and as target, is in block j // (H/n)
    low_rank: recurrent_kernel_left A (H, R), shared by the gates, and
              recurrent_kernel_right B (R, G*H): U_g = A B_g
    """
    if structure == "low_rank":
        A, B = w["recurrent_kernel_left"], w["recurrent_kernel_right"]
        return [A @ B_g for B_g in split(B, gates)]
    U = w["recurrent_kernel"]
    if structure == "dense":
        return split(U, gates)
    if structure == "diagonal":
        return [np.diag(u_g) for u_g in split(U, gates)]
    if structure == "block":
        n, rows, columns = U.shape
        columns //= gates
        if blocks not in (None, n):
            raise ValueError(f"Expected {blocks} blocks. Received: recurrent_kernel {U.shape}")
        full = np.zeros((gates, n * rows, n * columns))
        for k in range(n):
            for g, part in enumerate(split(U[k], gates)):
                full[g, k * rows : (k + 1) * rows, k * columns : (k + 1) * columns] = part
        return list(full)
    raise ValueError(
        f"Expected structure 'dense', 'diagonal', 'block' or 'low_rank'. Received: structure={structure!r}"
    )


def recurrent(left, weights, structure="dense", blocks=None, gates=None):
    """`left @ [U_1 ... U_G]`, shape (..., G*H); low rank takes `weights=(A, B)`.

    `gates=None` counts them, for square U_g (columns in all / H).
    """
    if structure == "low_rank":
        w = dict(zip(("recurrent_kernel_left", "recurrent_kernel_right"), weights, strict=True))
        columns = weights[1].shape[-1]
    else:
        w = {"recurrent_kernel": weights}
        columns = weights.size // weights.shape[1] if structure == "block" else weights.shape[-1]
    gates = gates or columns // left.shape[-1]
    return np.concatenate([left @ U_g for U_g in recurrent_matrices(w, structure, gates, blocks)], axis=-1)


def masked(left, left_masks, use):
    """The left operand of the `use`-th recurrent product, times its dropout multiplier if any."""
    if left_masks is None or left_masks[use] is None:
        return left
    return left * left_masks[use]


def projected(w, x, gates, kind):
    """x W_g + b_g of each gate, in storage order, normalized where `kind` says so."""
    gains, biases = per_gate(w, "kernel_gain", gates, 1.0), per_gate(w, "bias", gates, 0.0)
    kernels = split(w["kernel"], gates)
    return [normalize(x @ W, p, kind) + b for W, p, b in zip(kernels, gains, biases, strict=True)]


def products_of(w, gates, structure, blocks, kind):
    """For each gate with a recurrent product the function left -> left U_g, normalized where `kind` says so."""
    gains = per_gate(w, "recurrent_gain", gates, 1.0)
    matrices = recurrent_matrices(w, structure, gates, blocks)

    def product(left, U, q):
        return normalize(left @ U, q, kind)

    return [partial(product, U=U, q=q) for U, q in zip(matrices, gains, strict=True)]
