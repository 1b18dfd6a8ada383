"""Half precision and float64: dtypes of results, states in float32, weights that stay in float32."""

import keras
import numpy as np
import pytest
from cases import BY_NAME, CASES, DOUBLE, array, each_case, gradients, randomized, shared, tensor, weighted

import keras_rnnx

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 6, 3, 4
ALL = {"return_sequences": True, "return_state": True, "return_all_states": True}
POLICIES = {"mixed_bfloat16": ("bfloat16", 2.0**-8), "mixed_float16": ("float16", 2.0**-11)}


def dtype_of(value):
    return keras.backend.standardize_dtype(value.dtype)


def single(values):
    return array(keras.ops.cast(values, "float32"))


@pytest.mark.core
@pytest.mark.parametrize("case, policy", shared(each_case(mixed_bfloat16=None, mixed_float16=("lstm", "gru-before"))))
def test_mixed_precision(case, policy, rng):
    """Outputs in half precision, states in float32; both within a few roundings of float32."""
    half, rounding = POLICIES[policy]
    layer = case.built(rng, D, H, dtype=policy, **ALL)
    other = case.make(H, dtype="float32", **ALL)
    other.build((None, None, D))
    other.set_weights(layer.get_weights())
    assert all(dtype_of(w) == "float32" for w in layer.weights)
    x = np.float32(rng.normal(size=(B, T, D)))
    outputs, *states = keras.tree.flatten(layer(x))
    assert dtype_of(outputs) == half and {dtype_of(s) for s in states} == {"float32"}
    for one, want in zip([outputs, *states], keras.tree.flatten(other(x)), strict=True):
        np.testing.assert_allclose(single(one), single(want), rtol=0, atol=32 * rounding)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["lstm", "gru-before"])
def test_gradients_in_mixed_precision(name, policy, rng):
    _, rounding = POLICIES[policy]
    layer = BY_NAME[name].built(rng, D, H, dtype=policy, return_sequences=True)
    other = BY_NAME[name].make(H, dtype="float32", return_sequences=True)
    other.build((None, None, D))
    other.set_weights(layer.get_weights())
    x, cotangents = tensor(rng.normal(size=(B, T, D)), "float32"), [rng.normal(size=(B, T, H))]
    found = gradients(lambda x: weighted(layer(x), cotangents), [x], layer.trainable_weights)
    wanted = gradients(lambda x: weighted(other(x), cotangents), [x], other.trainable_weights)
    for one, want in zip(found, wanted, strict=True):
        assert one.dtype == "float32"
        np.testing.assert_allclose(one, want, rtol=0, atol=64 * rounding * max(1, np.abs(want).max()))


def test_small_updates_are_not_lost_in_half_precision():
    """A cell state that creeps: 1000 steps of 1/1024 would stand still in bfloat16 from 1/4 on."""
    layer = keras_rnnx.LSTM(1, dtype="mixed_bfloat16", return_state=True)
    layer.build((None, None, 1))
    step = 2.0**-10
    open_gates = np.array([40.0, 40.0, np.arctanh(step), 0.0])
    layer.set_weights([np.zeros((1, 4)), np.zeros((1, 4)), open_gates])
    _, _, cell_state = layer(np.zeros((1, 1000, 1), "float32"))
    np.testing.assert_allclose(array(cell_state), [[1000 * step]], rtol=0.02)


@pytest.mark.parametrize("policy", POLICIES)
def test_fit_in_mixed_precision(policy, rng):
    """With Keras' loss scaling: the loss falls and the weights stay finite."""
    x = np.float32(rng.normal(size=(32, T, D)))
    y = np.float32(x.sum(axis=(1, 2)) > 0)[:, None]
    layers = [keras_rnnx.GRU(8, dtype=policy, dropout=0.1), keras.layers.Dense(1, dtype="float32")]
    model = keras.Sequential([keras.Input((T, D)), *layers])
    model.compile(keras.optimizers.Adam(0.03), keras.losses.BinaryCrossentropy(from_logits=True))
    losses = model.fit(x, y, epochs=12, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.skipif(not DOUBLE, reason="JAX has float64 only where the process asks for it")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_float64_is_float64_all_the_way(case, rng):
    layer = case.built(rng, D, H, dtype="float64", **ALL)
    x, small = rng.normal(size=(B, T, D)), 1e-10
    results = [array(r) for r in keras.tree.flatten(layer(tensor(x, "float64")))]
    moved = [array(r) for r in keras.tree.flatten(layer(tensor(x + small, "float64")))]
    for one, other in zip(results, moved, strict=True):
        assert one.dtype == "float64"
        assert 0 < np.abs(one - other).max() < 1e-7


def test_a_stateful_layer_keeps_float32_states(rng):
    layer = randomized_layer(rng)
    layer(np.float32(rng.normal(size=(B, T, D))))
    assert [dtype_of(s) for s in layer.states] == ["float32", "float32"]


def randomized_layer(rng):
    layer = keras_rnnx.LSTM(H, dtype="mixed_float16", stateful=True)
    layer.build((None, None, D))
    return randomized(layer, rng)
