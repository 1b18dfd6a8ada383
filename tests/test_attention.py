"""Attention against its twin: values, states, gradients, masks and padding, and pooling."""

import keras
import numpy as np
import pytest
from attention_cases import KINDS, A, B, D, H, M, Pair, S, T, numbers, the_same
from cases import (
    DIFFERENCES,
    EAGER,
    EXACT,
    FLOAT,
    SINGLE,
    array,
    few,
    gradients,
    randomized,
    shared,
    tensor,
    tensors,
    weighted,
    weights_of,
)
from keras import ops
from reference import attention as twin
from reference import numeric_gradient

import keras_rnnx
from keras_rnnx import attention

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

ORDERS = ("luong", "bahdanau", "unfed")
LOOKS = [name for name, kind in KINDS.items() if kind.carries == "nothing"]
# Where a loop is compiled, each mechanism in one order and each order with some mechanism.
WALKS = [(n, o) for i, n in enumerate(KINDS) for j, o in enumerate(ORDERS) if EAGER or i % 3 == j]


@pytest.mark.parametrize(("name", "order"), shared(WALKS))
def test_every_step_is_the_twins(name, order, rng):
    pair = Pair(rng, name, order=order)
    x, memory, mask, memory_mask = numbers(rng)
    state = pair.state(rng, B, memory_mask)
    found = pair(x, memory, state, memory_mask, mask=mask)
    the_same(found, pair.walk(x, memory, state, memory_mask, mask=mask), **EXACT)
    alignments = found[1][1 + len(pair.inner.sizes)]
    assert alignments.shape == (B, T, S)
    assert not (alignments * mask[:, :, None] * ~memory_mask[:, None]).any()


@pytest.mark.parametrize("name", few(["soft", "cumulative", "location", "hard"]))
def test_the_first_step_without_a_state(name, rng):
    """Location: zero alignments, zero sum. Monotonic: the first position."""
    pair = Pair(rng, name)
    x, memory, _, memory_mask = numbers(rng)
    zeros = [np.zeros((B, A)), np.zeros((B, H))]
    begin = twin.Mechanism(None, pair.kinds[0].carries, pair.kinds[0].start).first(memory)
    the_same(pair(x, memory), pair.walk(x, memory, zeros + begin), **EXACT)
    the_same(pair(x, memory, None, memory_mask), pair.walk(x, memory, zeros + begin, memory_mask), **EXACT)


@pytest.mark.parametrize("order", few(ORDERS))
@pytest.mark.parametrize("inner", few(["chain", "lstm", "keras"]))
def test_cells_inside(inner, order, rng):
    pair = Pair(rng, "general", inner=inner, order=order, use_bias=True)
    x, memory, mask, memory_mask = numbers(rng)
    state = pair.state(rng, B, memory_mask)
    wanted = pair.walk(x, memory, state, memory_mask, mask=mask)
    # Keras' own cells multiply in single precision on torch.
    the_same(pair(x, memory, state, memory_mask, mask=mask), wanted, **(SINGLE if inner == "keras" else EXACT))


@pytest.mark.parametrize("order", few(ORDERS))
def test_several_mechanisms_stand_side_by_side(order, rng):
    pair = Pair(rng, "cumulative", "heads", "soft", order=order, units=None)
    x, memory, mask, memory_mask = numbers(rng)
    state = pair.state(rng, B, memory_mask)
    wanted = pair.walk(x, memory, state, memory_mask, mask=mask)
    the_same(pair(x, memory, state, memory_mask, mask=mask), wanted, **EXACT)
    assert pair.cell.output_size == H and pair.cell.states == (
        *("a", "cell_h", "attention_0_alignments", "attention_0_cumulated"),
        *("attention_1_alignments", "attention_2_alignments"),
    )


@pytest.mark.parametrize("name", few(["cumulative", "soft", "additive"], 1))
def test_resets_and_reading_backwards(name, rng):
    x, memory, mask, memory_mask = numbers(rng)
    resets = rng.random((B, T)) > 0.6
    assert resets[:, 1:].any()
    pair = Pair(rng, name, go_backwards=True)
    state = pair.state(rng, B, memory_mask)
    wanted = pair.walk(x, memory, state, memory_mask, mask=mask, resets=resets, go_backwards=True)
    the_same(pair(x, memory, state, memory_mask, mask=mask, resets=resets), wanted, **EXACT)


