"""The minimal gated unit (Zhou et al., 2016)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MGUCell(Cell):
    r"""One step of the minimal gated unit, whose one gate both resets and updates.

    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + b_f) \tag{1} $$
    $$ \tilde h_t = \tanh(x_t W_h + (f_t \odot h_{t-1}) U_h + b_h) \tag{2} $$
    $$ h_t = (1 - f_t) \odot h_{t-1} + f_t \odot \tilde h_t \tag{3} $$

    The gate is called f for forget, but a large f lets the new value in, as (3) says.

    Differs from the paper: in nothing. The paper writes one matrix for the joined [h, x]; here it is cut in two.

    Args:
        units: int > 0, H.
        activation: of the candidate in (2). Default tanh.
        recurrent_activation: of the gate f. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: f h), recurrent_kernel (H, 2H: f h), bias (2H,).
    Cost per step: 4 B H (D + H) flops, two recurrent products.
    Reference: G.-B. Zhou, J. Wu, C.-L. Zhang and Z.-H. Zhou, Minimal gated unit for recurrent neural networks,
        International Journal of Automation and Computing 13(3), 2016, arXiv:1603.09420.
    """

    GATES, STATES, CANDIDATES = "f h", "h", "h"
    LANES = True

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        f = self.recurrent_activation(x.f + u.f(h))
        candidate = self.activation(x.h + u.h(f * h))
        return (1 - f) * h + f * candidate


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MGU(CellLayer):
    """The minimal gated unit layer.

    Equations and cell arguments: `MGUCell`. Layer arguments and call: `RNN`.
    """

    CELL = MGUCell
