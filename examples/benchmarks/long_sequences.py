"""Long sequences: parallel layers against `keras.layers.GRU`, and each form of a recurrence against the others.

python examples/benchmarks/long_sequences.py                      # train step at B=8, T=4096, H=128, and memory by T
python examples/benchmarks/long_sequences.py --forms              # the forms of the linear engine by T and width
python examples/benchmarks/long_sequences.py --json runs/long.json

One process, the backend of KERAS_BACKEND; the layers take turns, medians over the rounds. A train step is the forward
pass with training=True, the mean square of the outputs, and the gradients of all weights.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import keras
import numpy as np
from programs import keras_step

import keras_rnnx
from keras_rnnx.engine import paths

FEATURES = 64
LAYERS = {
    "keras.layers.GRU": lambda units: keras.layers.GRU(units, return_sequences=True),
    "MinGRU": lambda units: keras_rnnx.MinGRU(units, return_sequences=True),
    "MinLSTM": lambda units: keras_rnnx.MinLSTM(units, return_sequences=True),
    "QRNN": lambda units: keras_rnnx.QRNN(units, return_sequences=True),
    "LRU": lambda units: keras_rnnx.LRU(units, return_sequences=True),
    "RGLRU": lambda units: keras_rnnx.RGLRU(units, return_sequences=True),
    "MLSTM": lambda units: keras_rnnx.MLSTM(units, heads=4, return_sequences=True),
    "GatedDeltaNet": lambda units: keras_rnnx.GatedDeltaNet(units, heads=4, return_sequences=True),
}


def step_of(layer, batch, steps):
    """A train step of a layer on random inputs, run once."""
    x = np.random.default_rng(0).normal(size=(batch, steps, FEATURES)).astype("float32")
    inputs = keras.Input((steps, FEATURES))
    model = keras.Model(inputs, layer(inputs))
    model.compile(loss="mse")
    run, _ = keras_step(model, [x], train=True)
    run()
    return run


def timed(runs, rounds):
    """Medians in ms, the runs taking turns."""
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(found) for name, found in seconds.items()}


def compared(batch, steps, units, rounds):
    """Every layer, and the matrix memory one step at a time."""
    runs = {name: step_of(make(units), batch, steps) for name, make in LAYERS.items()}
    size, paths.MEMORY_CHUNK = paths.MEMORY_CHUNK, 1
    runs["MLSTM, one step at a time"] = step_of(LAYERS["MLSTM"](units), batch, steps)
    paths.MEMORY_CHUNK = size
    return timed(runs, rounds)


def by_form(rounds):
    """The forms of the linear engine, by length and by the width B * H of a step."""
    found = {}
    for steps in (16, 64, 256, 1024, 4096):
        for batch, units in ((1, 64), (8, 128), (32, 256)):
            if steps * batch * units > 2**24:
                continue
            runs = {}
            for form in (("loop",), ("chunked", 16, 1), ("chunked", 32, 1), ("chunked", 64, 1), ("chunked", 16, 2)):
                layer = keras_rnnx.MinGRU(units, return_sequences=True)
                chosen, paths.choose_linear = paths.choose_linear, lambda *_, form=form: paths._parallel(form, "asked")
                runs["-".join(map(str, form))] = step_of(layer, batch, steps)
                paths.choose_linear = chosen
            found[f"T={steps} B={batch} H={units}"] = timed(runs, rounds)
    return found


def table(rows):
    """A Markdown table of {row: {column: ms}}."""
    columns = list(next(iter(rows.values())))
    lines = [f"| ms | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | {' | '.join(f'{row[c]:.1f}' for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--forms", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    about = {"backend": keras.backend.backend(), "keras": keras.__version__, "machine": platform.platform()}
    if args.forms:
        found = by_form(args.rounds)
    else:
        one = compared(args.batch, args.steps, args.units, args.rounds)
        found = {f"B={args.batch} T={args.steps} H={args.units}": one}
        base = one["keras.layers.GRU"]
        print("\n".join(f"{name}: {ms:.1f} ms, keras.layers.GRU / it = {base / ms:.2f}" for name, ms in one.items()))
    print(table(found))
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**about, "rounds": args.rounds, "ms": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
