"""The multiplicative LSTM (Krause et al., 2017)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.cells.lstm import bias_of_ones
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MultiplicativeLSTMCell(Cell):
    r"""One step of the LSTM whose recurrent transition depends on the input.

    $$ m_t = (x_t W_m) \odot (h_{t-1} V) \tag{1} $$
    $$ i_t = \sigma(x_t W_i + m_t U_i + b_i) \tag{2} $$
    $$ f_t = \sigma(x_t W_f + m_t U_f + b_f) \tag{3} $$
    $$ g_t = \tanh(x_t W_g + m_t U_g + b_g) \tag{4} $$
    $$ o_t = \sigma(x_t W_o + m_t U_o + b_o) \tag{5} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot g_t \tag{6} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{7} $$

    The paper writes W_mh for V and the candidate before its tanh as h with a hat. As in its experiments, m has the size
    of h and is shared by all gates.

    Differs from the paper: the biases in (2) to (5), which are the authors'. (The authors' first code squashes
    c times o by tanh and leaves the candidate linear; this is their later form.)

    Args:
        units: int > 0, H.
        activation: of g and of c in (7). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        unit_forget_bias: bool, whether b_f starts at 1, as in the authors' code.
        **kwargs: see `Cell`. `recurrent_structure` and the normalization of recurrent products concern U, not V.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 5H: i f g o m), recurrent_kernel (H, 4H: i f g o), the U that multiplies m, bias (4H,: i f g o);
        multiplicative_kernel (H, H), the V that multiplies h, without bias.
    Cost per step: 10 B H (D + H) flops, two recurrent products, one after the other.
    Reference: B. Krause, L. Lu, I. Murray and S. Renals, Multiplicative LSTM for sequence modelling, ICLR workshop
        2017, arXiv:1609.07959.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "i f g o m", "i f g o", "h c", "g"
    MATRICES = "multiplicative"
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
        """The bias of the four gates, with b_f = 1 at the start; m has none."""
        start = bias_of_ones(self, self.recurrent_gates) if self.unit_forget_bias else None
        self.bias = self.new_weight("bias", (width - self.units,), start) if self.use_bias else None

    def input_bias(self):
        """The bias, and zero for m."""
        bias = super().input_bias()
        return None if bias is None else ops.concatenate([bias, ops.zeros((self.units,), bias.dtype)])

    def step(self, x, u, h, c):
        """Equations (1) to (7)."""
        gates, x_m = x.split("i f g o", "m")
        m = x_m.m * u.multiplicative(h)
        i, f, g, o = self.activate(gates + u(m))
        c_new = f * c + i * g
        return o * self.activation(c_new), c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MultiplicativeLSTM(CellLayer):
    """The multiplicative LSTM layer.

    Equations and cell arguments: `MultiplicativeLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = MultiplicativeLSTMCell
