"""The LSTM with working memory connections (Landi et al., 2021)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.cells.lstm import bias_of_ones
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class WMCLSTMCell(Cell):
    r"""One step of the LSTM whose gates see a squashed projection of the cell state.

    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + \tanh(c_{t-1} V_i) + b_i) \tag{1} $$
    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + \tanh(c_{t-1} V_f) + b_f) \tag{2} $$
    $$ g_t = \tanh(x_t W_g + h_{t-1} U_g + b_g) \tag{3} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot g_t \tag{4} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + \tanh(c_t V_o) + b_o) \tag{5} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{6} $$

    The gates i and f see the old c, the output gate the new one. The paper writes W_ic, W_fc, W_oc for V.

    Differs from the paper: in nothing.

    Args:
        units: int > 0, H.
        activation: of g and of c in (6). Default tanh. The connections with V are always squashed by tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        unit_forget_bias: bool, whether b_f starts at 1.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (H, 4H), bias (4H,); memory_kernel (H, 2H: i f), for the old c,
        and output_memory_kernel (H, H), for the new c, both without bias.
    Cost per step: 8 B H (D + H) + 6 B H^2 flops, three recurrent products.
    Reference: F. Landi, L. Baraldi, M. Cornia and R. Cucchiara, Working memory connections for LSTM, Neural Networks
        144, 2021, arXiv:2109.00020.
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

    def build(self, input_shape):
        """Adds the working memory connections."""
        super().build(input_shape)
        self.add_matrix("memory", (self.units, 2 * self.units), gates=("i", "f"))
        self.add_matrix("output_memory", (self.units, self.units))

    def build_bias(self, width):
        """The bias, with b_f = 1 at the start."""
        start = bias_of_ones(self, self.gates) if self.unit_forget_bias else None
        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def step(self, x, u, h, c):
        """Equations (1) to (6)."""
        z_if, z_g, z_o = (x + u(h)).split("i f", "g", "o")
        i, f = self.activate(z_if + u.memory(c).map(ops.tanh))
        c_new = f * c + i * self.activation(z_g.g)
        (o,) = self.activate(z_o + ops.tanh(u.output_memory(c_new)))
        return o * self.activation(c_new), c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class WMCLSTM(CellLayer):
    """The LSTM layer with working memory connections.

    Equations and cell arguments: `WMCLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = WMCLSTMCell
