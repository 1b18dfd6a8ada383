"""The residual LSTM (Kim, El-Khamy & Lee, 2017)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.cells.lstm import bias_of_ones
from keras_rnnx.engine.gates import Gates
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ResLSTMCell(Cell):
    r"""One step of the residual LSTM: the input reaches the output by a shortcut, under the output gate.

    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \tag{1} $$
    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \tag{2} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot \tanh(x_t W_g + h_{t-1} U_g + b_g) \tag{3} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \tag{4} $$
    $$ r_t = \tanh(c_t), \qquad m_t = r_t W_{proj} \tag{5} $$
    $$ h_t = o_t \odot (m_t + s(x_t)) \tag{6} $$

    The shortcut s is x itself where D = H, and x W_in otherwise (the paper's W_h, an identity where sizes match). The
    paper writes w_ci, w_cf, w_co for the peepholes p.

    Differs from the paper: the memory and the output have one size, H, so that W_proj is square.

    Args:
        units: int > 0, H.
        activation: of the candidate in (3) and of c in (5). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        unit_forget_bias: bool, whether b_f starts at 1.
        **kwargs: see `Cell`. Normalization does not touch (5) and the shortcut.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o, g the candidate), recurrent_kernel (H, 4H), bias (4H,); p_i, p_f, p_o (H,), started
        at zero; projection_kernel (H, H), without bias; where D is not H, input_kernel (D, H), without bias.
    Cost per step: 8 B H (D + H) + 2 B H^2 flops, and 2 B D H where D is not H; two recurrent products.
    Reference: J. Kim, M. El-Khamy and J. Lee, Residual LSTM: design of a deep recurrent architecture for distant speech
        recognition, Interspeech 2017, arXiv:1701.03360.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c", "g"
    VECTORS, MATRICES = "p_i p_f p_o", "projection"
    LANES = BARE = True

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
        start = bias_of_ones(self, self.gates) if self.unit_forget_bias else None
        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def inputs(self, x):
        """The gates and the shortcut."""
        return {**super().inputs(x), "s": self.bare(x)}

    def step(self, x, u, h, c):
        """Equations (1) to (6)."""
        gates, shortcut = x.split("i f g o", "s")
        z_if, z_g, z_o = (gates + u(h)).split("i f", "g", "o")
        i, f = self.activate(z_if + Gates([u.p_i * c, u.p_f * c], ("i", "f")))
        c_new = f * c + i * self.activation(z_g.g)
        (o,) = self.activate(z_o + u.p_o * c_new)
        m = u.projection(self.activation(c_new))
        return o * (m + shortcut.s), c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ResLSTM(CellLayer):
    """The residual LSTM layer.

    Equations and cell arguments: `ResLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = ResLSTMCell
