"""Masks of any pattern: each row is the run of its valid steps alone."""

import functools

import hypothesis
import keras
import numpy as np
import pytest
from cases import BY_NAME, EXACT, array, gradients, outcome, tensor, tensors, weighted
from hypothesis import strategies as st

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 6, 2, 3
ALL = {"return_sequences": True, "return_state": True}
NAMES = ["lstm", "gru-before", "elman-output", "jordan", "long-memory"]
patterns = st.lists(st.lists(st.booleans(), min_size=T, max_size=T), min_size=B, max_size=B)


@functools.cache
def layer_of(name, backwards=False):
    """One layer for all examples, so that they share its compiled programs."""
    return BY_NAME[name].built(np.random.default_rng(2), D, H, go_backwards=backwards, **ALL)


def data(name, batch=B):
    rng = np.random.default_rng(4)
    return rng.normal(size=(batch, T, D)), BY_NAME[name].start(rng, batch, H)


def run(name, x, state, mask, backwards=False):
    layer = layer_of(name, backwards)
    return outcome(layer(tensor(x), initial_state=tensors(state), mask=tensor(mask, "bool")))


@pytest.mark.core
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", NAMES)
@hypothesis.given(mask=patterns)
@hypothesis.example(mask=[[False] * T, [True] * T])
@hypothesis.example(mask=[[False, False, True, False, True, True], [True, False, False, True, False, False]])
def test_any_pattern_is_each_row_alone(name, backwards, mask):
    mask = np.array(mask)
    x, state = data(name)
    outputs, *final = run(name, x, state, mask, backwards)
    for row, valid in enumerate(mask):
        wanted, last = alone(name, x[row, valid], [s[row] for s in state], backwards)
        np.testing.assert_allclose(outputs[row, valid], wanted, **EXACT)
        for one, other in zip(final, last, strict=True):
            np.testing.assert_allclose(one[row], other, **EXACT)


def alone(name, x, state, backwards=False):
    """Outputs and final states of one sequence of any length, by single steps, without any mask."""
    layer, outputs = layer_of(name), []
    state = [tensor(s[None]) for s in state]
    for step in x[::-1] if backwards else x:
        output, state = layer.cell(tensor(step[None]), state)
        outputs.append(array(output)[0])
    size = layer.cell.output_size
    return np.reshape(outputs, (len(x), size)), [array(s)[0] for s in state]


@pytest.mark.parametrize("name", ["lstm", "elman-output"])
@hypothesis.given(mask=patterns)
def test_a_masked_step_repeats_the_last_output(name, mask):
    mask = np.array(mask)
    x, state = data(name)
    outputs, *_ = run(name, x, state, mask)
    start = array(layer_of(name).cell.readout(tensor(state[0])))
    for t in range(T):
        before = outputs[:, t - 1] if t else start
        np.testing.assert_allclose(outputs[~mask[:, t], t], before[~mask[:, t]], **EXACT)


