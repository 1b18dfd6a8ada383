"""Whatever a layer is given as its cell, in the one form that layers walk."""

import dataclasses
import inspect

import keras
from keras import ops, tree

from keras_rnnx.arguments import several
from keras_rnnx.base.interface import AbstractCell, Result, as_shape, is_float
from keras_rnnx.base.scopes import values
from keras_rnnx.engine import paths
from keras_rnnx.engine.sequential import Engine


def as_cell(cell, dtype=None):
    """A cell of ours, a Keras cell, or a list of them, as an `AbstractCell`.

    Args:
        cell: see `RNN`.
        dtype: the dtype policy of what is made around the cell.

    Raises:
        ValueError: if it is none of these.
    """
    if isinstance(cell, AbstractCell):
        return cell
    if isinstance(cell, keras.layers.StackedRNNCells):
        cell = cell.cells
    if isinstance(cell, (list, tuple)):
        return StackedCells(cell, dtype=dtype)
    whole = isinstance(cell, keras.layers.RNN)
    if isinstance(cell, keras.layers.Layer) and hasattr(cell, "state_size") and not whole:
        return KerasCell(cell, dtype=dtype)
    raise ValueError(
        "Expected a keras_rnnx cell, a Keras cell (a Layer with `state_size` and `call(inputs, states)`), or a list of "
        f"cells. Received: {cell!r} of type {type(cell).__name__}"
    )


@keras.saving.register_keras_serializable(package="keras_rnnx")
class StackedCells(AbstractCell):
    """Cells on top of each other: each reads the whole sequence of outputs of the one before it.

    Args:
        cells: a list of cells.
    """

    def __init__(self, cells, **kwargs):
        super().__init__(**kwargs)
        self.cells = [as_cell(cell, self.dtype_policy) for cell in several("cells", cells, 1)]

    @property
    def casts_inputs(self):
        """As the first cell."""
        return self.cells[0].casts_inputs

    @property
    def timed(self):
        """Whether one of them reads the time between steps."""
        return any(cell.timed for cell in self.cells)

    @property
    def attends(self):
        """Whether one of them looks at a memory."""
        return any(cell.attends for cell in self.cells)

    @property
    def step_axes(self):
        """As the first cell."""
        return self.cells[0].step_axes

    @property
    def features_axis(self):
        """As the last cell."""
        return self.cells[-1].features_axis

    @property
    def state_size(self):
        """The state sizes of each cell."""
        return [cell.state_size for cell in self.cells]

    @property
    def output_size(self):
        """That of the last cell."""
        return self.cells[-1].output_size

    @property
    def state_dtype(self):
        """That of the last cell."""
        return self.cells[-1].state_dtype

    def get_initial_state(self, batch_size=None):
        """The initial states of each cell."""
        return [cell.get_initial_state(batch_size=batch_size) for cell in self.cells]

    def build(self, input_shape, memory_shape=None):
        """Builds each cell on the outputs of the one before it."""
        for cell in self.cells:
            if not cell.built:
                cell.build(input_shape, **({"memory_shape": memory_shape} if cell.attends else {}))
                cell.built = True
            input_shape = (*tree.flatten(input_shape)[:1], *as_shape(cell.output_size))
        self.built = True

    def start(self, batch, how):
        """The initial states of each cell."""
        return [s for i, cell in enumerate(self.cells) for s in cell.start(batch, self._reading_of(i, how))]

    def attended(self, memory, mask):
        """What each cell makes of the memory."""
        return [cell.attended(memory, mask) if cell.attends else None for cell in self.cells]

    def _reading_of(self, i, how):
        return how if how.attended is None else dataclasses.replace(how, attended=how.attended[i])

    def check(self):
        """Tries one step of each cell."""
        for cell in self.cells:
            cell.check()

    def check_inputs(self, shapes):
        """As the first cell."""
        self.cells[0].check_inputs(shapes)

    def path(self, how, steps=None):
        """The paths of the cells, where they differ one after the other."""
        chosen = [cell.path(how, steps) for cell in self.cells]
        names = list(dict.fromkeys(p.name for p in chosen))
        return paths.Path(" + ".join(names), "; ".join(dict.fromkeys(p.why for p in chosen)))

    def read(self, x, state, how):
        """Reads layer by layer, so that each projects its whole input at once."""
        state, states, final, start, probe = list(state), [], [], [], list(how.probe)
        for i, cell in enumerate(self.cells):
            last = i + 1 == len(self.cells)
            emit = how.emit if last or how.emit == "states" else "outputs"
            count = len(tree.flatten(cell.state_size))
            mine, state = state[:count], state[count:]
            result = cell.read(x, mine, dataclasses.replace(self._reading_of(i, how), emit=emit, probe=probe[:count]))
            probe = probe[count:]
            final += result.final
            states += result.states or []
            start += (result.start or [None])[1:]
            if not last:
                x = ops.cast(result.outputs, self.compute_dtype)
        start = [result.start[0], *start] if how.holds_start else None
        return Result(result.output, final, result.outputs, states or None, start)

    def call(self, inputs, states, training=False, deltas=None, memory=None):
        """Keras' cell protocol: one step through all cells; returns the output and the list of all new states.

        Args:
            inputs: what one step of the first cell reads.
            states: those of all cells, as `state_size` says or as one list.
            training: bool.
            deltas: see `Cell.call`.
            memory: a list with what `prepare` of each cell that attends gave, or None.
        """
        left, new = tree.flatten(states), []
        for i, cell in enumerate(self.cells):
            count = len(tree.flatten(cell.state_size))
            mine, left = left[:count], left[count:]
            more = {"deltas": deltas} if cell.timed else {}
            more |= {"memory": memory[i]} if cell.attends else {}
            inputs, made = cell(inputs, mine, training=training, **more)
            new += tree.flatten(made)
        return inputs, new


