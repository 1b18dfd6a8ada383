"""Faults that were found by trying to break the layers, each by the name of what went wrong."""

import concurrent.futures
import functools
import gc
import sys

import keras
import numpy as np
import pytest
from cases import BACKEND, EXACT, FLOAT, array, gradients, outcome, tensor
from keras import ops

import keras_rnnx

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 5, 3, 4
LSTM = functools.partial(keras_rnnx.LSTMCell, dtype=FLOAT)
# One padded on the left, one with a hole, one empty.
MASK = np.array([[0, 1, 1, 1, 1], [1, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)


def test_a_frozen_layer_is_frozen_after_loading_and_cloning(tmp_path):
    layers = [
        keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, return_sequences=True)),
        keras_rnnx.DeepRNN(keras_rnnx.GRUCell(H), 2, residual="highway", return_sequences=True),
        keras_rnnx.LSTM(H),
    ]
    model = keras.Sequential([keras.Input((T, 2 * H)), *layers, keras.layers.Dense(1)])
    for layer in layers:
        layer.trainable = False
    model.save(tmp_path / "model.keras")
    for other in (keras.saving.load_model(tmp_path / "model.keras"), keras.models.clone_model(model)):
        assert [w.name for w in other.trainable_weights] == ["kernel", "bias"]


@pytest.mark.parametrize("make", [lambda: keras_rnnx.LSTM(H), lambda: keras_rnnx.Bidirectional(keras_rnnx.GRU(H))])
def test_time_distributed(make, rng):
    x = np.float32(rng.normal(size=(B, 3, T, D)))
    layer = make()
    y = keras.layers.TimeDistributed(layer)(x)
    np.testing.assert_allclose(array(y)[:, 1], array(layer(x[:, 1])), rtol=0, atol=1e-6)
    assert layer.compute_output_shape((None, T, D)) == (None, *y.shape[2:])


def test_shapes_of_several_results():
    layer = keras_rnnx.DeepRNN(keras_rnnx.LSTMCell(H), 2, return_sequences=True, return_state=True)
    layer.build((None, T, D))
    state = [(None, H), (None, H)]
    assert layer.compute_output_shape((None, T, D)) == ((None, T, H), state, state)


def test_a_copy_of_what_is_built_is_unbuilt():
    cell, layer = keras_rnnx.LSTMCell(H), keras_rnnx.LSTM(H)
    keras_rnnx.RNN(cell).build((None, T, D))
    layer.build((None, T, D))
    deep, both = keras_rnnx.DeepRNN(cell, 2), keras_rnnx.Bidirectional(layer)
    deep.build((None, T, H))
    both.build((None, T, 7))
    assert len(deep.weights) == len(both.weights) == 6 and both.forward_layer.cell.features == 7


