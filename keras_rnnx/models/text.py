"""Raw strings in and out: `Text`, and models whose `fit`, `evaluate` and `predict` take strings."""

import functools

import keras
import numpy as np
from keras import ops, tree

from keras_rnnx import arguments

PAD, UNKNOWN = 0, 1  # as in Keras' TextVectorization


def strings(values):
    """Strings, or lists of strings, out of a list, an array or a TensorFlow tensor; None where there are none.

    Raises:
        ValueError: if there is one string alone.
    """
    if isinstance(values, (str, bytes)):
        raise ValueError(f"Expected a list of strings. Received: one string, {values!r}")
    values = values.to_numpy() if hasattr(values, "to_numpy") else values  # a column of a data frame
    if hasattr(values, "dtype"):
        kind = values.dtype.kind if isinstance(values, np.ndarray) else str(getattr(values.dtype, "name", values.dtype))
        if kind not in ("U", "S", "O", "T", "string"):
            return None
        values = (values if isinstance(values, np.ndarray) else values.numpy()).tolist()
    if not isinstance(values, (list, tuple)):
        return None
    first = next((v for v in values if not _is_list(v) or len(v)), "" if values else None)
    if not isinstance(first[0] if _is_list(first) else first, (str, bytes)):
        return None
    return [[_decoded(s) for s in v] if _is_list(v) else _decoded(v) for v in values]


def numbers_of(values, text, argument="text"):
    """Values as the integers of a `Text` where they are strings; else as they are.

    Raises:
        ValueError: if they are strings and there is no text, which would be that argument of a model.
    """
    if strings(values) is None:
        return values
    if text is None:
        raise ValueError(f"Expected numbers, as the model has no `{argument}`. Received: strings")
    return text.encode(values)


def not_empty(data):
    """Raises ValueError where a list, an array or a dict of them has no sequences."""
    if any(len(rows) == 0 for rows in (data.values() if isinstance(data, dict) else [data])):
        raise ValueError("Expected at least one sequence. Received: none")


def _is_list(value):
    return isinstance(value, (list, tuple, np.ndarray))


