"""A minimal gated unit (Zhou et al., 2016) as a user writes it, for keras_rnnx and for Keras.

f = sigmoid(x W_f + h U_f + b_f);  n = tanh(x W_n + (f h) U_n + b_n);  h_new = (1 - f) h + f n
"""

import keras
from keras import ops

import keras_rnnx


class RnnxMGUCell(keras_rnnx.Cell):
    """The cell for `keras_rnnx.RNN`."""

    GATES, STATES = "f n", "h"

    def step(self, x, u, h):
        f = ops.sigmoid(x.f + u.f(h))
        n = ops.tanh(x.n + u.n(f * h))
        return (1 - f) * h + f * n


class KerasMGUCell(keras.layers.Layer):
    """The cell for `keras.layers.RNN`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units

    def build(self, input_shape):
        shape = (input_shape[-1], 2 * self.units)
        self.kernel = self.add_weight(shape=shape, initializer="glorot_uniform")
        shape = (self.units, 2 * self.units)
        self.recurrent_kernel = self.add_weight(shape=shape, initializer="orthogonal")
        self.bias = self.add_weight(shape=(2 * self.units,), initializer="zeros")

    def call(self, inputs, states):
        h = states[0]
        x_f, x_n = ops.split(ops.matmul(inputs, self.kernel) + self.bias, 2, axis=-1)
        u_f, u_n = ops.split(ops.convert_to_tensor(self.recurrent_kernel), 2, axis=-1)
        f = ops.sigmoid(x_f + ops.matmul(h, u_f))
        n = ops.tanh(x_n + ops.matmul(f * h, u_n))
        h_new = (1 - f) * h + f * n
        return h_new, [h_new]

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, self.units), self.compute_dtype)]
