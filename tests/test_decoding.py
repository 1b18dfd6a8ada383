"""Decoding against enumeration of all sequences, and against searches written with lists and dictionaries."""

import itertools
import math

import keras
import numpy as np
import pytest
from cases import BACKEND, EAGER, array, few, shared
from keras import ops

import keras_rnnx
from keras_rnnx.seq2seq import (
    BeamSearch,
    Greedy,
    Sampling,
    Strategy,
    compiled,
    decode,
    next_function,
    tiled,
)

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

ZEROS = np.zeros(2, "int32")
KIND = {"ids": lambda strategy: type(strategy).__name__}
CLOSE = {"rtol": 0, "atol": 2e-5}


class Model:
    """A random recurrent step with states of ranks 1, 2 and 3, and the same in NumPy for one prefix of one row.

    The memory (B, S, H) that its attention reads is a closure: it is repeated by `tiled`.
    """

    def __init__(self, rng, batch=2, vocabulary=4, places=3, units=4, sharpness=2.0, end=2):
        self.batch, self.vocabulary, self.units, self.end = batch, vocabulary, units, end
        draw = rng.normal
        self.w = {
            "embedding": draw(size=(vocabulary, units)),
            "recurrent": draw(size=(units, units)),
            "out": draw(size=(units, vocabulary)) * sharpness,
            "outer": draw(size=(vocabulary, 2, 3)),
            "read": draw(size=(3, vocabulary)) * sharpness,
        }
        self.h = draw(size=(batch, units))
        self.m = draw(size=(batch, 2, 3))
        self.memory = draw(size=(batch, places, units))
        self.start = rng.integers(0, vocabulary, batch)
        self.known = {}

    def state(self, rows=slice(None)):
        size = len(self.h[rows])
        floats = {"h": self.h[rows].astype("float32"), "m": self.m[rows].astype("float32")}
        return {**floats, "count": [np.zeros(size, "int32")]}

    def step(self, memory, attends=True):
        w = {name: ops.convert_to_tensor(a, "float32") for name, a in self.w.items()}

        def step(tokens, state):
            count = state["count"][0]
            h = ops.tanh(ops.take(w["embedding"], tokens, axis=0) + ops.matmul(state["h"], w["recurrent"]))
            m = 0.5 * state["m"] + ops.take(w["outer"], tokens, axis=0) * h[:, :1, None]
            fade = ops.cos(ops.cast(count, "float32"))[:, None]
            logits = ops.matmul(h, w["out"]) + fade * ops.matmul(ops.sum(m, axis=1), w["read"])
            new = {"h": h, "m": m, "count": [count + 1]}
            if not attends:
                return logits, new
            return logits, new, ops.softmax(ops.einsum("nh,nsh->ns", h, memory))

        return step

    def after(self, row, prefix):
        """State of a row before the next step, log-probabilities of the next token and attention, in NumPy."""
        key = (row, *prefix)
        if key not in self.known:
            w = self.w
            h, m, count = self.after(row, prefix[:-1])[0] if prefix else (self.h[row], self.m[row], 0)
            token = prefix[-1] if prefix else self.start[row]
            h = np.tanh(w["embedding"][token] + h @ w["recurrent"])
            m = 0.5 * m + w["outer"][token] * h[0]
            logits = h @ w["out"] + math.cos(count) * (m.sum(0) @ w["read"])
            weights = np.exp(self.memory[row] @ h)
            log_probs = logits - np.log(np.exp(logits).sum())
            self.known[key] = (h, m, count + 1), log_probs, weights / weights.sum()
        return self.known[key]

    def decode(self, max_length, strategy=None, rows=slice(None), attends=True, function=None, **options):
        """`decode` of some rows: as a compiled function on JAX, whose loops compile in any case."""
        strategy = strategy or Greedy()
        wide = strategy.width

        def run(start, state, memory):
            step = self.step(tiled(memory, wide), attends)
            return decode(step, state, start, self.end, max_length, strategy, **options)

        run = (function or (compiled if BACKEND == "jax" else lambda f, _: f))(run, strategy.variables)
        return run(self.start[rows].astype("int32"), self.state(rows), self.memory[rows].astype("float32"))


def scored(log_prob, length, coverage, alpha, beta, mask=None):
    """Equation 14 of Wu et al."""
    seen = np.minimum(coverage, 1.0)
    seen = seen if mask is None else seen[mask]
    return log_prob / ((5 + length) ** alpha / (5 + 1) ** alpha) + beta * np.log(seen).sum()


def hypothesis(model, row, tokens, prompt=0, alpha=0.0, beta=0.0, mask=None):
    """What there is to say of a sequence of tokens."""
    steps = [model.after(row, tokens[:t]) for t in range(len(tokens))]
    log_prob = sum(log_probs[token] for token, (_, log_probs, _) in list(zip(tokens, steps, strict=True))[prompt:])
    attention = [a for *_, a in steps]
    score = scored(log_prob, len(tokens) - prompt, sum(attention), alpha, beta, mask)
    done = len(tokens) > prompt and tokens[-1] == model.end
    return {"tokens": tokens, "log_prob": log_prob, "score": score, "finished": done, "attention": attention}


