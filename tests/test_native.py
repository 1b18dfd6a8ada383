"""The native kernels beside the compiled loop: outputs and gradients, with all that happens around a step."""

import itertools

import keras
import numpy as np
import pytest
from cases import BACKEND, array, gradients, outcome, tensor, tensors, weighted
from keras import ops

import keras_rnnx
from keras_rnnx.engine.linear import NATIVE, LinearEngine
from keras_rnnx.layers.sequence import LAYER_ARGUMENTS
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
    "rows-change-hands": ((32, 90, 3, 64), {}, ("mask", "resets")),
    "mask-resets-backwards": ((4, 6, 2, 5), {"go_backwards": True}, ("mask", "resets")),
    "learned-resets": ((4, 6, 2, 33), {"learn_initial_state": True}, ("mask", "resets")),
    "no-bias-states": ((3, 5, 2, 16), {"use_bias": False, "return_all_states": True}, ()),
    "dropout-zoneout": ((4, 5, 3, 7), {"dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.3}, ("mask",)),
    "shared-units": ((1, 60, 3, 150), {}, ()),
    "dropout-shared-units": ((2, 60, 3, 150), {"recurrent_dropout": 0.4, "zoneout": 0.2}, ("mask", "resets")),
    "shared-units-backwards": ((1, 60, 3, 150), {"go_backwards": True}, ("mask", "resets")),
    "remat": ((3, 7, 3, 18), {"memory": ("remat", 3)}, ("mask", "resets")),
    "remat-backwards": (
        (2, 6, 3, 5),
        {"memory": ("remat", 3), "go_backwards": True, "learn_initial_state": True},
        ("resets",),
    ),
    "tbptt": ((3, 7, 3, 18), {"memory": ("tbptt", 3)}, ("mask", "resets")),
    "tbptt-shared-units": ((1, 60, 3, 150), {"memory": ("tbptt", 7), "go_backwards": True}, ()),
    "dropout-at-each-step": ((3, 5, 3, 17), {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "step"}, ("resets",)),
}
# Steps that are programs: vectors, activations that have no cell of their own, operands that are computed, products of
# two states, eight gates. More units than the interpreter takes at once.
PROGRAMS = {
    "peephole": keras_rnnx.PeepholeLSTM,
    "elu": lambda units, **options: keras_rnnx.LSTM(units, "elu", "hard_sigmoid", **options),
    "gru-before": lambda units, **options: keras_rnnx.GRU(units, reset_after=False, **options),
    "cornn": keras_rnnx.CoRNN,
    "multiplicative": keras_rnnx.MultiplicativeLSTM,
    "fast-grnn": keras_rnnx.FastGRNN,
    "nas": keras_rnnx.NAS,
}
PROGRAM_CASES = {
    "many": ((3, 4, 2, 131), {"use_bias": False}, ()),
    "backwards-learned": ((4, 6, 2, 5), {"go_backwards": True, "learn_initial_state": True}, ("mask", "resets")),
    "dropout-zoneout-27": ((4, 5, 3, 27), {"dropout": 0.3, "recurrent_dropout": 0.4, "zoneout": 0.3}, ("mask",)),
    "tbptt-program": ((3, 7, 3, 18), {"memory": ("tbptt", 3)}, ("mask", "resets")),
    "dropout-each-of-two": ((3, 5, 3, 17), {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "step"}, ()),
}
# Real coefficients that are never the same; complex ones that are, but for the flags.
LINEAR = {"min-gru": keras_rnnx.MinGRU, "lru": keras_rnnx.LRU}
LINEAR_CASES = {
    "threads-states": ((3, 1500, 2, 65), {"return_all_states": True}, ()),
    "mask-resets-backwards": ((4, 6, 2, 5), {"go_backwards": True}, ("mask", "resets")),
    "tbptt": ((2, 7, 3, 17), {"memory": ("tbptt", 3)}, ()),
    "remat-learned-resets": ((4, 6, 2, 33), {"memory": ("remat", 2), "learn_initial_state": True}, ("resets",)),
}


class Fading(keras_rnnx.MatrixCell):
    """A memory with one decay for each head; `inputs` gives more than the memory takes."""

    GATES = "q k v f"

    def columns(self):
        return {"q": self.heads * self.keys, "k": self.heads * self.keys, "v": self.units, "f": self.heads}

    def inputs(self, a):
        sizes = {"q": self.keys, "k": self.keys, "v": self.values}
        parts = {name: self.in_heads(a[name], size) for name, size in sizes.items()}
        return {**parts, "log_decay": ops.log_sigmoid(a["f"]), "unread": a["f"]}, None


def fading(units, **options):
    layer = {name: options.pop(name) for name in LAYER_ARGUMENTS if name in options}
    return keras_rnnx.RNN(Fading(units, **options), **layer)


# Matrix memories: a decay of each head or of each key, the delta rule, both.
MEMORIES = {
    "fading": fading,
    "gla": keras_rnnx.GLA,
    "delta-net": keras_rnnx.DeltaNet,
    "gated-delta-net": keras_rnnx.GatedDeltaNet,
}
# Keys and values that fill no vector, or several.
MEMORY_CASES = {
    "one-step": ((2, 1, 3, 6), {"heads": 2, "key_units": 1}, ()),
    "threads-segments": ((3, 90, 4, 80), {"heads": 2, "key_units": 17}, ("resets",)),
    "mask-resets-backwards": ((4, 9, 2, 6), {"heads": 2, "key_units": 5, "go_backwards": True}, ("mask", "resets")),
    "tbptt": ((2, 70, 3, 33), {"memory": ("tbptt", 3)}, ("mask", "resets")),
    "remat": ((2, 70, 3, 48), {"memory": ("remat", 16), "heads": 3}, ()),
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
    start = [rng.normal(size=(B, *np.atleast_1d(size))) for size in layer.cell.state_sizes()]
    cotangents = []

    def loss(x, *start):
        results = keras.tree.flatten(layer(x, initial_state=list(start), training=training, **call))
        cotangents[:] = cotangents or [rng.normal(size=r.shape) for r in results]
        return weighted(results, cotangents)

    if options.get("dropout"):
        return gradients(loss, tensors([x, *start], "float32"), layer.trainable_weights)
    results = [array(r) for r in outcome(layer(tensor(x, "float32"), training=training, **call))]
    return results + gradients(loss, tensors([x, *start], "float32"), layer.trainable_weights)


@pytest.mark.parametrize(
    "name, case",
    [
        *itertools.product(LAYERS, CASES),
        *itertools.product(PROGRAMS, PROGRAM_CASES),
        ("slstm", "plain"),
        ("multiplicative", "threads"),
        ("peephole", "rows-change-hands"),
        ("peephole", "remat"),
        ("nas", "remat"),
        *itertools.product(LINEAR, LINEAR_CASES),
        *itertools.product(MEMORIES, MEMORY_CASES),
    ],
    ids=str,
)
def test_native_is_the_compiled_loop(name, case, monkeypatch):
    sizes, options, flags = {**CASES, **PROGRAM_CASES, **(MEMORY_CASES if name in MEMORIES else LINEAR_CASES)}[case]
    training = case.startswith(("dropout", "tbptt", "remat")) or case == "plain"
    make = {**LAYERS, **PROGRAMS, "slstm": keras_rnnx.SLSTM, **LINEAR, **MEMORIES}[name]
    layer = make(sizes[-1], **options)
    assert keras_rnnx.explain(layer, mask=bool(flags), training=training)[0].path == "native"
    native = found(make, sizes, options, flags, training, np.random.default_rng(0))
    monkeypatch.setattr(library, "problem", lambda: "off")
    assert keras_rnnx.explain(layer, mask=bool(flags), training=training)[0].path.startswith("xla")
    loop = found(make, sizes, options, flags, training, np.random.default_rng(0))
    for one, other in zip(native, loop, strict=True):
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one / scale, other / scale, **CLOSE)


def linear_by_hand(a, b, start, cut, dh):
    """The states of a linear recurrence, and the cotangents of a, b and the start: by the definition."""
    h, g = [start], np.zeros_like(start)
    for a_t, b_t in zip(a, b, strict=True):
        h.append(a_t * h[-1] + b_t)
    da, db = np.zeros_like(b), np.zeros_like(b)
    for t in reversed(range(len(b))):
        g = g + dh[t]
        da[t], db[t] = g * np.conj(h[t]), g
        g = np.conj(a[t]) * g * (not cut[t])
    return np.stack(h[1:]), da, db, g


@pytest.mark.parametrize("same", [False, True], ids=["varying", "same"])
@pytest.mark.parametrize("parts", [1, 2], ids=["real", "complex"])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 2, 3), (5, 1, 16), (6, 3, 2, 11), (300, 5, 141)], ids=str)
def test_linear_recurrence_by_hand(sizes, parts, same, rng):
    """With a gradient that is cut, and the gradient in the states."""
    T, *state = sizes
    shapes = {"a": (1 if same else T, *state), "b": sizes, "start": state, "dh": sizes}
    numbers = {name: [rng.uniform(-0.7, 0.7, shape) for _ in range(parts)] for name, shape in shapes.items()}
    cut = rng.uniform(size=T) < 0.3
    given = {name: number[0] + (1j * number[1] if parts == 2 else 0) for name, number in numbers.items()}
    a = np.broadcast_to(given["a"], sizes)
    h, da, db, dstart = linear_by_hand(a, given["b"], given["start"], cut, given["dh"])
    engine, probe = LinearEngine(), [np.ones(sizes)] * parts

    def run(*flat):
        a, b, start, probe = (list(flat[i * parts : (i + 1) * parts]) for i in range(4))
        return engine.run(a, b, start, NATIVE, cut=tensor(cut, "bool"), probe=probe)

    flat = tensors([*numbers["a"], *numbers["b"], *numbers["start"], *probe], "float32")
    results = [array(part) for part in run(*flat)]
    results += gradients(lambda *flat: weighted(run(*flat), numbers["dh"]), flat)
    da = da.sum(0, keepdims=True) if same else da
    wanted = [part for number in (h, da, db, dstart, db) for part in (number.real, number.imag)[:parts]]
    for one, want in zip(results, wanted, strict=True):
        np.testing.assert_allclose(one, want, rtol=0, atol=1e-5 * max(1.0, np.abs(want).max()))


