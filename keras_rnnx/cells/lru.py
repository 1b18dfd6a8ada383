"""The linear recurrent unit (Orvieto et al., 2023)."""

import math

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import number, positive
from keras_rnnx.base.diagonal import SkipCell, at_all_steps, normal, polar, real_part, starting_at, uniform
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LRUCell(SkipCell):
    r"""One step of the linear recurrent unit: a complex diagonal recurrence, and a linear output.

    $$ \lambda = \exp(-\exp(\nu) + i \exp(\theta)) \tag{1} $$
    $$ h_t = \lambda \odot h_{t-1} + \exp(\gamma) \odot (x_t B) \tag{2} $$
    $$ y_t = \mathrm{Re}(h_t C) + x_t \odot d \tag{3} $$

    h, B and C are complex; \(\nu, \theta, \gamma\) (N,) are the paper's nu_log, theta_log, gamma_log. By (1)
    \(|\lambda| < 1\). Where D and H differ, \(x_t \odot d\) is \(x_t W_{skip}\).

    They start as in the paper: \(\lambda\) uniform on the ring between the radii `r_min` and `r_max` with phases up to
    `max_phase`, \(\gamma = \log \sqrt{1 - |\lambda|^2}\), the parts of B normal with variance 1 / (2 D), those of C
    with 1 / N, d with 1, W_skip with 1 / D.

    Differs from the paper: in nothing. The nonlinear layers that stand between its linear recurrences there are no part
    of the cell.

    Args:
        units: int > 0, H, the size of the output.
        use_bias: bool, whether there is a bias: b in \(x_t B + b\). Default False, as in the paper.
        state_units: int > 0 or None, N, the size of the complex state. Default: `units`.
        r_min, r_max: numbers, 0 <= r_min <= r_max <= 1, the radii; r_min < 1 and r_max > 0.
        max_phase: number > 0, the largest phase.
        kernel_initializer: of B. None: the paper's.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), states [h_re (B, N), h_im (B, N)] -> output y (B, H), new states. At a masked
        step before any valid one the input in (3) counts as zero.
    Weights: kernel (D, 2N: re im), B; bias (2N,), if any; nu (N,), theta (N,), gamma (N,); output_kernel (2N, H), C,
        its N real rows, then its N imaginary rows; skip (H,), d, where D = H, otherwise skip_kernel (D, H).
    Cost per step: 4 B N (D + H) flops in products beside the recurrence, and 8 B N in it.
    Raises:
        ValueError: if a size or a radius is out of range.
    Reference: A. Orvieto, S. L. Smith, A. Gu, A. Fernando, C. Gulcehre, R. Pascanu and S. De, Resurrecting recurrent
        neural networks for long sequences, ICML 2023, arXiv:2303.06349.
    """

    GATES, STATES = "re im", "h_re h_im"

    def __init__(
        self,
        units,
        use_bias=False,
        *,
        state_units=None,
        r_min=0.0,
        r_max=1.0,
        max_phase=2 * math.pi,
        kernel_initializer=None,
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.r_min, self.r_max = number("r_min", r_min, "[0, 1)"), number("r_max", r_max, "(0, 1]")
        if r_min > r_max:
            raise ValueError(f"Expected r_min <= r_max. Received: r_min={r_min!r}, r_max={r_max!r}")
        self.max_phase = number("max_phase", max_phase, "(0, inf)")
        self.state_units = None if state_units is None else positive("state_units", state_units)
        self.kernel_initializer = None if kernel_initializer is None else keras.initializers.get(kernel_initializer)

    @property
    def gate_units(self):
        """N."""
        return self.state_units or self.units

    def state_sizes(self):
        """N, twice."""
        return [self.gate_units] * 2

    def build_kernel(self, width):
        """B, as in the paper unless `kernel_initializer` is given."""
        shape = (self.features, width)
        start = None if self.kernel_initializer else starting_at(normal(shape, (2 * self.features) ** -0.5))
        self.kernel = self.new_weight("kernel", shape, start)

    def build_own(self, width):
        """The bias, the recurrence, C and d."""
        super().build_own(width)
        count = self.gate_units
        ring = uniform((count,)) * (self.r_max**2 - self.r_min**2) + self.r_min**2  # |lambda|^2, never 0 or 1:
        ring = np.clip(ring, 1e-6, 1 - 1e-6)
        phase = np.maximum(self.max_phase * uniform((count,)), 1e-6)
        starts = {"nu": np.log(-0.5 * np.log(ring)), "theta": np.log(phase), "gamma": 0.5 * np.log(1 - ring)}
        for name, value in starts.items():
            setattr(self, name, self.add_weight(name=name, shape=(count,), initializer=starting_at(value)))
        shape = (2 * count, self.units)
        self.output_kernel = self.add_kernel(
            name="output_kernel", shape=shape, initializer=starting_at(normal(shape, count**-0.5))
        )
        self.build_skip()

    def coefficients(self, x):
        """Equations (1) and (2), and the second term of (3)."""
        nu, theta, gamma = (ops.cast(w, self.state_dtype) for w in (self.nu, self.theta, self.gamma))
        written = [ops.cast(part, self.state_dtype) for part in self.project(x)]
        a = at_all_steps(polar(-ops.exp(nu), ops.exp(theta)))
        return a, [ops.exp(gamma) * part for part in written], self.feed(x)

    def readout(self, h, beside):
        """Equation (3)."""
        return real_part(h, self._cast(self.output_kernel)) + ops.cast(beside, h[0].dtype)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LRU(CellLayer):
    """The linear recurrent unit layer, parallel over time.

    Equations and cell arguments: `LRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = LRUCell
