"""The time between steps: `deltas` in every direction, through stacks, with masks and packed documents."""

import keras
import numpy as np
import pytest
from cases import (
    BY_NAME,
    DIFFERENCES,
    EXACT,
    FLOAT,
    array,
    gradients,
    outcome,
    tensor,
    tensors,
    weighted,
    weights_of,
)
from reference import numeric_gradient
from user_cells import DecayCell

import keras_rnnx
from keras_rnnx.engine import masks

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 7, 3, 4
CASE = BY_NAME["decay"]
ALL = {"return_sequences": True, "return_state": True, "return_all_states": True}
MASK = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 1, 0, 0]], bool)
RESETS = np.array([[0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 1, 0, 1]], bool)
FLAGS = {"none": {}, "mask": {"mask": MASK}, "resets": {"resets": RESETS}, "both": {"mask": MASK, "resets": RESETS}}
flags = pytest.mark.parametrize("flags", FLAGS)
directions = pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])


def data(rng):
    return rng.normal(size=(B, T, D)), rng.exponential(size=(B, T))


def call_with(deltas, given):
    return {"deltas": tensor(deltas), **{name: tensor(flags, "bool") for name, flags in given.items()}}


@flags
@directions
def test_twin(flags, backwards, rng):
    layer = CASE.built(rng, D, H, go_backwards=backwards, **ALL)
    (x, deltas), state, given = data(rng), CASE.start(rng, B, H), FLAGS[flags]
    outputs, _, history, final = CASE.walk(weights_of(layer), x, state, deltas=deltas, go_backwards=backwards, **given)
    results = outcome(layer(tensor(x), initial_state=tensors(state), **call_with(deltas, given)))
    for result, want in zip(results, [outputs, *history, *final], strict=True):
        np.testing.assert_allclose(result, want, **EXACT)


@directions
def test_gradients_reach_the_intervals(backwards, rng):
    layer = CASE.built(rng, D, H, go_backwards=backwards, return_sequences=True)
    (x, deltas), cotangent, w = data(rng), rng.normal(size=(B, T, H)), weights_of(layer)
    start = CASE.own_state(w, B, H)

    def loss(x, deltas):
        return weighted(layer(x, deltas=deltas, mask=tensor(MASK, "bool")), [tensor(cotangent)])

    def twin_loss(x, deltas, *values):
        now = dict(zip(w, values, strict=True))
        outputs = CASE.walk(now, x, start, deltas=deltas, mask=MASK, go_backwards=backwards)[0]
        return (outputs * cotangent).sum()

    found = gradients(loss, tensors([x, deltas]), layer.trainable_weights)
    wanted = numeric_gradient(twin_loss, [x, deltas, *w.values()])
    assert np.abs(wanted[1]).max() > 1e-3
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **DIFFERENCES)


