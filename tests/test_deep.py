"""DeepRNN: the same as its levels, called one after the other, with the skips written out."""

import json

import keras
import numpy as np
import pytest
from cases import (
    BACKEND,
    BY_NAME,
    DIFFERENCES,
    EXACT,
    FLOAT,
    SINGLE,
    array,
    gradients,
    last_read,
    outcome,
    randomized,
    tensor,
    tensors,
    weighted,
)
from reference import numeric_gradient

import keras_rnnx

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 6, 3, 4
ALL = {"return_sequences": True, "return_state": True}
MASK = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 1, 0]], bool)


def made(rng, cell=None, features=D, **options):
    cell = cell or keras_rnnx.GRUCell(H, dtype=FLOAT)
    layer = keras_rnnx.DeepRNN(cell, dtype=FLOAT, **options)
    layer.build((None, None, features))
    return randomized(layer, rng)


def gates_of(layer):
    """The highway gates as (kernel, bias), in order."""
    own = [w for w in layer.weights if "highway" in w.path]
    return list(zip(own[0::2], own[1::2], strict=True))


def by_hand(layer, x, mask=None, sequences=True, state=None, values=None):
    """Output and final states of a stack of GRUs in NumPy, with the layer's weights or other values for them."""
    values = [np.asarray(array(w), np.float64) for w in layer.weights] if values is None else values
    value = dict(zip([id(w) for w in layer.weights], values, strict=True))
    a = x if mask is None else last_read(x, mask, layer.go_backwards)
    gates, final, case = iter(gates_of(layer)), [], BY_NAME["gru-after"]
    for n, level in enumerate(layer.levels):
        w = {v.name: value[id(v)] for v in level.weights}
        start = [np.zeros((len(x), H)) if state is None else state[n]]
        y, _, _, (last,) = case.walk(w, a, start, mask=mask, go_backwards=layer.go_backwards)
        final.append(last)
        if layer.go_backwards:
            y = y[:, ::-1]
        if layer.residual == "dense":
            a = np.concatenate([a, y], axis=-1)
        elif layer.residual is None or a.shape != y.shape:
            a = y
        elif layer.residual == "sum":
            a = a + y
        else:
            kernel, bias = (value[id(w)] for w in next(gates))
            s = 1 / (1 + np.exp(-(a @ kernel + bias)))
            a = s * y + (1 - s) * a
    if layer.go_backwards:
        a = a[:, ::-1]
    if sequences:
        return [a, *final]
    last = [np.flatnonzero(m)[-1] for m in (np.ones(x.shape[:2]) if mask is None else mask)]
    return [a[np.arange(len(a)), last], *final]


@pytest.mark.core
@pytest.mark.parametrize("residual", ["sum", "highway", "dense"])
def test_central_differences(residual, rng):
    """Inputs, initial states and every weight of a masked stack."""
    if residual == "highway" and BACKEND == "torch":
        pytest.skip("Keras' own Dense, which makes the highway's gate, is float32 inside on torch")
    layer = made(rng, depth=2, residual=residual, features=H, **ALL)
    x, state = rng.normal(size=(B, 4, H)), list(rng.normal(size=(2, B, H)))
    mask = MASK[:, :4]
    values = [np.asarray(array(w), np.float64) for w in layer.weights]
    cotangents = [rng.normal(size=a.shape) for a in by_hand(layer, x, mask, state=state)]

    def loss(x, *state):
        results = layer(x, initial_state=[[s] for s in state], mask=tensor(mask, "bool"), training=True)
        return weighted(results, tensors(cotangents))

    def twin_loss(x, first, second, *values):
        results = by_hand(layer, x, mask, state=[first, second], values=values)
        return sum((r * c).sum() for r, c in zip(results, cotangents, strict=True))

    found = gradients(loss, tensors([x, *state]), layer.weights)
    for one, other in zip(found, numeric_gradient(twin_loss, [x, *state, *values]), strict=True):
        np.testing.assert_allclose(one, other, **DIFFERENCES)


@pytest.mark.core
@pytest.mark.parametrize("residual", [None, "sum", "highway", "dense"])
@pytest.mark.parametrize("features", [D, H], ids=["other-width", "same-width"])
def test_is_its_levels(residual, features, rng):
    layer = made(rng, depth=3, residual=residual, features=features, **ALL)
    x, state = rng.normal(size=(B, T, features)), list(rng.normal(size=(3, B, H)))
    found = outcome(layer(tensor(x), initial_state=[[s] for s in tensors(state)]))
    # Keras' own Dense, which makes the highway's gate, is float32 inside on torch
    tolerance = SINGLE if residual == "highway" and BACKEND != "tensorflow" else EXACT
    for one, want in zip(found, by_hand(layer, x, state=state), strict=True):
        np.testing.assert_allclose(one, want, **tolerance)
    skips = {"highway": 3 - (features != H)}
    assert len(gates_of(layer)) == skips.get(residual, 0)


