"""Keras' own cells under our engine: outputs, states and gradients of `keras.layers.RNN`."""

import keras
import numpy as np
import pytest
from cases import BACKEND, array, gradients, outcome, tensor, tensors, weighted
from keras import ops
from reference import numeric_gradient

import keras_rnnx

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 5, 3, 4
CLOSE = {"rtol": 0, "atol": 1e-5}
MASK = np.array([[1, 1, 1, 0, 1], [1, 0, 1, 1, 0]], bool)


@keras.saving.register_keras_serializable("tests")
class OutputIsNoState(keras.layers.Layer):
    """A cell whose output has another size than its state, and whose call takes `training`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.state_size, self.output_size = units, units, 2

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], self.units), name="w")
        self.u = self.add_weight(shape=(self.units, self.units), name="u")
        self.v = self.add_weight(shape=(self.units, 2), name="v")

    def call(self, inputs, states, training=False):
        h = ops.tanh(inputs @ self.w + states[0] @ self.u + (0.5 if training else 0.0))
        return ops.sigmoid(h @ self.v), [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@keras.saving.register_keras_serializable("tests")
class Nested(keras.layers.Layer):
    """Inputs {"a": (3,), "b": (2, 2)}; states [h (4,), [m (2,), n (2,)]]; a constant is added."""

    state_size = [4, [2, 2]]
    output_size = 4

    def build(self, input_shape):
        self.w = self.add_weight(shape=(3, 4), name="w")
        self.u = self.add_weight(shape=(4, 4), name="u")

    def call(self, inputs, states, constants=None):
        h, (m, n) = states
        m_new = ops.tanh(0.5 * m + inputs["b"][:, 0])
        n_new = ops.tanh(0.5 * n + inputs["b"][:, 1])
        added = ops.concatenate([m_new, n_new], axis=-1)
        if constants is not None:
            added = added + keras.tree.flatten(constants)[0]
        h_new = ops.tanh(inputs["a"] @ self.w + h @ self.u + added)
        return h_new, [h_new, [m_new, n_new]]

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, 4)), [ops.zeros((batch_size, 2)), ops.zeros((batch_size, 2))]]


def pair(make, inputs, **options):
    """Keras' and our RNN around cells with the same random weights."""
    rng = np.random.default_rng(3)
    theirs, ours = keras.layers.RNN(make(), **options), keras_rnnx.RNN(make(), **options)
    theirs(inputs), ours(inputs)
    assert [w.name for w in theirs.weights] == [w.name for w in ours.weights]
    values = [rng.normal(size=w.shape) * 0.5 for w in theirs.weights]
    theirs.set_weights(values)
    ours.set_weights(values)
    return theirs, ours


def check(theirs, ours, inputs, rng, **call):
    """Same results, and same gradients under the same cotangents."""
    wanted, found = outcome(theirs(inputs, **call)), outcome(ours(inputs, **call))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)
    cotangents = [rng.normal(size=a.shape) for a in wanted]
    flat = keras.tree.flatten(inputs)

    def loss(layer):
        return lambda *x: weighted(layer(keras.tree.pack_sequence_as(inputs, list(x)), **call), cotangents)

    found = gradients(loss(ours), flat, ours.trainable_weights)
    wanted = gradients(loss(theirs), flat, theirs.trainable_weights)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


CELLS = {
    "lstm": lambda: keras.layers.LSTMCell(H),
    "gru": lambda: keras.layers.GRUCell(H, reset_after=False),
    "stack": lambda: [keras.layers.GRUCell(H), keras.layers.SimpleRNNCell(3)],
    "output-is-no-state": lambda: OutputIsNoState(H),
}


@pytest.mark.core
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_is_keras_rnn(name, backwards, rng):
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    options = {"return_sequences": True, "return_state": True, "go_backwards": backwards}
    check(*pair(CELLS[name], x, **options), x, rng)


@pytest.mark.parametrize("name", CELLS)
def test_with_a_mask(name, rng):
    if name == "output-is-no-state" and BACKEND == "jax":
        pytest.skip("Keras' own RNN cannot mask a cell whose output is no state on JAX")
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    layers = pair(CELLS[name], x, return_sequences=True, return_state=True)
    check(*layers, x, rng, mask=tensor(MASK, "bool"))


def test_training_reaches_the_cell(rng):
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    theirs, ours = pair(CELLS["output-is-no-state"], x)
    check(theirs, ours, x, rng, training=True)
    difference = array(ours(x, training=True)) - array(ours(x, training=False))
    assert np.abs(difference).max() > 1e-3


