"""The ODE-RNN (Rubanova et al., 2019)."""

import keras

from keras_rnnx.arguments import choice, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer

SOLVERS = ("euler", "midpoint", "rk4")
GATES_OF = {"gru": "z r n", "vanilla": "n"}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ODERNNCell(Cell):
    r"""One step of the ODE-RNN: between steps the state follows a differential equation, at a step it is updated.

    Over the time \(\Delta_t\) since the step before, the state follows
    $$ \dot h = f(h), \quad f(h) = \tanh(\dots \tanh(h A_1 + a_1) \dots A_L + a_L) A_{out} + a_{out} \tag{1} $$
    from \(h_{t-1}\) to \(h'_t\), in S pieces of \(\delta = \Delta_t / S\). A piece of each solver is
    $$ \text{euler:} \quad h \leftarrow h + \delta f(h) \tag{2a} $$
    $$ \text{midpoint:} \quad h \leftarrow h + \delta f(h + \tfrac{\delta}{2} f(h)) \tag{2b} $$
    $$ \text{rk4:} \quad h \leftarrow h + \tfrac{\delta}{6} (k_1 + 2 k_2 + 2 k_3 + k_4), \quad k_1 = f(h), \;
       k_2 = f(h + \tfrac{\delta}{2} k_1), \; k_3 = f(h + \tfrac{\delta}{2} k_2), \; k_4 = f(h + \delta k_3) \tag{2c} $$
    Then a gated unit reads the input,
    $$ z_t = \sigma(x_t W_z + h'_t U_z + b_z) \tag{3} $$
    $$ r_t = \sigma(x_t W_r + h'_t U_r + b_r) \tag{4} $$
    $$ n_t = \tanh(x_t W_n + (r_t \odot h'_t) U_n + b_n) \tag{5} $$
    $$ h_t = (1 - z_t) \odot n_t + z_t \odot h'_t \tag{6} $$
    or, with `update="vanilla"`,
    $$ h_t = \tanh(x_t W_n + h'_t U_n + b_n) \tag{7} $$

    Differs from the paper: solvers of fixed step, of which the authors' program has Euler's for this model; there each
    of (3) to (5) is a network of two layers, and the state also has a standard deviation.

    Args:
        units: int > 0, H.
        activation: tanh in (5) and (7). The tanh of (1) is fixed.
        recurrent_activation: sigmoid in (3) and (4).
        use_bias: bool, whether there are b and a.
        ode_units: int > 0 or None, M, the width of the layers of f. Default: H.
        ode_layers: int > 0, L, the number of layers of f before the last.
        solver: `"euler"`, the default, `"midpoint"` or `"rk4"`.
        ode_steps: int > 0, S. Default 1; more where intervals are long against the time in which f changes.
        update: `"gru"` or `"vanilla"`.
        **kwargs: see `Cell`. `recurrent_dropout` acts on the left operand of every product in the order in which they
            are made: all those of (1), evaluation by evaluation, then those of the update, each with a mask of its own.
            `recurrent_structure` and `normalization` act on h' U.

    Inputs and outputs: inputs (B, D), state [h (B, H)], `deltas` -> output h (B, H), new state.
    Weights: kernel (D, 3H: z r n), recurrent_kernel (H, 3H), bias (3H,), with `update="vanilla"` (D, H), (H, H), (H,);
        ode_1_kernel (H, M), ode_1_bias (M,), ode_<l>_kernel (M, M), ode_<l>_bias (M,) for l = 2..L: A_l and a_l;
        ode_output_kernel (M, H), ode_output_bias (H,).
    Cost per step: 6 B H (D + H) flops, and for each evaluation of f 2 B M (2 H + (L - 1) M); S, 2 S or 4 S of them,
        which depend on each other.
    Raises:
        ValueError: if an argument is out of range or unknown.
    Reference: Y. Rubanova, R. T. Q. Chen and D. Duvenaud, Latent ordinary differential equations for
        irregularly-sampled time series, NeurIPS 2019, arXiv:1907.03907.
    """

    GATES, STATES, CANDIDATES = "z r n", "h", "n"
    TIMED, LANES = True, True

    def __init__(
        self,
        units,
        activation="tanh",
        recurrent_activation="sigmoid",
        use_bias=True,
        *,
        ode_units=None,
        ode_layers=1,
        solver="euler",
        ode_steps=1,
        update="gru",
        **kwargs,
    ):
        self.GATES = GATES_OF[choice("update", update, tuple(GATES_OF))]
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            use_bias=use_bias,
            **kwargs,
        )
        self.ode_units = self.units if ode_units is None else positive("ode_units", ode_units)
        self.ode_layers = positive("ode_layers", ode_layers)
        self.solver = choice("solver", solver, SOLVERS)
        self.ode_steps = positive("ode_steps", ode_steps)
        self.update = update

    def build_own(self, width):
        """Adds the layers of f."""
        super().build_own(width)
        size = self.units
        for layer in range(1, self.ode_layers + 1):
            self.add_matrix(f"ode_{layer}", (size, self.ode_units), self.use_bias)
            size = self.ode_units
        self.add_matrix("ode_output", (size, self.units), self.use_bias)

    def derivative(self, u, h):
        """Equation (1)."""
        for layer in range(1, self.ode_layers + 1):
            h = keras.ops.tanh(getattr(u, f"ode_{layer}")(h))
        return u.ode_output(h)

    def evolved(self, u, h, piece):
        """One of (2a) to (2c)."""
        k_1 = self.derivative(u, h)
        if self.solver == "euler":
            return h + piece * k_1
        k_2 = self.derivative(u, h + piece / 2 * k_1)
        if self.solver == "midpoint":
            return h + piece * k_2
        k_3 = self.derivative(u, h + piece / 2 * k_2)
        k_4 = self.derivative(u, h + piece * k_3)
        return h + piece / 6 * (k_1 + 2 * (k_2 + k_3) + k_4)

    def step(self, x, u, h):
        """Equations (2) to (7)."""
        piece = u.delta / self.ode_steps
        for _ in range(self.ode_steps):
            h = self.evolved(u, h, piece)
        if self.update == "vanilla":
            return self.activation(x.n + u.n(h))
        x_zr, x_n = x.split("z r", "n")
        z, r = self.activate(x_zr + u.take("z", "r")(h))
        return (1 - z) * self.activation(x_n.n + u.n(r * h)) + z * h


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ODERNN(CellLayer):
    """The ODE-RNN layer.

    Equations and cell arguments: `ODERNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = ODERNNCell