SMOOTH = [(n, o) for n, o in WALKS if KINDS[n].smooth]


@pytest.mark.parametrize(("name", "order"), SMOOTH if EAGER else shared(SMOOTH)[::2])
def test_gradients(name, order, rng):
    """In inputs, memory, states and weights, at steps, final states and alignments, with masks and an empty memory."""
    pair = Pair(rng, name, order=order, units=3)
    x, memory, mask, memory_mask = numbers(rng, 2, 3, 4)
    state = pair.state(rng, 2, memory_mask)
    outputs = pair.walk(x, memory, state, memory_mask)
    cotangents = [rng.normal(size=a.shape) for a in (outputs[0], *outputs[1], *outputs[2])]

    def loss(x, memory, *state):
        made = pair.layer(x, initial_state=list(state), memory=memory, memory_mask=memory_mask, mask=mask)
        return weighted(made, tensors(cotangents))

    def wanted(x, memory, *rest):
        made = pair.walk(x, memory, list(rest[: len(state)]), memory_mask, list(rest[len(state) :]), mask=mask)
        flat = (made[0], *made[1], *made[2])
        return sum((a * c).sum() for a, c in zip(flat, cotangents, strict=True))

    start = pair.start(state, memory_mask)
    found = gradients(loss, [tensor(x), tensor(memory), *start], pair.weights)
    want = numeric_gradient(wanted, [x, memory, *state, *pair.values])
    carried = [i for i in range(len(start)) if len(start) == len(state) or i not in unread(pair)]
    found = [*found[:2], *[found[2 + i] for i in carried], *found[2 + len(start) :]]
    for one, exact in zip(found, want, strict=True):
        np.testing.assert_allclose(one, exact, **DIFFERENCES)


def unread(pair):
    """The places of the states that show alignments no step reads."""
    return [1 + len(pair.inner.sizes)] if pair.kinds[0].carries in ("nothing", "sum") else []


# ---- mechanisms by themselves ----


def built(name, rng, query=D, **options):
    layer = KINDS[name].make(dtype=FLOAT, **options)
    layer.build((None, None, query), (None, None, M))
    return randomized(layer, rng)


@pytest.mark.parametrize("name", LOOKS)
def test_a_mechanism_as_a_layer(name, rng):
    """A sequence of queries at once is one query after the other."""
    layer = built(name, rng)
    queries, memory, _, mask = numbers(rng)
    given = tensors([queries, memory])
    contexts, alignments = (array(a) for a in layer(given[0], given[1], memory_mask=mask, return_alignments=True))
    for t in range(T):
        c, alpha, _ = KINDS[name].attend(weights_of(layer), queries[:, t], memory, mask, None)
        np.testing.assert_allclose(contexts[:, t], c, **EXACT)
        np.testing.assert_allclose(alignments[:, t], alpha, **EXACT)
    np.testing.assert_allclose(alignments.sum(-1), np.tile(mask.any(1)[:, None], T), **EXACT)
    one, alpha = layer(given[0][:, 1], given[1], memory_mask=mask, return_alignments=True)
    np.testing.assert_allclose(array(one), contexts[:, 1], **EXACT)
    np.testing.assert_allclose(array(alpha), alignments[:, 1], **EXACT)
    assert tuple(layer(*given).shape) == (B, T, M)


def test_dot(rng):
    layer = attention.LuongAttention("dot", dtype=FLOAT)
    queries, memory = rng.normal(size=(B, T, M)), rng.normal(size=(B, S, M))
    found = array(layer(tensor(queries), tensor(memory), return_alignments=True)[1])
    for t in range(T):
        np.testing.assert_allclose(found[:, t], twin.dot({}, queries[:, t], memory)[1], **EXACT)
    assert not layer.weights


