"""A skip around any cell."""

import dataclasses

import keras
from keras import ops, tree

from keras_rnnx.base.adapt import as_cell
from keras_rnnx.base.interface import AbstractCell, refuse_attention
from keras_rnnx.base.projecting import known_features
from keras_rnnx.engine import masks


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ResidualCell(AbstractCell):
    r"""A cell whose input is added to its output: with \(y_t\) the output of the cell,

    $$ \hat y_t = x_t + y_t \tag{1} $$

    The states are those of the cell, and so is the way it is read: a parallel cell stays parallel. For a skip around
    each level of a stack see also the argument `residual` of `DeepRNN`.

    At a masked step the output is that of the last valid step, as always; x there counts as zero before the first
    valid step of a document.

    Differs from the paper: in nothing; Wu et al. add x after each level of a stack of LSTMs.

    Args:
        cell: any cell whose output is as wide as its input, or a list of cells, around which together the skip goes.
        **kwargs: `name`, `dtype` and `trainable`. Default of `dtype`: that of the cell.

    Inputs and outputs: inputs (B, D), states of the cell -> output (B, D), new states.
    Weights: those of the cell.
    Cost per step: that of the cell, and B D additions.
    Raises:
        ValueError: when it is built, if the output of the cell is not as wide as its input.
    Reference: Y. Wu et al., Google's neural machine translation system: bridging the gap between human and machine
        translation, arXiv:1609.08144. K. He, X. Zhang, S. Ren and J. Sun, Deep residual learning for image recognition,
        CVPR 2016, arXiv:1512.03385.
    """

    def __init__(self, cell, **kwargs):
        cell = as_cell(cell, getattr(cell, "dtype_policy", kwargs.get("dtype")))
        super().__init__(**{"dtype": cell.dtype_policy, **kwargs})
        refuse_attention(self, cell)
        self.cell = cell

    @property
    def timed(self):
        """As the cell."""
        return self.cell.timed

    @property
    def state_size(self):
        """As the cell."""
        return self.cell.state_size

    @property
    def output_size(self):
        """As the cell."""
        return self.cell.output_size

    @property
    def state_dtype(self):
        """As the cell."""
        return self.cell.state_dtype

    def get_initial_state(self, batch_size=None):
        """As the cell."""
        return self.cell.get_initial_state(batch_size=batch_size)

    def build(self, input_shape):
        """Builds the cell, and compares the widths."""
        features = known_features(input_shape)
        if not self.cell.built:
            self.cell.build(input_shape)
            self.cell.built = True
        if self.cell.output_size != features:
            raise ValueError(
                "Expected the output of the cell to be as wide as its input, to which it is added. "
                f"Received: an output of {self.cell.output_size}, an input of {features}"
            )
        self.built = True

    def check(self):
        """As the cell."""
        self.cell.check()

    def check_inputs(self, shapes):
        """The inputs must be as wide as the output."""
        if self.built and shapes[0][-1] != self.cell.output_size:
            raise ValueError(f"Expected {self.cell.output_size} input features. Received: shape {shapes[0]}")

    def path(self, how, steps=None):
        """As the cell."""
        return self.cell.path(how, steps)

    def read(self, x, state, how):
        """Reads by the cell; adds the inputs, at a masked step those of the last one read."""
        result = self.cell.read(x, state, how)
        given = {"x": x, "flags": {n: f for n, f in how.flags(ops.shape(x)[0]).items() if n != "cut"}}
        if how.reverse:
            given = tree.map_structure(lambda a: ops.flip(a, 0), given)
        flags = given["flags"]
        seen = masks.last_read(given["x"], flags.get("mask"), flags.get("reset"))
        output = result.output + ops.cast(seen[-1], result.output.dtype)
        if result.outputs is None:
            return dataclasses.replace(result, output=output)
        seen = ops.cast(ops.flip(seen, 0) if how.reverse else seen, result.outputs.dtype)
        return dataclasses.replace(result, output=output, outputs=result.outputs + seen)

    def call(self, inputs, states, training=False, deltas=None):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states."""
        more = {} if deltas is None else {"deltas": deltas}
        output, new = self.cell(inputs, states, training=training, **more)
        return output + ops.cast(inputs, output.dtype), new
