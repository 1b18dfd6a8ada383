"""Closed-form continuous-time network (Hasani et al. 2022, arXiv 2106.13898), by the authors' program."""

import numpy as np

from .activations import sigmoid
from .products import masked, normalize, per_gate, products_of, projected, recurrent_matrices, split


def lecun_tanh(v):
    return 1.7159 * np.tanh(0.666 * v)


def blended(heads, delta, mode, w_tau=None, A=None):
    """h_t of the heads.

    default: tanh(g) (1 - s) + tanh(k) s,  s = sigma(a delta + b)
    no_gate: tanh(g) + tanh(k) s
    pure:    -A exp(-delta (|w_tau| + |f|)) f + A
    """
    if mode == "pure":
        (f,) = heads
        return -A * np.exp(-delta * (np.abs(w_tau) + np.abs(f))) * f + A
    g, k, a, b = heads
    s = sigmoid(a * delta + b)
    return np.tanh(g) * (1.0 if mode == "no_gate" else 1 - s) + np.tanh(k) * s


def step(
    w,
    x,
    h,
    *,
    delta=1.0,
    mode="default",
    layers=1,
    activation=lecun_tanh,
    structure="dense",
    blocks=None,
    normalization=None,
    left_masks=None,
):
    """One step: h_{t-1} -> h_t. Stored head order: g k a b, or f where pure.

    s_1 = phi(x W + h U + b),  s_l = phi(s_{l-1} V_l + v_l),  the heads from s_L; without layers from x and h
    """
    count = 1 if mode == "pure" else 4
    pure = (w.get("w_tau"), w.get("A"))
    if layers == 0:
        products = products_of(w, count, structure, blocks, normalization)
        left = masked(h, left_masks, 0)
        heads = [x_g + u_g(left) for x_g, u_g in zip(projected(w, x, count, normalization), products, strict=True)]
        return (blended(heads, delta, mode, *pure),)
    (x_1,) = projected(w, x, 1, normalization)
    (U,) = recurrent_matrices(w, structure, 1, blocks)
    (gain,) = per_gate(w, "recurrent_gain", 1, 1.0)
    s = activation(x_1 + normalize(masked(h, left_masks, 0) @ U, gain, normalization))
    for n in range(2, layers + 1):
        s = activation(masked(s, left_masks, n - 1) @ w[f"backbone_{n}_kernel"] + w.get(f"backbone_{n}_bias", 0.0))
    heads = split(masked(s, left_masks, layers) @ w["head_kernel"] + w.get("head_bias", 0.0), count)
    return (blended(heads, delta, mode, *pure),)


def wired_step(w, x, h, *, layers, sensory, synapses, delta=1.0, mode="default", fully_recurrent=True, left_masks=None):
    """One step of layers of neurons, each a network without backbone that reads the layer before it and itself.

    The state holds the neurons in the order of the wiring, the motor neurons first. The heads g and k (f where pure)
    have their weights times M, which is 1 where there is a synapse, and within a layer everywhere if `fully_recurrent`.

    Args:
        layers: the neurons of each layer, a list of index ranges into the wiring.
        sensory, synapses: 1 where there is a synapse, (D, H) and (H, H).
    """
    count = 1 if mode == "pure" else 4
    before, h_new = None, np.zeros_like(h)
    for n, own in enumerate(layers):
        within = np.ones((len(own), len(own))) if fully_recurrent else synapses[np.ix_(own, own)]
        if n == 0:
            M_x, M_h = sensory[:, own], within
            kernel, bias = w["kernel"], w.get("bias", np.zeros(count * len(own)))
            left = masked(h[..., own], left_masks, 0)
            rows = [(x, split(kernel, count), M_x), (left, split(w["layer_0_kernel"], count), M_h)]
        else:
            kernel, bias = w[f"layer_{n}_kernel"], w.get(f"layer_{n}_bias", np.zeros(count * len(own)))
            M = np.concatenate([synapses[np.ix_(layers[n - 1], own)], within])
            joint = masked(np.concatenate([before, h[..., own]], axis=-1), left_masks, n)
            rows = [(joint, split(kernel, count), M)]
        heads = []
        for j, b in enumerate(split(bias, count)):
            sparse = j < 2
            heads.append(b + sum(left @ (W[j] * M if sparse else W[j]) for left, W, M in rows))
        pure = (w["w_tau"][own], w["A"][own]) if mode == "pure" else ()
        before = blended(heads, delta, mode, *pure)
        h_new[..., own] = before
    return (h_new,)
