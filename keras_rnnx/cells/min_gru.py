"""The minimal gated recurrent unit that is linear in its state (Feng et al., 2024)."""

import keras
from keras import ops

from keras_rnnx.base.linear import LinearCell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
def half_linear(x):
    r"""The paper's g, which is positive: \(x + 1/2\) for \(x \ge 0\), else \(\sigma(x)\).

    Args:
        x: a tensor.
    """
    return ops.where(x >= 0, x + 0.5, ops.sigmoid(x))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MinGRUCell(LinearCell):
    r"""One step of the minimal gated recurrent unit, computed for all steps in parallel.

    $$ z_t = \sigma(x_t W_z + b_z) \tag{1} $$
    $$ n_t = f(x_t W_n + b_n) \tag{2} $$
    $$ h_t = (1 - z_t) \odot h_{t-1} + z_t \odot n_t \tag{3} $$

    Differs from the paper: the candidate is written h~ there, here n. f is linear as in the paper's algorithm 6;
    `activation=half_linear` is the g of its log-space form (algorithm 8), which needs no logarithm here.

    Args:
        units: int > 0, H.
        activation: f. Default: linear.
        use_bias: bool.
        **kwargs: see `ProjectingCell`: biases, initializers, `dropout`, `learn_initial_state`, `seed`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: z n), bias (2H,).
    Cost per step: 4 B D H flops, all of them in one product before the recurrence.
    Reference: L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, Were RNNs all we needed?, 2024,
        arXiv:2410.01201.
    """

    GATES, STATES = "z n", "h"

    def __init__(self, units, activation=None, use_bias=True, **kwargs):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.activation = keras.activations.get(activation)

    def coefficients(self, x):
        """Equations (1) to (3)."""
        z, n = self.project(x)
        z = ops.sigmoid(z)
        return [1 - z], [z * self.activation(n)]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MinGRU(CellLayer):
    """The minimal gated recurrent layer, parallel over time.

    Equations and cell arguments: `MinGRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = MinGRUCell
