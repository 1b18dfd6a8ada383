"""Cells with a matrix memory: the same numbers however the steps are cut into chunks, masked or carried over.

Chunks, their gradients and varying lengths are checked on every backend; the rest, which is the same code above the
engine, on torch, whose loop needs no compilation.
"""

import dataclasses

import keras
import numpy as np
import pytest
from cases import BACKEND, DOUBLE, FLOAT, SINGLE, array, few, gradients, outcome, randomized, tensor, tensors, weighted
from keras import ops

import keras_rnnx
from keras_rnnx.engine import paths

pytestmark = [pytest.mark.every_backend]
core = pytest.mark.core

B, T, D, H = 3, 7, 3, 4
EXACT = {"rtol": 0, "atol": 1e-10 if DOUBLE else 1e-4}
ALL = {"return_sequences": True, "return_state": True}
# The last row has no valid step; a mark on a masked step counts.
MASK = np.array([[1, 0, 1, 1, 1, 0, 1], [0, 1, 1, 0, 1, 1, 0], [0] * T], bool)
RESETS = np.array([[0, 1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]], bool)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A cell and its arguments.

    Attributes:
        name: the id of the tests.
        layer: the class of the layer.
        kwargs: arguments of the cell.
    """

    name: str
    layer: type
    kwargs: dict

    def __str__(self):
        return self.name

    def make(self, **options):
        return self.layer(H, **{"heads": 2, "dtype": FLOAT, **self.kwargs, **options})

    def built(self, rng, **options):
        layer = self.make(**options)
        layer.build((B, None, D))
        return randomized(layer, rng)


KINDS = [
    Kind("mlstm", keras_rnnx.MLSTM, {"key_units": 3}),
    Kind("mlstm-exp", keras_rnnx.MLSTM, {"forget_gate": "exp"}),
    Kind("gla", keras_rnnx.GLA, {"key_units": 3, "rank": 2, "tau": 2.0}),
    Kind("retnet", keras_rnnx.RetNet, {"key_units": 6, "use_bias": True}),
    Kind("delta-net", keras_rnnx.DeltaNet, {"key_units": 3, "window": 1, "use_bias": True}),
    Kind("gated-delta-net", keras_rnnx.GatedDeltaNet, {"key_units": 3}),
]
each = pytest.mark.parametrize("kind", KINDS, ids=str)
# Where loops need no compilation.
each_eager = pytest.mark.parametrize("kind", KINDS if BACKEND == "torch" else [], ids=str)


def start(layer, rng):
    """Random states that are not empty."""
    return [rng.normal(size=(B, *s.shape[1:])) for s in layer.cell.get_initial_state(1)]


def flags(mask=MASK, resets=RESETS):
    return {"mask": tensor(mask, "bool"), "resets": tensor(resets, "bool")}


def check(found, wanted):
    for one, want in zip(found, wanted, strict=True):
        assert one.shape == want.shape
        np.testing.assert_allclose(one, want, **EXACT)


# ---- time cut into pieces ----


@core
@each
@pytest.mark.parametrize("back", [False, True] if BACKEND == "torch" else [False], ids=lambda b: f"back-{b}")
def test_chunks_are_single_steps(kind, back, rng, monkeypatch):
    """Outputs, final states and all gradients, with masks and documents."""
    layer = kind.built(rng, go_backwards=back, **ALL)
    x, state = rng.normal(size=(B, T, D)), start(layer, rng)
    made, cotangents = [], None

    def loss(x, *state):
        results = layer(x, initial_state=list(state), training=True, **flags())
        return weighted(results, tensors(cotangents))

    for size in (1, 3, 32) if BACKEND == "torch" else (1, 3):
        monkeypatch.setattr(paths, "MEMORY_CHUNK", size)
        results = outcome(layer(tensor(x), initial_state=tensors(state), **flags()))
        cotangents = cotangents or [rng.normal(size=a.shape) for a in results]
        made.append([*results, *gradients(loss, tensors([x, *state]), layer.trainable_weights)])
    for other in made[1:]:
        check(other, made[0])
    assert all(np.isfinite(a).all() for a in made[0])


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled there")
@pytest.mark.parametrize("kind", [k for k in KINDS if k.name in ("mlstm", "gla", "gated-delta-net")], ids=str)
def test_what_surrounds_the_loop_compiled_is_the_same(kind, rng, monkeypatch):
    monkeypatch.setattr(paths, "MEMORY_CHUNK", 3)
    layer = kind.built(rng, return_sequences=True)
    x, cotangent, made = rng.normal(size=(B, T, D)), rng.normal(size=(B, T, H)), []
    for chunks in (T, 0):
        monkeypatch.setattr(paths, "FEW_CHUNKS", chunks)

        def run(x):
            return layer(x, training=True, **flags())

        def loss(x, run=run):
            return ops.sum(run(x) * tensor(cotangent))

        made.append([array(run(tensor(x))), *gradients(loss, tensors([x]), layer.trainable_weights)])
    check(made[1], made[0])


@core
@each_eager
def test_carried_states_are_one_run(kind, rng):
    """Two calls, and one step at a time by the cell, against one call; and every state on the way."""
    layer = kind.built(rng, **ALL)
    x, state = rng.normal(size=(B, T, D)), tensors(start(layer, rng))
    y, *final = outcome(layer(tensor(x), initial_state=state))
    first = layer(tensor(x[:, :3]), initial_state=state)
    second = layer(tensor(x[:, 3:]), initial_state=list(first[1:]))
    check([np.concatenate([array(first[0]), array(second[0])], 1), *outcome(second[1:])], [y, *final])
    steps, history, now = [], [], state
    for t in range(T):
        output, now = layer.cell(tensor(x[:, t]), now)
        steps.append(array(output))
        history.append([array(s) for s in now])
    check([np.stack(steps, 1), *history[-1]], [y, *final])
    every = kind.make(return_all_states=True, **ALL)
    every.build((B, None, D))
    every.set_weights(layer.get_weights())
    found = outcome(every(tensor(x), initial_state=state))
    check(found, [y, *(np.stack(s, 1) for s in zip(*history, strict=True)), *final])


@each_eager
def test_stateful(kind, rng):
    layer = kind.built(rng, stateful=True, return_sequences=True)
    x = rng.normal(size=(B, 6, D))
    halves = [array(layer(tensor(part))) for part in (x[:, :3], x[:, 3:])]
    layer.reset_state()
    again = array(layer(tensor(x[:, :3])))
    plain = kind.make(return_sequences=True)
    plain.build((B, None, D))
    plain.set_weights(layer.get_weights())
    check([np.concatenate(halves, 1), again], [array(plain(tensor(x))), halves[0]])


# ---- masks and documents ----


@core
@each_eager
def test_masked_steps_are_not_there(kind, rng):
    """The valid steps of each row, moved to its front, give the same outputs; the others repeat them."""
    layer = kind.built(rng, return_all_states=True, **ALL)
    x, state = rng.normal(size=(B, T, D)), start(layer, rng)
    lengths = MASK.sum(1)
    order = np.argsort(~MASK, axis=1, kind="stable")
    front = np.take_along_axis(x, order[:, :, None], 1)
    count = len(state)
    found = outcome(layer(tensor(x), initial_state=tensors(state), mask=tensor(MASK, "bool")))
    wanted = outcome(layer(tensor(front), initial_state=tensors(state), lengths=tensor(lengths, "int32")))
    check(found[-count:], wanted[-count:])
    np.testing.assert_allclose(found[-count][2], state[0][2], **EXACT)
    for one, want, before in zip(found, wanted, [np.zeros((B, H)), *state], strict=False):
        for b in range(B):
            read = np.cumsum(MASK[b])
            for t in range(T):
                expected = want[b, read[t] - 1] if read[t] else before[b]
                np.testing.assert_allclose(one[b, t], expected, **EXACT)


@core
@each_eager
def test_documents_know_nothing_of_each_other(kind, rng):
    layer = kind.built(rng, **ALL)
    x, state = rng.normal(size=(B, T, D)), start(layer, rng)
    resets = np.zeros((B, T), bool)
    resets[:, 3] = True
    y, *final = outcome(layer(tensor(x), initial_state=tensors(state), resets=tensor(resets, "bool")))
    first = outcome(layer(tensor(x[:, :3]), initial_state=tensors(state)))
    second = outcome(layer(tensor(x[:, 3:])))
    check([y, *final], [np.concatenate([first[0], second[0]], 1), *second[1:]])


@each_eager
def test_both_directions(kind, rng):
    """The backward half is the forward walk over everything turned round, a document's first step being its last."""
    layer = keras_rnnx.Bidirectional(kind.make(return_sequences=True), dtype=FLOAT)
    layer.build((B, None, D))
    randomized(layer, rng)
    x = rng.normal(size=(B, T, D))
    y = array(layer(tensor(x), **flags()))
    half = kind.make(return_sequences=True)
    half.build((B, None, D))
    half.set_weights(layer.backward_layer.get_weights())
    ends = np.concatenate([RESETS[:, 1:], np.zeros((B, 1), bool)], 1)
    turned = array(half(tensor(x[:, ::-1].copy()), **flags(MASK[:, ::-1].copy(), ends[:, ::-1].copy())))
    check([y[..., H:]], [turned[:, ::-1]])


