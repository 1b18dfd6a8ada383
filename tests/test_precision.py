"""Every layer in half precision and in float64: dtypes, results and gradients near float32's, float32 states.

torch runs each layer in both half precisions, TensorFlow in one of them and JAX in the other, a sixth of the layers
each; all layers with `pytest tests/test_precision.py -k precision`.
"""

import keras
import numpy as np
import pytest
from cases import BACKEND, array, gradients, randomized, shared, tensor, tensors, weighted, weights_of
from catalogue import LAYERS
from keras import ops

import keras_rnnx

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 4, 3, 4
ALL = {"return_sequences": True, "return_state": True}
POLICIES = {"mixed_bfloat16": ("bfloat16", 2.0**-8), "mixed_float16": ("float16", 2.0**-11)}
MADE = {
    "bidirectional": lambda policy: keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, dtype=policy, **ALL), dtype=policy),
    "deep": lambda policy: keras_rnnx.DeepRNN(
        [keras_rnnx.GRUCell(H, dtype=policy), keras_rnnx.MinGRUCell(H, dtype=policy)], dtype=policy, **ALL
    ),
    "zoneout": lambda policy: keras_rnnx.RNN(
        keras_rnnx.ZoneoutCell(keras_rnnx.LSTMCell(H, dtype=policy), 0.1), dtype=policy, **ALL
    ),
    "normalized": lambda policy: keras_rnnx.LSTM(H, normalization="layer", dtype=policy, **ALL),
    "remat": lambda policy: keras_rnnx.GRU(H, reset_after=False, memory=("remat", 2), dtype=policy, **ALL),
}


def each(names):
    """Names with policies: both on torch; of the others each backend has one, not the same for all names."""
    policies = list(POLICIES)
    return shared([(name, policies[(i + k) % 2]) for i, name in enumerate(names) for k in range(2)])


def dtype_of(value):
    return keras.backend.standardize_dtype(value.dtype)


def single(values):
    return array(ops.cast(values, "float32"))


def check(layer, other, policy, x, state, wanted, rng):
    """A layer in half precision and one in float32 with the same weights, and its results.

    Outputs are off by a few roundings of the half precision; so is the gradient of everything together, seen as one
    vector.
    """
    half, rounding = POLICIES[policy]
    assert all(dtype_of(w) == "float32" for w in layer.weights)
    outputs, *states = keras.tree.flatten(layer(x, initial_state=state or None))
    assert dtype_of(outputs) == half and {dtype_of(s) for s in states} == {"float32"}
    for one, want in zip([outputs, *states], wanted, strict=True):
        np.testing.assert_allclose(single(one), want, rtol=0, atol=16 * rounding * max(1, np.abs(want).max()))
    cotangents = [rng.normal(size=want.shape) for want in wanted]
    found, exact = (
        gradients(
            lambda x, *state, layer=layer: weighted(
                [ops.cast(r, "float32") for r in keras.tree.flatten(layer(x, initial_state=list(state) or None))],
                cotangents,
            ),
            [x, *state],
            layer.trainable_weights,
        )
        for layer in (layer, other)
    )
    assert {a.dtype for a in found} == {np.dtype("float32")}
    found, exact = (np.concatenate([a.ravel() for a in parts]) for parts in (found, exact))
    assert np.linalg.norm(found - exact) < 32 * rounding * np.linalg.norm(exact)


@pytest.mark.core
@pytest.mark.sixths
@pytest.mark.parametrize("name, policy", each(sorted(LAYERS)))
def test_every_layer_in_mixed_precision(name, policy, rng):
    """Beside the NumPy twin, and its gradients beside those in float32."""
    case = LAYERS[name]
    units, features = case.units or H, case.features or D
    layer = case.built(rng, features, units, dtype=policy, **ALL)
    other = case.make(units, dtype="float32", **ALL)
    other.build((None, None, features))
    other.set_weights(layer.get_weights())
    x, state = rng.normal(size=(B, T, features)), case.start(rng, B, units)
    outputs, _, _, final = case.walk(weights_of(layer), x, state)
    check(layer, other, policy, tensor(x, "float32"), tensors(state, "float32"), [outputs, *final], rng)


@pytest.mark.core
@pytest.mark.sixths
@pytest.mark.parametrize("name, policy", each(MADE))
def test_everything_made_of_layers_in_mixed_precision(name, policy, rng):
    layer, other = MADE[name](policy), MADE[name]("float32")
    for made in (layer, other):
        made.build((None, None, D))
    randomized(layer, rng)
    other.set_weights(layer.get_weights())
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    check(layer, other, policy, x, [], [array(r) for r in keras.tree.flatten(other(x))], rng)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras' tanh, sin and cos give float32 for float64 on JAX")
@pytest.mark.core
@pytest.mark.sixths
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer_in_float64(name, rng):
    """A change in the tenth digit is seen in everything that comes back."""
    case = LAYERS[name]
    units, features = case.units or H, case.features or D
    layer = case.built(rng, features, units, dtype="float64", **ALL)
    assert {dtype_of(w) for w in layer.weights} == {"float64"}
    x, state, small = rng.normal(size=(B, T, features)), case.start(rng, B, units), 1e-10
    state = tensors(state, "float64")
    results = [array(r) for r in keras.tree.flatten(layer(tensor(x, "float64"), initial_state=state))]
    moved = [array(r) for r in keras.tree.flatten(layer(tensor(x + small, "float64"), initial_state=state))]
    assert {a.dtype for a in results} == {np.dtype("float64")}
    assert 0 < np.abs(results[0] - moved[0]).max() < 1e-7


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
    """The loss falls and the weights stay finite."""
    x, y, model = task(policy, rng)
    model.compile(keras.optimizers.Adam(0.03), keras.losses.BinaryCrossentropy(from_logits=True))
    losses = model.fit(x, y, epochs=12, batch_size=16, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]
    assert all(np.isfinite(w).all() for w in model.get_weights())