def all_sequences(model, row, max_length, min_length=0, **options):
    """All sequences that end with the end token, or at the maximum length without; the best first."""
    found = []
    for length in range(1, max_length + 1):
        for tokens in itertools.product(range(model.vocabulary), repeat=length):
            ended = tokens[-1] == model.end
            if model.end in tokens[:-1] or (ended and length < min_length) or (not ended and length < max_length):
                continue
            found.append(hypothesis(model, row, tokens, **options))
    return sorted(found, key=lambda h: -h["score"])


def beam_search(model, row, max_length, width, prompt=(), min_length=0, **options):
    """The definition: no early end, a list of candidates a step, a stable sort."""
    pool = [{"tokens": (), "finished": False}]
    for t in range(max_length):
        candidates = []
        for each in pool:
            if each["finished"]:
                candidates.append(each)
                continue
            tokens = [prompt[t]] if t < len(prompt) else range(model.vocabulary)
            for token in tokens:
                if t >= len(prompt) and token == model.end and t + 1 < min_length:
                    continue
                sequence = (*each["tokens"], token)
                read = min(len(prompt), len(sequence))
                candidates.append(hypothesis(model, row, sequence, prompt=read, **options))
        pool = sorted(candidates, key=lambda h: -h["score"])[:width]
    return pool


def check(decoded, expected, max_length, pad=0):
    """Compares with a list of hypotheses for each row."""
    for row, hypotheses in enumerate(expected):
        assert array(decoded.found)[row] == len(hypotheses)
        for k, each in enumerate(hypotheses):
            length = len(each["tokens"])
            padding = [pad] * (max_length - length)
            assert array(decoded.tokens)[row, k].tolist() == [*each["tokens"], *padding], (row, k)
            assert array(decoded.lengths)[row, k] == length
            assert array(decoded.finished)[row, k] == each["finished"]
            np.testing.assert_allclose(array(decoded.log_probs)[row, k], each["log_prob"], **CLOSE)
            np.testing.assert_allclose(array(decoded.scores)[row, k], each["score"], **CLOSE)
            attention = array(decoded.attention)[row, k]
            np.testing.assert_allclose(attention[:length], each["attention"], **CLOSE)
            assert not attention[length:].any()


def same(one, other):
    """Two results agree; programs of different structure round differently."""
    for name, a, b in zip(one._fields, one, other, strict=True):
        np.testing.assert_allclose(array(a), array(b), **CLOSE, err_msg=name)


PENALTIES = [(0.0, 0.0), (0.6, 0.2), (2.0, 0.0), (0.0, 1.0)]


@pytest.mark.parametrize("alpha, beta", few(PENALTIES, 2))
@pytest.mark.parametrize("vocabulary, max_length", few([(4, 3), (3, 4), (5, 3), (3, 1)]))
def test_a_beam_as_wide_as_everything_finds_the_best(vocabulary, max_length, alpha, beta, rng):
    model = Model(rng, vocabulary=vocabulary)
    strategy = BeamSearch(vocabulary**max_length, alpha, beta, n_best=7 if max_length > 1 else 3)
    decoded = model.decode(max_length, strategy)
    expected = [all_sequences(model, b, max_length, alpha=alpha, beta=beta)[: strategy.n_best] for b in range(2)]
    check(decoded, expected, max_length)


def test_all_sequences_together_have_probability_one(rng):
    model = Model(rng, vocabulary=3)
    decoded = model.decode(3, BeamSearch(27, n_best=27))
    log_probs, found = array(decoded.log_probs), array(decoded.found)
    assert found.tolist() == [1 + 2 + 4 * 3] * 2  # ended after 1 or 2 tokens, or 3 tokens long
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-5)
    assert (log_probs[:, 15:] == -np.inf).all() and (array(decoded.scores)[:, 15:] == -np.inf).all()
    assert not array(decoded.tokens)[:, 15:].any() and not array(decoded.lengths)[:, 15:].any()
    assert not array(decoded.finished)[:, 15:].any() and not array(decoded.attention)[:, 15:].any()


@pytest.mark.parametrize("alpha, beta", shared(PENALTIES))
@pytest.mark.parametrize("width, n_best, min_length", few([(3, 2, 0), (2, 2, 4), (5, 1, 0), (4, 4, 2)]))
def test_beam_search_is_the_one_of_lists(width, n_best, min_length, alpha, beta, rng):
    for sharpness in few([1.0, 3.0, 0.3]):
        model = Model(rng, batch=3, vocabulary=5, sharpness=sharpness)
        decoded = model.decode(7, BeamSearch(width, alpha, beta, n_best), min_length=min_length)
        expected = [beam_search(model, b, 7, width, alpha=alpha, beta=beta, min_length=min_length) for b in range(3)]
        check(decoded, [each[:n_best] for each in expected], 7)


