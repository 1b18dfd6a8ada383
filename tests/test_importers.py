"""Weights of haste and of TensorFlow Addons: our layers give what theirs give, here as NumPy loops after their code."""

import keras
import numpy as np
import pytest
from cases import SINGLE, array, few, tensor
from reference import activations, addons, haste, run

import keras_rnnx

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 4, 5, 3
HASTE = {
    "LSTM": (haste.lstm, keras_rnnx.LSTM, {"kernel": (D, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,)}),
    "GRU": (
        haste.gru,
        keras_rnnx.GRU,
        {"kernel": (D, 3 * H), "recurrent_kernel": (H, 3 * H), "bias": (3 * H,), "recurrent_bias": (3 * H,)},
    ),
    "IndRNN": (haste.ind_rnn, keras_rnnx.IndRNN, {"kernel": (D, H), "recurrent_scale": (H,), "bias": (H,)}),
}
PEEPHOLES = ("input_gate_peephole_weights", "forget_gate_peephole_weights", "output_gate_peephole_weights")
ADDONS = {
    "PeepholeLSTMCell": (
        addons.peephole_lstm,
        keras_rnnx.PeepholeLSTM,
        {"kernel": (D, 4 * H), "recurrent_kernel": (H, 4 * H), "bias": (4 * H,), **dict.fromkeys(PEEPHOLES, (H,))},
    ),
    "NASCell": (
        addons.nas,
        keras_rnnx.NAS,
        {"recurrent_kernel": (H, 8 * H), "kernel": (D, 8 * H), "bias": (8 * H,)},
    ),
    "ESNCell": (addons.esn, keras_rnnx.ESN, {"recurrent_kernel": (H, H), "kernel": (D, H), "bias": (H,)}),
}


def drawn(rng, shapes):
    return {name: np.float32(rng.normal(size=shape)) for name, shape in shapes.items()}


def haste_weights(kind, seed=0):
    return drawn(np.random.default_rng(seed), HASTE[kind][2])


def addons_weights(kind, seed=0):
    return drawn(np.random.default_rng(seed), ADDONS[kind][2])


def in_one(w):
    """The variables of haste_tf: the recurrent kernel below the other, the recurrent bias after the other."""
    biases = [w[name] for name in ("bias", "recurrent_bias") if name in w]
    return {"_kernel": np.concatenate([w["kernel"], w["recurrent_kernel"]]), "_bias": np.concatenate(biases)}


def foreign(library, name, **attributes):
    """An object that looks like a layer of a library that is not here."""
    return type(name, (), {"__module__": f"{library}.module", **attributes})()


class Named:
    """A variable of Keras 2."""

    def __init__(self, name, value):
        self.name = name
        self.value = value

    def __array__(self, dtype=None, copy=None):
        return self.value


def cell_of(kind, w, **config):
    """A cell of TensorFlow Addons with these weights."""
    weights = [Named(f"{kind}/{name}:0", value) for name, value in w.items()]
    return foreign("tensorflow_addons", kind, weights=weights, get_config=lambda self: config)


def sequences(rng):
    return np.float32(rng.normal(size=(B, T, D)))


def walked(step, w, x, states=2, **options):
    """Outputs and final states of a step."""

    def stepping(x, *states):
        return step(w, x, *states, **options)

    history, final = run(stepping, x, [np.zeros((B, H))] * states)
    return history[0], final


@pytest.mark.parametrize("kind", HASTE)
def test_a_state_dict_of_haste(kind, rng):
    loop, layer, _ = HASTE[kind]
    w, x = haste_weights(kind), sequences(rng)
    made = keras_rnnx.from_haste({f"encoder.{n}": a for n, a in w.items()}, kind, return_state=True, name="mine")
    outputs, *states = made(tensor(x, "float32"))
    wanted, last = loop(w, x)
    assert type(made) is layer and made.name == "mine"
    np.testing.assert_allclose(array(outputs), wanted, **SINGLE)
    np.testing.assert_allclose(array(states[-1]), last, **SINGLE)


@pytest.mark.parametrize("kind", HASTE)
def test_a_module_of_haste(kind, rng):
    """Its zoneout acts at inference too, in an LSTM on h alone."""
    w, x = haste_weights(kind), sequences(rng)
    module = foreign("haste_pytorch", kind, state_dict=lambda self: w, dropout=0.0, zoneout=0.3)
    if kind == "IndRNN":
        del type(module).dropout
    found = keras_rnnx.from_haste(module, return_sequences=False)(tensor(x, "float32"))
    np.testing.assert_allclose(array(found), HASTE[kind][0](w, x, 0.3)[0][:, -1], **SINGLE)


