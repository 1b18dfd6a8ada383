"""Long sequences: parallel layers against `keras.layers.GRU`, and how many steps to compute side by side.

python examples/benchmarks/long_sequences.py                      # train step at B=8, T=4096, H=128
python examples/benchmarks/long_sequences.py --chunks             # steps in a chunk, by length and width
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
    "GLA": lambda units: keras_rnnx.GLA(units, heads=4, return_sequences=True),
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


def by_chunk(name, constant, sizes, rounds):
    """A layer by length, width of a step and steps in a chunk; 1 is a loop over single steps."""
    found, paths.LOOPED = {}, ()
    for steps in (16, 64, 256, 1024, 4096):
        for batch, units in ((1, 64), (8, 128), (32, 256)):
            if steps * batch * units > 2**24:
                continue
            runs, chosen = {}, getattr(paths, constant)
            for size in sizes:
                loop = steps if constant == "CHUNK" else 1  # the linear engine loops below two chunks
                setattr(paths, constant, loop if size == 1 else size)
                if size <= steps:
                    runs[str(size)] = step_of(LAYERS[name](units), batch, steps)
            setattr(paths, constant, chosen)
            row = f"T={steps} B={batch} H={units}"
            found[row] = dict.fromkeys(map(str, sizes)) | timed(runs, rounds)
            print(row, found[row], file=sys.stderr)
    return found


def table(title, rows):
    """A Markdown table of {row: {column: ms}}."""
    columns = list(next(iter(rows.values())))
    lines = [f"| {title}, ms | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join('-' if row[c] is None else f'{row[c]:.2f}' for c in columns)} |")
    return "\n".join(lines)


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--chunks", action="store_true")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4096)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    if args.chunks:
        found = {
            "MinGRU": by_chunk("MinGRU", "CHUNK", (1, 8, 16, 32, 64), args.rounds),
            "MLSTM": by_chunk("MLSTM", "MEMORY_CHUNK", (1, 16, 32, 64, 128), args.rounds),
        }
    else:
        one = compared(args.batch, args.steps, args.units, args.rounds)
        base = one["keras.layers.GRU"]
        rows = {f"`{name}`": {"train step": ms, "keras.layers.GRU / it": base / ms} for name, ms in one.items()}
        found = {f"B={args.batch} T={args.steps} H={args.units}": rows}
    print("\n\n".join(table(title, rows) for title, rows in found.items()))
    if args.json:
        about = {"backend": keras.backend.backend(), "keras": keras.__version__, "machine": platform.platform()}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**about, "rounds": args.rounds, "ms": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
