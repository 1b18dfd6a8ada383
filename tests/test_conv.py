"""Convolutional cells: their papers, Keras' layers of the same names, and the contract that all layers keep.

Equations, gradients and Keras' layers are checked on every backend; the rest, which is the same code above the engine,
on torch, whose loop needs no compilation.
"""

import dataclasses
import functools
import json

import keras
import numpy as np
import pytest
from cases import (
    BACKEND,
    DIFFERENCES,
    EXACT,
    FLOAT,
    SINGLE,
    array,
    few,
    gradients,
    last_read,
    outcome,
    randomized,
    tensor,
    tensors,
    weighted,
    weights_of,
)
from keras import ops
from reference import conv_gru, conv_lstm, run

import keras_rnnx

pytestmark = [pytest.mark.every_backend]
core = pytest.mark.core

B, T, C, F = 3, 5, 2, 3
ALL = {"return_sequences": True, "return_state": True}
# The last row has no valid step; a mark on a masked step counts.
MASK = np.array([[1, 0, 1, 1, 1], [0, 1, 1, 0, 1], [0] * T], bool)
RESETS = np.array([[0, 1, 0, 0, 1], [1, 0, 0, 1, 0], [0, 0, 0, 1, 0]], bool)
WAYS = {
    "valid": {},
    "same": {"padding": "same"},
    "strides": {"strides": 2, "padding": "same"},
    "dilation": {"dilation_rate": 2, "padding": "same"},
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A layer of convolutional cells.

    Attributes:
        name: the id of the tests.
        layer: the class of the layer.
        step: the twin's step on one map.
        states: how many states there are.
        space: the size of the maps.
        kernel_size: the size of the window.
        kwargs: further arguments of the cell, which the twin takes, too.
    """

    name: str
    layer: type
    step: object
    states: int
    space: tuple
    kernel_size: object
    kwargs: dict = dataclasses.field(default_factory=dict)

    def __str__(self):
        return self.name

    def make(self, **options):
        return self.layer(F, self.kernel_size, **{"dtype": FLOAT, **self.kwargs, **options})

    def built(self, rng, **options):
        layer = self.make(**options)
        layer.build((B, None, *self.space, C))
        return randomized(layer, rng)

    def like(self, layer, **options):
        """A layer with other options and the weights of a built one."""
        other = self.make(**options)
        other.build((B, None, *self.space, C))
        other.set_weights(layer.get_weights())
        return other

    def data(self, layer, rng):
        """Inputs, and states that are not zero."""
        sizes = layer.cell.state_sizes()
        return rng.normal(size=(B, T, *self.space, C)), [rng.normal(size=(B, *n)) * 0.5 for n in sizes]

    def twin(self, layer, w=None):
        """The twin's step `(x, *states)` on one map, with the weights of a layer."""
        cell, w = layer.cell, weights_of(layer) if w is None else w
        config = {"strides": cell.strides, "padding": cell.padding, "dilation": cell.dilation_rate, **self.kwargs}
        return functools.partial(self.step, w, kernel_size=cell.kernel_size, **config)


KINDS = [
    Kind("lstm-1d", keras_rnnx.ConvLSTM1D, conv_lstm.step, 2, (6,), 3),
    Kind("lstm-2d", keras_rnnx.ConvLSTM2D, conv_lstm.step, 2, (5, 4), (3, 2)),
    Kind("lstm-3d", keras_rnnx.ConvLSTM3D, conv_lstm.step, 2, (3, 2, 3), (2, 1, 3)),
    Kind("peephole-lstm-2d", keras_rnnx.ConvLSTM2D, conv_lstm.step, 2, (5, 4), (3, 2), {"peepholes": True}),
    Kind("gru-1d", keras_rnnx.ConvGRU1D, conv_gru.step, 1, (6,), 2),
    Kind("gru-2d", keras_rnnx.ConvGRU2D, conv_gru.step, 1, (5, 4), (2, 3)),
    Kind("gru-3d", keras_rnnx.ConvGRU3D, conv_gru.step, 1, (3, 2, 3), (2, 1, 3)),
]
PEEPHOLE, GRU = KINDS[3], KINDS[5]
each = pytest.mark.parametrize("kind", KINDS, ids=str)
# Where loops need no compilation.
TORCH = BACKEND == "torch"
some_eager = pytest.mark.parametrize("kind", [PEEPHOLE, GRU] if TORCH else [], ids=str)
each_way = pytest.mark.parametrize("way", WAYS if TORCH else ["valid"])


def flags(mask=MASK, resets=RESETS):
    return {"mask": tensor(mask, "bool"), "resets": tensor(resets, "bool")}


def check(found, wanted, tolerance=EXACT):
    for one, want in zip(found, wanted, strict=True):
        assert one.shape == want.shape
        np.testing.assert_allclose(one, want, **tolerance)


def everything(layer, arrays, turned=np.array, **call):
    """The results of a call on inputs and perhaps states, and the gradients of those and of the weights.

    The loss is the same function of the results whether arrays have the channels last or are `turned`.
    """

    def results(x, *state):
        return layer(x, **{"initial_state": list(state)} if state else {}, **call)

    found, draws = outcome(results(*tensors(arrays))), np.random.default_rng(3)
    shapes = [a.shape if turned is np.array else np.moveaxis(a, -3, -1).shape for a in found]
    cotangents = [turned(draws.normal(size=shape)) for shape in shapes]
    made = gradients(lambda *a: weighted(results(*a), tensors(cotangents)), tensors(arrays), layer.trainable_weights)
    return [*found, *made]


def first(a):
    """Maps with the channels last, (..., rows, columns, channels), with the channels first."""
    return np.moveaxis(a, -1, -3)


# ---- equations ----


@core
@each
@each_way
def test_equations(kind, way, rng):
    """Outputs, every state at every step and final states, with masked steps and documents."""
    layer = kind.built(rng, return_all_states=True, **ALL, **WAYS[way])
    x, state = kind.data(layer, rng)
    history, final = run(kind.twin(layer), x, state, mask=MASK, resets=RESETS)
    found = layer(tensor(x), initial_state=tensors(state), **flags())
    check(outcome(found), [history[0], *history, *final])


@core
@pytest.mark.parametrize("kind", few([PEEPHOLE, GRU, *[k for k in KINDS if k not in (PEEPHOLE, GRU)]], 2), ids=str)
def test_differences(kind, rng):
    """The gradients of inputs, states and weights along a random direction, against differences of the twin."""
    layer = kind.built(rng, **ALL)
    x, state = kind.data(layer, rng)
    x, w = x[:, :3], weights_of(layer)
    names = list(w)
    history, final = run(kind.twin(layer), x, state)
    cotangents = [rng.normal(size=a.shape) for a in (history[0], *final)]

    def twin_loss(x, *rest):
        now = dict(zip(names, rest[kind.states :], strict=True))
        history, final = run(kind.twin(layer, now), x, list(rest[: kind.states]))
        return sum((a * c).sum() for a, c in zip((history[0], *final), cotangents, strict=True))

    def loss(x, *state):
        return weighted(layer(x, initial_state=list(state), training=True), tensors(cotangents))

    arrays = [x, *state, *w.values()]
    found = gradients(loss, tensors([x, *state]), layer.trainable_weights)
    for i, gradient in enumerate(found):
        way, sides = rng.normal(size=arrays[i].shape), []
        way /= np.linalg.norm(way)
        for sign in (1, -1):
            sides.append(twin_loss(*arrays[:i], arrays[i] + sign * 1e-5 * way, *arrays[i + 1 :]))
        np.testing.assert_allclose((gradient * way).sum(), (sides[0] - sides[1]) / 2e-5, **DIFFERENCES)


@core
@pytest.mark.parametrize("kind", KINDS[:3], ids=str)
@each_way
def test_keras_layer(kind, way, rng):
    """Outputs, states and gradients of Keras' layer with the same weights, and equal weights at the start."""
    name = kind.layer.__name__
    theirs = getattr(keras.layers, name)(F, kind.kernel_size, dtype=FLOAT, **ALL, **WAYS[way])
    ours = kind.make(**ALL, **WAYS[way])
    for layer in (theirs, ours):
        layer.build((B, T, *kind.space, C))
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    np.testing.assert_array_equal(array(ours.weights[2]), array(theirs.weights[2]))
    theirs.set_weights(randomized(ours, rng).get_weights())
    x = rng.normal(size=(B, T, *kind.space, C))
    check(everything(ours, [x]), everything(theirs, [x]), {"rtol": 1e-5, "atol": 1e-5})


@core
@pytest.mark.parametrize("kind", [PEEPHOLE, GRU] if TORCH else [PEEPHOLE], ids=str)
def test_channels_first(kind, rng):
    """The same numbers, transposed: outputs, states and gradients, with documents and a learned start."""
    options = {"learn_initial_state": True, "return_all_states": True, **ALL}
    last = kind.built(rng, data_format="channels_last", **options)
    other = kind.make(data_format="channels_first", **options)
    other.build((B, None, C, *kind.space))
    other.set_weights(last.get_weights())
    x, state = kind.data(last, rng)
    maps, weights = [], []
    for layer, turned in ((last, np.array), (other, first)):
        one = outcome(layer.cell(tensor(turned(x[:, 0])), [tensor(turned(s)) for s in state]))
        learned = outcome(layer(tensor(turned(x)), **flags()))
        made = everything(layer, [turned(x), *map(turned, state)], turned, **flags())
        maps.append([*one, *learned, *made[: -len(layer.weights)]])
        weights.append(made[-len(layer.weights) :])
    assert [tuple(s) for s in other.cell.state_size] == [first(s[0]).shape for s in state]
    check(maps[1], [first(a) for a in maps[0]])
    check(*weights)


# ---- masks, documents, carried states ----


@some_eager
def test_masked_steps_are_not_there(kind, rng):
    """Each row by itself, without its masked steps, gives the same; they repeat what stood before them."""
    layer = kind.built(rng, **ALL)
    x, state = kind.data(layer, rng)
    y, *final = outcome(layer(tensor(x), initial_state=tensors(state), mask=tensor(MASK, "bool")))
    for b in range(B):
        before = state[0][b]
        if MASK[b].any():
            alone = outcome(layer(tensor(x[b : b + 1, MASK[b]]), initial_state=[tensor(s[b : b + 1]) for s in state]))
            check([y[b : b + 1, MASK[b]], *(s[b : b + 1] for s in final)], alone)
        for t in range(T):
            if not MASK[b, t]:
                np.testing.assert_array_equal(y[b, t], before)
            before = y[b, t]
    (gradient,) = gradients(lambda x: ops.sum(layer(x, mask=tensor(MASK, "bool"))[0]), [tensor(x)])
    assert not gradient[~MASK].any() and np.abs(gradient[MASK]).min() > 0
    by_length = layer(tensor(x), initial_state=tensors(state), lengths=tensor([T, 2, 0], "int32"))
    within = np.arange(T)[None] < np.array([[T], [2], [0]])
    check(outcome(by_length), outcome(layer(tensor(x), initial_state=tensors(state), mask=tensor(within, "bool"))))


@some_eager
def test_backwards(kind, rng):
    layer = kind.built(rng, go_backwards=True, return_all_states=True, zero_output_for_mask=True, **ALL)
    x, state = kind.data(layer, rng)
    history, final = run(kind.twin(layer), x, state, mask=MASK, resets=RESETS, go_backwards=True)
    found = layer(tensor(x), initial_state=tensors(state), **flags())
    output = np.where(MASK.reshape(B, T, *[1] * (history[0].ndim - 2)), history[0], 0)
    check(outcome(found), [output, *history, *final])


@some_eager
def test_carried_states_are_one_run(kind, rng):
    """Two calls, a stateful layer, and one step at a time by the cell, against one call."""
    layer = kind.built(rng, **ALL)
    x, state = kind.data(layer, rng)
    y, *final = outcome(layer(tensor(x), initial_state=tensors(state)))
    start = layer(tensor(x[:, :2]), initial_state=tensors(state))
    rest = layer(tensor(x[:, 2:]), initial_state=list(start[1:]))
    check([np.concatenate([array(start[0]), array(rest[0])], 1), *outcome(rest[1:])], [y, *final])
    steps, now = [], tensors(state)
    for t in range(T):
        output, now = layer.cell(tensor(x[:, t]), now)
        steps.append(array(output))
    check([np.stack(steps, 1), *outcome(now)], [y, *final])
    kept = kind.like(layer, stateful=True, return_sequences=True)
    halves = [array(kept(tensor(part))) for part in (x[:, :2], x[:, 2:])]
    whole = array(layer(tensor(x))[0])
    check([np.concatenate(halves, 1)], [whole])
    kept.reset_state()
    check([array(kept(tensor(x[:, :2])))], [whole[:, :2]])


# ---- modes of the loop and of the gradient ----


@some_eager
@pytest.mark.parametrize("options", [{"memory": ("remat", 2)}, {"unroll": True}], ids=["remat", "unroll"])
def test_modes_with_the_same_gradient(kind, options, rng):
    layer = kind.built(rng, return_all_states=True, **ALL)
    x, state = kind.data(layer, rng)
    other = kind.like(layer, return_all_states=True, **options, **ALL)
    check(everything(other, [x, *state], **flags()), everything(layer, [x, *state], **flags()))


@some_eager
def test_truncated_and_clipped_gradients(kind, rng):
    layer = kind.built(rng)
    x, _ = kind.data(layer, rng)
    cut = kind.like(layer, memory=("tbptt", 3))
    (gradient,) = gradients(lambda x: ops.sum(cut(x)), [tensor(x)])
    assert not gradient[:, :3].any() and np.abs(gradient[:, 3:]).min() > 0
    found = {}
    for clip in (None, 1e9, 1e-9):
        clipped = kind.like(layer, recurrent_clip=clip)
        np.testing.assert_array_equal(array(clipped(tensor(x))), array(layer(tensor(x))))
        (found[clip],) = gradients(lambda x, clipped=clipped: ops.sum(clipped(x)), [tensor(x)])
    check([found[1e9]], [found[None]])
    assert np.abs(found[1e-9][:, :-1]).max() < 1e-6 < np.abs(found[1e-9][:, -1]).min()


# ---- options of the cell ----


@some_eager
def test_zoneout(kind, rng, monkeypatch):
    rates = [0.3, 0.0][: kind.states]
    layer = kind.built(rng, zoneout=rates, seed=3, return_all_states=True, **ALL)
    x, state = kind.data(layer, rng)
    history, final = run(kind.twin(layer), x, state, zoneout=rates)
    check(outcome(layer(tensor(x), initial_state=tensors(state))), [history[0], *history, *final])
    drawn, original = [], keras.random.uniform

    def recording(*args, **kwargs):
        drawn.append(array(original(*args, **kwargs)))
        return tensor(drawn[-1], "float32")

    monkeypatch.setattr(keras.random, "uniform", recording)
    found = outcome(layer(tensor(x), initial_state=tensors(state), training=True))
    draws = [np.moveaxis(drawn[0], 1, 0) < 0.3, None][: kind.states]
    assert draws[0].shape == history[0].shape
    history, final = run(kind.twin(layer), x, state, zoneout=rates, zoneout_draws=draws, training=True)
    check(found, [history[0], *history, *final])


@some_eager
@pytest.mark.parametrize("mode", ["sequence", "step"] if TORCH else ["step"])
def test_dropout(kind, mode, rng, monkeypatch):
    """Masks of the shape of a map: on the inputs, and on each left operand for a sequence or for each step."""
    drawn, original = [], keras.random.dropout

    def recording(*args, **kwargs):
        drawn.append(array(original(*args, **kwargs)))
        return tensor(drawn[-1])

    monkeypatch.setattr(keras.random, "dropout", recording)
    options = {"dropout": 0.4, "recurrent_dropout": 0.5, "recurrent_dropout_mode": mode, "seed": 3}
    layer = kind.built(rng, **options, **ALL)
    x, state = kind.data(layer, rng)
    found = outcome(layer(tensor(x), initial_state=tensors(state), training=True))
    inputs, *keep = drawn
    assert inputs.shape == (1, B, *kind.space, C) and {k.shape[-4:] for k in keep} == {state[0].shape}
    keep = [np.moveaxis(k, 1, 0) if mode == "step" else np.repeat(k[:, None], T, 1) for k in keep]
    history, final = run(kind.twin(layer), x * inputs[0][:, None], state, left_masks=keep)
    check(found, [history[0], *final])
    with pytest.raises(ValueError, match="whole sequence"):
        layer.cell(tensor(x[:, 0]), tensors(state), training=True)


@some_eager
def test_learned_start(kind, rng):
    """A weight of the shape of the state, for rows and documents; its gradient is the sum of theirs."""
    layer = kind.built(rng, learn_initial_state=True, **ALL)
    x, state = kind.data(layer, rng)
    learned = [array(w) for w in layer.weights if w.name.startswith("initial_")]
    assert [a.shape for a in learned] == [s.shape[1:] for s in state]
    rows = [np.repeat(a[None], B, 0) for a in learned]
    history, final = run(kind.twin(layer), x, rows, resets=RESETS, reset_state=learned)
    check(outcome(layer(tensor(x), resets=tensor(RESETS, "bool"))), [history[0], *final])
    weights = [w for w in layer.weights if w.name.startswith("initial_")]
    found = gradients(lambda x: ops.sum(layer(x)[0]), [tensor(x)], weights)[1:]
    wanted = gradients(lambda *s: ops.sum(layer(tensor(x), initial_state=list(s))[0]), tensors(rows))
    check(found, [a.sum(0) for a in wanted])


@core
@some_eager
def test_half_precision_keeps_states_in_float32(kind, rng):
    half, single = kind.built(rng, dtype="mixed_bfloat16", **ALL), kind.make(dtype="float32", **ALL)
    single.build((B, None, *kind.space, C))
    single.set_weights(half.get_weights())
    x = rng.normal(size=(B, T, *kind.space, C))
    y, *states = half(tensor(x, "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(s.dtype) for s in states} == {"float32"}
    exact = array(single(tensor(x, "float32"))[0])
    assert np.abs(array(ops.cast(y, "float32")) - exact).max() < 0.1 * np.abs(exact).max() + 0.05


# ---- models ----


@some_eager
@pytest.mark.parametrize("form", ["channels_last", "channels_first"] if TORCH else ["channels_first"])
def test_both_directions(kind, form, rng):
    turned = first if form == "channels_first" else np.array
    both = keras_rnnx.Bidirectional(kind.make(data_format=form, **ALL), dtype=FLOAT)
    x = turned(rng.normal(size=(B, T, *kind.space, C)))
    spec = both(keras.Input(x.shape[1:], batch_size=B, dtype=FLOAT))
    randomized(both, rng)
    call = flags(resets=np.zeros((B, T), bool))
    y, *states = outcome(both(tensor(x), **call))
    assert [tuple(s.shape) for s in spec] == [a.shape for a in (y, *states)]
    forward, backward = both.forward_layer(tensor(x), **call), both.backward_layer(tensor(x), **call)
    check(states, outcome([*forward[1:], *backward[1:]]))
    axis = 2 if form == "channels_first" else -1
    halves = np.split(y, 2, axis)
    check(halves[:1], [array(forward[0])])
    made = array(backward[0])  # in the order of processing
    for b in range(B):
        check([halves[1][b, MASK[b]][::-1]], [made[b, MASK[b]]])


@core
@pytest.mark.parametrize("residual", [None, "sum", "highway", "dense"] if TORCH else ["highway"])
@pytest.mark.parametrize("form", ["channels_last", "channels_first"] if TORCH else ["channels_last"])
def test_stack(residual, form, rng):
    """The same as its levels, called one after the other, with the skips written out."""
    turned, axis = (first, 2) if form == "channels_first" else (np.array, -1)
    cells = [
        keras_rnnx.ConvGRU2DCell(F, 3, padding="same", data_format=form, dtype=FLOAT),
        keras_rnnx.ConvLSTM2DCell(F, 2, padding="same", data_format=form, dtype=FLOAT),
    ]
    options = {"residual": residual, "dtype": FLOAT, "return_sequences": True, "return_state": True}
    stack = keras_rnnx.DeepRNN(cells, **options)
    x = turned(rng.normal(size=(B, T, 4, 3, C)))
    spec = stack(keras.Input((None, *x.shape[2:]), batch_size=B, dtype=FLOAT))
    randomized(stack, rng)
    y, *states = outcome(stack(tensor(x), mask=tensor(MASK, "bool")))
    assert tuple(spec[0].shape) == (B, None, *y.shape[2:])
    a, wanted = last_read(x, MASK) if residual else x, []
    for n, level in enumerate(stack.levels):
        made, *final = outcome(level(tensor(a), mask=tensor(MASK, "bool")))
        wanted += final
        if residual == "dense":
            a = np.concatenate([a, made], axis)
        elif n and residual == "sum":
            a = a + made
        elif n and residual == "highway":
            kernel, bias = (array(w) for w in stack.weights if "highway" in w.path)
            s = np.moveaxis(1 / (1 + np.exp(-np.moveaxis(a, axis, -1) @ kernel - bias)), -1, axis)
            a = s * made + (1 - s) * a
        else:
            a = made
    check([y, *states], [a, *wanted], SINGLE if residual == "highway" else EXACT)  # Keras' Dense is single on torch
    if residual:
        last = keras_rnnx.DeepRNN(cells, **{**options, "return_sequences": False, "return_state": False})
        last.build(x.shape)
        last.set_weights(stack.get_weights())
        steps = [np.flatnonzero(row)[-1] if row.any() else T - 1 for row in MASK]
        check([array(last(tensor(x), mask=tensor(MASK, "bool")))], [y[np.arange(B), steps]])


@pytest.mark.parametrize("form", ["channels_last", "channels_first"] if TORCH else [])
def test_list_of_cells(form, rng):
    """One layer of several cells is those layers, one after the other, in both directions, too."""
    turned, axis = (first, 2) if form == "channels_first" else (np.array, -1)
    options = {"data_format": form, "dtype": FLOAT}
    cells = [keras_rnnx.ConvGRU2DCell(F, 2, **options), keras_rnnx.ConvLSTM2DCell(C, 3, padding="same", **options)]
    both = keras_rnnx.Bidirectional(keras_rnnx.RNN(cells, dtype=FLOAT, **ALL), dtype=FLOAT)
    x = turned(rng.normal(size=(B, T, 5, 4, C)))
    spec = both(keras.Input(x.shape[1:], batch_size=B, dtype=FLOAT))
    randomized(both, rng)
    y, *states = outcome(both(tensor(x), mask=tensor(MASK, "bool")))
    assert [tuple(s.shape) for s in keras.tree.flatten(spec)] == [a.shape for a in (y, *states)]
    a, wanted = tensor(x), []
    for cell in both.forward_layer.cell.cells:
        a, *final = keras_rnnx.RNN(cell, dtype=FLOAT, **ALL)(a, mask=tensor(MASK, "bool"))
        wanted += outcome(final)
    check([np.split(y, 2, axis)[0], *states[:3]], [array(a), *wanted])


def test_a_stack_of_shrinking_maps(rng):
    cells = [keras_rnnx.ConvGRU2DCell(F, 2, dtype=FLOAT), keras_rnnx.ConvGRU2DCell(C, 2, dtype=FLOAT)]
    stack = keras_rnnx.DeepRNN(cells, residual="sum", bidirectional=True, dtype=FLOAT)
    x = tensor(rng.normal(size=(B, T, 5, 4, C)))
    assert tuple(stack(x).shape) == (B, 3, 2, 2 * C)
    with pytest.raises(ValueError, match="Expected outputs that differ in their features alone.*Received: "):
        keras_rnnx.DeepRNN(cells[0], 2, residual="dense", dtype=FLOAT).build((B, T, 5, 4, C))


@core
@pytest.mark.parametrize("kind", [PEEPHOLE, GRU, KINDS[0]] if TORCH else [PEEPHOLE], ids=str)
def test_saved_model(kind, tmp_path, rng):
    """A model of any length, trained for a step, saved and loaded; and its configuration."""
    inputs = keras.Input((None, *kind.space, C))
    options = {"recurrent_dropout": 0.2, "zoneout": 0.1, "seed": 1, "kernel_regularizer": "l2"}
    layer = kind.make(dtype="float32", return_sequences=True, **options)
    outputs = keras_rnnx.Bidirectional(layer)(inputs)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((-1, 2 * F))(outputs)))
    model.compile("sgd", "mse")
    x = np.float32(rng.normal(size=(B, T, *kind.space, C)))
    model.fit(x, np.ones((B, 2 * F), "float32"), verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    for steps in (T, 2):
        y = model.predict(x[:, :steps], verbose=0)
        assert np.isfinite(y).all()
        np.testing.assert_allclose(again.predict(x[:, :steps], verbose=0), y, **SINGLE)
    config = json.loads(json.dumps(layer.get_config()))
    assert {"units", "normalization", "projection_units"}.isdisjoint(config)
    assert type(layer).from_config(config).get_config() == layer.get_config()


@core
def test_arguments_and_weights_of_keras(rng):
    """Positional arguments in Keras' order, and weights by name."""
    arguments = (F, (3, 2), (1, 2), "SAME", "channels_last", (1, 1), "relu", "tanh", False)
    ours, theirs = (module.ConvLSTM2D(*arguments) for module in (keras_rnnx, keras.layers))
    for layer in (ours, theirs):
        layer.build((B, T, 4, 5, C))
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    config = theirs.get_config()
    mine = ours.get_config()
    for name in ("filters", "padding", "data_format", "activation", "recurrent_activation", "use_bias"):
        assert mine[name] == config[name]
    for name in ("kernel_size", "strides", "dilation_rate"):
        assert tuple(mine[name]) == tuple(config[name]) == tuple(getattr(ours, name))
    ours.set_weights(randomized(theirs, rng).get_weights())
    x = tensor(rng.normal(size=(B, T, 4, 5, C)), "float32")
    np.testing.assert_allclose(array(ours(x)), array(theirs(x)), rtol=1e-5, atol=1e-5)


# ---- errors ----


@core
@pytest.mark.parametrize("layer", [keras_rnnx.ConvLSTM2D, keras_rnnx.ConvGRU2D])
@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"filters": 0}, "filters"),
        ({"kernel_size": (3,)}, "kernel_size"),
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": 2.5}, "kernel_size"),
        ({"strides": (1, 2, 1)}, "strides"),
        ({"dilation_rate": 0}, "dilation_rate"),
        ({"strides": 2, "dilation_rate": 2}, "dilation_rate"),
        ({"padding": "causal"}, "padding"),
        ({"padding": 1}, "padding"),
        ({"data_format": "NCHW"}, "data_format"),
        ({"units": 3}, "units"),
        ({"normalization": "layer"}, "normalization"),
        ({"recurrent_structure": "diagonal"}, "recurrent_structure"),
        ({"recurrent_blocks": 1}, "recurrent_blocks"),
        ({"recurrent_dropout": 1.0}, "recurrent_dropout"),
        ({"zoneout": [0.1] * 3}, "zoneout"),
    ],
)
def test_wrong_arguments(layer, arguments, word):
    with pytest.raises(ValueError, match=f"Expected .*{word}.*Received: "):
        layer(**{"filters": F, "kernel_size": 2, **arguments})


