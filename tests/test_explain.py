"""`explain` names the path that a call takes; `reset_states` reaches every layer."""

import keras
import numpy as np
import pytest
from cases import BACKEND, array

import keras_rnnx
from keras_rnnx.native import library

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 5, 3, 4
LOOP = {"tensorflow": "xla loop", "jax": "xla loop", "torch": "python loop"}[BACKEND]
NATIVE = "native" if library.problem() is None else LOOP
FUSED = "torch fused" if BACKEND == "torch" else NATIVE


def model():
    inputs = keras.Input((T, D))
    x = keras_rnnx.Bidirectional(keras_rnnx.GRU(H, return_sequences=True, zoneout=0.1))(inputs)
    x = keras_rnnx.DeepRNN(keras_rnnx.GRUCell(H), depth=2, return_sequences=True)(x)
    x = keras_rnnx.LSTM(H, name="plain", return_sequences=True)(x)
    x = keras.layers.LSTM(H, return_sequences=True)(x)
    outputs = keras_rnnx.LSTM(H, unroll=True)(x)
    return keras.Model(inputs, outputs)


def test_every_recurrent_layer_of_a_model():
    reports = keras_rnnx.explain(model())
    assert [r.cell for r in reports] == ["GRUCell", "GRUCell", "GRUCell", "GRUCell", "LSTMCell", "LSTMCell", "LSTMCell"]
    assert [r.path for r in reports] == [NATIVE, NATIVE, FUSED, FUSED, FUSED, "keras", "unrolled"]
    assert all(r.why and r.device in ("cpu", "gpu", "tpu") for r in reports)
    table = str(reports)
    assert table.splitlines()[0].split() == ["layer", "cell", "path", "device", "why"]
    assert len(table.splitlines()) == 8 and "plain" in table


def test_mask_training_and_length_matter():
    layer = keras_rnnx.LSTM(H, recurrent_dropout=0.2)
    paths = [keras_rnnx.explain(layer, mask=m, training=t)[0].path for m in (False, True) for t in (False, True)]
    assert paths == [FUSED, NATIVE, NATIVE, NATIVE]
    known, unknown = (keras_rnnx.explain(layer, (B, n, D))[0].why for n in (T, None))
    assert (known != unknown) == (BACKEND != "torch")


@pytest.mark.parametrize("name", ["step", "activate", "inputs"])
def test_a_subclass_with_other_equations_is_computed_by_them(name, rng):
    """A kernel that is made for a class computes the equations of that class alone."""

    def double(self, *args):
        made = getattr(keras_rnnx.VanillaRNNCell, name)(self, *args)
        return (
            {k: 2 * a for k, a in made.items()} if name == "inputs" else keras.tree.map_structure(lambda a: 2 * a, made)
        )

    cell = type("Doubled", (keras_rnnx.VanillaRNNCell,), {name: double})(H)
    layer, plain = keras_rnnx.RNN(cell), keras_rnnx.VanillaRNN(H)
    x = np.float32(rng.normal(size=(B, T, D)))
    assert keras_rnnx.explain(layer)[0].path == NATIVE and keras_rnnx.explain(plain)[0].path == FUSED
    layer.build(x.shape), plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    assert (np.abs(array(layer(x)) - array(plain(x))).max() > 1e-3) == (name != "activate")


def test_nothing_to_explain():
    with pytest.raises(ValueError, match="Expected a recurrent layer.*Received: "):
        keras_rnnx.explain(keras.Sequential([keras.layers.Dense(2)]))


def test_reset_states_reaches_nested_layers(rng):
    cell = keras_rnnx.GRUCell(H)
    layers = [
        keras.Sequential([keras_rnnx.LSTM(H, stateful=True, return_sequences=True)]),
        keras_rnnx.Bidirectional(keras_rnnx.GRU(H, stateful=True, return_sequences=True)),
        keras_rnnx.DeepRNN(cell, depth=2, stateful=True, return_sequences=True),
        keras_rnnx.RNN(keras_rnnx.VanillaRNNCell(H), stateful=True),
    ]
    stack = keras.Sequential([keras.Input(batch_shape=(B, T, D)), *layers])
    x = np.float32(rng.normal(size=(B, T, D)))
    first = array(stack(x))
    assert np.abs(array(stack(x)) - first).max() > 1e-4
    keras_rnnx.reset_states(stack)
    np.testing.assert_array_equal(array(stack(x)), first)