def test_tensors_of_torch(rng):
    torch = pytest.importorskip("torch")
    w, x = haste_weights("GRU"), sequences(rng)
    given = {name: torch.nn.Parameter(torch.tensor(a)) for name, a in w.items()}
    found = keras_rnnx.from_haste(given, "GRU")(tensor(x, "float32"))
    np.testing.assert_allclose(array(found), haste.gru(w, x)[0], **SINGLE)


@pytest.mark.parametrize("kind", few(["LSTM", "GRU"]))
def test_both_directions_of_haste(kind, rng):
    """As a layer of haste_tf, and as its variables, which hold two kernels in one."""
    loop = HASTE[kind][0]
    halves = [haste_weights(kind, seed) for seed in (1, 2)]
    x = sequences(rng)
    wanted = np.concatenate([loop(halves[0], x)[0], loop(halves[1], x[:, ::-1])[0][:, ::-1]], axis=-1)
    fw, bw = (foreign("haste_tf", "Layer", get_weights=lambda _, w=w: w, dropout=0, zoneout=0) for w in halves)
    layer = foreign("haste_tf", kind, fw_layer=fw, bw_layer=bw)
    ends = ("fw_layer", "bw_layer")
    variables = {f"rnn/{end}/{n}": a for end, w in zip(ends, halves, strict=True) for n, a in in_one(w).items()}
    whole = keras_rnnx.from_haste(layer, name="both")
    assert isinstance(whole, keras_rnnx.Bidirectional) and whole.name == "both"
    np.testing.assert_allclose(array(whole(tensor(x, "float32"))), wanted, **SINGLE)
    again = keras_rnnx.from_haste({f"{n}/.ATTRIBUTES/VARIABLE_VALUE": a for n, a in variables.items()}, kind)
    for one, other in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_direction_of_haste_tf():
    w = haste_weights("LSTM")
    half = foreign("haste_tf", "Layer", get_weights=lambda _: w, dropout=0, zoneout=0.1)
    layer = keras_rnnx.from_haste(foreign("haste_tf", "LSTM", fw_layer=half, bw_layer=None))
    assert type(layer) is keras_rnnx.LSTM and layer.zoneout == [0.1, 0.0]
    i, g, f, o = np.split(w["kernel"], 4, axis=-1)
    np.testing.assert_array_equal(layer.get_weights()[0], np.concatenate([i, f, g, o], axis=-1))


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("kind", ["PeepholeLSTMCell", "NASCell"])
def test_arrays_of_addons(kind, bias, rng):
    step, layer, _ = ADDONS[kind]
    w, x = addons_weights(kind), sequences(rng)
    w = w if bias else {name: a for name, a in w.items() if name != "bias"}
    made = keras_rnnx.from_addons(list(w.values()), kind, return_state=True)
    wanted, final = walked(step, w, x)
    assert type(made) is layer
    for one, other in zip(made(tensor(x, "float32")), (wanted, *final), strict=True):
        np.testing.assert_allclose(array(one), other, **SINGLE)


def test_a_layer_of_addons(rng):
    """The configurations of the cell and of the layer around it come along; what is given here wins."""
    w, x = addons_weights("ESNCell"), sequences(rng)
    cell = cell_of("ESNCell", w, units=H, activation="sigmoid", leaky=0.3, connectivity=0.1)
    config = {"return_sequences": True, "return_state": True, "go_backwards": True, "time_major": False}
    layer = keras_rnnx.from_addons(foreign("tensorflow_addons", "ESN", cell=cell, get_config=lambda _: config))
    outputs, state = layer(tensor(x, "float32"))
    wanted, final = walked(addons.esn, w, x[:, ::-1], 1, activation=activations.sigmoid, leaky=0.3)
    np.testing.assert_allclose(array(outputs), wanted, **SINGLE)
    np.testing.assert_allclose(array(state), final[0], **SINGLE)
    cell = cell_of("PeepholeLSTMCell", addons_weights("PeepholeLSTMCell"), dropout=0.2, recurrent_dropout=0.1)
    layer = keras_rnnx.from_addons(cell, recurrent_dropout=0.0)
    assert (layer.dropout, layer.recurrent_dropout, layer.return_sequences) == (0.2, 0.0, True)