@pytest.mark.parametrize("name", ["lstm", "gru-before"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@hypothesis.given(before=st.integers(0, 3), inside=st.integers(0, 3))
def test_amount_and_side_of_padding_change_nothing(name, backwards, before, inside):
    """Three valid steps, padded in front, between them, behind, with other values each time."""
    x, state = data(name)
    steps, values = x[:, :3], np.random.default_rng(before + 10 * inside)
    padded, mask = values.normal(size=(B, T, D)) * 5, np.zeros((B, T), bool)
    places = [min(before, 3), min(before, 3) + 1, min(before + inside, 3) + 2]
    padded[:, places], mask[:, places] = steps, True
    outputs, *final = run(name, padded, state, mask, backwards)
    front = np.arange(T)[None].repeat(B, 0) < 3
    wanted, *last = run(name, x, state, front, backwards)
    np.testing.assert_allclose(outputs[:, places], wanted[:, :3], **EXACT)
    for one, other in zip(final, last, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.core
@pytest.mark.parametrize("name", ["lstm", "gru-before", "elman-output"])
def test_an_empty_row_is_its_initial_state_with_finite_gradients(name):
    x, state = data(name)
    x[0, 2] = 1e30  # what stands under a mask must not matter
    mask = np.array([[False] * T, [True] * T])
    layer = layer_of(name)
    outputs, *final = run(name, x, state, mask)
    for one, start in zip(final, state, strict=True):
        np.testing.assert_allclose(one[0], start[0], **EXACT)
    start = array(layer.cell.readout(tensor(state[0])))[0]
    np.testing.assert_allclose(outputs[0], np.tile(start, (T, 1)), **EXACT)
    cotangents = tensors([np.random.default_rng(1).normal(size=a.shape) for a in (outputs, *final)])

    def loss(x, *state):
        results = layer(x, initial_state=list(state), mask=tensor(mask, "bool"))
        return weighted(results, cotangents)

    found = gradients(loss, tensors([x, *state]), layer.trainable_weights)
    assert all(np.isfinite(g).all() for g in found)
    np.testing.assert_array_equal(found[0][0], np.zeros((T, D)))


@hypothesis.given(lengths=st.lists(st.integers(0, T), min_size=B, max_size=B))
def test_lengths_are_a_mask(lengths):
    x, state = data("lstm")
    wanted = run("lstm", x, state, np.arange(T) < np.array(lengths)[:, None])
    call = {"initial_state": tensors(state), "lengths": tensor(lengths, "int32")}
    for one, other in zip(outcome(layer_of("lstm")(tensor(x), **call)), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_mask_and_lengths_hold_together():
    x, state = data("lstm")
    mask = np.array([[0, 1, 1, 1, 0, 1], [1, 1, 1, 0, 1, 1]], bool)
    lengths = np.array([4, 6])
    wanted = run("lstm", x, state, mask & (np.arange(T) < lengths[:, None]))
    call = {"mask": tensor(mask, "bool"), "lengths": tensor(lengths, "int32")}
    found = layer_of("lstm")(tensor(x), initial_state=tensors(state), **call)
    for one, other in zip(outcome(found), wanted, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_mask_of_integers_or_with_a_last_axis():
    x, state = data("lstm")
    mask = np.array([[1, 0, 1, 1, 0, 1], [1, 1, 1, 0, 1, 1]])
    wanted = run("lstm", x, state, mask.astype(bool))
    for other in (tensor(mask, "int32"), tensor(mask[..., None], "bool")):
        results = layer_of("lstm")(tensor(x), initial_state=tensors(state), mask=other)
        for one, want in zip(outcome(results), wanted, strict=True):
            np.testing.assert_array_equal(one, want)


class Probe(keras.layers.Layer):
    """Keeps the mask that reaches it."""

    def call(self, inputs, mask=None):
        self.received = None if mask is None else array(mask)
        return inputs


def test_the_mask_goes_on_to_the_next_layer():
    ids = np.array([[3, 0, 5, 0], [1, 2, 0, 0]])
    embedded = keras.layers.Embedding(6, D, mask_zero=True)(ids)
    first = BY_NAME["lstm"].make(H, dtype="float32", return_sequences=True)
    second = BY_NAME["gru-after"].make(H, dtype="float32")
    probe, middle = Probe(), first(embedded)
    probe(middle)
    np.testing.assert_array_equal(probe.received, ids != 0)
    wanted = second(tensor(array(middle), "float32"), mask=tensor(ids != 0, "bool"))
    np.testing.assert_allclose(array(second(middle)), array(wanted), rtol=0, atol=1e-6)
    probe(BY_NAME["lstm"].make(H, dtype="float32")(embedded))
    assert probe.received is None


def test_lengths_give_the_outputs_a_mask():
    x, lengths = data("lstm")[0], np.array([2, 5])
    outputs = BY_NAME["lstm"].make(H, return_sequences=True)(tensor(x), lengths=tensor(lengths, "int32"))
    probe = Probe()
    probe(outputs)
    np.testing.assert_array_equal(probe.received, np.arange(T) < lengths[:, None])
