"""TensorFlow alone: eager = graph = XLA, varying lengths, tapes around compiled calls, determinism."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import BACKEND, BY_NAME, SINGLE, array, outcome, randomized, tensor, tensors, weighted

import keras_rnnx

if BACKEND != "tensorflow":
    pytest.skip("needs the TensorFlow backend", allow_module_level=True)
tf = pytest.importorskip("tensorflow")
from keras_rnnx.engine.backends import tensorflow as backend  # noqa: E402

B, T, D, H = 2, 5, 3, 4
CLOSE = {"rtol": 0, "atol": 1e-10}


def slopes(call, inputs, weights, cotangents):
    """Results of `call(*inputs)`, and the gradients under the given cotangents."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        results = call(*inputs)
        loss = weighted(results, cotangents)
    return [*outcome(results), *outcome(tape.gradient(loss, [*inputs, *weights]))]


@pytest.mark.parametrize("name", ["lstm", "gru-before"])
def test_eager_is_graph_is_xla(name, rng):
    """The tape inside the compiled function, and around it (tensorflow#108080)."""
    case = BY_NAME[name]
    layer = case.built(rng, D, H, return_sequences=True)
    x, mask = tensor(rng.normal(size=(B, T, D))), tensor([[1, 0, 1, 1, 0], [1, 1, 0, 0, 0]], "bool")
    cotangents = tensors([rng.normal(size=(B, T, H))])

    def call(x):
        return layer(x, mask=mask)

    def inside(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = call(x)
            loss = weighted(outputs, cotangents)
        return outputs, tape.gradient(loss, [x, *layer.trainable_weights])

    wanted = slopes(call, [x], layer.trainable_weights, cotangents)
    for jit_compile in (False, True):
        compiled = tf.function(inside, jit_compile=jit_compile, autograph=False)
        around = tf.function(call, jit_compile=jit_compile, autograph=False)
        for found in (outcome(compiled(x)), slopes(around, [x], layer.trainable_weights, cotangents)):
            for one, want in zip(found, wanted, strict=True):
                np.testing.assert_allclose(one, want, **CLOSE)


@pytest.mark.parametrize("jit_compile", [True, False, "auto"])
def test_fit(jit_compile, rng):
    """The same losses however the model is compiled; the last batch is smaller."""
    keras.utils.set_random_seed(2)
    x, y = np.float32(rng.normal(size=(10, T, D))), np.float32(rng.normal(size=(10, 1)))
    model = keras.Sequential([keras.Input((T, D)), keras_rnnx.LSTM(H), keras.layers.Dense(1)])
    randomized(model, np.random.default_rng(3))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=jit_compile)
    history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]

    other = keras.Sequential([keras.Input((T, D)), keras.layers.LSTM(H), keras.layers.Dense(1)])
    randomized(other, np.random.default_rng(3))
    other.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    wanted = other.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    np.testing.assert_allclose(history, wanted, rtol=1e-5)


def test_stateful_fit_with_a_smaller_last_batch(rng):
    x, y = np.float32(rng.normal(size=(5, T, D))), np.float32(rng.normal(size=(5, H)))
    model = keras.Sequential([keras_rnnx.GRU(H, stateful=True)])
    model(x[:3])
    layer = model.layers[0]
    layer.reset_state()
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(x, y, batch_size=3, epochs=1, shuffle=False, verbose=0)
    plain = keras_rnnx.GRU(H)
    plain.build((None, None, D))
    plain.set_weights(layer.get_weights())
    first = array(plain(x[:3]))
    second = array(plain(x[3:], initial_state=first[:2]))
    np.testing.assert_allclose(array(layer.states[0]), np.concatenate([second, first[2:]]), **SINGLE)


# ---- a time axis of unknown length ----


def test_lengths_are_padded_to_four_an_octave():
    @tf.function(input_signature=[tf.TensorSpec((None, 2))])
    def padded(a):
        slots, length = backend.bucket({"a": a, "b": tf.transpose(a)}, batch_first=("b",))
        tf.debugging.assert_equal(slots["b"], tf.transpose(slots["a"]))
        return tf.shape(slots["a"])[0], length

    made = [[int(n) for n in padded(tf.zeros((T, 2)))] for T in range(1, 257)]
    for T, (size, length) in enumerate(made, start=1):
        assert length == T <= size <= max(T + 1, 1.25 * T)
    assert len({size for size, _ in made if size > 128}) == 4