@pytest.mark.parametrize("residual", [None, "sum", "highway", "dense"])
def test_a_stack_read_backwards_starts_from_its_initial_state(residual, rng):
    """The outputs before the first step that is read are those of the initial states, at every level."""
    layer = keras_rnnx.DeepRNN(
        keras_rnnx.GRUCell(D), 1, residual=residual, go_backwards=True, return_sequences=True, dtype=FLOAT
    )
    x, state = rng.normal(size=(3, T, D)), rng.normal(size=(3, D))
    y = array(layer(tensor(x), mask=tensor(MASK, "bool"), initial_state=[[tensor(state)]]))
    h = {"dense": np.concatenate([0 * state, state], 1)}.get(residual, state)
    if residual == "highway":
        h = h / (1 + np.exp(1.0))  # the gate of a zero input starts at sigmoid(-1)
    np.testing.assert_allclose(y[0, 0], h[0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(y[2], np.tile(h[2], (T, 1)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("residual", ["sum", "highway", "dense"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_skips_of_a_stack_do_not_read_padding(residual, backwards, rng):
    options = {"residual": residual, "go_backwards": backwards, "dtype": FLOAT}
    layer = keras_rnnx.DeepRNN(keras_rnnx.GRUCell(D), 2, return_sequences=True, **options)
    last = keras_rnnx.DeepRNN(keras_rnnx.GRUCell(D), 2, **options)
    x = rng.normal(size=(3, T, D))
    other = np.where(MASK[:, :, None], x, np.nan)
    y, same = (array(layer(tensor(a), mask=tensor(MASK, "bool"))) for a in (x, other))
    np.testing.assert_array_equal(y, same)
    np.testing.assert_allclose(y[1, 2], y[1, 1], rtol=0, atol=0)  # a masked step repeats the last output
    last.build(x.shape)
    last.set_weights(layer.get_weights())
    np.testing.assert_allclose(array(last(tensor(other), mask=tensor(MASK, "bool"))), y[:, -1], rtol=0, atol=1e-12)


def test_a_stateful_layer_that_is_given_states():
    layer = keras_rnnx.GRU(H, stateful=True)
    layer(np.ones((1, T, D), "float32"))
    layer(np.ones((B, T, D), "float32"), initial_state=np.ones((B, H), "float32"))
    assert layer.states[0].shape == (B, H)
    with pytest.raises(ValueError, match="batch"):
        keras_rnnx.GRU(H, stateful=True)(keras.Input((T, D)), initial_state=keras.Input((H,)))
    with pytest.raises(ValueError, match="reset_state"):
        keras_rnnx.GRU(H, stateful=True).reset_state([np.ones((B, H))])


def test_activity_regularizers_of_the_directions(rng):
    both = keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, activity_regularizer=keras.regularizers.L2(1.0)), None)
    forward, backward = outcome(both(np.float32(rng.normal(size=(B, T, D)))))
    total = sum(float(array(loss)) for loss in both.losses)
    assert len(both.losses) == 2 and total == pytest.approx((forward**2).sum() + (backward**2).sum(), rel=1e-5)


@pytest.mark.parametrize("make", [keras_rnnx.RNN, lambda cell, **more: keras_rnnx.DeepRNN(cell, 2, **more)])
def test_a_dtype_of_the_layer_alone(make, rng):
    y = make(keras_rnnx.GRUCell(H), dtype="mixed_bfloat16")(np.float32(rng.normal(size=(B, T, D))))
    assert keras.backend.standardize_dtype(y.dtype) == "bfloat16"
    assert np.isfinite(array(ops.cast(y, "float32"))).all()


@keras.saving.register_keras_serializable("tests")
class Subclass(keras_rnnx.LSTM):
    def __init__(self, units, extra=1, **kwargs):
        super().__init__(units, **kwargs)
        self._extra = extra

    def get_config(self):
        return {**super().get_config(), "extra": self._extra}


def test_a_subclass_with_an_argument_of_its_own():
    again = Subclass.from_config(Subclass(H, extra=3).get_config())
    assert again.get_config()["extra"] == 3 and again.units == H


def test_numbers_of_numpy_are_numbers():
    layer = keras_rnnx.LSTM(np.int64(H), dropout=np.float32(0.25))
    assert layer.get_config()["units"] == H and layer.get_config()["dropout"] == 0.25


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras_rnnx.RNN(keras.layers.LSTM(H)),
        lambda: keras_rnnx.DeepRNN("lstm", 2),
        lambda: keras_rnnx.DeepRNN(None),
        lambda: keras_rnnx.DeepRNN(keras_rnnx.LSTMCell),
    ],
)
def test_what_is_no_cell(make):
    with pytest.raises(ValueError, match="cell"):
        make()


# ---- the engine ----


@keras.saving.register_keras_serializable("tests")
class Narrow(keras_rnnx.Cell):
    """A gate of one unit, added to a gate of H."""

    GATES, STATES = "f n", "h"
    sums = True

    def inputs(self, x):
        gates = super().inputs(x)
        return {"f": gates["f"][..., :1], "n": gates["n"]}

    def step(self, x, u, h):
        z = (x + u(h)) if self.sums else one_by_one(x, u(h))
        f = ops.sigmoid(z.f)
        return (1 - f) * h + f * ops.tanh(z.n)


def one_by_one(x, r):
    """The sum of the gates one by one."""
    return type(x)([x.f + r.f, x.n + r.n], x.names)


class OneByOne(Narrow):
    sums = False


def test_gates_of_other_widths_are_added_with_their_gradient(rng):
    x, found = tensor(rng.normal(size=(B, T, D))), []
    weights = None
    for cell in (Narrow, OneByOne):
        layer = keras_rnnx.RNN(cell(H, dtype=FLOAT), dtype=FLOAT)
        layer.build(x.shape)
        weights = weights or [rng.normal(size=w.shape) for w in layer.weights]
        layer.set_weights(weights)
        found.append(gradients(lambda x, layer=layer: ops.sum(layer(x, training=True)), [x], layer.trainable_weights))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Rate(keras_rnnx.Cell):
    """Divides by the time."""

    GATES, TIMED = "h", True

    def step(self, x, u, h):
        return ops.tanh(x.h + u.h(h)) / u.delta


LAYERS = {
    "lstm": lambda: keras_rnnx.LSTM(H, dtype=FLOAT),
    "timed": lambda: keras_rnnx.RNN(Rate(H, dtype=FLOAT), dtype=FLOAT),
    "linear": lambda: keras_rnnx.MinGRU(H, dtype=FLOAT),
    "matrix": lambda: keras_rnnx.GLA(H, dtype=FLOAT),
    "composed": lambda: keras_rnnx.RNN(keras_rnnx.ResidualCell(keras_rnnx.LSTMCell(D, dtype=FLOAT)), dtype=FLOAT),
}


@pytest.mark.parametrize("name", LAYERS)
def test_what_stands_at_masked_steps_reaches_no_gradient(name, rng):
    layer, mask = LAYERS[name](), MASK[1:2]
    x, deltas = rng.normal(size=(1, T, D)), rng.exponential(size=(1, T)) + 0.1
    found = []
    for fill in (0.5, np.nan):
        a, d = np.where(mask[:, :, None], x, fill), np.where(mask, deltas, fill)
        call = {"mask": tensor(mask, "bool"), "training": True, **({"deltas": tensor(d)} if name == "timed" else {})}
        layer(tensor(a), **call)
        loss = functools.partial(lambda call, x: ops.sum(layer(x, **call) ** 2), call)
        found.append(gradients(loss, [tensor(a)], layer.trainable_weights))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)
        assert np.isfinite(one).all()
    assert not found[0][0][~mask].any() and found[0][0][mask].any()


@pytest.mark.parametrize("k", [2, 2000])
def test_segments_that_do_not_divide_the_length_divide_by_no_zero(k, rng):
    x, found = tensor(rng.normal(size=(B, T, D))), []
    weights = None
    for memory in ("store", ("remat", k)):
        layer = keras_rnnx.RNN(Rate(H, dtype=FLOAT), memory=memory, dtype=FLOAT)
        layer.build(x.shape)
        weights = weights or layer.get_weights()
        layer.set_weights(weights)
        found.append(gradients(lambda x, layer=layer: ops.sum(layer(x, training=True)), [x], layer.trainable_weights))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_remat_sums_in_single_precision():
    """599 ones, one at a time; a sum in bfloat16 ends at 256."""
    x = tensor(np.ones((1, 600, 1)), "float32")
    layer = keras_rnnx.VanillaRNN(1, "linear", memory=("remat", 1), return_sequences=True, dtype="mixed_bfloat16")
    layer.build(x.shape)
    layer.set_weights([np.ones((1, 1)), np.zeros((1, 1)), np.zeros(1)])
    kernel = layer.cell.recurrent_kernel
    found = gradients(lambda x: ops.sum(ops.cast(layer(x, training=True), "float32")), [x], [kernel])[1]
    assert float(found[0, 0]) == pytest.approx(599, rel=0.01)


def test_normalization_of_large_inputs_in_half_precision(rng):
    x = np.float32(rng.normal(size=(B, T, 64)) * 100)
    layer = keras_rnnx.LSTM(256, normalization="layer", dtype="mixed_float16")
    wide = keras_rnnx.LSTM(256, normalization="layer")
    y = np.float32(array(ops.cast(layer(x), "float32")))
    wide.build(x.shape)
    wide.set_weights(layer.get_weights())
    np.testing.assert_allclose(y, array(wide(x)), rtol=0, atol=0.02)


@keras.saving.register_keras_serializable("tests")
class Clock(keras_rnnx.Cell):
    """Adds up the time."""

    GATES, TIMED = "h", True

    def step(self, x, u, h):
        return h + u.delta + 0 * x.h


def test_times_keep_their_digits_in_half_precision():
    layer = keras_rnnx.RNN(Clock(1, dtype="mixed_float16"), return_state=True, dtype="mixed_float16")
    deltas = np.array([[1e5, 1001.0, 0.5]], "float32")
    state = layer(np.ones((1, 3, 1), "float32"), deltas=deltas)[1]
    assert float(array(state)[0, 0]) == 101001.5


@pytest.mark.parametrize("make", [keras_rnnx.LSTM, keras_rnnx.MinGRU, keras_rnnx.RetNet])
def test_clipping_does_not_feel_padding(make, rng):
    layer = make(H, recurrent_clip=0.01, dtype=FLOAT)
    x = rng.normal(size=(B, T, D))
    long = np.concatenate([x, np.zeros((B, 3, D))], axis=1)
    mask = np.arange(T + 3)[None] < np.full((B, 1), T)
    layer.build(x.shape)
    short, padded = (
        gradients(lambda x, call=call: ops.sum(layer(x, training=True, **call)), [tensor(a)], layer.trainable_weights)
        for a, call in ((x, {}), (long, {"mask": tensor(mask, "bool")}))
    )
    for one, other in zip(short[1:], padded[1:], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-7)


def test_a_window_longer_than_a_truncated_sequence(rng):
    layer = keras_rnnx.QRNN(H, window=4, memory=("tbptt", 2))
    assert np.isfinite(array(layer(np.float32(rng.normal(size=(B, 2, D))), training=True))).all()


@keras.saving.register_keras_serializable("tests")
class Twice(keras_rnnx.Cell):
    """Two weights of one name."""

    GATES = "h"

    def build_own(self, width):
        super().build_own(width)
        self.one, self.other = (self.add_weight(name="w", shape=(self.features, self.units)) for _ in range(2))

    def inputs(self, x):
        return {"h": self.times(x, self.one) - self.times(x, self.other)}

    def step(self, x, u, h):
        return ops.tanh(x.h + u.h(h))


def test_a_fed_cell_with_two_weights_of_one_name():
    cell = keras_rnnx.FastSlowCell([keras_rnnx.LSTMCell(H), keras_rnnx.LSTMCell(H)], Twice(H))
    with pytest.raises(ValueError, match="names of their own"):
        keras_rnnx.RNN(cell).build((None, T, D))


def test_vectors_with_names_that_are_taken():
    class Taken(Clock):
        VECTORS = "rates"

    with pytest.raises(ValueError, match="rates"):
        keras_rnnx.RNN(Taken(H)).build((None, T, D))


@pytest.mark.skipif(BACKEND != "torch", reason="torch's functions are classes of their own")
def test_training_steps_are_freed(rng):
    import torch

    layer = keras_rnnx.RNN(keras_rnnx.MGUCell(H))
    x = tensor(rng.normal(size=(B, T, D)), "float32")
    layer(x)
    held = []
    for _ in range(4):
        ops.sum(layer(x, training=True)).backward()
        gc.collect()
        held.append(sum(torch.is_tensor(o) for o in gc.get_objects()))
    assert held[3] <= held[2] <= held[1]


@pytest.mark.skipif(BACKEND != "torch", reason="the other backends share nothing between calls but while they trace")
@pytest.mark.parametrize("name", ["own", "fed"])
def test_gradients_from_two_threads(name, rng):
    cells = {
        "own": lambda: keras_rnnx.MGUCell(H, dtype=FLOAT),
        "fed": lambda: keras_rnnx.FastSlowCell([LSTM(H), LSTM(H)], LSTM(5)),
    }
    layer = keras_rnnx.RNN(cells[name](), dtype=FLOAT)
    layer.build((B, 12, D))
    xs = [tensor(rng.normal(size=(B, 12, D))) for _ in range(2)]

    def slopes(x):
        return gradients(lambda x: ops.sum(layer(x, training=True) ** 2), [x], layer.trainable_weights)

    wanted = [slopes(x) for x in xs]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            found = [list(pool.map(slopes, xs)) for _ in range(4)]
    finally:
        sys.setswitchinterval(interval)
    for each in found:
        for one, other in zip(keras.tree.flatten(each), keras.tree.flatten(wanted), strict=True):
            np.testing.assert_allclose(one, other, **EXACT)


def test_a_loaded_stateful_layer_starts_from_the_initial_state_that_it_learned(rng, tmp_path):
    x = np.float32(rng.normal(size=(B, T, D)))
    layer = keras_rnnx.LSTM(H, stateful=True, learn_initial_state=True)
    inputs = keras.Input(batch_shape=(B, T, D))
    model = keras.Model(inputs, layer(inputs))
    model.set_weights([rng.normal(size=w.shape) for w in model.weights])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for _ in range(2):
        np.testing.assert_array_equal(array(loaded(x)), array(model(x)))
    fresh, _, _ = keras_rnnx.RNN(layer.cell, return_state=True)(x)
    model.set_weights([2 * w for w in model.get_weights()])
    layer.reset_states()
    layer.reset_states([np.zeros((B, H))] * 2)
    with pytest.raises(ValueError, match="Expected 2 states"):
        layer.reset_states([np.zeros((B, H))])
    zero = array(layer(x))
    model.set_weights([w / 2 for w in model.get_weights()])
    layer.reset_states()
    np.testing.assert_allclose(array(layer(x)), array(fresh), rtol=0, atol=1e-6)
    assert np.abs(zero - array(fresh)).max() > 1e-3


def test_the_gradient_of_a_learned_state_is_that_of_the_rows_that_start(rng):
    layer = keras_rnnx.VanillaRNN(1, "linear", stateful=True, learn_initial_state=True, dtype=FLOAT)
    layer.build((3, 1, 1))
    layer.set_weights([np.ones((1, 1)), np.full((1, 1), 0.5), np.zeros(1), np.zeros(1)])
    x, start = tensor(rng.normal(size=(3, 1, 1))), layer.weights[-1]
    for rows, wanted in ((1, 0.5), (3, 2 * 0.5), (3, 0)):  # two rows of three begin with the second call
        found = gradients(lambda x: ops.sum(layer(x, training=True)), [x[:rows]], [start])[1]
        np.testing.assert_allclose(found, [wanted], rtol=0, atol=1e-6)
        layer(x[:rows])


def test_what_does_not_fit_is_said_when_a_model_is_made():
    x, state = keras.Input((T, D)), [keras.Input((H,))]
    for lengths in (keras.Input((1,), dtype="int32"), keras.Input((), dtype="float32")):
        with pytest.raises(ValueError, match="Expected `lengths`"):
            keras_rnnx.LSTM(H)(x, lengths=lengths)
    with pytest.raises(ValueError, match="constants"):
        keras_rnnx.LSTM(H)(x, constants=state[0])
    for bidirectional in (False, True):
        deep = keras_rnnx.DeepRNN(keras_rnnx.GRUCell(H), 2, bidirectional=bidirectional, return_state=True)
        states = [state * (1 + bidirectional)] * 2
        deep(x, initial_state=states)
        wrong = [states[0], [*states[1][1:], keras.Input((H + 1,))]]
        with pytest.raises(ValueError, match=f"{H + 1}"):
            deep(x, initial_state=wrong)
    other = keras_rnnx.LSTM(H + 1, go_backwards=True)
    with pytest.raises(ValueError, match="one size in both directions"):
        keras_rnnx.Bidirectional(keras_rnnx.LSTM(H), "sum", backward_layer=other)(x)
    assert keras_rnnx.Bidirectional(keras_rnnx.LSTM(H), backward_layer=other)(x).shape == (None, 2 * H + 1)


@pytest.mark.parametrize("seed", [1, None, "generator"])
def test_copies_and_blocks_start_from_draws_of_their_own(seed):
    seed = keras.random.SeedGenerator(1) if seed == "generator" else seed
    start = keras.initializers.GlorotUniform(seed)
    cell = keras_rnnx.GRUCell(H, recurrent_initializer=start, recurrent_structure="block", recurrent_blocks=2)
    deep = keras_rnnx.DeepRNN(cell, 3)
    both = keras_rnnx.Bidirectional(keras_rnnx.RNN(cell))
    for layer, count in ((deep, 6), (both, 4)):
        layer.build((None, T, H))
        blocks = [block for w in layer.weights if w.name == "recurrent_kernel" for block in array(w)]
        assert len({block.tobytes() for block in blocks}) == len(blocks) == count


class Sum(keras.layers.Layer):
    """A Keras cell that adds a weight at each step."""

    state_size = output_size = 1

    def build(self, input_shape):
        self.bias = self.add_weight(name="bias", shape=(1,), initializer="zeros")

    def call(self, inputs, states):
        h_new = 0 * states[0] + inputs + self.bias
        return h_new, [h_new]


def test_the_gradient_of_a_keras_cell_is_summed_in_single_precision():
    layer = keras_rnnx.RNN(Sum(dtype="bfloat16"), return_sequences=True, dtype="bfloat16")
    x = tensor(np.ones((1, 600, 1)), "bfloat16")
    layer(x)
    loss = lambda x: ops.sum(ops.cast(layer(x, training=True), "float32"))  # noqa: E731
    assert float(gradients(loss, [x], layer.trainable_variables)[1][0]) == 600


@pytest.mark.parametrize("name", ["LSTM", "DeltaNet", "MinGRU", "QRNN"])
@pytest.mark.parametrize("memory", ["store", ("remat", 2)])
def test_a_batch_of_no_rows(name, memory):
    layer = getattr(keras_rnnx, name)(H, memory=memory, return_sequences=True)
    assert layer(ops.zeros((0, T, D))).shape == (0, T, H)


def test_the_input_shape_of_an_older_model():
    with pytest.warns(UserWarning, match="input_shape"):
        layer = keras_rnnx.LSTM(H, input_shape=(T, D))
    assert keras.Sequential([layer]).output_shape == (None, H)


# ---- found by test_fuzz.py ----

CONSTANTS = [
    ("AntisymmetricRNN", "epsilon", np.nan),
    ("CoRNN", "dt", np.inf),
    ("CoRNN", "gamma", "2"),
    ("UnICORNN", "alpha", np.nan),
    ("LEM", "dt", True),
    ("LipschitzRNN", "beta", None),
    ("LipschitzRNN", "gamma", [0.1, np.inf]),
    ("JANET", "beta", np.nan),
    ("JANET", "t_max", np.inf),
    ("STAR", "t_max", [3]),
    ("SRU", "alpha", 10**400),
    ("UGRNN", "forget_bias", "1"),
    ("RHN", "transform_bias", None),
    ("IndRNN", "recurrent_max_abs", np.nan),
    ("ESN", "spectral_radius", np.inf),
    ("PhasedLSTM", "period", 3),
    ("PhasedLSTM", "leak", None),
    ("LRU", "max_phase", np.inf),
    ("S4D", "dt_max", np.inf),
    ("GLA", "tau", np.inf),
    ("ClockworkRNN", "periods", None),
    ("DeepTransitionRNN", "input_layers", 3),
    ("CfC", "backbone_layers", []),
    ("LTC", "wiring", 3),
    ("TimeLSTM", "decay", []),
    ("LSTM", "recurrent_clip", np.inf),
    ("LSTM", "recurrent_clip", "1"),
    ("LSTM", "recurrent_blocks", "2"),
    ("LSTM", "recurrent_rank", -1),
    ("LSTM", "seed", "1"),
    ("ClockworkRNN", "units", 2**40),
]


@pytest.mark.parametrize("name, argument, value", CONSTANTS)
def test_a_constant_that_is_no_number_of_its_range(name, argument, value):
    """Some were errors of other kinds, some made a layer whose every output is nan."""
    with pytest.raises(ValueError, match=f"Expected .*{argument}.*Received: "):
        getattr(keras_rnnx, name)(**{"units": H, argument: value})


@keras.saving.register_keras_serializable("tests")
def half(shape, dtype=None):
    """An initializer that is a function."""
    return ops.full(shape, 0.5, dtype)


def test_an_initializer_that_is_a_function_in_a_copy():
    cell = keras_rnnx.GRUCell(H, kernel_initializer=half)
    for layer in (keras_rnnx.DeepRNN(cell, 2), keras_rnnx.Bidirectional(keras_rnnx.RNN(cell))):
        layer.build((None, T, D))
        assert all((array(w) == 0.5).all() for w in layer.weights if w.name == "kernel")


def test_initializers_that_are_none_are_those_of_keras():
    layer = keras_rnnx.LSTM(H, kernel_initializer=None, recurrent_initializer=None, bias_initializer=None)
    layer.build((None, T, D))
    assert all(np.abs(array(w)).max() > 0 for w in layer.weights)
    again = keras_rnnx.LSTM.from_config(layer.get_config())
    assert again.get_config()["recurrent_initializer"]["class_name"] == "GlorotUniform"


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras_rnnx.FastSlowCell(None, keras_rnnx.GRUCell(H)),
        lambda: keras_rnnx.ChainedCell(keras_rnnx.GRUCell(H)),
    ],
)
def test_what_is_no_list_of_cells(make):
    with pytest.raises(ValueError, match="Expected .*cells. to be a list"):
        make()


