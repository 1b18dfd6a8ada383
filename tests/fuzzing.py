"""Random layers of the table, with options, sizes and calls, beside their NumPy twins; for test_fuzz.py."""

import contextlib
import dataclasses
import functools
import inspect
import math

import keras
import numpy as np
from cases import BACKEND, CASES, DOUBLE, array, gradients, outcome, tensor, tensors, weighted, weights_of
from catalogue import CATALOGUE
from hypothesis import assume
from hypothesis import strategies as st
from reference import activations

import keras_rnnx
from keras_rnnx.base.matrix import MatrixCell
from keras_rnnx.engine import paths

TABLE = [*CASES, *CATALOGUE]
DTYPES = ["float32", "float64"] if DOUBLE else ["float32"]
# Of the results where they are about 1: of float64 what its products lose, of float32 what the issue asks.
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}
FUNCTIONS = {name: getattr(activations, name) for name in ("tanh", "sigmoid", "relu", "linear")}
# Constants that twins take by the names of the arguments, in ranges that fit each cell that has one.
CONSTANTS = {
    "alpha": st.floats(0.05, 0.95),
    "beta": st.floats(0.0, 1.0),
    "c": st.floats(0.5, 9.0),
    "coupled": st.booleans(),
    "damping": st.sampled_from(["explicit", "implicit"]),
    "depth": st.integers(1, 4),
    "dt": st.floats(0.01, 1.0),
    "epsilon": st.floats(0.01, 1.0),
    "forget_gate": st.sampled_from(["sigmoid", "exp"]),
    "fully_recurrent": st.booleans(),
    "gamma": st.floats(0.01, 2.0),
    "leak": st.floats(0.01, 0.99),
    "mode": st.sampled_from(["default", "no_gate", "pure"]),
    "ode_layers": st.integers(1, 3),
    "ode_steps": st.integers(1, 3),
    "ode_unfolds": st.integers(1, 4),
    "tau": st.floats(0.5, 16.0),
    "theta": st.floats(1.0, 40.0),
    "update": st.sampled_from(["gru", "vanilla"]),
}
# Cells with a state that has no zoneout of its own.
CLOCKED = (keras_rnnx.ClockworkRNNCell, keras_rnnx.PhasedLSTMCell, keras_rnnx.GRUDCell)
FIXED = ("lru-wide", "hgrn-wide", "cfc-deep")  # whose other sizes are factors of 4 units


@dataclasses.dataclass(frozen=True)
class Trial:
    """A layer and a call of it.

    Attributes:
        case: a row of the table, with drawn constants in its arguments and in its twin.
        sizes: batch, time, features, units.
        options: further arguments of the layer.
        twin: arguments of the twin.
        call: how the layer is called: `mask` and so on, as names of kinds.
        seed: for all numbers.
    """

    case: object
    sizes: tuple
    options: dict
    twin: dict
    call: dict
    seed: int

    def _repr_pretty_(self, printer, cycle):
        printer.text(repr(self))

    def __repr__(self):
        kept = {k: v for k, v in self.case.kwargs.items() if isinstance(v, (int, float, str, tuple, list))}
        return (
            f"Trial({self.case.name}, {kept}, sizes={self.sizes}, options={self.options}, call={self.call}, "
            f"seed={self.seed})"
        )


def twin_of(case):
    """The function under the partial ones."""
    step = case.step
    while isinstance(step, functools.partial):
        step = step.func
    return step


@functools.cache
def shared_names(index):
    """Arguments that the layer of a row and its twin have in common."""
    kinds = twin_of(TABLE[index]), TABLE[index].layer or TABLE[index].cell
    one, other = (set(inspect.signature(kind).parameters) for kind in kinds)
    return sorted(one & other)


@st.composite
def varied(draw):
    """A row of the table with other constants and activations, the same in the layer and in the twin."""
    index = draw(st.integers(0, len(TABLE) - 1))
    case, mine, theirs = TABLE[index], {}, {}
    for name in shared_names(index):
        constant = name in CONSTANTS and not case.kwargs.get("learn_alpha")
        function = name.endswith("activation") and (name, case.cell) != ("output_activation", keras_rnnx.VanillaRNNCell)
        if (constant or function) and draw(st.booleans()):
            mine[name] = draw(CONSTANTS[name] if constant else st.sampled_from(sorted(FUNCTIONS)))
            theirs[name] = mine[name] if constant else FUNCTIONS[mine[name]]
    step = functools.partial(case.step, **theirs)
    return dataclasses.replace(case, step=step, kwargs={**case.kwargs, **mine})


