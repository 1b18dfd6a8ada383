"""The recurrent highway network (Zilly et al., 2017)."""

import keras

from keras_rnnx.arguments import number, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.initializers import GateBias
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RHNCell(Cell):
    r"""One step of the recurrent highway network: L highway layers inside a step, of which the first sees the input.

    For l = 1..L, with \(s_0 = y_{t-1}\) and \(\mathbb{1}_{l=1}\) one for l = 1 and else zero:
    $$ h_l = \tanh(x_t W_H \mathbb{1}_{l=1} + s_{l-1} R_{H_l} + b_{H_l}) \tag{1} $$
    $$ t_l = \sigma(x_t W_T \mathbb{1}_{l=1} + s_{l-1} R_{T_l} + b_{T_l}) \tag{2} $$
    $$ c_l = \sigma(x_t W_C \mathbb{1}_{l=1} + s_{l-1} R_{C_l} + b_{C_l}) \quad \text{or, coupled,} \quad
       c_l = 1 - t_l \tag{3} $$
    $$ s_l = h_l \odot t_l + s_{l-1} \odot c_l, \qquad y_t = s_L \tag{4} $$

    Differs from the paper: a dropout mask for each layer; the paper's experiments share one among all layers of a step.

    Args:
        units: int > 0, H.
        activation: of h in (1). Default tanh.
        recurrent_activation: of the gates t and c. Default sigmoid.
        use_bias: bool, whether there are biases.
        depth: int > 0, L. Default 3.
        coupled: bool, whether c = 1 - t, as in the paper's experiments. Default True.
        transform_bias: where b_T starts, so that the layers carry at first; b_C starts at its negative. Default -2.
        bias_initializer: None for the start that `transform_bias` says; b_H starts at zero.
        **kwargs: see `Cell`. `recurrent_structure` and `normalization` act on the first layer's product alone;
            `recurrent_dropout` acts on s_0 .. s_{L-1}, with a mask for each.

    Inputs and outputs: inputs (B, D), state [s (B, H)] -> output s (B, H), new state.
    Weights: kernel (D, GH: h t, or h t c), recurrent_kernel (H, GH), bias (GH,) of layer 1; depth_<l>_kernel (H, GH)
        and depth_<l>_bias (GH,) of layers l = 2..L. G is 2, or 3 with `coupled=False`.
    Raises:
        ValueError: if `depth` is no integer > 0.
    Cost per step: 2 B G H (D + L H) flops, in L products that depend on each other.
    Reference: J. G. Zilly, R. K. Srivastava, J. Koutnik and J. Schmidhuber, Recurrent highway networks, ICML 2017,
        arXiv:1607.03474.
    """

    GATES, STATES, CANDIDATES = "h t", "s", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        depth=3,
        coupled=True,
        transform_bias=-2.0,
        bias_initializer=None,
        **kwargs,
    ):
        self.coupled = bool(coupled)
        self.transform_bias = number("transform_bias", transform_bias)
        start = [0.0, self.transform_bias]
        if not self.coupled:
            self.GATES = "h t c"
            start.append(-self.transform_bias)
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer or GateBias(start),
            **kwargs,
        )
        self.depth = positive("depth", depth)

    def build(self, input_shape):
        """Adds the layers after the first."""
        super().build(input_shape)
        for layer in range(2, self.depth + 1):
            self.add_matrix(
                f"depth_{layer}", (self.units, len(self.gates) * self.units), self.use_bias, gates=self.gates
            )

    def step(self, x, u, s):
        """Equations (1) to (4)."""
        s_new = self.highway(x + u(s), s)
        for layer in range(2, self.depth + 1):
            s_new = self.highway(getattr(u, f"depth_{layer}")(s_new), s_new)
        return s_new

    def highway(self, gates, s):
        """One layer: equation (4) from what (1) to (3) activate."""
        h, t, *carry = self.activate(gates)
        c = carry[0] if carry else 1 - t
        return h * t + s * c


@keras.saving.register_keras_serializable(package="keras_rnnx")
class RHN(CellLayer):
    """The recurrent highway layer.

    Equations and cell arguments: `RHNCell`. Layer arguments and call: `RNN`.
    """

    CELL = RHNCell