def test_a_large_memory_is_made_when_the_layer_is_built():
    assert keras_rnnx.LMU(H, order=10**8, theta=6.0).cell.order == 10**8


@pytest.mark.parametrize("kind, argument", [(keras_rnnx.RNN, "cell"), (keras_rnnx.DeepRNN, "cell")])
def test_a_configuration_that_lacks_an_argument(kind, argument):
    config = kind(keras_rnnx.GRUCell(H)).get_config()
    del config[argument]
    with pytest.raises(TypeError, match=argument):
        kind.from_config(config)


def test_an_older_configuration_of_text():
    config = keras_rnnx.models.Text(vocabulary=["a"]).get_config()
    del config["split"]
    assert keras_rnnx.models.Text.from_config(config).get_config()["vocabulary"] == config["vocabulary"]


@pytest.mark.parametrize("mistake", ["lacks", "shape", "dtype"])
def test_a_torch_module_with_other_weights_than_it_announces(mistake):
    torch = pytest.importorskip("torch")
    module = torch.nn.GRU(D, H)
    if mistake == "lacks":
        del module.bias_hh_l0
    else:
        given = torch.ones(3 * H, H).double() if mistake == "dtype" else torch.ones(3 * H, H - 1)
        module.weight_hh_l0 = torch.nn.Parameter(given)
    with pytest.raises(ValueError, match="Expected weights"):
        keras_rnnx.from_torch(module)