@keras.saving.register_keras_serializable(package="keras_rnnx")
class KerasCell(AbstractCell):
    """A Keras cell object under the engine.

    Its step is a black box, so its inputs are projected in the loop and the gradients of its weights are summed there;
    masks, resets, memory modes and compilation are the engine's. The output need not be a state.

    Args:
        cell: a Keras layer with `state_size` and `call(inputs, states)`.
    """

    casts_inputs = False

    def __init__(self, cell, **kwargs):
        super().__init__(**kwargs)
        self.cell = cell
        rates = {n: getattr(cell, n, 0) for n in ("dropout", "recurrent_dropout")}
        if hasattr(cell, "get_dropout_mask") and any(rates.values()):
            raise ValueError(
                f"Expected a Keras cell without dropout, whose masks live on the cell; use the cell of the same name "
                f"from keras_rnnx. Received: {type(cell).__name__} with {rates}"
            )
        parameters = inspect.signature(cell.call).parameters
        self._takes = {name: name in parameters for name in ("training", "constants")}
        self.features = None
        self._engines = {}

    @property
    def takes_constants(self):
        """Whether the cell's `call` has the argument."""
        return self._takes["constants"]

    @property
    def state_size(self):
        """That of the cell."""
        return self.cell.state_size

    @property
    def output_size(self):
        """That of the cell; by Keras' rule the first state's where the cell does not say."""
        size = getattr(self.cell, "output_size", None)
        return tree.flatten(self.cell.state_size)[0] if size is None else size

    def build(self, input_shape):
        """Builds the cell."""
        if not self.cell.built:
            self.cell.build(input_shape)
            self.cell.built = True
        self.features = None if isinstance(input_shape, dict) else input_shape[-1]
        self.built = True

    def get_initial_state(self, batch_size=None):
        """That of the cell, or zeros."""
        if hasattr(self.cell, "get_initial_state"):
            state = self.cell.get_initial_state(batch_size=batch_size)
        else:
            state = tree.map_structure(lambda n: ops.zeros((batch_size, n), self.state_dtype), self.state_size)
        return list(state) if isinstance(state, (list, tuple)) else [state]

    def path(self, how, steps=None):
        """The `Path` that `read` takes."""
        del steps
        return paths.choose(None, [], how.unroll)

    def _engine(self, training, constants, x):
        """The engine for inputs of one structure; floats have gradients, integers (ids, seeds) have none."""
        floats = tree.map_structure(is_float, x)
        key = (training, constants is not None, repr(floats))
        if key not in self._engines:
            self._engines[key] = Engine(self.pure_step(training, constants is not None, floats))
        return self._engines[key]

    def pure_step(self, training, constants, floats):
        """The cell as a pure step; the output rides in front of the states."""
        kwargs = {"training": training} if self._takes["training"] else {}
        structure = self.get_initial_state(1)

        def step(x, multiply, vectors, output, *state):
            del multiply, output
            x = x if isinstance(x, dict) else {"x": x, "ids": []}
            x = tree.pack_sequence_as(floats, _dealt(tree.flatten(floats), x["x"], x["ids"]))
            state = tree.pack_sequence_as(structure, list(state))
            kinds = [is_float(v) for v in self.cell.non_trainable_variables]  # which `quantize` changes
            fixed = _dealt(kinds, vectors["fixed"], vectors["integers"])
            more = {"constants": vectors["constants"]} if constants else {}
            (output, new), _ = self.cell.stateless_call(vectors["trainable"], fixed, x, state, **kwargs, **more)
            return [ops.cast(a, self.state_dtype) for a in (output, *tree.flatten(new))]

        return step

    def values(self):
        """The variables that a step reads: those with a gradient, trained or not, and the integers."""
        fixed = values(self.cell.non_trainable_variables)
        vectors = {
            "trainable": values(self.cell.trainable_variables),
            "fixed": [v for v in fixed if is_float(v)],
        }
        return vectors, [v for v in fixed if not is_float(v)]

    def call(self, inputs, states, training=False):
        """Keras' cell protocol: one step of the cell itself.

        Args:
            inputs: what the cell reads.
            states: as `state_size` says, or as one list.
            training: bool.
        """
        more = {"training": training} if self._takes["training"] else {}
        states = tree.pack_sequence_as(self.get_initial_state(1), tree.flatten(states))
        one = not isinstance(self.state_size, (list, tuple, dict))
        output, new = self.cell(inputs, states[0] if one else states, **more)
        return output, list(new) if isinstance(new, (list, tuple)) else [new]

    def read(self, x, state, how, constants=None):
        """Reads a sequence; see `AbstractCell.read`."""
        how.unprobed(self, "a black box whose output may be made from anything")
        inputs = tree.flatten(x)
        steps, batch = ops.shape(inputs[0])[:2]

        def with_output(states):
            states = [ops.cast(s, self.state_dtype) for s in tree.flatten(states)]
            return [ops.zeros((batch, *as_shape(self.output_size)), self.state_dtype), *states]

        vectors, integers = self.values()
        if constants is not None:
            vectors["constants"] = constants
        flow = {
            "x": [a for a in inputs if is_float(a)],
            "state": with_output(state),
            "weights": {},
            "vectors": vectors,
            "reset_state": [] if how.resets is None else with_output(self.get_initial_state(batch)),
        }
        data = {"slots": how.flags(steps), "fixed": {"held": {"integers": integers}}}
        ids = [a for a in inputs if not is_float(a)]
        if ids:
            data["slots"]["ids"] = ids
        count = len(flow["state"])
        emit = {"last": (), "outputs": (0,), "states": tuple(range(count))}[how.emit]
        walk = how.walk(emit=emit, compiled=self.path(how).compiled)
        made = self._engine(how.training, constants, x).run(flow, data, walk)
        return Result(
            output=made["final"][0],
            final=list(made["final"][1:]),
            outputs=made["emit"][0] if made["emit"] else None,
            states=made["emit"][1:] if how.emit == "states" else None,
            start=list(flow["state"]) if how.holds_start else None,
        )


def _dealt(kinds, floats, others):
    """Floats and others back in their places, as `kinds` tells."""
    floats, others = iter(floats), iter(others)
    return [next(floats if kind else others) for kind in kinds]