def test_greedy_is_a_loop_of_argmax_and_a_beam_of_one(rng):
    model = Model(rng, batch=4, vocabulary=5)
    greedy = model.decode(6)
    for b in range(4):
        tokens = ()
        while len(tokens) < 6 and (not tokens or tokens[-1] != model.end):
            tokens += (int(np.argmax(model.after(b, tokens)[1])),)
        assert array(greedy.tokens)[b, 0].tolist() == [*tokens, *[0] * (6 - len(tokens))]
    check(greedy, [beam_search(model, b, 6, 1) for b in range(4)], 6)
    same(greedy, model.decode(6, BeamSearch(1)))
    same(greedy, model.decode(6, Sampling(0)))
    almost = model.decode(6, Sampling(1e-30, top_p=0.99))
    np.testing.assert_array_equal(array(almost.tokens), array(greedy.tokens))


STRATEGIES = [Greedy(), BeamSearch(3, 0.6, 0.1, 2)]


@pytest.mark.parametrize("strategy", STRATEGIES, **KIND)
def test_prompts_are_forced(strategy, rng):
    model = Model(rng, batch=3, vocabulary=4)
    prompt, lengths = np.array([[1, 3, 2], [2, 0, 0], [3, 3, 3]]), np.array([3, 1, 0])
    decoded = model.decode(5, strategy, prompt=prompt, prompt_lengths=lengths)
    options = {"alpha": 0.6, "beta": 0.1} if strategy.width > 1 else {}
    expected = [beam_search(model, b, 5, strategy.width, tuple(prompt[b, : lengths[b]]), **options) for b in range(3)]
    check(decoded, [each[: strategy.n_best] for each in expected], 5)
    whole = model.decode(3, strategy, prompt=prompt)
    np.testing.assert_array_equal(array(whole.tokens)[:, 0], prompt)
    assert (array(whole.found) == 1).all() and (array(whole.lengths)[:, 0] == 3).all()
    assert (array(whole.log_probs)[:, 0] == 0).all() and not array(whole.finished).any()


def test_a_sampled_continuation_keeps_its_prompt(rng):
    model = Model(rng, batch=2, vocabulary=4)
    decoded = model.decode(
        6, Sampling(seed=4), prompt=np.array([[1, 2, 3], [0, 1, 1]]), prompt_lengths=np.array([3, 2])
    )
    for b, prompt in enumerate([(1, 2, 3), (0, 1)]):
        tokens = tuple(array(decoded.tokens)[b, 0, : array(decoded.lengths)[b, 0]].tolist())
        assert tokens[: len(prompt)] == prompt and len(tokens) > len(prompt)
        expected = hypothesis(model, b, tokens, prompt=len(prompt))
        np.testing.assert_allclose(array(decoded.log_probs)[b, 0], expected["log_prob"], **CLOSE)


def table_step(logits, dtype="float32"):
    """A step whose logits (N, V) are the same whatever was read; the state is what was read."""
    logits = np.asarray(logits, dtype)

    def step(tokens, state):
        del state
        return ops.broadcast_to(ops.convert_to_tensor(logits, dtype), (ops.shape(tokens)[0], logits.shape[-1])), tokens

    return step


def run(step, state, *args, **options):
    """`decode` of a state that is an array (N,)."""
    strategy = options.get("strategy") or Greedy()
    if BACKEND != "jax":
        return decode(step, state, *args, **options)
    return compiled(lambda state: decode(step, state, *args, **options), strategy.variables)(state)


@pytest.mark.parametrize("strategy", few([BeamSearch(3), Greedy(), Sampling(0.1, seed=1)]), **KIND)
def test_shortest_and_longest(strategy):
    logits = np.array([0.0, 5.0, 9.0])
    log_probs = logits - np.log(np.exp(logits).sum())
    for shortest in (0, 1, 4, 5):
        decoded = run(table_step(logits), ZEROS, 0, 2, 5, strategy=strategy, min_length=shortest)
        ones = max(shortest - 1, 0)
        assert array(decoded.tokens)[1, 0].tolist() == [1] * ones + [2] + [0] * (4 - ones)
        assert array(decoded.lengths).ravel().tolist() == [ones + 1] * 2 and array(decoded.finished).all()
        np.testing.assert_allclose(array(decoded.log_probs), ones * log_probs[1] + log_probs[2], rtol=1e-5)
    endless = run(table_step(logits), ZEROS, 0, None, 4, strategy=strategy, min_length=2)
    assert (array(endless.tokens) == 2).all() and not array(endless.finished).any()
    assert (array(endless.lengths) == 4).all()


def test_rows_do_not_see_each_other(rng):
    model = Model(rng, batch=3, vocabulary=4)
    prompt, lengths = np.array([[1], [3], [0]]), np.array([1, 0, 1])
    strategy = BeamSearch(3, 0.5, 0.3, n_best=3)
    together = model.decode(6, strategy, prompt=prompt, prompt_lengths=lengths)
    for b in range(3):
        row = slice(b, b + 1)
        alone = model.decode(6, strategy, row, prompt=prompt[row], prompt_lengths=lengths[row])
        same(type(alone)(*[array(a)[row] for a in together]), alone)


