"""What is written to a file comes back in a process that imports keras_rnnx alone; a damaged file is an error."""

import json
import pathlib
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from cases import BACKEND, CASES, array, randomized
from catalogue import CATALOGUE

import keras_rnnx
from keras_rnnx import attention
from keras_rnnx.catalogue import list_cells
from keras_rnnx.models import (
    CRF,
    Forecaster,
    MaskedMaxPooling,
    MaskedMeanPooling,
    SequenceClassifier,
    SequenceGenerator,
    SequenceTagger,
)
from keras_rnnx.seq2seq import Decoder, Encoder, Seq2Seq

sys.path.append(str(pathlib.Path(__file__).parent / "released"))
from write import families, model_of  # noqa: E402

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H, V = 2, 5, 3, 4, 7
# What a file holds does not depend on the backend, and JAX compiles the draw of every shape of a weight.
LAYERS = BACKEND != "jax"


def functional():
    """A model of the mechanisms, the cell and the poolings of attention."""
    memory, x = keras.Input((T, D)), keras.Input((3, D))
    mechanisms = [
        attention.BahdanauAttention(H, normalized=True),
        attention.LuongAttention(scale="learned"),
        attention.LocationAttention(H, filters=2, kernel_size=3),
        attention.MonotonicAttention(attention.BahdanauAttention(H)),
        attention.MultiHeadAttention(2, 3),
    ]
    cells = [attention.AttentionCell(keras_rnnx.GRUCell(H), mechanism) for mechanism in mechanisms]
    outputs = [keras_rnnx.RNN(cell)(x, memory=memory) for cell in cells]
    outputs += [attention.MultiHeadAttention(2, 3)(x, memory)]
    outputs += [layer(memory) for layer in (attention.AttentionPooling(H), MaskedMaxPooling(), MaskedMeanPooling())]
    return randomized(keras.Model([memory, x], outputs), np.random.default_rng(3))


def tasks(rng):
    """The models for tasks by name, built, each with inputs."""
    x = np.float32(rng.normal(size=(B, T, D)))
    tokens = rng.integers(1, V, size=(B, T)).astype("int32")
    encoder = Encoder(keras_rnnx.GRUCell(H), bidirectional=True, vocabulary=V, embedding=D)
    decoder = Decoder(V, keras_rnnx.GRUCell(H), attention.LuongAttention(), embedding=D)
    made = {
        "classifier": (SequenceClassifier(3, keras_rnnx.GRU(H), depth=2, residual="dense", mask_value=0.0), x),
        "tagger": (SequenceTagger(3, keras_rnnx.LSTM(H), vocabulary=V, embedding=D, crf=CRF()), tokens),
        "generator": (SequenceGenerator(keras_rnnx.GRUCell(H), vocabulary=V, embedding=D, start=1, end=2), tokens),
        "forecaster": (Forecaster(2, keras_rnnx.MinGRUCell(H)), x),
        "translator": (Seq2Seq(encoder, decoder, start=1, end=2), {"source": tokens, "target": tokens}),
    }
    for model, inputs in made.values():
        if not model.built:
            model(keras.tree.map_structure(lambda a: keras.Input(a.shape[1:], dtype=a.dtype.name), inputs))
        randomized(model, rng)
    return made


def layers(rng):
    """A model of the layers of each family, and one of attention, with inputs of few steps."""
    model = functional()
    yield "attention", (model, [np.float32(rng.normal(size=(B, *i.shape[1:]))) for i in model.inputs])
    for name, some in families().items():
        model = model_of([(layer, (2, *shape[1:])) for layer, shape in some])
        yield name, (model, [np.float32(rng.normal(size=(B, *i.shape[1:]))) for i in model.inputs])


def cells():
    """Every cell of the tables, as data."""
    known = [case for case in [*CASES, *CATALOGUE] if case.cell.__module__.startswith("keras_rnnx.")]
    return [keras.saving.serialize_keras_object(case.cell(case.units or H, **case.kwargs)) for case in known]


