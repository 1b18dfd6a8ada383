"""What users give a trained task model by mistake: each is handled, or refused with a ValueError that says what."""

import numpy as np
import pytest
from cases import tensor

import keras_rnnx
from keras_rnnx.attention import AttentionCell, LuongAttention
from keras_rnnx.models import SequenceClassifier, SequenceGenerator, SequenceTagger, Text
from keras_rnnx.seq2seq import BeamSearch, Decoder, Encoder, Seq2Seq

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

LONGEST = 3  # tokens, of the data that models are trained on


def translator():
    source, target = Text(vocabulary=["a", "b"]), Text(start_token="<", end_token=">", vocabulary=["x", "y"])
    encoder = Encoder(keras_rnnx.GRUCell(3), bidirectional=True, vocabulary=source.size, embedding=2)
    decoder = Decoder(target.size, keras_rnnx.GRUCell(3), LuongAttention(), embedding=2)
    return Seq2Seq(encoder, decoder, source_text=source, target_text=target), ["x y", "", "y"]


def generator():
    text = Text(start_token="<", end_token=">", vocabulary=["a", "b"])
    return SequenceGenerator(keras_rnnx.GRUCell(3), text=text, embedding=2), None


def classifier():
    model = SequenceClassifier(["p", "q"], keras_rnnx.GRUCell(3), text=Text(vocabulary=["a", "b"]), embedding=2)
    return model, ["p", "q", "p"]


def tagger():
    model = SequenceTagger(["p", "q"], keras_rnnx.GRUCell(3), text=Text(vocabulary=["a", "b"]), embedding=2)
    return model, [["p", "q", "q"], [], ["q"]]


TASKS = {"translator": translator, "generator": generator, "classifier": classifier, "tagger": tagger}
TEXTS = ["a b b", "", "c"]  # one is empty, and one has only a word that the vocabulary lacks


@pytest.fixture(scope="module")
def models():
    """A model of each task, trained on the texts."""
    pytest.importorskip("tensorflow")  # strings become integers by it
    made = {}
    for name, make in TASKS.items():
        model, targets = make()
        model.compile("adam")
        history = model.fit(TEXTS, targets, verbose=0).history
        assert np.isfinite(history["loss"]).all()
        made[name] = model
    return made


def used(model, texts, **options):
    if hasattr(model, "generate"):
        return model.generate(texts, max_length=4 * LONGEST, **options)
    return model.predict(texts, verbose=0)


@pytest.mark.parametrize("task", TASKS)
def test_unknown_tokens_empty_texts_and_long_ones(models, task):
    texts = ["zzz a", "", "a b " * LONGEST]
    together = used(models[task], texts)
    turned = used(models[task], texts[::-1])[::-1]  # the shapes are those of before: nothing more is compiled
    for one, other in zip(together, turned, strict=True):
        if isinstance(one, (str, list)):
            assert one == other
        else:
            np.testing.assert_allclose(one, other, rtol=1e-5)
    if task == "tagger":
        assert [len(tags) for tags in together] == [2, 0, 2 * LONGEST]
    if task == "translator":  # what was not asked for is not said
        assert all("[UNK]" not in text for text in together)


@pytest.mark.parametrize("task", TASKS)
def test_no_texts_one_text_and_other_things(models, task):
    model = models[task]
    for nothing in ([], np.zeros((0, 3), "int32")):
        with pytest.raises(ValueError, match="at least one sequence"):
            used(model, nothing)
    with pytest.raises(ValueError, match="one string"):
        used(model, "a b")
    with pytest.raises(ValueError, match="None"):
        used(model, ["a", None])
    with pytest.raises(ValueError, match="99"):
        used(model, np.array([[2, 99]]))


@pytest.mark.parametrize("task", ["translator", "generator"])
def test_a_beam_wider_than_the_vocabulary(models, task):
    width = 5 * models[task].decoder.vocabulary
    texts = models[task].generate(["a"], BeamSearch(width, n_best=3), max_length=4)[0]
    assert len(set(texts)) == 3


@pytest.mark.parametrize("saved", TASKS)
def test_a_file_of_another_task(models, saved, tmp_path):
    file = tmp_path / "model.keras"
    models[saved].save(file)
    for task, model in models.items():
        if task != saved:
            with pytest.raises(ValueError, match="loaded|expected"):
                model.load_weights(file)


def test_memory_and_mask_of_different_lengths(rng):
    cell = AttentionCell(keras_rnnx.GRUCell(3), LuongAttention())
    layer = keras_rnnx.RNN(cell)
    x, memory = tensor(rng.normal(size=(2, 4, 3))), tensor(rng.normal(size=(2, 5, 3)))
    with pytest.raises(ValueError, match=r"\(2, 5\)"):
        layer(x, memory=memory, memory_mask=tensor(np.ones((2, 4)), "bool"))
