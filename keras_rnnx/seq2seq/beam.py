"""Beam search."""

import keras
import numpy as np
from keras import ops

from keras_rnnx import arguments
from keras_rnnx.engine import masks
from keras_rnnx.seq2seq.strategies import Strategy, continued, largest

FLOOR = 1e-10  # the least attention that a word counts with in the coverage penalty


@keras.saving.register_keras_serializable(package="keras_rnnx")
class BeamSearch(Strategy):
    r"""The `width` best hypotheses of each row, kept at each step.

    A hypothesis Y is ranked by the score of Wu et al.
    $$ s(Y) = \frac{\log p(Y)}{lp(Y)} + cp(Y) \tag{14} $$
    $$ lp(Y) = \frac{(5 + |Y|)^\alpha}{(5 + 1)^\alpha}, \qquad
       cp(Y) = \beta \sum_{i=1}^{S} \log \min\Bigl(\sum_{j=1}^{|Y|} p_{ij}, 1\Bigr) $$
    where \(p_{ij}\) is the attention of the j-th token to the i-th place of the memory, and |Y| counts the end token,
    but not a prompt.

    At each step every live hypothesis is continued by every token. A finished one has a single continuation, itself:
    its score is frozen, it emits padding, and it keeps its place as long as its score is among the best K. Of equal
    scores the continuation of the better hypothesis wins, then the lower token. A row ends when no live hypothesis can
    come before the `n_best` finished ones any more: \(\log p\) only falls, so that
    \(\log p(Y) / lp(L)\) is a bound on the score of all its continuations up to the maximum length L. Stopping there
    changes no result. What lives at the maximum length counts as it stands.

    Differs from the paper: the sum in cp is \(10^{-10}\) at least, as a place that gets no attention at all would make
    the score \(-\infty\). No pruning by a distance from the best hypothesis.

    Args:
        width: int > 0, K. It may exceed the vocabulary. 1 gives the tokens of `Greedy`.
        length_penalty: float >= 0, \(\alpha\). 0: none.
        coverage_penalty: float >= 0, \(\beta\). 0: none. Otherwise `step` has to return its attention.
        n_best: int, 1 to `width`, how many hypotheses are returned for each row.

    Cost per step: `step` on B K rows, the K largest of V for each, and a gather of all states. Memory: K L numbers a
        row.
    Raises:
        ValueError: if an argument is out of range.
    Example:
        >>> strategy = BeamSearch(5, length_penalty=0.6, n_best=3)
        >>> decode(step, state, start=1, end=2, max_length=20, strategy=strategy)
    Reference: Y. Wu et al., Google's neural machine translation system, 2016, arXiv:1609.08144, eq. 14.
    """

    def __init__(self, width, length_penalty=0.0, coverage_penalty=0.0, n_best=1):
        self.width = arguments.positive("width", width)
        self.length_penalty = arguments.number("length_penalty", length_penalty, "[0, inf)")
        self.coverage_penalty = arguments.number("coverage_penalty", coverage_penalty, "[0, inf)")
        self.n_best = arguments.positive("n_best", n_best)
        if self.n_best > self.width:
            raise ValueError(f"Expected `n_best` <= `width`. Received: n_best={n_best!r}, width={width!r}")

    def begin(self, task, dtype):
        """See `Strategy`."""
        paths = ops.zeros((task.batch, self.width, task.max_length), "int32")
        return {**super().begin(task, dtype), "paths": paths}

    def advance(self, task, t, search, log_probs, attention):
        """See `Strategy`."""
        width, vocabulary = self.width, log_probs.shape[-1]
        count, finished = min(width, vocabulary), search["finished"]
        # The best of each hypothesis first, then the best of these: sums are rounded, and may tie where gains do not.
        gains, tokens = largest(ops.reshape(log_probs, (-1, vocabulary)), count)
        gains = ops.reshape(gains, (task.batch, width, count))
        alone = ops.where(ops.arange(count) == 0, 0.0, -np.inf)
        gains = ops.where((finished | task.forced(t))[..., None], ops.cast(alone, gains.dtype), gains)
        totals = search["log_probs"][..., None] + gains
        lengths = search["lengths"] + ops.cast(~finished, "int32")
        covered = self._coverage(task, search, attention)
        scores = totals / self._length_penalty(task, lengths, totals.dtype)[..., None]
        scores = scores + self._coverage_penalty(task, covered)
        scores, places = largest(ops.reshape(scores, (task.batch, width * count)), width)
        rows = ops.arange(task.batch, dtype="int32")[:, None] * width + places // count
        rows = ops.reshape(rows, (task.batch * width,))

        def chosen(a):
            return ops.take_along_axis(ops.reshape(a, (task.batch, width * count)), places, axis=1)

        finished, lengths, paths = (continued(search[name], rows) for name in ("finished", "lengths", "paths"))
        tokens, finished, lengths = task.emit(t, chosen(tokens), finished, lengths)
        here = ops.arange(task.max_length) == t
        paths = ops.where(here, ops.arange(width, dtype="int32")[:, None], paths)
        new = {"log_probs": chosen(totals), "scores": scores, "lengths": lengths, "finished": finished, "paths": paths}
        if covered is not None:
            new["covered"] = continued(covered, rows)
        return tokens, rows, new

    def _length_penalty(self, task, lengths, dtype):
        """lp of hypotheses (B, K) of these lengths, their prompts included."""
        table = ((5 + np.arange(task.max_length + 1)) / 6) ** self.length_penalty
        free = ops.maximum(lengths - task.prompt_lengths[:, None], 0)
        return ops.take(ops.convert_to_tensor(table, dtype), free, axis=0)

    def _coverage(self, task, search, attention):
        """The sums (B, K, S) of the attention of all tokens after this step, or None without a penalty."""
        if not self.coverage_penalty:
            return None
        if attention is None:
            raise ValueError(
                "Expected `step` to return (logits, state, attention), as BeamSearch has "
                f"coverage_penalty={self.coverage_penalty}. Received: no attention"
            )
        masks.checked_shape("memory_mask", task.memory_mask, (attention.shape[0], attention.shape[-1]))
        return search.get("covered", 0.0) + ops.where(search["finished"][..., None], 0.0, attention)

    def _coverage_penalty(self, task, covered):
        """cp of hypotheses, (B, K, 1), or 0."""
        if covered is None:
            return 0.0
        logs = ops.log(ops.clip(covered, FLOOR, 1.0))
        if task.memory_mask is not None:
            logs = ops.where(task.memory_mask[:, None], logs, 0.0)
        return self.coverage_penalty * ops.sum(logs, axis=-1, keepdims=True)

    def done(self, task, search):
        """Which rows have finished hypotheses that nothing alive can come before."""
        alive, log_probs = self.alive(search), search["log_probs"]
        longest = ops.full_like(search["lengths"], task.max_length)
        bounds = log_probs / self._length_penalty(task, longest, log_probs.dtype)
        bound = ops.amax(ops.where(alive, bounds, -np.inf), axis=1)
        best = slice(None, self.n_best)
        beaten = ops.all(search["finished"][:, best], axis=1) & (search["scores"][:, self.n_best - 1] > bound)
        return beaten | ~ops.any(alive, axis=1)
