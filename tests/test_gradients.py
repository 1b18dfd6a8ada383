"""Gradients: against central differences of the NumPy twins, between memory modes, and by hand."""

import keras
import numpy as np
import pytest
from cases import (
    BACKEND,
    BY_NAME,
    CASES,
    DIFFERENCES,
    EXACT,
    few,
    gradients,
    outcome,
    tensor,
    tensors,
    weighted,
    weights_of,
)
from keras import ops
from reference import numeric_gradient

B, T, D, H = 2, 4, 2, 2
ALL = {"return_sequences": True, "return_state": True}
MASK = np.array([[1, 0, 1, 1], [0, 1, 1, 0]], bool)
RESETS = np.array([[0, 0, 0, 1], [0, 0, 1, 0]], bool)
every_case = pytest.mark.parametrize("case", CASES, ids=str)

# options of the layer, of the twin, of the call
BUNDLES = {
    "plain": ({}, {}),
    "mask-resets-learned": (
        {"learn_initial_state": True},
        {"mask": MASK, "resets": RESETS},
    ),
    "layer-zoneout": ({"normalization": "layer", "zoneout": 0.3}, {"normalization": "layer"}),
    "rms-low_rank-backwards-mask": (
        {
            "normalization": "rms",
            "recurrent_structure": "low_rank",
            "recurrent_rank": 1,
            "go_backwards": True,
        },
        {"normalization": "rms", "structure": "low_rank", "go_backwards": True, "mask": MASK},
    ),
    "diagonal-mask": ({"recurrent_structure": "diagonal"}, {"structure": "diagonal", "mask": MASK}),
    "block-no-bias": (
        {"recurrent_structure": "block", "recurrent_blocks": 2, "use_bias": False},
        {"structure": "block"},
    ),
}
# The other backends have their gradients compared in test_golden.py too.
PORTABLE = [pytest.mark.every_backend, pytest.mark.core]
MARKS = {bundle: PORTABLE if bundle == "plain" else [pytest.mark.core] for bundle in BUNDLES}
# Every bundle for every cell where loops need no compilation, for these everywhere.
COMPILED = ("lstm", "gru-after", "mgu", "elman-output")
SQUARE = ("diagonal-mask", "block-no-bias")  # not where a state of another size is fed back
CHECKS = [
    pytest.param(case, bundle, id=f"{bundle}-{case}", marks=marks)
    for bundle, marks in MARKS.items()
    for case in CASES
    if case.square or bundle not in SQUARE
    if BACKEND == "torch" or bundle == "plain" or case.name in COMPILED
]


@pytest.mark.parametrize("case, bundle", CHECKS)
def test_central_differences(case, bundle, rng):
    """Inputs, initial state and every weight; cotangents on all outputs and final states at once."""
    options, twin = BUNDLES[bundle]
    options, twin = dict(options), dict(twin)
    layer = case.built(rng, D, H, **options, **ALL)
    if "zoneout" in options:
        twin["zoneout"] = [options["zoneout"]] * case.states
    x, state = rng.normal(size=(B, T, D)), case.start(rng, B, H)
    call = {n: tensor(twin[n], "bool") for n in ("mask", "resets") if n in twin}
    call["training"] = "zoneout" not in options  # a training call saves what the gradient needs, but draws
    w = weights_of(layer)
    names = [v.name for v in layer.trainable_weights]
    learned = bool(options.get("learn_initial_state"))
    outputs, _, _, final = case.walk(w, x, state, **twin)
    cotangents = [rng.normal(size=a.shape) for a in (outputs, *final)]

    def twin_loss(x, *rest):
        now = dict(zip(names, rest[-len(names) :], strict=True))
        start = case.own_state(now, B, H) if learned else rest[: case.states]
        outputs, _, _, final = case.walk(now, x, list(start), **twin)
        return sum((r * c).sum() for r, c in zip([outputs, *final], cotangents, strict=True))

    def loss(x, *start):
        results = layer(x, initial_state=None if learned else list(start), **call)
        return weighted(results, tensors(cotangents))

    start = [] if learned else state
    found = gradients(loss, tensors([x, *start]), layer.trainable_weights)
    wanted = numeric_gradient(twin_loss, [x, *start, *[w[n] for n in names]])
    for name, gradient, want in zip(["x", *["state"] * len(start), *names], found, wanted, strict=True):
        np.testing.assert_allclose(gradient, want, **DIFFERENCES, err_msg=name)


