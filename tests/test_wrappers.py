"""Cells around cells: their equations against twins, and the contract that holds for them as for any cell."""

import dataclasses
import inspect
import json
from functools import partial

import keras
import numpy as np
import pytest
from cases import (
    BACKEND,
    BY_NAME,
    DIFFERENCES,
    EXACT,
    FLOAT,
    array,
    few,
    gradients,
    last_read,
    outcome,
    randomized,
    tensor,
    tensors,
    weighted,
    weights_of,
)
from catalogue import CATALOGUE
from reference import (
    cfc,
    fast_slow,
    gru,
    lstm,
    mixed_memory,
    multiplicative_integration,
    numeric_gradient,
    run,
    vanilla,
)
from reference.odernn import step as odernn_step

import keras_rnnx
from keras_rnnx import catalogue
from keras_rnnx.base.composed import ComposedCell
from keras_rnnx.engine import paths
from keras_rnnx.native import library

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 6, 3, 4
ALL = {"return_sequences": True, "return_state": True, "return_all_states": True}
# A product inside a Keras cell is one of float32 on torch, whatever its dtype.
KERAS = {"rtol": 0, "atol": 1e-6}
MASK = np.array([[1, 0, 1, 1, 1, 0], [0, 1, 1, 0, 1, 1]], bool)
RESETS = np.array([[0, 1, 0, 0, 1, 0], [1, 0, 0, 1, 0, 0]], bool)
WRAPPERS = "ChainedCell FastSlowCell MixedMemoryCell MultiplicativeIntegrationCell ResidualCell ZoneoutCell".split()

LSTM = partial(keras_rnnx.LSTMCell, dtype=FLOAT)
GRU = partial(keras_rnnx.GRUCell, dtype=FLOAT)
Vanilla = partial(keras_rnnx.VanillaRNNCell, dtype=FLOAT)


@dataclasses.dataclass(frozen=True)
class Wrapped:
    """A wrapper with its twin.

    Attributes:
        name: the id of the tests.
        make: makes the cell.
        weights: function of the cell that gives the twin's weights.
        step: the twin's step.
        timed: whether it reads the time between steps.
    """

    name: str
    make: object
    weights: object
    step: object
    timed: bool = False

    def __str__(self):
        return self.name

    def built(self, rng, **options):
        """A layer with random weights."""
        layer = keras_rnnx.RNN(self.make(), dtype=FLOAT, **options)
        layer.build((None, None, D))
        return randomized(layer, rng)

    def data(self, layer, rng):
        """Inputs, random states, and intervals where they are read."""
        state = [rng.normal(size=(B, n)) * 0.5 for n in keras.tree.flatten(layer.cell.state_size)]
        more = {"deltas": rng.exponential(size=(B, T))} if self.timed else {}
        return rng.normal(size=(B, T, D)), state, more

    def walk(self, layer, x, state, **flags):
        """Histories and final states of the twin."""
        return run(partial(self.step, self.weights(layer.cell)), x, state, **flags)


def of_fast_slow(cell):
    return {"fast": [weights_of(c) for c in cell.fast_cells], "slow": weights_of(cell.slow_cell)}


def of_mixed(cell):
    return {"cell": weights_of(cell.cell), "memory": weights_of(cell.memory)}


def mixed(name, cell, step, **memory):
    twin = {"memory": gru.step} if memory else {}
    return Wrapped(
        name,
        lambda: keras_rnnx.MixedMemoryCell(cell(), **{n: make() for n, make in memory.items()}),
        of_mixed,
        partial(mixed_memory.step, cell=step, timed=True, **twin),
        timed=True,
    )


def zoned(step, rate):
    """A twin's step with zoneout at inference."""
    return lambda w, x, *old: tuple(rate * o + (1 - rate) * n for o, n in zip(old, step(w, x, *old), strict=True))


def integrated(name, cell, step):
    return Wrapped(name, lambda: keras_rnnx.MultiplicativeIntegrationCell(cell()), weights_of, step)


