"""Zoneout around any cell (Krueger et al., 2017)."""

import keras

from keras_rnnx.arguments import checked_seed, rate
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.composed import ComposedCell, inner_cell


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ZoneoutCell(ComposedCell):
    r"""A cell whose units keep their old value by chance. With \(s'_t\) what the cell makes of a state s,

    $$ d_t \sim \text{Bernoulli}(p), \qquad s_t = d_t \odot s_{t-1} + (1 - d_t) \odot s'_t \tag{1} $$
    in training, for each unit and step by itself, and
    $$ s_t = p\, s_{t-1} + (1 - p)\, s'_t \tag{2} $$
    otherwise. The output is made from the first state of (1) or (2), as in the cell.

    A `keras_rnnx.Cell` has this as its own argument `zoneout`, and around one this wrapper does the same. It is for the
    others: cells of Keras, and wrappers.

    Differs from the paper: in nothing.

    Args:
        cell: a `keras_rnnx.Cell` without zoneout, a Keras cell, or a wrapper of these.
        zoneout: p, a rate in [0, 1), or a list of one for each state of the cell.
        seed: int or None, for the draws.
        **kwargs: `name`, `dtype` and `trainable`. Default of `dtype`: that of the cell.

    Inputs and outputs: as the cell. A Keras cell whose output is not its first state carries it as a state in front of
        the others, `output`, which is never kept.
    Weights: those of the cell.
    Cost per step: that of the cell, and at most 3 flops for each number of its states.
    Raises:
        ValueError: if a rate is out of range or of no state, the cell has zoneout already, or is none that can be
            stepped in the loop of another cell.
    Reference: D. Krueger et al., Zoneout: regularizing RNNs by randomly preserving hidden activations, ICLR 2017,
        arXiv:1606.01305.
    """

    def __init__(self, cell, zoneout, *, seed=None, **kwargs):
        cell = inner_cell(cell)
        super().__init__(**{"dtype": cell.dtype_policy, **kwargs})
        self.cell = cell
        self.zoneout = zoneout
        self.seed = checked_seed(seed)
        given = zoneout if isinstance(zoneout, (list, tuple)) else [zoneout]
        self._given = [rate("zoneout", p) for p in given]
        if isinstance(cell, Cell):
            if any(cell.rates):
                raise ValueError(f"Expected a cell without zoneout of its own. Received: zoneout={cell.zoneout!r}")
            self.rates = type(cell)(**{**cell.get_config(), "zoneout": zoneout}).rates

    def build(self, input_shape):
        """Builds the cell, and checks the rates where its states are known only then."""
        super().build(input_shape)
        if not isinstance(self.cell, Cell):
            self.rates = self._rates()
        if any(self.rates):
            self.seed_generator = keras.random.SeedGenerator(self.seed)

    def _rates(self):
        """The rate of each state, zero for an output that is carried."""
        outputs = self.whole.parts["cell"].outputs
        names = [name for name, output in zip(self.states, outputs, strict=True) if not output]
        rates = self._given if isinstance(self.zoneout, (list, tuple)) else self._given * len(names)
        if len(rates) != len(names):
            raise ValueError(
                f"Expected `zoneout` to be one rate or one for each state of {names}. "
                f"Received: zoneout={self.zoneout!r}"
            )
        rates = iter(rates)
        return tuple(0.0 if output else next(rates) for output in outputs)

    def step(self, take, *state):
        """The step of the cell; the engine does (1) and (2)."""
        return take("cell", state)
