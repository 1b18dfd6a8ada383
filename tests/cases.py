"""The table of cells: one row a cell, and what all tests need to walk it."""

import dataclasses
import inspect
import os
import re
from functools import partial

import keras
import numpy as np
import pytest
import user_cells
from keras import ops
from reference import activations, deep_transition, gru, lstm, run, vanilla

import keras_rnnx

BACKEND = keras.backend.backend()
EAGER = BACKEND == "torch"  # no loop is compiled there, and a case costs little
# JAX has float64 only where the whole process asks for it.
DOUBLE = BACKEND != "jax" or os.environ.get("JAX_ENABLE_X64") == "1"
FLOAT = "float64" if DOUBLE else "float32"
EXACT = {"rtol": 0, "atol": 1e-12 if DOUBLE else 1e-5}
SINGLE = {"rtol": 0, "atol": 1e-5}
# Central differences are good to about 1e-9 where the loss is about 1.
DIFFERENCES = {"rtol": 1e-6, "atol": 1e-7} if DOUBLE else {"rtol": 1e-4, "atol": 1e-4}

LAYER_ARGUMENTS = {n for n in inspect.signature(keras_rnnx.RNN).parameters if n != "cell"} | {"name"}


def few(values, count=1):
    """The values of a parametrized test: all where a case costs little, elsewhere the first of them."""
    return list(values) if EAGER else list(values)[:count]


def shared(values):
    """The values of a parametrized test: all where a case costs little, half of them each on TensorFlow and JAX."""
    return list(values) if EAGER else list(values)[BACKEND == "jax" :: 2]


def shape(size):
    """The size of a state as a tuple."""
    return size if isinstance(size, tuple) else (size,)


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        name: the id of the tests.
        cell: the class of the cell.
        step: the twin's step `(w, x, *states, structure=, blocks=, normalization=, left_masks=)`.
        states: how many states the cell has.
        layer: the class of the layer, or None for `RNN(cell)`.
        kwargs: arguments of the cell.
        readout: the twin's `(w, h) -> y` where the output is not the first state.
        beside: whether the output reads more than the first state: then the twin's `step` returns, after the states,
            an array for its `readout`, `(w, states, beside) -> y`.
        state_sizes: function of the units that gives the size of each state, a number or a tuple, where they are not
            all the units.
        meaning: function of the states, and `exp`, that gives what they mean, where different states mean the same.
        square: whether the recurrent matrix of each gate is square, as some structures need.
        wrong: arguments that raise ValueError, each with a word of the message.
        refuses: options of the base class that this cell refuses with a ValueError.
        kinked: names of weights in which the loss has kinks, where differences say nothing.
        units: the units of the tests where the usual number does not fit.
        features: the input features of the tests where the usual number does not fit.
    """

    name: str
    cell: type
    step: object
    states: int = 1
    layer: type | None = None
    kwargs: dict = dataclasses.field(default_factory=dict)
    readout: object = None
    beside: bool = False
    state_sizes: object = None
    meaning: object = None
    square: bool = True
    wrong: tuple = ()
    refuses: tuple = ()
    kinked: tuple = ()
    units: int | None = None
    features: int | None = None

    def __str__(self):
        return self.name

    def make(self, units=4, dtype=FLOAT, **options):
        """The layer, with options of cell and layer together."""
        options = {**self.kwargs, **options}
        if self.layer is not None:
            return self.layer(units, dtype=dtype, **options)
        mine = {n: options.pop(n) for n in list(options) if n in LAYER_ARGUMENTS}
        cell = self.cell(units, dtype=dtype, **options)
        return keras_rnnx.RNN(cell, dtype=dtype, **mine)

    def built(self, rng, features=3, units=4, **options):
        """The layer with random weights."""
        layer = self.make(units, **options)
        layer.build((None, None, self.features or features))
        return randomized(layer, rng)

    def sizes(self, units=4):
        """The size of each state."""
        return self.state_sizes(units) if self.state_sizes else [units] * self.states

    def start(self, rng, batch, units=4):
        """Random states that are not zero."""
        return [rng.normal(size=(batch, *shape(n))) * 0.5 for n in self.sizes(units)]

    def told(self, states, exp=np.exp):
        """What the states mean, to be compared."""
        return list(self.meaning(*states, exp=exp) if self.meaning else states)

    def own_state(self, w, batch, units=4):
        """The cell's own initial state: the learned one, or zeros."""
        return self._own_state(w, batch, self.sizes(units))

    def _own_state(self, w, batch, sizes):
        learned = [a for name, a in w.items() if name.startswith("initial_")]
        rest = [np.zeros(shape(n)) for n in sizes[len(learned) :]]  # a cell may leave out the last of its states
        return [np.tile(a, (batch, *[1] * a.ndim)) for a in (*learned, *rest)]

    def walk(self, w, x, state, **options):
        """The twin over a sequence: outputs (B, T, O), last output (B, O), histories, final states."""
        mine = {n: options.pop(n) for n in ("structure", "blocks", "normalization") if n in options}
        own = [s[0] for s in self._own_state(w, 1, [s.shape[1:] for s in state])]
        step = partial(self.step, w, **mine)
        if self.beside:
            return self._walk_beside(step, w, x, state, own, options)
        history, final = run(step, x, state, reset_state=own, **options)
        readout = self.readout or (lambda w, h: h)
        return readout(w, history[0]), readout(w, final[0]), history, final

    def _walk_beside(self, step, w, x, state, own, options):
        """The walk with what `readout` reads beside the states: a state that no step reads, zero at first."""
        none = np.zeros_like(step(x[:, 0], *state)[-1])

        def stepping(x, *states, **more):
            return step(x, *states[:-1], **more)

        history, final = run(stepping, x, [*state, none], reset_state=[*own, none[0]], **options)
        outputs, output = (self.readout(w, list(states[:-1]), states[-1]) for states in (history, final))
        return outputs, output, history[:-1], final[:-1]