@pytest.mark.parametrize("constant", [False, True], ids=["plain", "constants"])
def test_nested_inputs_states_and_constants(constant, rng):
    """Keras' own RNN takes one tensor, so this one is written out."""
    x = {"a": rng.normal(size=(B, T, 3)), "b": rng.normal(size=(B, T, 2, 2))}
    x = {name: tensor(a, "float32") for name, a in x.items()}
    call = {"constants": tensor(rng.normal(size=(B, 4)), "float32")} if constant else {}
    layer = keras_rnnx.RNN(Nested(), return_sequences=True, return_state=True)
    layer(x, **call)
    w, u = (rng.normal(size=v.shape) * 0.5 for v in layer.weights)
    layer.set_weights([w, u])
    outputs, *final = outcome(layer(x, mask=tensor(MASK, "bool"), **call))
    h, m = np.zeros((B, 4)), np.zeros((B, 4))
    for t in range(T):
        valid = MASK[:, t, None]
        m_new = np.tanh(0.5 * m + array(x["b"])[:, t].reshape(B, 4))
        m = np.where(valid, m_new, m)
        added = array(call["constants"]) if constant else 0.0
        h_new = np.tanh(array(x["a"])[:, t] @ w + h @ u + m_new + added)
        h = np.where(valid, h_new, h)
        np.testing.assert_allclose(outputs[:, t], h, **CLOSE)
    for one, other in zip(final, [h, m[:, :2], m[:, 2:]], strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)


def test_gradients_of_nested_inputs_states_and_constants(rng):
    """Against central differences in float32: the layer is smooth and small."""
    x = {"a": rng.normal(size=(B, 2, 3)), "b": rng.normal(size=(B, 2, 2, 2))}
    flat = [np.float32(a) for a in (x["a"], x["b"], rng.normal(size=(B, 4)))]
    layer = keras_rnnx.RNN(Nested(), return_state=True)
    layer.build({"a": (B, 2, 3), "b": (B, 2, 2, 2)})

    def loss(a, b, c):
        results = layer({"a": a, "b": b}, constants=c)
        return ops.sum(results[0]) + ops.sum(keras.tree.flatten(results[2])[1] ** 2)

    found = gradients(loss, tensors(flat, "float32"))
    wanted = numeric_gradient(lambda *a: array(loss(*tensors(a, "float32"))), flat, eps=1e-2)
    for one, other in zip(found, wanted, strict=True):
        assert np.abs(one).max() > 0.01
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-3)


def test_constants_need_a_cell_that_takes_them(rng):
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    layer = keras_rnnx.RNN(keras.layers.GRUCell(H))
    with pytest.raises(ValueError, match="constants"):
        layer(x, constants=tensor(np.ones((B, H)), "float32"))


def test_a_keras_cell_with_dropout_is_refused():
    with pytest.raises(ValueError, match="without dropout"):
        keras_rnnx.RNN(keras.layers.LSTMCell(H, dropout=0.2))


def test_our_cells_under_keras_rnn(rng):
    """Keras' cell protocol: one step outside the engine, at inference."""
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    options = {"zoneout": 0.2, "normalization": "layer"}
    ours = keras_rnnx.RNN(keras_rnnx.LSTMCell(H, **options), return_sequences=True)
    theirs = keras.layers.RNN(keras_rnnx.LSTMCell(H, **options), return_sequences=True)
    ours(x), theirs(x)
    theirs.set_weights([rng.normal(size=w.shape) for w in theirs.weights])
    ours.set_weights(theirs.get_weights())
    np.testing.assert_allclose(array(ours(x)), array(theirs(x)), **CLOSE)


def test_a_stack_of_our_cells_is_two_layers(rng):
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    stack = keras_rnnx.RNN([keras_rnnx.GRUCell(H), keras_rnnx.LSTMCell(3)], return_sequences=True, return_state=True)
    first = keras_rnnx.GRU(H, return_sequences=True, return_state=True)
    second = keras_rnnx.LSTM(3, return_sequences=True, return_state=True)
    stack(x), second(first(x)[0])
    stack.set_weights([rng.normal(size=w.shape) for w in stack.weights])
    first.set_weights(stack.get_weights()[:3])
    second.set_weights(stack.get_weights()[3:])
    middle, h = first(x)
    wanted = outcome([second(middle), h])
    outputs, h_1, h_2, c_2 = outcome(stack(x))
    for one, other in zip([outputs, h_2, c_2, h_1], wanted, strict=True):
        np.testing.assert_allclose(one, other, **CLOSE)
