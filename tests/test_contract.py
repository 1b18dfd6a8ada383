"""What every layer promises: states, chunks, shapes, dtypes, seeds, Keras' weights and results."""

import keras
import numpy as np
import pytest
from cases import (
    BY_NAME,
    CASES,
    EXACT,
    SINGLE,
    array,
    each_case,
    gradients,
    outcome,
    randomized,
    shared,
    tensor,
    tensors,
    weighted,
)

import keras_rnnx

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 7, 3, 4
ALL = {"return_sequences": True, "return_state": True, "return_all_states": True}
every_case = pytest.mark.parametrize("case", CASES, ids=str)


@pytest.mark.core
@pytest.mark.parametrize("case, direction", shared(each_case(forwards=None, backwards=("lstm", "gru-before"))))
def test_chunks_with_the_state_handed_over_are_one_run(case, direction, rng):
    backwards = direction == "backwards"
    layer = case.built(rng, D, H, go_backwards=backwards, return_sequences=True, return_state=True)
    x, state = tensor(rng.normal(size=(B, T, D))), tensors(case.start(rng, B, H))
    outputs, *final = outcome(layer(x, initial_state=state))
    chunks = (x[:, 3:], x[:, :3]) if backwards else (x[:, :3], x[:, 3:])
    first, *middle = layer(chunks[0], initial_state=state)
    second, *last = layer(chunks[1], initial_state=middle)
    np.testing.assert_allclose(np.concatenate([array(first), array(second)], axis=1), outputs, **EXACT)
    for one, other in zip(outcome(last), final, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.core
@pytest.mark.parametrize("name", ["lstm", "jordan"])
def test_stateful_layer_carries_its_states(name, rng):
    """A last batch of fewer rows uses, and changes, the first rows alone."""
    case = BY_NAME[name]
    layer = case.built(rng, D, H, stateful=True, return_state=True)
    plain = case.make(H, return_state=True)
    plain.build((None, None, D))
    plain.set_weights(layer.get_weights())
    batches = tensors([rng.normal(size=(n, T, D)) for n in (3, 3, 2, 3)])
    state = tensors(case.own_state({}, 3, H))
    for x in batches:
        rows = x.shape[0]
        output, *final = outcome(plain(x, initial_state=[s[:rows] for s in state]))
        found, *kept = outcome(layer(x))
        np.testing.assert_allclose(found, output, **EXACT)
        state = [np.concatenate([f, array(s)[rows:]]) for f, s in zip(final, state, strict=True)]
        state = tensors(state)
        for one, other in zip(layer.states, state, strict=True):
            np.testing.assert_allclose(array(one), array(other), **EXACT)
    layer.reset_state()
    np.testing.assert_allclose(outcome(layer(batches[0]))[0], outcome(plain(batches[0]))[0], **EXACT)
    assert len(layer.weights) == len(plain.weights)


def test_stateful_reset_state_takes_states_or_the_learned_one(rng):
    layer = BY_NAME["lstm"].built(rng, D, H, stateful=True, learn_initial_state=True)
    x = tensor(rng.normal(size=(B, T, D)))
    first = array(layer(x))
    assert np.abs(array(layer(x)) - first).max() > 1e-3
    layer.reset_state()
    np.testing.assert_array_equal(array(layer(x)), first)
    given = [rng.normal(size=(B, H)) for _ in range(2)]
    layer.reset_state(given)
    wanted = BY_NAME["lstm"].make(H)
    wanted.build((None, None, D))
    wanted.set_weights(layer.get_weights()[:3])
    np.testing.assert_allclose(array(layer(x)), array(wanted(x, initial_state=tensors(given))), **EXACT)


@every_case
def test_symbolic_shapes_and_dtypes_are_the_real_ones(case):
    layer = case.make(H, dtype="float32", go_backwards=True, **ALL)
    symbolic = keras.tree.flatten(layer(keras.Input((T, D), batch_size=B)))
    real = keras.tree.flatten(layer(np.ones((B, T, D), "float32")))
    assert [tuple(s.shape) for s in symbolic] == [tuple(r.shape) for r in real]
    assert [s.dtype for s in symbolic] == [keras.backend.standardize_dtype(r.dtype) for r in real]


@pytest.mark.core
@pytest.mark.parametrize("name", ["lstm", "gru-before"])
def test_the_same_seed_draws_the_same(name, rng):
    rates = {"dropout": 0.3, "recurrent_dropout": 0.3, "zoneout": 0.2, "dtype": "float32"}
    x = tensor(rng.normal(size=(B, T, D)), "float32")

    def run(seed):
        rng = np.random.default_rng(1)
        layer = BY_NAME[name].built(rng, D, H, seed=seed, **rates)
        return [array(layer(x, training=True)) for _ in range(2)]

    one, again, other = run(5), run(5), run(6)
    np.testing.assert_array_equal(one, again)
    assert np.abs(one[0] - one[1]).max() > 1e-3
    assert np.abs(one[0] - other[0]).max() > 1e-3


def test_fit_is_deterministic_under_a_seed(rng):
    x, y = np.float32(rng.normal(size=(8, T, D))), np.float32(rng.normal(size=(8, 1)))

    def trained():
        keras.utils.set_random_seed(3)
        layers = [keras_rnnx.GRU(H, dropout=0.2, recurrent_dropout=0.2), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile("adam", "mse")
        model.fit(x, y, epochs=2, batch_size=4, verbose=0)
        return model.get_weights()

    for one, other in zip(trained(), trained(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_learn_initial_state_is_learned(rng):
    layer = BY_NAME["lstm"].built(rng, D, H, learn_initial_state=True)
    x = tensor(rng.normal(size=(B, T, D)))
    names = [w.name for w in layer.trainable_weights]
    found = gradients(lambda x: weighted(layer(x), [np.ones((B, H))]), [x], layer.trainable_weights)
    for name in ("initial_h", "initial_c"):
        assert np.abs(found[1 + names.index(name)]).min() > 0
    fresh = BY_NAME["lstm"].make(H, learn_initial_state=True)
    fresh.build((None, None, D))
    assert all(not array(w).any() for w in fresh.weights if w.name.startswith("initial"))


# ---- Keras' layers ----

PAIRS = {
    "lstm": (keras_rnnx.LSTM, keras.layers.LSTM, {}),
    "gru-after": (keras_rnnx.GRU, keras.layers.GRU, {"reset_after": True}),
    "gru-before": (keras_rnnx.GRU, keras.layers.GRU, {"reset_after": False}),
    "vanilla": (keras_rnnx.VanillaRNN, keras.layers.SimpleRNN, {}),
    "lstm-no-bias": (keras_rnnx.LSTM, keras.layers.LSTM, {"use_bias": False}),
    "gru-relu": (keras_rnnx.GRU, keras.layers.GRU, {"activation": "relu"}),
}
every_pair = pytest.mark.parametrize("name", PAIRS)


def pair(name, rng, **options):
    """Our layer and Keras' with the same weights, moved there and back."""
    ours, theirs, kwargs = PAIRS[name]
    ours, theirs = ours(H, **kwargs, **options), theirs(H, **kwargs, **options)
    ours.build((None, None, D)), theirs.build((None, None, D))
    assert [(w.name, w.shape) for w in ours.weights] == [(w.name, w.shape) for w in theirs.weights]
    randomized(theirs, rng)
    ours.set_weights(theirs.get_weights())
    theirs.set_weights(ours.get_weights())
    return ours, theirs


@pytest.mark.core
@pytest.mark.parametrize(
    "name, masked", [*[(name, False) for name in PAIRS], ("lstm", True), ("gru-after", True), ("vanilla", True)]
)
def test_is_the_layer_of_keras(name, masked, rng):
    ours, theirs = pair(name, rng, return_sequences=True, return_state=True)
    x, lengths = tensor(rng.normal(size=(3, T, D)), "float32"), np.array([T, 4, 1])
    mask = tensor(np.arange(T) < lengths[:, None], "bool") if masked else None
    wanted = outcome(theirs(x, mask=mask))
    cotangents = [rng.normal(size=a.shape) for a in wanted]
    for one, other in zip(outcome(ours(x, mask=mask)), wanted, strict=True):
        np.testing.assert_allclose(one, other, **SINGLE)

    def slopes(layer):
        loss = lambda x: weighted(layer(x, mask=mask), cotangents)  # noqa: E731
        return gradients(loss, [x], layer.trainable_weights)

    for one, other in zip(slopes(ours), slopes(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=3e-5)


@every_pair
def test_is_the_layer_of_keras_backwards(name, rng):
    ours, theirs = pair(name, rng, return_sequences=True, return_state=True, go_backwards=True)
    x = tensor(rng.normal(size=(3, T, D)), "float32")
    for one, other in zip(outcome(ours(x)), outcome(theirs(x)), strict=True):
        np.testing.assert_allclose(one, other, **SINGLE)


@every_pair
def test_starts_as_the_layer_of_keras(name):
    """The same initializers: equal constants, orthogonal recurrent kernels, biases as Keras has them."""
    ours, theirs, kwargs = PAIRS[name]
    options = {"kernel_initializer": keras.initializers.RandomUniform(seed=3)}
    ours, theirs = ours(H, **kwargs, **options), theirs(H, **kwargs, **options)
    ours.build((None, None, D)), theirs.build((None, None, D))
    for one, other in zip(ours.weights, theirs.weights, strict=True):
        if one.name == "recurrent_kernel":
            U = array(one)
            np.testing.assert_allclose(U @ U.T, array(other) @ array(other).T, rtol=0, atol=1e-5)
        else:
            np.testing.assert_array_equal(array(one), array(other))


def test_drop_in_positional_arguments():
    for ours, theirs, _ in PAIRS.values():
        one, other = ours(5, "relu"), theirs(5, "relu")
        assert one.activation is other.activation and one.units == other.units


# ---- torch.nn: rows are gates, so kernels are transposed; its GRU stores r z n ----


def to_torch(name, values):
    """kernel, recurrent_kernel, bias as weight_ih, weight_hh, bias_ih, bias_hh of torch.nn."""
    kernel, recurrent_kernel, bias = values
    biases = list(bias) if bias.ndim == 2 else [bias, np.zeros_like(bias)]
    parts = [kernel, recurrent_kernel, *biases]
    if name == "gru-after":
        parts = [np.concatenate([np.split(p, 3, -1)[k] for k in (1, 0, 2)], axis=-1) for p in parts]
    return [p.T for p in parts]


@pytest.mark.core
@pytest.mark.parametrize("name, theirs", [("lstm", "LSTM"), ("gru-after", "GRU"), ("vanilla", "RNN")])
def test_is_the_layer_of_torch(name, theirs, rng):
    torch = pytest.importorskip("torch")
    layer = BY_NAME[name].built(rng, D, H, dtype="float32", return_sequences=True)
    other = getattr(torch.nn, theirs)(D, H, batch_first=True)
    with torch.no_grad():
        for parameter, value in zip(other.parameters(), to_torch(name, layer.get_weights()), strict=True):
            parameter.copy_(torch.tensor(value))
    x = np.float32(rng.normal(size=(B, T, D)))
    wanted = other(torch.tensor(x))[0].detach().numpy()
    np.testing.assert_allclose(array(layer(x)), wanted, **SINGLE)
