"""What the states and gates of recurrent layers do while a model learns."""

import contextlib
import dataclasses

import numpy as np
from keras import ops, tree

from keras_rnnx.base.adapt import StackedCells
from keras_rnnx.base.cell import Cell
from keras_rnnx.callbacks.gradient_flow import rows_of
from keras_rnnx.callbacks.gradients import names_of_states, quietly, readings
from keras_rnnx.callbacks.periodic import Periodic
from keras_rnnx.engine import masks
from keras_rnnx.inspection import layers_of


class StateMonitor(Periodic):
    r"""Shows saturated and dead units and gates that are stuck.

    Before training and then after every so many epochs or batches, it reads one batch that stays the same and tells for
    every recurrent layer of this package, over the steps that are not masked:

    | name | number, or share from 0 to 1 |
    |---|---|
    | `<layer>/<state>/mean`, `.../std` | mean and standard deviation of a state |
    | `<layer>/<state>/saturated` | of the values, those whose size is > `saturated` |
    | `<layer>/<state>/dead` | of the units, those with a variance over batch and time < `dead` |
    | `<layer>/<gate>/closed`, `.../open` | of the activations of a gate, those < `closed`, those > `opened` |

    A state that leaves \([-1, 1]\) is not bounded by a tanh, and its share of saturated values is NaN.

    A gate is what `recurrent_activation` gives in a [`Cell`][keras_rnnx.Cell], also in one inside another cell; it has
    its name where the cell activates its gates by `activate`, else it is `gate_1`, `gate_2`, ... in the order of the
    equations. Parallel cells, matrix memories, Keras' cells and cells that attend to a memory show their states alone:
    see `without_gates`.

    Args:
        data: the batch: `(x, y)`, whose y is not read, or the inputs x, as `model.predict` takes them.
        log_dir: the directory of the TensorBoard summaries, or None for none. Needs the package `tensorboard`.
        every: int > 0, after how many epochs or batches.
        unit: `"epoch"` or `"batch"`, what `every` counts.
        saturated: number in (0, 1), see above.
        dead: number > 0, see above.
        closed: number in (0, 1), see above.
        opened: number in (0, 1), see above.
        training: bool, whether the model runs as in training, with dropout. Gates are those without.
        layers: the layers to look at, or their names; see `state_gradients`. Default: all.

    Attributes:
        history: a dictionary of NumPy arrays (N,), one number for each of N measurements, by the names above.
        steps: the list of the N numbers of epochs (or batches) that had been trained.
        without_gates: the names of the layers whose gates were not seen.

    Raises:
        ValueError: if `data` is no batch or an argument is out of range; when training begins, if the model has no
            such layer.
        ImportError: if a package is missing.

    Example:
        monitor = keras_rnnx.callbacks.StateMonitor((x[:32], y[:32]))
        model.fit(x, y, callbacks=[monitor])
        monitor.history["lstm/f/open"]  # how many forget gates let all pass
    """

    def __init__(
        self,
        data,
        log_dir=None,
        every=1,
        unit="epoch",
        *,
        saturated=0.95,
        dead=1e-4,
        closed=0.05,
        opened=0.95,
        training=False,
        layers=None,
    ):
        super().__init__(log_dir, every, unit)
        self.data = data[0] if isinstance(data, tuple) and data else data
        if len(rows_of(self.data)) != 1:
            raise ValueError("Expected `data` of arrays with one number of rows. Received: arrays of several, or none")
        limits = {"saturated": saturated, "closed": closed, "opened": opened}
        wrong = {name: value for name, value in limits.items() if not 0 < value < 1}
        if wrong:
            raise ValueError(f"Expected limits in (0, 1). Received: {wrong}")
        if not dead > 0:
            raise ValueError(f"Expected `dead` > 0. Received: dead={dead!r}")
        self.saturated, self.dead, self.closed, self.opened = saturated, dead, closed, opened
        self.training = bool(training)
        self.layers = layers
        self.without_gates = []

    def measure(self):
        """The numbers of the table, by name."""
        found, without = {}, []
        for name, read in readings(self.model, self.data, self.training, self.layers).items():
            for part, walk in walks(name, read):
                for state, values in zip(names_of_states(walk.cell), walk.states, strict=True):
                    told = self._of_state(_valid(values, walk.how))
                    found.update({f"{part}/{state}/{key}": value for key, value in told.items()})
                gates = gates_of(walk)
                for gate, values in gates.items():
                    told = self._of_gate(_valid(values, walk.how))
                    found.update({f"{part}/{gate}/{key}": value for key, value in told.items()})
                if not gates:
                    without.append(part)
        self.without_gates = without
        return found

    def write(self, summaries, measured, step):
        """See `Periodic`."""
        super().write(summaries, {f"state_monitor/{name}": value for name, value in measured.items()}, step)

    def _of_state(self, values):
        if not values.size:
            return dict.fromkeys(("mean", "std", "saturated", "dead"), np.nan)
        size = np.abs(values)
        return {
            "mean": values.mean(),
            "std": values.std(),
            "saturated": np.mean(size > self.saturated) if size.max() <= 1 else np.nan,
            "dead": np.mean(values.var(axis=0) < self.dead),
        }

    def _of_gate(self, values):
        if not values.size:
            return dict.fromkeys(("closed", "open"), np.nan)
        return {"closed": np.mean(values < self.closed), "open": np.mean(values > self.opened)}