def task(policy, rng):
    x = np.float32(rng.normal(size=(32, T, D)))
    y = np.float32(x.sum(axis=(1, 2)) > 0)[:, None]
    layers = [keras_rnnx.GRU(8, dtype=policy, dropout=0.1), keras.layers.Dense(1, dtype="float32")]
    return x, y, keras.Sequential([keras.Input((T, D)), *layers])


def test_the_loss_is_scaled_until_nothing_overflows(rng):
    """A step that overflows is skipped and halves the scale; five good steps double it; the loss falls."""
    x, y, model = task("mixed_float16", rng)
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.03), initial_scale=2.0**30, dynamic_growth_steps=5
    )
    model.compile(optimizer, keras.losses.BinaryCrossentropy(from_logits=True))
    scales, losses, moved = [2.0**30], [], []
    for _ in range(30):
        before = model.get_weights()
        losses += model.fit(x, y, batch_size=32, verbose=0).history["loss"]
        scales.append(float(array(optimizer.dynamic_scale)))
        moved.append(any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True)))
    overflowed = [after < before for before, after in zip(scales, scales[1:], strict=False)]
    assert overflowed[0] and scales[1] == 2.0**29
    assert moved == [not skipped for skipped in overflowed]
    assert not all(overflowed[-5:]) and max(scales[i + 1] / scales[i] for i in range(30)) == 2
    assert losses[-1] < 0.8 * losses[0] and np.isfinite(losses).all()


@pytest.mark.core
@pytest.mark.parametrize(
    "structure", [{}, {"recurrent_structure": "block", "recurrent_blocks": 2}], ids=["dense", "block"]
)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_orthogonal_start_is_drawn_in_float32(dtype, structure):
    kernels = []
    for kind in (dtype, "float32"):
        start = keras.initializers.Orthogonal(seed=3)
        layer = keras_rnnx.GRU(H, recurrent_initializer=start, dtype=kind, **structure)
        layer.build((None, None, D))
        kernels.append(layer.cell.recurrent_kernel)
    assert dtype_of(kernels[0]) == dtype
    np.testing.assert_array_equal(single(kernels[0]), single(ops.cast(kernels[1], dtype)))


@pytest.mark.core
@pytest.mark.parametrize("policy", POLICIES)
def test_carried_states_keep_their_digits(policy, rng):
    """Two calls of a stateful layer are one: what is kept between them is not rounded."""
    layer = keras_rnnx.LSTM(H, dtype=policy, stateful=True, return_state=True)
    layer.build((B, None, D))
    randomized(layer, rng)
    whole = keras_rnnx.LSTM(H, dtype=policy, return_state=True)
    whole.build((B, None, D))
    whole.set_weights(layer.get_weights())
    x = np.float32(rng.normal(size=(B, T, D)))
    layer(x[:, :2])
    assert {dtype_of(s) for s in layer.states} == {"float32"}
    for one, other in zip(layer(x[:, 2:]), whole(x), strict=True):
        np.testing.assert_allclose(single(one), single(other), rtol=0, atol=1e-6)


class HalfLife(keras_rnnx.Cell):
    """Forgets at a rate that is a weight."""

    GATES, VECTORS = "h", "decay"

    def step(self, x, u, h):
        return u.decay * h + 0 * x.h


@pytest.mark.core
def test_vectors_are_not_rounded_first():
    """0.999 is 1 in bfloat16."""
    layer = keras_rnnx.RNN(HalfLife(1, dtype="mixed_bfloat16"), return_state=True, dtype="mixed_bfloat16")
    layer.build((1, T, 1))
    layer.cell.decay.assign([0.999])
    _, state = layer(np.ones((1, T, 1)), initial_state=[tensor(np.ones((1, 1)), "float32")])
    np.testing.assert_allclose(array(state), [[0.999**T]], rtol=1e-6)


@pytest.mark.core
def test_scores_of_a_crf_are_not_rounded_first():
    """1.001 is 1 in bfloat16."""
    layer = keras_rnnx.models.CRF(dtype="mixed_bfloat16")
    layer.build((1, 2, 2))
    layer.transitions.assign([[1.0, 1.001], [0.0, 0.0]])
    np.testing.assert_array_equal(array(layer(np.zeros((1, 2, 2), "float32"))), [[0, 1]])