@pytest.mark.parametrize("shape", [None, 3, "", "abc", [None, None, "3"], [None, {"class_name": "x"}, None]])
@pytest.mark.parametrize("kind", ["rnn", "bidirectional", "deep"])
def test_the_shape_that_an_archive_is_built_for_is_none(kind, shape):
    cell = keras_rnnx.MGUCell(H)
    layers = {"rnn": keras_rnnx.RNN, "deep": lambda cell: keras_rnnx.DeepRNN(cell, 2)}
    layers["bidirectional"] = lambda cell: keras_rnnx.Bidirectional(keras_rnnx.RNN(cell))
    with pytest.raises(ValueError, match="Expected .*shape.*Received: "):
        layers[kind](cell).build_from_config({"input_shape": shape})


def test_a_reservoir_of_a_negative_seed():
    draws = [keras_rnnx.ESN(H, seed=seed, connectivity=0.5) for seed in (-1, -1, 1)]
    for layer in draws:
        layer.build((None, T, D))
    first, again, other = (array(layer.cell.recurrent_kernel) != 0 for layer in draws)
    assert (first == again).all() and (first != other).any()


def test_a_rate_of_zoneout_that_float32_rounds_to_zero(rng):
    layer = keras_rnnx.LSTM(H, zoneout=[1e-300, 0.5], seed=1)
    plain = keras_rnnx.LSTM(H, zoneout=[0.0, 0.5], seed=1)
    x = np.float32(rng.normal(size=(B, T, D)))
    assert layer(x, training=True).shape == (B, H)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    np.testing.assert_allclose(array(layer(x)), array(plain(x)), atol=1e-6)