def test_without_deltas_every_interval_is_one(rng):
    layer = CASE.built(rng, D, H, **ALL)
    x, _ = data(rng)
    for one, other in zip(
        outcome(layer(tensor(x))), outcome(layer(tensor(x), deltas=tensor(np.ones((B, T))))), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_chunks_with_carried_state_are_the_full_run(rng):
    layer = CASE.built(rng, D, H, **ALL)
    x, deltas = (tensor(a) for a in data(rng))
    whole, _, _ = layer(x, deltas=deltas)
    first, _, state = layer(x[:, :3], deltas=deltas[:, :3])
    second, _, _ = layer(x[:, 3:], deltas=deltas[:, 3:], initial_state=[state])
    np.testing.assert_allclose(np.concatenate([array(first), array(second)], 1), array(whole), **EXACT)


@flags
def test_bidirectional_is_both_twins(flags, rng):
    layer = keras_rnnx.Bidirectional(
        keras_rnnx.RNN(DecayCell(H, dtype=FLOAT), return_sequences=True, dtype=FLOAT), None, dtype=FLOAT
    )
    layer.build((B, T, D))
    layer.set_weights([rng.normal(size=w.shape) for w in layer.weights])
    (x, deltas), given = data(rng), FLAGS[flags]
    found = outcome(layer(tensor(x), **call_with(deltas, given)))
    for direction, result in zip((layer.forward_layer, layer.backward_layer), found, strict=True):
        w = weights_of(direction)
        want = CASE.walk(w, x, CASE.own_state(w, B, H), deltas=deltas, go_backwards=direction.go_backwards, **given)[0]
        if direction.go_backwards:
            mask = given.get("mask", np.ones((B, T), bool))
            result = array(masks.reorder(tensor(result), tensor(mask, "bool")))
        np.testing.assert_allclose(result, want, **EXACT)


def test_both_directions_in_one_loop(rng, monkeypatch):
    layer = keras_rnnx.Bidirectional(
        keras_rnnx.RNN(DecayCell(H, dtype=FLOAT), return_sequences=True, dtype=FLOAT), dtype=FLOAT
    )
    layer.build((B, T, D))
    (x, deltas), given = data(rng), FLAGS["both"]
    two = array(layer(tensor(x), **call_with(deltas, given)))
    monkeypatch.setattr(keras_rnnx.engine.paths, "gains_by_lanes", lambda *_: True)
    assert layer.one_loop
    np.testing.assert_allclose(array(layer(tensor(x), **call_with(deltas, given))), two, **EXACT)


@pytest.mark.parametrize("stack", ["deep", "list"])
def test_stacks_give_the_intervals_to_the_cells_that_read_them(stack, rng):
    cells = [keras_rnnx.LSTMCell(H, dtype=FLOAT), DecayCell(H, dtype=FLOAT)]
    made = keras_rnnx.DeepRNN if stack == "deep" else keras_rnnx.RNN
    layer = made(cells, return_sequences=True, dtype=FLOAT)
    x, deltas = (tensor(a) for a in data(rng))
    found = array(layer(x, deltas=deltas))
    below = keras_rnnx.RNN(cells[0], return_sequences=True, dtype=FLOAT)(x)
    above = keras_rnnx.RNN(cells[1], return_sequences=True, dtype=FLOAT)
    np.testing.assert_allclose(found, array(above(below, deltas=deltas)), **EXACT)
    assert np.abs(found - array(above(below))).max() > 1e-3


def test_one_step_by_the_cell(rng):
    layer = CASE.built(rng, D, H, **ALL)
    (x, deltas), state = data(rng), CASE.start(rng, B, H)
    wanted = CASE.walk(weights_of(layer), x[:, :1], state, deltas=deltas[:, :1])[1]
    output, _ = layer.cell(tensor(x[:, 0]), tensors(state), deltas=tensor(deltas[:, 0]))
    np.testing.assert_allclose(array(output), wanted, **EXACT)


def test_a_model_takes_them_as_an_input(rng):
    sequences, deltas = keras.Input((None, D)), keras.Input((None,))
    layer = keras_rnnx.RNN(DecayCell(H))
    model = keras.Model([sequences, deltas], layer(sequences, deltas=deltas))
    values = [a.astype("float32") for a in data(rng)]
    np.testing.assert_allclose(model.predict(values, verbose=0), array(layer(values[0], deltas=values[1])), atol=1e-6)


@pytest.mark.parametrize(
    "deltas, word",
    [(np.ones((B, T + 1)), "shape"), (np.ones((B,)), "shape"), (-np.ones((B, T)), ">= 0")],
    ids=["long", "flat", "negative"],
)
def test_wrong_deltas(deltas, word, rng):
    layer = CASE.built(rng, D, H)
    with pytest.raises(ValueError, match=f"`deltas`.*{word}"):
        layer(tensor(data(rng)[0]), deltas=tensor(deltas))


@pytest.mark.parametrize(
    "made", [keras_rnnx.LSTM, lambda n: keras_rnnx.DeepRNN(keras_rnnx.GRUCell(n))], ids=["LSTM", "DeepRNN"]
)
def test_a_layer_that_reads_no_time_refuses_deltas(made, rng):
    x, deltas = (tensor(a, "float32") for a in data(rng))
    with pytest.raises(ValueError, match="Expected no `deltas`"):
        made(H)(x, deltas=deltas)
    cell = keras_rnnx.LSTMCell(H)
    with pytest.raises(ValueError, match="Expected no `deltas`"):
        cell(x[:, 0], cell.get_initial_state(B), deltas=deltas[:, 0])
