"""The recurrent cells of TensorFlow Addons as its code has them: weights in its names and shapes, one step each."""

import numpy as np

from .activations import relu, sigmoid


def peephole_lstm(w, x, h, c, *, activation=np.tanh):
    """Keras' LSTM, gates i f c o, where i and f see the old c and o the new one."""
    parts = np.split(x @ w["kernel"] + h @ w["recurrent_kernel"] + w.get("bias", 0.0), 4, axis=-1)
    i = sigmoid(parts[0] + w["input_gate_peephole_weights"] * c)
    f = sigmoid(parts[1] + w["forget_gate_peephole_weights"] * c)
    c_new = f * c + i * activation(parts[2])
    o = sigmoid(parts[3] + w["output_gate_peephole_weights"] * c_new)
    return o * activation(c_new), c_new


def nas(w, x, m, c):
    """Eight branches of the inputs and of m, the bias beside m; their states are [c, m]."""
    a = np.split(x @ w["kernel"], 8, axis=-1)
    b = np.split(m @ w["recurrent_kernel"] + w.get("bias", 0.0), 8, axis=-1)
    left = np.tanh(sigmoid(a[0] + b[0]) * relu(a[1] + b[1]))
    c_new = np.tanh(left + c) * np.tanh(sigmoid(a[2] + b[2]) + relu(a[3] * b[3]))
    last = np.tanh(np.tanh(a[4] + b[4]) * sigmoid(a[5] + b[5]))
    right = np.tanh(last + sigmoid(np.tanh(a[6] + b[6]) + sigmoid(a[7] + b[7])))
    return np.tanh(c_new * right), c_new


def esn(w, x, h, *, activation=np.tanh, leaky=1.0):
    """A leaky reservoir."""
    made = activation(
        np.concatenate([x, h], axis=-1) @ np.concatenate([w["kernel"], w["recurrent_kernel"]]) + w["bias"]
    )
    return ((1 - leaky) * h + leaky * made,)