@dataclasses.dataclass
class Walked:
    """A cell's way through a sequence: its inputs and its states after each step, (T, B, ...), and before the first."""

    cell: object
    x: object
    start: list
    states: list
    how: object

    def before(self):
        """The states before each step, (T, B, ...)."""
        steps, batch = tree.flatten(self.x)[0].shape[:2]
        pairs = list(zip(self.start, self.states, strict=True))
        if self.how.reverse:
            states = [ops.concatenate([s[1:], ops.cast(start, s.dtype)[None]]) for start, s in pairs]
        else:
            states = [ops.concatenate([ops.cast(start, s.dtype)[None], s[:-1]]) for start, s in pairs]
        reset = self.how.flags(steps).get("reset")
        if reset is None:
            return states
        own = tree.flatten(self.cell.get_initial_state(batch))
        return [
            ops.where(masks.rows(reset, s), ops.cast(o, s.dtype)[None], s) for s, o in zip(states, own, strict=True)
        ]


def walks(name, read):
    """Pairs of a name and a `Walked` for what a layer read; several where its cells are stacked."""
    cell, x, state = read.layer.cell, read.x, list(read.state)
    how = dataclasses.replace(read.how, emit="states")
    stacked = isinstance(cell, StackedCells)
    for n, one in enumerate(cell.cells if stacked else [cell]):
        count = len(tree.flatten(one.state_size))
        mine, state = state[:count], state[count:]
        with quietly():
            result = one.read(x, mine, how)
        yield f"{name}/{n}" if stacked else name, Walked(one, x, mine, result.states, how)
        x = ops.cast(result.outputs, one.compute_dtype)


def gates_of(walk):
    """The activations (T, B, ...) of each gate by name: all steps at once, as the states before each are known."""
    inside = layers_of(walk.cell)
    cells = [inner for inner in inside if isinstance(inner, Cell)]
    if not cells or any(getattr(one, "attends", False) or isinstance(one, StackedCells) for one in inside):
        return {}
    lead = tuple(walk.x.shape[:2])

    def in_rows(a):
        return ops.reshape(a, (-1, *a.shape[2:]))

    deltas = {"deltas": in_rows(walk.how.intervals(walk.x, walk.cell.state_dtype))} if walk.cell.timed else {}
    notes = {}
    with quietly(), contextlib.ExitStack() as stack:
        for inner in cells:
            prefix = f"{inner.name}/" if len(cells) > 1 else ""
            stack.enter_context(noting(inner, notes, prefix))
        walk.cell.call(in_rows(walk.x), [in_rows(s) for s in walk.before()], **deltas)
    return {name: ops.reshape(a, (*lead, *a.shape[1:])) for name, a in notes.items()}


@contextlib.contextmanager
def noting(cell, notes, prefix):
    """Within this context what the gates of a `Cell` are after `recurrent_activation` is noted, by their names."""
    own = vars(cell)
    function, activate, unnamed = own["recurrent_activation"], cell.activate, []

    def noted(gate):
        made = function(gate)
        unnamed.append(made)
        notes[f"{prefix}gate_{len(unnamed)}"] = made
        return made

    def activate_noted(gates):
        own["recurrent_activation"] = function
        made = activate(gates)
        own["recurrent_activation"] = noted
        pairs = zip(gates.names, made, strict=True)
        notes.update({prefix + name: gate for name, gate in pairs if name not in cell.CANDIDATES.split()})
        return made

    own["recurrent_activation"], own["activate"] = noted, activate_noted
    try:
        yield
    finally:
        own["recurrent_activation"] = function
        del own["activate"]


def _valid(values, how):
    """The values (T, B, ...) of valid steps as rows (N, ...), a NumPy array in double precision."""
    values = ops.convert_to_numpy(values).astype("float64")
    valid = np.ones(values.shape[:2], bool) if how.mask is None else ops.convert_to_numpy(how.mask)
    return values[valid]
