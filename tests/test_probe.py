"""Gradients of a loss in the states at every step, against finite differences and against sums written by hand."""

import dataclasses

import keras
import numpy as np
import pytest
from cases import BACKEND, DIFFERENCES, DOUBLE, EXACT, FLOAT, array, few, randomized, tensor, weighted

import keras_rnnx
from keras_rnnx.base.watching import watching
from keras_rnnx.callbacks import state_gradients
from keras_rnnx.callbacks.gradients import Readings
from keras_rnnx.engine import paths
from keras_rnnx.native import library

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

B, T, D, H = 3, 7, 2, 4
LAYERS = {
    "vanilla": lambda **o: keras_rnnx.VanillaRNN(H, **o),
    "elman": lambda **o: keras_rnnx.VanillaRNN(H, output_units=3, **o),
    "lstm": lambda **o: keras_rnnx.LSTM(H, **o),
    "gru": lambda **o: keras_rnnx.GRU(H, recurrent_structure="low_rank", recurrent_rank=2, **o),
    "zoneout": lambda **o: keras_rnnx.LSTM(H, zoneout=[0.3, 0.1], normalization="layer", **o),
    "linear": lambda **o: keras_rnnx.MinGRU(H, **o),
    "complex": lambda **o: keras_rnnx.LRU(H, **o),
    "parallel-lmu": lambda **o: keras_rnnx.ParallelLMU(2, memories=2, order=3, theta=4.0, **o),
    "residual": lambda **o: keras_rnnx.RNN(keras_rnnx.ResidualCell(keras_rnnx.GRUCell(D, dtype=FLOAT)), **o),
    "maps": lambda **o: keras_rnnx.ConvGRU1D(2, 3, data_format="channels_first", **o),
}


class Called(keras.Layer):
    """A layer that calls another one with further arguments."""

    def __init__(self, layer, **call):
        super().__init__(dtype=FLOAT)
        self.layer, self.more, self.built = layer, call, True

    def call(self, x, training=False):
        results = self.layer(x, training=training, **self.more)
        return results[0] if isinstance(results, tuple) else results


def product(cotangent, outputs):
    """The loss whose gradient in the outputs is the cotangent."""
    return weighted(outputs, [tensor(cotangent)])


def gradients_of(layer, x, cotangent, **call):
    """The gradients in the states of the one recurrent layer there is."""
    (found,) = state_gradients(Called(layer, **call), tensor(x), cotangent, loss=product).values()
    return found


def made(name, rng, steps=T, **options):
    """A layer with random weights, a sequence, and a cotangent of its outputs."""
    layer = LAYERS[name](**{"return_sequences": True, "return_state": True, "dtype": FLOAT, **options})
    x = rng.normal(size=(B, steps, D, 5) if name == "maps" else (B, steps, D))
    layer.build((None, *x.shape[1:]))
    randomized(layer, rng)
    y = array(layer(tensor(x))[0])
    return layer, x, rng.normal(size=y.shape)


def holes():
    mask = np.ones((B, T), bool)
    mask[0, 2:4] = mask[1, :3] = mask[1, 5:] = mask[2] = False
    return mask


def differences(layer, x, cotangent, mask, step=1e-6 if DOUBLE else 1e-2):
    """dL/ds_t by central differences.

    One call reads the steps up to t, and another one the later steps, from states that are moved in between. Both mask
    the other's steps. The output that the second one repeats at step t is made from the moved state.
    """
    made = []
    for t in range(T):
        early = np.arange(T) <= t
        _, *states = layer(tensor(x), mask=tensor(mask & early, "bool"))
        states = [array(s).astype("float64") for s in keras.tree.flatten(states)]
        weights = cotangent * (np.arange(T) >= t).reshape(1, T, *[1] * (cotangent.ndim - 2))

        def loss(states, weights=weights, later=mask & ~early):
            y = layer(tensor(x), initial_state=[tensor(s) for s in states], mask=tensor(later, "bool"))[0]
            return (array(y) * weights).reshape(B, -1).sum(axis=1)

        made.append([])
        for i, state in enumerate(states):
            gradient = np.zeros_like(state)
            for unit in np.ndindex(*state.shape[1:]):
                now = [s.copy() for s in states]
                now[i][(slice(None), *unit)] += step
                high = loss(now)
                now[i][(slice(None), *unit)] -= 2 * step
                gradient[(slice(None), *unit)] = (high - loss(now)) / (2 * step)
            made[-1].append(gradient)
    return [np.stack(each, axis=1) for each in zip(*made, strict=True)]


