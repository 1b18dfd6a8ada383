"""`quantize("int8")`: the numbers, what is trained, what is saved, the errors; by itself and in layers and models."""

import json
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
from cases import BACKEND, CASES, SINGLE, array, few, gradients, outcome, randomized
from catalogue import CATALOGUE
from keras import ops

import keras_rnnx
from keras_rnnx import attention, models, seq2seq

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 5, 3, 4
WITHOUT = ("LTCCell", "S4DCell")  # cells without a product of a matrix; S4D's one may have `input_kernel`
MATRICES = [case for case in [*CASES, *CATALOGUE] if case.cell.__name__ not in WITHOUT]
MATRICES = MATRICES[:: 4 if BACKEND == "jax" else 1]  # JAX compiles each operation of a step by itself
STRUCTURES = [("block", {"recurrent_blocks": 2}), ("low_rank", {"recurrent_rank": 3}), ("diagonal", {})]


def rounded(w, axes=-2):
    """What 255 integers for each column can say of a matrix, scaled by the largest entry."""
    scale = 127 / (np.abs(w).max(axis=axes, keepdims=True) + 1e-7)
    return np.round(w * scale) / scale


def integers_of(layer):
    """The names of the integer weights."""
    return sorted(w.name for w in layer.weights if w.dtype == "int8")


def check_rounded(layer, run, axes=-2):
    """The quantized layer computes what the float one computes with matrices that are rounded here."""
    weights, names, before = [array(w) for w in layer.weights], [w.name for w in layer.weights], run()
    chosen = [w.ndim > 1 and any(word in name for word in ("kernel", "encoder")) for w, name in zip(weights, names)]  # noqa: B905
    chosen = [c and name != "conv_kernel" for c, name in zip(chosen, names, strict=True)]
    layer.set_weights([rounded(w, axes) if c else w for w, c in zip(weights, chosen, strict=True)])
    wanted = run()
    layer.set_weights(weights)
    layer.quantize("int8")
    assert integers_of(layer) == sorted(name for name, c in zip(names, chosen, strict=True) if c)
    assert max(np.abs(a - b).max() for a, b in zip(before, wanted, strict=True)) > 1e-6
    for one, want in zip(run(), wanted, strict=True):
        np.testing.assert_allclose(one, want, **SINGLE)


# ---- numbers ----


@pytest.mark.core
@pytest.mark.sixths
@pytest.mark.parametrize("case", MATRICES, ids=str)
def test_a_step_of_every_cell(case, rng):
    """A step reads every weight, and compiles nothing."""
    features = case.features or D
    cell = case.built(rng, D, case.units or H, dtype="float32").cell
    x = np.float32(rng.normal(size=(B, features)))
    state = [np.float32(rng.normal(size=s.shape)) for s in keras.tree.flatten(cell.get_initial_state(B))]
    check_rounded(cell, lambda: outcome(cell(x, state)))


def sequence_run(layer, rng, *shape):
    x = np.float32(rng.normal(size=(B, T, *shape)))
    return lambda: outcome(layer(x))


@pytest.mark.core
@pytest.mark.parametrize(("structure", "more"), few(STRUCTURES, 2))
def test_structures(structure, more, rng):
    layer = keras_rnnx.GRU(H, recurrent_structure=structure, **more)
    layer.build((None, None, D))
    check_rounded(randomized(layer, rng), sequence_run(layer, rng, D))


@pytest.mark.core
def test_maps_have_one_scale_for_each_channel(rng):
    layer = keras_rnnx.ConvLSTM1D(2, 3, return_sequences=True)
    layer.build((None, None, 6, D))
    check_rounded(randomized(layer, rng), sequence_run(layer, rng, 6, D), axes=(0, 1))
    assert layer.cell.kernel_scale.shape == (1, 1, 8)


@pytest.mark.core
@pytest.mark.parametrize("kind", few(["GRU", "LSTM", "MinGRU"]))  # by the backend's own kernel, where it has one
def test_sequences(kind, rng):
    layer = getattr(keras_rnnx, kind)(H, return_sequences=True)
    layer.build((None, None, D))
    check_rounded(randomized(layer, rng), sequence_run(layer, rng, D))