SMALL = (
    ({"units": 0}, "units"),
    ({"units": 2.5}, "units"),
    ({"dropout": 1.0}, "dropout"),
    ({"dropout": -0.1}, "dropout"),
    ({"recurrent_dropout": 1.5}, "recurrent_dropout"),
    ({"recurrent_dropout_mode": "batch"}, "recurrent_dropout_mode"),
    ({"zoneout": 1}, "zoneout"),
    ({"zoneout": [0.1] * 5}, "zoneout"),
    ({"normalization": "batch"}, "normalization"),
    ({"recurrent_structure": "sparse"}, "recurrent_structure"),
)
VANILLA = {"cell": keras_rnnx.VanillaRNNCell, "layer": keras_rnnx.VanillaRNN}
GRU = {"cell": keras_rnnx.GRUCell, "layer": keras_rnnx.GRU}
RELU = partial(vanilla.step, activation=activations.relu)
JORDAN = partial(vanilla.step, feedback="output", output_activation=activations.sigmoid)
OUTPUT = {"output_units": 3, "output_activation": "sigmoid"}
DEEP = {"input_layers": (5,), "transition_layers": (3, 2), "output_layers": (4, 2)}


def twin_names(w):
    """`input_1_kernel` of the layer is `input_kernel_1` of the twin."""
    return {re.sub(r"^(input|transition|output)_(\d+)_(kernel|bias)$", r"\1_\3_\2", n): a for n, a in w.items()}


def deep_step(w, x, h, **options):
    options |= {"input_layers": (5,), "transition_layers": (3, 2), "shortcut": True}
    return deep_transition.step(twin_names(w), x, h, **options)


def deep_readout(w, h):
    return deep_transition.readout(twin_names(w), h, output_layers=(4, 2), output_activation=activations.sigmoid)


CASES = [
    Case(
        "vanilla",
        step=vanilla.step,
        wrong=(
            *SMALL,
            ({"output_units": 0}, "output_units"),
            ({"feedback": "both"}, "feedback"),
            ({"feedback": "output"}, "output_units"),
        ),
        **VANILLA,
    ),
    Case("vanilla-relu", step=RELU, kwargs={"activation": "relu"}, **VANILLA),
    Case(
        "elman-output",
        step=vanilla.step,
        kwargs=OUTPUT,
        readout=partial(vanilla.readout, output_activation=activations.sigmoid),
        **VANILLA,
    ),
    Case(
        "jordan",
        step=JORDAN,
        kwargs={**OUTPUT, "feedback": "output"},
        state_sizes=lambda units: [3],
        square=False,
        **VANILLA,
    ),
    Case(
        "lstm",
        cell=keras_rnnx.LSTMCell,
        step=lstm.step,
        states=2,
        layer=keras_rnnx.LSTM,
        wrong=(*SMALL, ({"zoneout": [0.1]}, "zoneout")),
    ),
    Case("gru-after", step=gru.step, wrong=SMALL, **GRU),
    Case("gru-before", step=partial(gru.step, reset_after=False), kwargs={"reset_after": False}, **GRU),
    Case(
        "deep-transition",
        cell=keras_rnnx.DeepTransitionRNNCell,
        step=deep_step,
        layer=keras_rnnx.DeepTransitionRNN,
        kwargs={**DEEP, "shortcut": True, "output_activation": "sigmoid"},
        readout=deep_readout,
        square=False,
        wrong=(
            *SMALL,
            ({"input_layers": [0]}, "input_layers"),
            ({"transition_layers": [2.5]}, "transition_layers"),
            ({"output_layers": [-1]}, "output_layers"),
            ({"transition_layers": []}, "transition_layers"),
        ),
    ),
    Case("mgu", cell=user_cells.MGUCell, step=user_cells.mgu, wrong=SMALL),
    Case("peephole", cell=user_cells.PeepholeCell, step=user_cells.peephole, states=2),
    Case("decay", cell=user_cells.DecayCell, step=user_cells.decay),
    Case("long-memory", cell=user_cells.LongMemoryCell, step=user_cells.long_memory, states=2),
]
BY_NAME = {case.name: case for case in CASES}