@core
def test_no_projection():
    with pytest.raises(ValueError, match="Expected no `projection_units`"):
        keras_rnnx.ConvLSTM2D(F, 2, projection_units=2)


@core
@pytest.mark.parametrize(
    "shape, form, word",
    [
        ((B, T, C), "channels_last", r"\(batch, time, rows, columns, channels\)"),
        ((B, T, 4, C), "channels_first", r"\(batch, time, channels, rows, columns\)"),
        ((B, T, None, 4, C), "channels_last", r"\(batch, rows, columns, channels\), all known"),
        ((B, T, 4, 4, None), "channels_last", r"\(batch, rows, columns, channels\), all known"),
        ((B, T, 4, 2, C), "channels_last", r"window \(3, 3\)"),
    ],
)
def test_wrong_shapes(shape, form, word):
    layer = keras_rnnx.ConvGRU2D(F, 3, data_format=form)
    with pytest.raises(ValueError, match=f"Expected .*{word}.*Received: "):
        layer.build(shape)


@core
def test_wrong_calls(rng):
    layer = GRU.built(rng)
    with pytest.raises(ValueError, match=r"Expected steps of shape \(5, 4, 2\).*Received: "):
        layer(tensor(rng.normal(size=(B, T, 5, 5, C))))
    with pytest.raises(ValueError, match=r"\(batch, time, rows, columns, channels\).*Received: "):
        layer(tensor(rng.normal(size=(B, T, C))))
    x = tensor(rng.normal(size=(B, T, *GRU.space, C)))
    with pytest.raises(ValueError, match="Expected `initial_state` of shapes.*Received: "):
        layer(x, initial_state=[tensor(np.zeros((B, F)))])
    with pytest.raises(ValueError, match="Expected no `deltas`"):
        layer(x, deltas=tensor(np.ones((B, T))))
