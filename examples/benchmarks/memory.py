"""Peak memory of a train step by the length of the sequences, for the memory modes and the parallel layers. Linux.

python examples/benchmarks/memory.py                        # the table, B=8, D=64, H=128
python examples/benchmarks/memory.py --json runs/memory.json

Each number comes from a process of its own: the highest resident memory of three train steps, less what the process
held after steps of a few short sequences, by which the compiler has taken what it needs. Inputs are part of it. A train
step is the forward pass with training=True, the mean square of the outputs, and the gradients of all weights.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import keras
import numpy as np
from programs import keras_step

import keras_rnnx

LAYERS = {
    "keras.layers.LSTM": lambda units: keras.layers.LSTM(units, return_sequences=True),
    "keras.layers.LSTM, last output": lambda units: keras.layers.LSTM(units),
    "LSTM, last output": lambda units: keras_rnnx.LSTM(units),
    'LSTM, memory=("remat", 100), last output': lambda units: keras_rnnx.LSTM(units, memory=("remat", 100)),
    "LSTM": lambda units: keras_rnnx.LSTM(units, return_sequences=True),
    'LSTM, memory=("remat", 100)': lambda units: keras_rnnx.LSTM(units, return_sequences=True, memory=("remat", 100)),
    'LSTM, memory=("tbptt", 100)': lambda units: keras_rnnx.LSTM(units, return_sequences=True, memory=("tbptt", 100)),
    "MinGRU": lambda units: keras_rnnx.MinGRU(units, return_sequences=True),
    "LRU": lambda units: keras_rnnx.LRU(units, return_sequences=True),
    "MLSTM": lambda units: keras_rnnx.MLSTM(units, heads=4, return_sequences=True),
}


SHORT = (64, 200, 300)  # lengths of sequences that are run before anything is measured


def resident(kind):
    """A line of /proc/self/status in MB: VmRSS, or VmHWM, the highest since `forget`."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"Expected a line {kind} in /proc/self/status. Received: none")


def forget():
    """Sets the highest resident memory to the present one."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def measure(name, batch, steps, units):
    """The peak in MB, in this process."""

    def run(steps):
        inputs = keras.Input((steps, 64))
        model = keras.Model(inputs, LAYERS[name](units)(inputs))
        model.compile(loss="mse")
        x = np.random.default_rng(0).normal(size=(batch, steps, 64)).astype("float32")
        return keras_step(model, [x], train=True)[0]

    for few in SHORT:
        run(few)()
    before = resident("VmRSS")
    step = run(steps)
    step()
    forget()
    for _ in range(3):
        step()
    return resident("VmHWM") - before


def table(found, lengths):
    """A Markdown table of {layer: {T: MB}}."""
    lines = ["| MB | " + " | ".join(f"T = {t}" for t in lengths) + " |", "|---|" + "---:|" * len(lengths)]
    lines += [f"| `{name}` | {' | '.join(f'{row[t]:.0f}' for t in lengths)} |" for name, row in found.items()]
    return "\n".join(lines)


def main():
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--one", nargs=2, metavar=("LAYER", "T"), help="measure in this process, and print")
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 10000, 16384])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    if args.one:
        print(measure(args.one[0], args.batch, int(args.one[1]), args.units))
        return
    found = {}
    for name in LAYERS:
        found[name] = {}
        for steps in args.lengths:
            command = [sys.executable, __file__, "--one", name, str(steps)]
            command += ["--batch", str(args.batch), "--units", str(args.units)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name}, T = {steps} failed:\n{done.stderr[-2000:]}")
            found[name][steps] = float(done.stdout.split()[-1])
            print(f"{name}, T = {steps}: {found[name][steps]:.0f} MB", file=sys.stderr)
    print(table(found, args.lengths))
    if args.json:
        about = {"backend": keras.backend.backend(), "keras": keras.__version__, "machine": platform.platform()}
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({**about, "batch": args.batch, "units": args.units, "mb": found}) + "\n")


if __name__ == "__main__":
    main()
