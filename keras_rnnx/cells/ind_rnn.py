"""The independently recurrent network (Li et al., 2018)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice, number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class AbsoluteRange(keras.constraints.Constraint):
    """Keeps the absolute value of each weight in a range; the sign stays.

    Args:
        minimum: float >= 0.
        maximum: float > `minimum`, or None for no upper bound.

    Raises:
        ValueError: if the bounds are out of order.
    """

    def __init__(self, minimum=0.0, maximum=None):
        self.minimum = number("minimum", minimum, "[0, inf)")
        self.maximum = None if maximum is None else number("maximum", maximum, f"({self.minimum}, inf)")

    def __call__(self, w):
        size = ops.maximum(ops.abs(w), self.minimum)
        size = size if self.maximum is None else ops.minimum(size, self.maximum)
        return ops.where(w < 0, -size, size)

    def get_config(self):
        """The arguments."""
        return {"minimum": self.minimum, "maximum": self.maximum}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IndRNNCell(Cell):
    r"""One step of the independently recurrent network: each unit sees its own past alone.

    $$ h_t = \sigma(x_t W + u \odot h_{t-1} + b) \tag{1} $$

    \(\sigma\) is a rectifier. Over T steps the gradient of unit n scales with \(|u_n|^T\), so the paper keeps
    \(|u_n| \le \gamma^{1/T}\) with, for instance, \(\gamma = 2\), and where only the last output counts
    \(|u_n| \ge \epsilon^{1/T}\) too.

    Differs from the paper: the bounds are off unless given, since they depend on T.

    Args:
        units: int > 0, H.
        activation: of h. Default relu.
        use_bias: bool.
        recurrent_min_abs: float >= 0, the lower bound of |u|, after each update. Default 0.
        recurrent_max_abs: float > `recurrent_min_abs` or None, the upper bound: for T steps 2 ** (1 / T).
        recurrent_initializer: None for uniform values between the two bounds (1 where there is no upper bound).
        recurrent_constraint: None for the two bounds.
        recurrent_structure: `"diagonal"`, which is what the network is.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H,) is u, bias (H,).
    Raises:
        ValueError: if the bounds are out of order, or another `recurrent_structure` is given.
    Cost per step: 2 B H (D + 1) flops, of which 2 B H are in the loop.
    Reference: S. Li, W. Li, C. Cook, C. Zhu and Y. Gao, Independently recurrent neural network (IndRNN): building a
        longer and deeper RNN, CVPR 2018, arXiv:1803.04831.
    """

    GATES, STATES, CANDIDATES = "h", "h", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="relu",
        use_bias=True,
        *,
        recurrent_min_abs=0.0,
        recurrent_max_abs=None,
        recurrent_initializer=None,
        recurrent_constraint=None,
        recurrent_structure="diagonal",
        **kwargs,
    ):
        low, high = number("recurrent_min_abs", recurrent_min_abs, "[0, inf)"), recurrent_max_abs
        high = None if high is None else number("recurrent_max_abs", high, f"({low}, inf)")
        if recurrent_constraint is None and (low or high is not None):
            recurrent_constraint = AbsoluteRange(low, high)
        if recurrent_initializer is None:
            recurrent_initializer = keras.initializers.RandomUniform(low, max(low, 1.0) if high is None else high)
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            recurrent_initializer=recurrent_initializer,
            recurrent_constraint=recurrent_constraint,
            recurrent_structure=choice("recurrent_structure", recurrent_structure, ("diagonal",)),
            **kwargs,
        )
        self.recurrent_min_abs = low
        self.recurrent_max_abs = high

    def step(self, x, u, h):
        """Equation (1)."""
        return self.activation(x.h + u.h(h))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IndRNN(CellLayer):
    """The independently recurrent layer.

    Equations and cell arguments: `IndRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = IndRNNCell
