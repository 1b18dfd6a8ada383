"""The fast recurrent network (Kusupati et al., 2018)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class FastRNNCell(Cell):
    r"""One step of FastRNN: a vanilla network with a weighted residual connection.

    $$ \tilde h_t = \tanh(x_t W + h_{t-1} U + b) \tag{1} $$
    $$ h_t = \sigma(\alpha) \, \tilde h_t + \sigma(\beta) \, h_{t-1} \tag{2} $$

    alpha and beta are two trained numbers. Where the sequences are long, \(\sigma(\alpha)\) is small and
    \(\sigma(\beta)\) near \(1 - \sigma(\alpha)\), which keeps the gradient from vanishing and exploding.

    Differs from the paper: in nothing; where the paper is silent, the starts of alpha, beta and b are those of the
    authors' code.

    Args:
        units: int > 0, H.
        activation: of h~ in (1). Default tanh.
        use_bias: bool.
        alpha_initializer: of alpha, before the sigmoid. None: -3.
        beta_initializer: of beta, before the sigmoid. None: 3.
        bias_initializer: None: ones.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H, H), bias (H,), alpha (1,), beta (1,).
    Cost per step: 2 B H (D + H) flops, one recurrent product.
    Reference: A. Kusupati, M. Singh, K. Bhatia, A. Kumar, P. Jain and M. Varma, FastGRNN: a fast, accurate, stable and
        tiny kilobyte sized gated recurrent neural network, NeurIPS 2018, arXiv:1901.02358.
    """

    GATES, STATES, CANDIDATES = "h", "h", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        alpha_initializer=None,
        beta_initializer=None,
        bias_initializer=None,
        **kwargs,
    ):
        bias_initializer = bias_initializer or "ones"
        super().__init__(units, activation=activation, use_bias=use_bias, bias_initializer=bias_initializer, **kwargs)
        self.alpha_initializer = keras.initializers.get(alpha_initializer or keras.initializers.Constant(-3.0))
        self.beta_initializer = keras.initializers.get(beta_initializer or keras.initializers.Constant(3.0))

    def build(self, input_shape):
        """Adds alpha and beta."""
        super().build(input_shape)
        self.add_vector("alpha", (1,), self.alpha_initializer)
        self.add_vector("beta", (1,), self.beta_initializer)

    def values_of_vectors(self):
        """The sigmoids of alpha and beta: they are the same at every step."""
        vectors = super().values_of_vectors()
        return {**vectors, **{name: ops.sigmoid(vectors[name]) for name in ("alpha", "beta")}}

    def step(self, x, u, h):
        """Equations (1) and (2)."""
        return u.alpha * self.activation(x.h + u.h(h)) + u.beta * h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class FastRNN(CellLayer):
    """The FastRNN layer.

    Equations and cell arguments: `FastRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = FastRNNCell
