"""The simple recurrent unit (Lei et al., 2018), and its first form, which is linear in its state."""

import math

import keras
from keras import ops

from keras_rnnx.arguments import number
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.initializers import GateBias
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.engine.gates import Gates
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SRUCell(Cell):
    r"""One step of the simple recurrent unit, whose gates see each unit's own state and nothing of the others'.

    $$ f_t = \sigma(x_t W_f + v_f \odot c_{t-1} + b_f) \tag{1} $$
    $$ c_t = f_t \odot c_{t-1} + (1 - f_t) \odot (x_t W) \tag{2} $$
    $$ r_t = \sigma(x_t W_r + v_r \odot c_{t-1} + b_r) \tag{3} $$
    $$ h_t = r_t \odot c_t + (1 - r_t) \odot x_t \cdot \alpha \tag{4} $$

    Where D and H differ, x in (4) is x W_in. Weights start uniform with variance 1/D, b_f at 0, b_r at `highway_bias`,
    b, and \(\alpha = \sqrt{1 + 2 e^b}\) then keeps the variance of h at that of x. `LinearSRUCell` is the form of the
    paper's first version.

    Differs from the paper: in nothing. The vectors v, of whose start it says nothing, start uniform with variance 1/2,
    as in the authors' code.

    Args:
        units: int > 0, H.
        activation: applied to c in (4). Default: linear.
        recurrent_activation: of the gates f and r. Default sigmoid.
        use_bias: bool.
        highway_bias: number, b.
        alpha: number > 0, or None for the one above.
        kernel_initializer: of W, W_f, W_r and W_in. Default LeCun uniform.
        bias_initializer: of b_f and b_r. None: 0 and b.
        **kwargs: see `Cell`; no `recurrent_dropout` and no `recurrent_structure`. `normalization` acts on x W, x W_f
            and x W_r.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 3H: z f r), W W_f W_r; bias (2H,: f r); v_f (H,), v_r (H,); input_kernel (D, H), W_in, where D
        and H differ; no recurrent_kernel.
    Cost per step: 6 B D H flops for all steps at once (and 2 B D H for W_in), and 12 B H in the loop, which has no
        recurrent product.
    Raises:
        ValueError: if `recurrent_dropout` or `recurrent_structure` is given, or alpha is not positive.
    Reference: T. Lei, Y. Zhang, S. I. Wang, H. Dai and Y. Artzi, Simple recurrent units for highly parallelizable
        recurrence, EMNLP 2018, arXiv:1709.02755.
    """

    GATES, RECURRENT_GATES, STATES = "z f r", "", "h c"
    LANES = BARE = True

    def __init__(
        self,
        units,
        activation=None,
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        highway_bias=0.0,
        alpha=None,
        kernel_initializer="lecun_uniform",
        bias_initializer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer or GateBias([0.0, highway_bias]),
            **kwargs,
        )
        for name, neutral in (("recurrent_dropout", 0.0), ("recurrent_structure", "dense")):
            if getattr(self, name) != neutral:
                raise ValueError(
                    f"Expected no `{name}`, since there is no recurrent product. "
                    f"Received: {name}={getattr(self, name)!r}"
                )
        self.highway_bias = number("highway_bias", highway_bias)
        self.alpha = None if alpha is None else number("alpha", alpha, "(0, inf)")

    def build(self, input_shape):
        """Adds v_f and v_r."""
        super().build(input_shape)
        for name in ("v_f", "v_r"):
            self.add_vector(name, None, keras.initializers.RandomUniform(-math.sqrt(1.5), math.sqrt(1.5)))

    def build_bias(self, width):
        """A bias for the gates alone."""
        self.bias = self.new_weight("bias", (2 * self.units,)) if self.use_bias else None

    def input_bias(self):
        """Zero for z, then b_f and b_r."""
        return None if self.bias is None else ops.pad(self._cast(self.bias), [[self.units, 0]])

    def inputs(self, x):
        """x W, x W_f + b_f, x W_r + b_r, and alpha x of (4)."""
        alpha = math.sqrt(1 + 2 * math.exp(self.highway_bias)) if self.alpha is None else self.alpha
        return {**super().inputs(x), "x": self.bare(x) * alpha}

    def step(self, x, u, h, c):
        """Equations (1) to (4)."""
        z, f_r, by = x.split("z", "f r", "x")
        f, r = self.activate(f_r + Gates([u.v_f * c, u.v_r * c], ("f", "r")))
        c_new = f * c + (1 - f) * z.z
        return r * self.activation(c_new) + (1 - r) * by.x, c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SRU(CellLayer):
    """The simple recurrent layer.

    Equations and cell arguments: `SRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = SRUCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LinearSRUCell(LinearCell):
    r"""One step of the simple recurrent unit in its first form, whose gates see the input alone: parallel over time.

    $$ f_t = \sigma(x_t W_f + b_f) \tag{1} $$
    $$ c_t = f_t \odot c_{t-1} + (1 - f_t) \odot (x_t W) \tag{2} $$
    $$ r_t = \sigma(x_t W_r + b_r) \tag{3} $$
    $$ h_t = r_t \odot g(c_t) + (1 - r_t) \odot x_t \tag{4} $$

    Where D and H differ, x in (4) is x W_in.

    Differs from the paper: in nothing.

    Args:
        units: int > 0, H.
        activation: g. Default tanh.
        use_bias: bool.
        highway_bias: number, the start of b_r; b_f starts at 0.
        kernel_initializer: of W, W_f, W_r and W_in. Default LeCun uniform.
        bias_initializer: of b_f and b_r. None: 0 and `highway_bias`.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), state [c (B, H)] -> output h (B, H), new state. At a masked step before any valid
        one h is zero.
    Weights: kernel (D, 3H: z f r), W W_f W_r; bias (2H,: f r); input_kernel (D, H), W_in, where D and H differ.
    Cost per step: 6 B D H flops (and 2 B D H for W_in) before the recurrence, and 2 B H in it.
    Reference: T. Lei, Y. Zhang and Y. Artzi, Training RNNs as fast as CNNs, 2017, arXiv:1709.02755v2.
    """

    GATES, STATES = "z f r", "c"
    BARE = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        highway_bias=0.0,
        kernel_initializer="lecun_uniform",
        bias_initializer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer or GateBias([0.0, highway_bias]),
            **kwargs,
        )
        self.activation = keras.activations.get(activation)
        self.highway_bias = number("highway_bias", highway_bias)

    def build_own(self, width):
        """The bias of the gates."""
        self.bias = self.new_weight("bias", (2 * self.units,)) if self.use_bias else None

    def input_bias(self):
        """Zero for z, then b_f and b_r."""
        return None if self.bias is None else ops.pad(self._cast(self.bias), [[self.units, 0]])

    def coefficients(self, x):
        """Equations (1) to (3), and what (4) adds."""
        z, f, r = self.project(x)
        f, r = ops.sigmoid(f), ops.sigmoid(r)
        return [f], [(1 - f) * z], ops.concatenate([r, (1 - r) * self.bare(x)], axis=-1)

    def readout(self, h, beside):
        """Equation (4)."""
        r, by = ops.split(ops.cast(beside, h[0].dtype), 2, axis=-1)
        return r * self.activation(h[0]) + by


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LinearSRU(CellLayer):
    """The simple recurrent layer in its first form, parallel over time.

    Equations and cell arguments: `LinearSRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = LinearSRUCell
