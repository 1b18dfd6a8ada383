"""Models of Keras and of torch become ours, and back, with the same weights and outputs."""

import keras
import numpy as np
import pytest
from cases import array, few, tensor

import keras_rnnx

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D = 3, 5, 4
layers = keras.layers
LAYERS = {
    "lstm": lambda: layers.LSTM(3, return_sequences=True, unit_forget_bias=False, recurrent_activation="hard_sigmoid"),
    "gru": lambda: layers.GRU(3, return_sequences=True, dropout=0.2, recurrent_dropout=0.1, seed=1),
    "gru-v2": lambda: layers.GRU(3, reset_after=False, return_state=True, return_sequences=True),
    "simple": lambda: layers.SimpleRNN(3, activation="relu", use_bias=False, kernel_regularizer="l2"),
    "backwards": lambda: layers.LSTM(3, go_backwards=True, return_sequences=True, zero_output_for_mask=True),
    "both": lambda: layers.Bidirectional(layers.GRU(3, return_sequences=True), merge_mode="sum"),
    "two": lambda: layers.Bidirectional(layers.GRU(3), backward_layer=layers.LSTM(2, go_backwards=True)),
    "stack": lambda: layers.RNN([layers.GRUCell(2), layers.LSTMCell(3, dropout=0.1)], return_sequences=True),
    "cell": lambda: layers.RNN(layers.SimpleRNNCell(2)),
    "wrapped": lambda: layers.TimeDistributed(keras.Sequential([layers.Reshape((2, 2)), layers.LSTM(2)])),
}


def drawn(model, rng):
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    return model


def flat(outputs):
    return [array(a) for a in keras.tree.flatten(outputs)]


@pytest.mark.parametrize("name", few(list(LAYERS), 3))
def test_there_and_back(name, rng):
    inputs = keras.Input((T, D))
    masked = inputs if name in ("wrapped", "backwards") else layers.Masking()(inputs)  # Keras does not turn a mask
    model = drawn(keras.Model(inputs, LAYERS[name]()(masked)), rng)
    x = rng.normal(size=(B, T, D))
    x[1, 3:] = 0
    ours = keras_rnnx.convert(model)
    theirs = keras_rnnx.convert(ours, to="keras")
    assert {report.path for report in keras_rnnx.explain(model)} == {"keras"}
    assert "keras" not in {report.path for report in keras_rnnx.explain(ours)}
    for made in (ours, theirs):
        assert [w.shape for w in made.weights] == [w.shape for w in model.weights]
        for one, other in zip(flat(model(tensor(x))), flat(made(tensor(x))), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-6)
    for one, other in zip(model.layers, theirs.layers, strict=True):
        assert type(one) is type(other) and one.name == other.name
        assert [w.name for w in one.weights] == [w.name for w in other.weights]


def test_configurations_come_back():
    for name in ("lstm", "gru", "gru-v2", "simple", "backwards", "cell"):
        layer = LAYERS[name]()
        back = keras_rnnx.convert(keras_rnnx.convert(layer), to="keras")
        assert back.get_config() == layer.get_config()


def test_convolutional(rng):
    inputs = keras.Input((T, 6, 5, 2))
    model = drawn(keras.Model(inputs, layers.ConvLSTM2D(2, 3, padding="same", strides=2)(inputs)), rng)
    x = tensor(rng.normal(size=(B, T, 6, 5, 2)))
    ours = keras_rnnx.convert(model)
    assert isinstance(ours.layers[1], keras_rnnx.ConvLSTM2D)
    for made in (ours, keras_rnnx.convert(ours, to="keras")):
        np.testing.assert_allclose(array(made(x)), array(model(x)), atol=1e-6)


def test_states_shared_layers_and_nested_models(rng):
    """An encoder's states go into a decoder, whose layer is called twice, in a model within a model."""
    inputs, more = keras.Input((T, 3)), keras.Input((T, 3))
    outputs, *state = layers.LSTM(3, return_sequences=True, return_state=True)(inputs)
    shared = layers.LSTM(3, return_sequences=True)
    y = shared(shared(more, initial_state=state), initial_state=state)
    inner = keras.Model([inputs, more], layers.Add()([outputs, y]))
    again = [keras.Input((T, 3)), keras.Input((T, 3))]
    model = drawn(keras.Model(again, layers.Dense(2)(inner(again))), rng)
    x = [tensor(rng.normal(size=(B, T, 3))) for _ in range(2)]
    ours = keras_rnnx.convert(model)
    assert len(ours.weights) == len(model.weights)
    np.testing.assert_allclose(array(ours(x)), array(model(x)), atol=1e-6)


