"""Texts to integers and back, and what a model does with strings."""

import importlib.util
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_rnnx.models.text import Text, TextModel, strings

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="Keras looks tokens up with TensorFlow on every backend"
)
pytestmark = [pytest.mark.every_backend, pytest.mark.core]

WORDS = ["the", "cat", "sat"]


@needs_tensorflow
def test_encode_and_decode():
    """0 is padding, 1 an unknown token; case and punctuation go by default."""
    text = Text(vocabulary=WORDS)
    assert text.tokens == ("", "[UNK]", "the", "cat", "sat") and text.size == 5
    assert (text.pad_id, text.unknown_id, text.start_id, text.end_id) == (0, 1, None, None)
    ids = text.encode(["The CAT sat!", "", "the dog  sat"])
    np.testing.assert_array_equal(ids, [[2, 3, 4], [0, 0, 0], [2, 1, 4]])
    assert ids.dtype == np.int32
    assert text.decode(ids) == ["the cat sat", "", "the [UNK] sat"]
    assert text.decode(keras.ops.convert_to_tensor(ids)) == text.decode(ids.tolist())


@needs_tensorflow
@pytest.mark.parametrize(
    "special, expected",
    [
        ({}, [[4, 3], [0, 0]]),
        ({"start_token": "<s>"}, [[2, 5, 4], [2, 0, 0]]),
        ({"end_token": "</s>"}, [[5, 4, 2], [2, 0, 0]]),
        ({"start_token": "<s>", "end_token": "</s>"}, [[2, 6, 5, 3], [2, 3, 0, 0]]),
    ],
)
def test_start_and_end(special, expected):
    """An empty text has no token but these; they are not read from a text."""
    text = Text(standardize=None, vocabulary=["x", "b", "a"], **special)
    if not special:
        expected = [[4, 3], [0, 0]]
    ids = text.encode(["a b", ""])
    np.testing.assert_array_equal(ids, expected)
    assert text.decode(ids) == ["a b", ""]
    assert text.encode(["<s> </s>"], length=4)[0].tolist().count(1) == 2
    assert text.decode([[*expected[0], 1]])[0] == ("a b" if "end_token" in special else "a b [UNK]")


@needs_tensorflow
def test_too_long_texts_are_cut_and_keep_their_end():
    text = Text(vocabulary=WORDS, start_token="<s>", end_token="</s>", output_sequence_length=4)
    np.testing.assert_array_equal(text.encode(["the cat sat", "cat"]), [[2, 4, 5, 3], [2, 5, 3, 0]])
    np.testing.assert_array_equal(text.encode(["the cat sat", "cat"], length=3), [[2, 4, 3], [2, 5, 3]])
    np.testing.assert_array_equal(text.encode(["cat"], length=6), [[2, 5, 3, 0, 0, 0]])
    with pytest.raises(ValueError, match="length"):
        text.encode(["the"], length=2)
    np.testing.assert_array_equal(Text(vocabulary=WORDS).encode(["the cat"], length=1), [[2]])
    np.testing.assert_array_equal(Text(vocabulary=WORDS).encode([""]), [[0]])


@needs_tensorflow
def test_adapt_keeps_the_most_frequent(rng):
    texts = ["b a b", "c b a", "d"]
    text = Text()
    with pytest.raises(ValueError, match="adapt"):
        text.encode(texts)
    text.adapt(texts)
    assert text.vocabulary[:2] == ("b", "a") and set(text.vocabulary) == set("abcd")
    few = Text(max_tokens=5, end_token="[END]")
    few.adapt(np.array(texts))
    assert few.tokens == ("", "[UNK]", "[END]", "b", "a")
    few.adapt(["z z"])
    np.testing.assert_array_equal(few.encode(["z a"]), [[3, 1, 2]])


