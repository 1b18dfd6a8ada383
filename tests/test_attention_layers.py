"""Attention as a user meets it: models, saving, steps by hand, wrappers, and what is refused."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from attention_cases import KINDS, A, B, D, H, M, Pair, S, T, numbers, the_same
from cases import EAGER, EXACT, FLOAT, SINGLE, array, few, gradients, randomized, tensor, tensors
from keras import ops
from user_cells import DecayCell

import keras_rnnx
from keras_rnnx import attention

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

V = 7


def cell(mechanism=None, inside=None, **options):
    mechanism = attention.BahdanauAttention(3) if mechanism is None else mechanism
    return attention.AttentionCell(keras_rnnx.GRUCell(H) if inside is None else inside, mechanism, **options)


def single(rng, **options):
    """x and memory in float32."""
    return [np.float32(a) for a in numbers(rng, **options)[:2]]


# ---- models ----


def translator(mechanism, **options):
    """Tokens in, one vector a step out; padding is token 0 on both sides."""
    sources, targets = keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")
    memory = keras_rnnx.GRU(M, return_sequences=True)(keras.layers.Embedding(V, D, mask_zero=True)(sources))
    x = keras.layers.Embedding(V, D, mask_zero=True)(targets)
    decoder = keras_rnnx.RNN(cell(mechanism, **options), return_sequences=True)
    return keras.Model([sources, targets], keras.layers.Dense(V)(decoder(x, memory=memory)))


def tokens(rng, lengths, width):
    made = np.zeros((len(lengths), width), "int32")
    for row, n in zip(made, lengths, strict=True):
        row[:n] = rng.integers(1, V, n)
    return made


@pytest.mark.parametrize("name", few(["cumulative", "soft", "heads"], 1))
def test_the_mask_travels_with_the_memory(name, rng):
    """The same sentences with more padding, one by one, and with the masks given by hand."""
    model = randomized(translator(KINDS[name].make()), rng)
    sources, targets = tokens(rng, [3, 5], 5), tokens(rng, [4, 2], 4)
    found = array(model([sources, targets]))
    wider = array(model([np.pad(sources, [(0, 0), (0, 3)]), np.pad(targets, [(0, 0), (0, 2)])]))
    np.testing.assert_allclose(wider[:, :4], found, **SINGLE)
    one = array(model([sources[:1, :3], targets[:1]]))
    np.testing.assert_allclose(one, found[:1], **SINGLE)
    np.testing.assert_allclose(model.predict([sources, targets], batch_size=1, verbose=0), found, **SINGLE)
    assert model.output_shape == (None, None, V)


def test_without_its_mask_the_padding_is_read(rng):
    """That the mask matters at all."""
    layer = keras_rnnx.RNN(cell())
    x, memory = single(rng)
    mask = np.ones((B, S), bool)
    full = array(layer(x, memory=memory, memory_mask=mask))
    mask[:, 3:] = False
    assert np.abs(array(layer(x, memory=memory, memory_mask=mask)) - full).max() > 1e-3
    by_hand = array(layer(x, memory=memory[:, :3]))
    np.testing.assert_allclose(array(layer(x, memory=memory, memory_mask=mask)), by_hand, **SINGLE)
    masked = keras.layers.Masking()(ops.convert_to_tensor(memory * mask[..., None]))
    np.testing.assert_allclose(array(layer(x, memory=masked)), by_hand, **SINGLE)


@pytest.mark.parametrize("name", few(["general", "cumulative", "soft"], 1))
def test_fit(name, rng):
    model = translator(KINDS[name].make(), order="bahdanau")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    sources = tokens(rng, [5, 3, 4, 5], 5)
    before = [np.array(w) for w in model.get_weights()]
    losses = model.fit([sources, sources], sources, epochs=3, batch_size=2, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    moved = [np.abs(a - b).max() > 0 for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(moved)


def test_saved_models_are_the_same_in_a_fresh_process(tmp_path, rng):
    """The fresh process imports keras_rnnx alone."""
    sources, targets = tokens(rng, [3, 5], 5), tokens(rng, [4, 2], 4)
    wanted = {"sources": sources, "targets": targets}
    kinds = list(KINDS) if EAGER else ["heads", "hard", "cumulative"]
    for name in kinds:
        order = "bahdanau" if name in ("heads", "hard") else "luong"
        mechanism = KINDS[name].make(kernel_regularizer="l2") if name != "hard" else KINDS[name].make()
        model = randomized(translator(mechanism, order=order, use_bias=True, attention_units=A), rng)
        model.save(tmp_path / f"{name}.keras")
        wanted[name] = array(model([sources, targets]))
    inputs = keras.Input((None,), dtype="int32")
    pooled = attention.AttentionPooling(3)(keras.layers.Embedding(V, D, mask_zero=True)(inputs))
    model = randomized(keras.Model(inputs, pooled), rng)
    model.save(tmp_path / "pooling.keras")
    wanted["pooling"] = array(model(sources))
    np.savez(tmp_path / "wanted.npz", **wanted)
    script = f"""
