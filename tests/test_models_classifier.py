"""`SequenceClassifier`, its trunk and its poolings."""

import importlib.util
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from cases import FLOAT, array, few, gradients, randomized, shared, tensor
from keras import ops

import keras_rnnx
from keras_rnnx.models.classifier import SequenceClassifier
from keras_rnnx.models.crf import CRF, allowed_transitions
from keras_rnnx.models.pooling import MaskedMaxPooling, MaskedMeanPooling
from keras_rnnx.models.tagger import SequenceTagger
from keras_rnnx.models.text import Text
from keras_rnnx.models.trunk import Trunk

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="Keras looks tokens up with TensorFlow on every backend"
)
pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

B, T, D, H, C = 4, 5, 3, 4, 3
MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)


def GRU(**options):
    return keras_rnnx.GRUCell(H, **options)


# ---- poolings ----


@pytest.mark.core
@pytest.mark.parametrize("kind, pooled", [(MaskedMaxPooling, np.max), (MaskedMeanPooling, np.mean)])
def test_poolings(rng, kind, pooled):
    """Over the valid steps alone; zero, with zero gradients, where there is none."""
    x, cotangent = rng.normal(size=(B, T, D)) - 3, rng.normal(size=(B, D))
    expected = [pooled(row[valid], axis=0) if valid.any() else np.zeros(D) for row, valid in zip(x, MASK, strict=True)]
    spoiled = np.where(MASK[..., None], x, np.nan)
    layer = kind(dtype=FLOAT)
    np.testing.assert_allclose(array(layer(tensor(spoiled), mask=MASK)), expected, atol=1e-6)
    np.testing.assert_allclose(array(layer(tensor(x))), pooled(x, axis=1), atol=1e-6)
    found = gradients(lambda x: ops.sum(layer(x, mask=tensor(MASK, "bool")) * tensor(cotangent)), [tensor(spoiled)])[0]
    assert (found[~MASK] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1)[:3], cotangent[:3], atol=1e-6)
    with pytest.raises(ValueError, match="mask"):
        layer(tensor(x), mask=MASK[:, 1:])
    assert layer.compute_output_shape((None, T, D)) == (None, D)


@pytest.mark.core
def test_mean_of_half_precision_does_not_overflow():
    x = np.full((1, 40, 1), 3e3, "float16")
    assert float(MaskedMeanPooling(dtype="float16")(x)[0, 0]) == 3e3


# ---- the trunk ----


@pytest.mark.core
@pytest.mark.parametrize(
    "cell, options",
    [
        (lambda: GRU(), {}),
        (lambda: [GRU(), keras_rnnx.LSTMCell(2)], {}),
        (lambda: keras.layers.LSTMCell(H), {"depth": 2, "residual": "sum"}),
        (lambda: keras_rnnx.GRU(H, recurrent_clip=1.0), {"bidirectional": True}),
        (lambda: keras_rnnx.Bidirectional(keras_rnnx.GRU(H), merge_mode="sum"), {"depth": 2}),
        (lambda: keras_rnnx.DeepRNN(GRU(), 2, residual="dense", bidirectional=True), {}),
    ],
)
def test_trunk_is_a_deep_rnn(rng, cell, options):
    """Whatever it is made from; with the weights of a stack made by hand it gives the same."""
    trunk = Trunk(cell(), dtype=FLOAT, **options)
    x = rng.normal(size=(B, T, D))
    found = trunk(tensor(x), mask=MASK)
    assert isinstance(trunk.layer, keras_rnnx.DeepRNN) and len(found.shape) == 3
    again = Trunk.from_config(trunk.get_config())
    assert again.get_config() == trunk.get_config()
    again.build((B, T, D))
    again.set_weights(trunk.get_weights())
    np.testing.assert_array_equal(array(again(tensor(x), mask=MASK)), array(found))
    np.testing.assert_array_equal(array(trunk.layer(tensor(x), mask=MASK)), array(found))
    if isinstance(cell(), keras_rnnx.GRU):
        assert all(level.recurrent_clip == 1.0 for level in trunk.layer.levels)
    if isinstance(cell(), keras_rnnx.Bidirectional):
        assert found.shape[-1] == H and trunk.layer.depth == 2 and trunk.layer.bidirectional