def test_what_a_finished_row_gives_changes_nothing(rng):
    model = Model(rng, batch=3, vocabulary=4, end=3)
    model.start[:] = 1
    strategy = BeamSearch(4, 0.7, 0.2, n_best=3)
    expected = model.decode(7, strategy)
    assert array(expected.finished).any()
    sound, state = model.step, model.state

    def broken(memory, attends=True):
        inner = sound(memory, attends)

        def step(tokens, state):
            over = state["over"] | (tokens == 3)
            logits, new, attention = inner(ops.where(over, 0, tokens), state["inner"])
            bad = ops.where(over, float("nan"), 0.0)[:, None]
            return logits + bad, {"inner": new, "over": over}, attention + bad

        return step

    def broken_state(rows=slice(None)):
        return {"inner": state(rows), "over": np.zeros(3, "bool")}

    model.step, model.state = broken, broken_state
    decoded = model.decode(7, strategy)
    same(decoded, expected)


@pytest.mark.skipif(not EAGER, reason="a compiled loop calls `step` as often as it is traced")
def test_the_loop_ends_when_all_rows_are_done(rng):
    calls = []

    def counted(step):
        def call(tokens, state):
            calls.append(array(tokens))
            return step(tokens, state)

        return call

    sure = [0.0, 0.0, 5.0]
    decoded = decode(counted(table_step(sure)), np.zeros(2, "int32"), 1, 2, 50, pad=1)
    assert len(calls) == 1 and array(decoded.tokens)[0, 0].tolist() == [2] + [1] * 49
    calls.clear()
    decode(counted(table_step(sure)), np.zeros(2, "int32"), 1, 2, 50, BeamSearch(2, n_best=1))
    assert len(calls) == 1  # the second hypothesis lives, but has lost
    calls.clear()
    decode(counted(table_step(sure)), np.zeros(2, "int32"), 1, 2, 50, BeamSearch(2, length_penalty=9.0, n_best=1))
    assert len(calls) == 2  # it might have won by its length
    calls.clear()

    def countdown(tokens, left):
        return 5.0 * ops.one_hot(ops.where(left == 0, 2, 0), 3), left - 1

    decode(counted(countdown), np.array([0, 2], "int32"), 0, 2, 50, pad=1)
    assert [c.tolist() for c in calls] == [[0, 0], [2, 0], [1, 0]]  # a finished row reads its end, then padding


@pytest.mark.parametrize("chance, winner", [(0.69, [0] * 6), (0.71, [2, 0, 0, 0, 0, 0])])
def test_a_hypothesis_that_wins_by_its_length_is_waited_for(chance, winner):
    with np.errstate(divide="ignore"):
        table = np.log([[1, 0, 0], [1 - chance, 0, chance], [1, 0, 0]])

    def step(tokens, state):
        return ops.take(ops.convert_to_tensor(table, "float32"), tokens, axis=0), state

    decoded = run(step, ZEROS, 1, 2, 6, strategy=BeamSearch(2, length_penalty=2.0))
    assert array(decoded.tokens)[1, 0].tolist() == winner
    expected = max(math.log(chance), math.log(1 - chance) / (11 / 6) ** 2)
    np.testing.assert_allclose(array(decoded.scores), expected, rtol=1e-5)


def test_ties_go_to_the_lowest_token():
    even = table_step([1.0, 1.0, 1.0, 1.0, 0.0])
    state = np.zeros(2, "int32")
    assert not array(run(even, state, 0, 4, 3).tokens).any()
    beams = array(run(even, state, 0, 4, 2, strategy=BeamSearch(3, n_best=3)).tokens)
    assert beams.tolist() == [[[0, 0], [0, 1], [0, 2]]] * 2
    tokens = array(run(even, np.zeros(200, "int32"), 0, 4, 2, strategy=Sampling(top_k=2, seed=1)).tokens)
    assert set(tokens.ravel().tolist()) == {0, 1}
    tokens = array(run(even, np.zeros(200, "int32"), 0, 4, 2, strategy=Sampling(top_p=0.4, seed=1)).tokens)
    assert set(tokens.ravel().tolist()) == {0, 1}


def test_largest_takes_equal_ones_in_order(rng):
    from keras_rnnx.seq2seq.strategies import largest

    scores = rng.integers(0, 4, (20, 37)).astype("float32")
    scores[:5] = -np.inf
    scores[2, 30] = 1.0
    for count in (1, 5, 37):
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :count]

        def function(scores, count=count):
            return largest(scores, count)

        for each in (function, compiled(function)):
            values, indices = each(ops.convert_to_tensor(scores))
            np.testing.assert_array_equal(array(indices), expected)
            np.testing.assert_array_equal(array(values), np.take_along_axis(scores, expected, 1))


def distribution(logits, temperature=1.0, top_k=None, top_p=None):
    """The probabilities of equations (1) to (3), token by token."""
    q = [math.exp(logit / temperature) for logit in logits]
    order = sorted(range(len(q)), key=lambda v: (-q[v], v))[:top_k]
    total, kept, mass = sum(q[v] for v in order), [], 0.0
    for v in order:
        kept.append(v)
        mass += q[v]
        if top_p is not None and mass >= top_p * total:
            break
    return np.array([q[v] / mass if v in kept else 0.0 for v in range(len(q))])


LOGITS = [0.5, 2.0, 0.5, -1.0, 1.0, 0.5, -3.0]
CUTS = [
    {},
    {"temperature": 0.5, "top_k": 3},
    {"top_p": 0.7},
    {"temperature": 2.0, "top_k": 5, "top_p": 0.8},
    {"top_p": 1e-6},
    {"top_k": 50, "top_p": 1.0},
]


