"""The phased LSTM (Neil, Pfeiffer and Liu, 2016)."""

import math

import keras
from keras import ops

from keras_rnnx.arguments import number, several
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class PhasedLSTMCell(Cell):
    r"""One step of the phased LSTM: each unit is open during a short part of a period of its own.

    At the time \(t_j\), which is the sum of the intervals so far,
    $$ \phi_j = \frac{(t_j - s) \bmod \tau}{\tau} \tag{1} $$
    $$ k_j = \begin{cases} 2 \phi_j / r_{on} & \phi_j < r_{on} / 2 \\ 2 - 2 \phi_j / r_{on} & r_{on} / 2 \le \phi_j
       < r_{on} \\ \alpha\, \phi_j & \text{otherwise} \end{cases} \tag{2} $$
    $$ i_j = \sigma(x_j W_i + h_{j-1} U_i + p_i \odot c_{j-1} + b_i) \tag{3} $$
    $$ f_j = \sigma(x_j W_f + h_{j-1} U_f + p_f \odot c_{j-1} + b_f) \tag{4} $$
    $$ \tilde c_j = f_j \odot c_{j-1} + i_j \odot \tanh(x_j W_g + h_{j-1} U_g + b_g) \tag{5} $$
    $$ c_j = k_j \odot \tilde c_j + (1 - k_j) \odot c_{j-1} \tag{6} $$
    $$ o_j = \sigma(x_j W_o + h_{j-1} U_o + p_o \odot \tilde c_j + b_o) \tag{7} $$
    $$ \tilde h_j = o_j \odot \tanh(\tilde c_j) \tag{8} $$
    $$ h_j = k_j \odot \tilde h_j + (1 - k_j) \odot h_{j-1} \tag{9} $$

    The period \(\tau\), the phase shift s and the open ratio \(r_{on}\) of each unit are trained. They are kept so that
    \(\tau > 0\) and \(0 < r_{on} < 1\) whatever the weights: \(\tau\) as its logarithm, s as a part of \(\tau\) and
    \(r_{on}\) as its logit. The time is a state, so that chunks with carried states give what the whole sequence gives.

    Differs from the paper: the leak acts at inference too, where the paper sets it to 0; what is used is what was
    trained. (7) reads the proposed cell memory, as in the authors' program, which leaves r_on untrained.

    Args:
        units: int > 0, H.
        activation: tanh in (5) and (8).
        recurrent_activation: sigmoid in (3), (4) and (7).
        use_bias: bool.
        peepholes: bool, whether there are the p.
        period: two floats, 0 < low <= high, between which tau starts, uniform in its logarithm. Default (1, 1000); the
            paper has a range for each task, around the time scales that matter in it.
        ratio_on: float in (0, 1), where r_on starts. Default 0.05.
        leak: float in [0, 1), alpha. Default 0.001.
        **kwargs: see `Cell`. The time has no zoneout, and with `learn_initial_state` its start is not trained.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H), time (B, 1)], `deltas` -> output h (B, H), new
        states. This step's t_j is the new time: the old one plus the interval.
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (H, 4H), bias (4H,), p_i, p_f, p_o (H,); log_period (H,): log
        tau; phase (H,): s / tau, which starts uniform in [0, 1); ratio_logit (H,): r_on is its sigmoid.
    Cost per step: 8 B H (D + H) flops, one recurrent product; no work is saved for units that are closed.
    Raises:
        ValueError: if `period`, `ratio_on` or `leak` is out of range, or a zoneout of the time is given.
    Reference: D. Neil, M. Pfeiffer and S.-C. Liu, Phased LSTM: accelerating recurrent network training for long or
        event-based sequences, NIPS 2016, arXiv:1610.09513.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c time", "g"
    TIMED, LANES = True, True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        peepholes=True,
        period=(1.0, 1000.0),
        ratio_on=0.05,
        leak=0.001,
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
        if len(several("period", period)) != 2:
            raise ValueError(f"Expected `period` to be 0 < low <= high. Received: period={period!r}")
        low = number("period", period[0], "(0, inf)")
        self.period = [low, number("period", period[1], f"[{low}, inf)")]
        self.ratio_on = number("ratio_on", ratio_on, "(0, 1)")
        self.leak = number("leak", leak, "[0, 1)")
        if isinstance(self.zoneout, (list, tuple)) and self.rates[2]:
            raise ValueError(f"Expected no `zoneout` of the time. Received: zoneout={self.zoneout!r}")
        self.rates = (*self.rates[:2], 0.0)

    def state_sizes(self):
        """H, H, and 1 for the time."""
        return [self.units, self.units, 1]

    def build_own(self, width):
        """Adds the peepholes and the time gate."""
        super().build_own(width)
        if self.peepholes:
            for name in ("p_i", "p_f", "p_o"):
                self.add_vector(name)
        logs = [math.log(t) for t in self.period]
        uniform = keras.initializers.RandomUniform
        self.add_vector("log_period", initializer=uniform(*logs, self.seed))
        self.add_vector("phase", initializer=uniform(0.0, 1.0, None if self.seed is None else self.seed + 1))
        logit = math.log(self.ratio_on / (1 - self.ratio_on))
        self.add_vector("ratio_logit", initializer=keras.initializers.Constant(logit))

    def build(self, input_shape):
        """A time that starts elsewhere is no weight to train."""
        super().build(input_shape)
        if self.learn_initial_state:
            self._initial[2].trainable = False

    def values_of_vectors(self):
        """1 / tau and r_on in place of the weights that make them: no exponential in the loop."""
        read = super().values_of_vectors()
        read["frequency"] = ops.exp(-read.pop("log_period"))
        read["ratio"] = ops.sigmoid(read.pop("ratio_logit"))
        return read

    def openness(self, u, time):
        """Equations (1) and (2)."""
        cycles = time * u.frequency - u.phase
        phi = cycles - ops.stop_gradient(ops.floor(cycles))
        ramp = 2 * phi / u.ratio
        closed = ops.where(phi < u.ratio, 2 - ramp, self.leak * phi)
        return ops.where(2 * phi < u.ratio, ramp, closed)

    def step(self, x, u, h, c, time):
        """Equations (1) to (9)."""
        time_new = time + u.delta
        k = self.openness(u, time_new)
        a = x + u(h)
        a_i, a_f = (a.i + u.p_i * c, a.f + u.p_f * c) if self.peepholes else (a.i, a.f)
        i, f = self.recurrent_activation(a_i), self.recurrent_activation(a_f)
        c_open = f * c + i * self.activation(a.g)
        o = self.recurrent_activation(a.o + u.p_o * c_open if self.peepholes else a.o)
        h_open = o * self.activation(c_open)
        return k * h_open + (1 - k) * h, k * c_open + (1 - k) * c, time_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class PhasedLSTM(CellLayer):
    """The phased LSTM layer.

    Equations and cell arguments: `PhasedLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = PhasedLSTMCell
