"""Cells made of cells: one loop steps them all, each with its own products, vectors and draws.

A part gives the engine what a cell gives it, under the part's name, and runs the cell's own transition inside the step
of the whole. A part that reads the layer's inputs has them projected for all steps at once, before the loop. A part
that reads the output of another one is *fed*: its input products are made in the loop, as further recurrent products,
so that the gradients of its kernels are batched too.
"""

import dataclasses
import functools

import keras
from keras import ops

from keras_rnnx.arguments import several
from keras_rnnx.base import reading
from keras_rnnx.base.adapt import KerasCell, as_cell
from keras_rnnx.base.cell import Cell
from keras_rnnx.base.interface import AbstractCell, Reading
from keras_rnnx.base.parts import CellPart, KerasPart, Part
from keras_rnnx.base.projecting import known_features
from keras_rnnx.base.quantization import recorded
from keras_rnnx.base.scopes import Given, Noting, values
from keras_rnnx.engine import paths
from keras_rnnx.engine.sequential import Engine

NOTHING = ""  # the source of a part that reads no input


@dataclasses.dataclass(frozen=True)
class Inner:
    """A cell inside another one.

    Attributes:
        cell: the cell.
        source: the name of the part whose output it reads, `NOTHING`, or None where it reads the layer's inputs.
        joined: whether it reads the layer's inputs too, in front of that.
    """

    cell: object
    source: str | None = None
    joined: bool = False

    @property
    def outer(self):
        """Whether it reads the layer's inputs."""
        return self.source is None or self.joined


@dataclasses.dataclass(frozen=True)
class Kept:
    """States of a part that the whole carries.

    Attributes:
        part: the name of the part.
        first: the first of its states that is carried; another part makes those before it.
        prefix: what stands before their names.
    """

    part: str
    first: int = 0
    prefix: str = ""


