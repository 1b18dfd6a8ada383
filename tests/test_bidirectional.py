"""Bidirectional: two twins, one from each end, aligned to time and merged."""

import json

import keras
import numpy as np
import pytest
from cases import (
    BY_NAME,
    DIFFERENCES,
    EXACT,
    SINGLE,
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
from reference import numeric_gradient

import keras_rnnx
from keras_rnnx.engine import paths

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 6, 3, 4
ALL = {"return_sequences": True, "return_state": True}
MASK = np.array([[1, 0, 1, 1, 0, 1], [0, 1, 1, 0, 1, 0]], bool)
MERGE = {
    "concat": lambda a, b: np.concatenate([a, b], axis=-1),
    "sum": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "ave": lambda a, b: (a + b) / 2,
}
NAMES = ["lstm", "gru-before", "elman-output", "deep-transition"]


def made(name, rng, merge_mode="concat", **options):
    layer = keras_rnnx.Bidirectional(BY_NAME[name].make(H, **options), merge_mode, dtype=options.get("dtype"))
    layer.build((None, None, D))
    return randomized(layer, rng)


def aligned(outputs, start, mask):
    """Backward outputs in processing order, put back in time; a masked step holds what was read after it."""
    found, held = np.empty_like(outputs), np.array(start)
    for row, valid in enumerate(mask):
        results, now = iter(outputs[row, valid]), held[row]
        for t in reversed(range(outputs.shape[1])):
            now = next(results) if valid[t] else now
            found[row, t] = now
    return found


def twins(layer, case, x, state, mask=None, weights=None, **options):
    """Results of both directions: outputs aligned to time, last outputs, final states."""
    w_forward, w = weights or map(weights_of, (layer.forward_layer, layer.backward_layer))
    mask = np.ones(x.shape[:2], bool) if mask is None else mask
    forward = case.walk(w_forward, x, state[: case.states], mask=mask, **options)
    backward = case.walk(w, x, state[case.states :], mask=mask, go_backwards=True, **options)
    start = (case.readout or (lambda w, h: h))(w, state[case.states])
    return [
        (forward[0], aligned(backward[0], start, mask)),
        (forward[1], backward[1]),
        (*forward[3], *backward[3]),
    ]


@pytest.mark.core
@pytest.mark.parametrize("name, masked", [("lstm", False), *[(name, True) for name in NAMES]])
def test_is_two_twins(name, masked, rng):
    case, layer = BY_NAME[name], made(name, rng, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H) + case.start(rng, B, H)
    mask = MASK if masked else None
    call = {"mask": tensor(MASK, "bool")} if masked else {}
    outputs, _, final = twins(layer, case, x, state, mask)
    results = outcome(layer(tensor(x), initial_state=tensors(state), **call))
    for one, want in zip(results, [MERGE["concat"](*outputs), *final], strict=True):
        np.testing.assert_allclose(one, want, **EXACT)


@pytest.mark.core
@pytest.mark.parametrize("merge_mode", ["concat", "mul"])
def test_central_differences(merge_mode, rng):
    """Inputs, initial states and every weight of both directions, with masked steps."""
    layer, case = made("lstm", rng, merge_mode, **ALL), BY_NAME["lstm"]
    x, state, mask = rng.normal(size=(B, 4, D)), [*case.start(rng, B, H), *case.start(rng, B, H)], MASK[:, :4]
    directions = [layer.forward_layer, layer.backward_layer]
    names = [[v.name for v in direction.weights] for direction in directions]
    values = [a for direction in directions for a in weights_of(direction).values()]

    def results(x, *rest):
        state, rest = list(rest[:4]), iter(rest[4:])
        weights = [{name: next(rest) for name in own} for own in names]
        outputs, _, final = twins(layer, case, x, state, mask, weights)
        return [MERGE[merge_mode](*outputs), *final]

    cotangents = [rng.normal(size=a.shape) for a in results(x, *state, *values)]

    def twin_loss(*arrays):
        return sum((r * c).sum() for r, c in zip(results(*arrays), cotangents, strict=True))

    def loss(x, *state):
        results = layer(x, initial_state=list(state), mask=tensor(mask, "bool"), training=True)
        return weighted(results, tensors(cotangents))

    found = gradients(loss, tensors([x, *state]), [v for direction in directions for v in direction.weights])
    for one, other in zip(found, numeric_gradient(twin_loss, [x, *state, *values]), strict=True):
        np.testing.assert_allclose(one, other, **DIFFERENCES)


@pytest.mark.parametrize("sequences", [False, True], ids=["last", "sequences"])
@pytest.mark.parametrize("merge_mode", [*MERGE, None])
def test_merge(merge_mode, sequences, rng):
    case, layer = BY_NAME["gru-after"], made("gru-after", rng, merge_mode, return_sequences=sequences)
    x, lengths = rng.normal(size=(B, T, D)), np.array([4, 6])
    zeros = case.own_state({}, B, H) * 2
    outputs, last, _ = twins(layer, case, x, zeros, np.arange(T) < lengths[:, None])
    results = outcome(layer(tensor(x), lengths=tensor(lengths, "int32")))
    pair = outputs if sequences else last
    wanted = list(pair) if merge_mode is None else [MERGE[merge_mode](*pair)]
    for one, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(one, want, **EXACT)


@pytest.mark.core
@pytest.mark.parametrize(
    "name, training",
    few([("gru-before", True), ("lstm", False), ("deep-transition", False)]),
)
def test_one_loop_is_two_loops(name, training, rng, monkeypatch):
    """Both directions in one loop give the same results and gradients as each by itself."""
    layer = made(name, rng, normalization="rms", learn_initial_state=True, zoneout=0.0, **ALL)
    x, call = tensor(rng.normal(size=(B, T, D))), {"mask": tensor(MASK, "bool"), "training": training}
    found = []
    for lanes in (True, False):
        monkeypatch.setattr(paths, "gains_by_lanes", lambda *_, lanes=lanes: lanes)
        assert layer.one_loop == lanes
        results = outcome(layer(x, **call))
        cotangents = [np.random.default_rng(i).normal(size=r.shape) for i, r in enumerate(results)]

        def loss(x, cotangents=cotangents):
            return weighted(layer(x, **call), cotangents)

        found.append([*results, *gradients(loss, [x], layer.trainable_weights)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


def test_cells_that_differ_take_two_loops(rng, monkeypatch):
    monkeypatch.setattr(paths, "gains_by_lanes", lambda *_: True)
    backward = keras_rnnx.GRU(5, go_backwards=True, **ALL)
    layer = keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, **ALL), backward_layer=backward)
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    outputs, h, c, h_back = outcome(layer(x))
    assert not layer.one_loop and layer.backward_layer is backward
    assert outputs.shape == (B, T, H + 5) and h.shape == c.shape == (B, H) and h_back.shape == (B, 5)
    wanted = array(backward(x)[0])[:, ::-1]
    np.testing.assert_allclose(outputs[..., H:], wanted, **SINGLE)


@pytest.mark.core
@pytest.mark.parametrize("masked", [False, True], ids=["all", "right-padded"])
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_is_the_layer_of_keras(name, masked, rng):
    """The same weights in the same order; equal at every valid step."""
    ours = keras_rnnx.Bidirectional(getattr(keras_rnnx, name)(H, return_sequences=True))
    theirs = keras.layers.Bidirectional(getattr(keras.layers, name)(H, return_sequences=True))
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    ours(x), theirs(x)
    randomized(theirs, rng)
    ours.set_weights(theirs.get_weights())
    valid = np.arange(T) < np.array([[T], [3 if masked else T]])
    mask = tensor(valid, "bool") if masked else None
    found, wanted = array(ours(x, mask=mask)), array(theirs(x, mask=mask))
    np.testing.assert_allclose(found[valid], wanted[valid], **SINGLE)


@pytest.mark.parametrize("seed", [None, 3])
def test_draws_differ_between_directions(seed, rng):
    layer = made("lstm", rng, None, dropout=0.5, zoneout=0.5, seed=seed, return_sequences=True)
    layer.backward_layer.set_weights(layer.forward_layer.get_weights())
    palindrome = rng.normal(size=(B, T, D))
    palindrome = tensor(np.concatenate([palindrome, palindrome[:, ::-1]], axis=1))
    one, other = outcome(layer(palindrome, training=False))
    np.testing.assert_allclose(one, other[:, ::-1], **EXACT)
    one, other = outcome(layer(palindrome, training=True))
    assert np.abs(one - other[:, ::-1]).max() > 1e-3


def test_stateful(rng):
    """Each direction goes on from its own last state."""
    layer = made("lstm", rng, stateful=True, **ALL)
    x = tensor(rng.normal(size=(B, T, D)))
    first = outcome(layer(x))
    second = outcome(layer(x))
    wanted = outcome(layer(x, initial_state=tensors(first[1:])))
    for one, want in zip(second, wanted, strict=True):
        np.testing.assert_allclose(one, want, **EXACT)
    layer.reset_state()
    np.testing.assert_array_equal(outcome(layer(x))[0], first[0])


def test_resets_in_both_directions(rng):
    case, layer = BY_NAME["lstm"], made("lstm", rng, learn_initial_state=True, **ALL)
    x, resets = rng.normal(size=(B, T, D)), np.zeros((B, T), bool)
    resets[:, 3] = True
    outputs = outcome(layer(tensor(x), resets=tensor(resets, "bool")))[0]
    first, second = outcome(layer(tensor(x[:, :3])))[0], outcome(layer(tensor(x[:, 3:])))[0]
    np.testing.assert_allclose(outputs, np.concatenate([first, second], axis=1), **EXACT)
    assert case.states == 2


@pytest.mark.core
@pytest.mark.parametrize("merge_mode", ["sum", None])
def test_config_saving_and_symbolic_shapes(merge_mode, tmp_path, rng):
    backward = keras_rnnx.GRU(H, go_backwards=True, zoneout=0.1, **ALL)
    inputs = keras.Input((T, D), batch_size=B)
    layer = keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, **ALL), merge_mode, backward_layer=backward)
    symbolic = layer(inputs)
    model = randomized(keras.Model(inputs, symbolic), rng)
    x = np.float32(rng.normal(size=(B, T, D)))
    wanted = outcome(model(x))
    assert [tuple(s.shape) for s in keras.tree.flatten(symbolic)] == [w.shape for w in wanted]
    config = json.loads(json.dumps(layer.get_config()))
    assert json.dumps(keras_rnnx.Bidirectional.from_config(config).get_config()) == json.dumps(config)
    model.save(tmp_path / "model.keras")
    for one, want in zip(outcome(keras.saving.load_model(tmp_path / "model.keras")(x)), wanted, strict=True):
        np.testing.assert_allclose(one, want, rtol=0, atol=1e-6)


