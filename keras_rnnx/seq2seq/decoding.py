"""Decoding: from a step function to sequences of tokens, as one compiled loop on every backend."""

import numbers
from typing import Any, NamedTuple

import keras
from keras import ops, tree

from keras_rnnx import arguments
from keras_rnnx.engine import masks
from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.seq2seq.strategies import Greedy, Strategy, Task, continued


class Decoded(NamedTuple):
    """What `decode` returns: K = `n_best` hypotheses for each of B rows, best first, L = `max_length`.

    Attributes:
        tokens: (B, K, L) int32: the prompt, the tokens chosen, the end token where there is one, then padding.
        lengths: (B, K) int32, how many tokens come before the padding; the prompt and the end token count.
        scores: (B, K), by which the hypotheses are ranked: the normalized score of beam search, else `log_probs`.
        log_probs: (B, K), the sum of log p(token) of the model over the tokens that follow the prompt, the end token
            included. No temperature, cut-off or penalty changes it.
        finished: (B, K) bool, whether the hypothesis ends with the end token; otherwise it was cut at L.
        found: (B,) int32, how many hypotheses there are. The others (where there are fewer sequences than K, or all
            that follow have probability 0) are padding alone, with length 0 and score -inf.
        attention: (B, K, L, S), what each token's step paid attention to, 0 at padding; or None.
    """

    tokens: Any
    lengths: Any
    scores: Any
    log_probs: Any
    finished: Any
    found: Any
    attention: Any


def decode(
    step,
    state,
    start,
    end,
    max_length,
    strategy=None,
    *,
    prompt=None,
    prompt_lengths=None,
    min_length=0,
    pad=0,
    memory_mask=None,
    return_attention=True,
):
    r"""Decodes sequences of tokens from a step function.

    With the start token as \(y_0\) the strategy searches, or draws, \(y_1, \dots, y_L\) with a high
    $$ \log p(Y) = \sum_{t=1}^{|Y|} \log p(y_t \mid y_{<t}) $$
    where \(\log p\) is the log-softmax of the logits of `step`, computed in float32 at least. The loop ends when all
    rows are done. It runs as it is, and inside `tf.function(jit_compile=True)` and `jax.jit`: see `compiled`.

    Args:
        step: a pure function `step(tokens (N,) int32, state) -> (logits (N, V), state)`, or with a third result
            `attention` (N, S). N = B K rows, K = `strategy.width`: the K hypotheses of a row follow each other. What
            differs from hypothesis to hypothesis is in the state. What does not (the memory of an encoder) may be in
            the closure of `step`, repeated for the hypotheses by `tiled`.
        state: a tree of arrays (B, ...), of any ranks and dtypes: the state before the first step. The new state has
            the same structure, shapes and dtypes.
        start: (B,) integers, the tokens read by the first step; or one integer for all rows.
        end: int, the token after which a sequence has ended; None if there is none.
        max_length: int > 0, L; a prompt counts.
        strategy: `Greedy()` (the default), `Sampling(...)` or `BeamSearch(...)`.
        prompt: (B, P) integers, P <= L, or None: tokens that are read before any is chosen. They add nothing to scores,
            and an end token among them ends nothing.
        prompt_lengths: (B,) integers, how many tokens of the prompt count in each row. Default: P.
        min_length: int, 0 to L: no sequence ends with fewer tokens, the prompt and the end token counted. The end token
            has probability 0 before; the other probabilities stay what they are.
        pad: int, 0 to V - 1, what stands after the end. It is also what `step` reads for a finished row.
        memory_mask: (B, S) bool or None, the places of the memory that the coverage penalty of `BeamSearch` counts.
        return_attention: bool, whether to keep the attention of all steps, B K L S numbers, where `step` returns it.

    Returns:
        A `Decoded`.

    Raises:
        ValueError: if an argument is out of range, shapes do not fit, or `step` returns something else.

    Example:
        >>> table = keras.ops.convert_to_tensor([[0.0, 2.0, 1.0], [1.0, 0.0, 3.0], [0.0, 0.0, 0.0]])
        >>> def step(tokens, state):
        ...     return keras.ops.take(table, tokens, axis=0), state
        >>> decode(step, (), start=[0], end=2, max_length=4).tokens  # [[[1, 2, 0, 0]]]
    """
    strategy = Greedy() if strategy is None else strategy
    if not isinstance(strategy, Strategy):
        raise ValueError(f"Expected `strategy` to be Greedy, Sampling or BeamSearch. Received: {strategy!r}")
    state = tree.map_structure(ops.convert_to_tensor, state)
    start = _starts(start, state)
    task = _task(start, end, max_length, prompt, prompt_lengths, min_length, pad, memory_mask)
    step = _Step(step, tiled(state, strategy.width), task, strategy.width)
    length, rows = task.max_length, (task.batch, strategy.width)

    def turn(t, last, flat, search, record):
        log_probs, flat, attention = step(t, last, flat)
        search = search or strategy.begin(task, log_probs.dtype)
        tokens, parents, search = strategy.advance(task, t, search, log_probs, attention)
        if parents is not None:
            flat = [ops.take(a, parents, axis=0) for a in flat]
        wanted = {"tokens": tokens}
        if return_attention and attention is not None:
            wanted["attention"] = attention if parents is None else continued(attention, parents)
        if not record:
            record = {name: ops.zeros((length, *ops.shape(a)), a.dtype) for name, a in wanted.items()}
        record = {name: ops.slice_update(record[name], [t, *[0] * len(a.shape)], a[None]) for name, a in wanted.items()}
        return t + 1, ops.reshape(tokens, (rows[0] * rows[1],)), step.like_state(flat), search, record

    def going(t, last, flat, search, record):
        del last, flat, record
        return ops.logical_and(t < length, ops.any(~strategy.done(task, search)))

    # The first turn is made outside of the loop: it tells what the loop carries.
    first = turn(ops.convert_to_tensor(0, "int32"), tiled(start, strategy.width), step.flat, None, None)
    *_, search, record = ops.while_loop(going, turn, first)
    return _decoded(task, strategy, search, record)