TWINS = [
    Wrapped(
        "fast-slow-lstm",
        lambda: keras_rnnx.FastSlowCell([LSTM(H), LSTM(H), LSTM(H)], LSTM(5)),
        of_fast_slow,
        fast_slow.step,
    ),
    Wrapped(
        "fast-slow-others",
        lambda: keras_rnnx.FastSlowCell([GRU(H, normalization="layer"), Vanilla(H, activation="relu")], LSTM(2)),
        of_fast_slow,
        partial(
            fast_slow.step,
            count=1,
            fast=[partial(gru.step, normalization="layer"), BY_NAME["vanilla-relu"].step],
        ),
    ),
    Wrapped(
        "fast-slow-normalized-and-zoned",
        lambda: keras_rnnx.FastSlowCell(
            [LSTM(H, zoneout=0.2), LSTM(H, normalization="rms"), LSTM(H, normalization="layer")],
            LSTM(H, zoneout=0.3, normalization="layer", recurrent_structure="block", recurrent_blocks=2),
        ),
        of_fast_slow,
        partial(
            fast_slow.step,
            fast=[
                zoned(lstm.step, 0.2),
                partial(lstm.step, normalization="rms"),
                partial(lstm.step, normalization="layer"),
            ],
            slow=zoned(partial(lstm.step, normalization="layer", structure="block", blocks=2), 0.3),
        ),
    ),
    Wrapped(
        "fast-slow-integrated",
        lambda: keras_rnnx.FastSlowCell(
            [Vanilla(H), Vanilla(H)], keras_rnnx.MultiplicativeIntegrationCell(LSTM(5, normalization="layer"))
        ),
        of_fast_slow,
        partial(
            fast_slow.step,
            count=1,
            fast=vanilla.step,
            slow=partial(multiplicative_integration.lstm_step, normalization="layer"),
        ),
    ),
    integrated("integrated-vanilla", lambda: Vanilla(H), multiplicative_integration.vanilla_step),
    integrated("integrated-lstm", lambda: LSTM(H), multiplicative_integration.lstm_step),
    integrated("integrated-no-bias", lambda: LSTM(H, use_bias=False), multiplicative_integration.lstm_step),
    integrated("integrated-gru", lambda: GRU(H, reset_after=False), multiplicative_integration.gru_step),
    integrated(
        "integrated-normalized",
        lambda: GRU(H, reset_after=False, normalization="layer", recurrent_structure="low_rank", recurrent_rank=2),
        partial(multiplicative_integration.gru_step, normalization="layer", structure="low_rank"),
    ),
    mixed("mixed-cfc", lambda: keras_rnnx.CfCCell(H, backbone_units=5, dtype=FLOAT), cfc.step),
    mixed("mixed-ode", lambda: keras_rnnx.ODERNNCell(H, dtype=FLOAT), odernn_step, memory=lambda: GRU(H)),
    Wrapped(
        "zoneout",
        lambda: keras_rnnx.ZoneoutCell(LSTM(H), 0.3),
        lambda cell: weights_of(cell.cell),
        zoned(lstm.step, 0.3),
    ),
    Wrapped(
        "zoneout-of-fast-slow",
        lambda: keras_rnnx.ZoneoutCell(keras_rnnx.FastSlowCell([GRU(H), GRU(H)], GRU(3)), 0.25),
        lambda cell: of_fast_slow(cell.cell),
        zoned(partial(fast_slow.step, count=1, fast=gru.step, slow=gru.step), 0.25),
    ),
]
FIRST = ("fast-slow-lstm", "mixed-cfc")
TWINS.sort(key=lambda case: FIRST.index(case.name) if case.name in FIRST else len(FIRST))
each_twin = pytest.mark.parametrize("case", TWINS, ids=str)
each_kind = pytest.mark.parametrize("case", few(TWINS, 2), ids=str)
each_eager = pytest.mark.parametrize("case", few([*TWINS[1:], TWINS[0]]), ids=str)


def call_of(flags):
    """The arguments of a call."""
    return {name: tensor(a, "bool" if a.dtype == bool else FLOAT) for name, a in flags.items()}


def check(layer, x, state, histories, final, **call):
    outputs, *states = outcome(layer(tensor(x), initial_state=tensors(state), **call))
    for found, wanted in zip(states, [*histories, *final], strict=True):
        np.testing.assert_allclose(found, wanted, **EXACT)
    np.testing.assert_allclose(outputs, states[0], **EXACT)


@each_twin
@pytest.mark.parametrize(
    "backwards", [False, True] if BACKEND == "torch" else [True], ids=lambda b: "backwards" if b else "forwards"
)
def test_equations(case, backwards, rng):
    """Every state at every step and the final ones, with masked steps and documents."""
    layer = case.built(rng, go_backwards=backwards, **ALL)
    x, state, more = case.data(layer, rng)
    flags = {"mask": MASK, "resets": RESETS}
    histories, final = case.walk(layer, x, state, go_backwards=backwards, **flags, **more)
    check(layer, x, state, histories, final, **call_of({**flags, **more}))