@pytest.mark.parametrize("size", few([1, 2, 4, 9]))
def test_width_of_the_convolution(size, rng):
    """Even ones, and wider than the memory."""
    layer, memory = built("location", rng, kernel_size=size), rng.normal(size=(B, S, M))
    query, before = rng.normal(size=(B, D)), rng.random((B, S))
    prepared = layer.prepared(tensor(memory), None)
    w = weights_of(layer)

    def multiply(name, left):
        return left @ tensor(w[f"{name}_kernel"])

    found = layer.look(tensor(query[:, None]), prepared, layer.vectors(), multiply, carried=(tensor(before),))[1]
    np.testing.assert_allclose(array(found)[:, 0], twin.location(w, query, memory, None, before)[1], **EXACT)


# ---- monotonic attention ----


def test_hard_attention_trains_softly(rng):
    pair = Pair(rng, "hard")
    x, memory, mask, memory_mask = numbers(rng)
    state = pair.state(rng, B, memory_mask)
    hard = pair(x, memory, state, memory_mask, mask=mask)
    soft = pair(x, memory, state, memory_mask, mask=mask, training=True)
    assert set(np.unique(hard[1][2])) <= {0.0, 1.0} and len(np.unique(soft[1][2])) > 3
    pair.kinds = [KINDS["soft"].__class__(None, _softly, "alignments", "first")]
    the_same(soft, pair.walk(x, memory, state, memory_mask, mask=mask), **EXACT)


def _softly(w, *given):
    return twin.monotonic(w, *given, energy=twin.dot_energies)


def test_hard_attention_moves_on_and_stops_at_the_end(rng):
    """By hand: where p is 1 at 1 and at 3, then at 0 alone, then nowhere."""
    layer = attention.MonotonicAttention(attention.LuongAttention("dot"), noise=0, score_bias=0, dtype="float32")
    memory = np.eye(4, dtype="float32")[None]
    layer.build((None, None, 4), (None, None, 4))
    queries = np.float32([[-1, 1, -1, 1], [-1, -1, -1, 1], [1, -1, -1, -1], [1, 1, 1, 1]])
    carried, found = layer.initial(1, 4, "float32"), []
    for query in queries:
        prepared = layer.prepared(ops.convert_to_tensor(memory), None)
        look = layer.look(ops.convert_to_tensor(query[None, None]), prepared, layer.vectors(), None, carried=carried)
        context, alignments, carried = look
        found.append(array(alignments)[0, 0])
        np.testing.assert_array_equal(array(context)[0, 0], found[-1])
    np.testing.assert_array_equal(found, [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])


