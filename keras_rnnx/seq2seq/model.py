"""Sequences to sequences of another length: a model that trains by teacher forcing and generates."""

import keras
import numpy as np
from keras import ops

from keras_rnnx import arguments
from keras_rnnx.models.text import checked_text, not_empty, numbers_of
from keras_rnnx.seq2seq.decoding import decode, tiled
from keras_rnnx.seq2seq.generating import (
    Bridges,
    GeneratingModel,
    checked_ends,
    checked_tokens,
    generated,
    next_tokens,
    right_padded,
    roomy,
)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Seq2Seq(GeneratingModel):
    r"""An encoder reads the source, a decoder says the target.

    $$ m, s = \text{encoder}(x), \qquad p(y \mid x) = \prod_t p(y_t \mid y_{<t}, m, s) \tag{1} $$

    It is trained by teacher forcing: the decoder reads the true \(y_{t-1}\), all steps at once. The loss is the mean of
    \(-\log p(y_t \mid \dots)\) over the tokens of a batch that are no padding. The decoder starts from
    \(\tanh(s\, W + b)\), one such bridge for each of its states; s are the final states of the encoder's last level.

    With `scheduled_sampling` p the decoder reads in training, with the probability p at each step, what it would itself
    have said in place of the true token. As in parallel scheduled sampling that is taken from a first pass with the
    true tokens, so that training stays parallel over time where the decoder is; the first pass has no gradient.

    Args:
        encoder: an `Encoder`.
        decoder: a `Decoder`.
        source_text: a `keras_rnnx.models.Text` with a vocabulary, or None where sources are arrays.
        target_text: a `Text` with a vocabulary, a start and an end token, or None where targets are integers.
        start: int, the token before the first; with `target_text` that of its own.
        end: int, the token after the last; with `target_text` that of its own.
        bridge: bool, see above; without it the decoder starts from its own initial state.
        scheduled_sampling: None, a rate in [0, 1], or a `keras.optimizers.schedules` schedule of it over the steps of
            training, which the weight `steps` counts.
        seed: int or None, for `scheduled_sampling`.

    Call:
        inputs: a dict with `source`, what the encoder takes, and `target` (B, T) integers, what the decoder reads.
        training: bool.

    Returns:
        The logits (B, T, V).

    Fit:
        `model.compile("adam"); model.fit(sources, targets)`: raw texts, or sources (N, S) or (N, S, D) and targets
        (N, T) of integers that begin with `start` and end with `end`, padded with 0. It has a loss of its own.

    Raises:
        ValueError: if an argument is missing or out of range, or data do not fit.

    Example:
        text = keras_rnnx.models.Text(split="character", start_token="[START]", end_token="[END]")
        text.adapt(words)
        model = keras_rnnx.seq2seq.Seq2Seq(
            keras_rnnx.seq2seq.Encoder(keras_rnnx.GRUCell(64), bidirectional=True, vocabulary=text.size),
            keras_rnnx.seq2seq.Decoder(text.size, keras_rnnx.GRUCell(64), keras_rnnx.attention.LuongAttention()),
            source_text=text,
            target_text=text,
        )
        model.compile("adam")
        model.fit(words, [word[::-1] for word in words])
        model.generate(["abc"], keras_rnnx.seq2seq.BeamSearch(4))

    Reference: D. Bahdanau, K. Cho and Y. Bengio, Neural machine translation by jointly learning to align and translate,
        ICLR 2015, arXiv:1409.0473. S. Bengio, O. Vinyals, N. Jaitly and N. Shazeer, Scheduled sampling for sequence
        prediction with recurrent neural networks, NeurIPS 2015, arXiv:1506.03099. D. Duckworth, A. Neelakantan,
        B. Goodrich, L. Kaiser and S. Bengio, Parallel scheduled sampling, arXiv:1906.04331.
    """

    def __init__(
        self,
        encoder,
        decoder,
        *,
        source_text=None,
        target_text=None,
        start=None,
        end=None,
        bridge=True,
        scheduled_sampling=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        self.encoder = encoder
        self.decoder = decoder
        self.source_text = checked_text("source_text", source_text)
        self.target_text = checked_text("target_text", target_text)
        self.first, self.last = checked_ends(target_text, start, end, decoder.vocabulary)
        if None in (self.first, self.last):
            raise ValueError(
                "Expected a start and an end token of targets, in `target_text` or as `start` and `end`. "
                f"Received: {self.first!r} and {self.last!r}"
            )
        if source_text is not None and source_text.size != encoder.vocabulary:
            raise ValueError(
                f"Expected an encoder of the {source_text.size} tokens of `source_text`. Received: one of "
                f"{encoder.vocabulary}"
            )
        self.start = start
        self.end = end
        self.bridge = bool(bridge)
        self.bridges = Bridges(decoder.state_sizes, dtype=self.dtype_policy, name="bridges") if self.bridge else None
        self.scheduled_sampling = scheduled_sampling
        if isinstance(scheduled_sampling, (int, float)) and not 0 <= scheduled_sampling <= 1:
            raise ValueError(f"Expected `scheduled_sampling` in [0, 1]. Received: {scheduled_sampling!r}")
        self.seed = arguments.checked_seed(seed)
        self.steps = None
        if scheduled_sampling is not None:
            self.seed_generator = keras.random.SeedGenerator(seed)

    # ---- Keras ----

    def build(self, input_shape):
        """Builds the encoder, the bridges and the decoder."""
        source, target = input_shape["source"], tuple(input_shape["target"])
        if not self.encoder.built:
            self.encoder.build(source)
        more = {"memory_shape": (*tuple(source)[:2], *self.encoder.layer.shape_of_step)} if self.attends else {}
        if not self.decoder.built:
            self.decoder.build(target, **more)
        if callable(self.scheduled_sampling):
            self.steps = self.add_weight(name="steps", shape=(), dtype="int32", initializer="zeros", trainable=False)
        if self.bridge:
            self.bridges.build((None, sum(self.encoder.layer.state_sizes_of_levels()[-1])))
        self.built = True

    @property
    def attends(self):
        """Whether the decoder looks at the memory."""
        return self.decoder.attention is not None

    def call(self, inputs, training=False):
        """See the class."""
        memory, states = self.encoder(inputs["source"], training=training)
        target, memory = inputs["target"], memory if self.attends else None
        start = self._start(ops.shape(target)[0], states, memory)
        if training and self.scheduled_sampling is not None:
            target = self._sampled(target, self.decoder(target, start, memory, training=training))
        return self.decoder(target, start, memory, training=training)

    def _start(self, batch, states, memory):
        """The states in which the decoder starts, given those in which the encoder ended."""
        if not self.bridge:
            return self.decoder.start(batch, None, memory)
        joined = ops.concatenate([ops.cast(s, self.compute_dtype) for s in states], axis=-1)
        return self.decoder.start(batch, self.bridges(joined), memory)

    def _sampled(self, target, logits):
        """The target, in which each token after the first may be the one that the logits of the step before say."""
        rate = self.scheduled_sampling
        if callable(rate):
            rate = rate(ops.cast(self.steps, "float32"))
            self.steps.assign(self.steps + 1)
        logits = ops.stop_gradient(logits)[:, :-1]
        gumbel = -ops.log(-ops.log(keras.random.uniform(ops.shape(logits), 1e-7, 1.0, seed=self.seed_generator)))
        said = ops.cast(ops.argmax(logits + ops.cast(gumbel, logits.dtype), axis=-1), target.dtype)
        mine = keras.random.uniform(ops.shape(said), seed=self.seed_generator) < ops.cast(rate, "float32")
        true = target[:, 1:]
        mine = ops.logical_and(mine, ops.logical_and(ops.not_equal(true, 0), ops.not_equal(said, 0)))
        return ops.concatenate([target[:, :1], ops.where(mine, said, true)], axis=1)

    # ---- raw data ----

    def preprocess(self, x, y=None, sample_weight=None):
        """Sources and targets as what `call` takes."""
        if isinstance(x, dict) and "source" in x:
            return x, y, sample_weight
        x = self.encoder.checked(numbers_of(x, self.source_text, "source_text"))
        if y is None:
            return {"source": x}, None, sample_weight
        y = checked_tokens("targets", numbers_of(y, self.target_text, "target_text"), self.decoder.vocabulary)
        if (y[:, 0] != self.first).any():
            raise ValueError(f"Expected targets that begin with the start token {self.first}. Received: others")
        target, y = next_tokens(y, self.last)
        return {"source": x, "target": target}, y, sample_weight

    # ---- generating ----

    def program(self, arrays, strategy, **settings):
        """See `GeneratingModel`."""
        source = arrays["source"]
        memory, states = self.encoder(source)
        start = self._start(ops.shape(source)[0], states, memory if self.attends else None)
        prepared = mask = None
        if self.attends:
            mask = self.encoder.valid(source)
            prepared = tiled(self.decoder.prepare(memory, mask), strategy.width)
        unknown = settings.pop("unknown")

        def step(tokens, states):
            logits, states, alignments = self.decoder.step(tokens, states, prepared)
            logits = self.allowed(logits, self.target_text, self.first, unknown)
            return (logits, states) if alignments is None else (logits, states, alignments)

        return decode(step, start, self.first, self.last, strategy=strategy, memory_mask=mask, **settings)

    def decode(
        self, sources, strategy=None, max_length=None, min_length=0, *, unknown=False, attention=False, batch_size=64
    ):
        """Decodes sources.

        Args:
            sources: raw texts, or arrays.
            strategy: `Greedy()` (the default), `Sampling(...)` or `BeamSearch(...)`. One that draws is compiled for
                itself: keep it for the next call.
            max_length: int, the most tokens, the end token included. Default: twice the longest source, and 10.
            min_length: int, the fewest.
            unknown: bool, whether the token for unknown words may be said.
            attention: bool, whether to return the alignments.
            batch_size: int > 0.

        Returns:
            A `Decoded` of NumPy arrays; the padding of a source has no attention.
        """
        not_empty(sources)
        rows = np.asarray(self.preprocess(sources)[0]["source"])
        length = roomy(rows.shape[1])
        if max_length is None:
            max_length = 2 * length + 10
        if rows.ndim == 2:
            rows = right_padded(rows, length)
        settings = {"max_length": max_length, "min_length": min_length, "unknown": unknown}
        return self.decode_rows(
            {"source": rows}, strategy, batch_size, return_attention=attention and self.attends, **settings
        )

    def generate(self, sources, strategy=None, max_length=None, min_length=0, **options):
        """The targets of sources.

        Args:
            sources: see `decode`, as the rest.

        Returns:
            A list with the best target of each source, or with a list of the `n_best` ones: texts where there is a
            `target_text`, else arrays of integers without the end token.
        """
        return generated(self.decode(sources, strategy, max_length, min_length, **options), self.target_text)

    def predict(self, x, *args, **kwargs):
        """What `generate` returns."""
        return self.generate(x, *args, **kwargs)
