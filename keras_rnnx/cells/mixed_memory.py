"""Mixed memory: a long short-term memory beside a cell in continuous time (Lechner & Hasani, 2020)."""

import keras

from keras_rnnx.base.composed import ComposedCell, Inner, Kept, inner_cell
from keras_rnnx.cells.lstm import LSTMCell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MixedMemoryCell(ComposedCell):
    r"""One step of a cell whose state first goes through an LSTM, which keeps what must last.

    The memory reads the input and, as its own output, the state of the cell; the cell then starts from what it gives:
    $$ (h'_t, c_t) = \text{LSTM}(x_t, (h_{t-1}, c_{t-1})) \tag{1} $$
    $$ h_t = f(x_t, h'_t, \Delta_t) \tag{2} $$

    where f is the cell, such as `CfCCell`, `LTCCell` or `ODERNNCell`, and \(\Delta_t\) the time since the step before.
    The gradient passes along c, which no differential equation touches.

    Differs from the paper: in (2) f reads the input too, as in the authors' program of mixed memory; in the ODE-LSTM of
    the paper it does not.

    Args:
        cell: f, a `keras_rnnx.Cell`, a Keras cell, or a wrapper of these.
        memory: a cell of the same kinds in the place of the LSTM, whose first state is its output. Default:
            `LSTMCell(H)`, H the size of the first state of `cell`.
        **kwargs: `name`, `dtype` and `trainable`. Default of `dtype`: that of the cell.

    Inputs and outputs: inputs (B, D), the states of the cell, then those of the memory after the first -> output of the
        cell, new states. The states are named as in the cell, and `memory_...`. `deltas` where a cell reads them.
    Weights: those of `cell` and `memory`. Both read the input, for all steps at once.
    Cost per step: the sum of those of the cells.
    Raises:
        ValueError: if the first states of the two are not of one size, the memory learns its initial state, or a cell
            cannot be stepped in the loop of another one.
    Reference: M. Lechner and R. Hasani, Learning long-term dependencies in irregularly-sampled time series, 2020,
        arXiv:2006.04418.
    """

    CELLS = ("cell", "memory")

    def __init__(self, cell, memory=None, **kwargs):
        cell = inner_cell(cell)
        super().__init__(**{"dtype": cell.dtype_policy, **kwargs})
        self.cell = cell
        if memory is None:
            memory = LSTMCell(keras.tree.flatten(cell.state_size)[0], dtype=self.dtype_policy)
        self.memory = inner_cell(memory)
        if getattr(self.memory, "learn_initial_state", False):
            raise ValueError(
                "Expected learn_initial_state=False in `memory`, whose output is the state of `cell`. Received: True"
            )

    def inner(self):
        """The memory, and the cell."""
        return {"memory": Inner(self.memory), "cell": Inner(self.cell)}

    def kept(self):
        """The states of the cell, and what only the memory has."""
        return [Kept("cell"), Kept("memory", first=1, prefix="memory_")]

    def build(self, input_shape):
        """Builds both, and compares their first states."""
        super().build(input_shape)
        sizes = [self.whole.parts[name].sizes[0] for name in ("cell", "memory")]
        if sizes[0] != sizes[1]:
            raise ValueError(
                "Expected a `memory` whose first state is as wide as that of `cell`. "
                f"Received: {sizes[1]} beside {sizes[0]}"
            )

    def step(self, take, *state):
        """Equations (1) and (2)."""
        count = len(self.whole.parts["cell"].sizes)
        h, others, kept = state[0], state[1:count], state[count:]
        h_memory, *memory = take("memory", [h, *kept])
        return [*take("cell", [h_memory, *others]), *memory]
