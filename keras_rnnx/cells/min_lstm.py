"""The minimal long short-term memory that is linear in its state (Feng et al., 2024)."""

import keras
from keras import ops

from keras_rnnx.base.linear import LinearCell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MinLSTMCell(LinearCell):
    r"""One step of the minimal long short-term memory, computed for all steps in parallel.

    $$ f_t = \sigma(x_t W_f + b_f) \tag{1} $$
    $$ i_t = \sigma(x_t W_i + b_i) \tag{2} $$
    $$ n_t = g(x_t W_n + b_n) \tag{3} $$
    $$ f'_t = \frac{f_t}{f_t + i_t}, \qquad i'_t = \frac{i_t}{f_t + i_t} \tag{4} $$
    $$ h_t = f'_t \odot h_{t-1} + i'_t \odot n_t \tag{5} $$

    Differs from the paper: the candidate is written h~ there, here n. g is linear as in the paper's vanilla form;
    `activation=half_linear` is the g of its log-space form, which needs no logarithm here.

    Args:
        units: int > 0, H.
        activation: g. Default: linear.
        use_bias: bool.
        **kwargs: see `ProjectingCell`: biases, initializers, `dropout`, `learn_initial_state`, `seed`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 3H: f i n), bias (3H,).
    Cost per step: 6 B D H flops, all of them in one product before the recurrence.
    Reference: L. Feng, F. Tung, M. O. Ahmed, Y. Bengio and H. Hajimirsadeghi, Were RNNs all we needed?, 2024,
        arXiv:2410.01201.
    """

    GATES, STATES = "f i n", "h"

    def __init__(self, units, activation=None, use_bias=True, **kwargs):
        super().__init__(units, use_bias=use_bias, **kwargs)
        self.activation = keras.activations.get(activation)

    def coefficients(self, x):
        """Equations (1) to (5); (4) as the sigmoid of the difference of the logarithms of f and i."""
        f, i, n = self.project(x)
        ahead = ops.softplus(-i) - ops.softplus(-f)
        return [ops.sigmoid(ahead)], [ops.sigmoid(-ahead) * self.activation(n)]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MinLSTM(CellLayer):
    """The minimal long short-term memory layer, parallel over time.

    Equations and cell arguments: `MinLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = MinLSTMCell
