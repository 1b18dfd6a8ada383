"""The real-gated linear recurrent unit (De et al., 2024)."""

import math

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import number, positive
from keras_rnnx.base.diagonal import below_one, polar, starting_at, uniform
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.base.structures import Structured
from keras_rnnx.engine.backends import backend
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RGLRUCell(LinearCell):
    r"""One step of the real-gated linear recurrent unit of Griffin and Hawk, computed for all steps in parallel.

    $$ r_t = \sigma(x_t W_a + b_a) \tag{1} $$
    $$ i_t = \sigma(x_t W_x + b_x) \tag{2} $$
    $$ a_t = a^{c r_t}, \qquad a = \sigma(\Lambda) \tag{3} $$
    $$ h_t = a_t \odot h_{t-1} + \sqrt{1 - a_t^2} \odot (i_t \odot x_t) \tag{4} $$

    With `complex_state`, the paper's appendix B, the halves of x_t are the real and the imaginary part of a complex
    vector in (4), \(a = \sigma(\Lambda) e^{i \theta}\), the root is of \(1 - |a_t|^2\), and the output is
    [Re h_t, Im h_t]; r, i, a and h then have N = H/2 units, otherwise N = H.

    (4) adds x itself. Where D and H differ, \(x_t\) stands for \(x_t W_{in}\) in all equations.

    \(\Lambda\) starts such that \(a^c\) is uniform between `a_min` and `a_max`, W_a and W_x by LeCun's rule.

    Differs from the paper: in nothing. The start of \(\theta\), of which the paper says nothing, is uniform up to 2 pi.
    The authors' code leaves out the root at the first step of a document; (4) has it everywhere.

    Args:
        units: int > 0, H; even with `complex_state`.
        use_bias: bool.
        heads: int > 0 that divides N, the number of diagonal blocks of W_a and W_x. Default 1: dense. Paper: 16.
        complex_state: bool.
        c: number > 0. Default 8.
        a_min, a_max: numbers, 0 < a_min <= a_max < 1.
        kernel_initializer: of W_a, W_x and W_in. Default LeCun normal, block by block.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)], or [h_re (B, H/2), h_im (B, H/2)] -> output (B, H), new state.
    Weights: kernel (H, 2N: r i), or (heads, H / heads, 2N / heads: r i) with more than one head, W_a W_x; bias (2N,: r
        i); Lambda (N,); theta (N,) if complex; input_kernel (D, H), W_in, where D and H differ.
    Cost per step: 4 B H N / heads flops (and 2 B D H for W_in) before the recurrence, and 2 B H in it.
    Raises:
        ValueError: if an argument is out of range.
    Reference: S. De et al., Griffin: mixing gated linear recurrences with local attention for efficient language
        models, 2024, arXiv:2402.19427.
    """

    GATES, STATES = "r i", "h_re h_im"
    BARE = True

    def __init__(
        self,
        units,
        use_bias=True,
        *,
        heads=1,
        complex_state=False,
        c=8.0,
        a_min=0.9,
        a_max=0.999,
        kernel_initializer="lecun_normal",
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, kernel_initializer=kernel_initializer, **kwargs)
        self.heads, self.complex_state = positive("heads", heads), bool(complex_state)
        if self.complex_state and units % 2:
            raise ValueError(f"Expected even units with complex_state=True. Received: units={units}")
        if self.gate_units % heads:
            raise ValueError(f"Expected `heads` to divide {self.gate_units} gate units. Received: heads={heads}")
        self.c, self.a_min = number("c", c, "(0, inf)"), number("a_min", a_min, "(0, 1)")
        self.a_max = number("a_max", a_max, f"[{self.a_min}, 1)")
        self.states = self.states if self.complex_state else ("h",)

    @property
    def gate_units(self):
        """N."""
        return self.units // 2 if self.complex_state else self.units

    def state_sizes(self):
        """H, or H/2 twice."""
        return [self.gate_units] * len(self.states)

    @property
    def output_size(self):
        """H."""
        return self.units

    def build_kernel(self, width):
        """W_a and W_x."""
        shape = (self.heads, self.units // self.heads, width // self.heads)
        dense = self.heads == 1
        start = Structured(self.kernel_initializer, "kernel" if dense else "blocks")
        self.kernel = self.new_weight("kernel", shape[1:] if dense else shape, start)

    def build_own(self, width):
        """The bias, Lambda and theta."""
        super().build_own(width)
        shape = (self.gate_units,)
        a = uniform(shape, self.a_min, self.a_max) ** (1 / self.c)
        self.Lambda = self.add_weight(name="Lambda", shape=shape, initializer=starting_at(np.log(a) - np.log1p(-a)))
        if self.complex_state:
            start = starting_at(uniform(shape, 0.0, 2 * math.pi))
            self.theta = self.add_weight(name="theta", shape=shape, initializer=start)

    def product(self, x):
        """x [W_a W_x] by blocks."""
        if self.heads == 1:
            return super().product(x)
        lead, kernel = ops.shape(x)[:-1], self._cast(self.kernel)
        rows = ops.swapaxes(ops.reshape(x, (-1, self.heads, self.units // self.heads)), 0, 1)
        made = ops.reshape(backend.matmul(rows, kernel, x.dtype), (self.heads, -1, 2, self.gate_units // self.heads))
        return [ops.reshape(ops.swapaxes(made[:, :, i], 0, 1), (*lead, self.gate_units)) for i in range(2)]

    def coefficients(self, x):
        """Equations (1) to (4)."""
        x = self.bare(x)
        r, i = (ops.sigmoid(ops.cast(gate, self.state_dtype)) for gate in self.project(x))
        log_a = -self.c * ops.softplus(-ops.cast(self.Lambda, self.state_dtype)) * r
        scale = below_one(log_a) * i
        x = ops.cast(x, self.state_dtype)
        if not self.complex_state:
            return [ops.exp(log_a)], [scale * x]
        phase = self.c * ops.cast(self.theta, self.state_dtype) * r
        return polar(log_a, phase), [scale * part for part in ops.split(x, 2, axis=-1)]

    def readout(self, h, beside):
        """The state; a complex one as its real and imaginary part, side by side."""
        return ops.concatenate(h, axis=-1) if self.complex_state else h[0]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RGLRU(CellLayer):
    """The real-gated linear recurrent unit layer, parallel over time.

    Equations and cell arguments: `RGLRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = RGLRUCell
