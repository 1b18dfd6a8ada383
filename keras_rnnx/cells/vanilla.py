"""The vanilla recurrent network (Elman, 1990; Jordan, 1986)."""

import keras

from keras_rnnx.arguments import choice, positive
from keras_rnnx.base.cell import Cell
from keras_rnnx.engine import products
from keras_rnnx.engine.paths import Equations
from keras_rnnx.layers.rnn import CellLayer


@keras.saving.register_keras_serializable(package="keras_rnnx")
class VanillaRNNCell(Cell):
    r"""One step of the vanilla recurrent network.

    Elman, `feedback="state"`:
    $$ h_t = f(x_t W + h_{t-1} U + b) \tag{1} $$
    $$ y_t = g(h_t V + c) \quad \text{with } \texttt{output\_units} \tag{2} $$

    Jordan, `feedback="output"`, feeds the output back instead of the state:
    $$ h_t = f(x_t W + y_{t-1} U + b), \qquad y_t = g(h_t V + c) \tag{3} $$

    Without `output_units` the output is the state h. With it the output is y; the carried state is h in Elman's form
    (2) and y in Jordan's (3).

    Differs from the paper: Elman's and Jordan's hidden units are logistic; tanh here, as in Keras' SimpleRNN.

    Args:
        units: int > 0, H.
        activation: f. Default tanh.
        use_bias: bool, whether there are b and c.
        output_units: int > 0 or None, O, the size of y.
        output_activation: g. Default: linear.
        feedback: `"state"` or `"output"`; the latter needs `output_units`.
        **kwargs: see `Cell`.

    Inputs and outputs:
        inputs (B, D), state [h (B, H)] or, for Jordan, [y (B, O)] -> output (B, H) or (B, O), new state.
    Weights: kernel (D, H), recurrent_kernel (H, H) or (O, H), bias (H,); output_kernel (H, O), output_bias (O,).
    Raises:
        ValueError: if `feedback="output"` has no `output_units`, or an argument is out of range.
    Cost per step: 2 B H (D + H) flops, plus 2 B H O for an output.
    Reference: J. L. Elman, Finding structure in time, Cognitive Science 14, 1990. M. I. Jordan, Serial order: a
        parallel distributed processing approach, ICS report 8604, 1986.
    """

    GATES, STATES, CANDIDATES = "h", "h", "h"
    LANES = True

    def __init__(
        self,
        units,
        activation="tanh",
        use_bias=True,
        *,
        output_units=None,
        output_activation=None,
        feedback="state",
        **kwargs,
    ):
        super().__init__(units, activation=activation, use_bias=use_bias, **kwargs)
        self.output_units = None if output_units is None else positive("output_units", output_units)
        self.output_activation = keras.activations.get(output_activation)
        self.feedback = choice("feedback", feedback, ("state", "output"))
        if self.feedback == "output" and self.output_units is None:
            raise ValueError("Expected `output_units` with feedback='output'. Received: output_units=None")

    def state_sizes(self):
        """H, or O where the output is fed back."""
        return [self.output_units if self.feedback == "output" else self.units]

    @property
    def output_size(self):
        """O where there is an output, else H."""
        return self.output_units or self.units

    def build(self, input_shape):
        """Adds the output's weights."""
        super().build(input_shape)
        if self.output_units:
            self.add_matrix("output", (self.units, self.output_units), bias=self.use_bias)

    def step(self, x, u, state):
        """Equations (1) and (3)."""
        h_new = self.activation(x.h + u.h(state))
        if self.feedback == "output":
            return self.output_activation(u.output(h_new))
        return h_new

    def readout(self, h):
        """Equation (2), for all steps at once."""
        if not self.output_units or self.feedback == "output":
            return h
        weights = self.weights_of_products()["output"]
        return self.output_activation(products.apply(weights, h, h.dtype))

    def fused(self):
        """A fed back output is more than the usual one has; one that is not is made after it."""
        return Equations("rnn", (self.activation,), {"feedback": "output"} if self.feedback == "output" else {})


@keras.saving.register_keras_serializable(package="keras_rnnx")
class VanillaRNN(CellLayer):
    """The vanilla recurrent layer; a drop-in for `keras.layers.SimpleRNN`.

    Equations and cell arguments: `VanillaRNNCell`. Layer arguments and call: `RNN`.
    """

    CELL = VanillaRNNCell