@pytest.mark.parametrize("cut", shared(CUTS), ids=str)
def test_samples_have_the_frequencies_of_the_definition(cut):
    rows, steps = 200, 20
    decoded = run(
        table_step(LOGITS),
        np.zeros(rows, "int32"),
        0,
        None,
        steps,
        strategy=Sampling(seed=11, **cut),
    )
    tokens = array(decoded.tokens)[:, 0]
    expected = distribution(LOGITS, **cut)
    chi_square(np.bincount(tokens.ravel(), minlength=len(expected)), expected)
    # Each step draws anew: a token says nothing of the next one, nor a row of the next one.
    for a, b in ((tokens[:, :-1], tokens[:, 1:]), (tokens[:-1], tokens[1:])):
        pairs = np.bincount((a * 7 + b).ravel(), minlength=49)
        chi_square(pairs, np.outer(expected, expected).ravel())
    model = np.array(LOGITS) - np.log(np.exp(LOGITS).sum())
    np.testing.assert_allclose(array(decoded.log_probs)[:, 0], model[tokens].sum(1), rtol=1e-5)


def chi_square(counts, probabilities):
    """Fails where counts do not come from the probabilities: six standard deviations off, or a forbidden token."""
    possible = probabilities > 0
    assert not counts[~possible].any()
    expected = counts.sum() * probabilities[possible]
    freedom = possible.sum() - 1
    assert ((counts[possible] - expected) ** 2 / expected).sum() <= freedom + 6 * math.sqrt(2 * freedom + 1e-9)


def test_the_state_of_the_seed_decides(rng):
    model = Model(rng, batch=5, vocabulary=5, sharpness=0.3)
    programs = {}

    def draw(strategy, kept=True):
        name = id(strategy) if kept else None

        def function(f, variables):
            return programs.setdefault(name, compiled(f, variables))

        return array(model.decode(8, strategy, function=function if kept else None).tokens)

    one, other = Sampling(seed=3), Sampling(seed=3)
    start = array(one.seed_generator.state)
    first, second = draw(one), draw(one)  # by one program
    assert (first != second).any()
    np.testing.assert_array_equal(draw(other), first)
    one.seed_generator.state.assign(start)
    np.testing.assert_array_equal([draw(one), draw(one)], [first, second])
    if BACKEND != "tensorflow":  # whose stateless draws differ with and without XLA
        np.testing.assert_array_equal(draw(other, kept=False), second)
    other.seed_generator.state.assign(start + 1)
    assert (draw(other) != first).any()


# JAX compiles an eager loop as well, and each operation around it.
@pytest.mark.parametrize(
    "strategy", [Greedy()] if BACKEND == "jax" else few([STRATEGIES[1], Greedy(), Sampling(seed=2)]), **KIND
)
def test_compiled_is_eager(strategy, rng):
    model = Model(rng, batch=3, vocabulary=4)
    options = {"prompt": np.array([[1], [3], [0]]), "min_length": 3, "pad": 1}
    twin = type(strategy).from_config(strategy.get_config())
    eager = model.decode(6, strategy, function=lambda f, _: f, **options)
    fast = model.decode(6, twin, function=compiled, **options)
    same(eager, fast)


def test_compiled_reads_and_changes_variables():
    scale = keras.Variable(np.ones(3, "float32"), name="scale")
    count = keras.Variable(0, dtype="int32", trainable=False, name="count")

    def function(x, trees):
        count.assign(count + 1)
        return {"y": x * scale.value, "z": [trees["a"] + 1, None]}

    fast = compiled(function, [scale, count])
    x = np.arange(3, dtype="float32")
    np.testing.assert_array_equal(array(fast(x, {"a": x})["y"]), x)
    scale.assign([2.0, 3.0, 4.0])
    results = fast(x, {"a": x})
    np.testing.assert_array_equal(array(results["y"]), [0, 3, 8])
    np.testing.assert_array_equal(array(results["z"][0]), x + 1)
    assert results["z"][1] is None and int(array(count)) == 2
    if BACKEND == "jax":
        with pytest.raises(ValueError, match="Expected all variables that the compiled function changes"):
            compiled(function, [scale])(x, {"a": x})
        assert int(array(count)) == 2


@pytest.mark.parametrize("strategy", few([Greedy(), BeamSearch(3, n_best=2)]), **KIND)
def test_layers_inside_a_step(strategy, rng):
    embedding, cell, dense = keras.layers.Embedding(6, 5), keras_rnnx.LSTMCell(4), keras.layers.Dense(6)
    embedding.build((None,)), cell.build((None, 5)), dense.build((None, 4))
    layers = [embedding, cell, dense]
    for layer in layers:
        layer.set_weights([rng.normal(size=w.shape) for w in layer.get_weights()])

    def step(tokens, state):
        output, state = cell(embedding(tokens), state)
        return dense(output), state

    fast = compiled(
        lambda state: decode(step, state, 1, 2, 7, strategy), [v for layer in layers for v in layer.variables]
    )
    state = [rng.normal(size=(3, 4)).astype("float32") for _ in range(2)]
    first = fast(state)
    slow = decode(step, [ops.convert_to_tensor(s) for s in state], 1, 2, 7, strategy)
    np.testing.assert_array_equal(array(first.tokens), array(slow.tokens))
    dense.set_weights([-a for a in dense.get_weights()])
    second = fast(state)
    slow = decode(step, [ops.convert_to_tensor(s) for s in state], 1, 2, 7, strategy)
    np.testing.assert_array_equal(array(second.tokens), array(slow.tokens))
    assert (array(first.tokens) != array(second.tokens)).any()


