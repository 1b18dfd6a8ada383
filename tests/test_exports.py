"""Exports: a SavedModel for any batch and length, TFLite with its own operations alone, and ONNX run by onnxruntime.

Each layer has a row in the table of docs/exports.md, which tells what became of it. All rows are written anew by
`WRITE_EXPORTS=1 pytest -n 0 tests/test_exports.py -k "every or convolutional or made"`.
"""

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from cases import BACKEND, SINGLE, array, randomized
from catalogue import LAYERS

import keras_rnnx

if BACKEND != "tensorflow":
    pytest.skip("exports are TensorFlow's", allow_module_level=True)
tf = pytest.importorskip("tensorflow")
onnx_run = pytest.importorskip("onnx_run")

T, D, H, SIDE = 5, 3, 4, 6
MADE = {
    "LSTM, normalization": lambda: keras_rnnx.LSTM(H, normalization="layer"),
    "Bidirectional of LSTM": lambda: keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, return_sequences=True)),
    "Bidirectional of MGU": lambda: keras_rnnx.Bidirectional(keras_rnnx.MGU(H, return_sequences=True)),
    "DeepRNN of GRU, MinGRU": lambda: keras_rnnx.DeepRNN(
        [keras_rnnx.GRUCell(H), keras_rnnx.MinGRUCell(H)], return_sequences=True
    ),
    "ZoneoutCell of LSTM": lambda: keras_rnnx.RNN(keras_rnnx.ZoneoutCell(keras_rnnx.LSTMCell(H), 0.1)),
    "RNN of Keras' LSTMCell": lambda: keras_rnnx.RNN(keras.layers.LSTMCell(H)),
    "CRF": lambda: keras_rnnx.models.CRF(),
}
CONVOLUTIONAL = ["ConvLSTM1D", "ConvLSTM2D", "ConvGRU2D"]
CLOSE = {**SINGLE, "rtol": 1e-5}  # random weights may let a state grow
TABLE = Path(__file__).parent.parent / "docs/exports.md"


def row(name, onnx):
    """The line of the table."""
    return f"| {name} | works | works | {onnx} |"


def told(name, line):
    """The row is in the table as it stands, or is put there, in the order of the names."""
    lines = TABLE.read_text().splitlines()
    if os.environ.get("WRITE_EXPORTS"):
        head = lines.index("|---|---|---|---|") + 1
        rows = [old for old in lines[head:] if not old.startswith(f"| {name} |")]
        TABLE.write_text("\n".join([*lines[:head], *sorted([*rows, line], key=str.lower)]) + "\n")
    else:
        assert line in lines


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


def check(name, layer, shape, rng, folder):
    """The layer exports all ways, what was exported agrees, and the table says so; `shape` is that of a step."""
    model = keras.Sequential([keras.Input((None, *shape)), layer])
    model.export(folder, verbose=False)
    loaded = tf.saved_model.load(str(folder))
    session, operators = onnx_run.exported(model, folder / "model.onnx")
    for lead in ((2, T), (3, 40)):
        x = np.float32(rng.normal(size=(*lead, *shape)))
        np.testing.assert_allclose(array(loaded.serve(x)), array(model(x)), **SINGLE)
        np.testing.assert_allclose(session(x)[0], array(model(x)), **CLOSE)
    x = np.float32(rng.normal(size=(1, T, *shape)))
    np.testing.assert_allclose(as_tflite(layer, (T, *shape))(x), array(layer(x)), **SINGLE)
    named = [f"operator {name}" for name in sorted(operators & {"LSTM", "GRU", "RNN"})]
    told(name, row(name, " and ".join([*named, *(["loops"] if "Loop" in operators else [])])))


@pytest.mark.sixths
@pytest.mark.parametrize("name", sorted(LAYERS))
def test_every_layer(name, rng, tmp_path):
    case = LAYERS[name]
    layer = case.built(rng, D, case.units or H, dtype="float32", return_sequences=True)
    check(name, layer, (case.features or D,), rng, tmp_path / "model")


@pytest.mark.sixths
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_convolutional_layers(name, rng, tmp_path):
    layer = getattr(keras_rnnx, name)(2, 3, padding="same", return_sequences=True)
    check(name, layer, (*[SIDE] * int(name[-2]), 2), rng, tmp_path / "model")


@pytest.mark.sixths
@pytest.mark.parametrize("name", MADE)
def test_made_of_others(name, rng, tmp_path):
    layer = MADE[name]()
    layer.build((None, None, D))
    check(name, randomized(layer, rng), (D,), rng, tmp_path / "model")


def test_the_table_has_all_rows():
    rows = TABLE.read_text().split("|---|---|---|---|\n")[1].splitlines()
    assert sorted(line.split(" | ")[0][2:] for line in rows) == sorted([*LAYERS, *CONVOLUTIONAL, *MADE])


def test_a_step_with_explicit_states_streams(rng, tmp_path):
    cell = keras_rnnx.LSTMCell(H)
    x, h, c = keras.Input((D,)), keras.Input((H,)), keras.Input((H,))
    output, states = cell(x, [h, c])
    model = keras.Model([x, h, c], [output, *states])
    model.export(tmp_path / "step", verbose=False)
    loaded = tf.saved_model.load(str(tmp_path / "step"))
    session, operators = onnx_run.exported(model, tmp_path / "step.onnx")
    assert "Loop" not in operators
    inputs = np.float32(rng.normal(size=(2, T, D)))
    whole = array(keras_rnnx.RNN(cell, return_sequences=True)(inputs))
    for step in (lambda *now: loaded.serve(list(now)), session):
        states, outputs = [np.zeros((2, H), "float32")] * 2, []
        for t in range(T):
            output, *states = step(inputs[:, t], *states)
            outputs.append(array(output))
        np.testing.assert_allclose(np.stack(outputs, axis=1), whole, **SINGLE)


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
