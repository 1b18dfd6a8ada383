"""A cell inside another one: what it gives the engine, and its own transition within a step of the whole."""

import contextlib
import dataclasses
import functools

import keras
from keras import ops, tree

from keras_rnnx.base import reading
from keras_rnnx.base.interface import is_float
from keras_rnnx.base.projecting import FED
from keras_rnnx.base.scopes import Given, Noting, values
from keras_rnnx.engine import products
from keras_rnnx.engine.gates import split
from keras_rnnx.engine.segment import transition
from keras_rnnx.engine.sequential import Walk


class Part:
    """A cell inside another one, as the loop sees it.

    Args:
        cell: the cell.
        fed: whether inputs are made in the loop; else all are the layer's.

    Attributes:
        joined: how many of the inputs of a fed part are the layer's, in front of what is made in the loop.
    """

    rates = ()

    def __init__(self, cell, fed=False):
        self.cell, self.fed, self.joined = cell, fed, 0

    def join(self, width):
        """Says how many of the inputs are the layer's."""
        self.joined = width

    @property
    def timed(self):
        """Whether a step reads the time."""
        return self.cell.timed

    @property
    def draws(self):
        """Whether anything is drawn in training."""
        return self.cell.draws

    @property
    def names(self):
        """The names of the states."""
        return tuple(self.cell.states)

    @property
    def sizes(self):
        """The size of each state."""
        return list(self.cell.state_sizes())

    @property
    def outputs(self):
        """For each state, whether it is an output that no step reads."""
        return [False] * len(self.sizes)

    @property
    def plain(self):
        """Whether the output is made from the first state without weights, as in the loop it must be."""
        return True

    def readout(self, h):
        """The output from the first state, for any number of steps at once."""
        return self.cell.readout(h)

    def initial(self, batch, how):
        """The initial states, a list; `how`: a `Reading`."""
        del how
        return list(self.cell.get_initial_state(batch_size=batch))

    def build(self, input_shape):
        """Builds the cell."""
        if not self.cell.built:
            self.cell.build(input_shape)
            self.cell.built = True

    def check(self):
        """Tries one step of the cell."""
        self.cell.check()

    def advance(self, training, x, multiply, vectors, drawn, state):
        """One transition of the cell: its dropout, step and zoneout; a list of new states.

        Args:
            training: bool.
            x: what its step reads of the inputs.
            multiply: makes the products of `weights`, see `Engine`.
            vectors: the values of `vectors`.
            drawn: what `drawn` gave, for this step.
            state: the list of old states.
        """
        part = _Stepped(functools.partial(self.step, training))
        flow, data = {"vectors": vectors}, {"fixed": drawn["fixed"]}
        return transition(part, Walk(zoneout=self.rates), flow, data, {"x": x, **drawn["slots"]}, state, multiply)

    def inputs(self, x, how=None):
        """What a step reads of the layer's inputs (..., D), for all steps at once; with dropout as `how` says."""
        raise NotImplementedError

    def received(self, left, multiply, vectors, fixed, ahead=None):
        """What a step reads of `left` (B, D), which another cell has made in this step.

        `ahead`: what `inputs` gave for this step, where the part is joined.
        """
        raise NotImplementedError

    def weights(self):
        """The weights of each product, by the name that `multiply` takes."""
        raise NotImplementedError

    def vectors(self, how):
        """What a step reads besides that and has a gradient: nested arrays; `how`: a `Reading`."""
        raise NotImplementedError

    def drawn(self, how, steps, batch):
        """What has no gradient: arrays for each step, `slots`, and for a whole sequence, `fixed`."""
        raise NotImplementedError

    def step(self, training, x, multiply, vectors, *state):
        """The equations between plain arrays: a list of new states."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _Stepped:
    """What `transition` needs of an engine."""

    step: object


class CellPart(Part):
    """A `Cell` inside another one.

    Where it is fed, its `inputs` run in the loop. Their products with variables are made by the engine; every other
    variable that they read gets its value there from `vectors`. A kernel without rows, of a cell that reads no input,
    makes zeros, and is among these to have a gradient.

    Where it is joined, a product with the whole input has its share of the layer's inputs made ahead, for all steps at
    once: only the rows of the kernel that meet the rest are in the loop.
    """

    def __init__(self, cell, fed=False):
        super().__init__(cell, fed)
        self._multiplied, self._read, self._integers, self._whole = None, None, None, set()
        self._mode = None  # the quantization of the cell when they were found

    @property
    def rates(self):
        """The rates of zoneout."""
        return self.cell.rates

    @property
    def plain(self):
        """See `Part`."""
        read = {}
        with Noting(read):
            self.cell.readout(ops.zeros((1, self.sizes[0]), self.cell.state_dtype))
        return not read

    def check(self):
        """Tries one step, and finds what the inputs read."""
        super().check()
        if not self.fed:
            return
        if self.cell.measures:
            raise ValueError(
                "Expected a cell that reads one step at a time where another cell feeds it. Received: "
                f"{self.cell.name}, a {type(self.cell).__name__} that measures a whole sequence in training"
            )
        multiplied, read, parts = {}, {}, set()
        whole = ops.zeros((2, self.cell.features), self.cell.compute_dtype)

        def note(x, weight, count):
            if isinstance(weight, keras.Variable):
                known = (multiplied if weight.shape[0] else read).setdefault(weight.name, weight)
                if x is not whole:
                    parts.add(weight.name)
                if known is not weight:
                    raise ValueError(
                        f"Expected weights with names of their own in {type(self.cell).__name__}, which another cell "
                        f"feeds. Received: two with the name {weight.name!r}"
                    )
            return _zeros(x, weight, count)

        with _multiplying(self.cell, note), Noting(read):
            self.cell.inputs(whole)
        self._multiplied, self._mode = multiplied, self.cell.quantization_mode
        self._read = [v for v in read.values() if is_float(v)]
        self._integers = [v for v in read.values() if not is_float(v)]
        self._whole = set(multiplied) - parts if self.joined else set()

    def _found(self):
        if self._read is None or self._mode != self.cell.quantization_mode:
            self.check()
        return self._multiplied, self._read, self._integers

    def inputs(self, x, how=None):
        """See `Part`."""
        if self.joined:
            return self._ahead(x if how is None else self.cell.dropped(x, how))
        made = self.cell.inputs(x) if how is None else self.cell.inputs_of_sequence(x, how)
        return {"inputs": list(made.values())}

    def _ahead(self, x):
        """The layer's inputs and their share of each product with the whole input, in the order of the products."""
        made, (multiplied, *_) = [], self._found()

        def product(row, weight, count):
            if multiplied.get(getattr(weight, "name", None)) is weight and weight.name in self._whole:
                rows = ops.cast(self.cell.value_of(weight), x.dtype)[: self.joined]
                made.append([products.apply({"kernel": part}, x, x.dtype) for part in split(rows, count)])
            return _zeros(row, weight, count)

        with _multiplying(self.cell, product):
            self.cell.inputs(ops.zeros((1, self.cell.features), x.dtype))
        return {"x": x, "shares": made}

    def received(self, left, multiply, vectors, fixed, ahead=None):
        """See `Part`."""
        left = ops.cast(left, self.cell.compute_dtype)
        left = left * fixed["dropout"] if "dropout" in fixed else left
        whole = left if ahead is None else ops.concatenate([ops.cast(ahead["x"], left.dtype), left], axis=-1)
        shares = iter([] if ahead is None else ahead["shares"])

        def product(x, weight, count):
            if not weight.shape[0]:
                return _zeros(x, weight, count)
            if not isinstance(weight, keras.Variable):
                return split(products.apply({"kernel": weight}, x, x.dtype), count)
            if weight.name not in self._whole:
                return [ops.cast(a, x.dtype) for a in multiply(f"inputs:{weight.name}", x, count)]
            made = zip(next(shares), multiply(f"inputs:{weight.name}", left, count), strict=True)
            return [ops.cast(share + a, x.dtype) for share, a in made]

        _, floats, integers = self._found()
        given = Given([*floats, *integers], [*vectors["inputs"], *fixed.get("integers", [])])
        with _multiplying(self.cell, product), given:
            return {"inputs": list(self.cell.inputs(whole).values())}

    def weights(self):
        """See `Part`."""
        weights = reading.weights_of_step(self.cell)
        if self.fed:
            more = {f"inputs:{name}": {"kernel": self._in_loop(w)} for name, w in self._found()[0].items()}
            weights = {**weights, **more}
        return weights

    def _in_loop(self, weight):
        """The rows of an input kernel whose product is made in the loop."""
        rows = ops.cast(self.cell.value_of(weight), self.cell.compute_dtype)
        return rows[self.joined :] if weight.name in self._whole else rows

    def vectors(self, how):
        """See `Part`."""
        del how
        vectors = {"step": self.cell.values_of_vectors()}
        if self.fed:
            vectors["inputs"] = values(self._found()[1])
        return vectors

    def drawn(self, how, steps, batch):
        """See `Part`."""
        data = {"slots": {}, "fixed": {}}
        if how.training:
            reading.draw(self.cell, data, steps, batch)
            if self.fed and self.cell.dropout:
                ones = ops.ones((1, batch, self.cell.features - self.joined), self.cell.compute_dtype)
                data["fixed"]["dropout"] = self.cell.dropped(ones, how)[0]
        if self.fed and self._found()[2]:
            data["fixed"]["integers"] = values(self._found()[2])
        return data

    def step(self, training, x, multiply, vectors, *state):
        """See `Part`."""
        del training
        return reading.engine_step(self.cell, x, multiply, vectors["step"], *state)


