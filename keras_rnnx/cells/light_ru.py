"""The light recurrent unit (Ye et al., 2024)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LightRUCell(Cell):
    r"""One step of the light recurrent unit: one gate, and a candidate made of the input alone.

    $$ \tilde h_t = \tanh(x_t W_h) \tag{1} $$
    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + b_f) \tag{2} $$
    $$ h_t = (1 - f_t) \odot h_{t-1} + f_t \odot \tilde h_t \tag{3} $$

    The gate is called f for forget, but a large f lets the new value in, as (3) says. The paper's short name LRU is
    also that of the linear recurrent unit, a different one.

    Differs from the paper: in nothing for one layer. Its way to stack layers is not part of the cell.

    Args:
        units: int > 0, H.
        activation: of the candidate in (1). Default tanh.
        recurrent_activation: of the gate f. Default sigmoid.
        use_bias: bool, whether there is b_f. The candidate has no bias.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: f h), recurrent_kernel (H, H: f), bias (H: f).
    Cost per step: 2 B H (2 D + H) flops, one recurrent product.
    Reference: H. Ye, Y. Zhang, H. Liu, X. Li, J. Chang and H. Zheng, Light recurrent unit: towards an interpretable
        recurrent neural network for modeling long-range dependency, Electronics 13(16), 2024.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "f h", "f", "h", "h"
    LANES = True

    def build_bias(self, width):
        """b_f."""
        super().build_bias(self.units)

    def input_bias(self):
        """b_f, and zeros for the candidate."""
        bias = super().input_bias()
        return None if bias is None else ops.concatenate([bias, ops.zeros_like(bias)])

    def inputs(self, x):
        """The input of the gate, and the candidate (1)."""
        made = super().inputs(x)
        return {**made, "h": self.activation(made["h"])}

    def step(self, x, u, h):
        """Equations (2) and (3); `inputs` has made (1)."""
        x_f, candidate = x
        f = self.recurrent_activation(x_f + u.f(h))
        return (1 - f) * h + f * candidate


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LightRU(CellLayer):
    """The light recurrent layer.

    Equations and cell arguments: `LightRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = LightRUCell
