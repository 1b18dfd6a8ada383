"""The addition-subtraction twin-gated recurrent network (Zhang et al., 2018)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ATRCell(Cell):
    r"""One step of the addition-subtraction twin-gated network: two gates from the sum and difference of two products.

    $$ p_t = x_t W + b \tag{1} $$
    $$ q_t = h_{t-1} U \tag{2} $$
    $$ i_t = \sigma(p_t + q_t) \tag{3} $$
    $$ f_t = \sigma(p_t - q_t) \tag{4} $$
    $$ h_t = i_t \odot p_t + f_t \odot h_{t-1} \tag{5} $$

    The input p enters the state as it is, without an activation.

    Differs from the paper: its equations have no bias; `use_bias=False` is that. b in (1) is that of the authors' code
    for word segmentation.

    Args:
        units: int > 0, H.
        recurrent_activation: of the gates i and f. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`; `activation` is not used.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, H), recurrent_kernel (H, H), bias (H,).
    Cost per step: 2 B H (D + H) flops, one recurrent product.
    Reference: B. Zhang, D. Xiong, J. Su, Q. Lin and H. Zhang, Simplifying neural machine translation with
        addition-subtraction twin-gated recurrent networks, EMNLP 2018, arXiv:1810.12546.
    """

    GATES, RECURRENT_GATES, STATES = "p", "q", "h"
    LANES = True

    def __init__(self, units, recurrent_activation="sigmoid", use_bias=True, **kwargs):
        super().__init__(units, recurrent_activation=recurrent_activation, use_bias=use_bias, **kwargs)

    def step(self, x, u, h):
        """Equations (2) to (5); `project` has made (1)."""
        p, q = x.p, u.q(h)
        i = self.recurrent_activation(p + q)
        f = self.recurrent_activation(p - q)
        return i * p + f * h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ATR(CellLayer):
    """The addition-subtraction twin-gated recurrent layer.

    Equations and cell arguments: `ATRCell`. Layer arguments and call: `RNN`.
    """

    CELL = ATRCell
