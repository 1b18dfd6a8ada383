"""Saving, loading, cloning, configurations; every layer is reloaded in one fresh process."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import CASES, array, randomized

import keras_rnnx

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 5, 3, 4
OPTIONS = {
    "dropout": 0.1,
    "recurrent_dropout": 0.2,
    "recurrent_dropout_mode": "step",
    "zoneout": 0.1,
    "normalization": "layer",
    "recurrent_structure": "low_rank",
    "recurrent_rank": 2,
    "learn_initial_state": True,
    "kernel_regularizer": "l2",
    "bias_constraint": "max_norm",
    "seed": 4,
    "return_sequences": True,
    "return_state": True,
    "return_all_states": True,
    "go_backwards": True,
    "zero_output_for_mask": True,
    "memory": ("remat", 2),
    "recurrent_clip": 3.0,
}
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def model_of(layer):
    inputs = keras.Input((T, D), name="x")
    return keras.Model(inputs, keras.layers.Dense(2)(layer(inputs)))


def models(case, rng):
    """A model of the layer with its defaults, and with every option."""
    plain = model_of(case.make(H, dtype="float32"))
    layer = case.make(H, dtype="float32", **OPTIONS)
    inputs = keras.Input((T, D), name="x")
    full = keras.Model(inputs, layer(inputs))
    return randomized(plain, rng), randomized(full, rng)


def flat(results):
    return [array(r) for r in keras.tree.flatten(results)]


@pytest.mark.core
@every_case
def test_config_round_trip(case):
    layer = case.make(H, dtype="float32", **OPTIONS)
    config = layer.get_config()
    again = type(layer).from_config(json.loads(json.dumps(config)))
    assert json.dumps(again.get_config(), sort_keys=True) == json.dumps(config, sort_keys=True)
    assert again.cell.units == H and again.memory == ("remat", 2) and again.cell.zoneout == 0.1
    other = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert json.dumps(other.get_config(), sort_keys=True) == json.dumps(config, sort_keys=True)


@pytest.mark.core
def test_saved_models_are_the_same_in_a_fresh_process(tmp_path, rng):
    """The fresh process imports keras_rnnx and, for the cells written in these tests, their module."""
    x = np.float32(rng.normal(size=(B, T, D)))
    wanted = {"x": x}
    for case in CASES:
        for kind, model in zip(("plain", "full"), models(case, rng), strict=True):
            model.save(tmp_path / f"{case}-{kind}.keras")
            wanted |= {f"{case}-{kind}-{i}": a for i, a in enumerate(flat(model(x)))}
    np.savez(tmp_path / "wanted.npz", **wanted)
    users = tuple(f"{case}-" for case in CASES if case.cell.__module__ == "user_cells")
    script = f"""
import pathlib, sys, keras, numpy as np
import keras_rnnx
folder = pathlib.Path({str(tmp_path)!r})
wanted = np.load(folder / "wanted.npz")
paths = sorted(folder.glob("*.keras"))
for path in sorted(paths, key=lambda p: p.name.startswith({users!r})):
    if path.name.startswith({users!r}):
        sys.path[:0] = [{str(pathlib.Path(__file__).parent)!r}]
        import user_cells
    results = keras.tree.flatten(keras.saving.load_model(path)(wanted["x"]))
    for i, result in enumerate(results):
        want = wanted[f"{{path.stem}}-{{i}}"]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(result), want, rtol=0, atol=1e-6, err_msg=path.stem)
print("models:", len(paths))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith(f"models: {2 * len(CASES)}")


@every_case
def test_weights_file(case, tmp_path, rng):
    for model in models(case, rng):
        model.save_weights(tmp_path / "model.weights.h5")
        other = keras.models.clone_model(model)
        assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(model.get_weights(), other.get_weights(), strict=True))
        other.load_weights(tmp_path / "model.weights.h5")
        for one, want in zip(other.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize("case", CASES[3:7], ids=str)
def test_clone_computes_the_same_with_the_same_weights(case, rng):
    x = np.float32(rng.normal(size=(B, T, D)))
    _, model = models(case, rng)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for one, want in zip(flat(clone(x)), flat(model(x)), strict=True):
        np.testing.assert_array_equal(one, want)


def test_stateful_layer_saves_its_weights_without_its_states(tmp_path, rng):
    model = keras.Sequential([keras.Input(batch_shape=(B, T, D)), keras_rnnx.LSTM(H, stateful=True)])
    x = np.float32(rng.normal(size=(B, T, D)))
    first = array(model(x))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(x)), first, rtol=0, atol=1e-6)


def test_stack_and_keras_cells(tmp_path, rng):
    cells = [keras_rnnx.GRUCell(H), keras.layers.LSTMCell(3), keras_rnnx.VanillaRNNCell(2, output_units=5)]
    model = randomized(model_of(keras_rnnx.RNN(cells)), rng)
    x = np.float32(rng.normal(size=(B, T, D)))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(x)), array(model(x)), rtol=0, atol=1e-6)


def test_regularizers_and_constraints_act():
    layer = keras_rnnx.LSTM(
        H,
        kernel_regularizer=keras.regularizers.L2(0.1),
        recurrent_regularizer=keras.regularizers.L2(0.2),
        bias_regularizer=keras.regularizers.L2(0.3),
        kernel_constraint="non_neg",
    )
    layer.build((None, None, D))
    kernel, recurrent_kernel, bias = (array(w) for w in layer.weights)
    wanted = 0.1 * (kernel**2).sum() + 0.2 * (recurrent_kernel**2).sum() + 0.3 * (bias**2).sum()
    np.testing.assert_allclose(float(sum(layer.losses)), wanted, rtol=1e-5)
    model = keras.Sequential([layer])
    model.compile("sgd", "mse")
    model.fit(np.ones((B, T, D)), np.ones((B, H)), verbose=0)
    assert array(layer.weights[0]).min() >= 0