def _starts(start, state):
    """The start tokens (B,) int32."""
    leaves = tree.flatten(state)
    if isinstance(start, numbers.Integral) and leaves:
        start = ops.full(ops.shape(leaves[0])[:1], start, "int32")
    start = _integers("start", start, "(batch,), or an integer and a state with arrays", 1)
    for leaf in leaves:
        if len(leaf.shape) == 0 or not _agree(leaf.shape[:1], start.shape):
            raise ValueError(
                f"Expected arrays with the batch in front in `state`, {start.shape[0]} rows as in `start`. "
                f"Received: shape {tuple(leaf.shape)}"
            )
    return start


def _integers(name, value, shape, rank):
    """`value` as int32 of that rank, or a ValueError that says which shape was expected."""
    value = ops.convert_to_tensor(value)
    if len(value.shape) != rank or "int" not in keras.backend.standardize_dtype(value.dtype):
        raise ValueError(
            f"Expected `{name}` of shape {shape} and an integer dtype. "
            f"Received: shape {tuple(value.shape)}, dtype {keras.backend.standardize_dtype(value.dtype)}"
        )
    return ops.cast(value, "int32")


def _agree(received, expected):
    """Whether two shapes may be the same, as far as they are known."""
    return len(received) == len(expected) and all(
        a is None or b is None or a == b for a, b in zip(received, expected, strict=True)
    )