def test_a_beam_wider_than_all_sequences():
    decoded = run(table_step([1.0, 0.0]), np.zeros(2, "int32"), 0, 1, 1, strategy=BeamSearch(5, 1.0, n_best=4))
    assert array(decoded.found).tolist() == [2, 2]
    assert array(decoded.tokens).tolist() == [[[0], [1], [0], [0]]] * 2
    assert array(decoded.lengths).tolist() == [[1, 1, 0, 0]] * 2
    assert np.isneginf(array(decoded.scores)[:, 2:]).all()


@pytest.mark.parametrize("strategy", few([BeamSearch(2, n_best=2), Greedy(), Sampling(seed=1)]), **KIND)
def test_rows_without_any_possible_token(strategy):
    """The only token is the end, which may not come yet; and logits that are not numbers."""
    none = run(table_step([0.0]), np.zeros(2, "int32"), 0, 0, 3, strategy=strategy, min_length=2)
    nan = run(table_step([np.nan, 1.0]), np.zeros(2, "int32"), 0, 1, 3, strategy=strategy)
    for decoded in (none, nan):
        assert not array(decoded.found).any() and not array(decoded.tokens).any() and not array(decoded.lengths).any()
        assert np.isneginf(array(decoded.scores)).all() and not array(decoded.finished).any()


@pytest.mark.parametrize("strategy", few([BeamSearch(2), Greedy(), Sampling(seed=1)]), **KIND)
def test_no_rows_at_all(strategy):
    function = compiled(lambda state: decode(table_step([0.0, 1.0]), state, 0, 1, 3, strategy), strategy.variables)
    decoded = function(ZEROS[:0])
    assert tuple(decoded.tokens.shape) == (0, 1, 3) and tuple(decoded.found.shape) == (0,)


def test_forbidden_tokens_do_not_appear(rng):
    logits = [-np.inf, 0.0, -np.inf, 1.0, -np.inf]
    for strategy in few([BeamSearch(6, n_best=6), Sampling(3.0, seed=2), Sampling(top_k=4, top_p=0.9, seed=2)], 2):
        decoded = run(table_step(logits), np.zeros(50, "int32"), 0, 4, 2, strategy=strategy, pad=3)
        assert set(array(decoded.tokens).ravel().tolist()) == {1, 3}
        assert set(array(decoded.found).tolist()) == {4 if strategy.width > 1 else 1}


@pytest.mark.parametrize("dtype", few(["float16", "float64"]))
def test_scores_are_single_at_least(dtype):
    if BACKEND == "jax" and dtype == "float64":
        pytest.skip("JAX has float64 only where the whole process asks for it")
    step = table_step([0.1, 0.2, 0.4], dtype)
    for strategy in (Greedy(), BeamSearch(2, 0.5), Sampling(top_p=0.5, seed=1)):
        decoded = run(step, np.zeros(2, "int32"), 0, 1, 6, strategy=strategy)
        expected = "float64" if dtype == "float64" else "float32"
        assert {keras.backend.standardize_dtype(a.dtype) for a in (decoded.scores, decoded.log_probs)} == {expected}
    logits = np.array([0.1, 0.2, 0.4], dtype).astype("float64")
    greedy = run(step, np.zeros(2, "int32"), 0, 1, 6)
    log_prob = 6 * (logits[2] - np.log(np.exp(logits).sum()))
    np.testing.assert_allclose(array(greedy.log_probs), log_prob, rtol=1e-12 if dtype == "float64" else 1e-5)


def test_a_mask_of_the_memory_counts_in_the_coverage(rng):
    model = Model(rng, batch=2, vocabulary=4, places=4)
    mask = np.array([[True, False, True, True], [True, True, False, False]])
    strategy = BeamSearch(3, 0.4, 0.5, n_best=2)
    decoded = model.decode(5, strategy, memory_mask=mask)
    expected = [beam_search(model, b, 5, 3, alpha=0.4, beta=0.5, mask=mask[b])[:2] for b in range(2)]
    check(decoded, expected, 5)
    hard = BeamSearch(2, coverage_penalty=0.1)

    def one_place(tokens, state):
        logits, state = table_step([0.0, 1.0, 2.0])(tokens, state)
        return logits, state, ops.one_hot(ops.zeros_like(tokens), 4)

    decoded = run(one_place, np.zeros(2, "int32"), 0, 2, 3, strategy=hard, memory_mask=mask)
    p = 2 - math.log(sum(math.exp(v) for v in range(3)))
    missed = np.array([2, 1])  # places that count and get no attention
    np.testing.assert_allclose(array(decoded.scores)[:, 0], p + 0.1 * missed * math.log(1e-10), rtol=1e-5)