def _decoded(value):
    if not isinstance(value, (str, bytes)):
        raise ValueError(f"Expected strings throughout. Received: {value!r} of type {type(value).__name__}")
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Text(arguments.FromConfig, keras.layers.Layer):
    """Texts to sequences of integers, and back.

    A text is standardized, split into tokens, and each token looked up in the vocabulary, all by
    `keras.layers.TextVectorization`, which needs TensorFlow on every backend and raises ImportError without it;
    `decode` does not. The integers are

    0: padding; 1: a token that is not in the vocabulary; then the start token and the end token, where there are any;
    then the vocabulary.

    A start or end token is added to every text and is never found in one. The vocabulary is a part of the
    configuration, and so is saved with a model.

    Args:
        max_tokens: int or None, the largest V, special tokens included; the most frequent ones are kept.
        standardize: None, `"lower_and_strip_punctuation"`, `"lower"`, `"strip_punctuation"`, or a registered function:
            see `keras.layers.TextVectorization`.
        split: `"whitespace"`, `"character"` or a registered function; None where the texts are lists of tokens.
        output_sequence_length: int T or None for that of the longest text.
        start_token: a name, such as `"[START]"`, or None for no start token.
        end_token: a name, such as `"[END]"`, or None for no end token.
        vocabulary: the tokens without the special ones, most frequent first. Default: what `adapt` finds.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        ```python
        text = keras_rnnx.models.Text(split="character", end_token="[END]")
        text.adapt(["abba", "cab"])
        text.encode(["bad"])  # [[4, 3, 1, 2]]
        text.decode([[4, 3, 3, 2, 0]])  # ["baa"]
        ```
    """

    def __init__(
        self,
        max_tokens=None,
        standardize="lower_and_strip_punctuation",
        split="whitespace",
        output_sequence_length=None,
        *,
        start_token=None,
        end_token=None,
        vocabulary=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        for name, value in (("start_token", start_token), ("end_token", end_token)):
            if value is not None and (not isinstance(value, str) or not value):
                raise ValueError(f"Expected `{name}` to be None or a name. Received: {name}={value!r}")
        if start_token is not None and start_token == end_token:
            raise ValueError(f"Expected two names. Received: start_token=end_token={start_token!r}")
        for name, value, allowed in (
            ("standardize", standardize, (None, "lower_and_strip_punctuation", "lower", "strip_punctuation")),
            ("split", split, (None, "whitespace", "character")),
        ):
            if not callable(value):
                arguments.choice(name, value, allowed)
        self.standardize = standardize
        self.split = split
        self.start_token = start_token
        self.end_token = end_token
        self.special = tuple(t for t in (start_token, end_token) if t is not None)
        self.max_tokens = self._long_enough("max_tokens", max_tokens, 3)
        self.output_sequence_length = self._long_enough("output_sequence_length", output_sequence_length, 1)
        self.vocabulary = None
        if vocabulary is not None:
            self._set_vocabulary(vocabulary)
        self.built = True

    def _long_enough(self, name, value, least):
        least += len(self.special)
        if value is not None and arguments.positive(name, value) < least:
            raise ValueError(
                f"Expected `{name}` >= {least}, with {len(self.special)} special tokens. Received: {value}"
            )
        return value

    def _set_vocabulary(self, vocabulary):
        found = strings(vocabulary) or []
        if not all(isinstance(token, str) for token in found):
            raise ValueError(f"Expected a `vocabulary` of strings. Received: vocabulary={vocabulary!r}")
        different = len(set(found) - {"", "[UNK]"})
        if different != len(found) or not found:
            raise ValueError(
                "Expected a `vocabulary` of different tokens, none of them '' or '[UNK]'. "
                f"Received: {len(found)} tokens, of which {different} are that"
            )
        if self.max_tokens is not None and len(found) + 2 + len(self.special) > self.max_tokens:
            raise ValueError(
                f"Expected at most max_tokens={self.max_tokens} with the special ones. "
                f"Received: {len(found)} tokens and {2 + len(self.special)} special ones"
            )
        self.vocabulary = tuple(found)
        self._tokens = ("", "[UNK]", *self.special, *found)
        self.__dict__.pop("_numbers", None)

    def _vectorizer(self, **options):
        return keras.layers.TextVectorization(standardize=self.standardize, split=self.split, **options)

    @functools.cached_property
    def _numbers(self):
        """What makes tokens numbers; no attribute that Keras tracks, as it would rule out XLA for a whole model."""
        return self._vectorizer(vocabulary=list(self.tokens[2 + len(self.special) :]))

    # ---- the vocabulary ----

    def adapt(self, texts):
        """Makes the most frequent tokens of the texts the vocabulary.

        Args:
            texts: a list or NumPy array of strings, of lists of tokens with split=None, or a batched `tf.data.Dataset`
                of strings.

        Raises:
            ValueError: if there are no tokens.
        """
        limit = None if self.max_tokens is None else self.max_tokens - len(self.special)
        vectorizer = self._vectorizer(max_tokens=limit)
        vectorizer.adapt(texts if hasattr(texts, "element_spec") else self._flat(self._checked(texts)))
        self._set_vocabulary(vectorizer.get_vocabulary(include_special_tokens=False))

    @property
    def tokens(self):
        """The name of each integer, a tuple of V strings.

        Raises:
            ValueError: if there is no vocabulary yet.
        """
        if self.vocabulary is None:
            raise ValueError(f"Expected a Text with a vocabulary: give one, or call `adapt`. Received: {self.name!r}")
        return self._tokens

    @property
    def size(self):
        """V, the number of integers, 0 for padding included."""
        return len(self.tokens)

    @property
    def pad_id(self):
        """0."""
        return PAD

    @property
    def unknown_id(self):
        """1."""
        return UNKNOWN

    @property
    def start_id(self):
        """The integer of the start token, or None."""
        return None if self.start_token is None else 2

    @property
    def end_id(self):
        """The integer of the end token, or None."""
        return None if self.end_token is None else 1 + len(self.special)

    # ---- there and back ----

    def encode(self, texts, length=None):
        """The integers of texts.

        A text that is too long is cut behind its last tokens that fit; its end token stays. An empty text has no token
        but the start and the end.

        Args:
            texts: a list or NumPy array of N strings, or of lists of tokens with split=None.
            length: int T. Default: `output_sequence_length`, else that of the longest text.

        Returns:
            (N, T) int32, padded with 0 behind the text; T >= 1.

        Raises:
            ValueError: if these are no texts, there is no vocabulary, or T leaves no room for a token.
        """
        length = self._long_enough("length", length, 1) or self.output_sequence_length
        body, counts = self._looked_up(self._checked(texts))
        body = np.where(body > UNKNOWN, body + len(self.special), body)
        first = self.start_id is not None
        if length is None:
            length = max(1, counts.max(initial=0) + len(self.special))
        counts = np.minimum(counts, length - len(self.special))
        kept = min(body.shape[1], length - first)
        made = np.zeros((len(body), length), "int32")
        made[:, first : first + kept] = body[:, :kept]
        made[~_inside(made, counts + first)] = PAD
        if first:
            made[:, 0] = self.start_id
        if self.end_id is not None:
            made[np.arange(len(made)), first + counts] = self.end_id
        return made

    def _checked(self, texts):
        found = strings(texts)
        if found is None or any(isinstance(t, list) != (self.split is None) for t in found):
            wanted = "lists of tokens (split=None)" if self.split is None else "strings"
            raise ValueError(f"Expected a list or an array of {wanted}. Received: {_shown(texts)}")
        return found if self.split is not None else [unpadded(tokens) for tokens in found]

    def _flat(self, texts):
        return [token for text in texts for token in text] if self.split is None else texts

    def _looked_up(self, texts):
        """The numbers (N, L) of tokens, without special ones, and how many each text has."""
        if self.split is not None:
            found = ops.convert_to_numpy(self._numbers(texts))
            counts = np.max(np.where(found != PAD, np.arange(1, found.shape[1] + 1), 0), axis=1, initial=0)
        else:
            counts = np.array([len(text) for text in texts])
            found = np.zeros((len(texts), counts.max()), "int64")
            if self._flat(texts):
                found[_inside(found, counts)] = np.ravel(ops.convert_to_numpy(self._numbers(self._flat(texts))))
        nothing = _inside(found, counts) & (found == PAD)  # standardizing left nothing of the token
        return np.where(nothing, UNKNOWN, found), counts

    def decode(self, ids):
        """The texts of integers, without padding and the start token, up to the end token.

        Args:
            ids: (N, T) integers, or N sequences of any lengths.

        Returns:
            A list of N strings: tokens side by side with split="character", else with a space between them.

        Raises:
            ValueError: if an integer is not in 0..V-1, or there is no vocabulary.
        """
        return [self._text(ops.convert_to_numpy(row)) for row in ids]

    def _text(self, row):
        fits = row.dtype.kind in "iu" and 0 <= row.min() <= row.max() < self.size if row.size else True
        if row.ndim != 1 or not fits:
            raise ValueError(f"Expected sequences of integers in 0..{self.size - 1}. Received: {_shown(row)}")
        end = np.flatnonzero(row == self.end_id) if self.end_id is not None else ()
        row = row[: end[0]] if len(end) else row
        kept = [self.tokens[i] for i in row if i not in (PAD, self.start_id)]
        return ("" if self.split == "character" else " ").join(kept)

    # ---- Keras ----

    def get_config(self):
        """The arguments."""
        config = {**super().get_config(), **arguments.config_of(self, keras.layers.Layer)}
        for name in ("standardize", "split"):
            config[name] = keras.saving.serialize_keras_object(getattr(self, name))
        return config


def checked_text(name, value):
    """`value`, a `Text` or None, or a ValueError that says so."""
    if value is not None and not isinstance(value, Text):
        raise ValueError(f"Expected `{name}` to be a Text or None. Received: {name}={value!r}")
    return value


def unpadded(tokens):
    """Tokens without the empty strings behind them, with which an array is padded."""
    count = max((i + 1 for i, token in enumerate(tokens) if token), default=0)
    return tokens[:count]


def _inside(rows, counts):
    """Where the first `counts` entries of each row are."""
    return np.arange(rows.shape[1])[None, :] < counts[:, None]


def _shown(value):
    text = repr(value)
    return f"{text[:80]}..." if len(text) > 80 else text


def _mapped(dataset, preprocess):
    """A `tf.data.Dataset` of batches, each preprocessed."""
    import tensorflow as tf  # who has such a data set has TensorFlow, whatever the backend

    def batches():
        for batch in dataset.as_numpy_iterator():
            made = preprocess(*keras.utils.unpack_x_y_sample_weight(batch))
            yield tree.map_structure(np.asarray, keras.utils.pack_x_y_sample_weight(*made))

    first = next(batches(), None)
    if first is None:
        raise ValueError("Expected a data set of at least one batch. Received: an empty one")
    signature = tree.map_structure(lambda a: tf.TensorSpec((None, None, *a.shape[2:])[: a.ndim], a.dtype), first)
    made, count = tf.data.Dataset.from_generator(batches, output_signature=signature), dataset.cardinality()
    return made.apply(tf.data.experimental.assert_cardinality(count)) if count >= 0 else made


class TextModel(keras.Model):
    """A model that `fit`, `evaluate` and `predict` give raw data, such as strings, which `preprocess` makes numbers.

    That happens outside the compiled functions: for lists and arrays once for all the data, for a `tf.data.Dataset` of
    strings batch by batch. A direct call of the model takes numbers. A subclass overrides `preprocess`, and
    `postprocess` where its predictions are more than arrays.

    A file of its weights names its class, as two tasks may well have weights of the same shapes.
    """

    @property
    def _task(self):
        """The name of its class in this package, also where a user's class is derived from that."""
        return next(c.__name__ for c in type(self).__mro__ if c.__module__.startswith("keras_rnnx."))

    def save_own_variables(self, store):
        """See `keras.layers.Layer`."""
        super().save_own_variables(store)
        store["model"] = np.frombuffer(self._task.encode(), "uint8")

    def load_own_variables(self, store):
        """See `keras.layers.Layer`.

        Raises:
            ValueError: if these are the weights of another class of models.
        """
        found = {name: store[name] for name in store.keys()}
        kind = bytes(np.asarray(found.pop("model", np.zeros(0, "uint8")))).decode()
        if kind != self._task:
            raise ValueError(f"Expected the weights of a {self._task}. Received: those of {kind or 'another model'}")
        super().load_own_variables(found)

    def preprocess(self, x, y=None, sample_weight=None):
        """Raw inputs, targets and weights as arrays; what is an array of numbers already stays as it is."""
        return x, y, sample_weight

    def preprocess_to_predict(self, x, y=None, sample_weight=None):
        """As `preprocess`, for what is predicted on: a model that finds its targets in its inputs keeps them whole."""
        return self.preprocess(x, y, sample_weight)

    def postprocess(self, predictions):
        """What `predict` returns, from the arrays that the compiled function gave; by default these."""
        return predictions

    def _ready(self, x, y=None, sample_weight=None, preprocess=None):
        """x, y and weights for Keras. A dataset of another kind gives what the model is called on."""
        preprocess = preprocess or self.preprocess
        if not (hasattr(x, "element_spec") or hasattr(x, "dtype") or isinstance(x, (list, tuple, dict, str, bytes))):
            return x, y, sample_weight
        if not hasattr(x, "element_spec"):
            not_empty(x)
            return preprocess(x, y, sample_weight)
        specs = tree.flatten(x.element_spec)
        if all(getattr(spec.dtype, "name", None) != "string" for spec in specs):
            return x, y, sample_weight

        return _mapped(x, preprocess), y, sample_weight

    def fit(self, x=None, y=None, *args, sample_weight=None, validation_data=None, **kwargs):
        """See `keras.Model.fit`; x, y and the validation data may be raw."""
        x, y, sample_weight = self._ready(x, y, sample_weight)
        if validation_data is not None:
            given = validation_data if isinstance(validation_data, (tuple, list)) else (validation_data,)
            made = self._ready(*given)
            validation_data = made if isinstance(validation_data, (tuple, list)) else made[0]
        return super().fit(x, y, *args, sample_weight=sample_weight, validation_data=validation_data, **kwargs)

    def evaluate(self, x=None, y=None, *args, sample_weight=None, **kwargs):
        """See `keras.Model.evaluate`; x and y may be raw."""
        x, y, sample_weight = self._ready(x, y, sample_weight)
        return super().evaluate(x, y, *args, sample_weight=sample_weight, **kwargs)

    def predict(self, x, *args, **kwargs):
        """See `keras.Model.predict`; x may be raw."""
        x = self._ready(x, preprocess=self.preprocess_to_predict)[0]
        return self.postprocess(super().predict(x, *args, **kwargs))

    def train_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """See `keras.Model.train_on_batch`; x and y may be raw."""
        return super().train_on_batch(*self.preprocess(x, y, sample_weight), **kwargs)

    def test_on_batch(self, x, y=None, sample_weight=None, **kwargs):
        """See `keras.Model.test_on_batch`; x and y may be raw."""
        return super().test_on_batch(*self.preprocess(x, y, sample_weight), **kwargs)

    def predict_on_batch(self, x):
        """See `keras.Model.predict_on_batch`; x may be raw."""
        return self.postprocess(super().predict_on_batch(self.preprocess_to_predict(x)[0]))