@needs_tensorflow
def test_characters_line_breaks_included():
    """Keras' own layer saves a vocabulary as lines, which a line break among the tokens breaks."""
    text = Text(standardize=None, split="character")
    tune = "ab\n\u2028 \u00e9\t|\r"
    text.adapt([tune])
    assert text.decode(text.encode([tune, "b a", ""])) == [tune, "b a", ""]
    again = Text.from_config(json.loads(json.dumps(text.get_config())))
    assert again.vocabulary == text.vocabulary
    np.testing.assert_array_equal(again.encode([tune]), text.encode([tune]))


@needs_tensorflow
def test_lists_of_tokens():
    """One integer a token, also where standardizing leaves nothing of it."""
    text = Text(split=None, vocabulary=WORDS)
    ids = text.encode([["The", ".", "sat"], [], ["cat"]])
    np.testing.assert_array_equal(ids, [[2, 1, 4], [0, 0, 0], [3, 0, 0]])
    padded = np.array([["The", ".", "sat"], ["", "", ""], ["cat", "", ""]])
    np.testing.assert_array_equal(text.encode(padded), ids)
    np.testing.assert_array_equal(text.encode([[], []]), [[0], [0]])
    learned = Text(split=None)
    learned.adapt([["a", "b"], ["b"]])
    assert learned.vocabulary == ("b", "a")
    for kind, texts in ((text, ["The sat"]), (Text(vocabulary=WORDS), [["The", "sat"]])):
        with pytest.raises(ValueError, match="array of"):
            kind.encode(texts)


@keras.saving.register_keras_serializable("tests")
def halves(texts):
    import tensorflow as tf

    return tf.strings.split(texts, "-")


@needs_tensorflow
def test_registered_functions():
    text = Text(standardize=None, split=halves, vocabulary=["a", "b"])
    config = json.loads(json.dumps(text.get_config()))
    again = Text.from_config(config)
    assert again.get_config() == config
    np.testing.assert_array_equal(again.encode(["b-a", "a--b"]), [[3, 2, 0], [2, 1, 3]])


@pytest.mark.parametrize(
    "options, word",
    [
        ({"standardize": "upper"}, "standardize"),
        ({"split": "words"}, "split"),
        ({"max_tokens": 2}, "max_tokens"),
        ({"max_tokens": 4, "start_token": "<s>", "end_token": "</s>"}, "max_tokens"),
        ({"output_sequence_length": 0}, "output_sequence_length"),
        ({"output_sequence_length": 1, "end_token": "</s>"}, "output_sequence_length"),
        ({"start_token": ""}, "start_token"),
        ({"end_token": 7}, "end_token"),
        ({"start_token": "x", "end_token": "x"}, "two names"),
        ({"vocabulary": []}, "tokens"),
        ({"vocabulary": ["a", "a"]}, "different"),
        ({"vocabulary": ["a", ""]}, "different"),
        ({"vocabulary": ["a", "[UNK]"]}, "different"),
        ({"vocabulary": ["a", "b"], "max_tokens": 3}, "max_tokens"),
    ],
)
def test_wrong_arguments(options, word):
    with pytest.raises(ValueError, match=word):
        Text(**options)


def test_decode_needs_no_tensorflow_and_refuses_what_is_no_integer():
    text = Text(vocabulary=WORDS, split="character", end_token="[END]")
    assert text.decode([[3, 4], [5, 2, 3], []]) == ["thecat", "sat", ""]
    for wrong in ([[6]], [[-1]], [[0.5]], [3]):
        with pytest.raises(ValueError, match="integers"):
            text.decode(wrong)
    with pytest.raises(ValueError, match="adapt"):
        Text().decode([[1]])


def test_what_counts_as_strings():
    assert (
        strings(["a", b"b"]) == ["a", "b"] == strings(np.array(["a", "b"])) == strings(np.array([b"a", b"b"], object))
    )
    assert strings([["a"], []]) == [["a"], []] and strings([[], ["b"]]) == [[], ["b"]]
    if importlib.util.find_spec("pandas"):
        import pandas

        assert strings(pandas.Series(["a", "b"])) == ["a", "b"] and strings(pandas.Series([1, 2])) is None
    for other in ([], [1, 2], np.zeros(2), [[1, 2]], None, {"a": 1}, keras.ops.zeros(2), np.array([1, None])):
        assert strings(other) is None
    for wrong in ("text", b"text", ["a", 3], ["a", None]):
        with pytest.raises(ValueError, match="string"):
            strings(wrong)