FRESH = """
import json, pathlib, sys
import keras
import numpy as np
import keras_rnnx

folder = pathlib.Path(sys.argv[1])
for cell in json.loads((folder / "cells").read_text()):
    made = keras.saving.deserialize_keras_object(cell, safe_mode=True)
    assert json.loads(json.dumps(keras.saving.serialize_keras_object(made))) == cell
files = sorted(folder.glob("*.keras"))
for file in files:
    model = keras.saving.load_model(file, safe_mode=True)
    told = json.loads(file.with_suffix(".json").read_text())
    with np.load(file.with_suffix(".npz")) as arrays:
        weights, y = ([arrays[f"{kind}{i}"] for i in range(told[kind])] for kind in "wy")
        x = keras.tree.map_structure(lambda name: arrays[name], told["x"])
    assert json.loads(json.dumps(model.get_config())) == told["config"], file.stem
    again = type(model).from_config(told["config"])
    if not again.built:
        again(keras.tree.map_structure(lambda a: keras.Input(a.shape[1:], dtype=a.dtype.name), x))
    again.load_weights(file.with_suffix(".weights.h5"))
    for made in (model, again):
        for one, other in zip(made.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=file.stem)
    with keras_rnnx.plain_loops():
        outputs = keras.tree.flatten(model(x))
    for one, other in zip(outputs, y, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(one), other, rtol=1e-5, atol=1e-5, err_msg=file.stem)
print("models:", len(files))
"""


@pytest.fixture(scope="module")
def made():
    """Models of every public layer, with inputs, by name."""
    rng = np.random.default_rng(7)
    return {**(dict(layers(rng)) if LAYERS else {}), **tasks(rng)}


def test_every_layer_and_model_is_the_same_in_a_fresh_process(made, tmp_path):
    """Configuration, weights and outputs."""
    (tmp_path / "cells").write_text(json.dumps(cells()))
    for name, (model, x) in made.items():
        with keras_rnnx.plain_loops():
            flat = keras.tree.flatten(model(x))
        names = [f"x{i}" for i in range(len(keras.tree.flatten(x)))]
        told = {"config": model.get_config(), "x": keras.tree.pack_sequence_as(x, names)}
        told |= {"w": len(model.weights), "y": len(flat)}
        arrays = dict(zip(names, keras.tree.flatten(x), strict=True))
        arrays |= {f"w{i}": w for i, w in enumerate(model.get_weights())}
        np.savez(tmp_path / f"{name}.npz", **arrays, **{f"y{i}": array(y) for i, y in enumerate(flat)})
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
        model.save(tmp_path / f"{name}.keras")
        model.save_weights(tmp_path / f"{name}.weights.h5")
        with zipfile.ZipFile(tmp_path / f"{name}.keras") as file:
            assert sorted(file.namelist()) == ["config.json", "metadata.json", "model.weights.h5"]
    command = [sys.executable, "-c", FRESH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith(f"models: {len(made)}")


@pytest.mark.skipif(not LAYERS, reason="models alone")
def test_no_public_layer_is_left_out(made):
    found = set()
    for model, _ in made.values():
        found |= set(json.dumps(keras.saving.serialize_keras_object(model)).split('"'))
    modules = (keras_rnnx, keras_rnnx.attention, keras_rnnx.models, keras_rnnx.seq2seq)
    public = {
        name
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, keras.layers.Layer) and not name.startswith("_")
    }
    inside = {row.cell.__name__ for row in list_cells()}  # the layer of the same name makes them
    bases = {"Cell", "LinearCell", "MatrixCell", "ChainedCell", "Mechanism", "TextModel"}
    elsewhere = {"Trunk", "Text"}  # a part that a model makes; what needs TensorFlow, in test_models_classifier.py
    assert public - inside - bases - elsewhere - found == set()


# ---- configurations of older versions of Keras ----


@pytest.mark.parametrize("name", ["LSTM", "GRU", "VanillaRNN", "LSTMCell", "GRUCell"])
def test_what_older_versions_say_about_how_a_layer_is_computed(name):
    kind = getattr(keras_rnnx, name)
    config = kind(H).get_config()
    legacy = {"implementation": 2, "use_cudnn": "auto", "time_major": False}
    assert kind.from_config({**config, **legacy}).get_config() == config
    with pytest.raises(ValueError, match="Expected .*time_major=False.*Received: .*time_major=True"):
        kind.from_config({**config, "time_major": True})


def test_an_argument_of_such_a_name_is_kept():
    class Mine(keras_rnnx.LSTMCell):
        def __init__(self, units, implementation=1, **kwargs):
            super().__init__(units, **kwargs)
            self.implementation = implementation

    config = Mine(H, implementation=2).get_config()
    assert Mine.from_config({**config, "use_cudnn": True}).get_config() == config and config["implementation"] == 2


