"""Every cell of the catalogue against its NumPy twin.

The equations, their gradients and the configuration are checked on every backend, of every variant on torch. What the
base class and the engine do for all cells alike is checked on representatives elsewhere, and here for every cell on
torch, whose loop needs no compilation.
"""

import keras
import numpy as np
import pytest
from cases import (
    BACKEND,
    DIFFERENCES,
    EXACT,
    array,
    gradients,
    outcome,
    randomized,
    shared,
    tensor,
    tensors,
    weighted,
    weights_of,
)
from catalogue import CATALOGUE
from keras import ops
from reference import numeric_gradient

import keras_rnnx
from keras_rnnx.base.matrix import MatrixCell
from keras_rnnx.engine import paths

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 5, 3, 4
ALL = {"return_sequences": True, "return_state": True, "return_all_states": True}
MASK = np.array([[1, 0, 1, 1, 1], [0, 1, 1, 0, 1]], bool)
RESETS = np.array([[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]], bool)
# Every variant where loops need no compilation, else the first of each cell.
EACH = CATALOGUE if BACKEND == "torch" else list({case.cell: case for case in reversed(CATALOGUE)}.values())[::-1]
every_cell = pytest.mark.parametrize("case", EACH, ids=str)


def told(case, results):
    """Outputs, then what the states of each step and the last ones mean."""
    outputs, *states = results
    count = len(case.sizes())
    parts = [states[i : i + count] for i in range(0, len(states), count)]
    return [outputs, *[a for part in parts for a in case.told(part)]]


def check(case, results, expected):
    outputs, _, history, final = expected
    for result, want in zip(told(case, outcome(results)), told(case, [outputs, *history, *final]), strict=True):
        assert result.shape == want.shape
        np.testing.assert_allclose(result, want, **EXACT)


def data(case, rng, units=H):
    x = rng.normal(size=(B, T, case.features or D))
    return x, case.start(rng, B, units), {"deltas": rng.exponential(size=(B, T))} if case.cell.TIMED else {}


@every_cell
def test_equations(case, rng):
    """Outputs, every state at every step and final states, with masked steps and documents."""
    layer = case.built(rng, units=case.units or H, **ALL)
    x, state, more = data(case, rng, case.units or H)
    expected = case.walk(weights_of(layer), x, state, mask=MASK, resets=RESETS, **more)
    call = {"mask": tensor(MASK, "bool"), "resets": tensor(RESETS, "bool")}
    check(
        case,
        layer(tensor(x), initial_state=tensors(state), **call, **{n: tensor(a) for n, a in more.items()}),
        expected,
    )


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("case", [c for c in CATALOGUE if issubclass(c.cell, MatrixCell)], ids=str)
def test_equations_chunk_by_chunk(case, backwards, rng, monkeypatch):
    """Where the states of each step are not asked for, a matrix memory reads several steps at once."""
    monkeypatch.setattr(paths, "MEMORY_CHUNK", 2)
    units = case.units or H
    layer = case.built(rng, units=units, return_sequences=True, return_state=True, go_backwards=backwards)
    x, state, _ = data(case, rng, units)
    x, mask, resets = np.tile(x, (1, 2, 1)), np.tile(MASK, 2), np.tile(RESETS, 2)
    outputs, _, _, final = case.walk(weights_of(layer), x, state, mask=mask, resets=resets, go_backwards=backwards)
    call = {"mask": tensor(mask, "bool"), "resets": tensor(resets, "bool")}
    check(case, layer(tensor(x), initial_state=tensors(state), **call), (outputs, None, [], final))