@pytest.mark.parametrize("name", few(LAYERS, 3))
def test_is_what_finite_differences_say(name, rng):
    layer, x, cotangent = made(name, rng)
    mask, steps = holes(), slice(None)
    if name == "parallel-lmu":  # whose output is no function of the state alone: only that of the last step counts
        mask, steps, cotangent[:, :-1] = np.ones((B, T), bool), slice(-1), 0.0
    found = gradients_of(layer, x, cotangent, mask=tensor(mask, "bool"))
    expected = differences(layer, x, cotangent, mask)
    assert [g.shape for g in found] == [g.shape for g in expected]
    for one, other in zip(found, expected, strict=True):
        one, other = one[:, steps], other[:, steps]
        assert np.abs(other).max() > 0.01
        np.testing.assert_allclose(one, other, **DIFFERENCES)


def routes(layer, h, cotangent, mask, clip=np.inf, every=None, resets=None):
    """The two routes of the loss to h_t, through the output there and through h_{t+1}, last step first."""
    U = array(layer.cell.recurrent_kernel).astype("float64")
    g, made = np.zeros((B, H)), []
    for t in reversed(range(T)):
        if t + 1 < T:
            m = mask[:, t + 1, None]
            g = np.where(m, np.clip((g * (1 - h[:, t + 1] ** 2)) @ U.T, -clip, clip), g)
            if every and (t + 1) % every == 0:
                g = np.zeros_like(g)
            if resets is not None:
                g = np.where(resets[:, t + 1, None], 0.0, g)
        g = g + cotangent[:, t]
        made.append(g)
    return np.stack(made[::-1], axis=1)


WALKS = {
    "plain": {},
    "clip": {"recurrent_clip": 0.0625},
    "tbptt": {"memory": ("tbptt", 3)},
    "remat": {"memory": ("remat", 3)},
    "clip-remat": {"memory": ("remat", 3), "recurrent_clip": 0.0625},
    "unroll": {"unroll": True},
}


@pytest.mark.parametrize("walk", few(WALKS, 5))
def test_is_the_sum_of_two_routes(walk, rng):
    options = WALKS[walk]
    layer, x, cotangent = made("vanilla", rng, return_all_states=True, **options)
    resets = rng.random(size=(B, T)) < 0.2
    mask = tensor(holes(), "bool")
    h = array(layer(tensor(x), mask=mask, resets=tensor(resets, "bool"))[1]).astype("float64")
    clip, (kind, every) = options.get("recurrent_clip", np.inf), options.get("memory", ("store", None))
    every = every if kind == "tbptt" else None
    # The gradient that a reset stops has been clipped before; the state of a masked row is reset all the same.
    expected = routes(layer, h, cotangent, holes(), clip, every, resets)
    (found,) = gradients_of(layer, x, cotangent, mask=mask, resets=tensor(resets, "bool"))
    np.testing.assert_allclose(found, expected, **EXACT)
    if clip < np.inf:
        assert np.abs(routes(layer, h, cotangent, holes(), resets=resets) - expected).max() > 0.01


def test_of_stacked_cells_are_those_of_layers(rng):
    cells = [keras_rnnx.LSTMCell(3, dtype=FLOAT), keras_rnnx.MinGRUCell(2, dtype=FLOAT)]
    stack = keras_rnnx.RNN(cells, return_sequences=True, dtype=FLOAT)
    layers = [keras_rnnx.RNN(type(c).from_config(c.get_config()), return_sequences=True, dtype=FLOAT) for c in cells]
    stack.build((None, T, D))
    randomized(stack, rng)
    model = keras.Sequential([keras.Input((T, D), dtype=FLOAT), *layers])
    model.set_weights(stack.get_weights())
    x, cotangent = tensor(rng.normal(size=(B, T, D))), rng.normal(size=(B, T, 2))
    (found,) = state_gradients(Called(stack), x, cotangent, loss=product).values()
    expected = keras.tree.flatten(list(state_gradients(model, x, cotangent, loss=product).values()))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.parametrize("name", few(["lstm", "complex", "parallel-lmu"], 2))
def test_is_aligned_to_time_where_the_layer_goes_backwards(name, rng):
    layer, x, cotangent = made(name, rng)
    forward = gradients_of(layer, x, cotangent)
    layer.go_backwards = True
    backward = gradients_of(layer, x[:, ::-1].copy(), cotangent)
    for one, other in zip(forward, backward, strict=True):
        np.testing.assert_allclose(one, other[:, ::-1], **EXACT)