@pytest.mark.core
def test_mixed_precision_keeps_its_name(rng):
    layer = keras_rnnx.LSTM(H, dtype="mixed_bfloat16")
    layer.build((None, None, D))
    run = sequence_run(randomized(layer, rng), rng, D)
    before = run()[0]
    layer.quantize("int8")
    assert layer.cell.dtype_policy.name == "int8_from_mixed_bfloat16"
    assert layer.dtype_policy.name == "mixed_bfloat16" and layer.quantization_mode == "int8"
    assert {w.name: w.dtype for w in layer.weights if w.name.endswith("scale")} == {
        "kernel_scale": "float32",
        "recurrent_kernel_scale": "float32",
    }
    np.testing.assert_allclose(np.float32(run()[0]), np.float32(before), rtol=0, atol=0.05)


# ---- training ----


@pytest.mark.core
def test_gradients_are_those_of_the_rounded_layer(rng):
    """Of the inputs and of the weights that are left; the second cell reads a matrix in the loop."""
    made = []
    for _ in range(2):
        cells = [keras_rnnx.GRUCell(H, name="a"), keras_rnnx.CfCCell(6, wiring=keras_rnnx.wirings.AutoNCP(6, 2))]
        made.append(keras_rnnx.RNN(keras_rnnx.ZoneoutCell(cells, 0.0)))
        made[-1].build((None, None, D))
    float_layer, layer = made
    randomized(layer, rng)
    names = [w.path.split("/")[-2:] for w in layer.weights]
    float_layer.set_weights(
        [
            rounded(array(w)) if name.endswith("kernel") else array(w)
            for w, (_, name) in zip(layer.weights, names, strict=True)
        ]
    )
    layer.quantize("int8")
    assert len(layer.trainable_variables) == len(float_layer.trainable_variables) - len(integers_of(layer))
    x = ops.convert_to_tensor(np.float32(rng.normal(size=(B, T, D))))
    left = [w for w in float_layer.trainable_variables if not w.name.endswith("kernel")]
    wanted = gradients(lambda x: ops.sum(float_layer(x, training=True) ** 2), [x], left)
    found = gradients(lambda x: ops.sum(layer(x, training=True) ** 2), [x], layer.trainable_variables)
    assert all(np.abs(want).max() > 0 for want in wanted[:2])
    for one, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, want, **SINGLE)


def test_what_is_left_is_trained(rng):
    model = keras.Sequential([keras.Input((T, D)), keras_rnnx.LSTM(H), keras.layers.Dense(1)])
    model.layers[0].quantize("int8")
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.fit(rng.normal(size=(8, T, D)), rng.normal(size=(8, 1)), verbose=0)
    same = [np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert [w.name for w, s in zip(model.weights, same, strict=True) if not s] == ["bias", "kernel", "bias"]


# ---- layers and models made of others ----


def tokens(rng):
    return rng.integers(1, 9, size=(B, T)).astype("int32")


def vectors(rng, *shape):
    return np.float32(rng.normal(size=shape or (B, T, D)))


def attending():
    mechanisms = [attention.BahdanauAttention(3), attention.MonotonicAttention(attention.BahdanauAttention(3))]
    x, memory = keras.Input((T, D)), keras.Input((6, H))
    cell = attention.AttentionCell(keras_rnnx.GRUCell(H), mechanisms)
    return keras.Model([x, memory], keras_rnnx.RNN(cell)(x, memory=memory))


def sequential(*layers):
    return keras.Sequential([keras.Input((T, D)), *layers])


def two():
    return [keras_rnnx.LSTMCell(H), keras_rnnx.MinGRUCell(3)]


EMBEDDED = {"vocabulary": 9, "embedding": H}
MADE = {  # a model, its inputs, and how many matrices it has; the first two also where a model is compiled
    "statistics": (lambda: sequential(keras_rnnx.LiGRU(H)), vectors, 2),
    "deep bidirectional": (lambda: sequential(keras_rnnx.DeepRNN(two(), bidirectional=True)), vectors, 6),
    "own name": (lambda: sequential(keras_rnnx.LSTM(H), keras.layers.Dense(2)), vectors, 3),
    "fixed weights": (lambda: sequential(keras_rnnx.ESN(H, use_bias=True)), vectors, 2),
    "bidirectional": (lambda: sequential(keras_rnnx.Bidirectional(keras_rnnx.GRU(H))), vectors, 4),
    "deep": (lambda: sequential(keras_rnnx.DeepRNN(keras_rnnx.GRUCell(H), 2, "highway", 0.1)), vectors, 4),
    "stack": (lambda: sequential(keras_rnnx.RNN(two())), vectors, 3),
    "cells": (
        lambda: sequential(keras_rnnx.RNN(keras_rnnx.ResidualCell(keras_rnnx.MixedMemoryCell(keras_rnnx.GRUCell(D))))),
        vectors,
        4,
    ),
    "attention": (attending, lambda rng: [vectors(rng), vectors(rng, B, 6, H)], 7),
    "classifier": (
        lambda: models.SequenceClassifier(3, keras_rnnx.Bidirectional(keras_rnnx.GRU(H)), 2, **EMBEDDED),
        tokens,
        10,
    ),
    "generator": (
        lambda: models.SequenceGenerator(keras_rnnx.GRUCell(H), start=1, end=2, tie_weights=True, **EMBEDDED),
        tokens,
        3,
    ),
    "forecaster": (lambda: models.Forecaster(2, keras_rnnx.GRUCell(H), mode="recursive"), vectors, 4),
    "seq2seq": (
        lambda: seq2seq.Seq2Seq(
            seq2seq.Encoder(keras_rnnx.GRUCell(H), bidirectional=True, **EMBEDDED),
            seq2seq.Decoder(9, keras_rnnx.GRUCell(H), attention.BahdanauAttention(3), embedding=H),
            start=1,
            end=2,
        ),
        lambda rng: {"source": tokens(rng), "target": tokens(rng)},
        13,
    ),
}


def quantized(name, rng):
    """The model, its inputs, and its outputs."""
    make, data, count = MADE[name]
    model, x = make(), data(rng)
    model(x)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape) * 0.4)
    with warnings.catch_warnings():  # of an InputLayer or a Dropout, which cannot be quantized
        warnings.simplefilter("ignore")
        model.quantize("int8")
    assert len(integers_of(model)) == count
    return model, x, array(model(x))


