"""The nested LSTM (Moniz & Krueger, 2017)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.cells.lstm import bias_of_ones
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class NestedLSTMCell(Cell):
    r"""One step of an LSTM whose memory is computed by an inner LSTM: a nest of depth 2.

    The outer gates, and what an LSTM would add up:
    $$ i_t, f_t, o_t = \sigma(x_t W + h_{t-1} U + b) \tag{1} $$
    $$ \tilde h_{t-1} = f_t \odot c_{t-1}, \qquad
       \tilde x_t = i_t \odot \tanh(x_t W_g + h_{t-1} U_g + b_g) \tag{2} $$
    The inner LSTM:
    $$ \tilde i_t, \tilde f_t, \tilde o_t
       = \sigma(\tilde x_t \tilde W + \tilde h_{t-1} \tilde U + \tilde b) \tag{3} $$
    $$ \tilde g_t = \tanh(\tilde x_t \tilde W_g + \tilde h_{t-1} \tilde U_g + \tilde b_g) \tag{4} $$
    $$ \tilde c_t = \tilde f_t \odot \tilde c_{t-1} + \tilde i_t \odot \tilde g_t, \qquad
       \tilde h_t = \tilde o_t \odot \tanh(\tilde c_t) \tag{5} $$
    The outer memory is the inner output:
    $$ c_t = \tilde h_t, \qquad h_t = o_t \odot \tanh(c_t) \tag{6} $$

    Differs from the paper: in nothing. The depth is 2, as in its experiments.

    Args:
        units: int > 0, H.
        activation: of (2), (4), the inner memory in (5) and c in (6). Default tanh.
        recurrent_activation: of the gates, outer and inner. Default sigmoid.
        use_bias: bool, whether there are both biases.
        unit_forget_bias: bool, whether the outer b_f starts at 1.
        **kwargs: see `Cell`. `recurrent_structure` and `normalization` concern (1) and (2), not the inner LSTM.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H), c_inner (B, H)], the last one the inner memory ->
        output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (H, 4H), bias (4H,); of the inner LSTM inner_input_kernel (H, 4H:
        i f g o), which multiplies x~, inner_kernel (H, 4H), which multiplies h~, inner_bias (4H,).
        A step multiplies h first, then x~, then h~.
    Cost per step: 8 B H (D + H) + 16 B H^2 flops, three recurrent products.
    Reference: J. R. A. Moniz and D. Krueger, Nested LSTMs, ACML 2017, arXiv:1801.10308.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c c_inner", "g"
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

    def build(self, input_shape):
        """Adds the inner LSTM."""
        super().build(input_shape)
        self.add_matrix("inner_input", (self.units, 4 * self.units), gates=self.gates)
        self.add_matrix("inner", (self.units, 4 * self.units), bias=self.use_bias, gates=self.gates)

    def build_bias(self, width):
        """The outer bias, with b_f = 1 at the start."""
        start = bias_of_ones(self, self.gates) if self.unit_forget_bias else None
        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def step(self, x, u, h, c, c_inner):
        """Equations (1) to (6)."""
        i, f, g, o = self.activate(x + u(h))
        i_inner, f_inner, g_inner, o_inner = self.activate(u.inner_input(i * g) + u.inner(f * c))
        c_inner_new = f_inner * c_inner + i_inner * g_inner
        c_new = o_inner * self.activation(c_inner_new)
        return o * self.activation(c_new), c_new, c_inner_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class NestedLSTM(CellLayer):
    """The nested LSTM layer.

    Equations and cell arguments: `NestedLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = NestedLSTMCell