@pytest.mark.parametrize("name", few(["linear", "vanilla"]))
def test_in_parallel_forms_as_in_the_loop(name, rng, monkeypatch):
    monkeypatch.setattr(paths, "LOOPED", ())
    monkeypatch.setattr(library, "problem", lambda: "off")
    layer, x, cotangent = made(name, rng, steps=70)
    found = gradients_of(layer, x, cotangent)
    monkeypatch.setattr(paths, "CHUNK", 64)
    if name == "linear":
        assert layer.cell.path(_reading(layer), 70).form != ("chunked", 32, 1)
    for one, other in zip(found, gradients_of(layer, x, cotangent), strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


def _reading(layer):
    return keras_rnnx.base.interface.Reading(reverse=layer.go_backwards)


@pytest.mark.parametrize("name", few(["lstm", "linear", "residual"], 2))
def test_changes_no_number(name, rng):
    layer, x, _ = made(name, rng, recurrent_clip=1e6)  # which torch's own kernel does not have
    plain = [array(a) for a in layer(tensor(x))]
    zeros = {}

    def asked(name, read):
        sizes = keras.tree.flatten(layer.cell.state_size)
        zeros[name] = [keras.ops.ones((T, B, n), FLOAT) for n in sizes]
        return dataclasses.replace(read.how, probe=zeros[name])

    with watching(Readings(layer, change=asked)):
        probed = [array(a) for a in layer(tensor(x))]
    assert zeros
    for one, other in zip(plain, probed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("one_loop", [False, True] if BACKEND != "torch" else [False])
def test_tells_directions_apart(one_loop, rng, monkeypatch):
    monkeypatch.setattr(paths, "gains_by_lanes", lambda *_: one_loop)
    layer = keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, return_sequences=True, dtype=FLOAT), dtype=FLOAT, name="both")
    layer.build((None, T, D))
    randomized(layer, rng)
    assert layer.one_loop == one_loop
    x, cotangent, mask = rng.normal(size=(B, T, D)), rng.normal(size=(B, T, 2 * H)), tensor(holes(), "bool")
    found = state_gradients(Called(layer, mask=mask), tensor(x), cotangent, loss=product)
    assert [name.rsplit("/", 1)[-1] for name in found] == [layer.forward_layer.name, layer.backward_layer.name]
    for got, direction, half in zip(
        found.values(), (layer.forward_layer, layer.backward_layer), (slice(H), slice(H, None)), strict=True
    ):
        back = direction.go_backwards
        turn = slice(None, None, -1) if back else slice(None)
        alone = keras_rnnx.LSTM(H, return_sequences=True, dtype=FLOAT)
        alone.build((None, T, D))
        alone.set_weights(direction.get_weights())
        turned = [a[:, turn].copy() for a in (x, cotangent[..., half], holes())]
        expected = gradients_of(alone, turned[0], turned[1], mask=tensor(turned[2], "bool"))
        for one, other in zip(got, expected, strict=True):
            np.testing.assert_allclose(one, other[:, turn], **EXACT)


class Written(keras.Model):
    """A subclassed model that uses one layer twice."""

    def __init__(self):
        super().__init__()
        self.deep = keras_rnnx.DeepRNN(keras_rnnx.GRUCell(3), depth=2, residual="sum", return_sequences=True)
        self.last = keras_rnnx.LSTM(2, return_sequences=True)
        self.inside = keras.Sequential([keras.Input((None, 2)), keras_rnnx.VanillaRNN(3), keras.layers.Dense(1)])

    def call(self, x):
        return self.inside(self.last(self.deep(x)) + self.last(self.deep(keras.ops.flip(x, 1))))


def test_finds_every_layer_of_a_model(rng):
    model = Written()
    x, y = rng.normal(size=(B, T, D)).astype("float32"), rng.normal(size=(B, 1)).astype("float32")
    model.compile(loss="mse", optimizer="sgd")
    model(x)
    found = state_gradients(model, x, y)
    shapes = [[g.shape for g in gradients] for gradients in found.values()]
    H3, H2 = (B, T, 3), (B, T, 2)
    assert shapes == [[H3], [H3], [H2, H2], [H3], [H3], [H2, H2], [H3]]
    assert sum(name.endswith(":2") for name in found) == 3
    for name, gradients in found.items():
        assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients), name
    some = state_gradients(model, x, y, layers=[model.deep])
    assert len(some) == 4 and all(name.startswith(f"{model.deep.name}/level_") for name in some)
    np.testing.assert_allclose(next(iter(some.values()))[0], next(iter(found.values()))[0], atol=1e-6)