def _task(start, end, max_length, prompt, prompt_lengths, min_length, pad, memory_mask):
    """The arguments of `decode`, checked."""
    length = arguments.positive("max_length", max_length)
    for name, value in (("end", end), ("pad", pad), ("min_length", min_length)):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool) and value >= 0
        if not whole and not (name == "end" and value is None):
            raise ValueError(f"Expected `{name}` to be an integer >= 0. Received: {name}={value!r}")
    if min_length > length:
        raise ValueError(f"Expected `min_length` <= `max_length`. Received: {min_length} and {length}")
    batch = ops.shape(start)[0]
    if prompt is None:
        if prompt_lengths is not None:
            raise ValueError("Expected `prompt` where `prompt_lengths` are given. Received: prompt=None")
        prompt = ops.zeros((batch, 0), "int32")
    prompt = _integers("prompt", prompt, "(batch, P)", 2)
    size = prompt.shape[1]
    if not _agree(prompt.shape[:1], start.shape) or (size or 0) > length:
        raise ValueError(
            f"Expected `prompt` of shape (batch, P) with batch = {start.shape[0]} and P <= max_length = {length}. "
            f"Received: shape {tuple(prompt.shape)}"
        )
    counts = ops.ones_like(prompt)
    if prompt_lengths is not None:
        counts = ops.cast(masks.from_lengths(prompt_lengths, ops.shape(prompt)), "int32")
    return Task(
        batch=batch,
        max_length=length,
        min_length=min_length,
        end=-1 if end is None else end,
        pad=pad,
        prompt=ops.pad(prompt, [[0, 0], [0, 1]]),
        prompt_lengths=ops.sum(counts, axis=1),
        memory_mask=masks.checked("memory_mask", memory_mask, (start.shape[0], None)),
    )


class _Step:
    """The caller's step on flat states, with log-probabilities and checks of what it returns."""

    def __init__(self, function, state, task, width):
        self.function = function
        self.state = state
        self.flat = tree.flatten(state)
        self.task = task
        self.width = width

    def __call__(self, t, tokens, flat):
        """Log-probabilities (B, K, V), the flat states, and the attention (B, K, S) or None."""
        results = self.function(tokens, tree.pack_sequence_as(self.state, flat))
        if not isinstance(results, (tuple, list)) or len(results) not in (2, 3):
            raise ValueError(
                f"Expected `step` to return (logits, state) or (logits, state, attention). Received: {type(results)}"
            )
        logits, state, attention = (*results, None)[:3]
        self._check("logits", logits, tokens)
        size = logits.shape[-1]
        for name, token in (("end", self.task.end), ("pad", self.task.pad)):
            if size is None or token >= size:
                raise ValueError(f"Expected `{name}` below the {size} tokens of the logits. Received: {name}={token}")
        dtype = at_least_single(logits.dtype)
        log_probs = ops.log_softmax(ops.cast(logits, dtype), axis=-1)
        log_probs = ops.where(ops.isnan(log_probs), float("-inf"), log_probs)
        if self.task.min_length > 1 and self.task.end >= 0:
            barred = (t + 1 < self.task.min_length) & (ops.arange(size) == self.task.end)
            log_probs = ops.where(barred, float("-inf"), log_probs)
        if attention is not None:
            self._check("attention", attention, tokens)
            attention = self._rows_of(ops.cast(attention, dtype))
        return self._rows_of(log_probs), self._flat(state), attention

    def _rows_of(self, a):
        return ops.reshape(a, (self.task.batch, self.width, ops.shape(a)[-1]))

    def _check(self, name, value, tokens):
        if not _agree(value.shape[:1], tokens.shape) or len(value.shape) != 2:
            raise ValueError(
                f"Expected {name} of shape (rows, size) from `step`, rows = {tokens.shape[0]}. "
                f"Received: shape {tuple(value.shape)}"
            )

    def _flat(self, state):
        flat = tree.flatten(state)
        given = [(tuple(a.shape), keras.backend.standardize_dtype(a.dtype)) for a in self.flat]
        received = [(tuple(a.shape), keras.backend.standardize_dtype(a.dtype)) for a in flat]
        if len(given) != len(received) or not all(
            _agree(a, b) and one == other for (a, one), (b, other) in zip(received, given, strict=True)
        ):
            raise ValueError(
                f"Expected `step` to return a state like the one it got: {given} (shapes and dtypes). "
                f"Received: {received}"
            )
        return flat

    def like_state(self, flat):
        """Flat states with all that is known of the shapes of the first ones, as a loop wants them."""
        return [ops.reshape(a, ops.shape(b)) for a, b in zip(flat, self.flat, strict=True)]


