"""The strongly typed recurrent network (Balduzzi & Ghifary, 2016)."""

import keras
from keras import ops

from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TRNNCell(Cell):
    r"""One step of the strongly typed recurrent network: a running mean with gates that see the input alone.

    $$ z_t = x_t W \tag{1} $$
    $$ f_t = \sigma(x_t V + b) \tag{2} $$
    $$ h_t = f_t \odot h_{t-1} + (1 - f_t) \odot z_t \tag{3} $$

    There is no recurrent matrix: a state meets only values of its own kind.

    Differs from the paper: in nothing.

    Args:
        units: int > 0, H.
        recurrent_activation: of the gate f. Default sigmoid.
        use_bias: bool, whether there is b; z has no bias.
        **kwargs: see `Cell`; no `recurrent_dropout` and no `recurrent_structure`. `normalization` acts on x W and x V.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 2H: z f, that is W V), bias (H,); no recurrent_kernel.
    Raises:
        ValueError: if `recurrent_dropout` or `recurrent_structure` is given.
    Cost per step: 4 B H D flops for all steps at once, and 3 B H in the loop, which has no recurrent product.
    Reference: D. Balduzzi and M. Ghifary, Strongly-typed recurrent neural networks, ICML 2016, arXiv:1602.02218.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "z f", "", "h", "z"
    LANES = True

    def __init__(self, units, recurrent_activation="sigmoid", use_bias=True, **kwargs):
        super().__init__(units, recurrent_activation=recurrent_activation, use_bias=use_bias, **kwargs)
        if self.recurrent_dropout:
            raise ValueError(
                "Expected no `recurrent_dropout`, since there is no recurrent product. "
                f"Received: recurrent_dropout={self.recurrent_dropout}"
            )
        if self.recurrent_structure != "dense":
            raise ValueError(
                "Expected no `recurrent_structure`, since there is no recurrent product. "
                f"Received: recurrent_structure={self.recurrent_structure!r}"
            )

    def build_bias(self, width):
        """A bias for the gate alone."""
        self.bias = self.new_weight("bias", (self.units,)) if self.use_bias else None

    def input_bias(self):
        """Zero for z, then b."""
        return None if self.bias is None else ops.pad(self._cast(self.bias), [[self.units, 0]])

    def inputs(self, x):
        """Equations (1) and (2): z and the open gate f."""
        made = super().inputs(x)
        return {**made, "f": self.recurrent_activation(made["f"])}

    def step(self, x, u, h):
        """Equation (3)."""
        z, f = x
        return f * h + (1 - f) * z


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TRNN(CellLayer):
    """The strongly typed recurrent layer.

    Equations and cell arguments: `TRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = TRNNCell