def test_varying_lengths_trace_few_programs(rng):
    """Each trace runs `step` once; 32 lengths share 9 programs, and every one is right."""
    traces = []

    class Counted(keras_rnnx.LSTMCell):
        def step(self, x, u, h, c):
            traces.append(1)
            return super().step(x, u, h, c)

    layer = keras_rnnx.RNN(Counted(H), return_sequences=True)
    layer.build((None, None, D))
    plain = keras_rnnx.LSTM(H, return_sequences=True)
    plain.build((None, None, D))
    plain.set_weights(layer.get_weights())
    x = tensor(rng.normal(size=(B, 40, D)), "float32")
    wanted = array(plain(x))
    traces.clear()
    for T in range(9, 41):
        np.testing.assert_allclose(array(layer(x[:, :T])), wanted[:, :T], **SINGLE)
    assert 0 < len(traces) <= 9


def test_unknown_length_in_a_model(rng):
    """One traced model; gradients and results of each length are those of a known length."""
    layer = BY_NAME["lstm"].built(rng, D, H, return_sequences=True, go_backwards=True)
    inputs = keras.Input((None, D), dtype="float64")
    model = keras.Model(inputs, layer(inputs, mask=keras.ops.any(inputs != 9, axis=-1)))

    @tf.function(input_signature=[tf.TensorSpec((None, None, D), "float64"), tf.TensorSpec((None, None, H), "float64")])
    def varying(x, cotangent):
        with tf.GradientTape() as tape:
            outputs = model(x)
            loss = tf.reduce_sum(outputs * cotangent)
        return [outputs, *tape.gradient(loss, layer.trainable_weights)]

    for steps in (3, 13):
        x, cotangent = rng.normal(size=(B, steps, D)), rng.normal(size=(B, steps, H))
        x[0, steps // 2 :] = 9
        mask, weights = tensor((x != 9).any(axis=-1), "bool"), layer.trainable_weights
        wanted = slopes(lambda x, mask=mask: layer(x, mask=mask), [tensor(x)], weights, [cotangent])
        wanted = [wanted[0], *wanted[2:]]
        for one, want in zip(outcome(varying(tensor(x), tensor(cotangent))), wanted, strict=True):
            np.testing.assert_allclose(one, want, **CLOSE)
    assert varying.experimental_get_tracing_count() == 1


def test_fit_on_batches_of_other_lengths(rng):
    """Keras' own LSTM sees the same batches."""

    def batches():
        rng = np.random.default_rng(5)
        for steps in (3, 12, 10, 3):
            yield np.float32(rng.normal(size=(B, steps, D))), np.float32(rng.normal(size=(B, H)))

    signature = (tf.TensorSpec((None, None, D)), tf.TensorSpec((None, H)))
    trained = []
    for layer in (keras_rnnx.LSTM(H), keras.layers.LSTM(H)):
        model = randomized(keras.Sequential([keras.Input((None, D)), layer]), np.random.default_rng(3))
        model.compile(keras.optimizers.SGD(0.5), "mse")
        model.fit(tf.data.Dataset.from_generator(batches, output_signature=signature), verbose=0)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, **SINGLE)


# ---- limits, converters ----


def test_a_second_order_gradient_says_that_there_is_none(rng):
    layer = BY_NAME["lstm"].built(rng, D, H)
    x = tensor(rng.normal(size=(B, T, D)))
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as inner:
            inner.watch(x)
            loss = tf.reduce_sum(layer(x) ** 2)
        slope = tf.reduce_sum(inner.gradient(loss, x) ** 2)
    with pytest.raises(NotImplementedError, match="second-order"):
        outer.gradient(slope, x)


# ---- what is set for a whole process ----


def in_process(script):
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_op_determinism_gives_the_same_bits():
    script = """
import numpy as np, keras, keras_rnnx, tensorflow as tf
tf.config.experimental.enable_op_determinism()
rng = np.random.default_rng(0)
x, y = np.float32(rng.normal(size=(8, 5, 3))), np.float32(rng.normal(size=(8, 1)))
def fitted():
    keras.utils.set_random_seed(1)
    layer = keras_rnnx.LSTM(4, dropout=0.2, recurrent_dropout=0.2, zoneout=0.1)
    model = keras.Sequential([keras.Input((None, 3)), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, y, batch_size=4, epochs=3, verbose=0)
    return model.get_weights()
for one, other in zip(fitted(), fitted(), strict=True):
    assert one.tobytes() == other.tobytes()
print("same")
"""
    assert in_process(script).strip().endswith("same")
