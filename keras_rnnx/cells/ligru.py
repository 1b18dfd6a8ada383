"""The light gated recurrent unit (Ravanelli et al., 2018)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LiGRUCell(Cell):
    r"""One step of the light gated recurrent unit: a GRU without reset gate, whose candidate is rectified.

    $$ z_t = \sigma(x_t W_z + h_{t-1} U_z + b_z) \tag{1} $$
    $$ \tilde h_t = \mathrm{ReLU}(x_t W_h + h_{t-1} U_h + b_h) \tag{2} $$
    $$ h_t = z_t \odot h_{t-1} + (1 - z_t) \odot \tilde h_t \tag{3} $$

    Differs from the paper: there x W is batch-normalized with a gain and a shift, and there is no other bias. Here x W
    is as it is and b stands for the shift. The state is not bounded, and without normalization it can grow:
    `normalization` bounds x W and h U together, which the paper does not do to h U.

    Args:
        units: int > 0, H.
        activation: of the candidate in (2). Default relu.
        recurrent_activation: of the gate z. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: z h), recurrent_kernel (H, 2H: z h), bias (2H,).
    Cost per step: 4 B H (D + H) flops, one recurrent product.
    Reference: M. Ravanelli, P. Brakel, M. Omologo and Y. Bengio, Light gated recurrent units for speech recognition,
        IEEE Transactions on Emerging Topics in Computational Intelligence 2(2), 2018, arXiv:1803.10225.
    """

    GATES, STATES, CANDIDATES = "z h", "h", "h"
    LANES = True

    def __init__(self, units, activation="relu", recurrent_activation="sigmoid", use_bias=True, **kwargs):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        z, candidate = self.activate(x + u(h))
        return z * h + (1 - z) * candidate


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LiGRU(CellLayer):
    """The light gated recurrent layer.

    Equations and cell arguments: `LiGRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = LiGRUCell