@st.composite
def sized(draw, case, longest):
    """Batch, time, features and units that fit a row."""
    heads, periods = case.kwargs.get("heads", 1), case.kwargs.get("periods", (1, 2, 4, 8))
    halves = 2 if case.kwargs.get("complex_state") and "rglru" in case.name or case.cell is keras_rnnx.S5Cell else 1
    many = len(periods) if case.cell is keras_rnnx.ClockworkRNNCell else 1
    multiple = math.lcm(heads * halves, case.kwargs.get("chunk_size", 1), many)
    units = multiple * draw(st.integers(1, max(1, 7 // multiple)))
    units = case.units or (4 if case.name in FIXED else units)
    features, given = draw(st.integers(1, 6)), case.cell in (keras_rnnx.GRUDCell, keras_rnnx.QRNNCell)
    if given or case.features is not None or case.kwargs.get("wiring") is not None:
        features = units if case.features == 4 else case.features or 3
    return draw(st.integers(1, 4)), draw(st.integers(1, longest)), features, units


@st.composite
def structured(draw, case, units):
    """A structure of the recurrent matrix: arguments of the layer, and of the twin."""
    size = case.sizes(units)[0]
    kinds = [k for k in ("diagonal", "block", "low_rank") if k not in case.refuses]
    kinds = [k for k in kinds if case.square or k == "low_rank"]
    kind = draw(st.sampled_from(["dense", *kinds]))
    if kind == "dense" or "recurrent_structure" in case.refuses:
        return {}, {}
    options = {"recurrent_structure": kind}
    if kind == "block":
        divisors = [n for n in range(1, size + 1) if size % n == 0]
        options["recurrent_blocks"] = case.kwargs.get("heads") or draw(st.sampled_from(divisors))
    if kind == "low_rank":
        options["recurrent_rank"] = draw(st.integers(1, size))
    return options, {"structure": kind}


@st.composite
def optioned(draw, case, units):
    """Options of the cell: arguments of the layer, and of the twin."""
    options, twin = draw(structured(case, units))
    if "normalization" not in case.refuses:
        options["normalization"] = twin["normalization"] = draw(st.sampled_from([None, None, "layer", "rms"]))
    if "zoneout" not in case.refuses and draw(st.booleans()):
        rate, count = st.floats(0.0, 0.9), len(case.sizes(units))
        each = st.lists(rate, min_size=count, max_size=count)
        options["zoneout"] = draw(rate if case.cell in CLOCKED else st.one_of(rate, each))
    if "use_bias" not in case.refuses:
        options["use_bias"] = draw(st.sampled_from([True, True, False]))
    if not issubclass(case.cell, MatrixCell):
        options["learn_initial_state"] = draw(st.booleans())
    return options, twin


KINDS = [None, "random", "left", "right", "empty", "lengths"]


@st.composite
def trials(draw, longest=7, exact=False):
    """A `Trial`; `exact`: with the gradient of the equations, and none of its own."""
    case = draw(varied())
    sizes = draw(sized(case, longest))
    options, twin = draw(optioned(case, sizes[-1]))
    steps = st.integers(1, longest + 2)
    memory = st.one_of(st.just("store"), st.tuples(st.sampled_from(["remat"] if exact else ["remat", "tbptt"]), steps))
    flags = ["go_backwards", "return_sequences", "return_state", "return_all_states", "zero_output_for_mask", "unroll"]
    options |= {name: draw(st.booleans()) for name in flags} | {"memory": draw(memory)}
    if not exact:
        options["recurrent_clip"] = draw(st.sampled_from([None, None, 0.1]))
    options["dtype"] = "float64" if exact and DOUBLE else draw(st.sampled_from(DTYPES))
    call = {
        "mask": draw(st.sampled_from(KINDS)),
        "resets": draw(st.booleans()),
        "deltas": case.cell.TIMED and draw(st.booleans()),
        "state": draw(st.booleans()),
        "training": draw(st.booleans()),
        "chunk": draw(st.sampled_from([1, 2, 3, 32])),
        "missing": case.name == "gru-d" and not exact and draw(st.booleans()),
    }
    return Trial(case, sizes, options, twin, call, draw(st.integers(0, 2**32 - 1)))


COMPILED = ("vanilla", "vanilla-relu", "lstm", "gru-after")
PROGRAMS = ("peephole-lstm", "nas", "rhn", "lem", "mut3", "ugrnn", "multiplicative-lstm", "minimal-rnn", "scrn")


@st.composite
def native_trials(draw):
    """A `Trial` that the native kernels take: theirs are sizes around vectors and tiles, and all around a step."""
    name = draw(st.sampled_from(draw(st.sampled_from([COMPILED, PROGRAMS]))))
    case = next(case for case in TABLE if case.name == name)
    units = draw(st.one_of(st.integers(1, 70), st.sampled_from([7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 128, 150])))
    sizes = draw(st.integers(1, 20)), draw(st.integers(1, 20)), draw(st.integers(1, 6)), units
    some, rate = st.sampled_from([0.0, 0.0, 0.3, 0.5]), st.floats(0.0, 0.9)  # more would let errors grow
    options = {
        "dropout": draw(some),
        "recurrent_dropout": draw(some),
        "recurrent_dropout_mode": draw(st.sampled_from(["sequence", "step"])),
        "zoneout": draw(st.one_of(st.just(0.0), rate, st.lists(rate, min_size=case.states, max_size=case.states))),
        "seed": draw(st.integers(0, 99)),
        "dtype": "float32",
    }
    flags = ["use_bias", "learn_initial_state", "go_backwards", "return_sequences", "return_state"]
    options |= {name: draw(st.booleans()) for name in [*flags, "return_all_states", "zero_output_for_mask"]}
    modes = ["remat", "tbptt"] if case.make(2).cell.is_projected else ["tbptt"]
    options["memory"] = draw(st.one_of(st.just("store"), st.tuples(st.sampled_from(modes), st.integers(1, 9))))
    call = {"mask": draw(st.sampled_from(KINDS)), "chunk": paths.CHUNK, "deltas": False, "missing": False}
    call |= {name: draw(st.booleans()) for name in ("resets", "state", "training")}
    return Trial(case, sizes, options, {}, call, draw(st.integers(0, 2**32 - 1)))


class Prepared:
    """A trial with its numbers: the layer, what it is called with, and what the twin makes of it.

    Attributes:
        layer: the layer, with random weights.
        arrays: `x` and, where they are given, `deltas` and states: what gradients are taken by.
        w: the weights in float64, by name.
    """

    def __init__(self, trial):
        self.trial, self.rng = trial, np.random.default_rng(trial.seed)
        batch, steps, features, units = trial.sizes
        self.case = dataclasses.replace(trial.case, features=features)
        self.dtype = trial.options["dtype"]
        self.layer = self.case.built(self.rng, features, units, **trial.options)
        for weight in self.layer.weights:
            if weight.name == "initial_n":  # a sum of positive terms, which divides
                weight.assign(abs(array(weight)) + 0.5)
        self.w = weights_of(self.layer)
        self.mask, self.call, self.arrays = None, {}, {}
        self._prepare(batch, steps, features, units)

    def _prepare(self, batch, steps, features, units):
        rng, call = self.rng, self.trial.call
        x = rng.normal(size=(batch, steps, features))
        if call["missing"]:
            x[rng.random(x.shape) < 0.3] = np.nan
        self.arrays["x"] = self._rounded(x)
        if call["deltas"]:
            self.arrays["deltas"] = self._rounded(rng.exponential(size=(batch, steps)) * (rng.random() < 0.9))
        if call["state"]:
            for i, s in enumerate(self.case.start(rng, batch, units)):
                self.arrays[f"state_{i}"] = self._rounded(s)
        if call["mask"]:
            self._prepare_mask(call["mask"], batch, steps)
        self.resets = rng.random((batch, steps)) < 0.3 if call["resets"] else None
        if call["resets"]:
            self.call["resets"] = tensor(self.resets, "bool")
        draws = self.layer.cell.draws or self.layer.cell.measures
        self.call["training"] = bool(call["training"] and not draws)

    def _prepare_mask(self, kind, batch, steps):
        lengths, places = self.rng.integers(0, steps + 1, batch), np.arange(steps)
        self.mask = {
            "random": self.rng.random((batch, steps)) < 0.6,
            "left": places >= lengths[:, None],
            "empty": np.zeros((batch, steps), bool),
        }.get(kind, places < lengths[:, None])
        named = {"lengths": tensor(lengths, "int32")} if kind == "lengths" else {"mask": tensor(self.mask, "bool")}
        self.call |= named

    def _rounded(self, a):
        return a.astype(self.dtype).astype("float64")

    def tensors(self):
        """What gradients are taken by, as tensors."""
        return tensors(self.arrays.values(), self.dtype)

    def results(self, *given):
        """The results of the layer, outputs first, from tensors in the order of `arrays`."""
        named = dict(zip(self.arrays, given, strict=True))
        x, state = named.pop("x"), [named.pop(n) for n in list(named) if n.startswith("state_")]
        sizes = {"CHUNK": self.trial.call["chunk"], "MEMORY_CHUNK": self.trial.call["chunk"]}
        with contextlib.ExitStack() as stack:
            for name, size in sizes.items():
                stack.enter_context(_replaced(paths, name, size))
            return keras.tree.flatten(self.layer(x, initial_state=state or None, **named, **self.call))

    def differentiated(self):
        """The results, and the gradients of another call by inputs and weights; in training where the trial says so."""
        self.call["training"] = self.trial.call["training"]
        results = outcome(self.results(*self.tensors()))
        cotangents = [self.rng.normal(size=a.shape) for a in results]
        found = gradients(
            lambda *given: weighted(self.results(*given), cotangents), self.tensors(), self.layer.trainable_weights
        )
        return results + found

    def expected(self, arrays, w):
        """What the twin makes of inputs and weights, in the order of `results`."""
        options, batch = self.trial.options, self.trial.sizes[0]
        own = self.case.own_state(w, batch, self.trial.sizes[-1])
        state = [arrays[n] for n in arrays if n.startswith("state_")] or own
        twin = {**self.trial.twin, "zoneout": list(getattr(self.layer.cell, "rates", ()))}
        if "deltas" in arrays:
            twin["deltas"] = arrays["deltas"]
        outputs, last, history, final = self.case.walk(
            w, arrays["x"], state, mask=self.mask, resets=self.resets, go_backwards=options["go_backwards"], **twin
        )
        if options["zero_output_for_mask"] and self.mask is not None:
            outputs = np.where(self.mask[..., None], outputs, 0.0)
        found = [outputs if options["return_sequences"] else last]
        found += self.case.told(history) if options["return_all_states"] else []
        return found + (self.case.told(final) if options["return_state"] else [])

    def meant(self, results, exp=np.exp):
        """Results with what the states mean in their place; see `Case.meaning`."""
        output, *states = results
        count = len(self.case.sizes(self.trial.sizes[-1]))
        parts = [states[i : i + count] for i in range(0, len(states), count)]
        return [output, *[s for part in parts for s in self.case.told(part, exp)]]

    def compare(self):
        """Compares the layer with the twin: no result is more exact than its inputs and weights are."""
        found = self.meant(outcome(self.results(*self.tensors())))
        with np.errstate(all="ignore"):
            wanted = self.expected(self.arrays, self.w)
            assume(all(np.isfinite(a).all() for a in wanted))
            rounding = np.finfo(self.dtype).eps
            moved = [
                {n: a * (1 + rounding * self.rng.choice([-1, 1], a.shape)) for n, a in group.items()}
                for group in (self.arrays, self.w)
            ]
            near = self.expected(*moved)
        for one, want, other in zip(found, wanted, near, strict=True):
            assert one.shape == want.shape
            if want.size:
                slack = TOLERANCE[self.dtype] * max(1.0, abs(want).max()) + 30 * abs(want - other).max()
                np.testing.assert_allclose(one, want, rtol=0, atol=slack)


@contextlib.contextmanager
def _replaced(module, name, value):
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextlib.contextmanager
def uncompiled():
    """Within this context layers run their loops step by step."""
    with contextlib.ExitStack() as stack:
        if BACKEND == "tensorflow":
            stack.enter_context(keras_rnnx.plain_loops())
        if BACKEND == "jax":
            import jax

            stack.enter_context(jax.disable_jit())
        yield
