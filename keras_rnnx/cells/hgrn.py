"""The recurrent unit of the hierarchically gated recurrent network (Qin et al., 2023)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import positive, rate
from keras_rnnx.base.diagonal import starting_at
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.engine import products
from keras_rnnx.layers.rnn import CellLayer

EPSILON = 1e-5  # of the layer normalization, as in the authors' code


@keras.saving.register_keras_serializable(package="keras_rnnx")
class HGRNCell(LinearCell):
    r"""One step of the hierarchically gated recurrent unit: a forget gate with a lower bound, and a gated output.

    $$ \mu_t = \sigma(x_t W_\mu + b_\mu) \tag{1} $$
    $$ \lambda_t = \gamma + (1 - \gamma) \mu_t \tag{2} $$
    $$ c_t = \mathrm{silu}(x_t W_r + b_r) + i \, \mathrm{silu}(x_t W_i + b_i) \tag{3} $$
    $$ h_t = \lambda_t e^{i \theta} \odot h_{t-1} + (1 - \lambda_t) \odot c_t \tag{4} $$
    $$ g_t = \sigma(x_t W_g + b_g) \tag{5} $$
    $$ y_t = \mathrm{LayerNorm}(g_t \odot [\mathrm{Re}\,h_t, \mathrm{Im}\,h_t]) W_o + b_o \tag{6} $$

    With `complex_state=False` everything is real: no \(\theta\), no second part in (3), and (6) has h_t for its two
    parts. The lower bound \(\gamma\) is larger in higher layers, which so remember longer; the paper's hierarchy is a
    stack of these cells with rising bounds.

    Differs from the paper: \(\gamma\) is a number that is given for each layer, where the paper learns one for each
    unit, of all layers together, as cumulative sums of a softmax over the layers. The authors' code has silu for the
    gate of (5) and normalizes before it in (6); it has no biases by default.

    Args:
        units: int > 0, H, the size of the output.
        activation: of c. Default silu.
        use_bias: bool, whether there are b in (1), (3), (5) and (6).
        state_units: int > 0 or None, N, the size of the state. Default: `units`.
        complex_state: bool. Default True.
        lower_bound: number in [0, 1), gamma.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), states [h_re (B, N), h_im (B, N)], or [h (B, N)] -> output y (B, H), new states.
        At a masked step before any valid one g is zero.
    Weights: kernel (D, 5N: mu re im g_re g_im), or (D, 3N: mu c g); bias (5N,) or (3N,); theta (N,), if complex, starts
        as 10000^(-2 j / N) for unit j, as in the authors' code; norm_gain and norm_bias (2N,) or (N,); output_kernel
        (2N, H) or (N, H), W_o; output_bias (H,).
    Cost per step: 10 B D N + 4 B N H flops beside the recurrence, and 8 B N in it; real 6 B D N + 2 B N H and 2 B N.
    Raises:
        ValueError: if an argument is out of range.
    Reference: Z. Qin, S. Yang and Y. Zhong, Hierarchically gated recurrent neural network for sequence modeling,
        NeurIPS 2023, arXiv:2311.04823.
    """

    GATES, STATES = "mu re im g_re g_im", "h_re h_im"

    def __init__(
        self,
        units,
        activation="silu",
        use_bias=True,
        *,
        state_units=None,
        complex_state=True,
        lower_bound=0.0,
        **kwargs,
    ):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.activation = keras.activations.get(activation)
        self.state_units = None if state_units is None else positive("state_units", state_units)
        self.complex_state = bool(complex_state)
        self.lower_bound = rate("lower_bound", lower_bound)
        if not self.complex_state:
            self.gates, self.states = ("mu", "c", "g"), ("h",)

    @property
    def gate_units(self):
        """N."""
        return self.state_units or self.units

    def state_sizes(self):
        """N for each part."""
        return [self.gate_units] * len(self.states)

    @property
    def output_size(self):
        """H."""
        return self.units

    def build_own(self, width):
        """The bias, theta, and the weights of the output."""
        super().build_own(width)
        count = self.gate_units
        if self.complex_state:
            start = 10000.0 ** (-2 * np.arange(count) / count)
            self.theta = self.add_weight(name="theta", shape=(count,), initializer=starting_at(start))
        size = count * len(self.states)
        self.norm_gain = self.add_weight(name="norm_gain", shape=(size,), initializer="ones")
        self.norm_bias = self.add_weight(name="norm_bias", shape=(size,), initializer="zeros")
        self.output_kernel = self.add_kernel(
            name="output_kernel", shape=(size, self.units), initializer="glorot_uniform"
        )
        self.output_bias = None
        if self.use_bias:
            self.output_bias = self.add_weight(name="output_bias", shape=(self.units,), initializer="zeros")

    def coefficients(self, x):
        """Equations (1) to (5)."""
        count = len(self.states)
        mu, *rest = [ops.cast(gate, self.state_dtype) for gate in self.project(x)]
        left = (1 - self.lower_bound) * ops.sigmoid(-mu)  # 1 - lambda
        b = [left * self.activation(part) for part in rest[:count]]
        gates = ops.sigmoid(ops.concatenate(rest[count:], axis=-1))
        if not self.complex_state:
            return [1 - left], b, gates
        phase = ops.cast(self.theta, self.state_dtype)
        return [(1 - left) * ops.cos(phase), (1 - left) * ops.sin(phase)], b, gates

    def readout(self, h, beside):
        """Equation (6)."""
        gated = beside * ops.concatenate(h, axis=-1)
        size = gated.shape[-1]
        centered = gated - ops.sum(gated, axis=-1, keepdims=True) / size
        scaled = centered * ops.rsqrt(ops.sum(centered * centered, axis=-1, keepdims=True) / size + EPSILON)
        gain, bias = (ops.cast(w, self.state_dtype) for w in (self.norm_gain, self.norm_bias))
        weights = {"kernel": self._cast(self.output_kernel)}
        if self.output_bias is not None:
            weights["bias"] = self._cast(self.output_bias)
        return products.apply(weights, scaled * gain + bias, gated.dtype)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class HGRN(CellLayer):
    """The hierarchically gated recurrent layer, parallel over time.

    Equations and cell arguments: `HGRNCell`. Layer arguments and call: `RNN`.
    """

    CELL = HGRNCell
