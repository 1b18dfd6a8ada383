"""The linear recurrent network with a diagonal recurrence, the simplest cell of its kind."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import number
from keras_rnnx.base.diagonal import at_all_steps, starting_at, uniform
from keras_rnnx.base.linear import LinearCell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LinearRNNCell(LinearCell):
    r"""One step of a linear recurrent network: each unit adds the input to what it keeps of its state.

    $$ a = \tanh(\alpha) \tag{1} $$
    $$ h_t = a \odot h_{t-1} + x_t W + b \tag{2} $$

    a is trained and the same at all steps; (1) keeps it between -1 and 1, so that no state can grow without bound. For
    a constant input u the state goes to \((u W + b) / (1 - a)\), and it forgets over about \(1 / (1 - |a|)\) steps.

    Differs from the paper: it is the surrogate (4) of the paper with a diagonal that does not depend on the input; (1)
    and the start of a are chosen here.

    Args:
        units: int > 0, H.
        use_bias: bool.
        a_min, a_max: numbers, -1 < a_min <= a_max < 1; a starts uniform between them.
        **kwargs: see `ProjectingCell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), bias (H,), alpha (H,).
    Cost per step: 2 B D H flops before the recurrence and 2 B H in it.
    Raises:
        ValueError: if `a_min` and `a_max` are out of range.
    Reference: E. Martin and C. Cundy, Parallelizing linear recurrent neural nets over sequence length, ICLR 2018,
        arXiv:1709.04057.
    """

    GATES, STATES = "x", "h"

    def __init__(self, units, use_bias=True, *, a_min=0.0, a_max=0.99, **kwargs):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.a_min = number("a_min", a_min, "(-1, 1)")
        self.a_max = number("a_max", a_max, f"[{self.a_min}, 1)")

    def build_own(self, width):
        """The bias, and alpha."""
        super().build_own(width)
        start = np.arctanh(uniform((self.units,), self.a_min, self.a_max))
        self.alpha = self.add_weight(name="alpha", shape=(self.units,), initializer=starting_at(start))

    def coefficients(self, x):
        """Equations (1) and (2)."""
        return at_all_steps([ops.tanh(ops.cast(self.alpha, self.state_dtype))]), self.project(x)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LinearRNN(CellLayer):
    """The linear recurrent layer, parallel over time.

    Equations and cell arguments: `LinearRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = LinearRNNCell
