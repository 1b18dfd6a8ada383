"""The benchmark's own parts: statistics, verdicts, registry, command line, failing workers. Nothing is timed."""

import importlib
import json
import math
import pathlib
import sys

import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "examples" / "benchmarks"))
endurance = importlib.import_module("endurance")
registry = importlib.import_module("registry")
run = importlib.import_module("run")
summary = importlib.import_module("summary")


def unit(case="lstm", shape=registry.SHAPES[0], mode="train", **seconds):
    """A unit of peers with their samples; `plain_PEER` is the case it is measured against."""
    against = registry.CASES[case].against
    entrants = []
    for name, samples in seconds.items():
        plain = name.startswith("plain_")
        peer = name.removeprefix("plain_").replace("_", "-")
        entrants.append({"peer": peer, "case": against if plain else case, "seconds": samples})
    return {"case": case, "shape": list(shape), "mode": mode, "entrants": entrants}


# ---- statistics ----


def test_spread():
    samples = np.random.default_rng(0).lognormal(size=9)
    found = summary.spread(list(samples))
    low, high = np.percentile(samples, [25, 75])
    assert found["min"] == samples.min()
    assert found["median"] == pytest.approx(np.median(samples))
    assert found["iqr"] == pytest.approx(high - low)
    assert summary.spread([2.0]) == {"min": 2.0, "median": 2.0, "iqr": 0.0}


def test_ratio_pairs_the_rounds():
    # A machine that slows down tenfold in two of the rounds changes no ratio.
    assert summary.ratio([2.0, 20.0, 20.0], [1.0, 10.0, 10.0]) == 2.0
    assert summary.ratio([1.0, 3.0, 50.0], [1.0, 1.0, 1.0]) == 3.0
    with pytest.raises(ValueError):
        summary.ratio([1.0, 2.0], [1.0])


def test_geometric_mean():
    assert summary.geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    assert summary.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


def test_speed_is_against_keras_at_its_better_setting():
    one = unit(ours=[1.0, 1.0], keras=[3.0, 3.0], keras_jit=[2.0, 2.0])
    assert summary.better_keras(one) == "keras-jit"
    assert summary.speed_of_better(one) == 2.0
    assert summary.speed(one, "keras") == 3.0
    assert summary.speed(one, "torch") is None
    assert summary.speed_of_better(unit(ours=[1.0])) is None


def test_cost_is_against_the_same_peer():
    one = unit("masked", ours=[3.0], plain_ours=[2.0], keras=[8.0], plain_keras=[4.0])
    assert (summary.cost(one, "ours"), summary.cost(one, "keras")) == (1.5, 2.0)
    assert summary.cost(unit(ours=[1.0]), "ours") is None


# ---- verdicts ----


def verdict(what, ratios):
    """The verdict on the target of a case, train step, from one ratio a shape."""
    units = []
    for shape, r in zip(registry.SHAPES, ratios, strict=False):
        if registry.CASES[what].against:
            units.append(unit(what, shape, ours=[r], plain_ours=[1.0]))
        else:
            units.append(unit(what, shape, ours=[1.0], keras=[r], keras_jit=[r + 1]))
    position = [(case, mode) for _, case, mode, *_ in summary.TARGETS].index((what, "train"))
    row = summary.targets(units)[position]
    return row["verdict"], row["mean"]


@pytest.mark.parametrize(
    ("case", "ratios", "expected"),
    [
        ("lstm", [2.5001] * 5, "reached"),
        ("lstm", [2.49] * 5, "missed"),
        ("lstm", [9.0, 9.0, 9.0, 9.0, 0.99], "missed"),  # one shape below 1.0
        ("mgu", [9.0, 9.0, 9.0, 9.0, 0.99], "reached"),
        ("mgu", [1.79] * 5, "missed"),
        ("recurrent_dropout", [1.149] * 5, "reached"),
        ("recurrent_dropout", [1.16] * 5, "missed"),
        ("masked", [1.0, 1.0, 1.0, 1.0, 1.6], "reached"),
        ("masked", [1.11] * 5, "missed"),
    ],
)
def test_verdict(case, ratios, expected):
    found, mean = verdict(case, ratios)
    assert found == expected
    assert mean == pytest.approx(math.prod(ratios) ** (1 / 5))


def test_no_verdict_without_every_shape():
    assert verdict("lstm", [9.0] * 4) == ("not judged: 4 of 5 shapes", None)


