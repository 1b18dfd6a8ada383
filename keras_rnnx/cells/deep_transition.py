"""Depth inside one step (Pascanu et al., 2014)."""

import keras

from keras_rnnx.arguments import positives
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.projecting import known_features
from keras_rnnx.engine import products
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class DeepTransitionRNNCell(Cell):
    r"""One step of a recurrent network that is deep inside the step: DT-RNN, DT(S)-RNN, DO-RNN, DOT-RNN.

    Deep input, for `input_layers` of sizes m_1..m_K, applied to all steps at once:
    $$ \tilde x_t = f(\dots f(x_t A_1 + a_1) \dots A_K + a_K) \tag{1} $$
    Deep transition, for `transition_layers` of sizes n_1..n_L:
    $$ s_1 = f(\tilde x_t W + h_{t-1} U + b) \tag{2} $$
    $$ s_l = f(s_{l-1} V_l + v_l), \quad l = 2..L \tag{3} $$
    $$ h_t = f(s_L V_{L+1} + v_{L+1} \; [+ \; h_{t-1} S]) \tag{4} $$
    where the shortcut S exists with `shortcut=True`; with no transition layers h_t = s_1, the vanilla network.
    Deep output, for `output_layers` of sizes o_1..o_P, applied to all steps at once:
    $$ q_0 = h_t, \quad q_p = f(q_{p-1} O_p + c_p), \quad y_t = g(q_{P-1} O_P + c_P) \tag{5} $$

    Differs from the paper: the shortcut has a matrix of its own, as in the paper's figure of DT(S)-RNN; without
    `output_layers` the output is h.

    Args:
        units: int > 0, H.
        activation: f. Default tanh.
        use_bias: bool, whether there are a, b, v and c.
        input_layers: sizes of (1), a list of ints > 0.
        transition_layers: sizes n_1..n_L of (2) and (3).
        output_layers: sizes of (5).
        shortcut: bool, S in (4).
        output_activation: g. Default: linear.
        **kwargs: see `Cell`. `normalization` acts on x~ W and h U.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H) or y (B, o_P), new state.
    Weights: input_<k>_kernel, input_<k>_bias; kernel, recurrent_kernel, bias; transition_<l>_kernel and
        transition_<l>_bias for l = 2..L+1; shortcut_kernel; output_<p>_kernel, output_<p>_bias.
    Raises:
        ValueError: if a size is no integer > 0, or `shortcut` has no transition layers to skip.
    Cost per step: two flops for each weight of (2) to (4), in L + 1 products that depend on each other.
    Reference: R. Pascanu, C. Gulcehre, K. Cho and Y. Bengio, How to construct deep recurrent neural networks, ICLR
        2014, arXiv:1312.6026.
    """

    GATES, STATES, CANDIDATES = "h", "h", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        input_layers=(),
        transition_layers=(),
        output_layers=(),
        shortcut=False,
        output_activation=None,
        **kwargs,
    ):
        super().__init__(units, activation=activation, use_bias=use_bias, **kwargs)
        self.input_layers = positives("input_layers", input_layers)
        self.transition_layers = positives("transition_layers", transition_layers)
        self.output_layers = positives("output_layers", output_layers)
        self.shortcut = bool(shortcut)
        if self.shortcut and not self.transition_layers:
            raise ValueError("Expected `transition_layers` that the shortcut skips. Received: transition_layers=()")
        self.output_activation = keras.activations.get(output_activation)

    @property
    def gate_units(self):
        """n_1, or H without transition layers."""
        return self.transition_layers[0] if self.transition_layers else self.units

    @property
    def output_size(self):
        """o_P, or H without output layers."""
        return self.output_layers[-1] if self.output_layers else self.units

    def build(self, input_shape):
        """Makes the weights of (1) to (5)."""
        features = size = known_features(input_shape)
        for k, width in enumerate(self.input_layers, start=1):
            self.add_matrix(f"input_{k}", (size, width), self.use_bias)
            size = width
        super().build((*input_shape[:-1], size))
        self.features = features
        sizes = [*self.transition_layers, self.units]
        for depth, pair in enumerate(zip(sizes[:-1], sizes[1:], strict=True), start=2):
            self.add_matrix(f"transition_{depth}", pair, self.use_bias)
        if self.shortcut:
            self.add_matrix("shortcut", (self.units, self.units))
        size = self.units
        for p, width in enumerate(self.output_layers, start=1):
            self.add_matrix(f"output_{p}", (size, width), self.use_bias)
            size = width

    def project(self, x):
        """Equation (1), then x~ W + b."""
        weights = self.weights_of_products()
        for k in range(1, len(self.input_layers) + 1):
            x = self.activation(products.apply(weights[f"input_{k}"], x, x.dtype))
        return super().project(x)

    def step(self, x, u, h):
        """Equations (2) to (4)."""
        s = x.h + u.h(h)
        for depth in range(2, len(self.transition_layers) + 2):
            s = getattr(u, f"transition_{depth}")(self.activation(s))
        return self.activation(s + u.shortcut(h) if self.shortcut else s)

    def readout(self, h):
        """Equation (5)."""
        weights, count = self.weights_of_products(), len(self.output_layers)
        for p in range(1, count + 1):
            f = self.output_activation if p == count else self.activation
            h = f(products.apply(weights[f"output_{p}"], h, h.dtype))
        return h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class DeepTransitionRNN(CellLayer):
    """The recurrent layer with depth inside one step.

    Equations and cell arguments: `DeepTransitionRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = DeepTransitionRNNCell