def each_case(**some):
    """Pairs (case, value) for a parametrized test: each value with all cases, or with those of the given names."""
    return [
        pytest.param(case, value, id=f"{value}-{case}")
        for value, names in some.items()
        for case in CASES
        if names is None or case.name in names
    ]


def randomized(layer, rng):
    """The layer, with random weights everywhere: gains near 1, variances positive, nothing zero or constant."""
    values = [rng.normal(size=w.shape) * 0.4 + (1.0 if w.name.endswith("gain") else 0.0) for w in layer.weights]
    pairs = zip(layer.weights, values, strict=True)
    layer.set_weights([abs(a) + 0.5 if w.name.endswith("variance") else a for w, a in pairs])
    return layer


def last_read(x, mask, backwards=False):
    """x (B, T, ...), in which a masked step repeats the last one read, zero before any."""
    found, now = np.zeros_like(x), np.zeros_like(x[:, 0])
    for t in range(x.shape[1])[:: -1 if backwards else 1]:
        now = np.where(mask[:, t].reshape(-1, *[1] * (x.ndim - 2)), x[:, t], now)
        found[:, t] = now
    return found


def weights_of(layer):
    """The weights in float64, by name."""
    return {w.name: np.asarray(array(w), np.float64) for w in layer.weights}


def array(tensor):
    """A tensor or variable as a NumPy array."""
    return ops.convert_to_numpy(tensor)


def tensor(value, dtype=FLOAT):
    """An array as a tensor."""
    return ops.convert_to_tensor(value, dtype)


def tensors(values, dtype=FLOAT):
    return [tensor(v, dtype) for v in values]


def outcome(results):
    """The results of a layer as a flat list of NumPy arrays."""
    return [array(r) for r in keras.tree.flatten(results)]


def weighted(results, cotangents):
    """sum_i <results_i, cotangents_i>: a loss whose gradient is the given cotangents."""
    total = 0.0
    for result, cotangent in zip(keras.tree.flatten(results), cotangents, strict=True):
        total = total + ops.sum(result * ops.cast(cotangent, result.dtype))
    return total


def gradients(loss, inputs, weights=()):
    """d loss(*inputs) / d inputs and weights, on any backend, as NumPy arrays.

    Args:
        loss: function of the tensors `inputs` that returns a scalar.
        inputs: list of tensors.
        weights: list of Keras variables.
    """
    weights = list(weights)
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = loss(*inputs)
        none = tf.UnconnectedGradients.ZERO  # which wants TensorFlow's own variables
        found = tape.gradient(value, [*inputs, *[w.value for w in weights]], unconnected_gradients=none)
    elif BACKEND == "jax":
        import jax

        def pure(inputs, values):
            with keras.StatelessScope(state_mapping=list(zip(weights, values, strict=True))):
                return loss(*inputs)

        found = jax.jit(jax.grad(pure, argnums=(0, 1)))(list(inputs), [w.value for w in weights])
        found = [*found[0], *found[1]]
    else:
        import torch

        inputs = [i.detach().requires_grad_() for i in inputs]
        leaves = [*inputs, *[w.value for w in weights]]
        found = torch.autograd.grad(loss(*inputs), leaves, allow_unused=True)
        found = [torch.zeros_like(a) if f is None else f for f, a in zip(found, leaves, strict=True)]
    return [array(g) for g in found]
