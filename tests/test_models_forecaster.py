"""Forecasters against their equations in NumPy, windows without leakage, scores of residuals."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import BACKEND, EAGER, array, few, gradients, randomized, tensor
from keras import ops

import keras_rnnx
from keras_rnnx.losses import QuantileLoss
from keras_rnnx.models.forecaster import Forecaster
from keras_rnnx.models.series import residual_scores, windows

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

B, T, F, J, C, H = 3, 5, 2, 4, 3, 6
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 0, 1, 1], [1, 1, 1, 0, 0]], bool)


def batch(rng, *names, targets=None):
    """Inputs of a model: windows far from zero, and what is asked for besides."""
    made = {
        "sequences": rng.normal(size=(B, T, F)) * 3 + 10,
        "future": rng.normal(size=(B, J, C)),
        "targets": rng.normal(size=(B, J, targets) if targets else (B, J)) * 3 + 10,
        "mask": MASK,
        "deltas": rng.random((B, T)) + 0.5,
    }
    dtypes = {"mask": "bool"}
    return {name: tensor(made[name], dtypes.get(name, "float32")) for name in ("sequences", *names)}


def forecaster(rng, inputs, cell=None, **options):
    """A model with random weights."""
    model = Forecaster(J, keras_rnnx.GRUCell(H) if cell is None else cell, **options)
    model(inputs)
    return randomized(model, rng)


def dense(layer, x):
    kernel, bias = (array(w).astype("float64") for w in layer.weights)
    return x @ kernel + bias


def crossing_free(a, median):
    """Equation (3), by its own words."""
    y = np.array(a)
    for i in range(median + 1, a.shape[-1]):
        y[..., i] = y[..., i - 1] + np.log1p(np.exp(a[..., i]))
    for i in range(median - 1, -1, -1):
        y[..., i] = y[..., i + 1] - np.log1p(np.exp(a[..., i]))
    return y


def of_window(x, mask, how):
    """Mean and scale (B, 1, F) of the valid steps."""
    mean, scale = np.zeros((B, 1, F)), np.ones((B, 1, F))
    for b in range(B):
        if how and mask[b].any():
            mean[b] = x[b, mask[b]].mean(0)
        if how == "standard":
            scale[b] = np.sqrt(x[b, mask[b]].var(0) + 1e-5)
    return mean, scale


def encoded(model, x, mask):
    """The results of the encoder, whose levels have tests of their own."""
    return model.encoder({"sequences": tensor(x, "float32"), "mask": tensor(mask, "bool")})


@pytest.mark.parametrize(
    "targets, quantiles, normalization, names, lags",
    [
        (None, None, None, (), ()),
        (None, [0.1, 0.3, 0.55, 0.9], "standard", ("future", "mask"), ()),
        (2, [0.5, 0.8], "mean", ("mask",), (5, 4)),
        (1, None, "standard", ("future",), (4,)),
    ],
    ids=["plain", "quantiles", "targets", "axis"],
)
def test_direct(targets, quantiles, normalization, names, lags, rng):
    inputs = batch(rng, *names)
    options = {"targets": targets, "quantiles": quantiles, "normalization": normalization, "context": 5}
    model = forecaster(rng, inputs, lags=lags, **options)
    x, mask = array(inputs["sequences"]).astype("float64"), MASK if "mask" in names else np.ones((B, T), bool)
    mean, scale = of_window(x, mask, normalization)
    read = np.where(mask[..., None], (x - mean) / scale, 0)
    h = array(encoded(model, read, mask)).astype("float64")
    k, q = targets or 1, len(quantiles or [0])
    if "future" in names or lags:
        c = [array(inputs["future"])] if "future" in names else []
        c = np.concatenate([*c, *[read[:, T - lag : T - lag + J, :k] for lag in lags]], -1)
        u = dense(model.contexts, h).reshape(B, J, 5)
        v = np.maximum(dense(model.mix, np.concatenate([u, c], -1)), 0)
        a = dense(model.head, np.concatenate([v, c], -1))
    else:
        a = dense(model.head, h)
    y = crossing_free(a.reshape(B, J, k, q), {4: 2, 2: 0, 1: 0}[q])
    y = y * scale[:, :, :k, None] + mean[:, :, :k, None]
    y = y if quantiles else y[..., 0]
    y = y if targets else y[:, :, 0]
    np.testing.assert_allclose(array(model(inputs)), y, **CLOSE)


@pytest.mark.parametrize("forced", [False, True], ids=["free", "forced"])
@pytest.mark.parametrize(
    "targets, quantiles, names, cell, lags",
    [
        (None, [0.2, 0.6], ("future", "mask"), "gru", (4,)),
        (2, None, (), "lstm", ()),
        (None, None, ("mask",), "bidirectional", ()),
    ],
    ids=["quantiles", "targets", "bidirectional"],
)
def test_recursive(targets, quantiles, names, cell, lags, forced, rng):
    """Step by step through the decoder's cell, from the encoder's states."""
    both = cell == "bidirectional"
    cell = keras_rnnx.LSTMCell(H) if cell == "lstm" else keras_rnnx.GRUCell(H)
    inputs = batch(rng, "targets", *names, targets=targets)
    options = {"targets": targets, "quantiles": quantiles, "normalization": "standard", "mode": "recursive"}
    model = forecaster(rng, inputs, cell, lags=lags, bidirectional=both, **options)
    x, mask = array(inputs["sequences"]).astype("float64"), MASK if "mask" in names else np.ones((B, T), bool)
    k, q = targets or 1, len(quantiles or [0])
    mean, scale = of_window(x, mask, "standard")
    x = np.where(mask[..., None], (x - mean) / scale, 0)
    before = [x[:, T - lag : T - lag + J, :k] for lag in lags]
    future = np.concatenate([array(inputs.get("future", np.zeros((B, J, 0)))), *before], -1)
    mean, scale = mean[:, :, :k], scale[:, :, :k]
    _, state = encoded(model, x, mask)
    state = [(state[0] + state[1]) / 2] if both else state
    known = (array(inputs["targets"]).reshape(B, J, k) - mean) / scale
    last = np.stack([x[b, np.flatnonzero(mask[b])[-1], :k] for b in range(B)])
    made, stepper = [], model.decoder.layer.levels[0].cell
    for j in range(J):
        output, state = stepper(tensor(np.concatenate([last, future[:, j]], -1), "float32"), state)
        a = dense(model.head, array(output).astype("float64")).reshape(B, k, q)
        made.append(a)
        last = known[:, j] if forced else a[..., model.median]
    y = crossing_free(np.stack(made, 1), model.median) * scale[..., None] + mean[..., None]
    y = y if quantiles else y[..., 0]
    y = y if targets else y[:, :, 0]
    np.testing.assert_allclose(array(model(inputs, training=forced)), y, **CLOSE)


@pytest.mark.parametrize("mode", ["direct", "recursive"])
@pytest.mark.parametrize("quantiles", [[0.01, 0.02, 0.4, 0.45, 0.99], [0.7, 0.9], [0.1, 0.2, 0.3]], ids=len)
def test_quantiles_never_cross(mode, quantiles, rng):
    inputs = batch(rng)
    model = forecaster(rng, inputs, quantiles=quantiles, normalization="standard", mode=mode)
    model.set_weights([5 * w for w in model.get_weights()])
    y = array(model(inputs))
    assert y.shape == (B, J, len(quantiles))
    assert (np.diff(y, axis=-1) >= 0).all() and y.std() > 0.1


@pytest.mark.parametrize("mode", ["direct", "recursive"])
def test_scale_and_shift_of_a_normalized_window_are_those_of_its_forecast(mode, rng):
    inputs = batch(rng)
    model = forecaster(rng, inputs, normalization="standard", mode=mode, targets=2)
    y = array(model(inputs))
    scale, shift = np.array([7.0, 0.5]), np.array([-100.0, 30.0])
    moved = array(model({"sequences": tensor(array(inputs["sequences"]) * scale + shift, "float32")}))
    np.testing.assert_allclose(moved, y * scale + shift, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("mode", ["direct", "recursive"])
def test_padding_changes_nothing_and_reaches_no_gradient(mode, rng):
    inputs = batch(rng, "mask", "future")
    model = forecaster(rng, inputs, mode=mode, normalization="standard", quantiles=[0.3, 0.5])
    x = array(inputs["sequences"])
    y = array(model(inputs))
    wrong = {**inputs, "sequences": tensor(np.where(MASK[..., None], x, np.nan), "float32")}
    np.testing.assert_allclose(array(model(wrong)), y, **CLOSE)
    pads = ((0, 0), (2, 1))
    longer = {**inputs, "sequences": tensor(np.pad(x, (*pads, (0, 0))), "float32")}
    longer["mask"] = tensor(np.pad(MASK, pads), "bool")
    np.testing.assert_allclose(array(model(longer)), y, **CLOSE)

    def loss(x):
        return ops.sum(ops.square(model({**inputs, "sequences": x})))

    found = gradients(loss, [wrong["sequences"]], model.trainable_variables)
    assert all(np.isfinite(g).all() for g in found)
    assert not found[0][~MASK].any() and np.abs(found[0][MASK]).min() > 0


@pytest.mark.parametrize("mode", ["direct", "recursive"])
def test_a_window_without_a_valid_step(mode, rng):
    inputs = {**batch(rng), "mask": tensor(MASK & np.array([[1], [0], [1]], bool), "bool")}
    model = forecaster(rng, inputs, mode=mode, normalization="standard")
    found = gradients(
        lambda x: ops.sum(model({**inputs, "sequences": x})), [inputs["sequences"]], model.trainable_variables
    )
    assert np.isfinite(array(model(inputs))).all() and all(np.isfinite(g).all() for g in found)


@pytest.mark.parametrize("training", few([True, False]))
def test_gradients_of_a_free_run_by_differences(training, rng):
    """A forecast is fed back with its gradient."""
    inputs = batch(rng, "future")
    model = forecaster(rng, inputs, mode="recursive", quantiles=[0.2, 0.5])

    def loss(x):
        return ops.mean(ops.square(model({**inputs, "sequences": x}, training=training)))

    weights = model.trainable_variables
    found = gradients(loss, [inputs["sequences"]], weights)[1:]
    assert all(np.abs(g).max() > 0 for g in found)
    for weight, gradient in list(zip(weights, found, strict=True))[-5:]:
        value, step = array(weight), rng.normal(size=weight.shape)
        values = []
        for sign in (1, -1):
            weight.assign(value + sign * 1e-2 * step)
            values.append(float(array(loss(inputs["sequences"]))))
        weight.assign(value)
        np.testing.assert_allclose((values[0] - values[1]) / 2e-2, (gradient * step).sum(), rtol=0.05, atol=0.02)


KINDS = {
    "plain": (keras_rnnx.GRUCell(H), {}),
    "bidirectional": (keras_rnnx.GRUCell(H), {"depth": 2, "bidirectional": True, "residual": "sum"}),
    "highway": (keras_rnnx.LSTM(H), {"depth": 2, "residual": "highway", "dropout": 0.2}),
    "list": ([keras_rnnx.LSTMCell(4), keras_rnnx.GRUCell(H)], {"residual": "dense"}),
    "parallel": (keras_rnnx.Bidirectional(keras_rnnx.MinGRU(H)), {}),
    "keras": (keras.layers.GRUCell(H), {}),
}


@pytest.mark.parametrize("mode", ["direct", "recursive"])
@pytest.mark.parametrize("kind", few(KINDS))
def test_levels_of_all_kinds_train_and_save_whole(mode, kind, rng, tmp_path):
    cell, options = KINDS[kind]
    inputs = {name: array(a) for name, a in batch(rng, "future", *(["targets"] if mode == "recursive" else [])).items()}
    y = rng.normal(size=(B, J)).astype("float32")
    model = Forecaster(J, cell, mode=mode, quantiles=[0.1, 0.5, 0.9], normalization="standard", **options)
    model.compile("sgd", QuantileLoss(model.quantiles))
    history = model.fit(inputs, y, epochs=2, verbose=0, validation_data=(inputs, y)).history
    assert np.isfinite(history["loss"]).all()
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again.predict(inputs, verbose=0), model.predict(inputs, verbose=0), **CLOSE)
    assert [w.shape for w in again.weights] == [w.shape for w in model.weights]


def test_encoder_and_decoder_start_from_weights_of_their_own(rng):
    for cell in (keras_rnnx.GRUCell(H), [keras_rnnx.GRUCell(H, seed=3)]):
        model = Forecaster(J, cell, mode="recursive", targets=F)
        model(batch(rng))
        kernels = [array(part.layer.levels[0].cell.kernel) for part in (model.encoder, model.decoder)]
        assert kernels[0].shape == kernels[1].shape and np.abs(kernels[0] - kernels[1]).max() > 0.01


def test_intervals_reach_the_encoder(rng):
    inputs = batch(rng, "deltas", "mask")
    model = forecaster(rng, inputs, keras_rnnx.CfCCell(H))
    longer = {**inputs, "deltas": inputs["deltas"] * tensor(np.where(MASK, 2, 50), "float32")}
    masked = {**inputs, "deltas": inputs["deltas"] * tensor(np.where(MASK, 1, 50), "float32")}
    assert np.abs(array(model(longer)) - array(model(inputs))).max() > 1e-3
    np.testing.assert_allclose(array(model(masked)), array(model(inputs)), **CLOSE)


def test_a_model_works_in_a_fresh_process_that_imports_only_the_package(rng, tmp_path):
    inputs = batch(rng, "future")
    model = forecaster(rng, inputs, mode="recursive", normalization="mean", quantiles=[0.4, 0.6])
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", **{name: array(a) for name, a in inputs.items()})
    script = (
        "import sys, numpy, keras, keras_rnnx; x = dict(numpy.load(sys.argv[1] + '/x.npz'));"
        "model = keras.saving.load_model(sys.argv[1] + '/m.keras');"
        "numpy.save(sys.argv[1] + '/y.npy', model.predict(x, verbose=0))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), array(model(inputs)), **CLOSE)


@pytest.mark.skipif(BACKEND == "jax", reason="compiles as much as the other tests do")
def test_low_precision(rng):
    inputs = batch(rng, "future", "mask")
    model = Forecaster(J, keras_rnnx.GRUCell(H), mode="recursive", normalization="standard", dtype="mixed_bfloat16")
    y = model(inputs)
    assert keras.backend.standardize_dtype(y.dtype) == "float32" and np.isfinite(array(y)).all()


@pytest.mark.skipif(not EAGER, reason="a loss that goes down by a compiled step is seen above")
def test_a_trained_forecaster_follows_a_sine(rng):
    series = np.sin(np.arange(220) * 2 * np.pi / 12) + 3
    inputs, y = windows(series, 14, 6)
    model = Forecaster(6, keras_rnnx.GRUCell(12), normalization="standard")
    model.compile(keras.optimizers.Adam(0.02), "mae")
    model.fit(inputs, y, epochs=15, batch_size=32, verbose=0)
    assert model.evaluate(inputs, y, verbose=0) < 0.15


@pytest.mark.parametrize("stride", [1, 3])
def test_windows_hold_what_they_say(stride, rng):
    """Series and covariates tell their own step, so that every entry says where it is from."""
    n, length, horizon = 23, 5, 4
    steps = np.arange(n)
    series = np.stack([steps, steps + 0.25, steps + 0.5], 1)
    inputs, y = windows(series, length, horizon, stride, covariates=steps + 1000, targets=2, teacher=True)
    starts = range(0, n - length - horizon + 1, stride)
    assert len(y) == len(starts)
    for i, s in enumerate(starts):
        np.testing.assert_array_equal(inputs["sequences"][i], series[s : s + length])
        np.testing.assert_array_equal(y[i], series[s + length : s + length + horizon, :2])
        np.testing.assert_array_equal(inputs["future"][i, :, 0], steps[s + length : s + length + horizon] + 1000)
        assert inputs["sequences"][i].max() < y[i].min()
    np.testing.assert_array_equal(inputs["targets"], y)
    plain, first = windows(steps, length, horizon, stride)
    assert set(plain) == {"sequences"} and plain["sequences"].shape[2] == 1
    np.testing.assert_array_equal(first, y[..., 0])


def test_nothing_of_the_future_reaches_a_window(rng):
    """Other values from step s on change no input of a window that ends before s, covariates apart."""
    series, s = rng.normal(size=(30, 2)), 17
    other = series.copy()
    other[s:] += 1
    a, b = (windows(x, 6, 3)[0]["sequences"] for x in (series, other))
    same = (a == b).all(axis=(1, 2))
    assert same[: s - 6 + 1].all() and not same[s - 6 + 1 :].any()


class LastValue:
    """A stand-in for a model: every forecast is the last value, so that errors are known."""

    def __init__(self, horizon, targets=None, quantiles=None):
        self.horizon, self.targets, self.quantiles, self.median = horizon, targets, quantiles, 0

    def predict(self, inputs, batch_size, verbose):
        last = inputs["sequences"][:, -1:, : self.targets or 1]
        last = np.repeat(last, self.horizon, axis=1)
        last = last if self.targets else last[..., 0]
        return np.stack([last, last + 99], -1) if self.quantiles else last


@pytest.mark.parametrize("model", [LastValue(3), LastValue(2, targets=2), LastValue(3, quantiles=[0.5, 0.9])])
def test_residual_scores(model, rng):
    n, length, reference = 40, 4, 25
    series = rng.normal(size=(n, 2))
    scores = residual_scores(model, series, length, reference=reference)
    columns = []
    for k in range(model.targets or 1):
        x = series[:, k].astype("float32")
        r = np.full(n, np.nan)
        for t in range(length, n):
            origins = [o for o in range(length, n - model.horizon + 1) if o <= t < o + model.horizon]
            r[t] = np.mean([x[t] - x[o - 1] for o in origins])
        known = r[length:reference]
        spread = np.median(np.abs(known - np.median(known)))
        columns.append(np.abs(r - np.median(known)) / (1.4826 * spread))
    want = np.stack(columns, -1) if model.targets else columns[0]
    np.testing.assert_allclose(scores, want, rtol=1e-4)


def test_a_spike_has_the_largest_score(rng):
    series = rng.normal(size=200) * 0.1
    series[150] += 4
    scores = residual_scores(LastValue(1), series, 8, reference=120)
    assert np.nanargmax(scores) in (150, 151) and scores[150] > 15
    assert np.nanmedian(scores) < 1.5


GRU = keras_rnnx.GRUCell(H)


@pytest.mark.parametrize(
    "options, names, word",
    [
        ({"horizon": 0}, (), "horizon"),
        ({"mode": "both"}, (), "mode"),
        ({"targets": 0}, (), "targets"),
        ({"targets": F + 1}, (), "targets"),
        ({"quantiles": [0.9, 0.1]}, (), "quantiles"),
        ({"normalization": "max"}, (), "normalization"),
        ({"context": -1}, (), "context"),
        ({"lags": [J - 1]}, (), "lags"),
        ({"lags": [T + 1]}, (), "lags"),
        ({"dropout": 1.0}, (), "dropout"),
        ({"horizon": J + 1}, ("future",), "future"),
        ({"horizon": J + 1, "mode": "recursive"}, ("targets",), "targets"),
        ({}, ("targets",), "targets"),
        ({}, ("deltas",), "deltas"),
    ],
)
def test_wrong_arguments(options, names, word, rng):
    with pytest.raises(ValueError, match=word):
        Forecaster(**{"horizon": J, "cell": GRU, **options})(batch(rng, *names))


def test_covariates_in_one_call_and_not_in_the_next(rng):
    model = Forecaster(J, GRU)
    model(batch(rng, "future"))
    with pytest.raises(ValueError, match="future"):
        model(batch(rng))


def test_a_decoder_that_draws_runs_freely_only_outside_training(rng):
    model = Forecaster(J, keras_rnnx.GRUCell(H, dropout=0.5), mode="recursive")
    inputs = batch(rng)
    np.testing.assert_array_equal(array(model(inputs)), array(model(inputs)))
    with pytest.raises(ValueError, match="batch statistics"):
        model(inputs, training=True)
    forced = batch(rng, "targets")
    assert np.abs(array(model(forced, training=True)) - array(model(forced, training=True))).max() > 0


@pytest.mark.parametrize(
    "arguments, word",
    [
        ((np.zeros(9), 0, 1), "length"),
        ((np.zeros(9), 1, 0), "horizon"),
        ((np.zeros(9), 2, 2, 0), "stride"),
        ((np.zeros(9), 6, 4), "at least length"),
        ((np.zeros((9, 2, 2)), 2, 2), "series"),
    ],
)
def test_windows_of_wrong_arguments(arguments, word):
    with pytest.raises(ValueError, match=word):
        windows(*arguments)


def test_windows_and_scores_of_wrong_shapes():
    with pytest.raises(ValueError, match="covariates"):
        windows(np.zeros(9), 2, 2, covariates=np.zeros(8))
    with pytest.raises(ValueError, match="targets"):
        windows(np.zeros((9, 2)), 2, 2, targets=3)
    with pytest.raises(ValueError, match="reference"):
        residual_scores(LastValue(1), np.zeros(9), 3, reference=3)
    with pytest.raises(ValueError, match="differ"):
        residual_scores(LastValue(1), np.zeros(9), 3)