@pytest.mark.skipif(FLOAT == "float32", reason="differences of float32 are too coarse")
@each_kind
def test_central_differences(case, rng):
    """Inputs, states, intervals and every weight."""
    layer = case.built(rng, return_sequences=True, return_state=True)
    x, state, more = case.data(layer, rng)
    x, more = x[:, :3], {n: a[:, :3] for n, a in more.items()}
    variables = layer.trainable_weights
    start = [np.asarray(array(v), np.float64) for v in variables]
    cotangents = [
        rng.normal(size=a.shape) for a in outcome(layer(tensor(x), initial_state=tensors(state), **call_of(more)))
    ]

    def twin_loss(x, *rest):
        timed = dict(zip(more, rest, strict=False))
        states, values = rest[len(more) : len(more) + len(state)], rest[len(more) + len(state) :]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        histories, final = case.walk(layer, x, list(states), **timed)
        return sum((r * c).sum() for r, c in zip([histories[0], *final], cotangents, strict=True))

    def loss(x, *rest):
        timed = dict(zip(more, rest, strict=False))
        results = layer(x, initial_state=list(rest[len(more) :]), training=not layer.cell.draws, **timed)
        return weighted(results, tensors(cotangents))

    found = gradients(loss, tensors([x, *more.values(), *state]), variables)
    wanted = numeric_gradient(twin_loss, [x, *more.values(), *state, *start])
    for gradient, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, want, **DIFFERENCES)


