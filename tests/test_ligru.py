"""The light GRU in training: batch normalization by the valid steps of the batch, and its moving averages."""

from functools import partial

import keras
import numpy as np
import pytest
from cases import (
    DIFFERENCES,
    EAGER,
    EXACT,
    FLOAT,
    array,
    few,
    gradients,
    outcome,
    randomized,
    tensor,
    tensors,
    weighted,
    weights_of,
)
from reference import ligru, numeric_gradient

import keras_rnnx
from keras_rnnx.engine import paths

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 3, 5, 2, 3
ALL = {"return_sequences": True, "return_state": True}
MASK = np.array([[1, 0, 1, 1, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 0]], bool)
AVERAGES = ("moving_mean", "moving_variance")

LiGRUCell = partial(keras_rnnx.LiGRUCell, dtype=FLOAT)
GRUCell = partial(keras_rnnx.GRUCell, dtype=FLOAT)


def built(layer, rng):
    layer.build((None, None, D))
    return randomized(layer, rng)


def made(rng, **options):
    return built(keras_rnnx.LiGRU(H, **{"dtype": FLOAT, **options}), rng)


def data(rng):
    return rng.normal(size=(B, T, D)), rng.normal(size=(B, H)) * 0.5


def averages(layer):
    w = weights_of(layer)
    return [w[name] for name in AVERAGES]


def check(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_training_is_the_twin(backwards, rng):
    """Outputs, the final state and the averages, with holes and a row without any valid step."""
    layer = made(rng, go_backwards=backwards, **ALL)
    (x, h), w = data(rng), weights_of(layer)
    results = layer(tensor(x), initial_state=tensor(h), mask=tensor(MASK, "bool"), training=True)
    wanted = ligru.train(w, x, h, MASK, go_backwards=backwards)
    check([*outcome(results), *averages(layer)], wanted)


@pytest.mark.skipif(not EAGER, reason="does not depend on the backend, and each is a loop to compile")
@pytest.mark.parametrize(
    "options, twin",
    [
        ({"activation": "tanh", "use_bias": False}, {"activation": np.tanh}),
        ({"normalization": "layer"}, {"normalization": "layer"}),
        ({"recurrent_structure": "diagonal"}, {"structure": "diagonal"}),
    ],
    ids=["tanh", "normalization", "diagonal"],
)
def test_options_in_training(options, twin, rng):
    layer = made(rng, **options, **ALL)
    (x, h), w = data(rng), weights_of(layer)
    results = layer(tensor(x), initial_state=tensor(h), training=True)
    check([*outcome(results), *averages(layer)], ligru.train(w, x, h, **twin))


@pytest.mark.skipif(not EAGER, reason="the mask is recorded")
def test_recurrent_dropout_in_training(rng, monkeypatch):
    drawn, original = [], keras.random.dropout

    def recording(*args, **kwargs):
        drawn.append(array(original(*args, **kwargs)))
        return tensor(drawn[-1])

    monkeypatch.setattr(keras.random, "dropout", recording)
    layer = made(rng, recurrent_dropout=0.5, seed=3, **ALL)
    (x, h), w = data(rng), weights_of(layer)
    results = layer(tensor(x), initial_state=tensor(h), training=True)
    masks = [np.repeat(m[:, None], T, 1) for m in drawn]
    check([*outcome(results), *averages(layer)], ligru.train(w, x, h, left_masks=masks))


def test_gradients_in_training(rng):
    """They pass through the mean and the variance, to the inputs of every valid step."""
    layer = made(rng, **ALL)
    (x, h), w = data(rng), weights_of(layer)
    names = [v.name for v in layer.trainable_weights]
    assert set(w) - set(names) == set(AVERAGES)
    cotangents = [rng.normal(size=(B, T, H)), rng.normal(size=(B, H))]

    def loss(x, h):
        results = layer(x, initial_state=h, mask=tensor(MASK, "bool"), training=True)
        return weighted(results, tensors(cotangents))

    def twin_loss(x, h, *values):
        results = ligru.train({**w, **dict(zip(names, values, strict=True))}, x, h, MASK)[:2]
        return sum((r * c).sum() for r, c in zip(results, cotangents, strict=True))

    found = gradients(loss, tensors([x, h]), layer.trainable_weights)
    wanted = numeric_gradient(twin_loss, [x, h, *[w[n] for n in names]])
    for name, one, other in zip(["x", "h", *names], found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **DIFFERENCES, err_msg=name)


def test_inference_leaves_the_averages_alone(rng):
    layer = made(rng)
    (x, _), before = data(rng), layer.get_weights()
    layer(tensor(x), training=False)
    for one, other in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_no_valid_step_at_all(rng):
    """The state stays, and nothing is divided by zero, not in the gradient either."""
    layer = made(rng, **ALL)
    x, h = data(rng)
    none = tensor(np.zeros((B, T)), "bool")

    def read(x, h):
        return layer(x, initial_state=h, mask=none, training=True)

    check(outcome(read(*tensors([x, h]))), [np.repeat(h[:, None], T, 1), h])
    slopes = gradients(lambda *given: weighted(read(*given), [np.ones((B, T, H)), np.ones((B, H))]), tensors([x, h]))
    assert all(np.isfinite(a).all() for a in (*averages(layer), *slopes))


def test_dropout_in_training(rng):
    layer = made(rng, dropout=0.5, recurrent_dropout=0.3, zoneout=0.2, seed=1, **ALL)
    x, _ = data(rng)
    results = outcome(layer(tensor(x), mask=tensor(MASK, "bool"), training=True))
    assert all(np.isfinite(a).all() for a in (*results, *averages(layer)))


def test_fit_and_save(rng, tmp_path):
    x, y = np.float32(rng.normal(size=(8, T, D)) + 1.0), np.float32(rng.normal(size=(8, H)))
    layer = keras_rnnx.LiGRU(H, dtype="float32")
    model = keras.Sequential([keras.Input((T, D)), layer])
    before = averages(layer)
    model.compile("sgd", "mse")
    model.fit(x, y, batch_size=4, epochs=2, verbose=0)
    moved = averages(layer)
    assert all(np.isfinite(a).all() and (a != b).all() for a, b in zip(moved, before, strict=True))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    check(averages(again.layers[-1]), moved)
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=0, atol=1e-6)


