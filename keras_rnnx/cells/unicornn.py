"""The undamped independent controlled oscillatory recurrent network (Rusch and Mishra, 2021)."""

import keras
from keras import ops

from keras_rnnx.arguments import choice, number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class UnICORNNCell(Cell):
    r"""One step of one layer of UnICORNN: independent undamped oscillators, by the symplectic Euler method.

    $$ s = \Delta t\, \sigma(c) \tag{1} $$
    $$ z_t = z_{t-1} - s \odot (\tanh(w \odot y_{t-1} + x_t V + b) + \alpha\, y_{t-1}) \tag{2} $$
    $$ y_t = y_{t-1} + s \odot z_t \tag{3} $$

    Each unit has its own weight w and its own trained step size s in \((0, \Delta t)\). The paper stacks such layers;
    so does `DeepRNN`.

    Differs from the paper: in nothing; its sigmoid \(0.5 + 0.5 \tanh(c / 2)\) is the logistic function. One layer.

    Args:
        units: int > 0, H.
        activation: tanh in (2).
        use_bias: bool.
        dt: float > 0, the largest step size. The defaults of `dt` and `alpha` are those of the authors' program for
            permuted MNIST; the paper tunes both for each task.
        alpha: float >= 0, the frequency parameter.
        kernel_initializer: of V. Default, as in the authors' program: uniform with variance 2 / (65 D).
        recurrent_initializer: of w. Default, as in the authors' program: uniform in (0, 1).
        recurrent_structure: only `"diagonal"`, which this cell is.
        **kwargs: see `Cell`.

    Inputs and outputs: inputs (B, D), states [y (B, H), z (B, H)] -> output y (B, H), new states.
    Weights: kernel (D, H), recurrent_kernel (H,): w, bias (H,), c (H,), which starts uniform in (-0.1, 0.1).
    Cost per step: 2 B D H flops and no recurrent matrix product.
    Raises:
        ValueError: if `dt` or `alpha` is out of range, or `recurrent_structure` is not `"diagonal"`.
    Reference: T. K. Rusch and S. Mishra, UnICORNN: a recurrent model for learning very long time dependencies, ICML
        2021, arXiv:2103.05487.
    """

    GATES, STATES, CANDIDATES = "y", "y z", "y"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        dt=0.19,
        alpha=30.65,
        kernel_initializer=None,
        recurrent_initializer=None,
        recurrent_structure="diagonal",
        **kwargs,
    ):
        kernel_initializer = kernel_initializer or keras.initializers.VarianceScaling(2 / 65, "fan_in", "uniform")
        super().__init__(
            units,
            activation=activation,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer or keras.initializers.RandomUniform(0.0, 1.0),
            recurrent_structure=choice("recurrent_structure", recurrent_structure, ("diagonal",)),
            **kwargs,
        )
        self.dt = number("dt", dt, "(0, inf)")
        self.alpha = number("alpha", alpha, "[0, inf)")

    def build_own(self, width):
        """Adds c."""
        super().build_own(width)
        self.add_vector("c", initializer=keras.initializers.RandomUniform(-0.1, 0.1))

    def step(self, x, u, y, z):
        """Equations (1) to (3)."""
        s = self.dt * ops.sigmoid(u.c)
        z_new = z - s * (self.activation(x.y + u.y(y)) + self.alpha * y)
        return y + s * z_new, z_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class UnICORNN(CellLayer):
    """The undamped independent controlled oscillatory recurrent layer.

    Equations and cell arguments: `UnICORNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = UnICORNNCell
