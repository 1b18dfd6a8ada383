"""The LSTM with peephole connections (Gers, Schraudolph & Schmidhuber, 2002)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.cells.lstm import bias_of_ones
from keras_rnnx.engine.gates import Gates
from keras_rnnx.engine.paths import Equations
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class PeepholeLSTMCell(Cell):
    r"""One step of the LSTM whose gates see the cell state.

    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \tag{1} $$
    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \tag{2} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot g(x_t W_g + h_{t-1} U_g + b_g) \tag{3} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \tag{4} $$
    $$ h_t = o_t \odot g(c_t) \tag{5} $$

    The gates i and f see the old c, the output gate the new one.

    Differs from the paper: there g is the identity, here `activation`, by default tanh as in Graves (2013);
    `activation="linear"` is the paper's. One cell per block; no truncation of the gradient.

    Args:
        units: int > 0, H.
        activation: g, of the candidate in (3) and of c in (5). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        unit_forget_bias: bool, whether b_f starts at 1.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o, g the candidate), recurrent_kernel (H, 4H), bias (4H,); p_i, p_f, p_o (H,), started
        at zero.
    Cost per step: 8 B H (D + H) flops, one recurrent product.
    Reference: F. A. Gers, N. N. Schraudolph and J. Schmidhuber, Learning precise timing with LSTM recurrent networks,
        Journal of Machine Learning Research 3, 2002. A. Graves, Generating sequences with recurrent neural networks,
        2013, arXiv:1308.0850.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c", "g"
    VECTORS = "p_i p_f p_o"
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
        start = bias_of_ones(self, self.gates) if self.unit_forget_bias else None
        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def step(self, x, u, h, c):
        """Equations (1) to (5)."""
        z_if, z_g, z_o = (x + u(h)).split("i f", "g", "o")
        i, f = self.activate(z_if + Gates([u.p_i * c, u.p_f * c], ("i", "f")))
        c_new = f * c + i * self.activation(z_g.g)
        (o,) = self.activate(z_o + u.p_o * c_new)
        return o * self.activation(c_new), c_new

    def fused(self):
        """The peepholes are more than the usual LSTM has."""
        return Equations("lstm", (self.recurrent_activation, self.activation, self.activation), {"peepholes": True})

    def fused_weights(self, order):
        """And the peepholes of the gates that have one (3H,), in the order asked for."""
        vectors = self.values_of_vectors()
        peepholes = [vectors[f"p_{gate}"] for gate in order.split() if gate != "g"]
        return [*super().fused_weights(order), ops.concatenate(peepholes)]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class PeepholeLSTM(CellLayer):
    """The LSTM layer with peephole connections.

    Equations and cell arguments: `PeepholeLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = PeepholeLSTMCell
