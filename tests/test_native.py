"""The native kernels beside the compiled loop: outputs and gradients, with all that happens around a step."""

import keras
import numpy as np
import pytest
from cases import array, gradients, outcome, tensor, tensors, weighted
from keras import ops

import keras_rnnx
from keras_rnnx.native import library

pytestmark = [
    pytest.mark.every_backend,
    pytest.mark.skipif(library.problem() is not None, reason=f"no native kernels: {library.problem()}"),
]

CLOSE = {"rtol": 1e-5, "atol": 1e-5}
LAYERS = {
    "tanh": keras_rnnx.VanillaRNN,
    "relu": lambda units, **options: keras_rnnx.VanillaRNN(units, "relu", **options),
    "lstm": keras_rnnx.LSTM,
    "gru": keras_rnnx.GRU,
}
# Sizes around the widths of vectors and the rows of a tile; what happens around a step.
CASES = {
    "plain": ((5, 4, 3, 18), {}, ()),
    "one-by-one": ((1, 1, 1, 1), {}, ()),
    "wide": ((19, 3, 2, 67), {}, ()),
    "threads": ((7, 40, 2, 64), {}, ()),
    "mask-resets-backwards": ((4, 6, 2, 5), {"go_backwards": True}, ("mask", "resets")),
    "learned-resets": ((4, 6, 2, 33), {"learn_initial_state": True}, ("mask", "resets")),
    "no-bias-states": ((3, 5, 2, 16), {"use_bias": False, "return_all_states": True}, ()),
    "dropout-zoneout": ((4, 5, 3, 7), {"dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.3}, ("mask",)),
    "dropout-at-each-step": ((3, 5, 3, 17), {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "step"}, ("resets",)),
}


def found(make, sizes, options, flags, training, rng):
    """Outputs and gradients of one layer."""
    B, T, D, H = sizes
    layer = make(H, return_sequences=True, return_state=True, seed=1, **options)
    x = rng.normal(size=(B, T, D))
    layer.build(x.shape)
    for w in layer.trainable_weights:
        w.assign(rng.normal(scale=0.7 / np.sqrt(H), size=w.shape))  # not so large that errors grow
    call = {name: tensor(rng.uniform(size=(B, T)) < {"mask": 0.7, "resets": 0.3}[name], "bool") for name in flags}
    start = [rng.normal(size=(B, H)) for _ in range(len(layer.cell.states))]
    cotangents = []

    def loss(x, *start):
        results = keras.tree.flatten(layer(x, initial_state=list(start), training=training, **call))
        cotangents[:] = cotangents or [rng.normal(size=r.shape) for r in results]
        return weighted(results, cotangents)

    if options.get("dropout"):
        return gradients(loss, tensors([x, *start], "float32"), layer.trainable_weights)
    results = [array(r) for r in outcome(layer(tensor(x, "float32"), training=training, **call))]
    return results + gradients(loss, tensors([x, *start], "float32"), layer.trainable_weights)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", LAYERS)
def test_native_is_the_compiled_loop(name, case, monkeypatch):
    sizes, options, flags = CASES[case]
    training = case.startswith("dropout") or case == "plain"
    layer = LAYERS[name](sizes[-1], **options)
    assert keras_rnnx.explain(layer, mask=bool(flags), training=training)[0].path == "native"
    native = found(LAYERS[name], sizes, options, flags, training, np.random.default_rng(0))
    monkeypatch.setattr(library, "problem", lambda: "off")
    assert keras_rnnx.explain(layer, mask=bool(flags), training=training)[0].path == "xla loop"
    loop = found(LAYERS[name], sizes, options, flags, training, np.random.default_rng(0))
    for one, other in zip(native, loop, strict=True):
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one / scale, other / scale, **CLOSE)


def test_a_row_does_not_see_the_others(rng):
    """Bit by bit, however the rows are dealt to threads and tiles; a NaN stays in its row."""
    layer = keras_rnnx.LSTM(48, return_sequences=True)
    x = np.float32(rng.normal(size=(13, 30, 3)))
    whole = array(layer(x))
    np.testing.assert_array_equal(array(layer(x[4:7])), whole[4:7])
    x[5, 2] = np.nan
    broken = array(layer(x))
    assert np.isnan(broken[5, 2:]).all()
    np.testing.assert_array_equal(np.delete(broken, 5, 0), np.delete(whole, 5, 0))


def test_large_inputs_saturate():
    x = ops.convert_to_tensor(np.float32([[[1e30], [-1e30], [1e-30]]]))
    for name in ("tanh", "lstm", "gru"):
        assert np.isfinite(array(LAYERS[name](5, return_sequences=True)(x))).all()


def test_turned_off(monkeypatch):
    monkeypatch.setenv("KERAS_RNNX_NATIVE", "0")
    library.problem.cache_clear()
    try:
        report = keras_rnnx.explain(keras_rnnx.LSTM(3))[0]
        assert report.path == "xla loop" and "KERAS_RNNX_NATIVE=0" in report.why
    finally:
        library.problem.cache_clear()
