"""Long short-term memory (Hochreiter & Schmidhuber, 1997) with a forget gate (Gers et al., 2000)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LSTMCell(Cell):
    r"""One step of long short-term memory.

    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + b_i) \tag{1} $$
    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + b_f) \tag{2} $$
    $$ g_t = \tanh(x_t W_g + h_{t-1} U_g + b_g) \tag{3} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + b_o) \tag{4} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot g_t \tag{5} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{6} $$

    Differs from the paper: the forget gate of Gers et al. (2000); the candidate is squashed to (-1, 1), not (-2, 2);
    no truncation of the gradient.

    Args:
        units: int > 0, H.
        activation: of the candidate g and of c in (6). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        unit_forget_bias: bool, whether b_f starts at 1 (Jozefowicz et al., 2015).
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (H, 4H), bias (4H,): as in `keras.layers.LSTM`.
    Cost per step: 8 B H (D + H) flops, one recurrent product.
    Reference: S. Hochreiter and J. Schmidhuber, Neural Computation 9(8), 1997. F. Gers, J. Schmidhuber and F. Cummins,
        Neural Computation 12(10), 2000.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c", "g"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        unit_forget_bias=True,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.unit_forget_bias = bool(unit_forget_bias)

    def build_bias(self, width):
        """The bias, with b_f = 1 at the start."""
        if not (self.use_bias and self.unit_forget_bias):
            return super().build_bias(width)

        def start(shape, dtype):
            i, f, g, o = ops.split(self.bias_initializer(shape, dtype=dtype), len(self.gates))
            return ops.concatenate([i, ops.ones_like(f), g, o])

        self.bias = self.new_weight("bias", (width,), start)

    def step(self, x, u, h, c):
        """Equations (1) to (6)."""
        i, f, g, o = self.activate(x + u(h))
        c_new = f * c + i * g
        return o * self.activation(c_new), c_new

    def fused(self):
        """Torch's kernel knows tanh and sigmoid."""
        usual = (self.activation, self.recurrent_activation) == (
            keras.activations.tanh,
            keras.activations.sigmoid,
        )
        return "lstm", [] if usual else ["activations other than tanh and sigmoid"]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LSTM(CellLayer):
    """The long short-term memory layer; a drop-in for `keras.layers.LSTM`.

    Equations and cell arguments: `LSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = LSTMCell
