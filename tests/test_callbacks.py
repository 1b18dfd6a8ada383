"""Callbacks in `fit`: what they measure, what they write, and that a model learns as it does without them."""

import sys

import keras
import numpy as np
import pytest
from cases import FLOAT, array, few, randomized, tensor

import keras_rnnx
from keras_rnnx.callbacks import GradientFlow, ResetStates, SampleText, StateMonitor, state_gradients

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]
pytest.importorskip("tensorboard")

B, T, D, H = 4, 6, 2, 3


def data(rng, rows=8):
    x = rng.normal(size=(rows, T, D)).astype("float32")
    x[1, 4:] = x[2, 2:] = 0.0  # padding
    return x, rng.normal(size=(rows, 1)).astype("float32")


def model_of(*layers, jit_compile="auto", **options):
    model = keras.Sequential([keras.Input((T, D)), keras.layers.Masking(), *layers, keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.05), jit_compile=jit_compile, **options)
    return model


def written(log_dir):
    """What TensorBoard reads back."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(log_dir), size_guidance={"tensors": 0})
    events.Reload()
    return events


def numbers(events, tag):
    from tensorboard.util.tensor_util import make_ndarray

    return [make_ndarray(e.tensor_proto) for e in events.Tensors(tag)]


@pytest.mark.parametrize("jit_compile", [True, False] if keras.backend.backend() != "torch" else [False])
def test_gradient_flow(jit_compile, rng, tmp_path):
    pytest.importorskip("matplotlib")
    x, y = data(rng)
    layers = [keras_rnnx.LSTM(H, return_sequences=True, name="below"), keras_rnnx.VanillaRNN(H, name="above")]
    model = model_of(*layers, jit_compile=jit_compile)
    start = model.get_weights()
    flow = GradientFlow((x[:B], y[:B]), log_dir=tmp_path, every=2)
    model.fit(x, y, batch_size=4, epochs=4, verbose=0, shuffle=False, callbacks=[flow])
    learned = model.get_weights()
    assert flow.steps == [0, 2, 4]
    assert list(flow.history) == ["below/h", "below/c", "above/h"]
    assert all(norms.shape == (3, T) for norms in flow.history.values())

    mask = (x[:B] != 0).any(axis=-1)
    for index, weights in ((0, start), (-1, learned)):
        model.set_weights(weights)
        (dh,) = state_gradients(model, x[:B], y[:B])["above"]
        norms = np.sqrt((dh**2).sum(axis=-1))
        expected = [norms[mask[:, t], t].mean() for t in range(T)]
        np.testing.assert_allclose(flow.history["above/h"][index], expected, rtol=1e-5)

    events = written(tmp_path)
    tag, norms = "gradient_flow/above/h", flow.history["above/h"]
    assert [e.step for e in events.Tensors(f"{tag}/first")] == flow.steps
    np.testing.assert_allclose(numbers(events, f"{tag}/first"), norms[:, 0], rtol=1e-6)
    np.testing.assert_allclose(numbers(events, f"{tag}/last"), norms[:, -1], rtol=1e-6)
    np.testing.assert_allclose(numbers(events, f"{tag}/max"), norms.max(axis=1), rtol=1e-6)
    ratio = np.log10(norms[:, 0] / norms[:, -1])
    np.testing.assert_allclose(numbers(events, f"{tag}/log10_first_over_last"), ratio, atol=1e-5)
    assert [h[:, 2].sum() for h in numbers(events, f"{tag}/log10_norms")] == [mask.sum()] * 3
    cells = flow.history["below/c"]
    np.testing.assert_allclose(numbers(events, "gradient_flow/below/c/last"), cells[:, -2], rtol=1e-6)
    assert not cells[:, -1].any()  # the last c makes no output
    width, height, png = numbers(events, "gradient_flow")[-1]
    assert png.startswith(b"\x89PNG") and int(width) > int(height) > 0

    other = model_of(*[type(layer).from_config(layer.get_config()) for layer in layers], jit_compile=jit_compile)
    other.set_weights(start)
    other.fit(x, y, batch_size=4, epochs=4, verbose=0, shuffle=False)
    for one, two in zip(learned, other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_gradient_flow_of_batches_and_its_figure(rng):
    pytest.importorskip("matplotlib")
    x, y = data(rng)
    model = model_of(keras_rnnx.Bidirectional(keras_rnnx.GRU(H)))
    flow = GradientFlow((x[:B], y[:B], np.ones(B)), every=3, unit="batch")
    with pytest.raises(ValueError, match="0 measurements"):
        flow.figure()
    model.fit(x, y, batch_size=2, epochs=2, verbose=0, callbacks=[flow])
    assert flow.steps == [0, 3, 6]
    lines, heat, _ = flow.figure(1).axes
    first = next(iter(flow.history.values()))[1]
    np.testing.assert_allclose(lines.lines[0].get_ydata(), np.log10(first))
    np.testing.assert_allclose(np.asarray(heat.images[0].get_array())[0], np.log10(first))
    with pytest.raises(ValueError, match="index=3"):
        flow.figure(3)


def test_a_step_that_no_row_has_is_missing(rng):
    x, y = data(rng)
    x[:, 4:] = 0.0
    model = model_of(keras_rnnx.GRU(H, name="gru"))
    flow = GradientFlow((x, y), picture=False)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[flow])
    assert np.isfinite(flow.history["gru/h"][:, :4]).all() and np.isnan(flow.history["gru/h"][:, 4:]).all()


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def test_state_monitor(rng, tmp_path):
    x, y = data(rng)
    model = model_of(keras_rnnx.LSTM(H, return_sequences=True, name="lstm"), keras_rnnx.MinGRU(2, name="min"))
    randomized(model.layers[1], rng)
    layer = model.layers[1]
    weights = layer.get_weights()
    weights[1][:, -1] = weights[0][:, -1] = weights[2][-1] = 0.0
    weights[2][-1] = -30.0  # the output gate of the last unit is shut: a dead unit
    weights[2][H : 2 * H] = [9.0, 0.0, -9.0]
    layer.set_weights(weights)
    monitor = StateMonitor((x, y), log_dir=tmp_path, saturated=0.5, dead=1e-6)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[monitor])

    mask = (x != 0).any(axis=-1)
    W, U, b = (w.astype("float64") for w in weights)
    h, c, found = np.zeros((8, H)), np.zeros((8, H)), {"h": [], "c": [], "f": [], "o": []}
    for t in range(T):
        i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
        c_new = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h_new = sigmoid(o) * np.tanh(c_new)
        m = mask[:, t, None]
        h, c = np.where(m, h_new, h), np.where(m, c_new, c)
        for name, value in (("h", h), ("c", c), ("f", sigmoid(f)), ("o", sigmoid(o))):
            found[name].append(value[mask[:, t]])
    found = {name: np.concatenate(values) for name, values in found.items()}
    history = {name: values[0] for name, values in monitor.history.items()}
    h = found["h"]
    for name, expected in {
        "h/mean": h.mean(),
        "h/std": h.std(),
        "h/saturated": (abs(h) > 0.5).mean(),
        "h/dead": (h.var(axis=0) < 1e-6).mean(),
        "f/open": (found["f"] > 0.95).mean(),
        "f/closed": (found["f"] < 0.05).mean(),
        "o/closed": (found["o"] < 0.05).mean(),
    }.items():
        np.testing.assert_allclose(history[f"lstm/{name}"], expected, rtol=1e-4, err_msg=name)
    assert history["lstm/h/dead"] > 0 and 0 < history["lstm/f/open"] < 1 and 0 < history["lstm/f/closed"] < 1
    assert np.isnan(history["lstm/c/saturated"]) == (abs(found["c"]).max() > 1)
    assert monitor.without_gates == ["min"] and "min/h/mean" in history
    events = written(tmp_path)
    np.testing.assert_allclose(numbers(events, "state_monitor/lstm/f/open"), monitor.history["lstm/f/open"], rtol=1e-6)


GATED = {
    "gru": (lambda: keras_rnnx.GRU(H, go_backwards=True), ["z", "r"]),
    "unnamed": (lambda: keras_rnnx.MGU(H), ["gate_1"]),
    "inside": (lambda: keras_rnnx.RNN(keras_rnnx.ResidualCell(keras_rnnx.LSTMCell(D))), ["i", "f", "o"]),
    "stacked": (lambda: keras_rnnx.RNN([keras_rnnx.GRUCell(3), keras_rnnx.LSTMCell(2)]), ["z", "r", "i", "f", "o"]),
    "none": (lambda: keras_rnnx.VanillaRNN(H), []),
    "keras": (lambda: keras_rnnx.RNN(keras.layers.GRUCell(H)), []),
    "memory": (lambda: keras_rnnx.GLA(4, heads=2), []),
}


@pytest.mark.parametrize("kind", few(GATED, 5))
def test_state_monitor_finds_gates(kind, rng):
    make, gates = GATED[kind]
    x, y = data(rng)
    model = model_of(make())
    monitor = StateMonitor(x)
    before = dict(vars(model.layers[1].cell))
    monitor.set_model(model)
    monitor.take(0)
    found = [name.split("/")[-2] for name in monitor.history if name.endswith("/open")]
    assert found == gates
    assert len(monitor.without_gates) == (not gates)
    assert all(0 <= monitor.history[name][0] <= 1 for name in monitor.history if name.endswith(("/open", "/closed")))
    assert vars(model.layers[1].cell).keys() == before.keys()
    assert all(vars(model.layers[1].cell)[name] is value for name, value in before.items() if callable(value))


def test_gates_read_the_states_before_their_steps(rng):
    """With resets and backwards, the gates of all steps at once are those of a walk step by step."""
    from keras_rnnx.base.watching import watching
    from keras_rnnx.callbacks.gradients import Readings
    from keras_rnnx.callbacks.state_monitor import gates_of, walks

    for backwards in (False, True):
        layer = keras_rnnx.LSTM(H, go_backwards=backwards, dtype=FLOAT)
        layer.build((None, T, D))
        randomized(layer, rng)
        x, resets = rng.normal(size=(B, T, D)), rng.random(size=(B, T)) < 0.4
        found = Readings(layer)
        with watching(found):
            layer(tensor(x), resets=tensor(resets, "bool"))
        ((_, walk),) = walks("lstm", *found.values())
        gates = gates_of(walk)
        W, U, b = layer.get_weights()
        h = c = np.zeros((B, H))
        steps = range(T)[::-1] if backwards else range(T)
        for t in steps:
            new = (resets[:, t + 1] if t + 1 < T else np.zeros(B, bool)) if backwards else resets[:, t]
            h, c = np.where(new[:, None], 0, h), np.where(new[:, None], 0, c)
            i, f, g, o = np.split(x[:, t] @ W + h @ U + b, 4, axis=-1)
            np.testing.assert_allclose(array(gates["f"])[t], sigmoid(f), atol=1e-5)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)


def test_sample_text(rng, tmp_path, capsys):
    x, y = data(rng)
    model, asked = model_of(keras_rnnx.GRU(H)), []

    def generate(given):
        asked.append(given)
        return [f"text {len(asked)}", b"\xc3\xa9t\xc3\xa9"]

    sample = SampleText(generate, log_dir=tmp_path)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[sample])
    assert asked == [model] * 3 and sample.steps == [0, 1, 2]
    assert sample.history[1] == ["text 2", "été"]
    assert "epoch 2:\ntext 3\nété\n" in capsys.readouterr().out
    texts = numbers(written(tmp_path), "sample_text")
    assert [t.decode() for t in texts[-1]] == ["text 3", "été"]

    model.generate = lambda prompts, suffix: [p + suffix for p in prompts]
    quiet = SampleText(prompts=["a", "b"], suffix="!", printed=False)
    model.fit(x, y, epochs=1, verbose=0, callbacks=[quiet])
    assert quiet.history == [["a!", "b!"]] * 2 and not capsys.readouterr().out


def stateful_model(**options):
    inputs = keras.Input(batch_shape=(2, T, D))
    outputs = keras_rnnx.GRU(H, stateful=True, name="gru")(inputs)
    model = keras.Model(inputs, outputs)
    model.compile(loss="mse", optimizer=keras.optimizers.SGD(0.0), **options)
    return model


class Note(keras.callbacks.Callback):
    """Notes the carried state before each batch."""

    def __init__(self):
        super().__init__()
        self.seen, self.tested = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(array(self.model.get_layer("gru").states[0]).copy())

    def on_test_batch_begin(self, batch, logs=None):
        self.tested.append(array(self.model.get_layer("gru").states[0]).copy())


@pytest.mark.parametrize("at", few(["epoch", 2, "batch"], 2))
def test_reset_states(at, rng):
    model, note = stateful_model(), Note()
    x, y = rng.normal(size=(6, T, D)).astype("float32"), np.zeros((6, H), "float32")
    more = {"validation_data": (x[:4], y[:4]), "validation_batch_size": 2}
    options = {"batch_size": 2, "epochs": 2, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[ResetStates(at), note], **options, **more)
    zero = [not np.any(s) for s in note.seen]
    assert zero == {"epoch": [True, False, False], 2: [True, False, True], "batch": [True] * 3}[at] * 2
    assert [not np.any(s) for s in note.tested] == [True, False] * 2
    if at == "epoch":  # the second epoch repeats the first, as nothing is learned
        np.testing.assert_allclose(note.seen[2], note.seen[5], atol=1e-6)


def test_validation_leaves_the_states_of_training(rng):
    model, note = stateful_model(), Note()
    x, y = rng.normal(size=(2, T, D)).astype("float32"), np.zeros((2, H), "float32")
    model.train_on_batch(x, y)
    before = [array(v) for v in model.get_layer("gru").carried]
    model.evaluate(x, y, batch_size=2, verbose=0, callbacks=[ResetStates(), note])
    assert not np.any(note.tested[0])
    for one, other in zip(before, model.get_layer("gru").carried, strict=True):
        np.testing.assert_array_equal(one, array(other))


def test_wrong_arguments(rng, tmp_path, monkeypatch):
    x, y = data(rng)
    for wrong, match in (
        (x, "one batch"),
        ((x,), "one batch"),
        ((x, y[:3]), "one number of rows"),
        ((x, None), None),
        ((x, 3.0), "arrays"),
        ((x[:0], y[:0]), "rows"),
    ):
        if match:
            with pytest.raises(ValueError, match=match):
                GradientFlow(wrong)
        else:
            GradientFlow(wrong)  # a model without targets
    for options in ({"every": 0}, {"unit": "step"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            GradientFlow((x, y), **options)
    for options in ({"saturated": 1.5}, {"closed": 0}, {"opened": 1}, {"dead": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            StateMonitor(x, **options)
    for wrong in ([], [x, x[:2]], "x"):
        with pytest.raises(ValueError, match="data"):
            StateMonitor(wrong)
    for options in ({}, {"generate": "text"}, {"generate": len, "prompts": ["a"]}, {"generate": len, "best": 1}):
        with pytest.raises(ValueError, match="generate"):
            SampleText(**options)
    for at in ("step", 0, 2.5, True):
        with pytest.raises(ValueError, match="at"):
            ResetStates(at)
    model = model_of(keras.layers.GRU(H))
    for callback, match in (
        (GradientFlow((x, y), picture=False), "keras_rnnx"),
        (StateMonitor(x), "keras_rnnx"),
        (SampleText(prompts=["a"]), "generate"),
        (SampleText(lambda model: 3), "int"),
        (ResetStates(), "stateful"),
    ):
        with pytest.raises(ValueError, match=match):
            model.fit(x, y, verbose=0, callbacks=[callback])
    with pytest.raises(ValueError, match="steps_per_execution=2"):
        stateful_model(steps_per_execution=2).fit(x, np.zeros((8, H)), batch_size=2, callbacks=[ResetStates("batch")])


def test_missing_packages(rng, tmp_path, monkeypatch):
    x, y = data(rng)
    for package, module, callback in (
        ("matplotlib", "matplotlib.figure", GradientFlow),
        ("tensorboard", "tensorboard.summary.writer.event_file_writer", StateMonitor),
    ):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ImportError, match=f"pip install {package}"):
            callback((x, y), log_dir=tmp_path)