@pytest.mark.parametrize("case", shared(EACH), ids=str)
def test_central_differences(case, rng):
    """Inputs, initial state, intervals and every trained weight."""
    layer = case.built(rng, units=case.units or H, return_sequences=True, return_state=True)
    x, state, more = data(case, rng, case.units or H)
    x, more = x[:, :3], {name: a[:, :3] for name, a in more.items()}
    w = weights_of(layer)
    names = [v.name for v in layer.trainable_weights]
    outputs, _, _, final = case.walk(w, x, state, **more)
    cotangents = [rng.normal(size=a.shape) for a in (outputs, *case.told(final))]

    def twin_loss(x, *rest):
        timed = dict(zip(more, rest, strict=False))
        start = rest[len(more) : len(more) + len(state)]
        now = {**w, **dict(zip(names, rest[len(more) + len(state) :], strict=True))}
        outputs, _, _, final = case.walk(now, x, list(start), **timed)
        return sum((r * c).sum() for r, c in zip([outputs, *case.told(final)], cotangents, strict=True))

    def loss(x, *rest):
        timed = dict(zip(more, rest, strict=False))
        # A training call saves what the gradient needs, where one of inference is compiled and run twice.
        training = not layer.cell.measures  # the twin of a cell that does is that of inference
        outputs, *final = layer(x, initial_state=list(rest[len(more) :]), training=training, **timed)
        return weighted([outputs, *case.told(final, ops.exp)], tensors(cotangents))

    found = gradients(loss, tensors([x, *more.values(), *state]), layer.trainable_weights)
    wanted = numeric_gradient(twin_loss, [x, *more.values(), *state, *[w[n] for n in names]])
    labels = ["x", *more, *["state"] * len(state), *names]
    for name, gradient, want in zip(labels, found, wanted, strict=True):
        if name not in case.kinked:
            np.testing.assert_allclose(gradient, want, **DIFFERENCES, err_msg=name)


@every_cell
def test_configuration(case):
    layer = case.make(case.units or H, name="one", zero_output_for_mask=True)
    layer.build((None, None, case.features or D))
    again = type(layer).from_config(layer.get_config())
    again.build((None, None, case.features or D))
    assert again.get_config() == layer.get_config()
    assert [(w.name, w.shape) for w in again.weights] == [(w.name, w.shape) for w in layer.weights]
    if case.layer is not None:
        assert isinstance(layer.cell, case.cell) and keras.saving.get_registered_object(
            f"keras_rnnx>{case.layer.__name__}"
        )


@pytest.mark.skipif(BACKEND != "torch", reason="what is refused does not depend on the backend")
@pytest.mark.parametrize(
    "case, arguments, word",
    [pytest.param(c, a, w, id=f"{c}-{w}-{i}") for c in CATALOGUE for i, (a, w) in enumerate(c.wrong)],
)
def test_wrong_arguments(case, arguments, word):
    with pytest.raises(ValueError, match=word):
        case.make(**{"units": H, **arguments})


# ---- what all cells share, for each: where loops need no compilation ----

ON_TORCH = CATALOGUE if BACKEND == "torch" else []
each_cell = pytest.mark.parametrize("case", ON_TORCH, ids=str)
OPTIONS = {
    "zoneout": ({"zoneout": 0.3}, {}),
    "normalization": ({"normalization": "layer"}, {"normalization": "layer"}),
    "diagonal": ({"recurrent_structure": "diagonal"}, {"structure": "diagonal"}),
    "block": ({"recurrent_structure": "block", "recurrent_blocks": 2}, {"structure": "block"}),
    "low_rank": ({"recurrent_structure": "low_rank", "recurrent_rank": 2}, {"structure": "low_rank"}),
    "use_bias": ({"use_bias": False}, {}),
}