import pathlib, keras, numpy as np
import keras_rnnx
folder = pathlib.Path({str(tmp_path)!r})
wanted = np.load(folder / "wanted.npz")
paths = sorted(folder.glob("*.keras"))
for path in paths:
    given = [wanted["sources"], wanted["targets"]]
    model = keras.saving.load_model(path)
    result = keras.ops.convert_to_numpy(model(given if len(model.inputs) == 2 else given[0]))
    np.testing.assert_allclose(result, wanted[path.stem], rtol=0, atol=1e-6, err_msg=path.stem)
print("models:", len(paths))
"""
    root = str(pathlib.Path(keras_rnnx.__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip().endswith(f"models: {len(kinds) + 1}")


@pytest.mark.parametrize("name", KINDS)
def test_configurations(name):
    made = cell([KINDS[name].make(name="look")], order="luong", input_feeding=False, attention_units=2)
    config = json.dumps(made.get_config(), sort_keys=True)
    again = attention.AttentionCell.from_config(json.loads(config))
    assert json.dumps(again.get_config(), sort_keys=True) == config
    assert again.input_feeding is False and again.attention[0].name == "look"
    layer = keras_rnnx.RNN(made, return_sequences=True)
    other = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(layer))))
    assert json.dumps(other.cell.get_config(), sort_keys=True) == config


def test_pooling_in_a_model(rng):
    inputs = keras.Input((None,), dtype="int32")
    pooled = attention.AttentionPooling()(keras.layers.Embedding(V, D, mask_zero=True)(inputs))
    model = randomized(keras.Model(inputs, pooled), rng)
    sentence = tokens(rng, [3, 0], 3)
    found = array(model(np.pad(sentence, [(0, 0), (0, 4)])))
    np.testing.assert_allclose(found, array(model(sentence)), **SINGLE)
    assert model.output_shape == (None, D) and not found[1].any()
    layer = attention.AttentionPooling(3, name="pool")
    assert attention.AttentionPooling.from_config(layer.get_config()).units == 3


# ---- steps by hand ----


@pytest.mark.parametrize("order", few(["bahdanau", "luong"]))
@pytest.mark.parametrize("name", few(["cumulative", "heads", "hard"], 1))
def test_single_steps(name, order, rng):
    """Keras' cell protocol, from a memory and from a prepared one, is the layer."""
    pair = Pair(rng, name, order=order)
    x, memory, _, mask = numbers(rng)
    outputs, _, final = pair(x, memory, None, mask)
    states = pair.cell.start_from(ops.zeros((B, H), FLOAT), tensor(memory), mask)
    prepared = pair.cell.prepare(tensor(memory), mask)
    for t in range(T):
        given = {"memory": prepared} if t % 2 else {"memory": tensor(memory), "memory_mask": mask}
        y, states = pair.cell(tensor(x[:, t]), states, **given)
        np.testing.assert_allclose(array(y), outputs[:, t], **EXACT)
    the_same([array(s) for s in states], final, **EXACT)