def test_in_a_stock_rnn(rng):
    """It steps at inference; one step of training has no batch to measure."""
    layer = made(rng, return_sequences=True)
    x = tensor(data(rng)[0])
    stock = keras.layers.RNN(layer.cell, return_sequences=True, dtype=FLOAT)
    check([array(stock(x))], [array(layer(x))])
    with pytest.raises(ValueError, match="whole sequence"):
        stock(x, training=True)


@pytest.mark.parametrize("one_loop", few([False, True]), ids=lambda one: "one-loop" if one else "two-loops")
def test_each_direction_has_its_averages(one_loop, rng, monkeypatch):
    monkeypatch.setattr(paths, "gains_by_lanes", lambda *_: one_loop)
    layer = built(keras_rnnx.Bidirectional(keras_rnnx.LiGRU(H, dtype=FLOAT, **ALL), dtype=FLOAT), rng)
    x, start = data(rng)[0], np.zeros((B, H))
    directions = [layer.forward_layer, layer.backward_layer]
    wanted = [ligru.train(weights_of(d), x, start, MASK, go_backwards=d.go_backwards) for d in directions]
    _, *states = outcome(layer(tensor(x), mask=tensor(MASK, "bool"), training=True))
    for direction, state, (_, final, *moved) in zip(directions, states, wanted, strict=True):
        check([state, *averages(direction)], [final, *moved])
    assert all(np.abs(a - b).min() > 1e-6 for a, b in zip(*map(averages, directions), strict=True))


def fast_slow(first, second, slow):
    return keras_rnnx.RNN(keras_rnnx.FastSlowCell([first, second], slow), dtype=FLOAT)


def test_what_is_fed_cannot_measure(rng):
    for cells in ([GRUCell(H), LiGRUCell(H), GRUCell(2)], [GRUCell(H), GRUCell(H), LiGRUCell(2)]):
        with pytest.raises(ValueError, match="another cell feeds it.*measures a whole sequence"):
            fast_slow(*cells).build((None, None, D))
    x = tensor(data(rng)[0])
    fed = built(fast_slow(GRUCell(H), GRUCell(H), LiGRUCell(2, batch_normalization=False)), rng)
    assert np.isfinite(array(fed(x, training=True))).all()


def test_what_reads_the_inputs_inside_another_cell_measures(rng):
    layer = built(fast_slow(LiGRUCell(H), GRUCell(H), GRUCell(2)), rng)
    (x, h), first = data(rng), layer.cell.fast_cells[0]
    *_, mean, variance = ligru.train(weights_of(first), x, h, MASK)
    layer(tensor(x), mask=tensor(MASK, "bool"), training=True)
    check(averages(first), [mean, variance])


def test_half_precision_keeps_the_averages_in_float32(rng):
    layer = made(rng, dtype="mixed_bfloat16")
    (x, h), w = data(rng), weights_of(layer)
    *_, mean, variance = ligru.train(w, x, h)
    output = layer(tensor(x, "float32"), training=True)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    for name, found, wanted in zip(AVERAGES, averages(layer), (mean, variance), strict=True):
        assert keras.backend.standardize_dtype(getattr(layer.cell, name).dtype) == "float32"
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3)
