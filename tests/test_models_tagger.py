"""`SequenceTagger`: its likelihood, its tags, and what it refuses."""

import importlib.util
import itertools

import keras
import numpy as np
import pytest
from cases import array, randomized, shared
from keras import ops

import keras_rnnx
from keras_rnnx.models.crf import CRF, allowed_transitions
from keras_rnnx.models.tagger import SequenceTagger
from keras_rnnx.models.text import Text

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="Keras looks tokens up with TensorFlow on every backend"
)
pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

B, T, D, H, K = 4, 5, 3, 4, 3
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
NAMES = ["O", "B-X", "I-X"]


def GRU():
    return keras_rnnx.GRUCell(H)


def log_softmax(scores):
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))


def likelihood(model, scores, y):
    """log p of the tags y (n,) under scores (n, K), from the definition."""
    if not model.crf:
        return sum(log_softmax(scores)[t, k] for t, k in enumerate(y))
    A, a, b = (array(w) for w in model.crf.weights)

    def total(path):
        if not len(path):
            return 0.0
        moved = sum(A[i, j] for i, j in itertools.pairwise(path))
        return a[path[0]] + sum(scores[t, k] for t, k in enumerate(path)) + moved + b[path[-1]]

    every = [total(path) for path in itertools.product(range(scores.shape[1]), repeat=len(y))]
    return total(y) - np.log(np.sum(np.exp(every)))


def made(rng, crf, **options):
    model = SequenceTagger(K, GRU(), crf=crf, mask_value=-1.0, **options)
    x = np.float32(np.where(MASK[..., None], rng.normal(size=(B, T, D)), -1))
    model.build(x.shape)
    randomized(model, rng)
    return model, x, rng.integers(0, K, (B, T))


@pytest.mark.core
@pytest.mark.parametrize("crf", [False, True])
def test_loss_and_accuracy(rng, crf):
    """The negative log-likelihood for each valid step, weighted; the share of right tags among the valid steps."""
    model, x, y = made(rng, crf, depth=2, residual="sum")
    model.compile("sgd", metrics=["accuracy"])
    scores, weight = array(model(x)), np.float32([1, 0.5, 2, 3])
    found = [likelihood(model, *pair) for pair in ((s[v], t[v]) for s, t, v in zip(scores, y, MASK, strict=True))]
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(-sum(found) / MASK.sum(), rel=1e-5)
    tags = model.predict(x, verbose=0)
    assert tags.dtype == np.int32 and (tags[~MASK] == -1).all()
    assert accuracy == pytest.approx((tags == y)[MASK].mean())
    weighted = model.evaluate(x, y, sample_weight=weight, verbose=0)
    assert weighted[0] == pytest.approx(-np.dot(weight, found) / MASK.sum(), rel=1e-5)
    assert weighted[1] == pytest.approx(accuracy)
    other = np.where(MASK, y, -1)
    assert model.evaluate(x, other, verbose=0) == pytest.approx([loss, accuracy])
    best = [max(itertools.product(range(K), repeat=int(v.sum())), key=lambda p: likelihood(model, s[v], p))
            for s, v in zip(scores, MASK, strict=True)]  # fmt: skip
    assert [tuple(row[v]) for row, v in zip(tags, MASK, strict=True)] == best


@pytest.mark.core
def test_weights_of_steps_and_steps_without_a_tag(rng):
    model, x, y = made(rng, False)
    model.compile("sgd")
    weight = np.float32(rng.uniform(size=(B, T)))
    p = log_softmax(array(model(x)))
    losses = -np.take_along_axis(p, y[..., None], axis=2)[..., 0]
    found = model.evaluate(x, y, sample_weight=weight, verbose=0)[0]
    assert found == pytest.approx((losses * weight)[MASK].sum() / MASK.sum(), rel=1e-5)
    y[0, 2] = y[1, 0] = -1
    kept = MASK & (y >= 0)
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(losses[kept].mean(), rel=1e-5)
    chain, x, y = made(rng, True)
    chain.compile("sgd")
    y[0, 2] = -1
    scores = array(chain(x))
    wanted = [likelihood(chain, s[v & (t >= 0)], t[v & (t >= 0)]) for s, t, v in zip(scores, y, MASK, strict=True)]
    assert chain.evaluate(x, y, verbose=0)[0] == pytest.approx(-sum(wanted) / (MASK.sum() - 1), rel=1e-5)
    with pytest.raises(ValueError, match="sample_weight"):
        chain.evaluate(x, y, sample_weight=weight, verbose=0)