class ComposedCell(AbstractCell):
    """A cell made of cells. A subclass says which, `inner`, which states it carries, `kept`, and writes `step`.

    Attributes:
        speaker: the name of the part that makes the output from the first state.
    """

    speaker = "cell"
    rates = ()
    recurrent_dropout = 0.0  # the parts have their own

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.features = None
        self._engines = {}

    # ---- what a subclass says ----

    def inner(self):
        """The cells: a dictionary of `Inner` by name, each after the one that it reads."""
        return {"cell": Inner(self.cell)}

    def kept(self):
        """The states that are carried: a list of `Kept`. The first of them all makes the output."""
        return [Kept("cell")]

    def step(self, take, *state):
        """The equations of one step: a pure function.

        Args:
            take: `take(name, states, left=None)` steps a part from a list of states, and gives the list of the new
                ones; `left`, (B, ...), is the input of a part that is fed, without the layer's where it is joined.
            *state: the old states.

        Returns:
            The new states, a list.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `step(self, take, *state)`")

    def part_of(self, cell, fed):
        """The part that a cell becomes."""
        return part_of(self, cell, fed)

    def by_part(self, state):
        """The states that are carried, as a list for each part."""
        state, found = list(state), {}
        for kept in self.kept():
            count = len(self._part(kept).sizes) - kept.first
            found[kept.part], state = state[:count], state[count:]
        return found

    def carried(self, new):
        """The inverse of `by_part`, for the lists of new states that `take` gave."""
        return [s for kept in self.kept() for s in new[kept.part][kept.first :]]

    # ---- the interface ----

    @functools.cached_property
    def whole(self):
        """The cell as a part of its own."""
        return ComposedPart(self)

    @property
    def timed(self):
        """Whether one of the cells reads the time between steps."""
        return any(inner.cell.timed for inner in self.inner().values())

    @property
    def draws(self):
        """Whether anything is drawn in training."""
        return any(self.rates) or any(part.draws for part in self.whole.parts.values())

    @property
    def measures(self):
        """Whether training measures something over a whole sequence."""
        return any(inner.cell.measures for inner in self.inner().values())

    @property
    def states(self):
        """The names of the states."""
        return tuple(kept.prefix + name for kept in self.kept() for name in self._part(kept).names[kept.first :])

    def state_sizes(self):
        """The size of each state."""
        return [size for kept in self.kept() for size in self._part(kept).sizes[kept.first :]]

    @property
    def state_size(self):
        """Keras' cell protocol: an int for one state, else a list."""
        sizes = self.state_sizes()
        return sizes[0] if len(sizes) == 1 else sizes

    @property
    def output_size(self):
        """That of the part which makes the output."""
        return self.inner()[self.speaker].cell.output_size

    def get_initial_state(self, batch_size=None):
        """The initial states of the cells, as far as they are carried."""
        return self.start(batch_size, Reading())

    def start(self, batch, how):
        """See `AbstractCell`."""
        return [s for kept in self.kept() for s in self._part(kept).initial(batch, how)[kept.first :]]

    def readout(self, h):
        """The output from the first state."""
        return self.heard(self.speaker, [h])

    def heard(self, name, states):
        """The output of a part."""
        return self.whole.parts[name].readout(states[0])

    def build(self, input_shape):
        """Builds each cell on what it reads."""
        self.features = known_features(input_shape)
        inner = self.inner()
        for name, part in self.whole.parts.items():
            fed = self.fed_width(name)
            part.build((*input_shape[:-1], (self.features if inner[name].outer else 0) + fed))
            if inner[name].joined:
                part.join(self.features)
        for name in inner:
            source = inner[name].source
            if source and not self.whole.parts[source].plain:
                raise ValueError(
                    f"Expected in {type(self).__name__} a cell whose output has no weights, as {name!r} reads it at "
                    f"each step. Received: {source!r}, a {type(inner[source].cell).__name__} with an output of its own"
                )
        self.built = True

    def fed_width(self, name):
        """How wide the input of a part is that is made in the loop. Default: the output of its source."""
        inner = self.inner()
        source = inner[name].source
        return inner[source].cell.output_size if source else 0

    def check(self):
        """Tries one step of each cell."""
        self.whole.check()

    def check_inputs(self, shapes):
        """The number of features must be that of the weights."""
        if self.built and shapes[0][-1] != self.features:
            raise ValueError(f"Expected {self.features} input features. Received: shape {shapes[0]}")

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading`."""
        del steps
        return paths.choose(None, [], how.unroll)

    def read(self, x, state, how):
        """Reads a sequence x (T, B, D) from a list of states; returns a `Result`. See `Reading`."""
        if any(self.whole.outputs):
            how.unprobed(self, "one of whose Keras cells has an output of its own")
        steps, batch = ops.shape(x)[:2]
        late = self.is_late(how)
        made = {"raw": x} if late else self.whole.inputs(x, how)
        flow = {
            "x": {**made, "delta": how.intervals(x, self.state_dtype)} if self.timed else made,
            "inputs": values(self.read_by_inputs) if late else [],
            "state": [ops.cast(s, self.state_dtype) for s in state],
            "weights": self.whole.weights(),
            "vectors": self.whole.vectors(how),
            "reset_state": self.start(batch, how) if how.resets is not None else [],
            "probe": list(how.probe),
        }
        data = self.whole.drawn(how, steps, batch)
        data["slots"].update(how.flags(steps))
        walk = reading.walk_of(self, how, self.path(how))
        made = self._engine(how.training).run(flow, data, walk)
        return reading.result_of(self, flow, made["emit"], made["final"], how)

    def is_late(self, how):
        """As `Cell.is_late`; what a part draws, it draws for all its inputs."""
        whole = self.measures or (how.training and self.draws) or recorded(self)
        return how.memory[0] == "remat" and not whole

    @functools.cached_property
    def read_by_inputs(self):
        """The variables that are read to project the inputs."""
        read = {}
        with Noting(read):
            self.whole.inputs(ops.zeros((2, self.features), self.compute_dtype))
        return list(read.values())

    def call(self, inputs, states, training=False, deltas=None):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states.

        Args:
            inputs: (B, D).
            states: as `state_size` says.
            training: bool.
            deltas: (B,) or (B, 1), the time since the step before, for a cell that reads it. Default: 1.

        Raises:
            ValueError: in training with dropout, zoneout or batch statistics, which belong to a whole sequence.
        """
        states = self.states_of_step(states, training, deltas)
        return self.single_step(inputs, states, bool(training), deltas, Reading())

    def single_step(self, inputs, states, training, deltas, how):
        """One step outside the engine: the output and the list of new states."""
        x = self.whole.inputs(ops.cast(inputs, self.compute_dtype))
        if self.timed:
            x["delta"] = reading.interval(deltas, inputs, self.state_dtype)
        multiply = reading.multiplier(self.whole.weights(), self.state_dtype)
        states = [ops.cast(s, self.state_dtype) for s in states]
        drawn = self.whole.drawn(how, 1, ops.shape(inputs)[0])
        new = self.whole.advance(training, x, multiply, self.whole.vectors(how), drawn, states)
        return ops.cast(self.readout(new[0]), self.compute_dtype), new

    def _engine_inputs(self, given, x, lanes):
        del lanes  # cells made of cells walk alone
        rest = {name: a for name, a in x.items() if name != "raw"}
        with Given(self.read_by_inputs, given):
            return {**self.whole.inputs(x["raw"]), **rest}

    def _part(self, kept):
        return self.whole.parts[kept.part]

    def _engine(self, training):
        if training not in self._engines:
            step = functools.partial(self.whole.step, training)
            self._engines[training] = Engine(step, self._engine_inputs)
        return self._engines[training]


@keras.saving.register_keras_serializable(package="keras_rnnx")
class ChainedCell(ComposedCell):
    """Cells on top of each other as one cell: in each step, each reads the output that the one below made in that step.

    `RNN` with a list of cells computes the same, level by level, which is faster; a chain is for use inside another
    cell. Its first states are those of the last cell, which makes the output; then come those of the cells from the
    first on.

    Args:
        cells: a list of cells that another one can step.
        **kwargs: `name`, `dtype` and `trainable`. Default of `dtype`: that of the first cell.

    Reference: A. Graves, Generating sequences with recurrent neural networks, 2013, arXiv:1308.0850.
    """

    def __init__(self, cells, **kwargs):
        cells = [inner_cell(cell) for cell in several("cells", cells, 1)]
        super().__init__(**{"dtype": cells[0].dtype_policy, **kwargs})
        self.cells = cells

    @property
    def speaker(self):
        """The last cell."""
        return f"cell_{len(self.cells) - 1}"

    def inner(self):
        """Each cell on the one below."""
        return {f"cell_{i}": Inner(cell, f"cell_{i - 1}" if i else None) for i, cell in enumerate(self.cells)}

    def kept(self):
        """The states of the last cell, then those of the others."""
        others = [f"cell_{i}" for i in range(len(self.cells) - 1)]
        return [Kept(name, prefix=f"{name}_") for name in (self.speaker, *others)]

    def step(self, take, *state):
        """Steps the cells from the first to the last."""
        old, new, left = self.by_part(state), {}, None
        for name in self.inner():
            new[name] = take(name, old[name], left)
            left = self.heard(name, new[name])
        return self.carried(new)


def inner_cell(cell):
    """A cell for use inside another one; of a list of cells, the chain.

    Raises:
        ValueError: if it is no cell, or none that can be stepped inside the loop of another one.
    """
    if isinstance(cell, (list, tuple)):
        return ChainedCell(cell)
    cell = as_cell(cell, getattr(cell, "dtype_policy", None))
    flat = cell.step_axes == ("features",)
    if not (isinstance(cell, (Cell, ComposedCell, KerasCell)) and flat) or cell.attends:
        raise ValueError(
            "Expected a cell that another one can step: a keras_rnnx.Cell of feature vectors, a Keras cell, or one "
            f"made of these, but none that attends to a memory. Received: {type(cell).__name__}"
        )
    return cell


def part_of(owner, cell, fed):
    """The part of `owner` that a cell becomes; `fed`: whether its inputs are made in the loop."""
    check_dtype(owner, cell)
    kind = {ComposedCell: ComposedPart, KerasCell: KerasPart}
    return next((made for base, made in kind.items() if isinstance(cell, base)), CellPart)(cell, fed)


def check_dtype(owner, cell):
    """Raises where a cell computes in another dtype than the one that steps it."""
    if cell.compute_dtype != owner.compute_dtype:
        raise ValueError(
            f"Expected cells of one dtype inside {type(owner).__name__}. "
            f"Received: {cell.compute_dtype} in {owner.compute_dtype}"
        )


class ComposedPart(Part):
    """A cell made of cells, inside another one or as a whole."""

    def __init__(self, cell, fed=False):
        super().__init__(cell, fed)
        self.outer = {name: inner.outer for name, inner in cell.inner().items()}
        self.parts = {name: cell.part_of(i.cell, fed or i.source is not None) for name, i in cell.inner().items()}

    def join(self, width):
        """See `Part`."""
        super().join(width)
        for name, outer in self.outer.items():
            if outer:
                self.parts[name].join(width)

    @property
    def rates(self):
        """The rates of zoneout of the whole."""
        return self.cell.rates

    @property
    def outputs(self):
        """See `Part`."""
        return [out for kept in self.cell.kept() for out in self.parts[kept.part].outputs[kept.first :]]

    @property
    def plain(self):
        """See `Part`."""
        return self.parts[self.cell.speaker].plain

    def check(self):
        """Tries one step of each part."""
        for part in self.parts.values():
            part.check()

    def inputs(self, x, how=None):
        """See `Part`."""
        return {"parts": {name: self.parts[name].inputs(x, how) for name, outer in self.outer.items() if outer}}

    def received(self, left, multiply, vectors, fixed, ahead=None):
        """See `Part`."""
        fixed = fixed.get("held", {}).get("drawn", {})

        def of(name):
            inside = functools.partial(_prefixed, multiply, name)
            mine = None if ahead is None else ahead["parts"][name]
            return self.parts[name].received(left, inside, vectors["parts"][name], fixed.get(name, {}), mine)

        return {"parts": {name: of(name) for name, outer in self.outer.items() if outer}}

    def weights(self):
        """See `Part`."""
        return {f"{name}/{key}": w for name, part in self.parts.items() for key, w in part.weights().items()}

    def vectors(self, how):
        """See `Part`."""
        return {"parts": {name: part.vectors(how) for name, part in self.parts.items()}}

    def drawn(self, how, steps, batch):
        """See `Part`. The engine hands `ids` to the step beside x, and `held` among the vectors."""
        data = {"slots": {}, "fixed": {}}
        if how.training:
            reading.draw(self.cell, data, steps, batch)
        inside = {name: part.drawn(how, steps, batch) for name, part in self.parts.items()}
        slots, fixed = ({n: d[key] for n, d in inside.items() if d[key]} for key in ("slots", "fixed"))
        if slots:
            data["slots"]["ids"] = slots
        if fixed:
            data["fixed"]["held"] = {"drawn": fixed}
        return data

    def step(self, training, x, multiply, vectors, *state):
        """See `Part`."""
        slots, x = (x["ids"], x["x"]) if "ids" in x else ({}, x)
        fixed = vectors.get("drawn", {})

        def take(name, states, left=None):
            part, mine = self.parts[name], vectors["parts"][name]
            inside = functools.partial(_prefixed, multiply, name)
            drawn = {"slots": slots.get(name, {}), "fixed": fixed.get(name, {})}
            made = x["parts"].get(name)
            if left is not None:
                made = part.received(left, inside, mine, drawn["fixed"], made)
            made = {**made, "delta": x["delta"]} if part.timed else made
            return part.advance(training, made, inside, mine, drawn, list(states))

        return self.cell.step(take, *state)


def _prefixed(multiply, name, key, left, count):
    """A product of the part of that name."""
    return multiply(f"{name}/{key}", left, count)