def test_tables():
    units = [
        unit("masked", shape, ours=[0.0011], plain_ours=[0.001], keras=[0.0044], plain_keras=[0.002])
        for shape in registry.SHAPES
    ]
    text = summary.report(units)
    assert "| 1x256x64x128 | 1.10 (1.10, 0.00) | 4.40 (4.40, 0.00) |" in text
    assert "| geometric mean | 4.00 |" in text  # keras / ours
    assert "| geometric mean | 1.10 | 2.20 |" in text  # what the mask costs each
    assert "| reached |" in summary.targets_table(summary.targets(units))
    assert len(summary.targets_table([]).splitlines()) == 2


# ---- registry ----


@pytest.mark.parametrize("backend", registry.BACKENDS)
@pytest.mark.parametrize("case", registry.CASES.values(), ids=lambda case: case.name)
def test_every_peer_takes_part_or_says_why_not(case, backend):
    for peer in registry.PEERS:
        maker = getattr(case, peer.removesuffix("-jit"))
        reason = case.lacks(peer, backend)
        assert callable(maker) or maker is True if reason is None else len(reason) > 10
    assert case.modes and set(case.modes) <= set(registry.MODES)
    assert case.against is None or case.against in registry.CASES


def test_entrants():
    pairs = registry.entrants(registry.CASES["recurrent_dropout"], registry.PEERS, "jax", "train")
    plain, dropped = "lstm", "recurrent_dropout"
    assert pairs == [("ours", plain), ("ours", dropped), ("keras", plain), ("keras", dropped)]
    assert registry.entrants(registry.CASES["lstm"], ["torch"], "jax", "train") == [("torch", "lstm")]
    assert registry.entrants(registry.CASES["lstm"], ["onnx"], "tensorflow", "infer") == [("onnx", "lstm")]
    assert registry.entrants(registry.CASES["lstm"], ["onnx"], "tensorflow", "train") == []


# ---- runner ----


def test_command_line():
    args = run.parsed(["--cases", "lstm,gru", "--shapes", "0,4", "--mode", "infer"])
    assert (args.cases, args.mode) == (["lstm", "gru"], ["infer"])
    assert args.shapes == [registry.SHAPES[0], registry.SHAPES[4]]
    assert run.parsed([]).cases == list(registry.CASES)
    assert run.parsed(["--smoke"]).shapes == list(registry.SMOKE_SHAPES)


@pytest.mark.parametrize("wrong", [["--cases", "lstn"], ["--shapes", "5"], ["--rounds", "0"]])
def test_command_line_refuses(wrong, capsys):
    with pytest.raises(SystemExit):
        run.parsed(wrong)
    assert "expected" in capsys.readouterr().err


def test_worker_that_dies_fails_the_run():
    worker = run.Worker("torch", "tensorflow")
    try:
        with pytest.raises(RuntimeError, match=r"(?s)from torch to .*exit code 1\n.*KeyError: 'nope'"):
            worker.ask("build", case="nope", shape=[1, 2, 3, 4], mode="train")
    finally:
        worker.close()


def test_outputs_of_different_shapes_fail_the_run():
    built = {("ours", "lstm"): {"shapes": [[1, 2, 4]]}, ("keras", "lstm"): {"shapes": [[1, 4]]}}
    with pytest.raises(RuntimeError, match="outputs of one shape"):
        run.same_shapes(registry.CASES["lstm"], (1, 2, 3, 4), built)


def test_idle_share_leaves_short_waits_out():
    waits = [{"cpu": 0.01, "wall": 0.01}, {"cpu": 0.1, "wall": 1.0}, {"cpu": 0.0, "wall": 1.0}]
    assert run.idle_share(waits) == pytest.approx(0.05)
    assert run.idle_share(waits[:1]) is None


def test_record_is_read_back(tmp_path, capsys, monkeypatch):
    units = [unit("lstm", shape, ours=[1.0], keras=[3.0]) for shape in registry.SHAPES]
    path = tmp_path / "runs" / "benchmark.json"
    run.write(path, {"units": units})
    assert json.loads(path.read_text())["units"] == units
    monkeypatch.setattr(sys, "argv", ["run.py", "--report", str(path), "--targets"])
    run.main()
    printed = capsys.readouterr().out
    assert "### LSTM: train step" in printed and "| 3.00 | reached |" in printed


# ---- many calls ----


def test_calls_from_threads_and_of_varying_length(capsys):
    endurance.main(["--concurrent", "48", "--varying", "10"])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("48 calls from 16 threads give what one thread gives")
    assert [line.split(":")[0] for line in lines] == [f"{n} calls" for n in range(1, 11)]


def test_a_thread_that_gets_another_result_fails_the_run():
    numbers = iter(range(1000))
    with pytest.raises(AssertionError):
        endurance.concurrent_calls(lambda x: np.float32(next(numbers)), 32)
