"""The parallel Legendre memory unit: the same numbers however the steps are cut into chunks, masked or carried over."""

import keras
import numpy as np
import pytest
from cases import BACKEND, DOUBLE, FLOAT, array, gradients, outcome, randomized, tensor, tensors, weighted
from reference import run
from reference.parallel_lmu import step

import keras_rnnx
from keras_rnnx.cells.parallel_lmu import ParallelLMU
from keras_rnnx.engine import paths

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 3, 7, 3, 4
EXACT = {"rtol": 0, "atol": 1e-10 if DOUBLE else 1e-4}
ALL = {"return_sequences": True, "return_state": True}
SYSTEM = {"order": 4, "theta": 5.0, "memories": 2}
# The last row has no valid step; a mark on a masked step counts.
MASK = np.array([[1, 0, 1, 1, 1, 0, 1], [0, 1, 1, 0, 1, 1, 0], [0] * T], bool)
RESETS = np.array([[0, 1, 0, 0, 1, 0, 0], [1, 0, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0]], bool)
FLAGS = {"none": {}, "mask": {"mask": MASK}, "resets": {"resets": RESETS}, "both": {"mask": MASK, "resets": RESETS}}
eager = pytest.mark.skipif(BACKEND != "torch", reason="the same code above the engine; on torch no loop is compiled")


def make(**options):
    return ParallelLMU(H, **{**SYSTEM, "dtype": FLOAT, **options})


def built(rng, **options):
    layer = make(**options)
    layer.build((B, None, D))
    return randomized(layer, rng)


def like(layer, **options):
    """Another layer with the weights of this one."""
    other = make(**options)
    other.build((B, None, D))
    other.set_weights(layer.get_weights())
    return other


def data(rng, steps=T):
    return rng.normal(size=(B, steps, D)), [rng.normal(size=(B, 8))]


def call(flags):
    return {name: tensor(flag, "bool") for name, flag in flags.items()}


def check(found, wanted):
    for one, want in zip(found, wanted, strict=True):
        assert one.shape == want.shape
        np.testing.assert_allclose(one, want, **EXACT)


@pytest.mark.parametrize("learned", [False, True] if BACKEND == "torch" else [True], ids=lambda b: f"learned-{b}")
@pytest.mark.parametrize("back", [False, True] if BACKEND == "torch" else [False], ids=lambda b: f"back-{b}")
@pytest.mark.parametrize("flags", FLAGS)
def test_chunks_are_single_steps(flags, back, learned, rng, monkeypatch):
    """Outputs, every state, final states and all gradients."""
    layer = built(rng, go_backwards=back, learn_initial_state=learned, return_all_states=True, **ALL)
    x, state = data(rng)
    made, cotangents = [], None

    def loss(x, *state):
        return weighted(layer(x, initial_state=list(state), **call(FLAGS[flags])), tensors(cotangents))

    for size in (1, 2, 3, 32) if BACKEND == "torch" else (1, 3):
        monkeypatch.setattr(paths, "MEMORY_CHUNK", size)
        results = outcome(layer(tensor(x), initial_state=tensors(state), **call(FLAGS[flags])))
        cotangents = cotangents or [rng.normal(size=a.shape) for a in results]
        made.append([*results, *gradients(loss, tensors([x, *state]), layer.trainable_weights)])
    for other in made[1:]:
        check(other, made[0])
    assert all(np.isfinite(a).all() for a in made[0])


@eager
@pytest.mark.parametrize("flags", FLAGS)
def test_many_chunks_are_the_definition(flags, rng):
    layer = built(rng, learn_initial_state=True, return_all_states=True, return_sequences=True)
    x, state = data(rng, 70)
    marks = {name: rng.uniform(size=(B, 70)) < (0.7 if name == "mask" else 0.05) for name in FLAGS[flags]}
    w = {weight.name: array(weight) for weight in layer.weights}
    found = array(layer(tensor(x), initial_state=tensors(state), **call(marks))[1])
    (wanted,), _ = run(lambda *a: step(w, *a, **SYSTEM)[:1], x, state, reset_state=[w["initial_m"]], **marks)
    np.testing.assert_allclose(found, wanted, **EXACT)


@eager
def test_what_the_memory_holds():
    """A value that stays fills the window: it is then the coefficient of the constant polynomial, the others zero."""
    layer = make(memories=1, return_all_states=True)
    layer.build((1, None, 1))
    layer.cell.input_encoder.assign([[1.0]])
    m = array(layer(tensor(np.ones((1, 40, 1))))[1])
    np.testing.assert_allclose(m[0, -1], [1.0, 0.0, 0.0, 0.0], atol=1e-6)


@eager
def test_carried_states_are_one_run(rng):
    """Two calls, and one step at a time by the cell, against one call; and stateful."""
    layer = built(rng, **ALL)
    x, state = data(rng)
    y, final = outcome(layer(tensor(x), initial_state=tensors(state)))
    first = layer(tensor(x[:, :3]), initial_state=tensors(state))
    second = layer(tensor(x[:, 3:]), initial_state=list(first[1:]))
    check([np.concatenate([array(first[0]), array(second[0])], 1), array(second[1])], [y, final])
    steps, now = [], tensors(state)
    for t in range(T):
        output, now = layer.cell(tensor(x[:, t]), now)
        steps.append(array(output))
    check([np.stack(steps, 1), array(now[0])], [y, final])
    carried = like(layer, stateful=True, return_sequences=True)
    halves = [array(carried(tensor(part))) for part in (x[:, :3], x[:, 3:])]
    check([np.concatenate(halves, 1)], [array(layer(tensor(x))[0])])


