"""The gated recurrent unit (Cho et al., 2014), in its two forms."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.engine.paths import Equations
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GRUCell(Cell):
    r"""One step of the gated recurrent unit.

    $$ z_t = \sigma(x_t W_z + b_z + h_{t-1} U_z + b'_z) \tag{1} $$
    $$ r_t = \sigma(x_t W_r + b_r + h_{t-1} U_r + b'_r) \tag{2} $$
    $$ n_t = \tanh(x_t W_n + b_n + r_t \odot (h_{t-1} U_n + b'_n)) \quad \texttt{reset\_after=True} \tag{3a} $$
    $$ n_t = \tanh(x_t W_n + b_n + (r_t \odot h_{t-1}) U_n) \quad \texttt{reset\_after=False} \tag{3b} $$
    $$ h_t = z_t \odot h_{t-1} + (1 - z_t) \odot n_t \tag{4} $$

    The second bias b' exists only with `reset_after=True`, the form of cuDNN and of torch.nn.GRU.

    Differs from the paper: (3b) with (4) is version 1 of arXiv:1406.1078; (3a) is version 3 with a second bias. The
    biases are Keras'. The paper's candidate is written h~, here n.

    Args:
        units: int > 0, H.
        activation: of the candidate n. Default tanh.
        recurrent_activation: of the gates z and r. Default sigmoid.
        use_bias: bool.
        reset_after: bool, (3a) or (3b). Default True, as in Keras.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 3H: z r n), recurrent_kernel (H, 3H), bias (2, 3H) or, with `reset_after=False`, (3H,): as in
        `keras.layers.GRU`.
    Cost per step: 6 B H (D + H) flops; one recurrent product with `reset_after=True`, else two.
    Reference: K. Cho et al., Learning phrase representations using RNN encoder-decoder, EMNLP 2014, arXiv:1406.1078.
    """

    GATES, STATES, CANDIDATES = "z r n", "h", "n"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        reset_after=True,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.reset_after = bool(reset_after)

    def build_bias(self, width):
        """One bias, or with `reset_after` one for the input and one for the recurrent product."""
        if self.use_bias and self.reset_after:
            self.bias = self.new_weight("bias", (2, width))
        else:
            super().build_bias(width)

    def input_bias(self):
        """b."""
        bias = super().input_bias()
        return bias[0] if bias is not None and self.reset_after else bias

    def recurrent_bias(self):
        """b'."""
        return self.bias[1] if self.use_bias and self.reset_after else None

    def step(self, x, u, h):
        """Equations (1) to (4)."""
        x_zr, x_n = x.split("z r", "n")
        if self.reset_after:
            u_zr, u_n = u(h).split("z r", "n")
            z, r = self.activate(x_zr + u_zr)
            n = self.activation(x_n.n + r * u_n.n)
        else:
            z, r = self.activate(x_zr + u.take("z", "r")(h))
            n = self.activation(x_n.n + u.n(r * h))
        return z * h + (1 - z) * n

    def fused(self):
        """The usual one is that of `reset_after=True`."""
        more = {} if self.reset_after else {"reset_after": False}
        return Equations("gru", (self.recurrent_activation, self.activation), more)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class GRU(CellLayer):
    """The gated recurrent layer; a drop-in for `keras.layers.GRU`.

    Equations and cell arguments: `GRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = GRUCell