def test_paths_of_addons():
    w = addons_weights("PeepholeLSTMCell")
    one = keras_rnnx.from_addons({f"rnn/cell/{n}:0": a for n, a in w.items()}, "PeepholeLSTMCell", activation="relu")
    other = keras_rnnx.from_addons(list(w.values()), "PeepholeLSTMCell")
    assert one.activation is keras.activations.relu
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def without(w, name):
    return {n: a for n, a in w.items() if n != name}


@pytest.mark.parametrize(
    "source, kind, word",
    [
        (lambda: haste_weights("LSTM"), None, "`kind`"),
        (lambda: haste_weights("LSTM"), "Elman", "Elman"),
        (lambda: keras_rnnx.GRU(2), None, "haste_pytorch"),
        (lambda: list(haste_weights("LSTM").values()), "LSTM", "mapping"),
        (lambda: without(haste_weights("LSTM"), "bias"), "LSTM", "'bias'.*Received: .'kernel', 'recurrent_kernel'"),
        (lambda: haste_weights("GRU"), "LSTM", "recurrent_bias"),
        (lambda: {**haste_weights("GRU"), "decoder.kernel": np.ones(3)}, "GRU", "one layer.*decoder"),
        (lambda: {**haste_weights("LSTM"), "kernel": np.ones((D, 4 * H + 1))}, "LSTM", r"\(D, 4 H\).*\(5, 13\)"),
        (lambda: {**haste_weights("LSTM"), "kernel": np.ones((D, 4 * H), "int32")}, "LSTM", "int32"),
        (lambda: {**haste_weights("GRU"), "recurrent_bias": np.ones(H)}, "GRU", r"recurrent_bias.*\(9,\).*\(3,\)"),
        (lambda: {**haste_weights("IndRNN"), "bw/kernel": np.ones((D, H))}, "IndRNN", "bw/kernel"),
        (lambda: {}, "GRU", "Received: .."),
        (lambda: foreign("haste_pytorch", "LayerNormLSTM"), None, "LayerNormLSTM: it normalizes all gates together"),
        (lambda: {}, "LayerNormGRU", "all gates together"),
        (lambda: {}, "LayerNormIndRNN", "inputs alone"),
        (lambda: foreign("haste_pytorch", "GRU", dropout=0.1, zoneout=0.0), None, "DropConnect.*0.1"),
        (
            lambda: foreign("haste_tf", "GRU", fw_layer=foreign("haste_tf", "Half", built=False), bw_layer=None),
            None,
            "built",
        ),
    ],
)
def test_what_haste_does_not_fit(source, kind, word):
    with pytest.raises(ValueError, match=word):
        keras_rnnx.from_haste(source(), kind)


@pytest.mark.parametrize(
    "source, kind, word",
    [
        (lambda: addons_weights("NASCell"), None, "`kind`"),
        (lambda: addons_weights("NASCell"), "NAS", "'NAS'"),
        (lambda: keras_rnnx.NAS(2), None, "TensorFlow Addons"),
        (lambda: [np.ones((H, 8 * H))], "NASCell", "1 arrays"),
        (lambda: cell_of("NASCell", {}), None, r"Received: \[\]"),
        (
            lambda: {**addons_weights("NASCell"), "projection_weights": np.ones((H, 2))},
            "NASCell",
            "projection_weights",
        ),
        (lambda: without(addons_weights("PeepholeLSTMCell"), PEEPHOLES[1]), "PeepholeLSTMCell", "forget_gate"),
        (
            lambda: {**addons_weights("PeepholeLSTMCell"), PEEPHOLES[0]: np.ones(2)},
            "PeepholeLSTMCell",
            r"input_gate.*\(3,\).*\(2,\)",
        ),
        (lambda: {**addons_weights("ESNCell"), "kernel": np.ones((D, 4))}, "ESNCell", r"recurrent_kernel.*\(4, 4\)"),
        (lambda: cell_of("LayerNormLSTMCell", {}), None, "LayerNormLSTMCell: it normalizes all gates together"),
        (lambda: [], "LayerNormSimpleRNNCell", "sum of the two products"),
    ],
)
def test_what_addons_do_not_fit(source, kind, word):
    with pytest.raises(ValueError, match=word):
        keras_rnnx.from_addons(source(), kind)


def test_options_that_do_not_fit_the_weights():
    with pytest.raises(ValueError, match=r"\['bias', 'kernel', 'recurrent_kernel'\].*one with"):
        keras_rnnx.from_haste(haste_weights("LSTM"), "LSTM", use_bias=False)
