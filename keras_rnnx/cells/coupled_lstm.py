"""The LSTM with coupled input and forget gate (Greff et al., 2017)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CoupledLSTMCell(Cell):
    r"""One step of the LSTM that forgets as much as it takes in (CIFG).

    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \tag{1} $$
    $$ z_t = \tanh(x_t W_z + h_{t-1} U_z + b_z) \tag{2} $$
    $$ f_t = 1 - i_t \tag{3} $$
    $$ c_t = z_t \odot i_t + c_{t-1} \odot f_t \tag{4} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \tag{5} $$
    $$ h_t = \tanh(c_t) \odot o_t \tag{6} $$

    The paper writes y for h. `peepholes=False` leaves the terms with p out (CIFG and NP together).

    Differs from the paper: in nothing. It does not say how weights start; peepholes start at zero here.

    Args:
        units: int > 0, H.
        activation: of z and of c in (6). Default tanh.
        recurrent_activation: of the gates i and o. Default sigmoid.
        use_bias: bool.
        peepholes: bool, whether the gates see the cell state.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 3H: i z o), recurrent_kernel (H, 3H), bias (3H,); with `peepholes` p_i, p_o (H,).
    Cost per step: 6 B H (D + H) flops, one recurrent product.
    Reference: K. Greff, R. K. Srivastava, J. Koutník, B. R. Steunebrink and J. Schmidhuber, LSTM: a search space
        odyssey, IEEE Transactions on Neural Networks and Learning Systems 28(10), 2017, arXiv:1503.04069.
    """

    GATES, STATES, CANDIDATES = "i z o", "h c", "z"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        peepholes=True,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.peepholes = bool(peepholes)

    def build(self, input_shape):
        """Adds the peepholes."""
        super().build(input_shape)
        for name in ("p_i", "p_o") if self.peepholes else ():
            self.add_vector(name)

    def step(self, x, u, h, c):
        """Equations (1) to (6)."""
        if not self.peepholes:
            i, z, o = self.activate(x + u(h))
            c_new = z * i + c * (1 - i)
        else:
            a_i, a_z, a_o = (x + u(h)).split("i", "z", "o")
            (i,) = self.activate(a_i + u.p_i * c)
            c_new = self.activation(a_z.z) * i + c * (1 - i)
            (o,) = self.activate(a_o + u.p_o * c_new)
        return self.activation(c_new) * o, c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CoupledLSTM(CellLayer):
    """The LSTM layer with coupled input and forget gate.

    Equations and cell arguments: `CoupledLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = CoupledLSTMCell
