"""Exports: a SavedModel for any batch and length, and TFLite with its own operations alone."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import BACKEND, SINGLE, array, randomized
from catalogue import LAYERS

import keras_rnnx

if BACKEND != "tensorflow":
    pytest.skip("exports are TensorFlow's", allow_module_level=True)
tf = pytest.importorskip("tensorflow")

T, D, H, SIDE = 5, 3, 4, 6
MADE = {
    "bidirectional": lambda: keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, return_sequences=True)),
    "deep": lambda: keras_rnnx.DeepRNN([keras_rnnx.GRUCell(H), keras_rnnx.MinGRUCell(H)], return_sequences=True),
    "zoneout": lambda: keras_rnnx.RNN(keras_rnnx.ZoneoutCell(keras_rnnx.LSTMCell(H), 0.1)),
    "keras cell": lambda: keras_rnnx.RNN(keras.layers.LSTMCell(H)),
}
CONVOLUTIONAL = ["ConvLSTM1D", "ConvLSTM2D", "ConvGRU2D"]


def as_tflite(layer, shape):
    """The layer as a function of one row (1, *shape), run by the interpreter of TFLite."""
    inputs = keras.Input(batch_shape=(1, *shape))
    model = keras.Model(inputs, layer(inputs))
    with keras_rnnx.plain_loops():
        content = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    interpreter = tf.lite.Interpreter(model_content=content)
    interpreter.allocate_tensors()

    def run(x):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


def check(layer, shape, rng, folder):
    """The layer exports both ways, and what was exported agrees; `shape` is that of a step."""
    model = keras.Sequential([keras.Input((None, *shape)), layer])
    model.export(folder, verbose=False)
    loaded = tf.saved_model.load(str(folder))
    for lead in ((2, T), (3, 40)):
        x = np.float32(rng.normal(size=(*lead, *shape)))
        np.testing.assert_allclose(array(loaded.serve(x)), array(model(x)), **SINGLE)
    x = np.float32(rng.normal(size=(1, T, *shape)))
    np.testing.assert_allclose(as_tflite(layer, (T, *shape))(x), array(layer(x)), **SINGLE)


@pytest.mark.sixths
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer(name, rng, tmp_path):
    case = LAYERS[name]
    layer = case.built(rng, D, case.units or H, dtype="float32", return_sequences=True)
    check(layer, (case.features or D,), rng, tmp_path / "model")


@pytest.mark.sixths
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_layers(name, rng, tmp_path):
    layer = getattr(keras_rnnx, name)(2, 3, padding="same", return_sequences=True)
    check(layer, (*[SIDE] * int(name[-2]), 2), rng, tmp_path / "model")


@pytest.mark.sixths
@pytest.mark.parametrize("name", MADE)
def test_made_of_others(name, rng, tmp_path):
    layer = MADE[name]()
    layer.build((None, None, D))
    check(randomized(layer, rng), (D,), rng, tmp_path / "model")


def test_a_step_with_explicit_states_streams(rng, tmp_path):
    cell = keras_rnnx.LSTMCell(H)
    x, h, c = keras.Input((D,)), keras.Input((H,)), keras.Input((H,))
    output, states = cell(x, [h, c])
    keras.Model([x, h, c], [output, *states]).export(tmp_path / "step", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "step"))
    inputs = np.float32(rng.normal(size=(2, T, D)))
    states, outputs = [np.zeros((2, H), "float32")] * 2, []
    for t in range(T):
        output, *states = loaded.serve([inputs[:, t], *states])
        outputs.append(array(output))
    whole = keras_rnnx.RNN(cell, return_sequences=True)(inputs)
    np.testing.assert_allclose(np.stack(outputs, axis=1), array(whole), **SINGLE)


def test_it_is_served_where_the_package_is_not(rng, tmp_path):
    """Masks, both directions, a parallel layer and one that solves systems, in a process without keras_rnnx."""
    integers = keras.Input((None,), dtype="int32")
    a = keras.layers.Embedding(9, H, mask_zero=True)(integers)
    a = keras_rnnx.Bidirectional(keras_rnnx.GRU(H, return_sequences=True))(a)
    a = keras_rnnx.MinGRU(H, return_sequences=True)(a)
    model = keras.Model(integers, keras_rnnx.GatedDeltaNet(H, heads=2)(a))
    x = rng.integers(0, 9, size=(3, 7)).astype("int32")
    model.export(tmp_path / "model", verbose=False)
    np.savez(tmp_path / "data.npz", x=x, y=array(model(x)))
    script = """
import sys
sys.modules["keras_rnnx"] = None
import numpy as np, tensorflow as tf
data = np.load(sys.argv[2])
loaded = tf.saved_model.load(sys.argv[1])
np.testing.assert_allclose(loaded.serve(data["x"]), data["y"], atol=1e-5)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "model"), str(tmp_path / "data.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