WITHOUT = """
import sys
sys.modules["tensorflow"] = None  # as if it were not installed
import keras_rnnx
from keras_rnnx.models.text import Text
text = Text.from_config(Text(vocabulary=["a", "b"]).get_config())
assert text.decode([[3, 2]]) == ["b a"]
for use in (lambda: text.encode(["a"]), lambda: Text().adapt(["a"])):
    try:
        use()
    except ImportError as error:
        assert "TensorFlow" in str(error), error
    else:
        raise AssertionError("TensorFlow was used")
"""


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="there is nothing without TensorFlow")
def test_without_tensorflow_only_looking_up_fails():
    subprocess.run([sys.executable, "-c", WITHOUT], check=True)


class Lengths(TextModel):
    """Predicts lengths of texts, to see what reaches Keras."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scale = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")

    def build(self, input_shape):
        self.scale.build((None, 1))
        self.built = True

    def call(self, inputs):
        return self.scale(inputs)

    def preprocess(self, x, y=None, sample_weight=None):
        found = strings(x)
        if found is not None:
            x = np.array([[len(t)] for t in found], "float32")
        return x, np.asarray(y, "float32") if isinstance(y, list) else y, sample_weight

    def postprocess(self, predictions):
        return [f"{p[0]:.0f}" for p in predictions]


def test_every_method_takes_strings():
    model = Lengths()
    model.compile("sgd", "mse")
    x, y = ["a", "bb", "ccc", "dddd"], [[1.0], [2.0], [3.0], [4.0]]
    assert model.predict(x, verbose=0) == ["1", "2", "3", "4"] == model.predict(np.array(x, object), 2, verbose=0)
    assert model.predict_on_batch(x) == ["1", "2", "3", "4"]
    assert model.evaluate(x, y, verbose=0) == 0 == model.evaluate(x, y, sample_weight=np.ones(4), verbose=0)
    assert model.test_on_batch(x, y) == 0
    for validation in ((x, y), (x, y, np.ones(4))):
        history = model.fit(x, y, 2, validation_data=validation, epochs=2, verbose=0).history
        assert history["val_loss"] == [0, 0] == history["loss"]
    assert model.fit(x, y, validation_split=0.5, verbose=0).history["val_loss"] == [0]
    model.train_on_batch(x, [[0.0]] * 4)
    assert model.predict(x, verbose=0) != ["1", "2", "3", "4"]
    numbers = np.array([[5.0]])
    assert model.predict(numbers, verbose=0) == model.postprocess(keras.ops.convert_to_numpy(model(numbers)))


@needs_tensorflow
def test_data_sets_of_strings():
    import tensorflow as tf

    x, y = ["a", "bb", "ccc"], [[1.0], [2.0], [3.0]]
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(2)
    model = Lengths()
    model.compile("sgd", "mse")
    history = model.fit(data, epochs=2, validation_data=data, verbose=0).history
    assert history["loss"] == [0, 0] == history["val_loss"]
    assert model.evaluate(data, verbose=0) == 0
    assert model.predict(data.map(lambda x, y: x), verbose=0) == ["1", "2", "3"] == model.predict(data, verbose=0)
    weighted = data.map(lambda x, y: (x, y + 1, tf.zeros(tf.shape(y)[:1])))
    assert model.evaluate(weighted, verbose=0) == 0
    assert model.evaluate(data.map(lambda x, y: (x, y + 1)), verbose=0) == pytest.approx(1)
    unknown = data.filter(lambda x, y: True)  # how many batches it has
    assert model.predict(unknown, verbose=0) == ["1", "2", "3"]
    with pytest.raises(ValueError, match="empty"):
        model.evaluate(data.take(0), verbose=0)
    already = tf.data.Dataset.from_tensor_slices((np.float32([[1], [2]]), y[:2])).batch(2)
    assert model.evaluate(already, verbose=0) == 0
