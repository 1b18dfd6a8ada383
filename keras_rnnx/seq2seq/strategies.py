"""How the next token is chosen. Beam search, which keeps several hypotheses a row, is in `beam.py`."""

import dataclasses
import math

import keras
import numpy as np
from keras import ops

from keras_rnnx import arguments
from keras_rnnx.engine.backends import backend


def largest(scores, count):
    """The largest entries of each row, in descending order; of equal ones that with the lower index comes first.

    Args:
        scores: (N, V) floats without NaN.
        count: int, 1 to V.

    Returns:
        Values (N, count) and indices (N, count) int32.
    """
    values, indices = ops.top_k(scores, count)
    if backend.NAME == "torch":  # of equal entries it takes any, in any order; the other two promise the first
        size = scores.shape[-1]
        above, equal = scores > values[:, -1:], scores == values[:, -1:]
        room = count - ops.sum(ops.cast(above, "int32"), axis=-1, keepdims=True)
        taken = above | (equal & (ops.cumsum(ops.cast(equal, "int32"), axis=-1) <= room))
        indices = size - ops.top_k(ops.where(taken, size - ops.arange(size), 0), count)[0]
        order = ops.argsort(-ops.take_along_axis(scores, indices, axis=-1), axis=-1)
        indices = ops.take_along_axis(indices, order, axis=-1)
    return values, ops.cast(indices, "int32")


def most_probable(log_probs):
    """The index (N,) of the largest entry of each row, the lowest of equal ones: `argmax` does not promise that."""
    size = log_probs.shape[-1]
    best = ops.amax(log_probs, axis=-1, keepdims=True)
    return ops.amin(ops.where(log_probs == best, ops.arange(size, dtype="int32"), size - 1), axis=-1)


def continued(a, rows):
    """Arrays a (B, K, ...) of hypotheses as their continuations have them, by the flat rows (B * K,) continued."""
    flat = ops.reshape(a, (ops.shape(rows)[0], *ops.shape(a)[2:]))
    return ops.reshape(ops.take(flat, rows, axis=0), ops.shape(a))


@dataclasses.dataclass(frozen=True)
class Task:
    """What `decode` was asked for, as the strategies read it.

    Attributes:
        batch: B, an int or a scalar tensor.
        max_length: int, L.
        min_length: int, the fewest tokens of a sequence.
        end: int, the end token; -1 where there is none.
        pad: int, what a finished row emits.
        prompt: (B, P + 1) int32, forced tokens and one column that means nothing.
        prompt_lengths: (B,) int32, 0 to P.
        memory_mask: (B, S) bool or None.
    """

    batch: object
    max_length: int
    min_length: int
    end: int
    pad: int
    prompt: object
    prompt_lengths: object
    memory_mask: object

    def forced(self, t):
        """Whether the prompt says the token at position t, (B, 1) bool."""
        return (t < self.prompt_lengths)[:, None]

    def emit(self, t, tokens, finished, lengths):
        """What the hypotheses emit at position t.

        Args:
            t: int32 scalar.
            tokens: (B, K) int32, the tokens chosen.
            finished: (B, K) bool, the hypotheses that had finished before.
            lengths: (B, K) int32, their tokens before.

        Returns:
            Tokens, finished and lengths after the step.
        """
        column = ops.minimum(t, ops.shape(self.prompt)[1] - 1)
        forced, said = self.forced(t), ops.take(self.prompt, column, axis=1)[:, None]
        tokens = ops.where(finished, self.pad, ops.where(forced, said, tokens))
        lengths = lengths + ops.cast(~finished, "int32")
        return tokens, finished | (~forced & (tokens == self.end)), lengths