@pytest.mark.core
def test_regularizers_count(rng):
    model = SequenceTagger(K, keras_rnnx.GRUCell(H, kernel_regularizer="l2"), crf=CRF(transitions_regularizer="l2"))
    model.compile("sgd")
    x, y = np.float32(rng.normal(size=(B, T, D))), rng.integers(0, K, (B, T))
    model.build(x.shape)
    randomized(model, rng)
    scores = array(model(x))
    plain = -np.mean(array(model.crf.log_likelihood(scores, y))) / T
    penalty = sum(
        0.01 * np.sum(array(w) ** 2) for w in (model.trunk.layer.levels[0].cell.kernel, model.crf.transitions)
    )
    assert model.evaluate(x, y, verbose=0)[0] == pytest.approx(plain + penalty, rel=1e-5)


@pytest.mark.parametrize("crf", shared([True, False]))
def test_training_follows_the_gradient_of_the_loss(rng, crf):
    """One step of plain descent lowers the loss by the rate times the square of the gradient, to first order."""
    model, x, y = made(rng, crf, bidirectional=True)
    rate = 1e-3
    model.compile(keras.optimizers.SGD(rate))
    before = [np.array(array(w)) for w in model.trainable_variables]
    first = model.evaluate(x, y, verbose=0)[0]
    history = model.fit(x, y, batch_size=B, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx(first, rel=1e-4)
    moved = sum(np.sum((b - array(w)) ** 2) for b, w in zip(before, model.trainable_variables, strict=True))
    assert first - model.evaluate(x, y, verbose=0)[0] == pytest.approx(moved / rate, rel=0.05)
    assert all(np.abs(b - array(w)).max() > 0 for b, w in zip(before, model.trainable_variables, strict=True))


def test_a_chain_learns_what_single_steps_cannot(rng):
    """Tags that alternate, over inputs that hardly change and a trunk that does not learn."""
    x = np.zeros((64, 6, 1), "float32")
    y = np.tile([0, 1, 0, 1, 0, 1], (64, 1))
    y[32:] = 1 - y[32:]
    x[32:, 0] = 1
    model = SequenceTagger(2, keras_rnnx.GRUCell(1, trainable=False), crf=True)
    model.compile(keras.optimizers.Adam(0.1))
    model.fit(x, y, epochs=40, verbose=0)
    tags = model.predict(x, verbose=0)
    assert (tags[:, 1:] != tags[:, :-1]).all()


@needs_tensorflow
@pytest.mark.core
@pytest.mark.parametrize("crf", shared([True, False]))
def test_strings_and_names(rng, crf):
    """Sentences and names of tags in, names out, one a token."""
    starts, goes = ["ada", "bob"], ["king", "lane"]
    sentences, tags = [], []
    for _ in range(48):
        person = [rng.choice(starts), *rng.choice(goes, rng.integers(0, 3))]
        before, after = ["saw"] * rng.integers(0, 3), ["."] * rng.integers(0, 2)
        sentences.append(" ".join([*before, *person, *after]))
        tags.append(["O"] * len(before) + ["B-X"] + ["I-X"] * (len(person) - 1) + ["O"] * len(after))
    text = Text(standardize="lower")
    text.adapt(sentences)
    crf = CRF(**allowed_transitions(NAMES)) if crf else False
    model = SequenceTagger(NAMES, GRU(), text=text, crf=crf, embedding=8)
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(sentences, tags, epochs=15, verbose=0).history
    assert history["accuracy"][-1] == 1
    found = model.predict(["saw Ada King .", "", "bob"], verbose=0)
    assert found == [["O", "B-X", "I-X", "O"], [], ["B-X"]] == model.predict_on_batch(["saw Ada King .", "", "bob"])
    numbers = [[NAMES.index(n) for n in row] for row in tags]
    assert model.evaluate(sentences, numbers, verbose=0) == model.evaluate(sentences, tags, verbose=0)
    for wrong in (tags[0] + ["O"], tags[0][:-1]):
        with pytest.raises(ValueError, match="as many tags as tokens"):
            model.fit(sentences, [wrong, *tags[1:]])
    with pytest.raises(ValueError, match="'B-Y'"):
        model.fit(sentences[:1], [["B-Y"] * len(tags[0])])
    with pytest.raises(ValueError, match="tags for 48 sequences"):
        model.fit(sentences, tags[1:])
    with pytest.raises(ValueError, match="a list of tags"):
        model.fit(["bob"], ["B-X"])
    if crf:
        with pytest.raises(ValueError, match="O I-X one after"):
            model.fit(["saw bob king"], [["B-X", "O", "I-X"]])
        with pytest.raises(ValueError, match="I-X at the start"):
            model.fit(["king"], [["I-X"]])


@needs_tensorflow
def test_texts_that_are_cut_take_their_tags_along():
    text = Text(vocabulary=["a", "b"], output_sequence_length=2)
    model = SequenceTagger(["x", "y"], GRU(), text=text)
    ids, y, _ = model.preprocess(["a b a", "b"], [["x", "y", "x"], ["y"]])
    np.testing.assert_array_equal(ids, [[2, 3], [3, 0]])
    np.testing.assert_array_equal(y, [[0, 1], [1, -1]])
    padded = np.array([["x", "y", "x"], ["y", "", ""]])
    np.testing.assert_array_equal(model.preprocess(["a b a", "b"], padded)[1], y)


@pytest.mark.core
def test_constraints_are_checked_where_steps_count(rng):
    """At masked steps any tag may stand, and holes are skipped."""
    model = SequenceTagger(NAMES, GRU(), vocabulary=4, crf=CRF(**allowed_transitions(NAMES)))
    x = np.array([[0, 1, 0, 2, 0]])
    model.preprocess(x, np.array([[2, 1, 0, 2, 2]]))
    for wrong in ([[0, 2, 0, 0, 0]], [[0, 0, 1, 2, 0]]):
        with pytest.raises(ValueError, match="allows"):
            model.preprocess(x, np.array(wrong))


@pytest.mark.core
@pytest.mark.parametrize(
    "options, word",
    [
        ({"tags": 1}, "tags"),
        ({"tags": ["a", "a"]}, "tags"),
        ({"crf": "yes"}, "crf"),
        ({"text": Text(vocabulary=["a"], end_token="[END]")}, "start and end"),
        ({"pooling": "max"}, "pooling"),
    ],
)
def test_wrong_arguments(options, word):
    with pytest.raises((ValueError, TypeError), match=word):
        SequenceTagger(**{"tags": K, "cell": GRU(), **options})


@pytest.mark.core
def test_wrong_data(rng):
    model, x, y = made(rng, True)
    with pytest.raises(ValueError, match="no loss"):
        model.compile("sgd", loss="sparse_categorical_crossentropy")
    model.compile("sgd")
    for wrong in (y + K, y - 2, y[:, 1:], y[:1]):
        with pytest.raises(ValueError, match="tags|batch"):
            model.fit(x, wrong, verbose=0)
    with pytest.raises(ValueError, match="names"):
        model.fit(x, [["O"] * T] * B)
    with pytest.raises(ValueError, match="4 tags"):
        SequenceTagger(4, GRU(), crf=CRF(allowed_start=[True] * 3)).build((None, T, D))


@pytest.mark.core
def test_scores_and_marginals(rng):
    """A call gives scores, from which `decode` makes tags and the CRF marginals; a call after `predict` too."""
    model, x, _ = made(rng, True)
    tags = model.predict(x, verbose=0)
    scores = model(x)
    assert tuple(scores.shape) == (B, T, K)
    np.testing.assert_array_equal(array(model.decode(scores, MASK)), tags)
    chances = array(model.crf.marginals(scores, MASK)).sum(axis=-1)
    np.testing.assert_allclose(chances, MASK, atol=1e-6)
    assert keras.backend.standardize_dtype(scores.dtype) == "float32"
    half = SequenceTagger(K, GRU(), dtype="mixed_bfloat16")
    assert keras.backend.standardize_dtype(half(ops.ones((1, 2, D))).dtype) == "float32"
