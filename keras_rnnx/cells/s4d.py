"""The diagonal state space model (Gu et al., 2022)."""

import math

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import choice, number, positive
from keras_rnnx.base.diagonal import (
    DISCRETIZATIONS,
    at_all_steps,
    discretized,
    hippo_normal,
    normal,
    starting_at,
    uniform,
)
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.layers.rnn import CellLayer

STARTS = ("lin", "inv", "legs")


def poles(kind, size):
    """The poles A_n with Im A_n >= 0 of a model of `size` states, complex (size / 2,)."""
    n = np.arange(size // 2)
    if kind == "legs":
        return hippo_normal(size)[0][size // 2 :]
    imaginary = math.pi * n if kind == "lin" else size / math.pi * (size / (2 * n + 1) - 1)
    return -0.5 + 1j * imaginary


@keras.saving.register_keras_serializable(package="keras_rnnx")
class S4DCell(LinearCell):
    r"""One step of the diagonal state space model: for each unit a small linear system of its own, in continuous time.

    For the unit's input u, a number, with complex A, C (N/2,) and the step \(\Delta\),
    $$ \dot h = A \odot h + u \tag{1} $$
    $$ h_t = \bar A \odot h_{t-1} + \bar B\, u_t \tag{2} $$
    $$ y_t = 2\, \mathrm{Re}(C \cdot h_t) + d\, u_t \tag{3} $$

    where by `discretization` (2) is (1) with u held over a step (`"zoh"`), or by the trapezoidal rule (`"bilinear"`):
    $$ \bar A = e^{\Delta A}, \qquad \bar B = A^{-1} (\bar A - 1) \tag{zoh} $$
    $$ \bar A = \frac{1 + \Delta A / 2}{1 - \Delta A / 2}, \qquad \bar B = \frac{\Delta}{1 - \Delta A / 2}
       \tag{bilinear} $$

    \(A = -\exp(\alpha) + i \omega\). The N poles are N/2 conjugate pairs, of which the state holds one each. B = 1,
    since only its product with C matters. Where D = H unit j reads input j; otherwise u = x W_in.

    `initialization`: all poles start with the real part -1/2, and the imaginary parts \(\pi n\) (`"lin"`),
    \(\frac{N}{\pi} (\frac{N}{2 n + 1} - 1)\) (`"inv"`), or those of the normal part of HiPPO-LegS (`"legs"`), n from 0.
    \(\Delta\) starts log-uniform between `dt_min` and `dt_max`, d standard normal, and so C, as a complex number.

    With `deltas`, step t is \(\Delta\) times the time since the step before.

    Differs from the paper: in nothing. The activation and the mixing of the units that follow there are no part of the
    cell.

    Args:
        units: int > 0, H.
        use_bias: bool, whether (3) adds a bias. Default False.
        state_units: even int > 0, N, for each unit. Default 64.
        initialization: `"lin"`, `"inv"` or `"legs"`.
        discretization: `"zoh"` or `"bilinear"`.
        dt_min, dt_max: numbers, 0 < dt_min <= dt_max.
        kernel_initializer: of W_in.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), states [h_re (B, H N/2), h_im (B, H N/2)], unit after unit -> output y (B, H),
        new states. At a masked step before any valid one u in (3) counts as zero.
    Weights: A_log (H, N/2), alpha; A_im (H, N/2), omega; log_step (H,), the logarithm of Delta; C_re (H, N/2) and C_im
        (H, N/2); skip (H,), d; bias (H,), if any; input_kernel (D, H), W_in, where D and H differ.
    Cost per step: 8 B H N flops (and 2 B D H for W_in).
    Raises:
        ValueError: if an argument is out of range.
    Reference: A. Gu, A. Gupta, K. Goel and C. Ré, On the parameterization and initialization of diagonal state space
        models, NeurIPS 2022, arXiv:2206.11893.
    """

    STATES = "h_re h_im"
    TIMED = BARE = True

    def __init__(
        self,
        units,
        use_bias=False,
        *,
        state_units=64,
        initialization="lin",
        discretization="zoh",
        dt_min=0.001,
        dt_max=0.1,
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.state_units = positive("state_units", state_units)
        if state_units % 2:
            raise ValueError(f"Expected even `state_units`. Received: state_units={state_units}")
        self.initialization = choice("initialization", initialization, STARTS)
        self.discretization = choice("discretization", discretization, DISCRETIZATIONS)
        self.dt_min = number("dt_min", dt_min, "(0, inf)")
        self.dt_max = number("dt_max", dt_max, f"[{self.dt_min}, inf)")

    def state_sizes(self):
        """H N/2, twice."""
        return [self.units * (self.state_units // 2)] * 2

    @property
    def output_size(self):
        """H."""
        return self.units

    def build_own(self, width):
        """All weights."""
        shape = (self.units, self.state_units // 2)
        pole = np.broadcast_to(poles(self.initialization, self.state_units), shape)
        starts = {
            "A_log": np.log(-pole.real),
            "A_im": pole.imag,
            "log_step": uniform(shape[:1], math.log(self.dt_min), math.log(self.dt_max)),
            "C_re": normal(shape, 0.5**0.5),
            "C_im": normal(shape, 0.5**0.5),
            "skip": normal(shape[:1]),
        }
        for name, value in starts.items():
            setattr(self, name, self.add_weight(name=name, shape=value.shape, initializer=starting_at(value)))
        self.build_bias(self.units)

    def coefficients(self, x, deltas=None):
        """Equation (2), and the second term of (3)."""
        x = self.bare(x)
        pole = [-ops.exp(ops.cast(self.A_log, self.state_dtype)), ops.cast(self.A_im, self.state_dtype)]
        step = ops.exp(ops.cast(self.log_step, self.state_dtype))[:, None] * ops.ones_like(pole[0])
        pole, step = [ops.reshape(part, (-1,)) for part in pole], ops.reshape(step, (-1,))
        if deltas is not None:
            step = step * ops.cast(deltas, self.state_dtype)
        a, gain = discretized(self.discretization, pole, step)
        u = ops.repeat(ops.cast(x, self.state_dtype), self.state_units // 2, axis=-1)
        return at_all_steps(a) if deltas is None else a, [part * u for part in gain], x * self._cast(self.skip)

    def readout(self, h, beside):
        """Equation (3)."""
        C = [ops.reshape(ops.cast(part, self.state_dtype), (-1,)) for part in (self.C_re, self.C_im)]
        read = 2 * (h[0] * C[0] - h[1] * C[1])
        read = ops.reshape(read, (*ops.shape(read)[:-1], self.units, self.state_units // 2))
        return self.with_bias([ops.sum(read, axis=-1) + ops.cast(beside, read.dtype)])[0]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class S4D(CellLayer):
    """The diagonal state space layer, parallel over time.

    Equations and cell arguments: `S4DCell`. Layer arguments and call: `RNN`.
    """

    CELL = S4DCell
