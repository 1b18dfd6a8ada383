"""The layers of haste as its documents and its own CPU code have them: weights in its names, shapes and gate orders."""

import numpy as np

from .activations import sigmoid


def zoned(h_new, h, zoneout):
    """At inference: the expectation of a unit that keeps its old value with the chance `zoneout`."""
    return zoneout * h + (1 - zoneout) * h_new


def lstm(w, x, zoneout=0.0):
    """Outputs and last cell state of x (B, T, D). Gates i g f o; zoneout acts on h alone."""
    h = c = np.zeros((len(x), w["recurrent_kernel"].shape[0]))
    outputs = []
    for t in range(x.shape[1]):
        v = x[:, t] @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"]
        i, g, f, o = np.split(v, 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = zoned(sigmoid(o) * np.tanh(c), h, zoneout)
        outputs.append(h)
    return np.stack(outputs, axis=1), c


def gru(w, x, zoneout=0.0):
    """Outputs and last state. Gates z r h, a bias for each product, the reset gate after the recurrent one."""
    h = np.zeros((len(x), w["recurrent_kernel"].shape[0]))
    outputs = []
    for t in range(x.shape[1]):
        x_z, x_r, x_h = np.split(x[:, t] @ w["kernel"] + w["bias"], 3, axis=-1)
        h_z, h_r, h_h = np.split(h @ w["recurrent_kernel"] + w["recurrent_bias"], 3, axis=-1)
        z, r = sigmoid(x_z + h_z), sigmoid(x_r + h_r)
        h = zoned(z * h + (1 - z) * np.tanh(x_h + r * h_h), h, zoneout)
        outputs.append(h)
    return np.stack(outputs, axis=1), h


def ind_rnn(w, x, zoneout=0.0):
    """Outputs and last state; tanh, where the paper has a rectifier."""
    h = np.zeros((len(x), len(w["recurrent_scale"])))
    outputs = []
    for t in range(x.shape[1]):
        h = zoned(np.tanh(x[:, t] @ w["kernel"] + h * w["recurrent_scale"] + w["bias"]), h, zoneout)
        outputs.append(h)
    return np.stack(outputs, axis=1), h
