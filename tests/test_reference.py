"""Every cell and every option against its NumPy twin: outputs at every step and final states."""

import keras
import numpy as np
import pytest
from cases import BY_NAME, CASES, EXACT, array, each_case, outcome, shared, tensor, tensors, weights_of

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 7, 3, 4
ALL = {"return_sequences": True, "return_state": True, "return_all_states": True}
MASK = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 1, 0, 0]], bool)
RESETS = np.array([[0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 0, 1, 0, 1]], bool)
every_case = pytest.mark.parametrize("case", CASES, ids=str)
SOME = [BY_NAME[n] for n in ("lstm", "jordan", "elman-output", "deep-transition")]


def check(layer, case, x, state, expected, call=None, tolerance=EXACT):
    """The layer's results are the twin's (outputs, last output, histories, final states)."""
    results = outcome(layer(tensor(x), initial_state=state and tensors(state), **(call or {})))
    outputs, _, history, final = expected
    wanted = [outputs, *history, *final]
    assert len(results) == len(wanted)
    for result, want in zip(results, wanted, strict=True):
        assert result.shape == want.shape
        np.testing.assert_allclose(result, want, **tolerance)


@pytest.mark.core
@every_case
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 7, 3, 5), (3, 11, 4, 2)], ids=str)
def test_plain(case, shape, rng):
    batch, steps, features, units = shape
    layer = case.built(rng, features, units, **ALL)
    x, state = rng.normal(size=(batch, steps, features)), case.start(rng, batch, units)
    check(layer, case, x, state, case.walk(weights_of(layer), x, state))


OPTIONS = {
    "zoneout": ({"zoneout": 0.3}, {"zoneout": True}),
    "layer": ({"normalization": "layer"}, {"normalization": "layer"}),
    "rms": ({"normalization": "rms", "zoneout": 0.2}, {"normalization": "rms", "zoneout": True}),
    "diagonal": ({"recurrent_structure": "diagonal"}, {"structure": "diagonal"}),
    "block": ({"recurrent_structure": "block", "recurrent_blocks": 2}, {"structure": "block"}),
    "low_rank": ({"recurrent_structure": "low_rank", "recurrent_rank": 2}, {"structure": "low_rank"}),
    "layer-low_rank": (
        {"normalization": "layer", "recurrent_structure": "low_rank", "recurrent_rank": 1},
        {"normalization": "layer", "structure": "low_rank"},
    ),
    "no-bias": ({"use_bias": False}, {}),
}


CHECKS = [
    pytest.param(case, option, id=f"{option}-{case}")
    for option in OPTIONS
    for case in CASES
    # where a state of another size is fed back, the recurrent matrix is not square
    if case.square or option not in ("diagonal", "block")
]


