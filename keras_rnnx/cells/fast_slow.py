"""The fast-slow recurrent network (Mujika et al., 2017)."""

import keras

from keras_rnnx.arguments import several
from keras_rnnx.base.composed import NOTHING, ComposedCell, Inner, Kept, inner_cell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class FastSlowCell(ComposedCell):
    r"""One step of the fast-slow network: k fast cells that share a state, one after the other, and a slow cell.

    With \(f^{F_i}\) and \(f^S\) the cells, written as functions of their state and their input,
    $$ h^{F_1}_t = f^{F_1}(h^{F_k}_{t-1}, x_t) \tag{1} $$
    $$ h^S_t = f^S(h^S_{t-1}, h^{F_1}_t) \tag{2} $$
    $$ h^{F_2}_t = f^{F_2}(h^{F_1}_t, h^S_t) \tag{3} $$
    $$ h^{F_i}_t = f^{F_i}(h^{F_{i-1}}_t), \quad i = 3..k \tag{4} $$

    The fast state goes through k cells in a step, the slow state through one. Where a cell has several states, as an
    LSTM, h in (1) to (4) stands for all of them where it is the state, and for the output where it is the input. The
    output is that of the last fast cell.

    Differs from the paper: in nothing. Its experiments have LSTMs with layer normalization, zoneout and dropout between
    the cells: arguments of the cells.

    Args:
        fast_cells: a list of k >= 2 cells, each a `keras_rnnx.Cell`, a Keras cell or a wrapper of these, with states of
            the same sizes.
        slow_cell: such a cell, of any size.
        **kwargs: `name`, `dtype` and `trainable`. Default of `dtype`: that of the first fast cell.

    Inputs and outputs: inputs (B, D), the fast states, then the slow states -> output of the last fast cell, new
        states. The states are named `fast_...` and `slow_...`.
    Weights: those of the cells. The kernel of a cell has as many rows as its input is wide: D in (1), the output of a
        cell in (2) and (3), and none in (4).
    Cost per step: the sum of those of the cells. The input products of (2) and (3) are made in the loop.
    Raises:
        ValueError: if there are fewer than two fast cells, their states differ, one after the first learns its initial
            state, or the first fast cell or the slow cell has an output with weights.
    Reference: A. Mujika, F. Meier and A. Steger, Fast-slow recurrent neural networks, NeurIPS 2017, arXiv:1705.08639.
    """

    CELLS = ("fast_cells", "slow_cell")

    def __init__(self, fast_cells, slow_cell, **kwargs):
        fast_cells = [inner_cell(cell) for cell in several("fast_cells", fast_cells, 2)]
        super().__init__(**{"dtype": fast_cells[0].dtype_policy, **kwargs})
        self.fast_cells = fast_cells
        self.slow_cell = inner_cell(slow_cell)
        if any(getattr(cell, "learn_initial_state", False) for cell in fast_cells[1:]):
            raise ValueError(
                "Expected learn_initial_state=False in the fast cells after the first, which start from its new state. "
                "Received: True"
            )

    @property
    def speaker(self):
        """The last fast cell."""
        return f"fast_{len(self.fast_cells)}"

    def inner(self):
        """The cells of (1) to (4), in the order in which they are stepped."""
        first, second, *others = self.fast_cells
        cells = {"fast_1": Inner(first), "slow": Inner(self.slow_cell, "fast_1"), "fast_2": Inner(second, "slow")}
        return {**cells, **{f"fast_{i}": Inner(cell, NOTHING) for i, cell in enumerate(others, start=3)}}

    def kept(self):
        """The fast state, and the slow one."""
        return [Kept("fast_1", prefix="fast_"), Kept("slow", prefix="slow_")]

    def build(self, input_shape):
        """Builds the cells, and compares the fast ones."""
        super().build(input_shape)
        sizes = [self.whole.parts[f"fast_{i + 1}"].sizes for i in range(len(self.fast_cells))]
        if any(size != sizes[0] for size in sizes):
            raise ValueError(f"Expected `fast_cells` with states of the same sizes. Received: {sizes}")

    def step(self, take, *state):
        """Equations (1) to (4)."""
        count = len(self.whole.parts["fast_1"].sizes)
        fast = take("fast_1", state[:count])
        slow = take("slow", state[count:], self.heard("fast_1", fast))
        fast = take("fast_2", fast, self.heard("slow", slow))
        for i in range(3, len(self.fast_cells) + 1):
            fast = take(f"fast_{i}", fast, fast[0][..., :0])
        return [*fast, *slow]
