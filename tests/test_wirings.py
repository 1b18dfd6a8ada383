"""Wirings: what they promise, and that a synapse that is not there is not read."""

import keras
import numpy as np
import pytest
from cases import FLOAT, array, few, gradients, tensor, weights_of
from keras import ops

from keras_rnnx import wirings
from keras_rnnx.cells.cfc import CfC
from keras_rnnx.cells.ltc import LTC

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

D = 3
SMALL_NCP = {"inter_neurons": 3, "command_neurons": 2, "motor_neurons": 1, "sensory_fanout": 2, "inter_fanout": 1}
SMALL_NCP |= {"recurrent_command_synapses": 2, "motor_fanin": 2, "seed": 7}
WIRINGS = [
    wirings.FullyConnected(6, 2, seed=3, self_connections=False),
    wirings.Random(6, 4, sparsity_level=0.4, seed=5),
    wirings.NCP(**SMALL_NCP),
    wirings.AutoNCP(12, 3, sparsity_level=0.6, seed=9),
]
every_wiring = pytest.mark.parametrize("wiring", WIRINGS, ids=lambda w: type(w).__name__)


@every_wiring
def test_shapes_signs_and_configuration(wiring):
    sensory, inner = wiring.connect(D)
    assert sensory.shape == (D, wiring.units) and inner.shape == (wiring.units, wiring.units)
    assert set(np.unique(sensory)) | set(np.unique(inner)) <= {-1, 0, 1}
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(wiring))
    assert again.get_config() == wiring.get_config()
    for one, other in zip(wiring.connect(D), again.connect(D), strict=True):
        np.testing.assert_array_equal(one, other)
    neurons = sorted(n for layer in wiring.layers for n in layer)
    assert neurons == list(range(wiring.units))


def test_fully_connected():
    sensory, inner = WIRINGS[0].connect(D)
    assert sensory.all() and not np.diag(inner).any() and inner.sum() != 0
    assert (inner != 0).sum() == 30 and wirings.FullyConnected(6).connect(D)[1].all()


def test_random_leaves_out_its_part():
    sensory, inner = WIRINGS[1].connect(D)
    assert (sensory != 0).sum() == round(0.6 * 18) and (inner != 0).sum() == round(0.6 * 36)


@pytest.mark.parametrize("wiring", WIRINGS[2:], ids=["NCP", "AutoNCP"])
def test_a_circuit_is_layered_and_every_neuron_is_reached(wiring):
    sensory, inner = wiring.connect(D)
    inter, command, motor = wiring.layers
    assert list(motor) == list(range(wiring.output_units))
    reads = np.zeros_like(inner)
    reads[np.ix_(inter, command)] = reads[np.ix_(command, command)] = reads[np.ix_(command, motor)] = 1
    assert not inner[reads == 0].any() and not sensory[:, : inter.start].any()
    assert ((sensory != 0).sum(1) >= wiring.sensory_fanout).all() and sensory[:, inter].any(0).all()
    assert inner[np.ix_(inter, command)].any(0).all() and inner[np.ix_(command, motor)].any(1).all()
    assert ((inner[:, motor] != 0).sum(0) >= wiring.motor_fanin).all()


def test_the_synapses_are_those_of_the_authors_package():
    sensory, inner = WIRINGS[2].connect(2)
    assert sensory.tolist() == [[0, 0, 0, 0, 1, -1], [0, 0, 0, 1, 1, -1]]
    wanted = np.zeros((6, 6), int)
    wanted[[1, 1, 2, 2, 3, 4, 5], [0, 1, 0, 1, 2, 2, 1]] = [1, 1, -1, -1, -1, -1, -1]
    np.testing.assert_array_equal(inner, wanted)


@pytest.mark.parametrize("layer", [LTC, CfC])
@pytest.mark.parametrize("wiring", few(WIRINGS[::-1]), ids=lambda w: type(w).__name__)
def test_a_missing_synapse_has_no_gradient(layer, wiring, rng):
    made = layer(wiring.units, wiring=wiring, return_sequences=True, dtype=FLOAT)
    x = tensor(rng.normal(size=(2, 5, D)))
    assert tuple(made(x).shape) == (2, 5, wiring.output_units)
    found = gradients(lambda x: ops.sum(made(x) ** 2), [x], made.trainable_weights)[1:]
    found = dict(zip([w.name for w in made.trainable_weights], found, strict=True))
    sensory, inner = wiring.connect(D)
    if layer is LTC:
        assert not found["w"][inner == 0].any() and not found["sensory_w"][sensory == 0].any()
        assert found["sensory_w"].any() and found["w"].any()
        np.testing.assert_array_equal(weights_of(made)["erev"], inner)
    else:
        first = list(wiring.layers[0])
        g, k, a, b = np.split(found["kernel"], 4, axis=1)
        missing = sensory[:, first] == 0
        assert not g[missing].any() and not k[missing].any() and a.any() and b.any()


@pytest.mark.parametrize("layer", [LTC, CfC])
def test_saved_with_its_wiring(layer, tmp_path, rng):
    inputs = keras.Input((None, D))
    model = keras.Model(inputs, layer(12, wiring=WIRINGS[3])(inputs))
    model.save(tmp_path / "wired.keras")
    again = keras.models.load_model(tmp_path / "wired.keras")
    x = rng.normal(size=(2, 4, D)).astype("float32")
    np.testing.assert_allclose(array(again(x)), array(model(x)), atol=1e-6)


@pytest.mark.parametrize(
    "made, word",
    [
        (lambda: wirings.FullyConnected(0), "units"),
        (lambda: wirings.FullyConnected(3, 4), "output_units"),
        (lambda: wirings.Random(3, sparsity_level=1.0), "sparsity_level"),
        (lambda: wirings.NCP(**{**SMALL_NCP, "sensory_fanout": 4}), "sensory_fanout"),
        (lambda: wirings.NCP(**{**SMALL_NCP, "inter_fanout": 3}), "inter_fanout"),
        (lambda: wirings.NCP(**{**SMALL_NCP, "motor_fanin": 3}), "motor_fanin"),
        (lambda: wirings.NCP(**{**SMALL_NCP, "motor_neurons": 0}), "motor_neurons"),
        (lambda: wirings.AutoNCP(6, 4), "output_units"),
        (lambda: wirings.AutoNCP(6, 2, sparsity_level=0.0), "sparsity_level"),
        (lambda: LTC(5, wiring=WIRINGS[0]), "wiring"),
        (lambda: CfC(5, wiring=WIRINGS[0]), "wiring"),
        (lambda: CfC(6, wiring=WIRINGS[0], backbone_layers=2), "backbone"),
        (lambda: CfC(6, wiring=WIRINGS[0], normalization="rms"), "normalization"),
    ],
)
def test_wrong_arguments(made, word):
    with pytest.raises(ValueError, match=word):
        made()
