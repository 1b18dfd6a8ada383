"""The update gate recurrent network (Collins et al., 2017)."""

import keras
from keras import ops

from keras_rnnx.arguments import number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class UGRNNCell(Cell):
    r"""One step of the update gate recurrent network: a vanilla network with one gate.

    $$ c_t = \tanh(x_t W_c + h_{t-1} U_c + b_c) \tag{1} $$
    $$ g_t = \sigma(x_t W_g + h_{t-1} U_g + b_g) \tag{2} $$
    $$ h_t = g_t \odot h_{t-1} + (1 - g_t) \odot c_t \tag{3} $$

    Differs from the paper: its constant added to b_g, a hyperparameter, is the initial value of b_g here.

    Args:
        units: int > 0, H.
        activation: of the candidate c, the paper's s: tanh or relu. Default tanh.
        recurrent_activation: of the gate g. Default sigmoid.
        use_bias: bool.
        forget_bias: float, the initial value of b_g. Default 1, as in the TensorFlow cell of that time.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: c g), recurrent_kernel (H, 2H: c g), bias (2H,).
    Cost per step: 4 B H (D + H) flops, one recurrent product.
    Reference: J. Collins, J. Sohl-Dickstein and D. Sussillo, Capacity and trainability in recurrent neural networks,
        ICLR 2017, arXiv:1611.09913.
    """

    GATES, STATES, CANDIDATES = "c g", "h", "c"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        forget_bias=1.0,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.forget_bias = number("forget_bias", forget_bias)

    def build_bias(self, width):
        """The bias, with b_g = `forget_bias` at the start."""

        def start(shape, dtype):
            c, g = ops.split(self.bias_initializer(shape, dtype=dtype), 2)
            return ops.concatenate([c, ops.full_like(g, self.forget_bias)])

        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        c, g = self.activate(x + u(h))
        return g * h + (1 - g) * c


@keras.saving.register_keras_serializable(package="keras_rnnx")
class UGRNN(CellLayer):
    """The update gate recurrent layer.

    Equations and cell arguments: `UGRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = UGRNNCell