@pytest.mark.core
def test_trunk_masks(rng):
    """Padding of integers, a padding value, a mask, lengths: all that are given, together."""
    ids = Trunk(GRU(), vocabulary=5, embedding=2)
    x = np.array([[1, 0, 3], [4, 4, 0]])
    np.testing.assert_array_equal(array(ids.valid(ops.convert_to_tensor(x))), x != 0)
    both = ids.valid({"sequences": ops.convert_to_tensor(x), "lengths": np.array([3, 1])}, np.array([[0, 1, 1]] * 2))
    np.testing.assert_array_equal(array(both), [[0, 0, 1], [0, 0, 0]])
    assert ids(x).shape == (2, 3, H)
    vectors = Trunk(GRU(), mask_value=-1.0)
    x = np.where(MASK[..., None], rng.normal(size=(B, T, D)), -1.0)
    np.testing.assert_array_equal(array(vectors.valid(tensor(x))), MASK)
    assert Trunk(GRU()).valid(tensor(x)) is None
    np.testing.assert_array_equal(array(Trunk(GRU()).valid({"sequences": tensor(x), "mask": MASK})), MASK)


@pytest.mark.core
def test_trunk_hands_on_resets_and_intervals(rng):
    cell = keras_rnnx.CfCCell(H)
    trunk = Trunk(cell, return_state=True)
    x, deltas = np.float32(rng.normal(size=(B, T, D))), np.float32(rng.uniform(0.1, 3, (B, T)))
    resets = rng.random((B, T)) < 0.4
    found = trunk({"sequences": x, "deltas": deltas, "resets": resets})
    wanted = trunk.layer(ops.convert_to_tensor(x), deltas=deltas, resets=resets)
    plain = trunk(x)
    for a, b, c in zip(*map(keras.tree.flatten, (found, wanted, plain)), strict=True):
        np.testing.assert_array_equal(array(a), array(b))
        assert np.abs(array(a) - array(c)).max() > 1e-3


@pytest.mark.core
def test_dropout_is_never_in_the_recurrence(rng):
    """On what enters, between levels and on what leaves: off at inference, and the states are whole."""
    trunk = Trunk(GRU(), 2, dropout=0.5, vocabulary=7, return_state=True, seed=3)
    ids = rng.integers(1, 7, (B, T))
    outputs, *states = trunk(ids, training=True)
    assert 0.2 < np.mean(array(outputs) == 0) < 0.8 and not (array(states[1][0]) == 0).any()
    still, *_ = trunk(ids)
    np.testing.assert_array_equal(array(still), array(trunk(ids)[0]))
    assert not (array(still) == 0).any()
    drops = [trunk.before, trunk.layer.between, trunk.after]
    assert len({drop.seed for drop in drops}) == 3  # with one seed, masks of one shape would be one


@pytest.mark.core
@pytest.mark.parametrize(
    "options, word",
    [
        ({"depth": 0}, "depth"),
        ({"dropout": 1.0}, "dropout"),
        ({"residual": "sun"}, "residual"),
        ({"vocabulary": 0}, "vocabulary"),
        ({"embedding": 8}, "embedding"),
        ({"vocabulary": 5, "embedding": -1}, "embedding"),
        ({"vocabulary": 5, "embedding": keras.layers.Embedding(4, 2)}, "Embedding"),
        ({"vocabulary": 5, "mask_value": 0.0}, "mask_value"),
        ({"cell": keras.layers.Dense(2)}, "cell"),
        ({"cell": keras.layers.LSTM(2)}, "cell"),
        ({"cell": [keras_rnnx.GRUCell(2)], "depth": 3}, "depth"),
        ({"cell": keras_rnnx.DeepRNN(keras_rnnx.GRUCell(2)), "depth": 2}, "depth"),
        ({"cell": keras_rnnx.DeepRNN(keras_rnnx.GRUCell(2)), "residual": "sum"}, "residual"),
        ({"cell": keras_rnnx.Bidirectional(keras_rnnx.GRU(2)), "bidirectional": True}, "bidirectional"),
        ({"cell": keras_rnnx.Bidirectional(keras_rnnx.GRU(2), merge_mode=None)}, "merge_mode"),
    ],
)
def test_wrong_trunks(options, word):
    with pytest.raises(ValueError, match=word):
        Trunk(**{"cell": GRU(), **options})


@pytest.mark.core
def test_wrong_inputs_of_a_trunk():
    for vocabulary, shape in ((None, (B, T)), (5, (B, T, D)), (None, (B, T, D, 1))):
        with pytest.raises(ValueError, match="sequences"):
            Trunk(GRU(), vocabulary=vocabulary)(np.ones(shape, "float32"))
    for wrong in ({"x": np.ones((B, T, D))}, {"sequences": np.ones((B, T, D)), "masks": MASK}):
        with pytest.raises(ValueError, match="sequences"):
            Trunk(GRU())(wrong)


# ---- the classifier ----