class Strategy:
    """Base of the strategies: one hypothesis a row. A subclass says in `pick` which token comes next.

    A strategy is a small object with `get_config` and `from_config`; it holds nothing of a single call. The search
    that `begin` starts and `advance` carries on is a dictionary of arrays, K of them a row:

    * `log_probs` (B, K): the sum of the log-probabilities of the tokens chosen; -inf for a hypothesis that is none;
    * `scores` (B, K): by which hypotheses are ranked, best first;
    * `lengths` (B, K) int32, `finished` (B, K) bool;
    * `paths` (B, K, L) int32, where K > 1: in which slot each hypothesis was at each step.
    """

    width = 1
    n_best = 1

    @property
    def variables(self):
        """The variables that decoding changes: those of random numbers."""
        return []

    def begin(self, task, dtype):
        """The search before the first step, in which the first hypothesis of each row is the only one."""
        rows = (task.batch, self.width)
        row = np.where(np.arange(self.width) == 0, 0.0, -np.inf)[None]
        start = ops.broadcast_to(ops.convert_to_tensor(row, dtype), rows)
        return {
            "log_probs": start,
            "scores": start,
            "lengths": ops.zeros(rows, "int32"),
            "finished": ops.zeros(rows, "bool"),
        }

    def advance(self, task, t, search, log_probs, attention):
        """One step.

        Args:
            task: the `Task`.
            t: int32 scalar, the position.
            search: as `begin` made it.
            log_probs: (B, K, V), of the next token.
            attention: (B, K, S) or None.

        Returns:
            The tokens (B, K) int32 emitted, the flat rows (B * K,) int32 that the new hypotheses continue (None: each
            continues itself), and the new search.
        """
        del attention
        log_probs, finished = log_probs[:, 0], search["finished"]
        tokens = self.pick(log_probs, t, search)[:, None]
        gains = ops.take_along_axis(log_probs, tokens, axis=1)
        gains = ops.where(finished | task.forced(t), 0.0, gains)
        tokens, finished, lengths = task.emit(t, tokens, finished, search["lengths"])
        total = search["log_probs"] + gains
        new = {"log_probs": total, "scores": total, "lengths": lengths, "finished": finished}
        return tokens, None, {**search, **new}

    def pick(self, log_probs, t, search):
        """The next tokens (B,) int32, by log-probabilities (B, V)."""
        raise NotImplementedError(f"{type(self).__name__} must define `pick(self, log_probs, t, search)`")

    def done(self, task, search):
        """Which rows need no further step, (B,) bool."""
        del task
        return ~ops.any(self.alive(search), axis=1)

    def alive(self, search):
        """Which hypotheses can be continued, (B, K) bool."""
        return ~search["finished"] & (search["log_probs"] > -math.inf)

    def get_config(self):
        """The arguments."""
        return arguments.config_of(self)

    @classmethod
    def from_config(cls, config):
        """A strategy from its configuration."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Greedy(Strategy):
    r"""The most probable token at each step.

    $$ y_t = \arg\max_v \log p(v \mid y_{<t}) $$

    Of equally probable tokens it is the one with the lowest number.

    Cost per step: O(V) a row, beside `step`.

    Example:
        >>> decode(step, state, start=1, end=2, max_length=20, strategy=Greedy())
    """

    def pick(self, log_probs, t, search):
        """See `Strategy`."""
        del t, search
        return most_probable(log_probs)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Sampling(Strategy):
    r"""A token drawn at each step from the model's distribution, sharpened and cut off.

    From the log-probabilities \(\ell_v = \log p(v \mid y_{<t})\), in this order:
    $$ q_v \propto \exp(\ell_v / \tau) \tag{1} $$
    $$ q_v \leftarrow 0 \text{ but for the } k \text{ most probable tokens} \tag{2} $$
    $$ q_v \leftarrow 0 \text{ but for the smallest set } N \text{ of the most probable tokens with }
       \sum_{v \in N} q_v \ge p \sum_v q_v \tag{3} $$
    and the token is drawn from q, normalized. (3) is the nucleus of Holtzman et al. It is taken of what (2) has left.
    Of equally probable tokens those with the lower numbers come first in (2) and (3), so that exactly k are left.

    The random numbers of all steps are drawn before the first one: L for each row. The same state of the generator
    gives the same tokens, and each call moves it on; on TensorFlow a program compiled by XLA draws other numbers than
    an eager run. Scores are those of the model, not of q.

    Args:
        temperature: float >= 0, \(\tau\). 0 is the limit: greedy.
        top_k: int > 0 or None, k. None, or a number above V, keeps all tokens.
        top_p: float in (0, 1] or None, p. None and 1 keep all tokens.
        seed: int or None, the start of the random numbers.

    Attributes:
        seed_generator: the `keras.random.SeedGenerator`.

    Cost per step: O(V) a row, and with `top_k` or `top_p` the k or V largest of V in order.
    Raises:
        ValueError: if an argument is out of range.
    Example:
        >>> decode(step, state, start=1, end=2, max_length=20, strategy=Sampling(0.8, top_p=0.95, seed=1))
    Reference: A. Holtzman, J. Buys, L. Du, M. Forbes and Y. Choi, The curious case of neural text degeneration, ICLR
        2020, arXiv:1904.09751. Top-k: A. Fan, M. Lewis and Y. Dauphin, Hierarchical neural story generation, ACL 2018,
        arXiv:1805.04833.
    """

    def __init__(self, temperature=1.0, top_k=None, top_p=None, seed=None):
        self.temperature = arguments.number("temperature", temperature, "[0, inf)")
        self.top_k = None if top_k is None else arguments.positive("top_k", top_k)
        self.top_p = None if top_p is None else arguments.number("top_p", top_p, "(0, 1]")
        self.seed = arguments.checked_seed(seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)

    @property
    def variables(self):
        """The state of the random numbers."""
        return [self.seed_generator.state]

    def begin(self, task, dtype):
        """The search, with a uniform number for every step and row: inside the loop nothing is drawn."""
        shape = (task.max_length, task.batch)
        draws = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return {**super().begin(task, dtype), "draws": ops.cast(draws, dtype)}

    def pick(self, log_probs, t, search):
        """Equations (1) to (3), and the draw by the inverse of the distribution function."""
        if self.temperature == 0:
            return most_probable(log_probs)
        size, nucleus = log_probs.shape[-1], self.top_p is not None and self.top_p < 1
        tokens = None
        if nucleus or (self.top_k or size) < size:
            log_probs, tokens = largest(log_probs, min(self.top_k or size, size))
        # Where all is -inf, -inf less the maximum would not be a number.
        top = ops.maximum(ops.amax(log_probs, axis=-1, keepdims=True), float(np.finfo("float32").min))
        q = ops.exp((log_probs - top) / self.temperature)
        if nucleus:
            below = ops.cumsum(q, axis=-1)
            q = ops.where(below - q < self.top_p * below[:, -1:], q, 0.0)
        place = _drawn(q, ops.take(search["draws"], t, axis=0)[:, None])
        return place if tokens is None else ops.take_along_axis(tokens, place[:, None], axis=1)[:, 0]


def _drawn(q, uniform):
    """The first place v of each row with q_1 + ... + q_v > uniform * sum(q), and q_v > 0 however sums are rounded."""
    places = ops.arange(q.shape[-1], dtype="int32")
    sums = ops.cumsum(q, axis=-1)
    last = ops.amax(ops.where(q > 0, places, 0), axis=-1, keepdims=True)
    return ops.amin(ops.where((q > 0) & (sums > uniform * sums[:, -1:]), places, last), axis=-1)
