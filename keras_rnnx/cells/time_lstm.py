"""The time-aware LSTM, T-LSTM (Baytas et al., 2017)."""

import math

import keras
from keras import ops

from keras_rnnx.arguments import choice
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


def log_decay(delta):
    r"""\(1 / \log(e + \Delta)\), which the paper prefers for long intervals."""
    return 1 / ops.log(math.e + delta)


def inverse_decay(delta):
    r"""\(1 / \Delta\), at most 1, which the paper prefers for short intervals."""
    return 1 / ops.where(delta > 1, delta, ops.ones_like(delta))


DECAYS = {"log": log_decay, "inverse": inverse_decay}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TimeLSTMCell(Cell):
    r"""One step of the time-aware LSTM: an interval discounts the short-term part of the cell memory.

    $$ C^S_{t-1} = \tanh(c_{t-1} W_d + b_d) \tag{1} $$
    $$ \hat C^S_{t-1} = g(\Delta_t)\, C^S_{t-1} \tag{2} $$
    $$ C^T_{t-1} = c_{t-1} - C^S_{t-1} \tag{3} $$
    $$ C^*_{t-1} = C^T_{t-1} + \hat C^S_{t-1} \tag{4} $$
    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + b_f) \tag{5} $$
    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + b_i) \tag{6} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + b_o) \tag{7} $$
    $$ \tilde C_t = \tanh(x_t W_c + h_{t-1} U_c + b_c) \tag{8} $$
    $$ c_t = f_t \odot C^*_{t-1} + i_t \odot \tilde C_t \tag{9} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{10} $$

    \(\Delta_t\) is the time since the step before.

    Differs from the paper: in nothing; the candidate (8) is gate g of the weights, and the initial values are Keras'.

    Args:
        units: int > 0, H.
        activation: tanh in (8) and (10).
        recurrent_activation: sigmoid in (5) to (7).
        use_bias: bool, whether there are b and b_d.
        decay: g, a function of the interval: `"log"`, the default, is 1 / log(e + delta); `"inverse"` is
            1 / max(1, delta); else a function from (B, 1) to (B, 1), registered for saving, with values in [0, 1].
        **kwargs: see `Cell`. `recurrent_dropout` acts on c_{t-1} in (1) and then on h_{t-1}, with two masks;
            `recurrent_structure` and `normalization` act on h U.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)], `deltas` -> output h (B, H), new states.
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (H, 4H), bias (4H,), decomposition_kernel (H, H): W_d,
        decomposition_bias (H,): b_d.
    Cost per step: 2 B H (4 D + 5 H) flops, two recurrent products that do not depend on each other.
    Raises:
        ValueError: if `decay` is no such name or function.
    Reference: I. M. Baytas, C. Xiao, X. Zhang, F. Wang, A. K. Jain and J. Zhou, Patient subtyping via time-aware LSTM
        networks, KDD 2017.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c", "g"
    TIMED, LANES = True, True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        decay="log",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.decay = keras.saving.deserialize_keras_object(decay) if isinstance(decay, dict) else decay
        if not callable(self.decay):
            choice("decay", decay, tuple(DECAYS))

    def build_own(self, width):
        """Adds W_d and b_d."""
        super().build_own(width)
        self.add_matrix("decomposition", (self.units, self.units), bias=self.use_bias)

    def step(self, x, u, h, c):
        """Equations (1) to (10)."""
        short = ops.tanh(u.decomposition(c))
        discounted = DECAYS.get(self.decay, self.decay)(u.delta) * short
        adjusted = (c - short) + discounted
        i, f, g, o = self.activate(x + u(h))
        c_new = f * adjusted + i * g
        return o * self.activation(c_new), c_new

    def get_config(self):
        """The arguments."""
        decay = keras.saving.serialize_keras_object(self.decay) if callable(self.decay) else self.decay
        return {**super().get_config(), "decay": decay}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TimeLSTM(CellLayer):
    """The time-aware LSTM layer.

    Equations and cell arguments: `TimeLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = TimeLSTMCell