@pytest.mark.core
@pytest.mark.parametrize("pooling", ["last", "max", "mean", "attention"])
@pytest.mark.parametrize("bidirectional", few([False, True]))
def test_padding_changes_nothing(rng, pooling, bidirectional):
    """Behind, in front or within; and the outputs are what a head on the pooled trunk gives."""
    model = SequenceClassifier(C, GRU(), bidirectional=bidirectional, pooling=pooling, vocabulary=9, embedding=2)
    rows = [[3, 1, 4, 1, 5], [2, 7], [8]]
    padded = np.zeros((3, 7), "int32")
    moved = np.zeros((3, 7), "int32")
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
        moved[i, 7 - len(row) :] = row
    model.build((None, 7))
    randomized(model, rng)
    wanted = np.concatenate([array(model(np.array([row]))) for row in rows])
    np.testing.assert_allclose(array(model(padded)), wanted, atol=1e-6)
    np.testing.assert_allclose(array(model(moved)), wanted, atol=1e-6)
    np.testing.assert_allclose(wanted.sum(axis=1), 1, atol=1e-6)
    empty = array(model(np.zeros((1, 4), "int32")))
    assert np.isfinite(empty).all()
    sequences = model.trunk(padded)
    if pooling == "max":
        pooled = np.stack([array(sequences)[i, : len(row)].max(axis=0) for i, row in enumerate(rows)])
        np.testing.assert_allclose(array(model.head(pooled)), wanted, atol=1e-6)


@pytest.mark.core
def test_loss_is_the_cross_entropy(rng):
    model = SequenceClassifier(C, GRU())
    model.compile("sgd")
    x, y, weight = np.float32(rng.normal(size=(B, T, D))), np.array([0, 2, 1, 1]), np.float32([1, 2, 0, 0.5])
    p = model.predict(x, verbose=0)
    losses = -np.log(p[np.arange(B), y])
    assert model.evaluate(x, y, verbose=0) == pytest.approx(losses.mean(), rel=1e-5)
    found = model.evaluate(x, y, sample_weight=weight, verbose=0)
    assert found == pytest.approx((losses * weight).mean(), rel=1e-5)
    soft = rng.dirichlet(np.ones(C), B)
    model.compile("sgd")  # TensorFlow forgets the rank of targets that come in two
    assert model.evaluate(x, soft, verbose=0) == pytest.approx(-(soft * np.log(p)).sum(axis=1).mean(), rel=1e-5)
    model.compile("sgd", loss="mse")
    assert model.evaluate(x, soft, verbose=0) == pytest.approx(((soft - p) ** 2).mean(), rel=1e-5)


def test_many_labels(rng):
    names = ["a", "b", "c"]
    model = SequenceClassifier(names, GRU(), multi_label=True, pooling="max")
    x = np.float32(rng.normal(size=(B, T, D)))
    model.compile(keras.optimizers.Adam(0.05))
    y = [["a"], [], ["c", "a"], ["b"]]
    p = model.predict(x, verbose=0)
    hot = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 1], [0, 1, 0]])
    expected = -np.mean(hot * np.log(p) + (1 - hot) * np.log(1 - p))
    assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-4)
    model.fit(x, y, epochs=60, verbose=0)
    assert [sorted(row) for row in model.classify(x, verbose=0)] == [["a"], [], ["a", "c"], ["b"]]


@pytest.mark.core
def test_mask_and_intervals_through_fit(rng):
    """A dict of inputs goes through `fit` and `predict` as it goes through a call."""
    model = SequenceClassifier(2, keras_rnnx.CfCCell(H))
    x, deltas = np.float32(rng.normal(size=(B, T, D))), np.float32(rng.uniform(0.1, 3, (B, T)))
    inputs = {"sequences": x, "deltas": deltas, "mask": MASK}
    model.compile("adam", metrics=["accuracy"])
    history = model.fit(inputs, np.array([0, 1, 1, 0]), verbose=0).history
    assert set(history) == {"accuracy", "loss"}
    found = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(found, array(model(inputs)), atol=1e-6)
    spoiled = {**inputs, "sequences": np.where(MASK[..., None], x, 7)}
    np.testing.assert_allclose(model.predict(spoiled, verbose=0), found, atol=1e-6)
    assert np.abs(model.predict({**inputs, "deltas": 2 * deltas}, verbose=0)[:3] - found[:3]).max() > 1e-4


