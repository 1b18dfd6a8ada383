"""Sequences to sequences, and sequences out of a beginning: what a step says is what training has seen."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import array, few, tensor

import keras_rnnx
from keras_rnnx.attention import BahdanauAttention, LocationAttention, LuongAttention
from keras_rnnx.models import SequenceGenerator, Text
from keras_rnnx.seq2seq import BeamSearch, Decoder, Encoder, Sampling, Seq2Seq

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

V, B, S, T, START, END = 9, 3, 5, 6, 1, 2
SOURCE = np.array([[3, 4, 5, 0, 0], [6, 7, 8, 3, 4], [5, 0, 0, 0, 0]], "int32")
TARGET = np.array([[1, 5, 4, 3, 2, 0], [1, 4, 3, 8, 7, 2], [1, 5, 2, 0, 0, 0]], "int32")
CELLS = {
    "gru": lambda: keras_rnnx.GRUCell(4),
    "stack": lambda: [keras_rnnx.LSTMCell(4), keras_rnnx.GRUCell(5)],
    "keras": lambda: keras.layers.LSTMCell(4),
    "zoneout": lambda: keras_rnnx.ZoneoutCell(keras_rnnx.LSTMCell(4), 0.1),
}
PARALLEL = {"min-gru": lambda: keras_rnnx.MinGRUCell(4), "residual": lambda: keras_rnnx.ResidualCell(CELLS["keras"]())}
ATTENTION = {
    "bahdanau": lambda: {"attention": BahdanauAttention(3), "order": "bahdanau"},
    "luong": lambda: {"attention": LuongAttention("general", "learned"), "attention_units": 6},
    "location": lambda: {"attention": LocationAttention(3, 2, 3, cumulative=True)},
    "two": lambda: {"attention": [LuongAttention(), BahdanauAttention(3)], "input_feeding": False},
}
EACH = [("gru", "luong"), ("stack", "bahdanau"), ("keras", "luong"), ("zoneout", "location"), ("gru", "two")]
EACH += [(cell, None) for cell in (*CELLS, *PARALLEL)]


def model_of(cell="gru", attention="luong", **options):
    decoder = Decoder(
        V, {**CELLS, **PARALLEL}[cell](), embedding=4, **({} if attention is None else ATTENTION[attention]())
    )
    encoder = Encoder(keras_rnnx.GRUCell(3), bidirectional=True, vocabulary=V, embedding=4)
    return Seq2Seq(encoder, decoder, **{"start": START, "end": END, **options})


def built(model, rng):
    x, _, _ = model.preprocess(SOURCE, TARGET)
    model({name: tensor(a, "int32") for name, a in x.items()})
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.7)
    return model


def logits_of(model, source, target):
    return array(model({"source": tensor(source, "int32"), "target": tensor(target, "int32")}))


@pytest.mark.parametrize("cell, attention", few(EACH, 3))
def test_a_step_is_a_step_of_the_sequence(cell, attention, rng):
    model = built(model_of(cell, attention), rng)
    memory, states = model.encoder(tensor(SOURCE, "int32"))
    memory, mask = (memory, model.encoder.valid(tensor(SOURCE, "int32"))) if model.attends else (None, None)
    states = model._start(B, states, memory)
    prepared = None if memory is None else model.decoder.prepare(memory, mask)
    made = []
    tokens = np.full((B, T - 1), START, "int32")
    tokens[:, 1:] = rng.integers(3, V, (B, T - 2))
    for t in range(T - 1):
        logits, states, alignments = model.decoder.step(tensor(tokens[:, t], "int32"), states, prepared)
        made.append(array(logits))
        if attention is not None:
            np.testing.assert_allclose(array(alignments)[SOURCE == 0], 0)
            np.testing.assert_allclose(array(alignments).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.stack(made, axis=1), logits_of(model, SOURCE, tokens), rtol=0, atol=2e-5)


@pytest.mark.parametrize("attention", few([None, "luong"], 1))
def test_greedy_says_the_most_probable_token(attention, rng):
    model = built(model_of("gru", attention), rng)
    made = model.decode(SOURCE, max_length=4, min_length=4)
    read = np.full((B, 1), START, "int32")
    for t in range(4):
        logits = logits_of(model, SOURCE, read)[:, -1]
        logits[:, [0, START, *([END] if t < 3 else [])]] = -np.inf
        read = np.concatenate([read, logits.argmax(axis=1)[:, None].astype("int32")], axis=1)
    np.testing.assert_array_equal(made.tokens[:, 0], read[:, 1:])


def test_rows_padding_and_batches_change_nothing(rng):
    model = built(model_of(), rng)
    strategy, settings = BeamSearch(3, length_penalty=0.6, n_best=2), {"max_length": 5, "attention": True}
    whole = model.decode(SOURCE, strategy, **settings)
    wider = model.decode(np.pad(SOURCE, [(0, 0), (0, 3)]), strategy, **settings)
    np.testing.assert_array_equal(whole.tokens, wider.tokens)
    np.testing.assert_allclose(whole.scores, wider.scores, rtol=1e-4)
    np.testing.assert_allclose(whole.attention, wider.attention[..., :S], atol=1e-5)
    one = model.decode(SOURCE[:, :3][[0, 2]], strategy, batch_size=1, **settings)
    np.testing.assert_array_equal(one.tokens, whole.tokens[[0, 2]])
    # What the model says of a target is the score that decoding gave it.
    tokens, length = whole.tokens[1, 0], whole.lengths[1, 0]
    read = np.concatenate([[START], tokens[: length - 1]])[None].astype("int32")
    logits = logits_of(model, SOURCE[1:2], read)[0]
    logits[:, [0, START]] = -np.inf
    log_probs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(log_probs[np.arange(length), tokens[:length]].sum(), whole.log_probs[1, 0], rtol=1e-4)


def test_loss_is_the_mean_over_tokens(rng):
    model = built(model_of(), rng)
    model.compile("sgd")
    x, y, _ = model.preprocess(SOURCE, TARGET)
    logits = logits_of(model, x["source"], x["target"])
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(log_probs, y[..., None].astype(int), axis=-1)[..., 0]
    found = model.evaluate(SOURCE, TARGET, verbose=0, return_dict=True, batch_size=B)
    np.testing.assert_allclose(found["loss"], losses[y != 0].mean(), rtol=1e-5)
    np.testing.assert_allclose(found["accuracy"], (logits.argmax(axis=-1) == y)[y != 0].mean(), rtol=1e-5)


def test_learns_and_survives_saving(tmp_path):
    pytest.importorskip("tensorflow")  # which Keras needs to read texts, on every backend
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abc"), 3)) for _ in range(48)]
    text = Text(split="character", start_token="[S]", end_token="[E]", vocabulary=list("abc"))
    model = Seq2Seq(
        Encoder(keras_rnnx.GRUCell(12), bidirectional=True, vocabulary=text.size, embedding=6),
        Decoder(text.size, keras_rnnx.GRUCell(24), LuongAttention(), embedding=6),
        source_text=text,
        target_text=text,
        scheduled_sampling=keras.optimizers.schedules.PolynomialDecay(0.0, 100, 0.25),
    )
    model.compile(keras.optimizers.Adam(0.02))
    history = model.fit(words, [w[::-1] for w in words], epochs=30, batch_size=16, verbose=0).history
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    said = model.generate(["abc", "cab", "zz"], max_length=6)
    assert said[:2] == ["cba", "bac"]
    assert model.predict(["abc"], max_length=6) == ["cba"]
    file = tmp_path / "model.keras"
    model.save(file)
    code = (
        "import keras, keras_rnnx\n"
        f"model = keras.saving.load_model({str(file)!r})\n"
        "print(model.generate(['abc', 'cab', 'zz'], max_length=6))\n"
        "beam = keras_rnnx.seq2seq.BeamSearch(3, n_best=2)\n"
        "print([row[0] for row in model.generate(['abc', 'cab'], beam, max_length=6)])\n"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines == [repr(said), repr(said[:2])]


@pytest.mark.parametrize("tied, size", [(False, 0.25), (True, 0.5)])
def test_embeddings_start_at_a_size_of_their_own(tied, size):
    encoder = Encoder(keras_rnnx.GRUCell(16), vocabulary=400, embedding=16)
    decoder = Decoder(400, keras_rnnx.GRUCell(16), embedding=16, tie_weights=tied)
    for layer, expected in ((encoder, 0.25), (decoder, size)):
        layer.build((None, 4))
        table = array(layer.embed.embeddings)
        assert abs(table.std() - expected) < 0.05 * expected
    given = keras.layers.Embedding(400, 16)
    assert Decoder(400, keras_rnnx.GRUCell(16), embedding=given).embed is given


def test_scheduled_sampling(rng):
    model = built(model_of(scheduled_sampling=0.5, seed=3), rng)
    target = tensor(TARGET[:, :-1], "int32")
    logits = tensor(rng.normal(size=(B, T - 1, V)) * 3, "float32")
    rates = {}
    for rate in (0.0, 0.5, 1.0):
        model.scheduled_sampling = rate
        made = np.stack([array(model._sampled(target, logits)) for _ in range(40)])
        given = np.broadcast_to(array(target), made.shape)
        np.testing.assert_array_equal(made[:, :, 0], given[:, :, 0])
        np.testing.assert_array_equal(made == 0, given == 0)
        rates[rate] = (made != given)[given != 0].mean()
    assert rates[0.0] == 0 < rates[0.5] < rates[1.0]


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: model_of(start=None), "start and an end token"),
        (lambda: model_of(start=2), "different tokens"),
        (lambda: model_of(end=V), "different tokens"),
        (lambda: model_of(scheduled_sampling=1.5), "scheduled_sampling"),
        (lambda: Decoder(V, keras_rnnx.GRUCell(3), order="bahdanau"), "with `attention` alone"),
        (lambda: Decoder(V, keras_rnnx.GRUCell(3), embedding=4, tie_weights=True).build((None, 4)), "tie_weights"),
        (lambda: Decoder(V, keras_rnnx.GRUCell(3), embedding=keras.layers.Embedding(4, 2)), "Embedding of 9"),
        (lambda: model_of().decode(SOURCE), "trained, loaded or called"),
        (lambda: model_of().preprocess(["a"], TARGET), "source_text"),
        (lambda: model_of().preprocess(SOURCE, TARGET[:, 1:]), "begin with the start token"),
        (lambda: model_of().preprocess(SOURCE, TARGET + 5), "targets in 0..8"),
        (lambda: model_of().preprocess(SOURCE, TARGET[:, :1]), "T >= 2"),
    ],
)
def test_bad_arguments(make, word):
    with pytest.raises(ValueError, match=word):
        make()


# ---- sequences out of a beginning ----


def generator(cell="gru", **options):
    made = {"vocabulary": V, "start": START, "end": END, "embedding": 4, **options}
    return SequenceGenerator(CELLS[cell](), **made)


def randomized(model, inputs, rng):
    model(inputs)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def test_log_likelihood_is_the_score_of_decoding(rng):
    model = randomized(generator("stack"), tensor(TARGET, "int32"), rng)
    made = model.decode(TARGET[:, :2], BeamSearch(2), max_length=5, unknown=True)
    tokens = np.concatenate([np.full((B, 1), START), made.tokens[:, 0]], axis=1).astype("int32")
    logits = array(model(tensor(np.where(tokens == END, 0, tokens), "int32")))[:, :-1]
    logits[..., [0, START]] = -np.inf
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    chosen = np.take_along_axis(log_probs, tokens[:, 1:, None].astype(int), axis=-1)[..., 0]
    behind = np.arange(5) >= 1  # the prompt has one token besides the start
    chosen = np.where((tokens[:, 1:] != 0) & behind, chosen, 0).sum(axis=1)
    np.testing.assert_allclose(chosen, made.log_probs[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made.tokens[:, 0, 0], TARGET[:, 1])
    logits = array(model(tensor(model.preprocess(TARGET)[0], "int32")))
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    wanted = np.take_along_axis(log_probs, TARGET[:, 1:, None].astype(int), axis=-1)[..., 0]
    expected = np.where(TARGET[:, 1:] != 0, wanted, 0).sum(axis=1)
    np.testing.assert_allclose(model.log_likelihood(TARGET, batch_size=2), expected, rtol=1e-5)


def test_conditions_and_prompts(rng):
    layer = keras.layers.Dense(3, activation="tanh")
    model = generator(condition=layer)
    z = rng.normal(size=(B, 2)).astype("float32")
    randomized(model, {"sequences": tensor(TARGET, "int32"), "condition": tensor(z, "float32")}, rng)
    model.compile("adam")
    model.fit({"sequences": TARGET, "condition": z}, verbose=0)
    each = model.decode(condition=z, max_length=5)
    alone = [model.decode(condition=row[None], max_length=5).tokens[0] for row in z]
    np.testing.assert_array_equal(each.tokens, np.stack(alone))
    several = model.decode(TARGET[:, :3], condition=z[:1], max_length=6, min_length=4)
    np.testing.assert_array_equal(several.tokens[:2, 0, :2], TARGET[:2, 1:3])
    for given in ({"condition": z[:2], "prompts": TARGET}, {}):
        with pytest.raises(ValueError, match="condition"):
            model.decode(**given)


def test_no_start_token(rng):
    model = randomized(generator(start=None, end=None), tensor(TARGET, "int32"), rng)
    made = model.generate(TARGET[:, 1:3], max_length=3)
    assert all(len(row) == 4 for row in made)
    np.testing.assert_array_equal([row[:2] for row in made][:2], TARGET[:2, 1:3])
    for prompts, word in ((None, "no start token"), (np.zeros((1, 2), int), "token or more"), ([[V]], "0..8")):
        with pytest.raises(ValueError, match=word):
            model.generate(prompts)
    with pytest.raises(ValueError, match="at most max_length=2"):
        model.generate(np.full((1, 5), 3), max_length=2)


def test_predictions_are_those_of_every_step(rng):
    """What is to be said last is not known, but what may be said is."""
    model = SequenceGenerator(keras_rnnx.GRUCell(4), vocabulary=V, start=START, end=END, embedding=3)
    called = array(model(tensor(TARGET, "int32")))
    assert called.shape == (B, T, V)
    for found in (model.predict(TARGET, verbose=0), model.predict_on_batch(TARGET)):
        np.testing.assert_allclose(found, called, atol=1e-5)


def test_stateful_chunks_are_the_whole(rng):
    model = randomized(generator(stateful=True), tensor(np.full((2, 4), 3), "int32"), rng)
    whole = generator()
    randomized(whole, tensor(np.full((2, 4), 3), "int32"), rng)
    whole.set_weights(model.get_weights())
    x = rng.integers(3, V, (2, 8)).astype("int32")
    keras_rnnx.reset_states(model)
    chunks = np.concatenate([array(model(tensor(x[:, i : i + 4], "int32"))) for i in (0, 4)], axis=1)
    np.testing.assert_allclose(chunks, array(whole(tensor(x, "int32"))), atol=1e-5)


def test_samples_go_on_and_repeat(rng):
    model = randomized(generator(), tensor(TARGET, "int32"), rng)
    strategy = Sampling(temperature=2.0, seed=4)
    first = model.decode(strategy=strategy, count=4, max_length=6)
    second = model.decode(strategy=strategy, count=4, max_length=6)
    again = model.decode(strategy=Sampling(temperature=2.0, seed=4), count=4, max_length=6)
    assert (first.tokens != second.tokens).any()
    np.testing.assert_array_equal(first.tokens, again.tokens)


@pytest.mark.parametrize(
    "options, word",
    [
        ({"vocabulary": None}, "`text` or `vocabulary`"),
        ({"condition": 0}, "condition"),
        ({"condition": 2, "stateful": True}, "stateful"),
        ({"end": START}, "different tokens"),
    ],
)
def test_bad_arguments_of_a_generator(options, word):
    with pytest.raises(ValueError, match=word):
        generator(**options)