def test_start_from_the_states_of_an_encoder(rng):
    pair = Pair(rng, "location", inner="lstm")
    x, memory = numbers(rng)[:2]
    given = [rng.normal(size=(B, H)) for _ in range(2)]
    start = pair.cell.start_from(tensors(given), tensor(memory))
    found = [array(a) for a in pair.layer(tensor(x), initial_state=start, memory=tensor(memory))]
    wanted = pair.walk(x, memory, [np.zeros((B, A)), *given, np.zeros((B, S))])
    the_same(found, keras.tree.flatten(wanted), **EXACT)
    with pytest.raises(ValueError, match="2 states"):
        pair.cell.start_from(tensors(given[:1]), tensor(memory))


# ---- with the rest of the package ----


def test_in_a_stack(rng):
    """The levels below and above read no memory; the result is that of layers by hand."""
    x, memory = single(rng)
    cells = [keras_rnnx.GRUCell(3), cell(), keras_rnnx.LSTMCell(2)]
    found = array(keras_rnnx.RNN(cells, return_sequences=True)(x, memory=memory))
    layers = [keras_rnnx.RNN(c, return_sequences=True) for c in cells]
    by_hand = layers[2](layers[1](layers[0](x), memory=memory))
    np.testing.assert_allclose(found, array(by_hand), **SINGLE)


def test_stateful(rng):
    """Where nothing is carried that has the length of the memory: two halves are one whole."""
    x, memory = single(rng, steps=6)
    layer = keras_rnnx.RNN(cell(), return_sequences=True, stateful=True)
    halves = [array(layer(part, memory=memory)) for part in (x[:, :4], x[:, 4:])]
    whole = keras_rnnx.RNN(layer.cell, return_sequences=True)(x, memory=memory)
    np.testing.assert_allclose(np.concatenate(halves, axis=1), array(whole), **SINGLE)
    with pytest.raises(ValueError, match="cannot be stateful"):
        keras_rnnx.RNN(cell(KINDS["location"].make()), stateful=True)(x, memory=memory)


@pytest.mark.parametrize("name", few(["soft", "cumulative"], 1))
def test_memory_modes_have_the_same_gradient(name, rng):
    x, memory, mask, memory_mask = numbers(rng)
    found = []
    for how in ("store", ("remat", 2)):
        pair = Pair(np.random.default_rng(3), name, memory=how)

        def loss(x, memory, pair=pair):
            return ops.sum(pair.layer(x, memory=memory, memory_mask=memory_mask, mask=mask)[0] ** 2)

        found.append(gradients(loss, tensors([x, memory]), pair.weights))
    the_same(found[1], found[0], **EXACT)
    assert all(np.abs(g).max() > 0 for g in found[0])


def test_unrolled_and_with_options_of_the_cell_inside(rng):
    x, memory = single(rng)
    made = cell(inside=keras_rnnx.GRUCell(H, learn_initial_state=True, dropout=0.3, recurrent_dropout=0.3, seed=2))
    layer = keras_rnnx.RNN(made, return_sequences=True)
    calm = array(layer(x, memory=memory))
    noisy = [array(layer(x, memory=memory, training=True)) for _ in range(2)]
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-4
    unrolled = keras_rnnx.RNN(made, return_sequences=True, unroll=True)
    np.testing.assert_allclose(array(unrolled(x, memory=memory)), calm, **SINGLE)
    assert "initial_h" in {w.name for w in made.weights}