@needs_tensorflow
@pytest.mark.parametrize("kind", shared([list, np.array, lambda x: np.array(x, object), "dataset"]))
def test_learns_from_strings(rng, kind):
    words = ["good", "bad", "fine", "film", "plot", "the"]
    texts = [" ".join(rng.choice(words, rng.integers(1, 6))) for _ in range(60)] + ["", "a good x"]
    verdicts = ["yes" if "good" in text else "no" for text in texts]
    text = Text(max_tokens=8, output_sequence_length=6)
    text.adapt(texts)
    model = SequenceClassifier(["no", "yes"], GRU(), text=text, pooling="max", embedding=8)
    model.compile(keras.optimizers.Adam(0.05), metrics=["accuracy"])
    if kind == "dataset":
        import tensorflow as tf

        data = tf.data.Dataset.from_tensor_slices((texts, verdicts)).batch(32)
        history = model.fit(data, epochs=25, validation_data=data, verbose=0).history
        assert model.evaluate(data, verbose=0)[1] == history["val_accuracy"][-1] == 1
    else:
        history = model.fit(kind(texts), kind(verdicts), epochs=25, validation_split=0.1, verbose=0).history
    assert set(history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert model.evaluate(texts, verdicts, verbose=0)[1] == 1
    assert model.classify(["a GOOD film!", "the plot"], verbose=0) == ["yes", "no"]
    np.testing.assert_allclose(
        model.predict(["the plot", ""], verbose=0), array(model(text.encode(["the plot", ""]))), atol=1e-6
    )


FRESH = """
import sys
import numpy as np
import keras
import keras_rnnx
folder = sys.argv[1]
wanted = np.load(folder + "/wanted.npz", allow_pickle=False)
for name in sorted({key.split("|")[0] for key in wanted}):
    model = keras.saving.load_model(f"{folder}/{name}.keras")
    found = model.predict(wanted[f"{name}|x"], verbose=0)
    if isinstance(found, list):
        found = np.array([" ".join(row) for row in found])
    np.testing.assert_array_equal(found, wanted[f"{name}|y"], err_msg=name)
    assert model.compiled
"""


@needs_tensorflow
def test_saved_models_are_the_same_in_a_fresh_process(tmp_path, rng):
    """Vocabulary, names, constraints, optimizer and all; the fresh process imports keras_rnnx alone."""
    texts = np.array(["red fish", "blue fish swim", "", "fish\u00e9 red red blue"])
    text = Text(standardize="lower")
    text.adapt(texts)
    names = ["O", "B-X", "I-X"]
    x = np.float32(rng.normal(size=(B, T, D)))
    made = {
        "strings": (SequenceClassifier(["a", "b"], GRU(), text=text, pooling="attention", dropout=0.2), texts),
        "vectors": (SequenceClassifier(C, [GRU(), keras_rnnx.LSTMCell(2)], residual="dense", mask_value=0.0), x),
        "tags": (SequenceTagger(4, keras_rnnx.LSTM(H), bidirectional=True, vocabulary=6, embedding=3), x[:, :, 0] > 0),
        "spans": (
            SequenceTagger(names, GRU(), 2, text=text, crf=CRF(**allowed_transitions(names)), name="spans"),
            texts,
        ),
    }
    wanted = {}
    for name, (model, x) in made.items():
        x = x.astype("int32") * 3 if x.dtype == bool else x
        model.compile("adam")
        model.predict(x, verbose=0)
        randomized(model, rng)
        y = model.predict(x, verbose=0)
        wanted[f"{name}|x"] = x
        wanted[f"{name}|y"] = np.array([" ".join(row) for row in y]) if isinstance(y, list) else y
        model.save(tmp_path / f"{name}.keras")
        config = model.get_config()
        assert type(model).from_config(config).get_config() == config
    np.savez(tmp_path / "wanted.npz", **wanted)
    subprocess.run([sys.executable, "-c", FRESH, str(tmp_path)], check=True, cwd=pathlib.Path(__file__).parent.parent)


@pytest.mark.core
@pytest.mark.parametrize(
    "options, word",
    [
        ({"classes": 1}, "classes"),
        ({"classes": ["a"]}, "classes"),
        ({"classes": ["a", "a"]}, "classes"),
        ({"classes": [0, 1]}, "classes"),
        ({"classes": "ab"}, "classes"),
        ({"pooling": "sum"}, "pooling"),
        ({"text": Text()}, "adapt"),
        ({"text": Text(vocabulary=["a"]), "vocabulary": 7}, "vocabulary"),
    ],
)
def test_wrong_arguments(options, word):
    with pytest.raises(ValueError, match=word):
        SequenceClassifier(**{"classes": 2, "cell": GRU(), **options})


@pytest.mark.core
def test_wrong_data(rng):
    numbers = SequenceClassifier(2, GRU(), vocabulary=5)
    numbers.compile("sgd")
    with pytest.raises(ValueError, match="no `text`"):
        numbers.predict(["a text"])
    for wrong in (np.array([[5]]), np.array([[-1]])):
        with pytest.raises(ValueError, match=r"0\.\.4"):
            numbers.predict(wrong)
    ids = np.array([[1], [2]])
    for wrong in ([0, 2], np.array([-1, 0]), ["a", "b"]):
        with pytest.raises(ValueError, match="classes"):
            numbers.fit(ids, wrong)
    named = SequenceClassifier(["a", "b"], GRU(), vocabulary=5)
    named.compile("sgd")
    with pytest.raises(ValueError, match="'c'"):
        named.evaluate(ids, ["a", "c"])