def found_with(case, T=7, call=None, **options):
    """Results and gradients of a layer whose weights, data and draws do not depend on `options`."""
    rng = np.random.default_rng(11)
    layer = case.built(rng, D, 4, **options, **ALL)
    x, state, call = rng.normal(size=(B, T, D)), case.start(rng, B, 4), {"training": True, **(call or {})}
    results = layer(tensor(x), initial_state=tensors(state), **call)
    cotangents = tensors([rng.normal(size=r.shape) for r in outcome(results)])

    def loss(x, *start):
        return weighted(layer(x, initial_state=list(start), **call), cotangents)

    return [*outcome(results), *gradients(loss, tensors([x, *state]), layer.trainable_weights)]


MASK_7 = np.array([[1, 0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 1, 0, 0]], bool)
RESETS_7 = np.array([[0, 0, 0, 1, 0, 1, 0], [0, 0, 1, 0, 0, 0, 1]], bool)


@pytest.mark.every_backend
@pytest.mark.core
@pytest.mark.parametrize(
    "name, k",
    few([("lstm", 3), ("long-memory", 2), ("lstm", 9), ("lstm", 1), ("lstm", 2), ("lstm", 5), ("gru-before", 3)], 3),
)
def test_remat_is_exact(name, k):
    """Segments that divide T = 7 or not, and one that is longer."""
    stored = found_with(BY_NAME[name])
    recomputed = found_with(BY_NAME[name], memory=("remat", k))
    for one, other in zip(stored, recomputed, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.every_backend
@pytest.mark.parametrize("name, backwards", [("vanilla", False), ("peephole", True)])
def test_remat_with_mask_resets_and_draws(name, backwards, monkeypatch):
    """The draws are fixed, so that both modes see the same."""

    def dropout(inputs, rate, **_):
        keep = np.random.default_rng(5).random(inputs.shape) >= rate
        return inputs * ops.cast(keep / (1 - rate), inputs.dtype)

    def uniform(shape, **_):
        return ops.convert_to_tensor(np.random.default_rng(6).random([int(n) for n in shape]), "float32")

    monkeypatch.setattr(keras.random, "dropout", dropout)
    monkeypatch.setattr(keras.random, "uniform", uniform)
    call = {"mask": tensor(MASK_7, "bool"), "resets": tensor(RESETS_7, "bool"), "training": True}
    options = {"recurrent_dropout": 0.4, "recurrent_dropout_mode": "step", "zoneout": 0.3}
    options |= {"go_backwards": backwards, "dropout": 0.3}
    stored = found_with(BY_NAME[name], call=call, **options)
    recomputed = found_with(BY_NAME[name], call=call, memory=("remat", 3), **options)
    for one, other in zip(stored, recomputed, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.every_backend
@pytest.mark.parametrize("name, backwards", [("lstm", False), ("gru-before", True)])
def test_unroll_is_the_loop(name, backwards):
    call = {"mask": tensor(MASK_7, "bool"), "resets": tensor(RESETS_7, "bool")}
    loop = found_with(BY_NAME[name], call=call, go_backwards=backwards)
    unrolled = found_with(BY_NAME[name], call=call, go_backwards=backwards, unroll=True)
    for one, other in zip(loop, unrolled, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


def cut_by_hand(layer, k, backwards, x, state, cotangents):
    """The loss of a run in chunks of k read steps, with `stop_gradient` between them."""
    steps, outputs = x.shape[1], []
    for start in range(0, steps, k):
        stop = min(start + k, steps)
        chunk = x[:, steps - stop : steps - start] if backwards else x[:, start:stop]
        if start:
            state = [ops.stop_gradient(s) for s in state]
        output, *state = layer(chunk, initial_state=list(state), training=True)
        outputs.append(output)
    return weighted([ops.concatenate(outputs, axis=1), *state], cotangents)


@pytest.mark.every_backend
@pytest.mark.core
@pytest.mark.parametrize(
    "name, k, backwards",
    few([("lstm", 3, False), ("gru-before", 3, True), ("lstm", 1, False), ("lstm", 3, True)], 2),
)
def test_tbptt_is_a_run_cut_by_hand(name, k, backwards, rng):
    case = BY_NAME[name]
    layer = case.built(rng, D, H, go_backwards=backwards, memory=("tbptt", k), **ALL)
    whole = case.make(H, go_backwards=backwards, **ALL)
    whole.build((None, None, D))
    whole.set_weights(layer.get_weights())
    x, state = tensor(rng.normal(size=(B, 7, D))), tensors(case.start(rng, B, H))
    shapes = [(B, 7, H), *[(B, H)] * case.states]
    cotangents = tensors([rng.normal(size=s) for s in shapes])

    def loss(x, *state):
        return weighted(layer(x, initial_state=list(state), training=True), cotangents)

    def by_hand(x, *state):
        return cut_by_hand(whole, k, backwards, x, state, cotangents)

    found = gradients(loss, [x, *state], layer.trainable_weights)
    wanted = gradients(by_hand, [x, *state], whole.trainable_weights)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


def vanilla_backward(w, x, h0, d_outputs, d_final, clip, mask):
    """The gradient of a tanh network with the clipped state cotangent, step by step."""
    states = [h0]
    for t in range(x.shape[1]):
        new = np.tanh(x[:, t] @ w["kernel"] + states[-1] @ w["recurrent_kernel"] + w["bias"])
        states.append(np.where(mask[:, t, None], new, states[-1]))
    d = {name: np.zeros_like(a) for name, a in w.items()}
    dx, dh = np.zeros_like(x), d_final
    for t in reversed(range(x.shape[1])):
        dh = dh + d_outputs[:, t]
        valid = mask[:, t, None]
        da = np.where(valid, dh * (1 - states[t + 1] ** 2), 0.0)
        dx[:, t] = da @ w["kernel"].T
        d["kernel"] += x[:, t].T @ da
        d["recurrent_kernel"] += states[t].T @ da
        d["bias"] += da.sum(axis=0)
        dh = np.where(valid, np.clip(da @ w["recurrent_kernel"].T, -clip, clip), dh)
    return [dx, dh, d["kernel"], d["recurrent_kernel"], d["bias"]]


@pytest.mark.every_backend
@pytest.mark.core
@pytest.mark.parametrize("memory", ["store", ("remat", 3)], ids=["store", "remat"])
def test_recurrent_clip_written_out(memory, rng):
    layer = BY_NAME["vanilla"].built(rng, D, H, recurrent_clip=0.25, memory=memory, **ALL)
    x, h0 = rng.normal(size=(B, 7, D)), rng.normal(size=(B, H))
    d_outputs, d_final = rng.normal(size=(B, 7, H)), rng.normal(size=(B, H))

    def loss(x, h0):
        results = layer(x, initial_state=[h0], mask=tensor(MASK_7, "bool"))
        return weighted(results, tensors([d_outputs, d_final]))

    found = gradients(loss, tensors([x, h0]), layer.trainable_weights)
    wanted = vanilla_backward(weights_of(layer), x, h0, d_outputs, d_final, 0.25, MASK_7)
    free = vanilla_backward(weights_of(layer), x, h0, d_outputs, d_final, np.inf, MASK_7)
    assert np.abs(wanted[1] - free[1]).max() > 0.1  # the bound is felt
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.every_backend
def test_inference_and_training_calls_have_the_same_gradients():
    """Without draws, `training` only changes what the forward pass stores."""
    case = BY_NAME["lstm"]
    one = found_with(case, call={"training": False})
    other = found_with(case, call={"training": True})
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, **EXACT)


@pytest.mark.every_backend
def test_gradient_of_one_state_at_every_step(rng):
    """Cotangents on the cell state's history reach the weights."""
    case = BY_NAME["lstm"]
    layer = case.built(rng, D, H, return_all_states=True, return_sequences=True)
    x, w = rng.normal(size=(B, T, D)), weights_of(layer)
    cotangent, start = rng.normal(size=(B, T, H)), case.own_state(w, B, H)

    def loss(x):
        return ops.sum(layer(x)[2] * tensor(cotangent))

    def twin_loss(*values):
        now = dict(zip(w, values, strict=True))
        return (case.walk(now, x, start)[2][1] * cotangent).sum()

    found = gradients(loss, [tensor(x)], layer.trainable_weights)[1:]
    for one, other in zip(found, numeric_gradient(twin_loss, list(w.values())), strict=True):
        np.testing.assert_allclose(one, other, **DIFFERENCES)


@pytest.mark.every_backend
def test_frozen_layer_passes_the_gradient_on(rng):
    layer = BY_NAME["lstm"].built(rng, D, H, return_sequences=True)
    x, cotangent = tensor(rng.normal(size=(B, T, D))), tensors([rng.normal(size=(B, T, H))])
    (free,) = gradients(lambda x: weighted(layer(x), cotangent), [x])
    layer.trainable = False
    (frozen,) = gradients(lambda x: weighted(layer(x), cotangent), [x])
    assert not layer.trainable_weights and np.abs(free).max() > 1e-3
    np.testing.assert_allclose(free, frozen, **EXACT)
