"""The bistable recurrent cells (Vecoven et al., 2021)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice
from keras_rnnx.base.cell import Cell
from keras_rnnx.engine.gates import activated
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class NBRCCell(Cell):
    r"""One step of the recurrently neuromodulated bistable cell.

    $$ a_t = 1 + \tanh(x_t U_a + h_{t-1} W_a + b_a) \tag{1} $$
    $$ c_t = \sigma(x_t U_c + h_{t-1} W_c + b_c) \tag{2} $$
    $$ h_t = c_t \odot h_{t-1} + (1 - c_t) \odot \tanh(x_t U + a_t \odot h_{t-1} + b) \tag{3} $$

    a in (0, 2) is the feedback of a neuron on itself: below 1 it has one stable state, above 1 two. U stands for the
    input's matrices and W for the recurrent ones, as in the paper.

    Differs from the paper: its equations have no biases, which is `use_bias=False`; its code has b_a and b_c.

    Args:
        units: int > 0, H.
        activation: of the candidate in (3). Default tanh. That of (1) is always tanh.
        recurrent_activation: of the gate c. Default sigmoid.
        use_bias: bool.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 3H: a c h), recurrent_kernel (H, 2H: a c), bias (3H: a c h).
    Cost per step: 2 B H (3 D + 2 H) flops, one recurrent product.
    Reference: N. Vecoven, D. Ernst and G. Drion, A bio-inspired bistable recurrent cell allows for long-lasting memory,
        PLoS ONE 16(6), 2021, arXiv:2006.05252.
    """

    GATES, RECURRENT_GATES, STATES, CANDIDATES = "a c h", "a c", "h", "h"
    LANES = True

    def step(self, x, u, h):
        """Equations (1) to (3)."""
        x_ac, x_h = x.split("a c", "h")
        feedback, c = x_ac + u(h)
        c = activated(self.recurrent_activation, c)
        candidate = self.activation(x_h.h + (1 + ops.tanh(feedback)) * h)
        return c * h + (1 - c) * candidate


@keras.saving.register_keras_serializable(package="keras_rnnx")
class NBRC(CellLayer):
    """The layer of recurrently neuromodulated bistable cells.

    Equations and cell arguments: `NBRCCell`. Layer arguments and call: `RNN`.
    """

    CELL = NBRCCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class BRCCell(NBRCCell):
    r"""One step of the bistable cell, whose neurons have no connections but those to themselves.

    $$ a_t = 1 + \tanh(x_t U_a + w_a \odot h_{t-1} + b_a) \tag{1} $$
    $$ c_t = \sigma(x_t U_c + w_c \odot h_{t-1} + b_c) \tag{2} $$
    $$ h_t = c_t \odot h_{t-1} + (1 - c_t) \odot \tanh(x_t U + a_t \odot h_{t-1} + b) \tag{3} $$

    It is `NBRCCell` with vectors for its recurrent matrices; see there for a.

    Differs from the paper: its equations have no biases, which is `use_bias=False`; its code has b_a and b_c.

    Args:
        units: int > 0, H.
        activation: of the candidate in (3). Default tanh. That of (1) is always tanh.
        recurrent_activation: of the gate c. Default sigmoid.
        use_bias: bool.
        recurrent_initializer: of w_a and w_c. Default ones, as in the authors' code.
        recurrent_structure: `"diagonal"`; the cell knows no other.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), state [h (B, H)] -> output h (B, H), new state.
    Weights: kernel (D, 3H: a c h), recurrent_kernel (2H: a c), the vectors w, bias (3H: a c h).
    Cost per step: 6 B H D flops, and of order B H for the recurrence.
    Raises:
        ValueError: if `recurrent_structure` is not `"diagonal"`.
    Reference: N. Vecoven, D. Ernst and G. Drion, A bio-inspired bistable recurrent cell allows for long-lasting memory,
        PLoS ONE 16(6), 2021, arXiv:2006.05252.
    """

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        recurrent_initializer="ones",
        recurrent_structure="diagonal",
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            recurrent_initializer=recurrent_initializer,
            recurrent_structure=choice("recurrent_structure", recurrent_structure, ("diagonal",)),
            **kwargs,
        )


@keras.saving.register_keras_serializable(package="keras_rnnx")
class BRC(CellLayer):
    """The layer of bistable cells.

    Equations and cell arguments: `BRCCell`. Layer arguments and call: `RNN`.
    """

    CELL = BRCCell