def test_the_copy_is_compiled_and_trains(rng):
    model = keras.Sequential([keras.Input((T, D)), layers.GRU(3), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    ours = keras_rnnx.convert(model)
    x, y = np.float32(rng.normal(size=(B, T, D))), np.float32(rng.normal(size=(B, 1)))
    for made in (ours, model):
        made.fit(x, y, epochs=2, verbose=0)
    for one, other in zip(ours.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@keras.saving.register_keras_serializable("test_conversion")
class Own(keras.Model):
    """Makes its layer itself."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.recurrent = layers.GRU(2)

    def call(self, x):
        return self.recurrent(x)


@pytest.mark.parametrize(
    "make, to, word",
    [
        (lambda: keras_rnnx.MGU(3), "keras", "MGU"),
        (lambda: keras_rnnx.GRU(3, zoneout=0.1, name="z"), "keras", "zoneout.*0.1"),
        (lambda: keras_rnnx.LSTM(3, memory=("tbptt", 5)), "keras", "tbptt"),
        (lambda: keras_rnnx.RNN(keras_rnnx.ZoneoutCell(keras_rnnx.LSTMCell(2), 0.1)), "keras", "ZoneoutCell"),
        (lambda: keras_rnnx.DeepRNN([keras_rnnx.GRUCell(2)]), "keras", "DeepRNN"),
        (Own, "keras_rnnx", "gru"),
        (lambda: layers.LSTM(3), "torch", "to='torch'"),
        (lambda: "model", "keras", "'model'"),
    ],
)
def test_what_has_no_counterpart(make, to, word):
    with pytest.raises(ValueError, match=word):
        keras_rnnx.convert(make(), to)


MODULES = {
    "lstm": ("LSTM", {}),
    "lstm-both": ("LSTM", {"bidirectional": True, "bias": False}),
    "lstm-projected": ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    "gru": ("GRU", {"batch_first": True}),
    "gru-deep": ("GRU", {"num_layers": 3, "dropout": 0.1}),
    "rnn": ("RNN", {"nonlinearity": "relu"}),
    "rnn-deep": ("RNN", {"num_layers": 2, "bidirectional": True, "bias": False}),
}


@pytest.mark.parametrize("name", few(list(MODULES), 2))
@pytest.mark.parametrize("dtype", ["float32", "float64"] if keras.backend.backend() == "torch" else ["float32"])
def test_torch(name, dtype, rng):
    torch = pytest.importorskip("torch")
    kind, options = MODULES[name]
    module = getattr(torch.nn, kind)(D, 3, **options, dtype=getattr(torch, dtype)).eval()
    x = rng.normal(size=(B, T, D)).astype(dtype)
    given = torch.tensor(x if module.batch_first else x.swapaxes(0, 1))
    wanted = module(given)[0].detach().numpy()
    layer = keras_rnnx.from_torch(module, name="mine")
    assert layer.name == "mine"
    tolerance = {"atol": 1e-6} if dtype == "float32" else {"atol": 1e-12}
    found = array(layer(tensor(x, dtype)))
    np.testing.assert_allclose(found, wanted if module.batch_first else wanted.swapaxes(0, 1), **tolerance)
    back = keras_rnnx.to_torch(layer).eval()
    assert type(back) is type(module) and back.batch_first
    np.testing.assert_allclose(back(torch.tensor(x))[0].detach().numpy(), found, **tolerance)
    for key in ("num_layers", "bidirectional", "bias", "proj_size", "dropout"):
        assert getattr(back, key) == getattr(module, key)


def test_states_of_torch(rng):
    torch = pytest.importorskip("torch")
    module = torch.nn.LSTM(D, 3, batch_first=True)
    x = np.float32(rng.normal(size=(B, T, D)))
    _, (h, c) = module(torch.tensor(x))
    last, *states = keras_rnnx.from_torch(module, return_sequences=False, return_state=True)(tensor(x, "float32"))
    for one, other in zip((last, *states), (h, h, c), strict=True):
        np.testing.assert_allclose(array(one), other[0].detach().numpy(), atol=1e-6)


def built(layer):
    layer.build((None, None, D))
    return layer


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: keras_rnnx.LSTM(3), "built"),
        (lambda: built(keras_rnnx.MGU(3)), "mgu|MGU"),
        (lambda: built(keras_rnnx.GRU(3, reset_after=False)), "reset_after"),
        (lambda: built(keras_rnnx.LSTM(3, normalization="layer")), "normalization"),
        (lambda: built(keras_rnnx.LSTM(3, recurrent_structure="diagonal")), "diagonal"),
        (lambda: built(keras_rnnx.VanillaRNN(3, activation="sigmoid")), "VanillaRNN"),
        (lambda: built(keras_rnnx.GRU(3, go_backwards=True)), "forwards"),
        (lambda: built(keras_rnnx.Bidirectional(keras_rnnx.GRU(3), "sum")), "sum"),
        (lambda: built(keras_rnnx.DeepRNN(keras_rnnx.GRUCell(D), 2, residual="sum")), "residual"),
        (lambda: built(keras_rnnx.DeepRNN([keras_rnnx.GRUCell(3), keras_rnnx.GRUCell(2)])), "one kind"),
        (lambda: layers.LSTM(3), "keras_rnnx"),
    ],
)
def test_what_torch_does_not_have(make, word):
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match=word):
        keras_rnnx.to_torch(make())


def test_only_recurrent_modules_of_torch():
    with pytest.raises(ValueError, match="torch.nn.LSTM"):
        keras_rnnx.from_torch(keras_rnnx.LSTM(3))