@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequences"])
@pytest.mark.parametrize("residual", [None, "sum", "dense"])
def test_masks(residual, sequences, rng):
    """Without return_sequences the skip is taken at the last valid step."""
    options = {"return_sequences": sequences, "return_state": True}
    layer = made(rng, depth=2, residual=residual, features=H, **options)
    x = rng.normal(size=(B, T, H))
    found = outcome(layer(tensor(x), mask=tensor(MASK, "bool")))
    for one, want in zip(found, by_hand(layer, x, MASK, sequences), strict=True):
        if one.ndim == 3:
            one, want = one[MASK], want[MASK]
        np.testing.assert_allclose(one, want, **EXACT)


def test_go_backwards(rng):
    layer = made(rng, depth=2, residual="sum", features=H, go_backwards=True, **ALL)
    x = rng.normal(size=(B, T, H))
    for one, want in zip(outcome(layer(tensor(x))), by_hand(layer, x), strict=True):
        np.testing.assert_allclose(one, want, **EXACT)


@pytest.mark.core
def test_bidirectional_levels(rng):
    """Each level reads the merged outputs of both directions below it; other cells in other levels."""
    cells = [keras_rnnx.LSTMCell(H, dtype=FLOAT), keras_rnnx.GRUCell(3, dtype=FLOAT)]
    layer = made(rng, cells, bidirectional=True, **ALL)
    singles = [BY_NAME["lstm"].make(H, **ALL), BY_NAME["gru-after"].make(3, **ALL)]
    singles = [keras_rnnx.Bidirectional(s, dtype=FLOAT) for s in singles]
    x, results = tensor(rng.normal(size=(B, T, D))), layer(tensor(np.zeros((B, T, D))))
    assert [len(s) for s in results[1:]] == [4, 2]
    a, final = x, []
    for single, level in zip(singles, layer.levels, strict=True):
        single.build(a.shape)
        single.set_weights(level.get_weights())
        a, *states = single(a, mask=tensor(MASK, "bool"))
        final += states
    found = outcome(layer(x, mask=tensor(MASK, "bool")))
    for one, want in zip(found, outcome([a, *final]), strict=True):
        np.testing.assert_allclose(one, want, **EXACT)


@pytest.mark.core
def test_chunks_with_the_states_handed_over_are_one_run(rng):
    cells = [keras_rnnx.LSTMCell(H, dtype=FLOAT), keras_rnnx.GRUCell(H, dtype=FLOAT)]
    layer = made(rng, cells, residual="sum", **ALL)
    x = tensor(rng.normal(size=(B, T, D)))
    outputs, *final = layer(x)
    first, *middle = layer(x[:, :2])
    second, *last = layer(x[:, 2:], initial_state=middle)
    np.testing.assert_allclose(np.concatenate([array(first), array(second)], 1), array(outputs), **EXACT)
    for one, want in zip(outcome(last), outcome(final), strict=True):
        np.testing.assert_allclose(one, want, **EXACT)


def test_stateful_and_reset(rng):
    layer = made(rng, depth=2, stateful=True, return_sequences=True)
    plain = made(rng, depth=2, return_sequences=True)
    plain.set_weights(layer.get_weights())
    x = tensor(rng.normal(size=(B, T, D)))
    wanted = array(plain(x))
    np.testing.assert_allclose(array(layer(x[:, :2])), wanted[:, :2], **EXACT)
    np.testing.assert_allclose(array(layer(x[:, 2:])), wanted[:, 2:], **EXACT)
    layer.reset_state()
    np.testing.assert_allclose(array(layer(x)), wanted, **EXACT)


def test_gradients_of_memory_modes():
    """The arguments reach the levels: the same gradients through another way."""
    found = []
    for mode in ("store", ("remat", 4)):
        layer = made(np.random.default_rng(1), depth=2, residual="highway", memory=mode, **ALL)
        assert all(level.memory == layer.memory for level in layer.levels)
        x = tensor(np.random.default_rng(2).normal(size=(B, T, D)))
        cotangents = [np.random.default_rng(3).normal(size=r.shape) for r in outcome(layer(x))]

        def loss(x, layer=layer, cotangents=cotangents):
            return weighted(layer(x), cotangents)

        found.append(gradients(loss, [x], layer.trainable_weights))
    for one, other in zip(*found, strict=True):
        assert np.abs(one).max() > 0
        np.testing.assert_allclose(one, other, **EXACT)


