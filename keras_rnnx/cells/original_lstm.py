"""Long short-term memory as first published, without a forget gate (Hochreiter & Schmidhuber, 1997)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
def input_squashing(x):
    """g of the paper: 4 sigmoid(x) - 2, in (-2, 2), written as 2 tanh(x / 2)."""
    return 2 * ops.tanh(x / 2)


@keras.saving.register_keras_serializable(package="keras_rnnx")
def output_squashing(x):
    """h of the paper: 2 sigmoid(x) - 1, in (-1, 1), written as tanh(x / 2)."""
    return ops.tanh(x / 2)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class OriginalLSTMCell(Cell):
    r"""One step of the original long short-term memory: the cell state only adds.

    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + b_i) \tag{1} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + b_o) \tag{2} $$
    $$ c_t = c_{t-1} + i_t \odot g(x_t W_g + h_{t-1} U_g + b_g), \qquad g(z) = 4\sigma(z) - 2 \tag{3} $$
    $$ h_t = o_t \odot h(c_t), \qquad h(z) = 2\sigma(z) - 1 \tag{4} $$

    The paper writes in, out, s and y for i, o, c and h.

    Differs from the paper: one cell per block; what is fed back are the outputs of the cells, not the activations of
    the gates; no truncation of the gradient. The paper starts the output gates' bias below zero in its experiments;
    here all biases start by `bias_initializer`.

    Args:
        units: int > 0, H.
        activation: g, of the candidate. Default: the paper's, in (-2, 2).
        recurrent_activation: of the gates i and o. Default sigmoid.
        use_bias: bool.
        output_activation: h, of c in (4). Default: the paper's, in (-1, 1).
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 3H: i g o, g the candidate), recurrent_kernel (H, 3H), bias (3H,).
    Cost per step: 6 B H (D + H) flops, one recurrent product.
    Reference: S. Hochreiter and J. Schmidhuber, Long short-term memory, Neural Computation 9(8), 1997.
    """

    GATES, STATES, CANDIDATES = "i g o", "h c", "g"
    LANES = True

    def __init__(
        self,
        units,
        activation=input_squashing,
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        output_activation=output_squashing,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.output_activation = keras.activations.get(output_activation)

    def step(self, x, u, h, c):
        """Equations (1) to (4)."""
        i, g, o = self.activate(x + u(h))
        c_new = c + i * g
        return o * self.output_activation(c_new), c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class OriginalLSTM(CellLayer):
    """The original long short-term memory layer, without a forget gate.

    Equations and cell arguments: `OriginalLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = OriginalLSTMCell