class KerasPart(Part):
    """A Keras cell inside another one: a black box, as in `KerasCell`.

    An output that is not the first of its states is carried in front of them, as a state named `output`.
    """

    draws = False

    def __init__(self, cell, fed=False):
        super().__init__(cell, fed)
        self._structure = None

    @functools.cached_property
    def separate(self):
        """Whether the output is not the first state; known when the cell is built."""
        cell = self.cell.cell
        x = ops.zeros((1, self.cell.features), self.cell.compute_dtype)
        variables = [values(cell.trainable_variables), values(cell.non_trainable_variables)]
        (output, new), _ = cell.stateless_call(*variables, x, self.cell.get_initial_state(1))
        return output is not tree.flatten(new)[0]

    @property
    def names(self):
        """See `Part`."""
        count = len(tree.flatten(self.cell.state_size))
        return (*["output"] * self.separate, *[f"state_{i}" for i in range(count)])

    @property
    def sizes(self):
        """See `Part`."""
        return [*[self.cell.output_size] * self.separate, *tree.flatten(self.cell.state_size)]

    @property
    def outputs(self):
        """See `Part`."""
        return [self.separate, *[False] * (len(self.sizes) - 1)]

    def readout(self, h):
        """The state itself."""
        return h

    def initial(self, batch, how):
        """Zero for the output, then the initial states of the cell."""
        del how
        output = [ops.zeros((batch, self.cell.output_size), self.cell.state_dtype)] * self.separate
        return [*output, *tree.flatten(self.cell.get_initial_state(batch_size=batch))]

    def build(self, input_shape):
        """Builds the cell."""
        super().build(input_shape)
        shapes = [tuple(s.shape) for s in tree.flatten(self.cell.get_initial_state(1))]
        if any(len(shape) != 2 for shape in shapes):
            raise ValueError(f"Expected states (batch, size) of a Keras cell inside another cell. Received: {shapes}")

    def check(self):
        """Tries one step, here, where variables may be read."""
        super().check()
        _ = self.separate

    def inputs(self, x, how=None):
        """See `Part`."""
        del how
        return {"x": [x], "ids": []}

    def received(self, left, multiply, vectors, fixed, ahead=None):
        """See `Part`."""
        del multiply, vectors, fixed
        return self.inputs(left if ahead is None else ops.concatenate([*ahead["x"], left], axis=-1))

    def weights(self):
        """None: the products are inside the black box."""
        return {}

    def vectors(self, how):
        """See `Part`."""
        del how
        return self.cell.values()[0]

    def drawn(self, how, steps, batch):
        """See `Part`."""
        del how, steps, batch
        integers = self.cell.values()[1]
        return {"slots": {}, "fixed": {"held": {"integers": integers}} if integers else {}}

    def step(self, training, x, multiply, vectors, *state):
        """See `Part`."""
        step = self.cell.pure_step(training, False, True)
        made = step(x, multiply, {"integers": [], **vectors}, None, *state[self.separate :])
        return made if self.separate else made[1:]


def _zeros(x, weight, count):
    """What rows x that are zero give with a weight, in so many parts."""
    return [ops.zeros((*ops.shape(x)[:-1], weight.shape[-1] // count), x.dtype) for _ in range(count)]


@contextlib.contextmanager
def _multiplying(cell, multiply):
    """Within this context the cell has the products of its inputs made by `multiply(x, weight, count)`."""
    before = FED.set({**FED.get(), id(cell): multiply})
    try:
        yield
    finally:
        FED.reset(before)
