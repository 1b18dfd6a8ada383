"""The known tasks' own parts: what their data mean, the command line, resuming, the page. One tiny model is trained."""

import copy
import importlib
import json
import math
import os
import pathlib
import subprocess
import types

import keras
import numpy as np
import pytest

import keras_rnnx

pytest.importorskip("sklearn")

with pytest.MonkeyPatch.context() as patch:  # the script hides the GPU, which other tests may use
    patch.setenv("CUDA_VISIBLE_DEVICES", os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    patch.syspath_prepend(str(pathlib.Path(__file__).resolve().parent.parent / "examples" / "benchmarks"))
    known = importlib.import_module("known_tasks")
    evidence = importlib.import_module("evidence")
    task_data = importlib.import_module("task_data")

SETTINGS = {
    "backend": keras.backend.backend(),
    "steps": known.STEPS,
    "units": 32,
    "batch": 32,
    "rates": [0.01],
    "clip": 1.0,
    "symbols": 3,
    "delay": 5,
    "seed": 0,
    "raw": False,
}
TASKS = task_data.tasks(SETTINGS)


def generator(seed=0):
    return np.random.default_rng(seed)


# ---- data ----


def test_adding_sums_the_two_marked_numbers():
    x, y = task_data.adding(generator(), 500, length=11)
    assert (x.shape, y.shape, x.dtype) == ((500, 11, 2), (500, 1), "float32")
    numbers, marks = x[..., 0], x[..., 1]
    assert set(np.unique(marks)) == {0.0, 1.0}
    first, second = np.nonzero(marks)[1].reshape(500, 2).T
    assert set(first) == set(range(5)) and set(second) == set(range(5, 11))  # every place of either half
    rows = np.arange(500)
    np.testing.assert_allclose(y[:, 0], numbers[rows, first] + numbers[rows, second], rtol=1e-6)
    assert 0 <= numbers.min() < 0.01 and 0.99 < numbers.max() < 1


def test_adding_is_a_sixth_for_who_always_answers_one():
    _, y = TASKS["adding"].data(generator(), 20_000)
    assert TASKS["adding"].score(y, np.ones_like(y))["mse"] == pytest.approx(1 / 6, rel=0.03)


@pytest.mark.parametrize(("symbols", "delay"), [(3, 5), (1, 4), (4, 1)])
def test_copy_asks_for_the_symbols_after_the_delay(symbols, delay):
    x, y = task_data.copying(generator(), 200, symbols, delay)
    assert x.shape == (200, delay + 2 * symbols, 10) and y.shape == x.shape[:2]
    assert set(np.unique(x)) == {0.0, 1.0} and (x.sum(axis=-1) == 1).all()
    read, go = x.argmax(axis=-1), symbols + delay - 1
    assert set(read[:, :symbols].flat) == set(range(1, 9))
    assert (read[:, symbols:go] == 0).all() and (read[:, go] == 9).all() and (read[:, go + 1 :] == 0).all()
    assert (y[:, : symbols + delay] == 0).all()
    for step in range(symbols):
        np.testing.assert_array_equal(y[:, step + symbols + delay], read[:, step])


def test_digits_are_split_once_and_wholly():
    train, test, train_labels, test_labels = task_data.digits()
    data = task_data.sklearn.datasets.load_digits()

    def named(images, labels):
        return sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))

    whole = named((data.images / 16).astype("float32"), data.target)
    assert named([*train, *test], [*train_labels, *test_labels]) == whole
    assert not {image for image, _ in named(train, train_labels)} & {image for image, _ in named(test, test_labels)}
    assert len(test) == task_data.TEST["digits"] and train.min() == 0 and train.max() == 1
    shares = [np.bincount(labels, minlength=10) / len(labels) for labels in (train_labels, test_labels)]
    np.testing.assert_allclose(*shares, atol=0.005)


@pytest.mark.parametrize("count", [None, 100])
def test_rows_and_pixels_are_the_same_pixels_in_reading_order(count):
    train, test, train_labels, test_labels = task_data.digits()
    rows, labels = TASKS["rows"].data(generator(), count)
    pixels, again = TASKS["pixels"].data(generator(), count)
    np.testing.assert_array_equal(labels, again)
    if count is None:
        images, expected = test, test_labels
    else:
        picked = generator().permutation(len(train))[:count]
        images, expected = train[picked], train_labels[picked]
    np.testing.assert_array_equal(labels, expected)
    for row in range(8):
        for column in range(8):
            np.testing.assert_array_equal(rows[:, row, column], images[:, row, column])
            np.testing.assert_array_equal(pixels[:, 8 * row + column, 0], images[:, row, column])