@pytest.mark.parametrize("vocabulary", [[[]], [["a"], ["b"]]])
def test_a_vocabulary_that_is_no_list_of_strings(vocabulary):
    with pytest.raises(ValueError, match="Expected a `vocabulary`.*Received: "):
        keras_rnnx.models.Text(vocabulary=vocabulary)


@pytest.mark.parametrize(
    "make", [keras_rnnx.LSTM, keras_rnnx.MinGRU, lambda n: keras_rnnx.DeepRNN(keras_rnnx.GRUCell(n))]
)
def test_several_inputs_of_a_layer_that_reads_one(make):
    layer = make(H)
    layer.build((None, T, D))
    for value in (np.ones((B, T, 1), "float32"), keras.Input((T, 1))):
        several = keras_rnnx.GRU(D, return_sequences=True, return_all_states=True)(value)
        with pytest.raises(ValueError, match="Expected one array of sequences. Received: a tuple of 2"):
            layer(several)


@pytest.mark.parametrize("config", [[None], {"shape": (None, T, D)}, "input_shape"])
def test_a_build_configuration_without_shapes(config):
    with pytest.raises(ValueError, match="Expected a configuration of `build` with shapes. Received: "):
        keras_rnnx.LSTM(H).build_from_config(config)


def test_a_configuration_whose_dtype_is_none():
    config = {**keras_rnnx.GRUCell(H).get_config(), "dtype": {"class_name": None}}
    with pytest.raises(ValueError, match="Expected `dtype` to be a dtype or a policy. Received: "):
        keras_rnnx.GRUCell.from_config(config)


def test_a_text_of_a_model_that_is_none():
    make = [
        lambda text: keras_rnnx.models.SequenceClassifier(["p", "q"], keras_rnnx.GRUCell(H), text=text),
        lambda text: keras_rnnx.models.SequenceGenerator(keras_rnnx.GRUCell(H), text=text),
    ]
    for one in make:
        with pytest.raises(ValueError, match="Expected `text` to be a Text or None. Received: "):
            one([])
