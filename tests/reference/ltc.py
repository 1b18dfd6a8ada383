"""Liquid time-constant network (Hasani et al. 2021, arXiv 2006.04439), by the authors' program."""

import numpy as np

from .activations import sigmoid


def softplus(v):
    return np.log1p(np.exp(v))


def currents(strength, mu, sigma, erev, source, present):
    """Sums over the sources i of each neuron j: of w_ij s_ij E_ij, and of w_ij s_ij.

    s_ij = sigma(gamma_ij (v_i - mu_ij)), w > 0, only where there is a synapse
    """
    open_part = strength * sigmoid(sigma * (source[..., :, None] - mu)) * present
    return (open_part * erev).sum(axis=-2), open_part.sum(axis=-2)


def step(w, x, v, *, delta=1.0, sensory=1.0, synapses=1.0, ode_unfolds=6):
    """One step: v_{t-1} -> v_t by n steps of length dt = delta / n of the semi-implicit Euler method.

    c dv/dt = g (v_leak - v) + sum_i w_ij s_ij (E_ij - v), over neurons and over features; the features are a x + b
    v <- (c / dt v + g v_leak + sum w s E) / (c / dt + g + sum w s)

    Args:
        sensory, synapses: 1 where there is a synapse, (D, H) and (H, H).
    """
    dt = delta / ode_unfolds
    fed = x * w["input_w"] + w.get("input_b", 0.0)
    names = ("mu", "sigma", "erev")
    s_w, s_rest = softplus(w["sensory_w"]), [w[f"sensory_{n}"] for n in names]
    n_w, n_rest = softplus(w["w"]), [w[n] for n in names]
    c, g = softplus(w["cm"]), softplus(w["gleak"])
    fed_up, fed_down = currents(s_w, *s_rest, fed, sensory)
    for _ in range(ode_unfolds):
        up, down = currents(n_w, *n_rest, v, synapses)
        v = (v + dt / c * (g * w["vleak"] + up + fed_up)) / (1 + dt / c * (g + down + fed_down))
    return (v,)


def readout(w, v):
    """p * v + q of the motor neurons, the first ones."""
    return v[..., : len(w["output_w"])] * w["output_w"] + w.get("output_b", 0.0)
