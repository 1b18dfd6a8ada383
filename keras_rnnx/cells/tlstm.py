"""The strongly typed LSTM (Balduzzi & Ghifary, 2016)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TLSTMCell(Cell):
    r"""One step of the strongly typed LSTM: gates read the last two inputs, and states never meet a matrix.

    $$ z_t = x_{t-1} V_z + x_t W_z + b_z \tag{1} $$
    $$ f_t = \sigma(x_{t-1} V_f + x_t W_f + b_f) \tag{2} $$
    $$ o_t = \tau(x_{t-1} V_o + x_t W_o + b_o) \tag{3} $$
    $$ c_t = f_t \odot c_{t-1} + (1 - f_t) \odot z_t \tag{4} $$
    $$ h_t = c_t \odot o_t \tag{5} $$

    The product of the last input is carried as a third state, \(p_t = x_t V\), so that the loop has no matrix product;
    zero at the start is \(x_0 = 0\). At a masked step p stays: the last input is the last valid one.

    Differs from the paper: in nothing.

    Args:
        units: int > 0, H.
        activation: tau. Default tanh.
        recurrent_activation: of the gate f. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`. `normalization` concerns x W, not x V.

    Inputs and outputs: inputs (B, D), states [h (B, H), c (B, H), p (B, 3H: z f o)] -> output h (B, H), new states.
    Weights: kernel (D, 3H: z f o), previous_kernel (D, 3H: z f o), which multiplies the last input, bias (3H,).
    Cost per step: 12 B H D flops, no recurrent product.
    Raises:
        ValueError: if `recurrent_structure` or `recurrent_dropout` is given, for want of a recurrent product.
    Reference: D. Balduzzi and M. Ghifary, Strongly-typed recurrent neural networks, ICML 2016, arXiv:1602.02218.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "z f o", "", "h c p", "o"
    LANES = True

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True, **kwargs):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        for name, default in (("recurrent_structure", "dense"), ("recurrent_dropout", 0.0)):
            if getattr(self, name) != default:
                raise ValueError(
                    f"Expected {name}={default!r}: a strongly typed cell has no recurrent product. "
                    f"Received: {name}={getattr(self, name)!r}"
                )

    def state_sizes(self):
        """H, H, and 3H for the product of the last input."""
        return [self.units, self.units, 3 * self.units]

    def build(self, input_shape):
        """Adds the weight of the last input."""
        super().build(input_shape)
        self.previous_kernel = self.new_weight("previous_kernel", (self.features, 3 * self.units), role="kernel")

    def inputs(self, x):
        """x W + b, and x V for the step after."""
        return {**super().inputs(x), "following": self.times(x, self.previous_kernel)}

    def step(self, x, u, h, c, p):
        """Equations (1) to (5)."""
        now, following = x.split("z f o", "following")
        z, f_o = (now + p).split("z", "f o")
        f, o = self.activate(f_o)
        c_new = f * c + (1 - f) * z.z
        return c_new * o, c_new, following


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TLSTM(CellLayer):
    """The strongly typed LSTM layer.

    Equations and cell arguments: `TLSTMCell`. Layer arguments and call: `RNN`.
    """

    CELL = TLSTMCell
