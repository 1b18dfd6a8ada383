"""The coupled oscillatory recurrent network (Rusch and Mishra, 2021)."""

import keras

from keras_rnnx.arguments import choice, number
from keras_rnnx.base.cell import Cell
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CoRNNCell(Cell):
    r"""One step of coRNN: a network of forced, damped oscillators with position y and velocity z.

    $$ a_t = \tanh(x_t V + y_{t-1} W + z_{t-1} \mathcal{W} + b) \tag{1} $$
    $$ z_t = z_{t-1} + \Delta t\, (a_t - \gamma\, y_{t-1} - \epsilon\, z_{\bar t}) \tag{2} $$
    $$ y_t = y_{t-1} + \Delta t\, z_t \tag{3} $$

    The damping is explicit, \(\bar t = t - 1\), or implicit, \(\bar t = t\), which makes (2)
    $$ z_t = \frac{z_{t-1} + \Delta t\, (a_t - \gamma\, y_{t-1})}{1 + \epsilon\, \Delta t} \tag{2'} $$

    Differs from the paper: in nothing; the initial values of the matrices are Keras'.

    Args:
        units: int > 0, H.
        activation: tanh in (1).
        use_bias: bool.
        dt: float > 0, the step size. The defaults of `dt`, `gamma` and `epsilon` are those of the authors' program for
            sequential MNIST; the paper tunes all three for each task.
        gamma: float > 0, the frequency parameter.
        epsilon: float > 0, the damping parameter.
        damping: `"explicit"`, as in the authors' program, or `"implicit"`; the paper has both.
        **kwargs: see `Cell`. `normalization` and `recurrent_structure` act on W.

    Inputs and outputs: inputs (B, D), states [y (B, H), z (B, H)] -> output y (B, H), new states.
    Weights: kernel (D, H), recurrent_kernel (H, H): W, bias (H,), velocity_kernel (H, H): the script W.
    Cost per step: 2 B H (D + 2 H) flops, two recurrent products that do not depend on each other.
    Raises:
        ValueError: if `dt`, `gamma`, `epsilon` or `damping` is out of range.
    Reference: T. K. Rusch and S. Mishra, Coupled oscillatory recurrent neural network (coRNN): an accurate and
        (gradient) stable architecture for learning long time dependencies, ICLR 2021, arXiv:2010.00951.
    """

    GATES, STATES, CANDIDATES, MATRICES = "z", "y z", "z", "velocity"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        dt=0.042,
        gamma=2.7,
        epsilon=4.7,
        damping="explicit",
        **kwargs,
    ):
        super().__init__(units, activation=activation, use_bias=use_bias, **kwargs)
        self.dt = number("dt", dt, "(0, inf)")
        self.gamma = number("gamma", gamma, "(0, inf)")
        self.epsilon = number("epsilon", epsilon, "(0, inf)")
        self.damping = choice("damping", damping, ("explicit", "implicit"))

    def step(self, x, u, y, z):
        """Equations (1) to (3)."""
        a = self.activation(x.z + u.z(y) + u.velocity(z))
        if self.damping == "implicit":
            z_new = (z + self.dt * (a - self.gamma * y)) / (1 + self.epsilon * self.dt)
        else:
            z_new = z + self.dt * (a - self.gamma * y - self.epsilon * z)
        return y + self.dt * z_new, z_new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CoRNN(CellLayer):
    """The coupled oscillatory recurrent layer.

    Equations and cell arguments: `CoRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = CoRNNCell
