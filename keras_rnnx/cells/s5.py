"""The simplified state space model (Smith et al., 2023)."""

import math

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import choice, number, positive
from keras_rnnx.base.diagonal import (
    DISCRETIZATIONS,
    SkipCell,
    at_all_steps,
    discretized,
    hippo_normal,
    real_part,
    starting_at,
    uniform,
)
from keras_rnnx.engine.linear import times
from keras_rnnx.layers.rnn import CellLayer

RIGHTMOST = -1e-4  # of a pole's real part, where poles are clipped


@keras.saving.register_keras_serializable(package="keras_rnnx")
class S5Cell(SkipCell):
    r"""One step of the simplified state space model: one linear system for all inputs and outputs, in continuous time.

    With complex \(\Lambda, \Delta\) (N,), B (D, N) and C (N, H), the paper's B and C tilde,
    $$ \dot h = \Lambda \odot h + x B \tag{1} $$
    $$ h_t = \bar\Lambda \odot h_{t-1} + \bar b \odot (x_t B) \tag{2} $$
    $$ y_t = 2\, \mathrm{Re}(h_t C) + x_t \odot d \tag{3} $$

    where by `discretization` (2) is (1) with x held over a step (`"zoh"`), or by the trapezoidal rule (`"bilinear"`):
    $$ \bar\Lambda = e^{\Lambda \Delta}, \qquad \bar b = \Lambda^{-1} (\bar\Lambda - 1) \tag{zoh} $$
    $$ \bar\Lambda = \frac{1 + \Lambda \Delta / 2}{1 - \Lambda \Delta / 2}, \qquad
       \bar b = \frac{\Delta}{1 - \Lambda \Delta / 2} \tag{bilinear} $$

    The system has P states in conjugate pairs, of which h holds one each: N = P/2. It starts as `blocks` copies of the
    normal part of HiPPO-LegS, of P / blocks states each, \(V \Lambda V^*\): \(\Lambda\) are the eigenvalues with
    negative imaginary parts. As maps of columns, B starts as \(V^* B_0\) and C as \(C_0 V\) with \(B_0\), and the real
    and the imaginary part of \(C_0\), by LeCun's rule; \(\Delta\) starts log-uniform between `dt_min` and `dt_max`, d
    standard normal. Where D and H differ, \(x_t \odot d\) is \(x_t W_{skip}\).

    With `deltas`, step t is \(\Delta\) times the time since the step before, as in the paper's section 6.3.

    Differs from the paper: in nothing. B_0 has variance 1 / D, as LeCun's rule says; the authors' code has 1 / P.

    Args:
        units: int > 0, H, the size of the output.
        use_bias: bool, whether there is a bias: b in x B + b. Default False, as in the paper.
        state_units: even int > 0 or None, P. Default: `units`.
        blocks: int > 0, the number of copies; P / blocks must be even.
        discretization: `"zoh"` or `"bilinear"`.
        dt_min, dt_max: numbers, 0 < dt_min <= dt_max.
        clip_poles: bool, whether the real part of Lambda is held below -1e-4, which keeps the system stable.
        kernel_initializer: of B_0. Default LeCun normal.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), states [h_re (B, N), h_im (B, N)] -> output y (B, H), new states. At a masked
        step before any valid one the input in (3) counts as zero.
    Weights: kernel (D, 2N: re im), B; bias (2N,), if any; Lambda_re (N,), Lambda_im (N,), log_step (N,), the logarithm
        of Delta; output_kernel (2N, H), C, its N real rows, then its N imaginary rows; skip (H,), d, where D = H,
        otherwise skip_kernel (D, H).
    Cost per step: 4 B N (D + H) flops in products beside the recurrence, and 8 B N in it.
    Raises:
        ValueError: if an argument is out of range.
    Reference: J. T. H. Smith, A. Warrington and S. W. Linderman, Simplified state space layers for sequence modeling,
        ICLR 2023, arXiv:2208.04933.
    """

    GATES, STATES, TIMED = "re im", "h_re h_im", True

    def __init__(
        self,
        units,
        use_bias=False,
        *,
        state_units=None,
        blocks=1,
        discretization="zoh",
        dt_min=0.001,
        dt_max=0.1,
        clip_poles=False,
        kernel_initializer="lecun_normal",
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, kernel_initializer=kernel_initializer, **kwargs)
        self.state_units = None if state_units is None else positive("state_units", state_units)
        self.blocks = positive("blocks", blocks)
        if (state_units or units) % (2 * blocks):
            raise ValueError(
                "Expected `state_units` (by default the units) that make `blocks` blocks of an even size. "
                f"Received: state_units={state_units or units}, blocks={blocks}"
            )
        self.discretization = choice("discretization", discretization, DISCRETIZATIONS)
        self.dt_min = number("dt_min", dt_min, "(0, inf)")
        self.dt_max = number("dt_max", dt_max, f"[{self.dt_min}, inf)")
        self.clip_poles = bool(clip_poles)

    @property
    def gate_units(self):
        """N."""
        return (self.state_units or self.units) // 2

    def state_sizes(self):
        """N, twice."""
        return [self.gate_units] * 2

    def build_kernel(self, width):
        """B from B_0, which `kernel_initializer` draws."""
        self._vectors = np.kron(np.eye(self.blocks), self._block()[1])
        drawn = ops.convert_to_numpy(self.kernel_initializer((self.features, width), dtype="float32"))
        turned = drawn @ self._vectors.conj()
        start = starting_at(np.concatenate([turned.real, turned.imag], axis=-1))
        self.kernel = self.new_weight("kernel", (self.features, width), start)

    def build_own(self, width):
        """The bias, the recurrence, C and d."""
        super().build_own(width)
        count = self.gate_units
        pole = np.tile(self._block()[0], self.blocks)
        starts = {
            "Lambda_re": pole.real,
            "Lambda_im": pole.imag,
            "log_step": uniform((count,), math.log(self.dt_min), math.log(self.dt_max)),
        }
        lecun = keras.initializers.LecunNormal()
        parts = ops.convert_to_numpy(lecun((2 * count, 2 * self.units), dtype="float32"))
        turned = self._vectors.T @ (parts[:, : self.units] + 1j * parts[:, self.units :])
        for name, value in starts.items():
            setattr(self, name, self.add_weight(name=name, shape=value.shape, initializer=starting_at(value)))
        value = np.concatenate([turned.real, turned.imag])
        self.output_kernel = self.add_kernel("output_kernel", value.shape, initializer=starting_at(value))
        self.build_skip()

    def _block(self):
        """The half of the eigenvalues and eigenvectors of one block that the state holds."""
        size = 2 * self.gate_units // self.blocks
        values, vectors = hippo_normal(size)
        return values[: size // 2], vectors[:, : size // 2]

    def coefficients(self, x, deltas=None):
        """Equation (2), and the second term of (3)."""
        real, imaginary, log_step = (
            ops.cast(w, self.state_dtype) for w in (self.Lambda_re, self.Lambda_im, self.log_step)
        )
        if self.clip_poles:
            real = ops.where(real < RIGHTMOST, real, ops.full_like(real, RIGHTMOST))
        step = ops.exp(log_step)
        if deltas is not None:
            step = step * ops.cast(deltas, self.state_dtype)
        a, gain = discretized(self.discretization, [real, imaginary], step)
        written = [ops.cast(part, self.state_dtype) for part in self.project(x)]
        return at_all_steps(a) if deltas is None else a, times(gain, written), self.feed(x)

    def readout(self, h, beside):
        """Equation (3)."""
        return 2 * real_part(h, self._cast(self.output_kernel)) + ops.cast(beside, h[0].dtype)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class S5(CellLayer):
    """The simplified state space layer, parallel over time.

    Equations and cell arguments: `S5Cell`. Layer arguments and call: `RNN`.
    """

    CELL = S5Cell