def test_attention_is_kept_only_on_request(rng):
    model = Model(rng, batch=2)
    assert model.decode(3, attends=False).attention is None
    for strategy in few(STRATEGIES):
        asked = model.decode(3, strategy, return_attention=False)
        assert asked.attention is None
        expected = beam_search(model, 0, 3, strategy.width, alpha=0.6, beta=0.1) if strategy.width > 1 else None
        expected = expected or beam_search(model, 0, 3, 1)
        assert array(asked.tokens)[0, 0, : array(asked.lengths)[0, 0]].tolist() == list(expected[0]["tokens"])


def test_next_function_in_the_loop_of_a_sampler(rng):
    """The contract of KerasHub's samplers: tokens at `index` come from the token before, the prompt is kept."""
    model = Model(rng, batch=3, vocabulary=4)
    next = next_function(model.step(ops.convert_to_tensor(model.memory, "float32")))
    prompt = np.concatenate([model.start[:, None], [[1, 3, 0], [2, 0, 0], [0, 0, 0]], np.zeros((3, 3), int)], axis=1)
    lengths = np.array([2, 1, 0])
    mask = np.arange(7) < 1 + lengths[:, None]

    def body(prompt, cache, index):
        logits, hidden, cache = next(prompt, cache, index)
        assert hidden is None
        tokens = ops.cast(ops.argmax(logits, axis=-1), prompt.dtype)
        tokens = ops.where(ops.take(kept, index, axis=1), ops.take(prompt, index, axis=1), tokens)
        return ops.slice_update(prompt, [0, index], tokens[:, None]), cache, index + 1

    kept = ops.convert_to_tensor(mask)
    state = keras.tree.map_structure(ops.convert_to_tensor, model.state())
    start = (ops.convert_to_tensor(prompt, "int32"), state, ops.convert_to_tensor(1, "int32"))
    tokens, *_ = ops.while_loop(lambda prompt, cache, index: index < 7, body, start)
    end, model.end = model.end, None
    expected = model.decode(6, prompt=prompt[:, 1:4], prompt_lengths=lengths)
    model.end = end
    np.testing.assert_array_equal(array(tokens)[:, 1:], array(expected.tokens)[:, 0])


def test_next_function_in_keras_hub(rng):
    samplers = pytest.importorskip("keras_hub").samplers
    model = Model(rng, batch=3, vocabulary=5)
    memory = ops.convert_to_tensor(model.memory, "float32")
    prompt = np.concatenate([model.start[:, None], np.zeros((3, 5), int)], axis=1).astype("int32")
    state = keras.tree.map_structure(ops.convert_to_tensor, model.state())
    arguments = {"prompt": ops.convert_to_tensor(prompt), "cache": state, "index": 1}
    tokens = samplers.GreedySampler()(next_function(model.step(memory)), **arguments)
    model.end = None
    np.testing.assert_array_equal(array(tokens)[:, 1:], array(model.decode(5).tokens)[:, 0])
    tokens = samplers.BeamSampler(num_beams=3)(next_function(model.step(tiled(memory, 3))), **arguments)
    np.testing.assert_array_equal(array(tokens)[:, 1:], array(model.decode(5, BeamSearch(3)).tokens)[:, 0])


def test_tiled():
    x, y = np.arange(6).reshape(3, 2), np.array([True, False, True])
    tree = tiled({"x": x, "y": [y, None]}, 2)
    np.testing.assert_array_equal(array(tree["x"]), x[[0, 0, 1, 1, 2, 2]])
    np.testing.assert_array_equal(array(tree["y"][0]), y[[0, 0, 1, 1, 2, 2]])
    assert tree["y"][1] is None
    assert tiled(tree, 1) is tree


@pytest.mark.parametrize(
    "strategy", [Greedy(), Sampling(0.7, 5, 0.9, 3), Sampling(), BeamSearch(4, 0.6, 0.2, 2)], **KIND
)
def test_strategies_are_saved(strategy):
    data = keras.saving.serialize_keras_object(strategy)
    again = keras.saving.deserialize_keras_object(data)
    assert type(again) is type(strategy) and again.get_config() == strategy.get_config()
    assert data["registered_name"] == f"keras_rnnx>{type(strategy).__name__}"
    assert set(strategy.get_config()) == {n for n in strategy.get_config() if hasattr(strategy, n)}


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Sampling(-0.1), "temperature"),
        (lambda: Sampling(math.nan), "temperature"),
        (lambda: Sampling(math.inf), "temperature"),
        (lambda: Sampling(True), "temperature"),
        (lambda: Sampling(top_k=0), "top_k"),
        (lambda: Sampling(top_k=1.5), "top_k"),
        (lambda: Sampling(top_p=0), "top_p"),
        (lambda: Sampling(top_p=1.1), "top_p"),
        (lambda: Sampling(top_p="a"), "top_p"),
        (lambda: Sampling(seed=0.5), "seed"),
        (lambda: BeamSearch(0), "width"),
        (lambda: BeamSearch(2.0), "width"),
        (lambda: BeamSearch(2, -1), "length_penalty"),
        (lambda: BeamSearch(2, 0, -1), "coverage_penalty"),
        (lambda: BeamSearch(2, n_best=0), "n_best"),
        (lambda: BeamSearch(2, n_best=3), "n_best.*<=.*width"),
        (lambda: tiled(np.zeros(2), 0), "width"),
    ],
)
def test_wrong_arguments_of_strategies(make, message):
    with pytest.raises(ValueError, match=f"Expected.*{message}.*Received"):
        make()