def test_noise_belongs_to_training(rng):
    layer = attention.MonotonicAttention(attention.BahdanauAttention(3), noise=2.5, hard=False, seed=3)
    decoder = keras_rnnx.RNN(attention.AttentionCell(keras_rnnx.GRUCell(H), layer))
    x, memory = (np.float32(a) for a in numbers(rng)[:2])
    calm = [array(decoder(x, memory=memory)) for _ in range(2)]
    noisy = [array(decoder(x, memory=memory, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-4 and np.abs(noisy[0] - calm[0]).max() > 1e-4
    drawn = array(layer.draw((40, 30, 20)))
    assert abs(drawn.std() - 2.5) < 0.05 and abs(drawn.mean()) < 0.05


def test_monotonic_attention_of_a_long_memory_is_finite(rng):
    """Energies far from zero over 300 positions: products of 300 probabilities, in float32."""
    layer = attention.MonotonicAttention(attention.LuongAttention("dot"), noise=0, hard=False, score_bias=0)
    layer.build((None, None, 1), (None, None, 1))
    memory = np.float32(rng.normal(size=(2, 300, 1)) * 40)
    before = ops.convert_to_tensor(np.float32(rng.dirichlet(np.ones(300), size=2)))

    def look(memory):
        query, prepared = ops.ones((2, 1, 1)), layer.prepared(memory, None)
        return layer.look(query, prepared, layer.vectors(), None, carried=(before,))[:2]

    def loss(memory):
        return sum(ops.sum(a) for a in look(memory))

    assert all(np.isfinite(g).all() for g in gradients(loss, [ops.convert_to_tensor(memory)]))
    w, one = {"r": np.zeros(1)}, np.ones((2, 1))
    wanted = twin.monotonic(w, one, np.float64(memory), None, array(before), energy=twin.dot_energies)[1]
    found = array(look(ops.convert_to_tensor(memory))[1])[:, 0]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-3)


# ---- padding ----


@pytest.mark.parametrize("name", few(["cumulative", *sorted(set(KINDS) - {"cumulative"})]))
def test_padding_of_the_memory_changes_nothing(name, rng):
    """Masked positions on either side, whatever stands there: the same outputs and gradients, at another length."""
    pair = Pair(rng, name)
    x, memory = rng.normal(size=(B, 3, D)), rng.normal(size=(B, S, M))
    mask = np.ones((B, S), bool)
    mask[1, 4:] = mask[2] = False
    left, right = 2, 3
    sides = [(0, 0), (left, right)]
    wider = np.pad(memory, [*sides, (0, 0)], constant_values=np.nan)
    wider_mask = np.pad(mask, sides)
    memory[1, 4:] = np.inf

    def loss(x, memory, mask):
        return ops.sum(pair.layer(x, memory=memory, memory_mask=mask)[0] ** 2)

    found = pair(x, wider, None, wider_mask)
    want = pair(x, memory, None, mask)
    np.testing.assert_allclose(found[0], want[0], **EXACT)
    at = 1 + len(pair.inner.sizes)
    np.testing.assert_allclose(found[1][at][..., left:-right], want[1][at], **EXACT)
    assert not found[1][at][..., :left].any() and not found[1][at][..., -right:].any()
    g = gradients(lambda x, m: loss(x, m, wider_mask), [tensor(x), tensor(wider)], pair.weights)
    want = gradients(lambda x, m: loss(x, m, mask), [tensor(x), tensor(memory)], pair.weights)
    assert not g[1][:, :left].any() and not g[1][:, -right:].any()
    the_same([g[0], g[1][:, left:-right], *g[2:]], want, **EXACT)


@pytest.mark.parametrize("dtype", few(["mixed_float16", "mixed_bfloat16", "bfloat16"]))
@pytest.mark.parametrize("name", few(KINDS))
def test_half_precision_is_finite_where_all_is_masked(name, dtype, rng):
    pair = Pair(rng, name, dtype=dtype)
    x, memory, mask, memory_mask = numbers(rng)

    def loss(x, memory):
        return ops.sum(ops.cast(pair.layer(x, memory=memory, memory_mask=memory_mask, mask=mask)[0], "float32"))

    inputs = [ops.convert_to_tensor(np.float32(a)) for a in (x, memory)]
    assert all(np.isfinite(np.float32(g)).all() for g in gradients(loss, inputs, pair.weights))
    outputs = pair.layer(inputs[0], memory=inputs[1])[0]
    assert keras.backend.standardize_dtype(outputs.dtype).endswith(dtype.removeprefix("mixed_"))


# ---- pooling ----


def test_pooling(rng):
    layer = attention.AttentionPooling(4, dtype=FLOAT)
    x, mask = rng.normal(size=(B, T, D)), np.array([[1, 0, 1, 1, 0], [0, 1, 1, 1, 1], [0] * 5], bool)
    layer.build((None, None, D))
    randomized(layer, rng)
    w = weights_of(layer)
    for given in (None, mask):
        context, alignments = (array(a) for a in layer(tensor(x), mask=given, return_alignments=True))
        want = twin.pooling(w, x, given)
        the_same([context, alignments], want, **EXACT)
    assert not context[2].any() and not alignments[2].any() and set(w) == {"kernel", "bias", "v"}
    x[~mask] = np.nan
    np.testing.assert_allclose(array(layer(tensor(x), mask=mask)), context, **EXACT)

    def loss(x):
        return ops.sum(layer(x, mask=mask) ** 2)

    def wanted(x, *values):
        return (twin.pooling(dict(zip(w, values, strict=True)), x, mask)[0] ** 2).sum()

    x[~mask] = 0.0
    found = gradients(loss, [tensor(x)], layer.weights)
    for one, want in zip(found, numeric_gradient(wanted, [x, *w.values()]), strict=True):
        np.testing.assert_allclose(one, want, **DIFFERENCES)