# ---- modes of the gradient and of the loop ----


@each_eager
def test_modes_change_nothing_but_the_way(kind, rng):
    layer = kind.built(rng, **ALL)
    x = tensor(rng.normal(size=(B, T, D)))
    wanted = outcome(layer(x, **flags()))
    for options in ({"unroll": True}, {"memory": ("remat", 2)}, {"memory": ("tbptt", 4)}, {"recurrent_clip": 1.0}):
        other = kind.make(**options, **ALL)
        other.build((B, None, D))
        other.set_weights(layer.get_weights())
        check(outcome(other(x, **flags())), wanted)


@each_eager
def test_truncated_gradients_stop_where_they_should(kind, rng):
    """With ("tbptt", 4) the last output sends nothing to the steps before the fourth."""
    layer = kind.built(rng, memory=("tbptt", 4))
    x = tensor(rng.normal(size=(B, T, D)))
    (gradient,) = gradients(lambda x: keras.ops.sum(layer(x)), [x])
    assert not gradient[:, :4].any() and (np.abs(gradient[:, 4:]).max(-1) > 0).all()


@core
@each_eager
def test_half_precision_keeps_states_in_float32(kind, rng):
    half, single = kind.built(rng, dtype="mixed_bfloat16", **ALL), kind.make(dtype="float32", **ALL)
    single.build((B, None, D))
    single.set_weights(half.get_weights())
    x = rng.normal(size=(B, T, D))
    y, *states = half(tensor(x, "float32"))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(s.dtype) for s in states} == {"float32"}
    exact = array(single(tensor(x, "float32"))[0])
    assert np.abs(array(keras.ops.cast(y, "float32")) - exact).max() < 0.1 * np.abs(exact).max() + 0.05


