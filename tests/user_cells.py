"""Cells as a user would write them, each beside its NumPy twin."""

import keras
import numpy as np
from keras import ops
from reference.activations import sigmoid
from reference.products import masked, products_of, projected

import keras_rnnx


@keras.saving.register_keras_serializable("tests")
class MGUCell(keras_rnnx.Cell):
    """Minimal gated unit: a gate taken alone, and a left operand that is not a state."""

    GATES, STATES = "f n", "h"

    def step(self, x, u, h):
        f = ops.sigmoid(x.f + u.f(h))
        n = ops.tanh(x.n + u.n(f * h))
        return (1 - f) * h + f * n


@keras.saving.register_keras_serializable("tests")
class PeepholeCell(keras_rnnx.Cell):
    """LSTM whose gates see the cell state: vectors that a step reads."""

    GATES, STATES, VECTORS = "i f g o", "h c", "p_i p_f p_o"

    def step(self, x, u, h, c):
        a = x + u(h)
        i = ops.sigmoid(a.i + u.p_i * c)
        f = ops.sigmoid(a.f + u.p_f * c)
        c_new = f * c + i * ops.tanh(a.g)
        o = ops.sigmoid(a.o + u.p_o * c_new)
        return o * ops.tanh(c_new), c_new


@keras.saving.register_keras_serializable("tests")
class LongMemoryCell(keras_rnnx.Cell):
    """After LEM (Rusch et al. 2022): a gate without recurrent product, and a further matrix on a new state."""

    GATES, RECURRENT_GATES, STATES, MATRICES = "a b z y", "a b z", "y z", "V"

    def step(self, x, u, y, z):
        u_ab, u_z = u(y).split("a b", "z")
        x_ab, x_z, x_y = x.split("a b", "z", "y")
        a, b = self.activate(x_ab + u_ab)
        z_new = (1 - a) * z + a * ops.tanh((x_z + u_z).z)
        return (1 - b) * y + b * ops.tanh(x_y.y + u.V(z_new)), z_new


@keras.saving.register_keras_serializable("tests")
class DecayCell(keras_rnnx.Cell):
    """A state that fades with the time between steps, before and inside the product."""

    GATES, STATES, VECTORS, TIMED, LANES = "n", "h", "rate", True, True

    def step(self, x, u, h):
        faded = h * ops.exp(-ops.softplus(u.rate) * u.delta)
        return ops.tanh(x.n + u.n(faded)) + 0.5 * faded


def decay(w, x, h, delta=1.0, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    (x_n,), (u_n,) = projected(w, x, 1, normalization), products_of(w, 1, structure, blocks, normalization)
    faded = h * np.exp(-np.log1p(np.exp(w["rate"])) * delta)
    return (np.tanh(x_n + u_n(masked(faded, left_masks, 0))) + 0.5 * faded,)


def mgu(w, x, h, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    x_f, x_n = projected(w, x, 2, normalization)
    u_f, u_n = products_of(w, 2, structure, blocks, normalization)
    f = sigmoid(x_f + u_f(masked(h, left_masks, 0)))
    n = np.tanh(x_n + u_n(masked(f * h, left_masks, 1)))
    return ((1 - f) * h + f * n,)


def peephole(w, x, h, c, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    x_i, x_f, x_g, x_o = projected(w, x, 4, normalization)
    u_i, u_f, u_g, u_o = products_of(w, 4, structure, blocks, normalization)
    h = masked(h, left_masks, 0)
    i = sigmoid(x_i + u_i(h) + w["p_i"] * c)
    f = sigmoid(x_f + u_f(h) + w["p_f"] * c)
    c_new = f * c + i * np.tanh(x_g + u_g(h))
    o = sigmoid(x_o + u_o(h) + w["p_o"] * c_new)
    return o * np.tanh(c_new), c_new


def long_memory(w, x, y, z, *, structure="dense", blocks=None, normalization=None, left_masks=None):
    x_a, x_b, x_z, x_y = projected(w, x, 4, normalization)
    u_a, u_b, u_z = products_of(w, 3, structure, blocks, normalization)
    left = masked(y, left_masks, 0)
    a, b = sigmoid(x_a + u_a(left)), sigmoid(x_b + u_b(left))
    z_new = (1 - a) * z + a * np.tanh(x_z + u_z(left))
    y_new = (1 - b) * y + b * np.tanh(x_y + masked(z_new, left_masks, 1) @ w["V_kernel"])
    return y_new, z_new