@eager
def test_masked_inputs_are_not_read(rng):
    layer = built(rng, **ALL)
    x, state = data(rng)
    spoiled = np.where(MASK[..., None], x, np.nan)
    wanted = outcome(layer(tensor(x), initial_state=tensors(state), **call({"mask": MASK})))
    check(outcome(layer(tensor(spoiled), initial_state=tensors(state), **call({"mask": MASK}))), wanted)


@eager
def test_documents_know_nothing_of_each_other(rng):
    layer = built(rng, **ALL)
    x, state = data(rng)
    x[:, :3] = np.inf
    resets = np.zeros((B, T), bool)
    resets[:, 3] = True
    y, final = outcome(layer(tensor(x), initial_state=tensors(state), **call({"resets": resets})))
    second = outcome(layer(tensor(x[:, 3:])))
    check([y[:, 3:], final], second)


@eager
def test_lengths_are_padding(rng):
    layer = built(rng, **ALL)
    x, state = data(rng)
    lengths = np.array([4, 7, 0])
    y, final = outcome(layer(tensor(x), initial_state=tensors(state), lengths=tensor(lengths, "int32")))
    for b in range(2):
        one = outcome(layer(tensor(x[b : b + 1, : lengths[b]]), initial_state=tensors([s[b : b + 1] for s in state])))
        check([y[b : b + 1, : lengths[b]], final[b : b + 1]], one)
    np.testing.assert_allclose(final[2], state[0][2], **EXACT)


# ---- modes of the gradient and of the loop ----


@eager
@pytest.mark.parametrize("flags", FLAGS)
def test_modes_change_nothing_but_the_way(flags, rng):
    layer = built(rng, **ALL)
    x = tensor(data(rng)[0])
    wanted = outcome(layer(x, **call(FLAGS[flags])))
    for options in ({"unroll": True}, {"memory": ("remat", 2)}, {"memory": ("tbptt", 4)}, {"recurrent_clip": 1.0}):
        check(outcome(like(layer, **options, **ALL)(x, **call(FLAGS[flags]))), wanted)


@eager
@pytest.mark.parametrize("length", [1, 2, 3, 4])
@pytest.mark.parametrize("flags", FLAGS)
def test_truncated_gradients(flags, length, rng):
    """The gradient of calls on pieces, of which none sees into the one before."""
    layer = built(rng, return_all_states=True, **ALL)
    other = like(layer, memory=("tbptt", length), return_all_states=True, **ALL)
    x, state = data(rng)
    cotangents = [rng.normal(size=(B, T, n)) for n in (H, 8)]
    marks = {name: flag for name, flag in FLAGS[flags].items() if name == "resets"}

    def truncated(x, m):
        return weighted(other(x, initial_state=[m], **call(marks))[:2], tensors(cotangents))

    def pieces(x, m):
        total = 0.0
        for t in range(0, T, length):
            part = {name: flag[:, t : t + length] for name, flag in marks.items()}
            y, every, m = layer(x[:, t : t + length], initial_state=[m], **call(part))
            total = total + weighted((y, every), tensors([c[:, t : t + length] for c in cotangents]))
            m = keras.ops.stop_gradient(m)
        return total

    found = gradients(truncated, tensors([x, *state]), other.trainable_weights)
    check(found, gradients(pieces, tensors([x, *state]), layer.trainable_weights))


@eager
def test_clipped_gradients(rng):
    """The gradient that enters each earlier step has the bound; a wide bound changes nothing."""
    layer = built(rng)
    x, state = data(rng)

    def of_state(layer):
        return gradients(lambda m: 1e3 * keras.ops.sum(layer(tensor(x), initial_state=[m])), tensors(state))[0]

    assert np.abs(of_state(layer)).max() > 1e-2
    assert np.abs(of_state(like(layer, recurrent_clip=1e-2))).max() <= 1e-2
    np.testing.assert_allclose(of_state(like(layer, recurrent_clip=1e9)), of_state(layer), rtol=1e-9)


def test_unknown_length(rng):
    """A model of any length gives what the layer gives, and is compiled with its masks."""
    inputs, mask = keras.Input((None, D), batch_size=B, dtype=FLOAT), keras.Input((None,), batch_size=B, dtype="bool")
    layer = built(rng, **ALL)
    model = keras.Model([inputs, mask], layer(inputs, mask=mask))
    for steps in (40, 3):
        x, valid = rng.normal(size=(B, steps, D)), rng.uniform(size=(B, steps)) < 0.6
        found = outcome(model([tensor(x), tensor(valid, "bool")]))
        check(found, outcome(layer(tensor(x), mask=tensor(valid, "bool"))))
        predicted = model.predict([x, valid], verbose=0)  # hands inputs over in float32
        for one, want in zip(predicted, found, strict=True):
            np.testing.assert_allclose(one, want, rtol=0, atol=1e-5)


@eager
def test_path_is_told(rng):
    layer = built(rng)
    assert "chunk" in str(keras_rnnx.explain(layer))