@each_kind
def test_chunks_with_carried_state_are_the_full_run(case, rng):
    layer = case.built(rng, return_sequences=True, return_state=True)
    x, state, more = case.data(layer, rng)
    whole = outcome(layer(tensor(x), initial_state=tensors(state), **call_of(more)))
    first, *carried = layer(
        tensor(x[:, :2]), initial_state=tensors(state), **call_of({n: a[:, :2] for n, a in more.items()})
    )
    second = outcome(layer(tensor(x[:, 2:]), initial_state=carried, **call_of({n: a[:, 2:] for n, a in more.items()})))
    np.testing.assert_allclose(np.concatenate([array(first), second[0]], 1), whole[0], **EXACT)
    for one, other in zip(second[1:], whole[1:], strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@each_eager
def test_memory_modes_give_the_same_gradients(case, rng):
    def found(memory):
        layer = case.built(np.random.default_rng(3), return_sequences=True, memory=memory)
        x, _, more = case.data(layer, np.random.default_rng(4))
        cotangent = [tensor(rng.normal(size=(B, T, layer.cell.output_size)))]
        flags = call_of({"mask": MASK, **more})
        flags["training"] = not layer.cell.draws
        return gradients(lambda x: weighted(layer(x, **flags), cotangent), [tensor(x)], layer.trainable_weights)

    start = rng.bit_generator.state
    whole = found("store")
    rng.bit_generator.state = start
    for one, other in zip(found(("remat", 4)), whole, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@each_kind
def test_configuration_and_weights(case, tmp_path, rng):
    inputs = keras.Input((T, D), dtype=FLOAT)
    model = keras.Model(inputs, case.built(rng, return_sequences=True)(inputs))
    config = json.dumps(model.layers[1].get_config(), sort_keys=True)
    again = keras_rnnx.RNN.from_config(json.loads(config))
    assert json.dumps(again.get_config(), sort_keys=True) == config
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = rng.normal(size=(B, T, D))
    np.testing.assert_allclose(array(loaded(tensor(x))), array(model(tensor(x))), **EXACT)
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@each_kind
def test_bidirectional_and_deep(case, rng):
    both = keras_rnnx.Bidirectional(keras_rnnx.RNN(case.make(), return_sequences=True, dtype=FLOAT), None, dtype=FLOAT)
    both.build((None, None, D))
    randomized(both, rng)
    x, _, more = case.data(both.forward_layer, rng)
    found = outcome(both(tensor(x), **call_of(more)))
    for direction, result in zip((both.forward_layer, both.backward_layer), found, strict=True):
        start = [np.zeros((B, n)) for n in keras.tree.flatten(direction.cell.state_size)]
        histories, _ = case.walk(direction, x, start, go_backwards=direction.go_backwards, **more)
        wanted = histories[0][:, ::-1] if direction.go_backwards else histories[0]
        np.testing.assert_allclose(result, wanted, **EXACT)
    deep = keras_rnnx.DeepRNN(case.make(), depth=2, dtype=FLOAT)
    assert deep(tensor(x), **call_of(more)).shape == (B, deep.levels[0].cell.output_size)


@each_kind
def test_one_step_by_the_cell_in_a_stock_rnn(case, rng):
    layer = case.built(rng, return_sequences=True)
    x, _, _ = case.data(layer, rng)
    stock = keras.layers.RNN(layer.cell, return_sequences=True, dtype=FLOAT)
    np.testing.assert_allclose(array(stock(tensor(x))), array(layer(tensor(x))), **EXACT)


@each_kind
def test_half_precision_keeps_states_in_float32(case, rng):
    config = case.make().get_config()

    def half(value):
        if isinstance(value, dict):
            return {k: "mixed_bfloat16" if k == "dtype" else half(v) for k, v in value.items()}
        return [half(v) for v in value] if isinstance(value, list) else value

    cell = type(case.make()).from_config(half(config))
    output, *states = keras_rnnx.RNN(cell, return_state=True, dtype="mixed_bfloat16")(
        tensor(rng.normal(size=(B, T, D)), "float32")
    )
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    assert {keras.backend.standardize_dtype(s.dtype) for s in states} == {"float32"}
    assert all(np.isfinite(a).all() for a in outcome(states))


# ---- cells whose inputs another cell makes ----

SEQUENTIAL = [
    case
    for case in CATALOGUE
    if issubclass(case.cell, keras_rnnx.Cell) and not case.cell.TIMED and case.features is None and case.readout is None
]


@pytest.mark.skipif(BACKEND != "torch", reason="one compilation a cell")
@pytest.mark.parametrize("case", SEQUENTIAL, ids=str)
def test_every_cell_can_be_fed(case, rng):
    """Whatever a cell makes of its inputs is made in the loop, with exact gradients."""
    units = case.units or H
    slow = case.cell(units, dtype=FLOAT, **case.kwargs)
    layer = keras_rnnx.RNN(
        keras_rnnx.FastSlowCell([Vanilla(D), Vanilla(H - 1)], slow),
        dtype=FLOAT,
        return_sequences=True,
        return_state=True,
    )
    if slow.measures:
        with pytest.raises(ValueError, match="measures a whole sequence"):
            layer.build((None, None, D))
        return
    layer.build((None, None, D))
    randomized(layer, rng)
    step = partial(fast_slow.step, count=1, fast=vanilla.step, slow=case.step)
    x, state = rng.normal(size=(B, 3, D)), [rng.normal(size=(B, D)), *case.start(rng, B, units)]
    variables = layer.trainable_weights
    values = [array(v) for v in variables]

    def walk(x, *state):
        return run(partial(step, of_fast_slow(layer.cell)), x, list(state))

    histories, final = walk(x, *state)
    found = outcome(layer(tensor(x), initial_state=tensors(state)))
    for one, other in zip(found, [histories[0], *final], strict=True):
        np.testing.assert_allclose(one, other, **EXACT)
    cotangents = [rng.normal(size=a.shape) for a in found]

    def along(share):
        for variable, value, direction in zip(variables, values, directions, strict=True):
            variable.assign(value + share * direction)
        histories, final = walk(x, *state)
        return sum((r * c).sum() for r, c in zip([histories[0], *final], cotangents, strict=True))

    directions = [np.random.default_rng(11).normal(size=v.shape) for v in variables]
    names = [v.name for v in variables]
    directions = [d * (name not in case.kinked) for d, name in zip(directions, names, strict=True)]
    wanted = (along(1e-6) - along(-1e-6)) / 2e-6
    along(0.0)
    result = gradients(
        lambda x: weighted(layer(x, initial_state=tensors(state)), tensors(cotangents)), [tensor(x)], variables
    )[1:]
    slope = sum((g * d).sum() for g, d in zip(result, directions, strict=True))
    np.testing.assert_allclose(slope, wanted, rtol=1e-5, atol=1e-6)


def test_the_kernel_of_a_fed_cell_has_its_gradient_after_the_loop(rng):
    """It is a product of the engine; a kernel without rows is none."""
    cell = TWINS[0].built(rng).cell
    assert cell.slow_cell.kernel.shape == (H, 20) and cell.fast_cells[2].kernel.shape == (0, 16)
    products = {"fast_1/recurrent", "fast_2/recurrent", "fast_3/recurrent", "slow/recurrent"}
    assert set(cell.whole.weights()) == products | {"slow/inputs:kernel", "fast_2/inputs:kernel"}


# ---- dropout and zoneout inside ----


def recorded(monkeypatch):
    """The masks of dropout, in the order in which they are drawn."""
    drawn, original = [], keras.random.dropout

    def recording(*args, **kwargs):
        drawn.append(array(original(*args, **kwargs)))
        return tensor(drawn[-1])

    monkeypatch.setattr(keras.random, "dropout", recording)
    return drawn


@pytest.mark.skipif(BACKEND != "torch", reason="the masks are recorded")
@pytest.mark.parametrize("mode", ["sequence", "step"])
def test_dropout_inside(mode, rng, monkeypatch):
    drawn = recorded(monkeypatch)
    options = {"recurrent_dropout": 0.4, "recurrent_dropout_mode": mode, "seed": 3}
    cell = keras_rnnx.FastSlowCell([LSTM(H, dropout=0.3), LSTM(H, **options)], LSTM(5, dropout=0.5, **options))
    layer = randomized_layer(cell, rng, return_sequences=True)
    x = rng.normal(size=(B, T, D))
    found = array(layer(tensor(x), training=True))
    x_mask, slow_keep, slow_mask, fast_keep = (
        m if m.ndim == 3 and len(m) == T else np.tile(m, (T, 1, 1)) for m in drawn
    )
    w, states = of_fast_slow(cell), [np.zeros((B, n)) for n in (H, H, 5, 5)]
    for t in range(T):
        states = fast_slow.step(
            w,
            x[:, t] * x_mask[t],
            *states,
            fast=[lstm.step, partial(lstm.step, left_masks=[fast_keep[t]])],
            slow=lambda w, x, *s, t=t: lstm.step(w, x * slow_mask[t], *s, left_masks=[slow_keep[t]]),
        )
        np.testing.assert_allclose(found[:, t], states[0], **EXACT)
    assert np.abs(array(layer(tensor(x))) - found).max() > 1e-3


def randomized_layer(cell, rng, **options):
    layer = keras_rnnx.RNN(cell, dtype=FLOAT, **options)
    layer.build((None, None, D))
    return randomized(layer, rng)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_zoneout_around_a_cell_is_that_of_the_engine(training, rng):
    x = tensor(rng.normal(size=(B, T, D)))
    own = randomized_layer(LSTM(H, zoneout=[0.3, 0.1], seed=5), rng, **ALL)
    around = keras_rnnx.RNN(keras_rnnx.ZoneoutCell(LSTM(H), [0.3, 0.1], seed=5), dtype=FLOAT, **ALL)
    around.build((None, None, D))
    around.set_weights(own.get_weights())
    for one, other in zip(outcome(around(x, training=training)), outcome(own(x, training=training)), strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_zoneout_around_a_keras_cell(training, rng):
    """The output of a Keras LSTM is its first state, and so is zoned; gradients too are those of our cell."""
    x = tensor(rng.normal(size=(B, T, D)))
    own = randomized_layer(LSTM(H, zoneout=0.3, seed=5), rng, **ALL)
    keras_cell = keras.layers.LSTMCell(H, dtype=FLOAT)
    around = keras_rnnx.RNN(keras_rnnx.ZoneoutCell(keras_cell, 0.3, seed=5), dtype=FLOAT, **ALL)
    around.build((None, None, D))
    around.set_weights(own.get_weights())
    found, wanted = outcome(around(x, training=training)), outcome(own(x, training=training))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **KERAS)
    if not training:
        cotangents = tensors([rng.normal(size=a.shape) for a in wanted])
        pair = [
            gradients(lambda x, layer=layer: weighted(layer(x), cotangents), [x], layer.trainable_weights)
            for layer in (around, own)
        ]
        for one, other in zip(*pair, strict=True):
            np.testing.assert_allclose(one, other, **{**KERAS, "rtol": 1e-6})


@keras.saving.register_keras_serializable("tests")
class OwnOutput(keras.layers.Layer):
    """A cell whose output is no state."""

    state_size, output_size = 4, 2

    def build(self, input_shape):
        self.w = self.add_weight(shape=(input_shape[-1], 4), name="w")

    def call(self, inputs, states):
        h = keras.ops.tanh(inputs @ self.w + states[0])
        return h[:, :2] * 2.0, [h]


def test_zoneout_around_an_output_that_is_no_state(rng):
    cell = keras_rnnx.ZoneoutCell(OwnOutput(dtype=FLOAT), 0.5)
    layer = randomized_layer(cell, rng, return_sequences=True, return_state=True)
    assert cell.states == ("output", "state_0") and cell.rates == (0.0, 0.5)
    x, (w,) = rng.normal(size=(B, T, D)), layer.get_weights()
    outputs, last, final = outcome(layer(tensor(x), mask=tensor(MASK, "bool")))
    h, y = np.zeros((B, 4)), np.zeros((B, 2))
    for t in range(T):
        valid = MASK[:, t, None]
        made = np.tanh(x[:, t] @ w + h)
        y = np.where(valid, 2 * made[:, :2], y)
        h = np.where(valid, 0.5 * h + 0.5 * made, h)
        np.testing.assert_allclose(outputs[:, t], y, **EXACT)
    np.testing.assert_allclose(final, h, **EXACT)
    np.testing.assert_allclose(last, y, **EXACT)


def test_keras_cells_in_a_fast_slow_network(rng):
    """The gradients of black boxes are summed in the loop; the numbers are those of our cells."""

    def made(kind):
        return [kind(H, dtype=FLOAT), kind(H, dtype=FLOAT)], kind(5, dtype=FLOAT)

    theirs = keras_rnnx.RNN(keras_rnnx.FastSlowCell(*made(keras.layers.LSTMCell)), dtype=FLOAT)
    ours = randomized_layer(keras_rnnx.FastSlowCell(*made(keras_rnnx.LSTMCell)), rng)
    theirs.build((None, None, D))
    theirs.set_weights(ours.get_weights())
    x, cotangent = tensor(rng.normal(size=(B, T, D))), [tensor(rng.normal(size=(B, H)))]
    pair = [
        gradients(
            lambda x, layer=layer: weighted(layer(x, mask=tensor(MASK, "bool")), cotangent),
            [x],
            layer.trainable_weights,
        )
        for layer in (theirs, ours)
    ]
    for one, other in zip(*pair, strict=True):
        assert np.abs(one).max() > 1e-6
        np.testing.assert_allclose(one, other, **KERAS)


def test_a_model_with_all_of_it_trains_and_is_saved(tmp_path, rng):
    options = {"dropout": 0.1, "recurrent_dropout": 0.1, "zoneout": 0.1}
    fast = [keras_rnnx.LSTMCell(H, **options) for _ in range(3)]
    slow = keras_rnnx.ZoneoutCell(keras.layers.GRUCell(5), 0.1)
    model = keras.Sequential([keras_rnnx.RNN(keras_rnnx.FastSlowCell(fast, slow)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    x = np.float32(rng.normal(size=(8, T, D)))
    y = x.sum((1, 2))[:, None]
    before = model.evaluate(x, y, verbose=0)
    model.fit(x, y, epochs=30, verbose=0)
    assert model.evaluate(x, y, verbose=0) < before
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(array(loaded(x)), array(model(x)), rtol=0, atol=1e-6)


def test_a_learned_initial_state_of_a_cell_inside(rng):
    cell = keras_rnnx.FastSlowCell([LSTM(H, learn_initial_state=True), LSTM(H)], LSTM(5, learn_initial_state=True))
    layer = randomized_layer(cell, rng, return_sequences=True)
    w = of_fast_slow(cell)
    own = [w["fast"][0]["initial_h"], w["fast"][0]["initial_c"], w["slow"]["initial_h"], w["slow"]["initial_c"]]
    x = rng.normal(size=(B, T, D))
    histories, _ = run(partial(fast_slow.step, w), x, [np.tile(s, (B, 1)) for s in own], resets=RESETS, reset_state=own)
    np.testing.assert_allclose(array(layer(tensor(x), resets=tensor(RESETS, "bool"))), histories[0], **EXACT)


def test_both_directions_of_a_seeded_cell_inside_draw_their_own_masks():
    layer = keras_rnnx.RNN(
        keras_rnnx.ZoneoutCell(keras_rnnx.MultiplicativeIntegrationCell(LSTM(H, dropout=0.1, seed=3)), 0.1, seed=7)
    )
    both = keras_rnnx.Bidirectional(layer)
    forward, backward = (d.cell for d in (both.forward_layer, both.backward_layer))
    assert forward.seed == 7 != backward.seed
    assert forward.cell.cell.seed == 3 != backward.cell.cell.seed


# ---- residual ----


RESIDUAL = {
    "lstm": lambda: LSTM(D),
    "linear": lambda: keras_rnnx.MinGRUCell(D, dtype=FLOAT),
    "matrix": lambda: keras_rnnx.RetNetCell(4, heads=2, dtype=FLOAT),
    "keras": lambda: keras.layers.GRUCell(D, dtype=FLOAT),
    "list": lambda: [LSTM(5), GRU(D)],
    "wrapper": lambda: keras_rnnx.ZoneoutCell(GRU(D), 0.2),
    "timed": lambda: keras_rnnx.ODERNNCell(D, dtype=FLOAT),
}


@pytest.mark.parametrize("name", few(RESIDUAL, 3))
@pytest.mark.parametrize("backwards", [False, True] if BACKEND == "torch" else [False], ids=lambda b: f"backwards-{b}")
def test_residual(name, backwards, rng):
    width = 4 if name == "matrix" else D
    x = rng.normal(size=(B, T, width))
    options = {"return_state": True, "go_backwards": backwards, "dtype": FLOAT}
    call = {"mask": tensor(MASK, "bool")}
    if name == "timed":
        call["deltas"] = tensor(rng.exponential(size=(B, T)))
    plain = keras_rnnx.RNN(RESIDUAL[name](), **options)
    layer = keras_rnnx.RNN(keras_rnnx.ResidualCell(RESIDUAL[name](), dtype=FLOAT), **options)
    plain.build(x.shape), layer.build(x.shape)
    layer.set_weights([rng.normal(size=w.shape) * 0.4 for w in layer.weights])
    plain.set_weights(layer.get_weights())
    (output, *states), (wanted, *wanted_states) = (outcome(each(tensor(x), **call)) for each in (layer, plain))
    seen = last_read(x, MASK, backwards)
    np.testing.assert_allclose(output, wanted + seen[:, 0 if backwards else -1], **EXACT)
    for one, other in zip(states, wanted_states, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)
    layer.return_sequences = plain.return_sequences = True
    if not backwards:
        found, wanted = array(layer(tensor(x), **call)[0]), array(plain(tensor(x), **call)[0])
        np.testing.assert_allclose(found, wanted + seen, **EXACT)
        again = keras_rnnx.RNN.from_config(layer.get_config())
        again.build(x.shape)
        again.set_weights(layer.get_weights())
        np.testing.assert_allclose(array(again(tensor(x), **call)[0]), found, **EXACT)


def test_a_residual_parallel_cell_stays_parallel(monkeypatch):
    monkeypatch.setattr(paths, "LOOPED", ())
    monkeypatch.setattr(library, "problem", lambda: "off")
    cell = keras_rnnx.ResidualCell(keras_rnnx.MinGRUCell(D))
    explained = keras_rnnx.explain(keras_rnnx.RNN(cell), input_shape=(None, 4096, D))
    assert "chunked" in explained[0].path


def test_residual_one_step_in_a_stock_rnn(rng):
    x = tensor(rng.normal(size=(B, T, D)))
    layer = randomized_layer(keras_rnnx.ResidualCell(LSTM(D)), rng, return_sequences=True)
    stock = keras.layers.RNN(layer.cell, return_sequences=True, dtype=FLOAT)
    np.testing.assert_allclose(array(stock(x)), array(layer(x)), **EXACT)


# ---- what is refused ----


def fast_slow_of(*fast, slow=None):
    cell = keras_rnnx.FastSlowCell(list(fast), slow or keras_rnnx.GRUCell(H))
    keras_rnnx.RNN(cell).build((None, None, D))


def built(cell):
    keras_rnnx.RNN(cell).build((None, None, D))


REFUSED = {
    "one fast cell": (lambda: fast_slow_of(keras_rnnx.GRUCell(H)), "at least 2"),
    "unequal fast cells": (lambda: fast_slow_of(keras_rnnx.GRUCell(H), keras_rnnx.GRUCell(5)), "same sizes"),
    "unlike fast cells": (lambda: fast_slow_of(keras_rnnx.GRUCell(H), keras_rnnx.LSTMCell(H)), "same sizes"),
    "a parallel cell": (lambda: fast_slow_of(keras_rnnx.MinGRUCell(H), keras_rnnx.MinGRUCell(H)), "MinGRUCell"),
    "a learned state": (
        lambda: fast_slow_of(keras_rnnx.GRUCell(H), keras_rnnx.GRUCell(H, learn_initial_state=True)),
        "learn_initial_state",
    ),
    "an output with weights": (
        lambda: fast_slow_of(
            keras_rnnx.GRUCell(H), keras_rnnx.GRUCell(H), slow=keras_rnnx.VanillaRNNCell(H, output_units=2)
        ),
        "output has no weights",
    ),
    "dtypes": (
        lambda: fast_slow_of(keras_rnnx.GRUCell(H, dtype="float32"), keras_rnnx.GRUCell(H, dtype="mixed_bfloat16")),
        "one dtype",
    ),
    "no cell": (lambda: keras_rnnx.ZoneoutCell("lstm", 0.1), "Expected a keras_rnnx cell"),
    "rate": (lambda: keras_rnnx.ZoneoutCell(keras_rnnx.GRUCell(H), 1.0), "zoneout"),
    "rates": (lambda: keras_rnnx.ZoneoutCell(keras_rnnx.GRUCell(H), [0.1, 0.1]), "zoneout"),
    "rates of a Keras cell": (lambda: built(keras_rnnx.ZoneoutCell(keras.layers.GRUCell(H), [0.1, 0.1])), "zoneout"),
    "zoneout twice": (lambda: keras_rnnx.ZoneoutCell(keras_rnnx.GRUCell(H, zoneout=0.1), 0.1), "without zoneout"),
    "zoneout of a parallel cell": (lambda: keras_rnnx.ZoneoutCell(keras_rnnx.MinGRUCell(H), 0.1), "MinGRUCell"),
    "gates that are no sums": (lambda: keras_rnnx.MultiplicativeIntegrationCell(keras_rnnx.GRUCell(H)), "the sum"),
    "neurons": (lambda: keras_rnnx.MultiplicativeIntegrationCell(keras_rnnx.LTCCell(H)), "the sum"),
    "two readings of a gate": (lambda: keras_rnnx.MultiplicativeIntegrationCell(keras_rnnx.ATRCell(H)), "the sum"),
    "no recurrent gates": (lambda: keras_rnnx.MultiplicativeIntegrationCell(keras_rnnx.TGRUCell(H)), "the sum"),
    "gates of a black box": (
        lambda: keras_rnnx.MultiplicativeIntegrationCell(keras.layers.LSTMCell(H)),
        "keras_rnnx.Cell",
    ),
    "a memory of another size": (
        lambda: built(keras_rnnx.MixedMemoryCell(keras_rnnx.CfCCell(H), keras_rnnx.LSTMCell(5))),
        "as wide",
    ),
    "a memory that learns its state": (
        lambda: keras_rnnx.MixedMemoryCell(keras_rnnx.CfCCell(H), keras_rnnx.LSTMCell(H, learn_initial_state=True)),
        "learn_initial_state",
    ),
    "widths": (lambda: built(keras_rnnx.ResidualCell(keras_rnnx.GRUCell(H))), "as wide"),
    "a residual cell inside": (
        lambda: keras_rnnx.ZoneoutCell(keras_rnnx.ResidualCell(keras_rnnx.GRUCell(H)), 0.1),
        "ResidualCell",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    make, word = REFUSED[name]
    with pytest.raises(ValueError, match=word):
        make()


def test_a_training_step_from_another_layer_needs_the_draws_of_a_sequence(rng):
    cell = keras_rnnx.ZoneoutCell(LSTM(H), 0.1)
    cell.build((None, D))
    with pytest.raises(ValueError, match="sees a whole sequence"):
        cell(tensor(rng.normal(size=(B, D))), cell.get_initial_state(B), training=True)


def test_deltas_need_a_cell_that_reads_them(rng):
    x, deltas = tensor(rng.normal(size=(B, T, D))), tensor(np.ones((B, T)))
    with pytest.raises(ValueError, match="Expected no `deltas`"):
        keras_rnnx.RNN(keras_rnnx.MixedMemoryCell(GRU(H)), dtype=FLOAT)(x, deltas=deltas)


SUMS = ("vanilla lstm gru-before mgu peephole").split()


@pytest.mark.parametrize("name", SUMS)
def test_integration_that_adds_is_the_cell_itself(name, rng):
    case = BY_NAME[name]
    plain = case.built(rng, D, H, return_sequences=True)
    cell = keras_rnnx.MultiplicativeIntegrationCell(case.cell(H, dtype=FLOAT, **case.kwargs), alpha_initializer="zeros")
    layer = keras_rnnx.RNN(cell, return_sequences=True, dtype=FLOAT)
    layer.build((None, None, D))
    for variable, value in zip(cell.cell.weights, plain.get_weights(), strict=True):
        variable.assign(value)
    x = tensor(rng.normal(size=(B, T, D)))
    np.testing.assert_allclose(array(layer(x)), array(plain(x)), **EXACT)


# ---- documentation ----


def test_names_and_references():
    """Every wrapper is public, and cites what the bibliography has."""
    from test_list_cells import BIBLIOGRAPHY, is_entry, papers

    kinds = [
        v for v in vars(keras_rnnx).values() if inspect.isclass(v) and set(getattr(v, "CELLS", ())) & parameters(v)
    ]
    assert sorted(kind.__name__ for kind in kinds) == sorted(WRAPPERS)
    for kind in kinds:
        reference = catalogue.labelled(inspect.cleandoc(kind.__doc__), "Reference")
        assert all(any(is_entry(paper, entry) for entry in BIBLIOGRAPHY) for paper in papers(reference)), kind
    assert all(issubclass(kind, ComposedCell) for kind in kinds if kind is not keras_rnnx.ResidualCell)


def parameters(kind):
    return set(inspect.signature(kind).parameters) if issubclass(kind, keras.layers.Layer) else set()