@pytest.mark.parametrize("make", [keras_rnnx.LSTM, keras_rnnx.MinGRU, keras_rnnx.LRU])
def test_a_row_does_not_see_the_others(make, rng):
    """Bit by bit, however the rows are dealt to threads and tiles; a NaN stays in its row."""
    layer = make(48, return_sequences=True)
    x = np.float32(rng.normal(size=(13, 30, 3)))
    whole = array(layer(x))
    np.testing.assert_array_equal(array(layer(x[4:7])), whole[4:7])
    x[5, 2] = np.nan
    broken = array(layer(x))
    assert np.isnan(broken[5, 2:]).all()
    np.testing.assert_array_equal(np.delete(broken, 5, 0), np.delete(whole, 5, 0))


@pytest.mark.parametrize("make", [keras_rnnx.LSTM, keras_rnnx.PeepholeLSTM])
def test_the_same_bits_whoever_walks(make, rng):
    """Threads give rows to each other as it happens; neither sums over rows nor states may show it."""
    layer = make(64, return_sequences=True, seed=1)
    x = tensor(rng.normal(size=(32, 300, 3)), "float32")
    layer.build(x.shape)
    first = None
    for _ in range(15):
        found = gradients(lambda x: ops.sum(layer(x, training=True) ** 2), [x], layer.trainable_weights)
        first = first or found
        for one, other in zip(found, first, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone has shapes that are unknown while it traces")
@pytest.mark.parametrize("make", [keras_rnnx.LSTM, keras_rnnx.MinGRU, keras_rnnx.LRU])
def test_one_program_takes_any_batch_and_length(make, rng):
    import tensorflow as tf

    layer = make(6, return_sequences=True)
    layer.build((None, None, 2))

    @tf.function(input_signature=[tf.TensorSpec((None, None, 2))])
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(layer(x, training=True) ** 2)
        return tape.gradient(loss, x)

    for sizes in ((3, 5), (1, 9), (4, 1)):
        x = tensor(rng.normal(size=(*sizes, 2)), "float32")
        (want,) = gradients(lambda x: ops.sum(layer(x, training=True) ** 2), [x])
        np.testing.assert_allclose(array(slope(x)), want, **CLOSE)
    assert slope.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_rounded_weights(dtype, rng):
    """Weights, inputs and outputs are rounded, and nothing else: sums and states are float32."""
    x = rng.normal(size=(2, 5, 3))
    half, single = (keras_rnnx.LSTM(17, return_sequences=True, dtype=p) for p in (f"mixed_{dtype}", "float32"))
    for layer in (half, single):
        layer.build(x.shape)
    weights = [rng.normal(scale=0.3, size=w.shape) for w in half.weights]
    half.set_weights(weights)
    single.set_weights([array(ops.cast(tensor(w, dtype), "float32")) for w in weights])
    assert keras_rnnx.explain(half)[0].path == "native"
    rounded = tensor(x, dtype)
    expected = array(ops.cast(ops.cast(single(ops.cast(rounded, "float32")), dtype), "float32"))
    np.testing.assert_array_equal(array(ops.cast(half(rounded), "float32")), expected)


@pytest.mark.parametrize("make", [*LAYERS.values(), *PROGRAMS.values()])
def test_an_empty_batch(make, rng):
    layer = make(5, return_sequences=True)
    layer.build((None, 4, 3))
    assert outcome(layer(tensor(rng.normal(size=(0, 4, 3)), "float32")))[0].shape == (0, 4, 5)


def test_large_inputs_saturate():
    x = ops.convert_to_tensor(np.float32([[[1e30], [-1e30], [1e-30]]]))
    for name in ("tanh", "lstm", "gru"):
        assert np.isfinite(array(LAYERS[name](5, return_sequences=True)(x))).all()


def test_turned_off(monkeypatch):
    monkeypatch.setenv("KERAS_RNNX_NATIVE", "0")
    library.problem.cache_clear()
    try:
        for layer in (keras_rnnx.LSTM(3), keras_rnnx.LRU(3)):
            report = keras_rnnx.explain(layer)[0]
            assert report.path == "xla loop" and "KERAS_RNNX_NATIVE=0" in report.why
    finally:
        library.problem.cache_clear()
