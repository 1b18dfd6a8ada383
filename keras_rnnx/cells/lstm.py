"""Long short-term memory (Hochreiter & Schmidhuber, 1997) with a forget gate (Gers et al., 2000)."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.engine.paths import Equations
from keras_rnnx.layers.rnn import CellLayer


def bias_of_ones(cell, gates, ones="f"):
    """An initializer of a bias that is the cell's `bias_initializer`, but 1 for one gate.

    Args:
        cell: the cell.
        gates: the names of the gates of the bias, in storage order.
        ones: the name of the gate whose bias starts at 1.
    """

    def start(shape, dtype=None):
        parts = ops.split(cell.bias_initializer(shape, dtype=dtype), len(gates))
        return ops.concatenate([ops.ones_like(b) if g == ones else b for g, b in zip(gates, parts, strict=True)])

    return start


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LSTMCell(Cell):
    r"""One step of long short-term memory.

    $$ i_t = \sigma(x_t W_i + h_{t-1} U_i + b_i) \tag{1} $$
    $$ f_t = \sigma(x_t W_f + h_{t-1} U_f + b_f) \tag{2} $$
    $$ g_t = \tanh(x_t W_g + h_{t-1} U_g + b_g) \tag{3} $$
    $$ o_t = \sigma(x_t W_o + h_{t-1} U_o + b_o) \tag{4} $$
    $$ c_t = f_t \odot c_{t-1} + i_t \odot g_t \tag{5} $$
    $$ h_t = o_t \odot \tanh(c_t) \tag{6} $$

    With `projection_units`, P, the output and the left operand of the recurrent product are a linear projection (Sak et
    al., 2014), and (6) becomes
    $$ h_t = (o_t \odot \tanh(c_t)) W_{proj} \tag{6'} $$

    Differs from the paper: the forget gate of Gers et al. (2000); the candidate is squashed to (-1, 1), not (-2, 2);
    no truncation of the gradient. (6') differs from Sak et al. in that there are no peepholes and no second projection
    that is not fed back.

    Args:
        units: int > 0, H.
        activation: of the candidate g and of c in (6). Default tanh.
        recurrent_activation: of the gates i, f, o. Default sigmoid.
        use_bias: bool.
        unit_forget_bias: bool, whether b_f starts at 1 (Jozefowicz et al., 2015).
        projection_units: int > 0 or None, P, the size of the projected h; None for (6).
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H)] -> output h (B, H), new states. With
        `projection_units` h is (B, P).
    Weights: kernel (D, 4H: i f g o), recurrent_kernel (H, 4H), bias (4H,): as in `keras.layers.LSTM`. With
        `projection_units`: recurrent_kernel (P, 4H), projection_kernel (H, P).
    Cost per step: 8 B H (D + H) flops, one recurrent product. With `projection_units`: 8 B H (D + P) + 2 B H P flops,
        two recurrent products.
    Raises:
        ValueError: if `projection_units` is no integer > 0.
    Reference: S. Hochreiter and J. Schmidhuber, Neural Computation 9(8), 1997. F. Gers, J. Schmidhuber and F. Cummins,
        Neural Computation 12(10), 2000. H. Sak, A. Senior and F. Beaufays, Long short-term memory based
        recurrent neural network architectures for large vocabulary speech recognition, arXiv:1402.1128, 2014.
    """

    GATES, STATES, CANDIDATES = "i f g o", "h c", "g"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        unit_forget_bias=True,
        projection_units=None,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.unit_forget_bias = bool(unit_forget_bias)
        self.projection_units = None if projection_units is None else positive("projection_units", projection_units)

    def state_sizes(self):
        """P, or H without a projection, and H."""
        return [self.projection_units or self.units, self.units]

    def build(self, input_shape):
        """Adds the projection."""
        super().build(input_shape)
        if self.projection_units:
            self.add_matrix("projection", (self.units, self.projection_units))

    def build_bias(self, width):
        """The bias, with b_f = 1 at the start."""
        start = bias_of_ones(self, self.gates) if self.unit_forget_bias else None
        self.bias = self.new_weight("bias", (width,), start) if self.use_bias else None

    def step(self, x, u, h, c):
        """Equations (1) to (6)."""
        i, f, g, o = self.activate(x + u(h))
        c_new = f * c + i * g
        h_new = o * self.activation(c_new)
        return u.projection(h_new) if self.projection_units else h_new, c_new

    def fused(self):
        """A projection is more than the usual LSTM has."""
        more = {"projection_units": self.projection_units} if self.projection_units else {}
        return Equations("lstm", (self.recurrent_activation, self.activation, self.activation), more)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class LSTM(CellLayer):
    """The long short-term memory layer; a drop-in for `keras.layers.LSTM`.

    Equations and cell arguments: `LSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = LSTMCell