SOUND = table_step([0.0, 1.0, 2.0])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"strategy": "greedy"}, "`strategy`"),
        ({"end": -1}, "`end`"),
        ({"end": 3}, "`end` below the 3 tokens"),
        ({"pad": 3}, "`pad` below the 3 tokens"),
        ({"pad": -1}, "`pad`"),
        ({"pad": None}, "`pad`"),
        ({"max_length": 0}, "`max_length`"),
        ({"min_length": 5}, "`min_length` <= `max_length`"),
        ({"min_length": -1}, "`min_length`"),
        ({"start": [0.0, 1.0]}, "`start`.*integer dtype"),
        ({"start": [[0], [1]]}, "`start`"),
        ({"start": [0, 1, 1]}, "2|3 rows as in `start`"),
        ({"state": (), "start": 0}, "`start`"),
        ({"state": np.float32(0), "start": ZEROS}, "batch in front in `state`"),
        ({"prompt": [0, 1]}, "`prompt`"),
        ({"prompt": [[0.0], [1.0]]}, "`prompt`.*integer dtype"),
        ({"prompt": [[0], [1], [2]]}, "`prompt`"),
        ({"prompt": [[0] * 5] * 2}, "`prompt`.*P <= max_length"),
        ({"prompt_lengths": [0, 1]}, "`prompt`"),
        ({"prompt": [[0], [1]], "prompt_lengths": [0, 2]}, "lengths <= time = 1"),
        ({"prompt": [[0], [1]], "prompt_lengths": [0]}, "lengths"),
        ({"memory_mask": [True, False]}, "`memory_mask`"),
        ({"strategy": BeamSearch(2, coverage_penalty=1.0)}, "attention"),
        ({"step": lambda tokens, state: state}, "\\(logits, state\\)"),
        ({"step": lambda tokens, state: (ops.zeros((2, 3, 1)), state)}, "logits of shape"),
        ({"step": lambda tokens, state: (ops.zeros((3, 3)), state)}, "logits of shape"),
        ({"step": lambda tokens, state: (ops.zeros((2, 3)), state, ops.zeros((2,)))}, "attention of shape"),
        ({"step": lambda tokens, state: (ops.zeros((2, 3)), ())}, "a state like the one it got"),
        ({"step": lambda tokens, state: (ops.zeros((2, 3)), state[:, None])}, "a state like the one it got"),
        (
            {"step": lambda tokens, state: (ops.zeros((2, 3)), ops.cast(state, "float32"))},
            "a state like the one it got",
        ),
    ],
)
def test_wrong_arguments(change, message):
    arguments = {"step": SOUND, "state": ZEROS, "start": 0, "end": 2, "max_length": 4, **change}
    with pytest.raises(ValueError, match=f"(?s)Expected.*{message}.*Received"):
        decode(**arguments)


def test_a_mask_of_another_memory(rng):
    model = Model(rng, batch=2, places=3)
    with pytest.raises(ValueError, match="Expected `memory_mask`.*Received"):
        model.decode(3, BeamSearch(2, coverage_penalty=1.0), memory_mask=np.ones((2, 4), bool))


def test_a_strategy_of_ones_own(rng):
    class Last(Strategy):
        def pick(self, log_probs, t, search):
            return ops.full(ops.shape(log_probs)[:1], log_probs.shape[-1] - 1, "int32")

    assert (array(run(SOUND, ZEROS, 0, 1, 3, strategy=Last()).tokens) == 2).all()
    with pytest.raises(NotImplementedError, match="must define `pick"):
        decode(SOUND, ZEROS, 0, 1, 3, Strategy())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="batches of unknown size")
@pytest.mark.parametrize("jit_compile", [True, False])
def test_unknown_sizes(jit_compile, rng):
    import tensorflow as tf

    model = Model(rng, batch=3, vocabulary=4)
    strategy = BeamSearch(3, 0.5, 0.2, n_best=2)

    @tf.function(
        jit_compile=jit_compile,
        input_signature=[tf.TensorSpec(s) for s in ((None, 4), (None, 2, 3), (None, None, 4))]
        + [tf.TensorSpec((None, None), "int32"), tf.TensorSpec((None,), "int32")],
    )
    def generate(h, m, memory, prompt, start):
        step = model.step(tiled(memory, strategy.width))
        state = {"h": h, "m": m, "count": [tf.zeros(tf.shape(start), "int32")]}
        return decode(step, state, start, model.end, 5, strategy, prompt=prompt)

    arrays = [a.astype("float32") for a in (model.h, model.m, model.memory)]
    for rows in (3, 2):
        prompt = np.ones((rows, 4 - rows), "int32")
        decoded = generate(*[a[:rows] for a in arrays], prompt, model.start[:rows].astype("int32"))
        expected = [beam_search(model, b, 5, 3, (1,) * (4 - rows), alpha=0.5, beta=0.2)[:2] for b in range(rows)]
        check(decoded, expected, 5)