@pytest.mark.parametrize("case, option", shared(CHECKS))
def test_option(case, option, rng):
    options, twin = OPTIONS[option]
    layer = case.built(rng, D, H, **options, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    if "zoneout" in twin:
        twin = {**twin, "zoneout": [options["zoneout"]] * case.states}
    check(layer, case, x, state, case.walk(weights_of(layer), x, state, **twin))


@pytest.mark.parametrize("zoneout", [(0.0, 0.4), (0.3, 0.1)])
def test_zoneout_of_each_state(zoneout, rng):
    case = BY_NAME["lstm"]
    layer = case.built(rng, D, H, zoneout=zoneout, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    check(layer, case, x, state, case.walk(weights_of(layer), x, state, zoneout=zoneout))


@pytest.mark.parametrize("name", ["vanilla", "lstm", "gru-before"])
@pytest.mark.parametrize("learned", [False, True], ids=["zero", "learned"])
@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_resets_and_own_state(name, learned, backwards, rng):
    case = BY_NAME[name]
    layer = case.built(rng, D, H, learn_initial_state=learned, go_backwards=backwards, **ALL)
    x, w = rng.normal(size=(B, T, D)), weights_of(layer)
    expected = case.walk(w, x, case.own_state(w, B, H), resets=RESETS, go_backwards=backwards)
    check(layer, case, x, None, expected, {"resets": tensor(RESETS, "bool")})


@pytest.mark.core
@every_case
def test_mask_and_resets(case, rng):
    """A reset at a masked step acts: RESETS marks such steps in both rows."""
    assert (RESETS & ~MASK).any(axis=1).all()
    layer = case.built(rng, D, H, learn_initial_state=True, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    expected = case.walk(weights_of(layer), x, state, mask=MASK, resets=RESETS)
    call = {"mask": tensor(MASK, "bool"), "resets": tensor(RESETS, "bool")}
    check(layer, case, x, state, expected, call)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_zero_output_for_mask(case, rng):
    layer = case.built(rng, D, H, zero_output_for_mask=True, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    outputs, last, history, final = case.walk(weights_of(layer), x, state, mask=MASK)
    expected = np.where(MASK[..., None], outputs, 0.0), last, history, final
    check(layer, case, x, state, expected, {"mask": tensor(MASK, "bool")})


@pytest.mark.parametrize("case", SOME, ids=str)
def test_lengths(case, rng):
    layer = case.built(rng, D, H, **ALL)
    x, state, lengths = rng.normal(size=(3, T, D)), case.start(rng, 3, H), np.array([5, 0, 7])
    expected = case.walk(weights_of(layer), x, state, mask=np.arange(T) < lengths[:, None])
    check(layer, case, x, state, expected, {"lengths": tensor(lengths, "int32")})


@pytest.mark.core
@every_case
def test_backwards(case, rng):
    layer = case.built(rng, D, H, go_backwards=True, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    check(layer, case, x, state, case.walk(weights_of(layer), x, state, go_backwards=True))


@pytest.mark.parametrize("case", shared(CASES), ids=str)
def test_backwards_with_mask_and_resets(case, rng):
    layer = case.built(rng, D, H, go_backwards=True, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    call = {"mask": tensor(MASK, "bool"), "resets": tensor(RESETS, "bool")}
    options = {"mask": MASK, "resets": RESETS, "go_backwards": True}
    check(layer, case, x, state, case.walk(weights_of(layer), x, state, **options), call)


@pytest.mark.parametrize("case", SOME, ids=str)
def test_last_output_and_order_of_results(case, rng):
    layer = case.built(rng, D, H, return_state=True)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    _, last, _, final = case.walk(weights_of(layer), x, state, mask=MASK)
    results = outcome(layer(tensor(x), initial_state=tensors(state), mask=tensor(MASK, "bool")))
    for result, want in zip(results, [last, *final], strict=True):
        np.testing.assert_allclose(result, want, **EXACT)


# ---- draws: what the layer drew is recorded and given to the twin ----


@pytest.fixture
def drawn(monkeypatch):
    """The results of all draws, in order."""
    found = {"dropout": [], "uniform": []}
    for name, made in found.items():
        original = getattr(keras.random, name)

        def recording(*args, original=original, made=made, **kwargs):
            value = original(*args, **kwargs)
            made.append(array(value))
            return value

        monkeypatch.setattr(keras.random, name, recording)
    return found


@pytest.mark.parametrize("case", shared(CASES), ids=str)
def test_dropout(case, drawn, rng):
    layer = case.built(rng, D, H, dropout=0.5, seed=3, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    results = layer(tensor(x), initial_state=tensors(state), training=True)
    (mask,) = drawn["dropout"]
    assert mask.shape == (1, B, D) and set(np.unique(mask)) <= {0, 2}
    outputs, _, history, final = case.walk(weights_of(layer), x * mask[0][:, None], state)
    for result, want in zip(outcome(results), [outputs, *history, *final], strict=True):
        np.testing.assert_allclose(result, want, **EXACT)


THREE = ("lstm", "gru-before", "long-memory")


@pytest.mark.parametrize("case, mode", shared(each_case(sequence=None, step=None, step_backwards=THREE)))
def test_recurrent_dropout(case, mode, drawn, rng):
    mode, _, backwards = mode.partition("_")
    options = {"recurrent_dropout": 0.5, "recurrent_dropout_mode": mode, "go_backwards": bool(backwards)}
    layer = case.built(rng, D, H, seed=3, **options, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    results = layer(tensor(x), initial_state=tensors(state), training=True)
    masks = [np.swapaxes(m, 0, 1) if mode == "step" else np.repeat(m[:, None], T, 1) for m in drawn["dropout"]]
    assert all(m.shape[:2] == (B, T) and set(np.unique(m)) <= {0, 2} for m in masks)
    twin = {"left_masks": masks, "go_backwards": bool(backwards)}
    outputs, _, history, final = case.walk(weights_of(layer), x, state, **twin)
    for result, want in zip(outcome(results), [outputs, *history, *final], strict=True):
        np.testing.assert_allclose(result, want, **EXACT)


@pytest.mark.parametrize("case, direction", shared(each_case(forwards=None, backwards=THREE)))
def test_zoneout_in_training(case, direction, drawn, rng):
    backwards = direction == "backwards"
    layer = case.built(rng, D, H, zoneout=0.5, seed=3, go_backwards=backwards, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    call = {"initial_state": tensors(state), "mask": tensor(MASK, "bool"), "training": True}
    results = outcome(layer(tensor(x), **call))
    keep = [np.swapaxes(u, 0, 1) < 0.5 for u in drawn["uniform"]]
    assert len(keep) == case.states
    twin = {"zoneout": [0.5] * case.states, "zoneout_draws": keep, "training": True}
    twin |= {"go_backwards": backwards, "mask": MASK}
    outputs, _, history, final = case.walk(weights_of(layer), x, state, **twin)
    for result, want in zip(results, [outputs, *history, *final], strict=True):
        np.testing.assert_allclose(result, want, **EXACT)


@pytest.mark.core
def test_no_draws_outside_training(drawn, rng):
    case = BY_NAME["gru-before"]
    random = {"dropout": 0.5, "recurrent_dropout": 0.5, "recurrent_dropout_mode": "step"}
    layer = case.built(rng, D, H, **random, **ALL)
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    check(layer, case, x, state, case.walk(weights_of(layer), x, state))
    assert drawn == {"dropout": [], "uniform": []}


def test_draws_have_the_asked_rates_and_differ_between_calls(drawn, rng):
    rates = {"dropout": 0.2, "recurrent_dropout": 0.3, "zoneout": 0.4}
    layer = BY_NAME["lstm"].built(rng, 40, 20, **rates)
    x = tensor(rng.normal(size=(50, T, 40)))
    first, second = array(layer(x, training=True)), array(layer(x, training=True))
    assert np.abs(first - second).max() > 1e-3
    for masks, p in [(drawn["dropout"][0::2], 0.2), (drawn["dropout"][1::2], 0.3)]:
        for mask in masks:
            assert abs((mask == 0).mean() - p) < 0.05
            np.testing.assert_allclose(mask.max(), 1 / (1 - p), rtol=1e-6)
    assert not np.array_equal(drawn["dropout"][0], drawn["dropout"][2])
    assert not np.array_equal(drawn["uniform"][0], drawn["uniform"][1])
