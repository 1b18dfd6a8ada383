"""The recurrent additive network (Lee, Levy & Zettlemoyer, 2017)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RANCell(Cell):
    r"""One step of the recurrent additive network: its memory is a weighted sum of inputs.

    $$ \tilde c_t = x_t W_c \tag{1} $$
    $$ i_t = \sigma(h_{t-1} U_i + x_t W_i + b_i) \tag{2} $$
    $$ f_t = \sigma(h_{t-1} U_f + x_t W_f + b_f) \tag{3} $$
    $$ c_t = i_t \odot \tilde c_t + f_t \odot c_{t-1} \tag{4} $$
    $$ h_t = g(c_t) \tag{5} $$

    Differs from the paper: in nothing.

    Args:
        units: int > 0, H.
        activation: g. Default tanh; the paper's other choice is the identity, `"linear"`.
        recurrent_activation: of the gates i and f. Default sigmoid.
        use_bias: bool, whether there are b_i and b_f.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 3H: i f c, c the content (1)), recurrent_kernel (H, 2H: i f), bias (2H,: i f).
    Cost per step: 6 B H D + 4 B H^2 flops, one recurrent product.
    Reference: K. Lee, O. Levy and L. Zettlemoyer, Recurrent additive networks, 2017, arXiv:1705.07393.
    """

    GATES, RECURRENT_GATES, STATES = "i f c", "i f", "h c"
    LANES = True

    def build_bias(self, width):
        """The bias of the gates; the content has none."""
        super().build_bias(width - self.units)

    def input_bias(self):
        """The bias, and zero for the content."""
        bias = super().input_bias()
        return None if bias is None else ops.concatenate([bias, ops.zeros((self.units,), bias.dtype)])

    def step(self, x, u, h, c):
        """Equations (1) to (5)."""
        x_if, content = x.split("i f", "c")
        i, f = self.activate(x_if + u(h))
        c_new = i * content.c + f * c
        return self.activation(c_new), c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RAN(CellLayer):
    """The recurrent additive network's layer.

    Equations and cell arguments: `RANCell`. Layer arguments and call: `RNN`.
    """

    CELL = RANCell