@pytest.mark.core
def test_saved_models_are_the_same_in_a_fresh_process(tmp_path, rng):
    wanted, names = {}, few(MADE, 2)
    for name in names:
        model, x, y = quantized(name, rng)
        model.save(tmp_path / f"{name}.keras")
        flat = x if isinstance(x, list) else [x["source"], x["target"]] if isinstance(x, dict) else [x]
        wanted |= {f"{name}-{i}": a for i, a in enumerate([y, *flat])}
    np.savez(tmp_path / "wanted.npz", **wanted)
    script = f"""
import pathlib, keras, numpy as np
import keras_rnnx
folder = pathlib.Path({str(tmp_path)!r})
wanted = np.load(folder / "wanted.npz")
for path in folder.glob("*.keras"):
    y, *x = [wanted[name] for name in sorted(wanted) if name.startswith(path.stem + "-")]
    x = dict(zip(("source", "target"), x)) if path.stem == "seq2seq" else x if len(x) > 1 else x[0]
    found = keras.ops.convert_to_numpy(keras.saving.load_model(path, safe_mode=True)(x))
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-6, err_msg=path.stem)
    print("same")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["same"] * len(names)


@pytest.mark.core
@pytest.mark.parametrize("name", few(["deep", "bidirectional", "deep bidirectional", "cells", "generator"]))
def test_configuration_and_weights_file(name, tmp_path, rng):
    model, x, y = quantized(name, rng)
    model.save_weights(tmp_path / "model.weights.h5")
    config = json.loads(json.dumps(model.get_config()))
    again = type(model).from_config(config)
    again(x)
    assert [(w.name, w.dtype) for w in again.weights] == [(w.name, w.dtype) for w in model.weights]
    again.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(array(again(x)), y)
    if name != "generator":  # which is no functional model
        clone = keras.models.clone_model(model)
        clone.set_weights(model.get_weights())
        np.testing.assert_array_equal(array(clone(x)), y)


@pytest.mark.core
def test_a_part_alone(tmp_path, rng):
    """Of two directions one, by its name; the others are as they were."""
    layer = keras_rnnx.Bidirectional(keras_rnnx.RNN(keras_rnnx.GRUCell(H)))
    model = sequential(layer)
    model.quantize("int8", filters=lambda part: part is layer.forward_layer.cell)
    assert [cell.quantization_mode for cell in (layer.forward_layer.cell, layer.backward_layer.cell)] == ["int8", None]
    x = vectors(rng)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(array(keras.saving.load_model(tmp_path / "model.keras")(x)), array(model(x)))


@pytest.mark.core
def test_the_file_has_a_quarter_of_the_size(tmp_path):
    model = keras.Sequential([keras.Input((T, 128)), keras_rnnx.LSTM(128)])
    model.save_weights(tmp_path / "float.weights.h5")
    model.layers[0].quantize("int8")
    model.save_weights(tmp_path / "int8.weights.h5")
    sizes = [(tmp_path / f"{kind}.weights.h5").stat().st_size for kind in ("float", "int8")]
    assert 0.25 < sizes[1] / sizes[0] < 0.29


@pytest.mark.core
def test_made_with_the_policy(rng):
    """The zeros are for the weights of a file."""
    layer = keras_rnnx.LSTM(H, dtype="int8_from_float32")
    layer.build((None, None, D))
    assert integers_of(layer) == ["kernel", "recurrent_kernel"] and layer.dtype_policy.name == "float32"
    assert np.all(outcome(layer(vectors(rng)))[0] == 0)
    assert type(layer).from_config(layer.get_config()).quantization_mode == "int8"


# ---- ways out ----


@pytest.mark.core
def test_to_torch_takes_the_floats(rng):
    torch = pytest.importorskip("torch")
    layer = keras_rnnx.LSTM(H, return_sequences=True)
    layer.build((None, None, D))
    randomized(layer, rng).quantize("int8")
    x = vectors(rng)
    with torch.no_grad():
        found = keras_rnnx.to_torch(layer)(torch.tensor(x))[0].cpu().numpy()
    np.testing.assert_allclose(found, array(layer(x)), **SINGLE)


def test_to_keras_is_refused():
    model = sequential(keras_rnnx.LSTM(H))
    model.layers[0].quantize("int8")
    with pytest.raises(ValueError, match="nothing but what Keras has.*quantized"):
        keras_rnnx.convert(model, to="keras")


@pytest.mark.skipif(BACKEND != "tensorflow", reason="exports are TensorFlow's")
def test_exports(tmp_path, rng):
    tf = pytest.importorskip("tensorflow")
    model = keras.Sequential([keras.Input((None, D)), keras_rnnx.LSTM(64)])
    model.export(tmp_path / "float", verbose=False)
    model.layers[0].quantize("int8")
    model.export(tmp_path / "int8", verbose=False)
    x = vectors(rng)
    loaded = tf.saved_model.load(str(tmp_path / "int8"))
    np.testing.assert_allclose(array(loaded.serve(x)), array(model(x)), **SINGLE)
    data = [next((tmp_path / kind / "variables").glob("*.data*")).stat().st_size for kind in ("float", "int8")]
    assert data[1] < 0.35 * data[0]


# ---- errors ----


@pytest.mark.core
def test_errors():
    layer = keras_rnnx.LSTM(H)
    with pytest.raises(ValueError, match="isn't yet built"):
        layer.quantize("int8")
    layer.build((None, None, D))
    for mode in ("int4", "float8"):
        with pytest.raises(NotImplementedError, match=f"Expected mode='int8'.*Received: mode='{mode}'"):
            layer.quantize(mode)
    with pytest.raises(ValueError, match="GPTQ"):
        layer.quantize("gptq")
    config = keras.quantizers.Int8QuantizationConfig(weight_quantizer=keras.quantizers.AbsMaxQuantizer(axis=0))
    with pytest.raises(NotImplementedError, match="no `weight_quantizer`"):
        layer.quantize(config=config)
    assert integers_of(layer) == []
    layer.quantize("int8")
    with pytest.raises(ValueError, match="already quantized"):
        layer.quantize("int8")
    with pytest.raises(ValueError, match="Expected a dtype policy of floats.*'int8_from_float32'"):
        layer.dtype_policy = "int8_from_float32"
    with pytest.raises(ValueError, match="Expected a dtype policy of floats"):
        keras_rnnx.RNN(keras_rnnx.LSTMCell(H), dtype="int8_from_float32")
    with pytest.raises(NotImplementedError, match="Expected mode='int8'.*'float8'"):
        keras_rnnx.LSTM(H, dtype="float8_from_float32").build((None, None, D))


@pytest.mark.core
def test_what_cannot_be_quantized():
    keras_cell = keras_rnnx.RNN([keras_rnnx.LSTMCell(H), keras.layers.GRUCell(H)])
    for layer in (keras_cell, keras_rnnx.LTC(H)):
        layer.build((None, None, D))
        with pytest.raises(NotImplementedError, match="Expected layers with matrices of products"):
            layer.quantize("int8")
        assert integers_of(layer) == []


def test_floats_are_not_loaded_into_integers(tmp_path):
    model = sequential(keras_rnnx.LSTM(H))
    model.save_weights(tmp_path / "model.weights.h5")
    model.layers[0].quantize("int8")
    with pytest.raises(ValueError, match="Expected the weights .*'kernel_scale'.*is quantized"):
        model.load_weights(tmp_path / "model.weights.h5")