@pytest.mark.parametrize(
    "case, option",
    [
        pytest.param(c, o, id=f"{o}-{c}")
        for o in OPTIONS
        for c in ON_TORCH
        if c.square or o not in ("diagonal", "block")
    ],
)
def test_option(case, option, rng):
    """The option has its meaning, or the cell says that it has none there."""
    options, twin = OPTIONS[option]
    units = case.units or H
    if any(name in case.refuses for name in (option, *options)):
        with pytest.raises(ValueError, match=next(iter(options))):
            case.make(units, **options)
        return
    layer = case.built(rng, units=units, **options, **ALL)
    x, state, more = data(case, rng, units)
    if option == "zoneout":
        twin = {"zoneout": list(layer.cell.rates)}
    check(
        case,
        layer(tensor(x), initial_state=tensors(state), **{n: tensor(a) for n, a in more.items()}),
        case.walk(weights_of(layer), x, state, **twin, **more),
    )


@each_cell
def test_recurrent_dropout(case, rng, monkeypatch):
    if "recurrent_dropout" in case.refuses:
        with pytest.raises(ValueError, match="recurrent_dropout"):
            case.make(case.units or H, recurrent_dropout=0.5)
        return
    drawn, original = [], keras.random.dropout

    def recording(*args, **kwargs):
        drawn.append(array(original(*args, **kwargs)))
        return tensor(drawn[-1])

    monkeypatch.setattr(keras.random, "dropout", recording)
    units = case.units or H
    layer = case.built(rng, units=units, recurrent_dropout=0.5, seed=3, **ALL)
    if layer.cell.measures:
        pytest.skip("the twin is that of inference; the cell's own tests have that of training")
    x, state, more = data(case, rng, units)
    timed = {n: tensor(a) for n, a in more.items()}
    results = layer(tensor(x), initial_state=tensors(state), training=True, **timed)
    masks = [np.repeat(m[:, None], T, 1) for m in drawn]
    check(case, results, case.walk(weights_of(layer), x, state, left_masks=masks, **more))


@each_cell
def test_backwards_and_chunks(case, rng):
    units = case.units or H
    layer = case.built(rng, units=units, **ALL)
    x, state, more = data(case, rng, units)
    timed = {n: tensor(a) for n, a in more.items()}
    whole = layer(tensor(x), initial_state=tensors(state), **timed)
    first = layer(tensor(x[:, :2]), initial_state=tensors(state), **{n: a[:, :2] for n, a in timed.items()})
    carried = list(first[-len(state) :])
    second = layer(tensor(x[:, 2:]), initial_state=carried, **{n: a[:, 2:] for n, a in timed.items()})
    np.testing.assert_allclose(np.concatenate([array(first[0]), array(second[0])], 1), array(whole[0]), **EXACT)
    back = case.make(units, go_backwards=True, **ALL)
    back.build((None, None, x.shape[-1]))
    back.set_weights(layer.get_weights())
    expected = case.walk(weights_of(layer), x, state, mask=MASK, go_backwards=True, **more)
    check(case, back(tensor(x), initial_state=tensors(state), mask=tensor(MASK, "bool"), **timed), expected)


@pytest.mark.parametrize("case", [c for c in ON_TORCH if c.cell.LANES], ids=str)
def test_both_directions_in_one_loop(case, rng, monkeypatch):
    units = case.units or H
    layer = keras_rnnx.Bidirectional(case.make(units, return_sequences=True), dtype="float64")
    x, _, more = data(case, rng, units)
    layer.build(x.shape)
    randomized(layer, rng)
    call = {"mask": tensor(MASK, "bool"), **{n: tensor(a) for n, a in more.items()}}
    two = array(layer(tensor(x), **call))
    monkeypatch.setattr(paths, "gains_by_lanes", lambda *_: True)
    np.testing.assert_allclose(array(layer(tensor(x), **call)), two, **EXACT)


@each_cell
def test_one_step_by_the_cell_in_a_stock_rnn(case, rng):
    units = case.units or H
    layer = case.built(rng, units=units, return_sequences=True)
    x, _, _ = data(case, rng, units)
    stock = keras.layers.RNN(layer.cell, return_sequences=True, dtype="float64")
    np.testing.assert_allclose(array(stock(tensor(x))), array(layer(tensor(x))), **EXACT)