def test_leaves_a_model_as_it_is(rng):
    layer = keras_rnnx.LSTM(H, stateful=True, dropout=0.5, recurrent_dropout=0.5, seed=3)
    layers = [keras.Input(batch_shape=(B, T, D)), layer, keras.layers.BatchNormalization(), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(loss="mse", optimizer="adam")
    x, y = rng.normal(size=(B, T, D)).astype("float32"), rng.normal(size=(B, 1)).astype("float32")
    model.train_on_batch(x, y)
    before = [array(v) for v in model.variables]
    first = state_gradients(model, x, y, training=True)
    for one, other in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(one, array(other))
    for one, other in zip(first.values(), state_gradients(model, x, y, training=True).values(), strict=True):
        np.testing.assert_array_equal(one[0], other[0])  # the same draws, as nothing has moved
    calm = state_gradients(model, x, y)
    assert np.abs(first[layer.name][0] - calm[layer.name][0]).max() > 0


def test_sees_the_loss_that_is_trained(rng):
    inputs = keras.Input((T, D))
    y = keras_rnnx.GRU(H, activity_regularizer=keras.regularizers.L2(0.3))(inputs)
    model = keras.Model(inputs, y)
    model.compile(loss="mse", optimizer="sgd")
    x, y = rng.normal(size=(B, T, D)).astype("float32"), rng.normal(size=(B, H)).astype("float32")
    weight = np.array([1.0, 0.0, 2.0], "float32")
    (found,) = state_gradients(model, x, y, sample_weight=weight)[model.layers[1].name]
    out = array(model(x))
    expected = 2 * (out - y) * weight[:, None] / (B * H) + 0.6 * out / B
    np.testing.assert_allclose(found[:, -1], expected, atol=1e-6)
    (plain,) = state_gradients(model, x, y, loss="mse")[model.layers[1].name]
    np.testing.assert_allclose(plain[:, -1], 2 * (out - y) / (B * H), atol=1e-6)
    (weighed,) = state_gradients(model, x, y, keras.losses.MeanSquaredError(), sample_weight=weight).popitem()[1]
    np.testing.assert_allclose(weighed[:, -1], 2 * (out - y) * weight[:, None] / (B * H), atol=1e-6)


def test_a_window_carries_inputs_not_states(rng):
    model = keras.Sequential([keras.Input((T, D)), keras_rnnx.QRNN(H, window=3), keras.layers.Dense(1)])
    x, y = rng.normal(size=(B, T, D)).astype("float32"), np.ones((B, 1), "float32")
    (gradients,) = state_gradients(model, x, y, loss="mse").values()
    assert [g.shape for g in gradients] == [(B, T, H)]


REFUSED = {
    "matrix": lambda: keras_rnnx.GLA(4, heads=2),
    "black box": lambda: keras_rnnx.RNN(keras.layers.GRUCell(4)),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refuses_what_it_cannot_tell(kind, rng):
    model = keras.Sequential(
        [keras.Input((T, D)), keras_rnnx.GRU(3, return_sequences=True), REFUSED[kind](), keras.layers.Dense(1)]
    )
    x, y = rng.normal(size=(B, T, D)).astype("float32"), np.ones((B, 1), "float32")
    with pytest.raises(ValueError, match="outputs are made from their states"):
        state_gradients(model, x, y, loss="mse")
    assert list(state_gradients(model, x, y, loss="mse", layers=[model.layers[0].name])) == [model.layers[0].name]


def test_refuses_what_has_no_such_layer(rng):
    x, y = rng.normal(size=(B, T, D)).astype("float32"), np.ones((B, 1), "float32")
    model = keras.Sequential([keras.Input((T, D)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="keras_rnnx"):
        state_gradients(model, x, y, loss="mse")
    with pytest.raises(ValueError, match="loss"):
        state_gradients(model, x, y)
    with pytest.raises(ValueError, match="built"):
        state_gradients(keras.Sequential([keras_rnnx.GRU(3)]), x, y, loss="mse")
    model = keras.Sequential([keras.Input((T, D)), keras_rnnx.GRU(3, name="here"), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="here"):
        state_gradients(model, x, y, loss="mse", layers=["there"])
