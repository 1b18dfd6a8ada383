"""JANET, the LSTM with a forget gate alone (van der Westhuizen & Lasenby, 2018)."""

import keras
from keras import ops

from keras_rnnx.arguments import number
from keras_rnnx.base.cell import Cell
from keras_rnnx.cells.lstm import bias_of_ones
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class JANETCell(Cell):
    r"""One step of the forget gate's own network.

    $$ s_t = x_t W_f + h_{t-1} U_f + b_f \tag{1} $$
    $$ \tilde c_t = \tanh(x_t W_c + h_{t-1} U_c + b_c) \tag{2} $$
    $$ c_t = \sigma(s_t) \odot c_{t-1} + (1 - \sigma(s_t - \beta)) \odot \tilde c_t \tag{3} $$
    $$ h_t = c_t \tag{4} $$

    A positive beta takes in more than is forgotten.

    Differs from the paper: in nothing. By (4) there is one state.

    Args:
        units: int > 0, H.
        activation: of the candidate (2). Default tanh.
        recurrent_activation: the sigma of (3). Default sigmoid.
        use_bias: bool.
        beta: float, of (3). Default 1.
        t_max: number > 2 or None, the longest dependency expected, in steps: b_f starts at log of a uniform draw from
            [1, t_max - 1] (the chrono initializer of Tallec & Ollivier, 2018, which the paper recommends).
        unit_forget_bias: bool, whether b_f starts at 1 where `t_max` is None, as in the authors' code.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: f c), recurrent_kernel (H, 2H), bias (2H,).
    Cost per step: 4 B H (D + H) flops, one recurrent product.
    Raises:
        ValueError: if `t_max` is not above 2.
    Reference: J. van der Westhuizen and J. Lasenby, The unreasonable effectiveness of the forget gate, 2018,
        arXiv:1804.04849.
    """

    GATES, STATES, CANDIDATES = "f c", "h", "c"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        beta=1.0,
        t_max=None,
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
        self.beta = number("beta", beta)
        self.t_max = None if t_max is None else number("t_max", t_max, "(2, inf)")
        self.unit_forget_bias = bool(unit_forget_bias)

    def build_bias(self, width):
        """The bias, with b_f by the chrono initializer, or 1."""
        start = None
        if self.t_max is not None:
            start = self._chrono_bias
        elif self.unit_forget_bias:
            start = bias_of_ones(self, self.gates)
        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def _chrono_bias(self, shape, dtype=None):
        times = keras.initializers.RandomUniform(1.0, self.t_max - 1.0, seed=self.seed)
        b_f = ops.log(times((self.units,), dtype=dtype))
        return ops.concatenate([b_f, self.bias_initializer(shape, dtype=dtype)[self.units :]])

    def step(self, x, u, h):
        """Equations (1) to (4)."""
        a = x + u(h)
        f, c = self.activate(a)
        return f * h + (1 - self.recurrent_activation(a.f - self.beta)) * c


@keras.saving.register_keras_serializable(package="keras_rnnx")
class JANET(CellLayer):
    """The JANET layer.

    Equations and cell arguments: `JANETCell`. Layer arguments and call: `RNN`.
    """

    CELL = JANETCell
