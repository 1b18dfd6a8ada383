"""The simple gated unit and the deep simple gated unit (Gao & Glowacka, 2016)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
def steep_hard_sigmoid(x):
    """The hard sigmoid of Theano, and of Keras before version 3: x / 5 + 1 / 2, cut to [0, 1]."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SGUCell(Cell):
    r"""One step of the simple gated unit, whose one gate multiplies the input into the state.

    $$ x^g_t = x_t W_{xh} + b_g \tag{1} $$
    $$ z^g_t = \tanh((x^g_t \odot h_{t-1}) W_{zxh}) \tag{2} $$
    $$ z^{out}_t = \mathrm{softplus}(z^g_t \odot h_{t-1}) \tag{3} $$
    $$ z_t = \mathrm{hardsigmoid}(x_t W_{xz} + h_{t-1} W_{hz} + b_z) \tag{4} $$
    $$ h_t = (1 - z_t) \odot h_{t-1} + z_t \odot z^{out}_t \tag{5} $$

    From a zero state all that reaches h first is softplus(0) = log 2, since x enters by a product with h.

    Differs from the paper: in nothing. Its hard sigmoid is taken to be that of its time, clip(x / 5 + 1 / 2, 0, 1);
    the slope of Keras 3's `"hard_sigmoid"` is 1 / 6.

    Args:
        units: int > 0, H.
        activation: of (2). Default tanh.
        recurrent_activation: of the gate z. Default clip(x / 5 + 1 / 2, 0, 1).
        use_bias: bool, whether there are b_g and b_z.
        output_activation: of (3). Default softplus.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: g z), W_xh and W_xz; recurrent_kernel (H, 2H: g z), W_zxh and W_hz; bias (2H: g z).
    Cost per step: 4 B H (D + H) flops, two recurrent products, in the order of (2) and (4).
    Reference: Y. Gao and D. Glowacka, Deep gate recurrent neural network, ACML 2016, arXiv:1604.02910.
    """

    GATES, STATES, CANDIDATES = "g z", "h", "g"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation=steep_hard_sigmoid,
        use_bias=True,
        *,
        output_activation="softplus",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.output_activation = keras.activations.get(output_activation)

    def step(self, x, u, h):
        """Equations (2) to (5); `project` has made (1)."""
        g = self.activation(u.g(x.g * h))
        out = self.output_activation(g * h)
        z = self.recurrent_activation(x.z + u.z(h))
        return (1 - z) * h + z * out


@keras.saving.register_keras_serializable(package="keras_rnnx")
class SGU(CellLayer):
    """The simple gated layer.

    Equations and cell arguments: `SGUCell`. Layer arguments and call: `RNN`.
    """

    CELL = SGUCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class DSGUCell(Cell):
    r"""One step of the deep simple gated unit: the simple one with a matrix before an output that is bounded.

    $$ x^g_t = x_t W_{xh} + b_g \tag{1} $$
    $$ z^g_t = \tanh((x^g_t \odot h_{t-1}) W_{zxh}) \tag{2} $$
    $$ z^{out}_t = \sigma((z^g_t \odot h_{t-1}) W_{go}) \tag{3} $$
    $$ z_t = \mathrm{hardsigmoid}(x_t W_{xz} + h_{t-1} W_{hz} + b_z) \tag{4} $$
    $$ h_t = (1 - z_t) \odot h_{t-1} + z_t \odot z^{out}_t \tag{5} $$

    Differs from the paper: in nothing. Its hard sigmoid is taken to be that of its time, clip(x / 5 + 1 / 2, 0, 1);
    the slope of Keras 3's `"hard_sigmoid"` is 1 / 6.

    Args:
        units: int > 0, H.
        activation: of (2). Default tanh.
        recurrent_activation: of the gate z. Default clip(x / 5 + 1 / 2, 0, 1).
        use_bias: bool, whether there are b_g and b_z.
        output_activation: of (3). Default sigmoid.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: g z), W_xh and W_xz; recurrent_kernel (H, 3H: g o z), W_zxh, W_go and W_hz; bias (2H: g z).
    Cost per step: 2 B H (2 D + 3 H) flops, three recurrent products, in the order of (2), (3) and (4).
    Reference: Y. Gao and D. Glowacka, Deep gate recurrent neural network, ACML 2016, arXiv:1604.02910.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "g z", "g o z", "h", "g"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation=steep_hard_sigmoid,
        use_bias=True,
        *,
        output_activation="sigmoid",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.output_activation = keras.activations.get(output_activation)

    def step(self, x, u, h):
        """Equations (2) to (5); `project` has made (1)."""
        g = self.activation(u.g(x.g * h))
        out = self.output_activation(u.o(g * h))
        z = self.recurrent_activation(x.z + u.z(h))
        return (1 - z) * h + z * out


@keras.saving.register_keras_serializable(package="keras_rnnx")
class DSGU(CellLayer):
    """The deep simple gated layer.

    Equations and cell arguments: `DSGUCell`. Layer arguments and call: `RNN`.
    """

    CELL = DSGUCell
