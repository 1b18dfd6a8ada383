"""Sequences out of nothing, of a beginning or of a condition: language models and one-to-many networks."""

import keras
import numpy as np
from keras import ops

from keras_rnnx import arguments
from keras_rnnx.models.text import checked_text, not_empty, numbers_of
from keras_rnnx.seq2seq.decoder import Decoder
from keras_rnnx.seq2seq.decoding import decode
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
class SequenceGenerator(GeneratingModel):
    r"""A model that says what comes next: a language model, or, with a condition, a one-to-many network.

    $$ p(y \mid z) = \prod_t p(y_t \mid y_{<t}, z) \tag{1} $$

    It reads the true \(y_{t-1}\) in training, all steps at once; the loss is the mean of \(-\log p(y_t \mid \dots)\)
    over the tokens of a batch that are no padding. A condition z decides in which states it starts:
    \(\tanh(z\, W + b)\) for each state of the cell.

    Args:
        cell: a cell, or a list of cells on top of each other.
        text: a `Text` with a vocabulary, or None where sequences are integers.
        vocabulary: int V, without a text: the integers are 0..V-1, of which 0 is padding.
        start: int or None, the token before the first; with `text` that of its own. Without one, a sequence must be
            begun by a prompt.
        end: int or None, the token after the last; with `text` that of its own.
        condition: int Z > 0, the width of the conditions (B, Z); or a layer that makes such vectors of what is given;
            or None.
        stateful: bool, whether a call starts where the one before it ended, row by row, for truncated backpropagation
            along texts that are longer than a batch; not with a condition.
        embedding, dropout, tie_weights, seed: see `keras_rnnx.seq2seq.Decoder`.

    Call:
        inputs: (B, T) integers; with a condition a dict with `sequences` and `condition`.
        training: bool.

    Returns:
        The logits (B, T, V): at step t those of what comes after the t-th token read.

    Fit:
        `model.compile("adam"); model.fit(sequences)`: raw texts, or integers (N, T), padded with 0 on the right; with a
        condition a dict with `sequences` and `condition`. What to say is what comes next in the sequences themselves.
        With `fit(x, y)` x is read as it is, and y (N, T) is what to say, as for chunks of a long text.

    Raises:
        ValueError: if an argument is missing or out of range, or data do not fit.

    Example:
        text = keras_rnnx.models.Text(split="character", start_token="[START]", end_token="[END]")
        text.adapt(names)
        model = keras_rnnx.models.SequenceGenerator(keras_rnnx.LSTMCell(128), text=text)
        model.compile("adam")
        model.fit(names, epochs=10)
        model.generate(count=5, strategy=keras_rnnx.seq2seq.Sampling(temperature=0.8))

    Reference: T. Mikolov, M. Karafiat, L. Burget, J. Cernocky and S. Khudanpur, Recurrent neural network based language
        model, Interspeech 2010. A. Graves, Generating sequences with recurrent neural networks, arXiv:1308.0850.
        O. Vinyals, A. Toshev, S. Bengio and D. Erhan, Show and tell: a neural image caption generator, CVPR 2015,
        arXiv:1411.4555 (conditions).
    """

    def __init__(
        self,
        cell,
        *,
        text=None,
        vocabulary=None,
        start=None,
        end=None,
        condition=None,
        stateful=False,
        embedding=None,
        dropout=0.0,
        tie_weights=False,
        seed=None,
        **kwargs,
    ):
        super().__init__(autocast=False, **kwargs)
        if (text is None) == (vocabulary is None):
            raise ValueError(f"Expected `text` or `vocabulary`, one of them. Received: {text!r} and {vocabulary!r}")
        self.cell = cell
        self.text = checked_text("text", text)
        self.vocabulary = vocabulary
        size = arguments.positive("vocabulary", text.size if vocabulary is None else vocabulary)
        self.start = start
        self.end = end
        self.first, self.last = checked_ends(text, start, end, size)
        self.stateful = bool(stateful)
        self.condition = condition
        if condition is not None and self.stateful:
            raise ValueError("Expected no `condition` with stateful=True. Received: both")
        if condition is not None and not isinstance(condition, keras.layers.Layer):
            arguments.positive("condition", condition)
        self.embedding = embedding
        self.dropout = arguments.rate("dropout", dropout)
        self.tie_weights = bool(tie_weights)
        self.seed = arguments.checked_seed(seed)
        self.decoder = Decoder(
            size,
            cell,
            embedding=embedding,
            dropout=self.dropout,
            tie_weights=self.tie_weights,
            stateful=self.stateful,
            seed=seed,
            dtype=self.dtype_policy,
            name="decoder",
        )
        self.bridges = None
        if condition is not None:
            self.bridges = Bridges(self.decoder.state_sizes, dtype=self.dtype_policy, name="bridges")

    # ---- Keras ----

    def build(self, input_shape):
        """Builds the decoder, and what a condition goes through."""
        shape = input_shape["sequences"] if isinstance(input_shape, dict) else input_shape
        if isinstance(input_shape, dict) != (self.condition is not None):
            raise ValueError(
                "Expected a dict with 'sequences' and 'condition' where the model has a `condition`, and integers "
                f"alone where it has none. Received: shapes {input_shape}, condition={self.condition!r}"
            )
        if not self.decoder.built:
            self.decoder.build(tuple(shape))
        if self.bridges is not None:
            given, width = tuple(input_shape["condition"]), self.condition
            if isinstance(self.condition, keras.layers.Layer):
                if not self.condition.built:
                    self.condition.build(given)
                width = self.condition.compute_output_shape(given)[-1]
            elif given[1:] != (width,):
                raise ValueError(f"Expected conditions (batch, {width}). Received: shape {given}")
            self.bridges.build((None, width))
        self.built = True

    def call(self, inputs, training=False):
        """See the class."""
        if self.bridges is None:
            return self.decoder(inputs, training=training)
        tokens = inputs["sequences"]
        start = self._start(ops.shape(tokens)[0], inputs["condition"], training)
        return self.decoder(tokens, start, training=training)

    def _start(self, batch, condition, training=False):
        if self.bridges is None:
            return self.decoder.start(batch)
        if isinstance(self.condition, keras.layers.Layer):
            condition = self.condition(condition, training=training)
        return self.decoder.start(batch, self.bridges(ops.cast(condition, self.compute_dtype)))

    # ---- raw data ----

    def preprocess(self, x, y=None, sample_weight=None):
        """Sequences as what is read and what is to be said."""
        tokens = self._tokens(x, 2 if y is None else 1)
        if y is None:
            tokens, y = next_tokens(tokens, self.last)
        else:
            y = checked_tokens("targets", y, self.decoder.vocabulary, 1)
        return _with_tokens(x, tokens), y, sample_weight

    def preprocess_to_predict(self, x, y=None, sample_weight=None):
        """Sequences as what is read, to the last step."""
        return _with_tokens(x, self._tokens(x, 1)), y, sample_weight

    def _tokens(self, x, least):
        """The sequences among the inputs as integers (N, T), with T >= least."""
        given = x["sequences"] if isinstance(x, dict) else x
        return checked_tokens("sequences", numbers_of(given, self.text), self.decoder.vocabulary, least)

    def log_likelihood(self, x, batch_size=64):
        """log p of each sequence: the sum over its tokens but the first, the end token included.

        Args:
            x: as for `fit`.
            batch_size: int > 0.

        Returns:
            (N,) NumPy array.
        """
        inputs, y, _ = self.preprocess(x)
        found = []
        for first in range(0, len(y), batch_size):
            part = keras.tree.map_structure(lambda a, first=first: a[first : first + batch_size], inputs)
            wanted = y[first : first + batch_size]
            log_probs = ops.log_softmax(self(part), axis=-1)
            chosen = ops.take_along_axis(log_probs, ops.convert_to_tensor(wanted, "int32")[..., None], axis=-1)[..., 0]
            found.append(ops.convert_to_numpy(chosen * ops.cast(wanted != 0, chosen.dtype)).sum(axis=1))
        return np.concatenate(found)

    # ---- generating ----

    def program(self, arrays, strategy, **settings):
        """See `GeneratingModel`."""
        start = self._start(ops.shape(arrays["start"])[0], arrays.get("condition"))
        unknown = settings.pop("unknown")

        def step(tokens, states):
            logits, states, _ = self.decoder.step(tokens, states)
            return self.allowed(logits, self.text, self.first, unknown), states

        prompt = {name: arrays[name] for name in ("prompt", "prompt_lengths") if name in arrays}
        return decode(step, start, arrays["start"], self.last, strategy=strategy, **prompt, **settings)

    def decode(
        self,
        prompts=None,
        strategy=None,
        max_length=100,
        min_length=0,
        *,
        count=None,
        condition=None,
        unknown=False,
        batch_size=64,
    ):
        """Decodes sequences.

        Args:
            prompts: raw texts, or integers (N, P) padded with 0 on the right, with which the sequences begin; or None.
            strategy: `Greedy()` (the default), `Sampling(...)` or `BeamSearch(...)`. One that draws is compiled for
                itself: keep it for the next call.
            max_length: int, the most tokens, those of the prompt and the end token included.
            min_length: int, the fewest.
            count: int, how many sequences, where neither prompts nor conditions say so. Default 1.
            condition: (N, Z), or what the layer of `condition` takes; one row holds for all prompts.
            unknown: bool, whether the token for unknown words may be said.
            batch_size: int > 0.

        Returns:
            A `Decoded` of NumPy arrays.
        """
        if (condition is None) != (self.condition is None):
            raise ValueError(
                "Expected a `condition` where the model has one, and none elsewhere. "
                f"Received: {condition!r}, the model's: {self.condition!r}"
            )
        arrays = {} if condition is None else {"condition": np.asarray(condition)}
        rows = 1 if condition is None else len(arrays["condition"])
        if prompts is not None:
            arrays |= self._prompted(prompts)
            rows = len(arrays["start"])
        elif self.first is None:
            raise ValueError("Expected `prompts`, as the model has no start token. Received: none")
        else:
            rows = arguments.positive("count", rows if count is None else count)
            arrays["start"] = np.full(rows, self.first, "int32")
        if condition is not None and len(arrays["condition"]) != rows:
            if len(arrays["condition"]) != 1:
                raise ValueError(f"Expected 1 or {rows} conditions. Received: {len(arrays['condition'])}")
            arrays["condition"] = np.repeat(arrays["condition"], rows, axis=0)
        if "prompt" in arrays:
            arrays["prompt"] = arrays["prompt"][:, :max_length]
            if arrays["prompt_lengths"].max() > max_length:
                raise ValueError(
                    f"Expected prompts of at most max_length={max_length} tokens. "
                    f"Received: {arrays['prompt_lengths'].max()}"
                )
        settings = {"max_length": max_length, "min_length": min_length, "unknown": unknown}
        made = self.decode_rows(arrays, strategy, batch_size, **settings)
        if self.first is not None:
            return made
        first = np.broadcast_to(arrays["start"][:, None, None], (*made.tokens.shape[:2], 1))
        return made._replace(tokens=np.concatenate([first, made.tokens], axis=2), lengths=made.lengths + 1)

    def _prompted(self, prompts):
        """The start tokens and the prompts: without a start token a prompt's first token takes its place."""
        not_empty(prompts)
        tokens = checked_tokens("prompts", numbers_of(prompts, self.text), self.decoder.vocabulary, 1)
        if self.last is not None:
            tokens = np.where(tokens == self.last, 0, tokens)
        if self.first is None or (tokens[:, 0] == self.first).all():
            start, tokens = tokens[:, 0], tokens[:, 1:]
        else:
            start = np.full(len(tokens), self.first, "int32")
        if (start == 0).any():
            raise ValueError(
                "Expected prompts of one token or more, as there is no start token. Received: an empty one"
            )
        lengths = (tokens != 0).sum(axis=1).astype("int32")
        made = {"start": start.astype("int32")}
        if lengths.max(initial=0):
            tokens = tokens[:, : lengths.max()]
            made |= {"prompt": right_padded(tokens, roomy(tokens.shape[1])).astype("int32"), "prompt_lengths": lengths}
        return made

    def generate(self, prompts=None, strategy=None, max_length=100, min_length=0, **options):
        """Sequences.

        Args:
            prompts: see `decode`, as the rest.

        Returns:
            A list with the best sequence for each prompt, or with a list of the `n_best` ones: texts where there is a
            `text`, else arrays of integers without the end token; the prompt is a part of it.
        """
        return generated(self.decode(prompts, strategy, max_length, min_length, **options), self.text)


def _with_tokens(x, tokens):
    """The inputs with these sequences in the place of their own."""
    return {**x, "sequences": tokens} if isinstance(x, dict) else tokens
