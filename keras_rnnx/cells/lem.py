"""Long expressive memory (Rusch et al., 2022)."""

import keras

from keras_rnnx.arguments import number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LEMCell(Cell):
    r"""One step of long expressive memory: two states, each with its own gated step size.

    $$ \Delta t_t = \Delta t\, \sigma(x_t V_1 + y_{t-1} W_1 + b_1) \tag{1} $$
    $$ \overline{\Delta t}_t = \Delta t\, \sigma(x_t V_2 + y_{t-1} W_2 + b_2) \tag{2} $$
    $$ z_t = (1 - \Delta t_t) \odot z_{t-1} + \Delta t_t \odot \tanh(x_t V_z + y_{t-1} W_z + b_z) \tag{3} $$
    $$ y_t = (1 - \overline{\Delta t}_t) \odot y_{t-1}
       + \overline{\Delta t}_t \odot \tanh(x_t V_y + z_t W_y + b_y) \tag{4} $$

    (4) reads the new z. The gates are stored as d, e, z, y: d is (1), e is (2).

    Differs from the paper: in nothing; the initial values of the matrices are Keras'.

    Args:
        units: int > 0, H.
        activation: tanh in (3) and (4).
        recurrent_activation: sigmoid in (1) and (2).
        use_bias: bool.
        dt: float > 0, the largest step size. Default 1, as in the authors' program.
        **kwargs: see `Cell`. `normalization` and `recurrent_structure` act on W_1, W_2 and W_z.

    Inputs and outputs: inputs (B, D), states [y (B, H), z (B, H)] -> output y (B, H), new states.
    Weights: kernel (D, 4H: d e z y), recurrent_kernel (H, 3H: d e z), bias (4H,), memory_kernel (H, H): W_y.
    Cost per step: 8 B H (D + H) flops, two recurrent products that depend on each other.
    Raises:
        ValueError: if `dt` is not > 0.
    Reference: T. K. Rusch, S. Mishra, N. B. Erichson and M. W. Mahoney, Long expressive memory for sequence modeling,
        ICLR 2022, arXiv:2110.04744.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "d e z y", "d e z", "y z", "z y"
    MATRICES = "memory"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        dt=1.0,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.dt = number("dt", dt, "(0, inf)")

    def step(self, x, u, y, z):
        """Equations (1) to (4)."""
        x_dez, x_y = x.split("d e z", "y")
        sigma_d, sigma_e, candidate = self.activate(x_dez + u(y))
        d, e = self.dt * sigma_d, self.dt * sigma_e
        z_new = (1 - d) * z + d * candidate
        y_new = (1 - e) * y + e * self.activation(x_y.y + u.memory(z_new))
        return y_new, z_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LEM(CellLayer):
    """The long expressive memory layer.

    Equations and cell arguments: `LEMCell`. Layer arguments and call: `RNN`.
    """

    CELL = LEMCell
