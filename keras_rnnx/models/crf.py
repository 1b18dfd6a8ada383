"""A linear chain over tags: exact likelihood, marginals and the best path."""

import keras
import numpy as np
from keras import ops

from keras_rnnx import arguments
from keras_rnnx.base.uncast import Uncast
from keras_rnnx.engine import masks, paths
from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.engine.memory import LOWEST
from keras_rnnx.engine.sequential import Engine, Walk


def _step(gather, x, multiply, vectors, message, scores):
    r"""One step of a walk along a chain.

    $$ \alpha_t = x_t + m_t, \qquad m_{t+1}(j) = \bigoplus_i \bigl(\alpha_t(i) + A_{ij}\bigr) $$

    where the sum is `gather`, over the axis 1. The message m to the next step rides along as a state, so that the first
    one is an initial state like any other and a masked step needs nothing of its own.
    """
    del multiply, scores
    scores = x + message
    return [gather(scores[:, :, None] + vectors["transitions"], axis=1), scores]


SUM = Engine(lambda *args: _step(ops.logsumexp, *args))
MAX = Engine(lambda *args: _step(ops.max, *args))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class CRF(Uncast):
    r"""A linear-chain conditional random field: the probability of a whole sequence of tags.

    With the potentials \(x_t(k)\) of tag k at step t, the score of tags \(y_1 .. y_n\) and their probability are

    $$ s(x, y) = a(y_1) + \sum_{t=1}^{n} x_t(y_t) + \sum_{t=1}^{n-1} A_{y_t y_{t+1}} + b(y_n), \qquad
       p(y \mid x) = \frac{e^{s(x, y)}}{Z(x)}, \qquad Z(x) = \sum_{y'} e^{s(x, y')} $$

    with the weights A (`transitions`), a (`start`) and b (`end`). Steps that are masked are left out: the chain goes
    from each valid step to the next one. The sum over all \(K^n\) sequences takes one walk of the logarithms,

    $$ \alpha_1 = a + x_1, \qquad \alpha_{t+1}(j) = x_{t+1}(j) + \log \sum_i e^{\alpha_t(i) + A_{ij}}, \qquad
       \log Z = \log \sum_k e^{\alpha_n(k) + b(k)} , $$

    the best sequence the same walk with the maximum in place of \(\log \sum \exp\), then one back (Viterbi), and the
    marginals \(p(y_t = k \mid x)\) two walks of the sum, from both ends. They run in the engine of the recurrent
    layers, in float32 at least. A sequence without a valid step has log-likelihood 0 and no tags.

    Args:
        allowed: (K, K) booleans, whether tag j may follow tag i, or None: all may. What is not allowed has probability
            zero, in training and in decoding: see `allowed_transitions`.
        allowed_start: (K,) booleans, whether a sequence may start with a tag, or None.
        allowed_end: (K,) booleans, whether a sequence may end with a tag, or None.
        transitions_initializer: initializer of `transitions`, `start` and `end`.
        transitions_regularizer: regularizer of `transitions`, or None.

    Call:
        potentials: (B, T, K), T > 0.
        mask: (B, T) booleans in any pattern, or None.

    Returns:
        The tags of the best sequences, (B, T) int32, -1 at masked steps: `decode` without the scores. A model is
        trained by `log_likelihood`.

    Weights: transitions (K, K), start (K,), end (K,).

    Cost: B T K^2 additions and exponentials a walk.

    Raises:
        ValueError: if shapes do not fit, or nothing is allowed.

    Example:
        ```python
        crf = keras_rnnx.models.CRF()
        loss = -ops.mean(crf.log_likelihood(potentials, tags, mask))
        tags, scores = crf.decode(potentials, mask)
        ```

    Reference: J. Lafferty, A. McCallum and F. Pereira, Conditional random fields, ICML 2001; G. Lample et al., Neural
        architectures for named entity recognition, arXiv:1603.01360, equations 1 to 3 (whose P is x here).
    """

    def __init__(
        self,
        *,
        allowed=None,
        allowed_start=None,
        allowed_end=None,
        transitions_initializer="zeros",
        transitions_regularizer=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.allowed = _flags("allowed", allowed, 2)
        self.allowed_start = _flags("allowed_start", allowed_start, 1)
        self.allowed_end = _flags("allowed_end", allowed_end, 1)
        self.transitions_initializer = keras.initializers.get(transitions_initializer)
        self.transitions_regularizer = keras.regularizers.get(transitions_regularizer)
        self.supports_masking = True

    def build(self, input_shape):
        """Makes the weights."""
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(f"Expected potentials of shape (batch, time, tags). Received: shape {input_shape}")
        count = self.tags = input_shape[-1]
        for name in ("allowed", "allowed_start", "allowed_end"):
            flags = getattr(self, name)
            if flags is not None and len(flags) != count:
                raise ValueError(f"Expected `{name}` for {count} tags. Received: {len(flags)} rows")
        start = self.transitions_initializer
        self.transitions = self.add_weight(
            name="transitions", shape=(count, count), initializer=start, regularizer=self.transitions_regularizer
        )
        self.start = self.add_weight(name="start", shape=(count,), initializer=start)
        self.end = self.add_weight(name="end", shape=(count,), initializer=start)
        self.built = True

    def get_config(self):
        """The arguments."""
        return {
            **super().get_config(),
            "allowed": self.allowed,
            "allowed_start": self.allowed_start,
            "allowed_end": self.allowed_end,
            "transitions_initializer": keras.initializers.serialize(self.transitions_initializer),
            "transitions_regularizer": keras.regularizers.serialize(self.transitions_regularizer),
        }

    # ---- the parts ----

    def _scores(self, dtype):
        """A, a and b, with what is not allowed far below everything."""
        scores = []
        for flags, weight in (
            (self.allowed, self.transitions),
            (self.allowed_start, self.start),
            (self.allowed_end, self.end),
        ):
            value = ops.cast(weight, dtype)
            if flags is not None:
                value = ops.where(ops.convert_to_tensor(flags, "bool"), value, ops.full_like(value, LOWEST))
            scores.append(value)
        return scores

    def _ready(self, potentials, mask):
        """Potentials (T, B, K), zero at masked steps, and the mask (B, T)."""
        potentials = ops.convert_to_tensor(potentials)
        shape = tuple(potentials.shape)
        if len(shape) != 3 or shape[1] == 0 or (self.built and shape[2] != self.tags):
            count = self.tags if self.built else "tags"
            raise ValueError(f"Expected potentials of shape (batch, time > 0, {count}). Received: shape {shape}")
        if not self.built:
            self.build(shape)
        mask = masks.checked("mask", mask, shape)
        mask = ops.ones(ops.shape(potentials)[:2], "bool") if mask is None else mask
        x = masks.quiet(ops.cast(potentials, at_least_single(potentials.dtype)), mask)
        return ops.swapaxes(x, 0, 1), mask

    @staticmethod
    def _walk(engine, x, mask, transitions, start, save=True, reverse=False):
        """The scores at each step, (T, B, K), and at the last valid one, (B, K)."""
        message = start + ops.zeros_like(x[0])
        flow = {
            "x": x,
            "state": [message, ops.zeros_like(message)],
            "weights": {},
            "vectors": {"transitions": transitions},
            "reset_state": [],
        }
        compiled = paths.choose(None, [], unroll=False).compiled
        walk = Walk(emit=(1,), reverse=reverse, compiled=compiled, save=save)
        made = engine.run(flow, {"slots": {"mask": ops.transpose(mask)}, "fixed": {}}, walk)
        return made["emit"][0], made["final"][1]

    def _log_partition(self, x, mask):
        transitions, start, end = self._scores(x.dtype)
        _, last = self._walk(SUM, x, mask, transitions, start)
        return masks.quiet(ops.logsumexp(last + end, axis=-1), ops.any(mask, axis=1))

    def _score(self, x, tags, mask):
        """s(x, y), (B,)."""
        transitions, start, end = self._scores(x.dtype)
        tags = ops.transpose(ops.where(mask, ops.cast(tags, "int32"), 0))
        some, mask = ops.any(mask, axis=1), ops.transpose(mask)
        made = ops.cumsum(ops.cast(mask, "int32"), axis=0)
        read = masks.last_read(tags, mask)
        before = ops.concatenate([ops.zeros_like(read[:1]), read[:-1]])  # the tag of the valid step before
        own = ops.take_along_axis(x, tags[:, :, None], axis=2)[:, :, 0]
        moved = ops.take(ops.reshape(transitions, (-1,)), before * self.tags + tags)
        moved = ops.where(made > 1, moved, ops.take(start, tags))
        return ops.sum(masks.quiet(own + moved, mask), axis=0) + masks.quiet(ops.take(end, read[-1]), some)

    def _check_tags(self, tags, mask):
        shape = tuple(tags.shape)
        masks.checked_shape("tags", tags, tuple(mask.shape))
        if len(shape) != 2 or "int" not in keras.backend.standardize_dtype(tags.dtype):
            raise ValueError(f"Expected integer tags of shape (batch, time). Received: {tags.dtype} of shape {shape}")
        values, valid = backend.known(tags), backend.known(mask)
        if values is not None and valid is not None:
            values = values[valid]
            if values.size and not 0 <= values.min() <= values.max() < self.tags:
                raise ValueError(
                    f"Expected tags in 0..{self.tags - 1} at valid steps. "
                    f"Received: tags from {values.min()} to {values.max()}"
                )

    # ---- what is asked of a CRF ----

    def log_partition(self, potentials, mask=None):
        """log Z(x), (B,); 0 without a valid step."""
        return self._log_partition(*self._ready(potentials, mask))

    def log_likelihood(self, potentials, tags, mask=None):
        r"""The exact \(\log p(y \mid x)\).

        Its gradients are what was observed less what was expected: in \(x_t(k)\) \([y_t = k] - p(y_t = k \mid x)\).

        Args:
            potentials: (B, T, K).
            tags: (B, T) integers in 0..K-1; what stands at masked steps is not read.
            mask: (B, T) booleans or None.

        Returns:
            (B,); 0 without a valid step, about -1e30 where the tags are not allowed.

        Raises:
            ValueError: if shapes do not fit, or (where values are known) a tag is out of range.
        """
        x, mask = self._ready(potentials, mask)
        tags = ops.convert_to_tensor(tags)
        self._check_tags(tags, mask)
        return self._score(x, tags, mask) - self._log_partition(x, mask)

    def marginals(self, potentials, mask=None):
        r"""The marginals \(p(y_t = k \mid x)\), (B, T, K), zero at masked steps; differentiable."""
        x, mask = self._ready(potentials, mask)
        transitions, start, end = self._scores(x.dtype)
        ahead, _ = self._walk(SUM, x, mask, transitions, start)
        back, _ = self._walk(SUM, x, mask, ops.transpose(transitions), end, reverse=True)
        made = ops.softmax(ahead + back - x, axis=-1)  # x is in both; sums to one in any rounding
        return masks.quiet(ops.swapaxes(made, 0, 1), mask)

    def decode(self, potentials, mask=None):
        """The best sequence of tags and its score.

        Returns:
            tags: (B, T) int32, -1 at masked steps.
            scores: (B,), s(x, y) of these tags; 0 without a valid step.
        """
        x, mask = self._ready(potentials, mask)
        x, *scores = (ops.stop_gradient(a) for a in (x, *self._scores(x.dtype)))
        transitions, start, end = scores
        best, last = self._walk(MAX, x, mask, transitions, start, save=False)
        score = masks.quiet(ops.max(last + end, axis=-1), ops.any(mask, axis=1))
        to_tag = ops.transpose(transitions)

        def back(onwards, slot):
            tag = ops.cast(ops.top_k(slot["best"] + onwards, 1)[1][..., 0], "int32")  # ONNX has none of Keras' argmax
            return ops.where(slot["mask"][:, None], ops.take(to_tag, tag, axis=0), onwards), tag

        slots = {"best": best, "mask": ops.transpose(mask)}
        _, tags = backend.scan(back, end + ops.zeros_like(x[0]), slots, reverse=True, plain=True)
        return ops.where(mask, ops.transpose(tags), -1), score

    def call(self, potentials, mask=None):
        """See the class."""
        return self.decode(potentials, mask)[0]

    def compute_output_spec(self, potentials, mask=None):
        """(B, T) int32."""
        return keras.KerasTensor(potentials.shape[:2], "int32")


def _flags(name, value, rank):
    """Booleans as a nested list, or None."""
    if value is None:
        return None
    flags = np.asarray(value, "bool")
    if flags.ndim != rank or len(set(flags.shape)) != 1 or not flags.any():
        shape = "(tags, tags)" if rank == 2 else "(tags,)"
        raise ValueError(f"Expected `{name}` of shape {shape}, with something allowed. Received: {value!r}")
    return flags.tolist()


def allowed_transitions(tags, scheme="BIO"):
    """What a scheme for spans allows, for a `CRF`.

    A span of kind X is tagged B-X I-X I-X with `"BIO"`, and B-X I-X E-X, or S-X where it is one step long, with
    `"BIOES"`; O is outside of all spans.

    Args:
        tags: the names, in the order of their numbers.
        scheme: `"BIO"` or `"BIOES"`.

    Returns:
        dict: the arguments `allowed`, `allowed_start` and `allowed_end`.

    Raises:
        ValueError: if a name is not of the scheme.

    Example:
        >>> names = ["O", "B-PER", "I-PER"]
        >>> crf = keras_rnnx.models.CRF(**keras_rnnx.models.allowed_transitions(names))
    """
    arguments.choice("scheme", scheme, ("BIO", "BIOES"))
    pairs = [tuple(name.split("-", 1)) if "-" in name else (name, None) for name in tags]
    for name, (place, kind) in zip(tags, pairs, strict=True):
        if place not in scheme or len(place) != 1 or (place == "O") != (kind is None):
            raise ValueError(f"Expected names such as 'O', 'B-X' and 'I-X' of scheme {scheme!r}. Received: {name!r}")
    whole = scheme == "BIOES"  # a span that has begun must end

    def follows(before, after):
        if after[0] in "IE":
            return before[0] in "BI" and before[1] == after[1]
        return not (whole and before[0] in "BI")

    return {
        "allowed": [[follows(before, after) for after in pairs] for before in pairs],
        "allowed_start": [place not in "IE" for place, _ in pairs],
        "allowed_end": [not (whole and place in "BI") for place, _ in pairs],
    }