@pytest.mark.core
@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: keras_rnnx.Bidirectional(keras.layers.LSTM(H)), "layer"),
        (lambda: keras_rnnx.Bidirectional(keras_rnnx.LSTM(H), "max"), "merge_mode"),
        (lambda: keras_rnnx.Bidirectional(keras_rnnx.LSTM(H), backward_layer=keras_rnnx.LSTM(H)), "go_backwards"),
        (
            lambda: keras_rnnx.Bidirectional(
                keras_rnnx.LSTM(H), backward_layer=keras_rnnx.LSTM(H, go_backwards=True, return_state=True)
            ),
            "return_state",
        ),
    ],
    ids=["layer", "merge_mode", "go_backwards", "return_state"],
)
def test_wrong_arguments(make, word):
    with pytest.raises(ValueError, match=rf"Expected .*{word}.*Received: "):
        make()


def test_wrong_number_of_initial_states(rng):
    layer = made("lstm", rng, **ALL)
    with pytest.raises(ValueError, match="Expected `initial_state`.*Received: "):
        layer(tensor(rng.normal(size=(B, T, D))), initial_state=tensors([np.zeros((B, H))] * 3))


def test_a_wide_model_trains(rng):
    """The gain by one loop is only a matter of speed: `fit` works whichever is taken."""
    x = np.float32(rng.normal(size=(24, T, D)))
    y = np.float32(x[:, 0].sum(axis=-1) > 0)[:, None]
    model = keras.Sequential([keras_rnnx.Bidirectional(keras_rnnx.LSTM(8)), keras.layers.Dense(1, "sigmoid")])
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    losses = model.fit(x, y, epochs=8, batch_size=12, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
