"""The intersection recurrent network, +RNN (Collins et al., 2017)."""

import keras
from keras import ops

from keras_rnnx.arguments import number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IntersectionRNNCell(Cell):
    r"""One step of the intersection recurrent network, with a gate along time and one along depth.

    $$ y^{in}_t = \mathrm{ReLU}(x_t W_y + h_{t-1} U_y + b_y) \tag{1} $$
    $$ h^{in}_t = \tanh(x_t W_h + h_{t-1} U_h + b_h) \tag{2} $$
    $$ g^y_t = \sigma(x_t W_{gy} + h_{t-1} U_{gy} + b_{gy}) \tag{3} $$
    $$ g^h_t = \sigma(x_t W_{gh} + h_{t-1} U_{gh} + b_{gh}) \tag{4} $$
    $$ y_t = g^y_t \odot x_t + (1 - g^y_t) \odot y^{in}_t \tag{5} $$
    $$ h_t = g^h_t \odot h_{t-1} + (1 - g^h_t) \odot h^{in}_t \tag{6} $$

    y is the output, which goes to the layer above; h goes to the next step. y is also kept as a state, which no step
    reads, so that a masked step can repeat it. x in (5) is x where D = H; x W_in otherwise.

    Differs from the paper: W_in acts in (5) alone, and (1) to (4) see x. The paper's constant added to b_gy and b_gh, a
    hyperparameter, is the initial value of both here.

    Args:
        units: int > 0, H.
        activation: of the candidate in (2). Default tanh.
        recurrent_activation: of both gates. Default sigmoid.
        use_bias: bool.
        output_activation: of the candidate in (1). Default relu.
        forget_bias: float, the initial value of b_gy and b_gh. Default 1, as in the TensorFlow cell of that time.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [y (B, H), h (B, H)] -> output y (B, H), new states.
    Weights: kernel (D, 4H: y h gy gh), recurrent_kernel (H, 4H: y h gy gh), bias (4H,); input_kernel (D, H), W_in, only
        where D is not H.
    Cost per step: 8 B H (D + H) flops, one recurrent product; 2 B H D more where D is not H.
    Reference: J. Collins, J. Sohl-Dickstein and D. Sussillo, Capacity and trainability in recurrent neural networks,
        ICLR 2017, arXiv:1611.09913.
    """

    GATES, STATES, CANDIDATES = "y h gy gh", "y h", "h"
    LANES = BARE = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        output_activation="relu",
        forget_bias=1.0,
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
        self.forget_bias = number("forget_bias", forget_bias)

    def build_bias(self, width):
        """The bias, with b_gy and b_gh = `forget_bias` at the start."""

        def start(shape, dtype):
            candidates, gates = ops.split(self.bias_initializer(shape, dtype=dtype), 2)
            return ops.concatenate([candidates, ops.full_like(gates, self.forget_bias)])

        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def inputs(self, x):
        """x W + b, and the x of (5)."""
        return {**super().inputs(x), "x": self.bare(x)}

    def step(self, x, u, y, h):
        """Equations (1) to (6)."""
        projected, bare = x.split("y h gy gh", "x")
        a_y, a = (projected + u(h)).split("y", "h gy gh")
        y_in = self.output_activation(a_y.y)
        h_in, g_y, g_h = self.activate(a)
        y_new = g_y * bare.x + (1 - g_y) * y_in
        h_new = g_h * h + (1 - g_h) * h_in
        return y_new, h_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class IntersectionRNN(CellLayer):
    """The intersection recurrent layer, +RNN.

    Equations and cell arguments: `IntersectionRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = IntersectionRNNCell
