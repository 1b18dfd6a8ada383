"""Initializers of biases whose gates start at different values."""

import keras
from keras import ops

from keras_rnnx.arguments import number, several


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GateBias(keras.initializers.Initializer):
    """A bias (G*H,) with one constant for each gate.

    Args:
        values: one number for each gate, in storage order.
    """

    def __init__(self, values):
        self.values = [number("values", v) for v in several("values", values, 1)]

    def __call__(self, shape, dtype=None):
        value = ops.repeat(ops.convert_to_tensor(self.values, "float32"), shape[-1] // len(self.values))
        return ops.cast(ops.broadcast_to(value, shape), dtype or keras.config.floatx())

    def get_config(self):
        """The arguments."""
        return {"values": self.values}