def _decoded(task, strategy, search, record):
    """The best hypotheses, put together along their paths."""
    best = slice(None, strategy.n_best)
    lengths, log_probs = search["lengths"][:, best], search["log_probs"][:, best]
    valid = log_probs > float("-inf")
    here = valid[..., None] & (ops.arange(task.max_length) < lengths[..., None])
    tokens = ops.transpose(record["tokens"], (1, 2, 0))
    attention = record.get("attention")
    attention = None if attention is None else ops.transpose(attention, (1, 2, 0, 3))
    if "paths" in search:
        paths = search["paths"][:, best]
        tokens = ops.take_along_axis(tokens, paths, axis=1)
        attention = None if attention is None else ops.take_along_axis(attention, paths[..., None], axis=1)
    return Decoded(
        tokens=ops.where(here, tokens, task.pad),
        lengths=ops.where(valid, lengths, 0),
        scores=search["scores"][:, best],
        log_probs=log_probs,
        finished=search["finished"][:, best] & valid,
        found=ops.sum(ops.cast(valid, "int32"), axis=1),
        attention=None if attention is None else ops.where(here[..., None], attention, 0.0),
    )


def tiled(tree_of_arrays, width):
    """A tree of arrays (B, ...) with each row repeated for the hypotheses of a beam, (B * width, ...).

    For what the step function reads beside its state, such as the memory of an encoder and its mask.

    Args:
        tree_of_arrays: arrays with the batch in front, in any structure; None stays None.
        width: int > 0, `strategy.width`.

    Returns:
        The same structure. Row b becomes the rows b * width to b * width + width - 1.

    Raises:
        ValueError: if `width` is no integer > 0.
    """
    if arguments.positive("width", width) == 1:
        return tree_of_arrays
    return tree.map_structure(lambda a: None if a is None else ops.repeat(a, width, axis=0), tree_of_arrays)


def compiled(function, variables=()):
    """A function of arrays as a compiled one, without gradients.

    On TensorFlow it is one XLA program (`tf.function(jit_compile=True)`), on JAX `jax.jit`; on torch it runs as it is
    under `torch.no_grad`. Keras variables that the function reads are read anew at every call, and those that it
    changes, such as the state of a `keras.random.SeedGenerator`, are changed.

    Args:
        function: of trees of arrays, given by position, that returns a tree of arrays. Layers that it calls are built.
        variables: the Keras variables that it reads or changes: `model.variables` and `strategy.variables`. On JAX one
            that is not listed is a constant.

    Returns:
        The function. New shapes compile a new program.

    Raises:
        ValueError: at a call, on JAX, if a variable changes that is not listed.

    Example:
        >>> generate = compiled(lambda state: decode(step, state, 1, 2, 20, strategy), model.variables)
        >>> tokens = generate(state).tokens
    """
    return backend.compiled(function, list(variables))


def next_function(step):
    """A step function of `decode` as the `next` function of KerasHub's samplers.

    A sampler calls `next(prompt, cache, index)` for the token at `index` of `prompt` (N, L); the token before it is
    read, and the state is the cache. So `prompt` begins with the start token, sampling with `index=1`, and the cache is
    the state before the start token is read.

    Args:
        step: see `decode`. Its attention is dropped.

    Returns:
        A function `next(prompt, cache, index) -> (logits (N, V), hidden states, cache)`. There are no hidden states:
        None. So the contrastive sampler, which reads them, does not work.

    Example:
        >>> sampler = keras_hub.samplers.TopPSampler(p=0.9)
        >>> tokens = sampler(next_function(step), prompt=prompt, cache=state, index=1, stop_token_ids=[2])
    """

    def next(prompt, cache, index):
        tokens = ops.take(prompt, index - 1, axis=1)
        logits, cache = step(ops.cast(tokens, "int32"), cache)[:2]
        return logits, None, cache

    return next
