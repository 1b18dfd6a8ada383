"""The recurrent cell found by neural architecture search (Zoph & Le, 2017)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class NASCell(Cell):
    r"""One step of the cell found by neural architecture search.

    With \(a_k = x_t W_k + (h_{t-1} U_k + b_k)\) for the eight branches k = 0 ... 7, except that branch 3 multiplies:
    $$ q_0 = \sigma(a_0), \quad q_1 = \mathrm{relu}(a_1), \quad q_2 = \sigma(a_2), \quad
       q_3 = \mathrm{relu}(x_t W_3 \odot (h_{t-1} U_3 + b_3)) \tag{1} $$
    $$ q_4 = \tanh(a_4), \quad q_5 = \sigma(a_5), \quad q_6 = \tanh(a_6), \quad q_7 = \sigma(a_7) \tag{2} $$
    $$ r_0 = \tanh(\tanh(q_0 \odot q_1) + c_{t-1}), \quad r_1 = \tanh(q_2 + q_3) \tag{3} $$
    $$ r_2 = \tanh(q_4 \odot q_5), \quad r_3 = \sigma(q_6 + q_7) \tag{4} $$
    $$ c_t = r_0 \odot r_1 \tag{5} $$
    $$ h_t = \tanh(c_t \odot \tanh(r_2 + r_3)) \tag{6} $$

    Differs from the paper: in nothing. The paper gives the cell as a drawing without biases; they are where the
    authors' code has them, on the recurrent product (that code has none by default: `use_bias=False`).

    Args:
        units: int > 0, H.
        use_bias: bool.
        **kwargs: see `Cell`. The activations are part of the search's result and fixed.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states.
    Weights: kernel (D, 8H: z0 z1 z2 z3 z4 z5 z6 z7, the branches), recurrent_kernel (H, 8H), bias (8H,).
    Cost per step: 16 B H (D + H) flops, one recurrent product.
    Reference: B. Zoph and Q. V. Le, Neural architecture search with reinforcement learning, ICLR 2017,
        arXiv:1611.01578.
    """

    GATES, STATES = "z0 z1 z2 z3 z4 z5 z6 z7", "h c"
    LANES = True

    def __init__(self, units, use_bias=True, **kwargs):
        super().__init__(units, use_bias=use_bias, **kwargs)

    def input_bias(self):
        """None: the bias belongs to the recurrent product, which branch 3 multiplies."""
        return None

    def recurrent_bias(self):
        """b."""
        return self.bias

    def step(self, x, u, h, c):
        """Equations (1) to (6)."""
        m = u(h)
        a = x + m
        r_0 = ops.tanh(ops.tanh(ops.sigmoid(a.z0) * ops.relu(a.z1)) + c)
        r_1 = ops.tanh(ops.sigmoid(a.z2) + ops.relu(x.z3 * m.z3))
        r_2 = ops.tanh(ops.tanh(a.z4) * ops.sigmoid(a.z5))
        r_3 = ops.sigmoid(ops.tanh(a.z6) + ops.sigmoid(a.z7))
        c_new = r_0 * r_1
        return ops.tanh(c_new * ops.tanh(r_2 + r_3)), c_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class NAS(CellLayer):
    """The layer of the cell found by neural architecture search.

    Equations and cell arguments: `NASCell`. Layer arguments and call: `RNN`.
    """

    CELL = NASCell
