"""The strongly typed gated recurrent unit (Balduzzi & Ghifary, 2016)."""

import keras

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TGRUCell(Cell):
    r"""One step of the strongly typed gated recurrent unit, whose gates see the last two inputs and no state.

    $$ z_t = x_{t-1} V_z + x_t W_z + b_z \tag{1} $$
    $$ f_t = \sigma(x_{t-1} V_f + x_t W_f + b_f) \tag{2} $$
    $$ o_t = \tanh(x_{t-1} V_o + x_t W_o + b_o) \tag{3} $$
    $$ h_t = f_t \odot h_{t-1} + z_t \odot o_t \tag{4} $$

    \(x_{t-1}\) is the input of the valid step before. The state p holds its products \(p_{t-1} = x_{t-1} V\), so that
    all matrix products are made for all steps at once; before the first step it is zero, as if \(x_0 = 0\).

    Differs from the paper: in nothing.

    Args:
        units: int > 0, H.
        activation: of o, the paper's tau. Default tanh.
        recurrent_activation: of the gate f. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`. There is no recurrent product, hence no `recurrent_dropout` and no `recurrent_structure`;
            `normalization` applies to x W, not to x V.

    Inputs and outputs: inputs (B, D), states [h (B, H), p (B, 3H: z f o)] -> output h (B, H), new states.
    Weights: kernel (D, 3H: z f o), W; previous_kernel (D, 3H: z f o), V; bias (3H: z f o).
    Cost per step: 12 B H D flops, no recurrent product.
    Raises:
        ValueError: if `recurrent_dropout` or `recurrent_structure` is given.
    Reference: D. Balduzzi and M. Ghifary, Strongly-typed recurrent neural networks, ICML 2016, arXiv:1602.02218.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "z f o", "", "h p", "o"
    LANES = True

    def __init__(self, units, activation="tanh", recurrent_activation="sigmoid", use_bias=True, **kwargs):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        for name, neutral in (("recurrent_dropout", 0.0), ("recurrent_structure", "dense")):
            if getattr(self, name) != neutral:
                raise ValueError(
                    f"Expected no `{name}`, since the cell has no recurrent product. "
                    f"Received: {name}={getattr(self, name)!r}"
                )

    def state_sizes(self):
        """H, and 3H for the products of the last input."""
        return [self.units, 3 * self.units]

    def build(self, input_shape):
        """Adds V, which `inputs` uses."""
        super().build(input_shape)
        self.previous_kernel = self.new_weight("previous_kernel", (self.features, 3 * self.units), role="kernel")

    def inputs(self, x):
        """x W + b, and x V for the step after."""
        return {**super().inputs(x), "following": self.times(x, self.previous_kernel)}

    def step(self, x, u, h, p):
        """Equations (1) to (4)."""
        now, following = x.split("z f o", "following")
        z, f_o = (now + p).split("z", "f o")
        f, o = self.activate(f_o)
        return f * h + z.z * o, following


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TGRU(CellLayer):
    """The strongly typed gated recurrent layer.

    Equations and cell arguments: `TGRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = TGRUCell