def test_a_cell_that_reads_time(rng):
    x, memory = single(rng)
    layer = keras_rnnx.RNN(cell(inside=DecayCell(H)), return_sequences=True)
    plain, deltas = array(layer(x, memory=memory)), np.ones((B, T), "float32")
    np.testing.assert_allclose(array(layer(x, memory=memory, deltas=deltas)), plain, **SINGLE)
    deltas[1, 2] = 4.0
    found = array(layer(x, memory=memory, deltas=deltas))
    np.testing.assert_allclose(found[[0, 2]], plain[[0, 2]], **SINGLE)
    assert np.abs(found - plain)[1, 2:].max() > 1e-3 and np.abs(found - plain)[1, :2].max() < 1e-5


def test_lengths_and_zero_outputs(rng):
    x, memory = single(rng)
    layer = keras_rnnx.RNN(cell(), return_sequences=True, zero_output_for_mask=True)
    found = array(layer(x, memory=memory, lengths=np.array([5, 2, 0])))
    assert not found[1, 2:].any() and not found[2].any() and found[1, 1].any()


def test_no_rows(rng):
    x, memory = single(rng)
    layer = keras_rnnx.RNN(cell(), return_sequences=True)
    assert tuple(layer(x[:0], memory=memory[:0]).shape) == (0, T, H)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda: attention.BahdanauAttention(0), "units"),
        (lambda: attention.BahdanauAttention(3, normalizer="max"), "normalizer"),
        (lambda: attention.LuongAttention("concat"), "score"),
        (lambda: attention.LuongAttention(scale=True), "scale"),
        (lambda: attention.LocationAttention(3, filters=0), "filters"),
        (lambda: attention.LocationAttention(3, kernel_size=0), "kernel_size"),
        (lambda: attention.MultiHeadAttention(0, 3), "heads"),
        (lambda: attention.MultiHeadAttention(2, 0), "key_dim"),
        (lambda: attention.MultiHeadAttention(2, 3, value_dim=0), "value_dim"),
        (lambda: attention.MultiHeadAttention(2, 3, output_dim=0), "output_dim"),
        (lambda: attention.AttentionPooling(0), "units"),
        (lambda: attention.MonotonicAttention(3), "attention"),
        (lambda: attention.MonotonicAttention(attention.LocationAttention(3)), "earlier alignments"),
        (lambda: attention.MonotonicAttention(attention.MultiHeadAttention(2, 3)), "MultiHeadAttention"),
        (lambda: attention.MonotonicAttention(attention.LuongAttention(), normalizer="sigmoid"), "normalizer"),
        (lambda: attention.MonotonicAttention(attention.LuongAttention(), noise=-1), "noise"),
        (lambda: cell(order="both"), "order"),
        (lambda: cell(order="bahdanau", input_feeding=False), "input_feeding"),
        (lambda: cell(attention_units=0), "attention_units"),
        (lambda: cell([]), "mechanism"),
        (lambda: cell(keras_rnnx.GRUCell(3)), "mechanism"),
        (lambda: cell([attention.LuongAttention()] * 2), "twice"),
        (lambda: cell(inside=4), "cell"),
        (lambda: cell(inside=cell()), "attends"),
        (lambda: cell(inside=keras_rnnx.MinGRUCell(3)), "MinGRUCell"),
    ],
)
def test_wrong_arguments(make, word):
    with pytest.raises((ValueError, TypeError) if word == "normalizer" else ValueError, match=word):
        make()


def made(*args, **options):
    return keras_rnnx.RNN(cell(*args, **options))


