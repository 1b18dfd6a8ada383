"""The simple gated recurrent network (Zu & Wei, 2020)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SGRNCell(Cell):
    r"""One step of the simple gated recurrent network: one gate, whose input weights serve the candidate as well.

    $$ f_t = \sigma(x_t W + h_{t-1} U + b) \tag{1} $$
    $$ i_t = 1 - f_t \tag{2} $$
    $$ h_t = \tanh(i_t \odot (x_t W) + f_t \odot h_{t-1}) \tag{3} $$

    Differs from the paper: in nothing.

    Args:
        units: int > 0, H.
        activation: of h in (3). Default tanh.
        recurrent_activation: of the gate f. Default sigmoid.
        use_bias: bool, whether there is b; x W in (3) has none.
        **kwargs: see `Cell`. With `normalization` (3) reads the normalized x W.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H, H), bias (H,).
    Cost per step: 2 B H (D + H) flops, one recurrent product.
    Reference: X. Zu and K. Wei, A simple gated recurrent network for detection of power quality disturbances, IET
        Generation, Transmission & Distribution 15(4), 2021 (online 2020).
    """

    GATES, STATES = "f", "h"
    LANES = True

    def input_bias(self):
        """None: b belongs to the gate alone, so it is added to the recurrent product."""
        return None

    def recurrent_bias(self):
        """b."""
        return self.bias

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        f = self.recurrent_activation(x.f + u.f(h))
        return self.activation((1 - f) * x.f + f * h)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SGRN(CellLayer):
    """The simple gated recurrent layer.

    Equations and cell arguments: `SGRNCell`. Layer arguments and call: `RNN`.
    """

    CELL = SGRNCell
