"""Every backend gives the numbers in `golden/`, which the NumPy twins wrote: outputs, gradients, names of weights."""

import json
import pathlib

import numpy as np
import pytest
from cases import CASES, each_case, gradients, outcome, shared, tensor, tensors, weighted
from catalogue import CATALOGUE

import keras_rnnx

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

GOLDEN = pathlib.Path(__file__).parent / "golden"
B, T, D, H = 2, 5, 3, 4
MASK = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 0]], bool)
RESETS = np.array([[0, 0, 0, 0, 1], [0, 0, 1, 0, 0]], bool)
# options of the layer, and of the twin
KINDS = {
    "plain": ({}, {}),
    "options": (
        {
            "normalization": "layer",
            "recurrent_structure": "low_rank",
            "recurrent_rank": 2,
            "zoneout": 0.2,
            "go_backwards": True,
        },
        {"normalization": "layer", "structure": "low_rank", "go_backwards": True},
    ),
}
EVERY = each_case(plain=None, options=("lstm", "gru-before", "jordan", "long-memory"))
# Everything that may add, rename or reorder a weight.
STRUCTURES = {
    "dense": {},
    "diagonal": {"recurrent_structure": "diagonal"},
    "block": {"recurrent_structure": "block", "recurrent_blocks": 2},
    "low_rank": {"recurrent_structure": "low_rank", "recurrent_rank": 3},
    "normalized-learned": {"normalization": "rms", "learn_initial_state": True},
}


def data(case, rng):
    return rng.normal(size=(B, T, D)), case.start(rng, B, H)


def listed():
    """Names and shapes of the weights of every layer, in order."""
    found = {}
    for case in CASES:
        for structure, options in STRUCTURES.items():
            if case.square or structure not in ("diagonal", "block"):
                layer = case.make(H, dtype="float32", **options)
                layer.build((None, None, D))
                found[f"{case}/{structure}"] = layer
    for case in CATALOGUE:
        if case.cell.__module__.startswith("keras_rnnx."):
            layer = case.make(case.units or H, dtype="float32")
            layer.build((None, None, case.features or D))
            found[f"catalogue/{case}"] = layer
    for kind in (keras_rnnx.ConvLSTM1D, keras_rnnx.ConvLSTM2D, keras_rnnx.ConvGRU2D, keras_rnnx.ConvLSTM3D):
        layer = kind(H, 3, padding="same")
        layer.build((None, None, *[5] * int(kind.__name__[-2]), D))
        found[f"convolutional/{kind.__name__}"] = layer
    more = {
        "bidirectional": keras_rnnx.Bidirectional(keras_rnnx.LSTM(H)),
        "deep-highway": keras_rnnx.DeepRNN(keras_rnnx.GRUCell(H), depth=3, residual="highway"),
        "deep-dense-bidirectional": keras_rnnx.DeepRNN(
            keras_rnnx.LSTMCell(H), depth=2, residual="dense", bidirectional=True
        ),
        "stack": keras_rnnx.RNN([keras_rnnx.GRUCell(H), keras_rnnx.LSTMCell(2)]),
    }
    for layer in more.values():
        layer.build((None, None, D))
    return {n: [[w.name, list(w.shape)] for w in layer.weights] for n, layer in (found | more).items()}


def test_names_shapes_and_order_of_weights():
    assert listed() == json.loads((GOLDEN / "weights.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stored():
    with np.load(GOLDEN / "outputs.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("case, kind", shared(EVERY))
def test_outputs_and_gradients(case, kind, stored):
    def read(name):
        found = [(k, a) for k, a in stored.items() if k.startswith(f"{case}/{kind}/{name}-")]
        return [a for _, a in sorted(found, key=lambda pair: int(pair[0].rpartition("-")[2]))]

    options, _ = KINDS[kind]
    layer = case.make(H, dtype="float32", return_sequences=True, return_state=True, **options)
    layer.build((None, None, D))
    layer.set_weights(read("weights"))
    inputs = tensors([*read("x"), *read("state")], "float32")
    call = {"mask": tensor(MASK, "bool"), "resets": tensor(RESETS, "bool")}

    def results(x, *state):
        return layer(x, initial_state=list(state), **call)

    for one, want in zip(outcome(results(*inputs)), read("results"), strict=True):
        np.testing.assert_allclose(one, want, rtol=0, atol=1e-5)
    cotangents = read("cotangents")
    found = gradients(lambda *i: weighted(results(*i), cotangents), inputs, layer.trainable_weights)
    for one, want in zip(found, read("gradients"), strict=True):
        np.testing.assert_allclose(one, want, rtol=1e-5, atol=2e-5)