@core
@pytest.mark.parametrize("kind", few([KINDS[0], KINDS[-1]]), ids=str)
def test_unknown_length(kind, rng):
    """Shapes before the call, and a model of any length, copied, of a pair that returns its states."""
    inputs = keras.Input((None, D), batch_size=B, dtype=FLOAT)
    layer = kind.built(rng, return_all_states=True, **ALL)
    spec = layer(inputs)
    found = layer(tensor(np.zeros((B, T, D))))
    assert [(s.shape[0], *s.shape[2:]) for s in spec[:2]] == [(a.shape[0], *a.shape[2:]) for a in found[:2]]
    assert spec[-1].shape == tuple(found[-1].shape)
    both = keras_rnnx.Bidirectional(kind.make(**ALL), dtype=FLOAT)
    outputs = both(inputs)
    model = keras.Model(inputs, outputs)
    again = keras.models.clone_model(model)
    again.set_weights(model.get_weights())
    for steps in (T, 2):
        x = rng.normal(size=(B, steps, D))
        for one, want in zip(outcome(again.predict(x, verbose=0)), outcome(both(tensor(x))), strict=True):
            np.testing.assert_allclose(one, want, **SINGLE)  # `predict` hands inputs over in float32 on torch


# ---- cells by themselves ----


@core
def test_exponential_gates_neither_overflow_nor_vanish(rng):
    """Gates far beyond the range of exp in float32 give what float64 gives, and finite gradients."""
    results = []
    for dtype in ("float32", "float64") if DOUBLE else ("float32",):
        layer = keras_rnnx.MLSTM(H, heads=2, dtype=dtype, **ALL)
        layer.build((B, None, D))
        draws = np.random.default_rng(3)
        layer.set_weights([draws.normal(size=w.shape) * (1 if i else 40) for i, w in enumerate(layer.weights)])
        x = tensor(draws.normal(size=(B, 40, D)), dtype)
        call = {"mask": tensor(draws.uniform(size=(B, 40)) < 0.5, "bool")}
        results.append(array(layer(x, **call)[0]))
        found = gradients(lambda x, layer=layer, call=call: keras.ops.sum(layer(x, **call)[0]), [x], layer.weights)
        assert all(np.isfinite(a).all() for a in [*results[-1:], *found])
    np.testing.assert_allclose(results[0], results[-1], rtol=1e-2, atol=1e-3 * np.abs(results[-1]).max())


@core
@pytest.mark.parametrize(
    "layer, arguments, word",
    [
        (keras_rnnx.MLSTM, {"heads": 3}, "heads"),
        (keras_rnnx.MLSTM, {"heads": 0}, "heads"),
        (keras_rnnx.MLSTM, {"key_units": 0}, "key_units"),
        (keras_rnnx.MLSTM, {"forget_gate": "tanh"}, "forget_gate"),
        (keras_rnnx.MLSTM, {"learn_initial_state": True}, "learn_initial_state"),
        (keras_rnnx.GLA, {"rank": 0}, "rank"),
        (keras_rnnx.GLA, {"tau": 0}, "tau"),
        (keras_rnnx.RetNet, {"key_units": 3}, "key_units"),
        (keras_rnnx.RetNet, {"heads": 4}, "key_units"),
        (keras_rnnx.DeltaNet, {"window": 0}, "window"),
    ],
)
def test_wrong_arguments(layer, arguments, word):
    with pytest.raises(ValueError, match=word):
        layer(H, **arguments)