def test_dropout_between_levels_alone(rng):
    """Not on the input of the first level, not on the output of the last."""
    one = made(rng, depth=1, dropout=0.9, seed=1, return_sequences=True)
    x = tensor(rng.normal(size=(B, T, D)))
    np.testing.assert_array_equal(array(one(x, training=True)), array(one(x, training=False)))
    two = made(rng, depth=2, dropout=0.5, seed=1, return_sequences=True)
    assert np.abs(array(two(x, training=True)) - array(two(x, training=False))).max() > 1e-3


def test_zero_output_all_states_and_lengths(rng):
    options = {"zero_output_for_mask": True, "return_all_states": True, **ALL}
    layer = made(rng, depth=2, **options)
    x, lengths = tensor(rng.normal(size=(B, T, D))), np.array([2, 6])
    outputs, *states = outcome(layer(x, lengths=tensor(lengths, "int32")))
    assert [s.shape for s in states] == [(B, T, H)] * 2 + [(B, H)] * 2
    assert not outputs[0, 2:].any() and outputs[0, :2].all() and outputs[1].all()
    np.testing.assert_allclose(states[1][:, -1], states[3], **EXACT)
    np.testing.assert_allclose(outputs[1], states[1][1], **EXACT)


def test_resets_reach_every_level(rng):
    layer = made(rng, depth=2, return_sequences=True)
    x, resets = tensor(rng.normal(size=(B, T, D))), np.zeros((B, T), bool)
    resets[:, 2] = True
    found = array(layer(x, resets=tensor(resets, "bool")))
    wanted = np.concatenate([array(layer(x[:, :2])), array(layer(x[:, 2:]))], axis=1)
    np.testing.assert_allclose(found, wanted, **EXACT)


@pytest.mark.core
@pytest.mark.parametrize(
    "options",
    [
        {"depth": 3, "residual": "highway", "dropout": 0.1, "seed": 3},
        {"depth": 2, "residual": "dense", "bidirectional": True, "merge_mode": "sum"},
        {"residual": "sum", "memory": ("remat", 2), "return_state": True},
    ],
    ids=["highway", "bidirectional", "list"],
)
def test_config_saving_and_symbolic_shapes(options, tmp_path, rng):
    one = keras_rnnx.LSTMCell(H, zoneout=0.1)
    cell = one if "depth" in options else [one, keras_rnnx.GRUCell(H)]
    inputs = keras.Input((T, H), batch_size=B)
    layer = keras_rnnx.DeepRNN(cell, return_sequences=True, **options)
    symbolic = layer(inputs)
    model = randomized(keras.Model(inputs, symbolic), rng)
    x = np.float32(rng.normal(size=(B, T, H)))
    wanted = outcome(model(x))
    assert [tuple(s.shape) for s in keras.tree.flatten(symbolic)] == [w.shape for w in wanted]
    config = json.loads(json.dumps(layer.get_config()))
    assert json.dumps(keras_rnnx.DeepRNN.from_config(config).get_config()) == json.dumps(config)
    model.save(tmp_path / "model.keras")
    for found, want in zip(outcome(keras.saving.load_model(tmp_path / "model.keras")(x)), wanted, strict=True):
        np.testing.assert_allclose(found, want, rtol=0, atol=1e-6)


@pytest.mark.core
@pytest.mark.parametrize(
    "options, word",
    [
        ({"depth": 0}, "depth"),
        ({"depth": 2.0}, "depth"),
        ({"residual": "skip"}, "residual"),
        ({"dropout": 1.0}, "dropout"),
        ({"bidirectional": True, "go_backwards": True}, "go_backwards"),
        ({"bidirectional": True, "merge_mode": None}, "merge_mode"),
        ({"memory": ("remat", 0)}, "memory"),
        ({"recurrent_clip": -1.0}, "recurrent_clip"),
    ],
    ids=str,
)
def test_wrong_arguments(options, word):
    with pytest.raises(ValueError, match=rf"Expected .*{word}.*Received: "):
        keras_rnnx.DeepRNN(keras_rnnx.GRUCell(H), **options)


def test_wrong_depth_of_a_list_and_wrong_states(rng):
    cells = [keras_rnnx.GRUCell(H), keras_rnnx.GRUCell(H)]
    with pytest.raises(ValueError, match="Expected `depth`.*Received: depth=3"):
        keras_rnnx.DeepRNN(cells, depth=3)
    layer = keras_rnnx.DeepRNN(cells)
    with pytest.raises(ValueError, match="Expected `initial_state`.*Received: "):
        layer(np.ones((B, T, D), "float32"), initial_state=[[np.zeros((B, H), "float32")]])