@pytest.mark.parametrize("key", ["batch_input_shape", "input_length", "ragged", "consume_less", "return_runtime"])
def test_what_keras_refuses_is_refused_by_name(key):
    cell = keras.saving.serialize_keras_object(keras_rnnx.LSTMCell(H))
    layer = keras.saving.serialize_keras_object(keras_rnnx.LSTM(H))
    for kind, config in (
        (keras_rnnx.LSTM, {"units": H}),
        (keras_rnnx.GRUCell, {"units": H}),
        (keras_rnnx.RNN, {"cell": cell}),
        (keras_rnnx.Bidirectional, {"layer": layer}),
    ):
        with pytest.raises((ValueError, TypeError), match=f"Unrecognized keyword arguments passed to .*{key}"):
            kind.from_config({**config, key: None})


def test_a_model_in_the_old_format_of_keras(tmp_path, rng):
    layers = [keras.layers.Bidirectional(keras.layers.LSTM(H, return_sequences=True)), keras.layers.SimpleRNN(2)]
    model = randomized(keras.Sequential([keras.Input((T, D)), *layers]), rng)
    model.save(tmp_path / "model.h5")
    x = np.float32(rng.normal(size=(B, T, D)))
    ours = keras_rnnx.convert(keras.saving.load_model(tmp_path / "model.h5"))
    np.testing.assert_allclose(array(ours(x)), array(model(x)), rtol=0, atol=1e-5)
    again = keras.models.clone_model(ours)
    again.load_weights(tmp_path / "model.h5")
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# ---- damaged files ----


@pytest.fixture(scope="module")
def small():
    layers = [keras_rnnx.Bidirectional(keras_rnnx.LSTM(2, return_sequences=True)), keras_rnnx.GRU(H)]
    return keras.Sequential([keras.Input((T, D)), *layers])


def outcome_of(model, path):
    """The error of reading a file, or whether it gave this model."""
    try:
        if path.suffix == ".keras":
            found = keras.saving.load_model(path)
        else:
            found = keras.models.clone_model(model)
            found.load_weights(path)
    except Exception as error:  # each loader has its own; none of them may pass
        return error
    same = found.to_json() == model.to_json()
    return same and all(map(np.array_equal, found.get_weights(), model.get_weights()))


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_a_file_that_was_cut_off_or_is_another(suffix, small, tmp_path):
    file, damaged = tmp_path / f"model{suffix}", tmp_path / f"damaged{suffix}"
    small.save(file) if suffix == ".keras" else small.save_weights(file)
    assert outcome_of(small, file) is True
    content = file.read_bytes()
    ends = np.linspace(0, len(content) - 1, 12).astype(int)
    for wrong in (b"a text", *(content[:end] for end in ends)):
        damaged.write_bytes(wrong)
        assert isinstance(outcome_of(small, damaged), (OSError, ValueError)), len(wrong)


def test_a_byte_that_has_changed_in_a_model_is_noticed(small, tmp_path, rng):
    """By the sums of the archive. A `.weights.h5` has none."""
    file, damaged = tmp_path / "model.keras", tmp_path / "damaged.keras"
    small.save(file)
    content = bytearray(file.read_bytes())
    found = []
    for place in rng.integers(0, len(content), size=25):
        content[place] ^= 16
        damaged.write_bytes(content)
        content[place] ^= 16
        found.append(outcome_of(small, damaged))
    assert False not in found and sum(isinstance(one, zipfile.BadZipFile) for one in found) > 15


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras_rnnx.GRU(H),
        lambda: keras_rnnx.LSTM(H + 1),
        lambda: keras_rnnx.LSTM(H, use_bias=False),
        lambda: keras_rnnx.LSTM(H, learn_initial_state=True),
        lambda: keras_rnnx.LSTM(H, recurrent_structure="low_rank", recurrent_rank=2),
        lambda: keras_rnnx.CoupledLSTM(H),
        lambda: keras_rnnx.Bidirectional(keras_rnnx.LSTM(H)),
    ],
)
def test_weights_of_another_layer(make, tmp_path):
    model, other = (keras.Sequential([keras.Input((T, D)), layer]) for layer in (keras_rnnx.LSTM(H), make()))
    model.save_weights(tmp_path / "model.weights.h5")
    with pytest.raises(ValueError, match="could not be loaded|expected"):
        other.load_weights(tmp_path / "model.weights.h5")
