"""The CRF against sums over all sequences of tags."""

import itertools

import keras
import numpy as np
import pytest
from cases import BACKEND, DIFFERENCES, EXACT, FLOAT, array, gradients, tensor, weighted
from keras import ops

from keras_rnnx.models.crf import CRF, allowed_transitions

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

B, T, K = 6, 5, 3
MASK = np.array(
    [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool
)
CLOSE = {"rtol": 0, "atol": 1e-10 if FLOAT == "float64" else 3e-5}


class Chain:
    """All sequences of tags over potentials (n, K), and what follows from their scores."""

    def __init__(self, x, weights, flags=(None, None, None)):
        self.x, (self.A, self.a, self.b) = x, weights
        pairs = zip(flags, weights, strict=True)
        allowed, begins, ends = (np.ones_like(w, bool) if f is None else np.array(f) for f, w in pairs)
        self.paths = [
            y
            for y in itertools.product(range(x.shape[1]), repeat=len(x))
            if not y or (begins[y[0]] and ends[y[-1]] and all(allowed[i, j] for i, j in itertools.pairwise(y)))
        ]
        self.scores = np.array([self.score(y) for y in self.paths])
        self.log_partition = np.log(np.sum(np.exp(self.scores)))
        self.chances = np.exp(self.scores - self.log_partition)

    def score(self, y):
        inner = sum(self.x[t, k] for t, k in enumerate(y)) + sum(self.A[i, j] for i, j in itertools.pairwise(y))
        return inner + (self.a[y[0]] + self.b[y[-1]] if len(y) else 0.0)

    def counts(self, y):
        """How often each weight and each potential has a part in the score of y."""
        made = [np.zeros_like(w) for w in (self.x, self.A, self.a, self.b)]
        for t, k in enumerate(y):
            made[0][t, k] += 1
        for pair in itertools.pairwise(y):
            made[1][pair] += 1
        for weight, ends in zip(made[2:], (y[:1], y[-1:]), strict=True):
            weight[list(ends)] += 1
        return made

    def expected(self):
        every = [self.counts(y) for y in self.paths]
        return [sum(p * c[i] for p, c in zip(self.chances, every, strict=True)) for i in range(4)]


def made_crf(rng, **options):
    crf = CRF(dtype=FLOAT, **options)
    crf.build((None, None, K))
    crf.set_weights([rng.normal(size=w.shape) for w in crf.weights])
    return crf


def chains(crf, x, mask=MASK):
    weights = [np.asarray(array(w), "float64") for w in crf.weights]
    flags = (crf.allowed, crf.allowed_start, crf.allowed_end)
    return [Chain(row[valid], weights, flags) for row, valid in zip(x, mask, strict=True)]


def spread(rows, mask=MASK):
    """Rows (n, K) of the valid steps at their places in (B, T, K)."""
    made = np.zeros((*mask.shape, K))
    for row, valid, out in zip(rows, mask, made, strict=True):
        out[valid] = row
    return made


def check_all(crf, x, mask=MASK):
    """The partition, the marginals and the best path against the sums."""
    brute = chains(crf, x, mask)
    np.testing.assert_allclose(array(crf.log_partition(tensor(x), mask)), [c.log_partition for c in brute], **CLOSE)
    found = array(crf.marginals(tensor(x), mask))
    np.testing.assert_allclose(found, spread([c.expected()[0] for c in brute], mask), **CLOSE)
    tags, scores = (array(a) for a in crf.decode(tensor(x), mask))
    np.testing.assert_allclose(scores, [c.scores.max() for c in brute], **CLOSE)
    for row, valid, chain in zip(tags, mask, brute, strict=True):
        assert tuple(row[valid]) == chain.paths[chain.scores.argmax()]
        assert (row[~valid] == -1).all()
    assert tags.dtype == np.int32


def test_sums_over_all_sequences(rng):
    """Every kind of mask, down to one step and none."""
    check_all(made_crf(rng), 2 * rng.normal(size=(B, T, K)))


def test_without_a_mask_and_with_one_step(rng):
    crf = made_crf(rng)
    x = rng.normal(size=(2, 1, K))
    every = np.ones((2, 1), bool)
    brute = chains(crf, x, every)
    np.testing.assert_allclose(array(crf.log_partition(tensor(x))), [c.log_partition for c in brute], **CLOSE)
    tags = array(crf(tensor(x)))
    np.testing.assert_array_equal(tags[:, 0], [c.paths[c.scores.argmax()][0] for c in brute])


def test_gradient_is_observed_less_expected(rng):
    crf = made_crf(rng)
    x, cotangent = rng.normal(size=(B, T, K)), rng.normal(size=B)
    tags = rng.integers(0, K, (B, T))
    brute = chains(crf, x)
    observed = [c.counts(tuple(row[valid])) for c, row, valid in zip(brute, tags, MASK, strict=True)]
    likelihoods = [c.score(tuple(y[v])) - c.log_partition for c, y, v in zip(brute, tags, MASK, strict=True)]
    np.testing.assert_allclose(array(crf.log_likelihood(tensor(x), tags, MASK)), likelihoods, **CLOSE)

    def loss(x):
        return weighted(crf.log_likelihood(x, tags, MASK), [tensor(cotangent)])

    found = gradients(loss, [tensor(x)], crf.weights)
    parts = [
        [w * (o - e) for o, e in zip(mine, c.expected(), strict=True)]
        for mine, c, w in zip(observed, brute, cotangent, strict=True)
    ]
    np.testing.assert_allclose(found[0], spread([p[0] for p in parts]), **CLOSE)
    for i, weight in enumerate(found[1:], 1):
        np.testing.assert_allclose(weight, sum(p[i] for p in parts), **CLOSE)


def test_marginals_are_differentiable(rng):
    crf = made_crf(rng)
    x, cotangent = rng.normal(size=(B, T, K)), rng.normal(size=(B, T, K))
    found = gradients(lambda x: weighted(crf.marginals(x, MASK), [tensor(cotangent)]), [tensor(x)])[0]

    def at(b, t, k, step):
        moved = x.copy()
        moved[b, t, k] += step
        rows = [c.expected()[0] for c in chains(crf, moved)]
        return np.sum(spread(rows) * cotangent)

    for place in ((0, 2, 1), (1, 0, 0), (3, 1, 2), (3, 2, 1), (4, 2, 0)):
        slope = (at(*place, 1e-5) - at(*place, -1e-5)) / 2e-5
        np.testing.assert_allclose(found[place], slope, **DIFFERENCES)


def test_what_stands_at_masked_steps_is_not_read(rng):
    crf = made_crf(rng)
    x, tags = rng.normal(size=(B, T, K)), rng.integers(0, K, (B, T))
    spoiled = np.where(MASK[..., None], x, np.nan)
    other = np.where(MASK, tags, -7)

    def loss(x):
        return ops.sum(crf.log_likelihood(x, other, MASK))

    clean = array(crf.log_likelihood(tensor(x), tags, MASK))
    np.testing.assert_allclose(array(crf.log_likelihood(tensor(spoiled), other, MASK)), clean, **EXACT)
    for gradient in gradients(loss, [tensor(spoiled)], crf.weights):
        assert np.isfinite(gradient).all()
        assert gradient.shape != x.shape or (gradient[~MASK] == 0).all()


def test_constraints(rng):
    """What is not allowed has no part in any sum, and no path goes there, however well it scores."""
    names = ["B-X", "I-X", "O"]
    crf = made_crf(rng, **allowed_transitions(names))
    x = rng.normal(size=(B, T, K)) + [0.0, 4.0, 2.0]  # I-X everywhere would be best
    check_all(crf, x)
    forbidden = np.full((B, T), 1)
    tags = np.array([[0, 1, 1, 2, 2]] * B)
    found = array(crf.log_likelihood(tensor(x), forbidden, MASK))
    assert (found[:5] < -1e29).all() and found[5] == 0

    def loss(x):
        return ops.sum(crf.log_likelihood(x, tags))

    transitions = gradients(loss, [tensor(x)], crf.weights)[1]
    assert transitions[2, 1] == 0 and np.count_nonzero(transitions) == 8


@pytest.mark.parametrize("scheme", ["BIO", "BIOES"])
def test_schemes(scheme):
    """Against the rule said in words: a span begins, goes on and ends as one kind."""
    names = ["O"] + [f"{place}-{kind}" for place in scheme if place != "O" for kind in ("X", "Y-Z")]
    found = allowed_transitions(names, scheme)
    closes = ("O", "E", "S") if scheme == "BIOES" else ("O", "B", "I")
    for i, before in enumerate(names):
        for j, after in enumerate(names):
            goes_on = after[0] in ("I", "E")
            same = before[0] in ("B", "I") and before[1:] == after[1:]
            assert found["allowed"][i][j] == (same if goes_on else before[0] in closes), (before, after)
    assert [n for n, a in zip(names, found["allowed_start"], strict=True) if not a] == [
        n for n in names if n[0] in "IE"
    ]
    assert [n for n, a in zip(names, found["allowed_end"], strict=True) if not a] == [
        n for n in names if scheme == "BIOES" and n[0] in "BI"
    ]


def test_extreme_potentials_stay_finite():
    crf = CRF(dtype="float32")
    x = np.array([[[3e4, -3e4], [-3e4, 3e4], [3e4, 3e4]]], "float32")
    likelihood = array(crf.log_likelihood(x, np.array([[0, 1, 1]])))
    np.testing.assert_allclose(likelihood, [np.log(0.5)], atol=0.02)
    for gradient in gradients(lambda x: ops.sum(crf.log_likelihood(x, np.array([[1, 0, 1]]))), [tensor(x, "float32")]):
        np.testing.assert_allclose(gradient[0, :2], [[-1, 1], [1, -1]], atol=0.02)


def test_half_precision_is_summed_in_single(rng):
    x = np.float16(rng.normal(size=(2, T, K)))
    crf = CRF(dtype="float32")
    found = crf.log_partition(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(found.dtype) == "float32"
    zero = [np.zeros(s) for s in ((K, K), K, K)]
    np.testing.assert_allclose(array(found), [Chain(np.float64(row), zero).log_partition for row in x], atol=1e-5)


def test_equal_scores_give_one_path():
    """The best path is followed back as a whole: taking the best tag of each step would mix two that are equal."""
    crf = CRF(dtype="float32", transitions_initializer="zeros")
    crf.build((None, None, 2))
    crf.set_weights([np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2), np.zeros(2)])
    tags, score = (array(a) for a in crf.decode(np.zeros((1, 4, 2), "float32")))
    assert len(set(tags[0])) == 1 and score[0] == 3


@pytest.mark.parametrize(
    "options, word",
    [
        ({"allowed": [[True, False]]}, "allowed"),
        ({"allowed": np.zeros((K, K))}, "allowed"),
        ({"allowed_start": [[True] * K]}, "allowed_start"),
        ({"allowed_end": [False] * K}, "allowed_end"),
    ],
)
def test_wrong_arguments(options, word):
    with pytest.raises(ValueError, match=word):
        CRF(**options)


def test_wrong_calls(rng):
    crf = made_crf(rng)
    x, tags = np.zeros((2, T, K)), np.zeros((2, T), int)
    for potentials in (np.zeros((2, T)), np.zeros((2, 0, K)), np.zeros((2, T, K + 1))):
        with pytest.raises(ValueError, match="potentials"):
            crf.log_partition(potentials)
    with pytest.raises(ValueError, match="mask"):
        crf.marginals(x, np.ones((2, T + 1), bool))
    for wrong in (tags[:, 1:], tags + 0.5, tags + K, tags - 1, tags[..., None]):
        with pytest.raises(ValueError, match="tags"):
            crf.log_likelihood(x, wrong)
    with pytest.raises(ValueError, match="allowed"):
        CRF(allowed_start=[True] * 4).build((None, None, K))
    for names in (["B-X", "Q"], ["O-X"], ["B"], ["BI-X"], [""]):
        with pytest.raises(ValueError, match="scheme"):
            allowed_transitions(names)
    with pytest.raises(ValueError, match="scheme"):
        allowed_transitions(["O"], "IOB7")


def test_in_a_functional_model(rng, tmp_path):
    """As a layer, with the mask that Keras hands on; saved and loaded with its constraints."""
    inputs = keras.Input((T, 2))
    hidden = keras.layers.Dense(K)(keras.layers.Masking()(inputs))
    crf = CRF(**allowed_transitions(["O", "B-X", "I-X"]), transitions_regularizer="l2")
    model = keras.Model(inputs, crf(hidden))
    model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
    x = np.float32(rng.normal(size=(3, T, 2)))
    x[0, 3:] = 0
    tags = model.predict(x, verbose=0)
    assert (tags[0, 3:] == -1).all() and (tags[0, :3] >= 0).all() and (tags[1:] >= 0).all()
    assert len(model.losses) == 1
    model.save(tmp_path / "crf.keras")
    again = keras.saving.load_model(tmp_path / "crf.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), tags)
    assert again.layers[-1].get_config() == crf.get_config()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has a time axis of unknown length")
def test_unknown_length(rng):
    import tensorflow as tf

    crf = made_crf(rng)

    @tf.function(input_signature=[tf.TensorSpec((None, None, K), FLOAT), tf.TensorSpec((None, None), tf.bool)])
    def run(x, mask):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(crf.log_partition(x, mask))
        return tape.gradient(total, x), crf.marginals(x, mask), crf.decode(x, mask)[0]

    for steps in (3, 5):
        x, mask = rng.normal(size=(B, steps, K)), MASK[:, :steps]
        gradient, marginals, tags = run(tensor(x), mask)
        brute = chains(crf, x, mask)
        np.testing.assert_allclose(gradient, spread([c.expected()[0] for c in brute], mask), **CLOSE)
        np.testing.assert_allclose(marginals, gradient, **CLOSE)
        assert [tuple(y[v]) for y, v in zip(tags.numpy(), mask, strict=True)] == [
            c.paths[c.scores.argmax()] for c in brute
        ]
