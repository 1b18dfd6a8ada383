"""The chaos-free network (Laurent & von Brecht, 2017)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.base.initializers import GateBias
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CFNCell(Cell):
    r"""One step of the chaos-free network: a gated sum of the old state and the input, with no product in between.

    $$ \theta_t = \sigma(h_{t-1} U_\theta + x_t V_\theta + b_\theta) \tag{1} $$
    $$ \eta_t = \sigma(h_{t-1} U_\eta + x_t V_\eta + b_\eta) \tag{2} $$
    $$ h_t = \theta_t \odot \tanh(h_{t-1}) + \eta_t \odot \tanh(x_t W) \tag{3} $$

    Without input every unit decays to zero, whatever the weights.

    Differs from the paper: in nothing but the initial matrices, which are Keras' (the paper's are uniform in
    [-0.07, 0.07]).

    Args:
        units: int > 0, H.
        activation: tanh in (3), of the old state and of x W. Default tanh.
        recurrent_activation: of the gates theta and eta. Default sigmoid.
        use_bias: bool, whether there are b_theta and b_eta; x W has no bias.
        bias_initializer: None for the start of the paper, b_theta = 1 and b_eta = -1.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 3H: theta eta w, that is V_theta V_eta W), recurrent_kernel (H, 2H: theta eta),
        bias (2H: theta eta).
    Cost per step: 2 B H (3 D + 2 H) flops, one recurrent product.
    Reference: T. Laurent and J. von Brecht, A recurrent neural network without chaos, ICLR 2017, arXiv:1612.06212.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "theta eta w", "theta eta", "h", "w"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        bias_initializer=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            bias_initializer=bias_initializer or GateBias([1, -1]),
            **kwargs,
        )

    def build_bias(self, width):
        """A bias for the two gates alone."""
        self.bias = self.new_weight("bias", (2 * self.units,)) if self.use_bias else None

    def input_bias(self):
        """b_theta, b_eta, and zero for x W."""
        if self.bias is None:
            return None
        return ops.pad(self._cast(self.bias), [[0, self.units]])

    def inputs(self, x):
        """The gates' part of the input, and tanh(x W)."""
        made = super().inputs(x)
        return {**made, "w": self.activation(made["w"])}

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        x_gates, x_w = x.split("theta eta", "w")
        theta, eta = self.activate(x_gates + u(h))
        return theta * self.activation(h) + eta * x_w.w


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CFN(CellLayer):
    """The chaos-free layer.

    Equations and cell arguments: `CFNCell`. Layer arguments and call: `RNN`.
    """

    CELL = CFNCell
