"""The gated recurrent unit with weighted time-delay feedback (Erichson et al., 2022)."""

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TauGRUCell(Cell):
    r"""One step of the gated recurrent unit with weighted time-delay feedback.

    $$ u_t = \tanh(x_t U_1 + h_{t-1} W_1 + b_1) \tag{1} $$
    $$ z_t = \tanh(x_t U_2 + h_{t-1-\tau} W_2 + b_2) \tag{2} $$
    $$ g_t = \sigma(x_t U_3 + h_{t-1} W_3 + b_3) \tag{3} $$
    $$ a_t = \sigma(x_t U_4 + h_{t-1} W_4 + b_4) \tag{4} $$
    $$ h_t = (1 - g_t) \odot h_{t-1} + g_t \odot (u_t + a_t \odot z_t) \tag{5} $$

    The state before the step is \(h_{t-1}\), the paper's \(h_n\); the delayed one lies tau steps further back. The
    second state q holds \(h_{t-1-\tau}, \dots, h_{t-2}\), the oldest first, and shifts by one at each step. It starts
    at zero, as the paper's history does. Zoneout acts on both states unless it is given as a pair.

    Differs from the paper: the biases.

    Args:
        units: int > 0, H.
        activation: tanh in (1) and (2).
        recurrent_activation: sigmoid in (3) and (4).
        use_bias: bool.
        tau: int > 0, the delay in steps. The paper tunes it for each task. Default 20.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [h (B, H), q (B, tau H)] -> output h (B, H), new states.
    Weights: kernel (D, 4H: u g a z), recurrent_kernel (H, 4H), bias (4H,).
    Cost per step: 8 B H (D + H) flops, two recurrent products that do not depend on each other, and a copy of q;
        training stores q at every step, B tau H numbers.
    Raises:
        ValueError: if `tau` is no integer > 0.
    Reference: N. B. Erichson, S. H. Lim and M. W. Mahoney, Gated recurrent neural networks with weighted time-delay
        feedback, 2022, arXiv:2212.00228.
    """

    GATES, STATES, CANDIDATES = "u g a z", "h q", "u z"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        tau=20,
        **kwargs,
    ):
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.tau = positive("tau", tau)

    def state_sizes(self):
        """H, and tau H for the states of earlier steps."""
        return [self.units, self.tau * self.units]

    def step(self, x, u, h, q):
        """Equations (1) to (5)."""
        x_uga, x_z = x.split("u g a", "z")
        candidate, g, a = self.activate(x_uga + u.take("u", "g", "a")(h))
        z = self.activation(x_z.z + u.z(q[..., : self.units]))
        h_new = (1 - g) * h + g * (candidate + a * z)
        return h_new, ops.concatenate([q[..., self.units :], h], axis=-1)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class TauGRU(CellLayer):
    """The gated recurrent layer with weighted time-delay feedback.

    Equations and cell arguments: `TauGRUCell`. Layer arguments and call: `RNN`.
    """

    CELL = TauGRUCell