@pytest.mark.parametrize(
    ("layer", "call", "word"),
    [
        (made, {}, "memory"),
        (made, {"memory": np.ones((S, M))}, "memory"),
        (made, {"memory": np.ones((B + 1, S, M))}, "memory"),
        (made, {"memory": np.ones((B, 0, M))}, "S > 0"),
        (made, {"memory": np.ones((B, S, M)), "memory_mask": np.ones((B, S + 1), bool)}, "memory_mask"),
        (made, {"memory": np.ones((B, S, M)), "memory_mask": np.ones((B + 1, S), bool)}, "memory_mask"),
        (made, {"memory": np.ones((B, S, M)), "memory_mask": np.ones(S, bool)}, "memory_mask"),
        (lambda: keras_rnnx.GRU(3), {"memory": np.ones((B, S, M))}, "attends"),
        (lambda: keras_rnnx.GRU(3), {"memory_mask": np.ones((B, S), bool)}, "memory"),
        (lambda: made(attention.LuongAttention("dot")), {"memory": np.ones((B, S, M))}, "dot"),
        (lambda: made(inside=keras_rnnx.VanillaRNNCell(4, output_units=3)), {"memory": np.ones((B, S, M))}, "output"),
        (lambda: made(inside=keras_rnnx.GRUCell(4, dtype="float16")), {"memory": np.ones((B, S, M))}, "dtype"),
        (lambda: keras_rnnx.Bidirectional(made()), {"memory": np.ones((B, S, M))}, "Bidirectional"),
        (lambda: keras_rnnx.DeepRNN([made().cell] * 1), {"memory": np.ones((B, S, M))}, "DeepRNN"),
        (lambda: keras_rnnx.RNN(keras_rnnx.ResidualCell(cell())), {"memory": np.ones((B, S, M))}, "ResidualCell"),
        (lambda: keras.layers.RNN(cell()), {}, "memory"),
    ],
)
def test_wrong_calls(layer, call, word):
    with pytest.raises(ValueError, match=rf"Expected[^\n]*{word}"):
        layer()(np.ones((B, T, D), "float32"), **call)


def test_another_memory_than_the_first(rng):
    x, memory = single(rng)
    layer = made()
    layer(x, memory=memory)
    with pytest.raises(ValueError, match="memory of 3 features"):
        layer(x, memory=memory[..., :2])
    with pytest.raises(ValueError, match="memory"):
        layer.cell(x[:, 0], layer.cell.get_initial_state(B))
    with pytest.raises(ValueError, match="memory"):
        cell(KINDS["location"].make()).get_initial_state(B)


@pytest.mark.parametrize(
    ("query", "memory", "mask"),
    [
        ((B, T, D), (B + 1, S, M), None),
        ((B, T, D), (1, S, M), None),
        ((B, T, D), (S, M), None),
        ((B, T, 1, D), (B, S, M), None),
        ((B, T, D), (B, 0, M), None),
        ((B, T, D + 1), (B, S, M), None),
        ((B, T, D), (B, S, M + 1), None),
        ((B, T, D), (B, S, M), (B, S - 1)),
    ],
)
def test_wrong_calls_of_a_mechanism(query, memory, mask):
    layer = attention.BahdanauAttention(3)
    layer.build((None, None, D), (None, None, M))
    mask = None if mask is None else np.ones(mask, bool)
    with pytest.raises(ValueError, match=r"Expected[^\n]*(query|memory)"):
        layer(np.ones(query, "float32"), np.ones(memory, "float32"), memory_mask=mask)


def test_mechanisms_that_read_earlier_alignments_need_a_cell(rng):
    x, memory = single(rng)
    for name in ("location", "soft"):
        with pytest.raises(ValueError, match="AttentionCell"):
            KINDS[name].make()(x, memory)


def test_symbolic_calls(rng):
    query, memory = keras.Input((None, D)), keras.Input((None, M))
    context, alignments = attention.MultiHeadAttention(2, 3, output_dim=5)(query, memory, return_alignments=True)
    assert context.shape == (None, None, 5) and alignments.shape == (None, None, None)
    outputs = keras_rnnx.RNN(cell(return_alignments=True), return_all_states=True)(query, memory=memory)
    assert [o.shape for o in outputs] == [(None, H), (None, None, H), (None, None, H), (None, None, None)]
    with pytest.raises(ValueError, match="memory_mask"):
        made()(query, memory=keras.Input((S, M)), memory_mask=keras.Input((S + 1,), dtype="bool"))
