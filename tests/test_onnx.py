"""`export_onnx`: which layers become ONNX's own operators, by rule, and that these compute what the layers do."""

import keras
import numpy as np
import pytest
from cases import BACKEND, SINGLE, outcome, randomized

import keras_rnnx
from keras_rnnx.base.interface import Reading
from keras_rnnx.engine import paths

if BACKEND != "tensorflow":
    pytest.skip("the files are written by a converter of TensorFlow", allow_module_level=True)
onnx_run = pytest.importorskip("onnx_run")
from keras_rnnx.engine.backends.onnx_operators import Operators  # noqa: E402

B, T, D, H = 5, 7, 3, 4
# Padding in the middle, at the front and behind, a row of padding alone, and one without any.
MASK = np.array([[1, 0, 1, 1, 0, 1, 0], [0] * 7, [0, 0, 1, 1, 1, 1, 1], [1] * 7, [1, 1, 1, 0, 0, 0, 0]], bool)
LENGTHS = np.array([0, 7, 3, 1, 5], "int32")
ALL = {"return_sequences": True, "return_state": True}
BACK = {**ALL, "go_backwards": True}


def agrees(layer, rng, folder, x, states=(), **given):
    """The layer in a file gives what it gives itself, on other sizes too; returns the operators of the file."""
    inputs = keras.Input((None, D))
    start = [keras.Input((H,)) for _ in states]
    more = {name: keras.Input(a.shape[1:] and (None,), dtype=str(a.dtype), name=name) for name, a in given.items()}
    outputs = layer(inputs, initial_state=start or None, **more)
    model = keras.Model([inputs, *start, *more.values()], outputs)
    randomized(layer, rng)
    run, operators = onnx_run.exported(model, folder / "model.onnx")
    everything = [x, *states, *given.values()]
    for arrays in (everything, [a[1:3] for a in everything]):
        for found, expected in zip(run(*arrays), outcome(model(arrays)), strict=True):
            np.testing.assert_allclose(found, expected, **SINGLE)
    return operators & {"LSTM", "GRU", "RNN", "Loop", "Scan"}


@pytest.mark.parametrize(
    "make, operator, states, masked",
    [
        (lambda: keras_rnnx.LSTM(H, **BACK), "LSTM", 2, True),
        (lambda: keras_rnnx.LSTM(H, learn_initial_state=True, zero_output_for_mask=True, **ALL), "LSTM", 0, True),
        (lambda: keras_rnnx.LSTM(H, "relu", "softsign", use_bias=False, memory=("remat", 2)), "LSTM", 0, False),
        (lambda: keras_rnnx.PeepholeLSTM(H, **BACK), "LSTM", 2, False),
        (lambda: keras_rnnx.GRU(H, return_all_states=True, **ALL), "GRU", 1, True),
        (lambda: keras_rnnx.GRU(H, reset_after=False, recurrent_clip=1.0, **BACK), "GRU", 0, False),
        (lambda: keras_rnnx.VanillaRNN(H, "sigmoid", output_units=2, **ALL), "RNN", 1, False),
        (lambda: keras_rnnx.VanillaRNN(H, "relu", **BACK), "RNN", 0, True),
    ],
)
def test_operators(make, operator, states, masked, rng, tmp_path):
    x, *start = (np.float32(rng.normal(size=(B, *shape))) for shape in ((T, D), *[(H,)] * states))
    given = {"mask": MASK} if masked else {}
    assert agrees(make(), rng, tmp_path, x, start, **given) == {operator}


def test_operators_in_other_layers(rng, tmp_path):
    x = np.float32(rng.normal(size=(B, T, D)))
    both = keras_rnnx.Bidirectional(keras_rnnx.GRU(H, **ALL))
    assert agrees(both, rng, tmp_path, x, lengths=LENGTHS) == {"GRU"}
    deep = keras_rnnx.DeepRNN(keras_rnnx.LSTMCell(H), 2, "highway", bidirectional=True)
    assert agrees(deep, rng, tmp_path, x) == {"LSTM"}
    stack = keras_rnnx.RNN([keras_rnnx.VanillaRNNCell(H), keras_rnnx.GRUCell(H)])
    assert agrees(stack, rng, tmp_path, x) == {"GRU", "RNN"}


@pytest.mark.parametrize(
    "make, given",
    [
        (lambda: keras_rnnx.MGU(H, **BACK), {"mask": MASK, "resets": MASK[::-1]}),
        (lambda: keras_rnnx.GatedDeltaNet(H), {"mask": MASK}),
        (lambda: keras_rnnx.S5(H, return_sequences=True), {"deltas": np.full((B, T), 0.5, "float32")}),
    ],
)
def test_loops(make, given, rng, tmp_path):
    x = np.float32(rng.normal(size=(B, T, D)))
    assert agrees(make(), rng, tmp_path, x, **given) == {"Loop"}


@pytest.mark.parametrize(
    "layer, how, lacks",
    [
        (keras_rnnx.LSTM(H), {"mask": True}, None),
        (keras_rnnx.GRU(H, memory=("remat", 2)), {}, None),
        (keras_rnnx.LSTM(H), {"resets": True}, "resets"),
        (keras_rnnx.LSTM(H), {"emit": "states"}, "states"),
        (keras_rnnx.LSTM(H, "elu"), {}, "elu"),
        (keras_rnnx.LSTM(H, projection_units=2), {}, "projection_units"),
        (keras_rnnx.GRU(H, zoneout=0.1), {}, "zoneout"),
        (keras_rnnx.GRU(H, normalization="rms"), {}, "normalization"),
        (keras_rnnx.GRU(H, recurrent_structure="diagonal"), {}, "recurrent_structure"),
        (keras_rnnx.GRU(H, dtype="float64"), {}, "float64"),
        (keras_rnnx.VanillaRNN(H, output_units=2, feedback="output"), {}, "feedback"),
        (keras_rnnx.MGU(H), {}, "no fused kernel"),
    ],
)
def test_the_rule(layer, how, lacks):
    layer.build((None, None, D))
    with paths.traced_for(Operators()):
        path = layer.cell.path(Reading(memory=layer.memory, **how))
    assert path.name == ("plain loop" if lacks else "onnx operator")
    assert (lacks or "ONNX's own") in path.why


def test_what_cannot_be_written(tmp_path):
    path = tmp_path / "model.onnx"
    stateful = keras.Sequential([keras.Input(batch_shape=(2, T, D)), keras_rnnx.LSTM(H, stateful=True, name="kept")])
    unknown = keras.Sequential([keras.Input((D,)), keras.layers.Lambda(lambda x: keras.ops.erfinv(x))])
    for model, word in ((stateful, "kept"), (keras_rnnx.LSTM(H), "LSTM"), (unknown, "Erfinv")):
        with pytest.raises(ValueError, match=f"Expected .*Received: (.|\n)*{word}"):
            keras_rnnx.export_onnx(model, path)
    assert not path.exists()