def test_each_epoch_of_digits_has_every_training_digit_once():
    train = task_data.digits()[0]
    x, _ = TASKS["pixels"].data(generator(), 2 * len(train) + 5)
    first, second, rest = np.split(x.reshape(len(x), 64), [len(train), 2 * len(train)])
    whole = sorted(map(tuple, train.reshape(-1, 64)))
    assert sorted(map(tuple, first)) == sorted(map(tuple, second)) == whole
    assert not np.array_equal(first, second) and len(rest) == 5


@pytest.mark.parametrize("name", TASKS)
def test_a_task_gives_what_it_says(name):
    task = TASKS[name]
    for count in (17, None):
        x, y = task.data(generator(), count)
        tests = {"rows": "digits", "pixels": "digits"}.get(name, name)
        assert x.shape == (count or task_data.TEST[tests], task.length, task.features) and x.dtype == "float32"
        assert y.shape[:1] + y.shape[1:] == x.shape[:1] + ((task.length,) if task.every else (1,) * (not task.classes))
        if task.classes:
            assert y.dtype == "int32" and set(np.unique(y)) <= set(range(task.outputs))
        else:
            assert y.shape[-1] == task.outputs


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_gives_the_same_sequences_and_another_seed_others(name):
    data = TASKS[name].data
    for one, two in zip(data(generator(3), 50), data(generator(3), 50), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(data(generator(3), 50)[0], data(generator(4), 50)[0])


def test_the_delay_and_the_symbols_of_the_command_line_reach_the_copy_task():
    args = known.parsed(["--symbols", "2", "--delay", "7"])
    task = task_data.tasks(known.settings_of(args))["copy"]
    x, y = task.data(generator(), 3)
    assert task.length == x.shape[1] == y.shape[1] == 11 and (y[:, -2:] > 0).all() and (y[:, :-2] == 0).all()
    wrong_before = np.eye(9)[np.where(np.arange(11) < 9, 8, y)]
    assert task.score(y, wrong_before)["accuracy"] == 1.0  # only recalled symbols count


# ---- scores ----


def test_squared_error():
    assert task_data.squared_error(np.array([[1.0], [2.0]]), np.array([[1.5], [0.0]])) == {"mse": 2.125}


def test_share_right():
    predicted = np.array([[0.0, 2.0, 1.0], [5.0, 4.0, 4.5], [-3.0, -2.0, -1.0], [0.0, 0.0, 9.0]])
    assert task_data.share_right(np.array([1, 2, 2, 2]), predicted) == {"accuracy": 0.75}


def test_recall_is_that_of_keras_over_the_last_symbols():
    x, y = TASKS["copy"].data(generator(), 40)
    logits = generator(1).normal(size=(40, 11, 9)).astype("float32")
    found = TASKS["copy"].score(y, logits)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert found["cross_entropy"] == pytest.approx(float(loss(y[:, 8:], logits[:, 8:])), rel=1e-5)
    assert found["accuracy"] == np.mean(logits[:, 8:].argmax(-1) == y[:, 8:])
    sure = TASKS["copy"].score(y, 1e4 * np.eye(9)[y])  # no overflow
    assert sure == {"cross_entropy": 0.0, "accuracy": 1.0}


def test_without_a_memory_recall_is_what_the_page_says():
    _, y = TASKS["copy"].data(generator(), None)
    blind = np.where(np.arange(9) == 0, -50.0, 0.0) * np.ones((*y.shape, 1))
    found = TASKS["copy"].score(y, blind)
    assert found["cross_entropy"] == pytest.approx(math.log(8))
    assert found["accuracy"] == pytest.approx(1 / 8, abs=0.03)


# ---- layers ----


def test_every_layer_takes_part_or_says_why_not():
    everyone = {row.name for row in keras_rnnx.list_cells()}
    part, out = set(known.layers()), known.skipped()
    assert part | set(out) == everyone | set(known.PEERS)
    assert not part & set(out)
    assert {row.name for row in keras_rnnx.list_cells() if row.family == "convolutional"} == set(out)
    assert set(known.ARGUMENTS) <= part
    assert {row.family for row in keras_rnnx.list_cells()} >= set(known.SKIPPED)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_layer_is_made_for_every_task(task):
    for name, (_, _, make) in known.layers().items():
        layer = make(8, task.length, task.every)
        assert (type(layer).__name__, layer.return_sequences) == (name.split(".")[-1], task.every)
        config = layer.get_config()
        assert config["units"] == 8
        for argument, value in known.ARGUMENTS.get(name, lambda T: {})(task.length).items():
            assert config[argument] == (list(value) if isinstance(value, tuple) else value), (name, argument)


# ---- one layer on one task ----


def test_what_is_trained_on_and_what_is_tested_on_are_apart(monkeypatch):
    drawn = []

    def data(rng, count):
        drawn.append((rng.integers(2**60), count))
        return np.ones((count or 3, 4, 2), "float32"), np.zeros(count or 3, "int32")

    task = task_data.Task(4, 2, 5, data, task_data.share_right)
    settings = {**SETTINGS, "units": 3, "batch": 2, "seed": 6}
    made = []

    def make(*arguments):
        made.append(arguments)
        return keras.layers.GlobalAveragePooling1D()

    monkeypatch.setattr(known.Watch, "on_train_batch_end", watched := counting(known.Watch.on_train_batch_end))
    result = known.trained(make, task, settings, 0.01, steps=2)
    assert made == [(3, 4, False)] and watched.calls == 2
    assert drawn == [(generator(7).integers(2**60), 4), (generator(6).integers(2**60), None)]
    assert set(result) == {"rate", "steps", "ms", "parameters", "loss", "score"}
    assert (result["steps"], result["rate"], result["parameters"]) == (2, 0.01, 0)
    assert 0 < result["loss"] < 10 and result["ms"] > 0


def counting(function):
    """The function, which counts its calls."""

    def counted(*arguments, **named):
        counted.calls += 1
        return function(*arguments, **named)

    counted.calls = 0
    return counted


def test_watch():
    watch = known.Watch()
    watch.set_model(types.SimpleNamespace(stop_training=False))
    losses = np.linspace(3.0, 1.0, 40)
    for step, mean in enumerate(np.cumsum(losses) / np.arange(1, 41)):
        watch.on_train_batch_end(step, {"loss": mean})
    assert not watch.model.stop_training
    assert watch.last_loss() == pytest.approx(losses[-4:].mean())
    watch.ends = [0.0, 5.0, 5.5, 5.51, 5.53, 5.56, 5.6]  # the first steps compile
    assert watch.ms() == pytest.approx(30.0)
    watch.on_train_batch_end(40, {"loss": math.nan})
    assert watch.model.stop_training


def test_the_best_rate_is_that_of_the_least_loss(monkeypatch):
    losses = {
        0.1: {"diverged": 7},
        0.03: {"loss": 0.5, "score": {"mse": 0.1}},
        0.01: {"loss": 0.4, "score": {"mse": 9}},
    }
    monkeypatch.setattr(known, "trained", lambda make, task, settings, rate, steps: {"rate": rate, **losses[rate]})
    settings = {**SETTINGS, "rates": list(losses)}
    found = known.result_of("JANET", None, TASKS["rows"], settings, 10)
    assert (found["rate"], found["score"], found["arguments"]) == (0.01, {"mse": 9}, {"t_max": 8})
    assert [run["rate"] for run in found["runs"]] == list(losses)
    alone = known.result_of("LSTM", None, TASKS["rows"], {**SETTINGS, "rates": [0.1]}, 10)
    assert alone["diverged"] == 7 and not {"runs", "arguments", "score"} & set(alone)


def test_the_echo_state_network_is_fitted_to_the_same_sequences():
    settings = {**SETTINGS, "units": 4, "batch": 15, "delay": 1, "symbols": 1}
    task, drawn = task_data.tasks(settings)["copy"], []

    def data(rng, count):
        x, y = task.data(rng, count or 60)
        drawn.append((x, count))
        return x, y

    found = known.result_of("ESN", None, task_data.Task(3, 10, 9, data, task.score, every=True), settings, 20)
    assert [count for _, count in drawn] == [300, None]
    np.testing.assert_array_equal(drawn[0][0], task.data(generator(1), 300)[0])
    np.testing.assert_array_equal(drawn[1][0], task.data(generator(0), 60)[0])
    assert found["fitted"] and found["ms"] is None and set(found["score"]) == {"accuracy"}
    assert found["score"]["accuracy"] > 0.9 and found["parameters"] == (known.RESERVOIR * 4 + 1) * 9


# ---- the command line ----


def test_command_line():
    args = known.parsed([])
    assert (args.layers, args.tasks, args.steps) == (list(known.layers()), list(TASKS), None)
    assert known.settings_of(args) == SETTINGS
    assert args.json == known.ROOT / "runs" / "known_tasks.json"
    args = known.parsed("--layers LSTM,MinGRU --tasks copy --steps 9 --rates 0.1,0.02 --raw --json a/b.json".split())
    assert (args.layers, args.tasks, str(args.json)) == (["LSTM", "MinGRU"], ["copy"], "a/b.json")
    settings = known.settings_of(args)
    assert (settings["rates"], settings["raw"]) == ([0.1, 0.02], True)
    assert settings["steps"] == dict.fromkeys(TASKS, 9)


def test_smoke_is_small_and_has_a_file_of_its_own():
    args = known.parsed(["--smoke", "--layers", "GRU"])
    assert (args.layers, args.steps, args.batch) == (["GRU"], 3, 8)
    assert args.json != known.parsed([]).json
    assert known.parsed(["--smoke"]).layers == known.SMOKE["layers"]


@pytest.mark.parametrize("wrong", ["layers LSTN", "tasks addition", "steps 1", "steps 0", "units 0", "delay 0"])
def test_command_line_refuses(wrong, capsys):
    with pytest.raises(SystemExit):
        known.parsed(f"--{wrong}".split())
    assert "expected" in capsys.readouterr().err


# ---- resuming ----


@pytest.fixture
def quick(monkeypatch):
    """No git, machine or regression is asked, and no garbage collected."""
    monkeypatch.setattr(known, "gc", types.SimpleNamespace(collect=lambda: None))
    monkeypatch.setattr(known, "facts", lambda settings: {"skipped": {}})
    monkeypatch.setattr(known, "session", lambda: {"command": "python"})


@pytest.fixture
def args(tmp_path):
    return known.parsed(f"--layers GRU,LSTM,MinGRU --tasks copy,rows --json {tmp_path}/a/b.json".split())


def score(value=0.5, **more):
    return {"score": {"accuracy": value}, "parameters": 10, "ms": 1.25, "seconds": 30.0, **more}


def saved(args):
    return json.loads(args.json.read_text())


def results(record):
    return {(name, task): r for name, layer in record["layers"].items() for task, r in layer["tasks"].items()}


def test_what_is_in_the_file_is_not_trained_again(args, quick, monkeypatch):
    record = known.started(args)
    known.noted(args, record, "LSTM", "copy", score(0.25))
    known.noted(args, record, "GRU", "rows", score(0.75))
    asked = []

    def result_of(name, make, task, settings, steps):
        assert set(results(saved(args))) == {("LSTM", "copy"), ("GRU", "rows"), *asked}  # each is kept at once
        assert make is known.layers()[name][2] and settings == SETTINGS
        key = {11: "copy", 8: "rows"}[task.length]
        assert steps == known.STEPS[key]
        asked.append((name, key))
        return score(len(asked))

    monkeypatch.setattr(known, "result_of", result_of)
    known.run_here(args)
    assert asked == [("GRU", "copy"), ("LSTM", "rows"), ("MinGRU", "copy"), ("MinGRU", "rows")]
    found = results(saved(args))
    assert found["LSTM", "copy"] == score(0.25) and found["MinGRU", "rows"] == score(4)
    assert saved(args)["layers"]["MinGRU"]["parallel"] is True
    known.run_here(args)
    assert len(asked) == 4


def test_what_failed_is_tried_again_and_what_diverged_is_not(args, quick):
    record = known.started(args)
    for name, result in (("LSTM", {"error": "ValueError: no"}), ("GRU", {"diverged": 3}), ("MinGRU", score())):
        known.noted(args, record, name, "copy", result)
    record = known.started(args)
    assert set(results(saved(args))) == {("GRU", "copy"), ("MinGRU", "copy")}
    assert known.missing(record, args) == [("GRU", "rows"), ("LSTM", "copy"), ("LSTM", "rows"), ("MinGRU", "rows")]
    assert len(saved(args)["sessions"]) == 2


def test_a_file_of_other_options_is_neither_resumed_nor_overwritten(args, quick):
    known.started(args)
    before = args.json.read_text()
    args.units = 16
    with pytest.raises(SystemExit, match=r"(?s)'units': 32.*asked for was .*'units': 16"):
        known.started(args)
    assert args.json.read_text() == before


def test_smoke_begins_anew(args, quick):
    args.smoke = True
    known.noted(args, known.started(args), "LSTM", "copy", score())
    assert known.started(args)["layers"] == {}


def test_a_kill_while_the_file_is_written_leaves_the_one_before(args, quick, monkeypatch):
    record = known.started(args)
    before = args.json.read_text()

    def killed(path, record):
        path.write_text("{")
        raise KeyboardInterrupt

    monkeypatch.setattr(known, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        known.noted(args, record, "LSTM", "copy", score())
    assert args.json.read_text() == before


def test_a_layer_that_fails_is_one_line_and_the_others_are_run(args, quick, monkeypatch, capsys):
    def result_of(name, *arguments):
        if name == "LSTM":
            raise ValueError("Expected a.\nReceived: " + "b" * 500)
        return score()

    monkeypatch.setattr(known, "result_of", result_of)
    known.started(args)
    known.run_here(args)
    record, printed = saved(args), capsys.readouterr()
    assert [key for key, r in results(record).items() if "error" in r] == [("LSTM", "copy"), ("LSTM", "rows")]
    assert len(results(record)) == 6
    assert results(record)["LSTM", "copy"] == {"error": "ValueError: Expected a."}
    assert "Traceback" in printed.err
    assert [line.split() for line in printed.out.splitlines() if line.startswith("LSTM ")] == [
        ["LSTM", "copy", "ValueError:", "Expected", "a.;", "0", "s"],
        ["LSTM", "rows", "ValueError:", "Expected", "a.;", "0", "s"],
    ]
    assert evidence.failures(record).splitlines()[2:] == [
        "* `LSTM`, copy: ValueError: Expected a.",
        "* `LSTM`, rows: ValueError: Expected a.",
    ]


def test_a_result_is_printed(args, quick, capsys):
    record = known.started(args)
    known.noted(args, record, "GRU", "copy", score(0.12345, fitted=True))
    known.noted(args, record, "GRU", "rows", {"diverged": 12, "ms": 3.0, "seconds": 2.0})
    fitted, diverged = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert fitted == "GRU copy accuracy 0.1235, only a read-out is trained, by fit_readout; 1.2 ms a step, 30 s"
    assert diverged == "GRU rows NaN at 12; 3.0 ms a step, 2 s"


def test_a_part_whose_run_was_killed_ends(args, quick, monkeypatch):
    known.started(args)
    parents = iter([10, 10, 1])
    monkeypatch.setattr(known, "os", types.SimpleNamespace(getppid=lambda: next(parents)))
    monkeypatch.setattr(known, "result_of", lambda *arguments: score())
    with pytest.raises(SystemExit, match="was killed"):
        known.run_here(args)
    assert len(results(saved(args))) == 1


def test_a_few_layers_a_process_and_one_that_dies_fails_what_it_was_at(args, quick, monkeypatch):
    args.layers, parts = list(known.layers())[:11], []

    def child(command):
        assert command[-3:-1] == ["--here", "--layers"]
        names = command[-1].split(",")
        parts.append(len(names))
        record, mine = saved(args), copy.copy(args)
        mine.layers = names
        for name, task in known.missing(record, mine):
            if (name, task) == (args.layers[3], "rows") and len(parts) == 1:
                return subprocess.CompletedProcess(command, -9)
            known.noted(args, record, name, task, score())
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(known.subprocess, "run", child)
    record = known.run_all(args)
    assert parts == [known.PER_PROCESS, 7]  # after the death, the rest: four layers and three more
    found = results(record)
    assert len(found) == 22 and record == saved(args)
    assert [(key, r) for key, r in found.items() if "error" in r] == [
        ((args.layers[3], "rows"), {"error": "the process ended with code -9"})
    ]


def test_processes_that_always_die_end_too(args, quick, monkeypatch):
    monkeypatch.setattr(known.subprocess, "run", lambda command: subprocess.CompletedProcess(command, 1))
    assert len(results(known.run_all(args))) == 6


# ---- the page ----


def record_of(**layers):
    """A record with the results of each layer by task; `settings`, `facts` and two sessions around it."""

    def about(git, options):
        return {
            "date": "2026-01-02T03:04:05+00:00",
            "command": f"python examples/benchmarks/known_tasks.py{options}",
            "git": git,
            "python": "3.11.7",
            "versions": {"keras": "3.15.1", "numpy": "2.4"},
            "machine": {"cpu": "A CPU", "cores": 8, "usable_cores": 3},
        }

    families = {name: (family, parallel) for name, (family, parallel, _) in known.layers().items()}
    return {
        "settings": SETTINGS,
        "facts": {
            "adding_length": 100,
            "categories": 8,
            "reservoir": 256,
            "adding_test": 1024,
            "copy_test": 512,
            "digits_train": 1445,
            "digits_test": 352,
            "logistic": 0.9659,
            "skipped": {"Conv1": "no vector", "Odd": "no step", "Conv2": "no vector"},
        },
        "sessions": [about("a" * 40 + "+changes", " --json my/file.json"), about("b" * 40, " --layers LSTM")],
        "layers": {
            name: dict(zip(("family", "parallel"), families[name], strict=True), tasks=found)
            for name, found in layers.items()
        },
    }


ADDING = {"score": {"mse": 0.00123456}, "parameters": 12_345, "ms": 10.04, "seconds": 60.0}
COPY = {"score": {"cross_entropy": 0.5, "accuracy": 0.9996}, "parameters": 2_000, "ms": 2.0, "seconds": 30.0}


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_has_units_and_gaps():
    record = record_of(MinGRU={"copy": COPY, "adding": ADDING, "rows": {"error": "E: x"}})
    head, rule, row = map(cells, evidence.rows(record).splitlines())
    assert dict(zip(head, row, strict=True)) == {
        "Layer": "`MinGRU`",
        "Parallel": "yes",
        "Parameters": "2,000 to 12,345",
        "Adding, MSE": "0.0012",
        "Copy, cross-entropy": "0.500",
        "Copy, accuracy": "1.000",
        "Rows": "failed",
        "Pixels": "",
        "ms a step": "10.0 / 2.0 / - / -",
    }
    assert rule == ["---"] * 2 + ["---:"] * 7


def test_a_result_as_a_cell():
    assert evidence.told(None, "mse") == ""
    assert evidence.told({"error": "E: x", "parameters": 1}, "mse") == "failed"
    assert evidence.told({"diverged": 17}, "mse") == "NaN at 17"
    assert evidence.told({"score": {"accuracy": 1.0}}, "cross_entropy") == "-"  # a read-out that is fitted


def test_parameters_of_all_tasks():
    assert evidence.parameters([{"parameters": 1000}, {"error": "E"}, {"parameters": 1000}]) == "1,000"
    assert evidence.parameters([{"parameters": n} for n in (9, 1000, 50)]) == "9 to 1,000"
    assert evidence.parameters([{"error": "E"}]) == ""


def test_rows_are_sorted_by_family_then_by_name():
    order = ["UnICORNN", "TLSTM", "keras.layers.GRU", "S5", "LSTM", "CoRNN", "LiGRU", "LightRU", "ESN"]
    record = record_of(**dict.fromkeys(order, {"copy": COPY}))
    names = [cells(line)[0].strip("`") for line in evidence.rows(record).splitlines()[2:]]
    assert names == [
        *["ESN", "LightRU", "LiGRU", "LSTM", "TLSTM"],  # additive, gated
        *["keras.layers.GRU", "S5", "CoRNN", "UnICORNN"],  # of Keras, linear, stable
    ]
    gated = evidence.rows(record, "gated", evidence.OURS_ARE_LINKED).splitlines()[2:]
    assert [cells(line)[0] for line in gated] == [f"[`{n}`][keras_rnnx.{n}]" for n in names[1:5]]
    peers = evidence.rows(record, "keras.layers", evidence.OURS_ARE_LINKED).splitlines()[2:]
    assert [cells(line)[0] for line in peers] == ["`keras.layers.GRU`"]


def test_failures_have_a_line_each():
    record = record_of(GRU={"copy": COPY, "rows": {"diverged": 3}}, LSTM={"rows": {"error": "TypeError: no"}})
    assert evidence.failures(record).splitlines() == [
        "Without a score:",
        "",
        "* `GRU`, rows: the loss or an output was not finite",
        "* `LSTM`, rows: TypeError: no",
    ]
    assert evidence.failures(record_of(GRU={"copy": COPY})) == "Every run gave a score."


def test_left_out_is_grouped_by_reason():
    assert evidence.left_out(record_of()) == "Not run: `Conv1`, `Conv2`: no vector.\nNot run: `Odd`: no step."
    assert evidence.left_out({"facts": {}}) == ""


def test_arguments_are_those_of_adding():
    record = record_of(
        LMU={"adding": {**ADDING, "arguments": {"order": 16, "theta": 1 / 3}}, "rows": {"arguments": {"order": 8}}},
        LSTM={"adding": ADDING},
        CoRNN={"copy": {**COPY, "arguments": {"dt": 0.3}}},
    )
    assert evidence.own_arguments(record) == "`CoRNN(dt=...)`, `LMU(order=16, theta=0.3333)`"
    assert evidence.own_arguments(record_of(LSTM={"adding": ADDING})) == "none"


def test_where_names_every_revision_and_what_was_not_committed():
    text = evidence.where(record_of(LSTM={"adding": ADDING, "copy": COPY}, GRU={"copy": COPY, "rows": {"error": "E"}}))
    assert text.startswith(f"2 minutes on 3 cores of A CPU, no GPU; the {SETTINGS['backend']} backend.\n")
    assert text.endswith("Python 3.11.7, keras 3.15.1, numpy 2.4; 2026-01-02, revision aaaaaaa+changes, bbbbbbb.")


def test_the_page():
    of_copy = {"keras.layers.GRU": {"copy": COPY}, "CoRNN": {"copy": COPY}}
    text = evidence.page(record_of(LSTM={"adding": ADDING}, **of_copy))
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Gated",
        "### keras.layers",
        "### Stable and dynamical",
    ]
    flat = " ".join(text.split())
    for part in (
        "answers are known, 2 layers,",  # Keras' own do not count
        "100 steps, at each a random number",
        "Mean squared error on 1024 new sequences",
        "3 symbols out of 8; after a delay of 5 steps",
        "512 sequences, drawn at random, as those of training, out of the 512 that there are",
        "Without a memory: 2.079 and 0.125.",
        "1445 to train and 352 to test",
        "Logistic regression on all 64 pixels: 0.966",
        '`Dense(32, "gelu")` at each step, the layer with 32 units',
        "800 / 1,200 / 300 / 400 optimizer steps (adding / copy / rows / pixels) of 32 sequences",
        "Adam, rate 0.01, cosine decay to 0, the norm of all gradients clipped to 1.0; seed 0.",
        "on 256 units",
        "Every run gave a score.",
    ):
        assert part in flat
    assert "\n    python examples/benchmarks/known_tasks.py\n" in text  # without the place of the file
    assert "\n    python examples/benchmarks/known_tasks.py --layers LSTM\n" in text
    assert not {"{", "}"} & set(text)


def test_the_page_of_another_run():
    record = record_of(LSTM={"adding": ADDING})
    record["settings"] = {**SETTINGS, "raw": True, "rates": [0.01, 0.003], "symbols": 10}
    flat = " ".join(evidence.page(record).split())
    assert "gelu" not in flat and "rate 0.01 or 0.003, " in flat and "out of the 1,073,741,824 that" in flat


def test_table_writes_the_page_and_runs_nothing(args, monkeypatch, tmp_path):
    record = record_of(LSTM={"adding": ADDING})
    known.keep(args.json, record)
    monkeypatch.setattr(known, "EVIDENCE", tmp_path / "evidence.md")
    monkeypatch.setattr(known, "started", None)
    monkeypatch.setattr(known, "parsed", lambda: args)
    args.table = True
    known.main()
    assert (tmp_path / "evidence.md").read_text() == evidence.page(record)


def test_facts_and_session_are_what_the_page_needs(monkeypatch):
    monkeypatch.setattr(known.sys, "argv", ["known_tasks.py", "--steps", "5"])
    args = known.parsed(["--units", "3"])
    record = {
        "settings": known.settings_of(args),
        "facts": known.facts(known.settings_of(args)),
        "sessions": [known.session()],
        "layers": {},
    }
    record = json.loads(json.dumps(record))
    assert record["facts"]["reservoir"] == 24 and record["facts"]["digits_train"] == 1445
    assert 0.95 < record["facts"]["logistic"] < 0.98
    text = evidence.page(record)
    backend = keras.backend.backend()
    start = "" if backend == "tensorflow" else f"KERAS_BACKEND={backend} "
    assert f"\n    {start}python examples/benchmarks/known_tasks.py --steps 5\n" in text
    assert f"keras {keras.__version__}" in text and "Not run: `ConvGRU1D`, " in text
