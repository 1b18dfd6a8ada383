"""The clockwork recurrent network (Koutnik et al., 2014)."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.arguments import positives
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ClockworkRNNCell(Cell):
    r"""One step of the clockwork network: modules of units that change at periods of their own.

    The units are cut into g modules of H / g, with periods \(T_1 < \dots < T_g\). For each module i:
    $$ \hat h_t = \tanh(x_t W + h_{t-1} (U \odot M) + b) \tag{1} $$
    $$ h_t^{(i)} = \hat h_t^{(i)} \text{ if } t \bmod T_i = 0, \text{ else } h_{t-1}^{(i)} \tag{2} $$

    M is 1 where a unit of module j feeds one of module i with \(T_j \ge T_i\), else 0: a module reads from itself and
    from slower ones. t counts the valid steps from 0, so that all modules change at the first. It is a state, and a
    sequence cut into chunks with carried states gives what the whole sequence gives.

    Differs from the paper: in nothing. The paper leaves the value of the first t open.

    Args:
        units: int > 0, H, a multiple of the number of modules.
        activation: of (1). Default tanh.
        use_bias: bool.
        periods: increasing ints > 0, the T_i. Default (1, 2, 4, 8); the paper has powers of 2.
        kernel_initializer: None for the paper's normal values of deviation 0.1.
        recurrent_initializer: None for the paper's normal values of deviation 0.1.
        **kwargs: see `Cell`; no `recurrent_structure`. The clock has no zoneout, and with `learn_initial_state` its
            start is not trained.

    Inputs and outputs: inputs (B, D), states [h (B, H), clock (B, 1)] -> output h (B, H), new states. The clock is
        the number of steps read so far: this step's t is the old clock, rounded to an integer, and the new clock is the
        old one + 1.
    Weights: kernel (D, H), recurrent_kernel (H, H), of which only the entries with M = 1 are read, bias (H,). Columns
        are module by module, the fastest first.
    Raises:
        ValueError: if the periods do not increase, or their number does not divide H, or `recurrent_structure` or a
            zoneout of the clock is given.
    Cost per step: 2 B H (D + H) flops, one recurrent product; no work is saved for modules that rest.
    Reference: J. Koutnik, K. Greff, F. Gomez and J. Schmidhuber, A clockwork RNN, ICML 2014, arXiv:1402.3511.
    """

    GATES, STATES, CANDIDATES = "h", "h clock", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        periods=(1, 2, 4, 8),
        kernel_initializer=None,
        recurrent_initializer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer or keras.initializers.RandomNormal(0.0, 0.1),
            recurrent_initializer=recurrent_initializer or keras.initializers.RandomNormal(0.0, 0.1),
            **kwargs,
        )
        self.periods = positives("periods", periods)
        count = len(self.periods)
        if not count or self.periods != sorted(set(self.periods)) or self.units % count:
            raise ValueError(
                "Expected `periods` to increase, and their number to divide the units. "
                f"Received: periods={list(periods)}, units={units}"
            )
        if self.recurrent_structure != "dense":
            raise ValueError(
                "Expected no `recurrent_structure`, since the periods give the matrix its own. "
                f"Received: recurrent_structure={self.recurrent_structure!r}"
            )
        if isinstance(self.zoneout, (list, tuple)) and self.rates[1]:
            raise ValueError(f"Expected no `zoneout` of the clock. Received: zoneout={self.zoneout!r}")
        self.rates = (self.rates[0], 0.0)

    def state_sizes(self):
        """H, and 1 for the clock."""
        return [self.units, 1]

    def build(self, input_shape):
        """A clock that starts elsewhere is no weight to train."""
        self.period_of_unit = np.repeat(self.periods, self.units // len(self.periods))
        super().build(input_shape)
        if self.learn_initial_state:
            self._initial[1].trainable = False

    def weights_of_products(self):
        """U with M applied."""
        weights = super().weights_of_products()
        reads = self.period_of_unit[:, None] >= self.period_of_unit[None, :]
        parts = weights["recurrent"]
        kernel = parts["kernel"]
        return {**weights, "recurrent": {**parts, "kernel": kernel * ops.cast(reads, kernel.dtype)}}

    def step(self, x, u, h, clock):
        """Equations (1) and (2)."""
        active = ops.mod(ops.round(clock), ops.cast(self.period_of_unit, clock.dtype)) == 0
        return ops.where(active, self.activation(x.h + u.h(h)), h), clock + 1


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ClockworkRNN(CellLayer):
    """The clockwork recurrent layer.

    Equations and cell arguments: `ClockworkRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = ClockworkRNNCell
