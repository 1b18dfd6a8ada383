"""Evidence that every layer learns: known tasks, one small model, the same budget for all.

python examples/benchmarks/known_tasks.py                   # every layer; after a kill the same line continues
python examples/benchmarks/known_tasks.py --layers LSTM,MinGRU --tasks adding --steps 3000 --json runs/long.json
python examples/benchmarks/known_tasks.py --table           # writes docs/evidence.md from what was measured
python examples/benchmarks/known_tasks.py --smoke           # does it run?

The backend is that of KERAS_BACKEND. Tasks: "adding" (Hochreiter and Schmidhuber, 1997), "copy" (Arjovsky et al.,
2016), "rows" and "pixels" (scikit-learn's 8x8 digits, row by row and pixel by pixel). The model is an encoder of each
step, the layer, and a linear read-out. Results are written after each task of each layer; `evidence.py` makes the page.
"""

import argparse
import datetime
import functools
import gc
import json
import math
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import sys
import time
import traceback

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the page says that there was no GPU
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(ROOT)]

import keras
import numpy as np
import sklearn
from evidence import failures, left_out, page, rows, told
from run import THREADS, machine, revision, write
from task_data import ADDING_LENGTH, CATEGORIES, TEST, digits, logistic_accuracy, tasks

import keras_rnnx

EVIDENCE = ROOT / "docs" / "evidence.md"
STEPS = {"adding": 800, "copy": 1200, "rows": 300, "pixels": 400}
PER_PROCESS = 8  # layers; then a new process, so that what compilers keep does not grow
RESERVOIR = 8  # times the units, for ESN, which trains none of its own weights
SMOKE = {"layers": ["LSTM", "MinGRU"], "steps": 3, "batch": 8}
PEERS = {"keras.layers.LSTM": keras.layers.LSTM, "keras.layers.GRU": keras.layers.GRU}
# What the paper of a layer sets by its task, of T steps. Everything else is at its default. Step sizes are the
# defaults, which are those of tasks of 784 steps, scaled so that a sequence takes the same time, up to a bound. The
# oscillators have their time scales and damping set once, on the copy task: with the defaults they hardly move.
ARGUMENTS = {
    "AntisymmetricRNN": lambda T: {"epsilon": min(1.0, 0.01 * 784 / T)},
    "CoRNN": lambda T: {"dt": min(1.0, 0.042 * 784 / T), "gamma": 0.5, "epsilon": 0.5, "damping": "implicit"},
    "GatedAntisymmetricRNN": lambda T: {"epsilon": min(1.0, 0.01 * 784 / T)},
    "IndRNN": lambda T: {"recurrent_max_abs": 2 ** (1 / T)},
    "JANET": lambda T: {"t_max": T},
    "LipschitzRNN": lambda T: {"epsilon": min(1.0, 0.03 * 784 / T)},
    "LMU": lambda T: {"order": min(T, 16), "theta": float(T)},
    "ParallelLMU": lambda T: {"order": min(T, 16), "theta": float(T)},
    "PhasedLSTM": lambda T: {"period": (1.0, float(T))},
    "STAR": lambda T: {"t_max": T},
    "TauGRU": lambda T: {"tau": min(20, T // 2)},
    "UnICORNN": lambda T: {"dt": min(1.0, 0.19 * 784 / T), "alpha": 1.0},
}
# Families that take no part.
SKIPPED = {"convolutional": "a step is a signal or an image there, and a vector in these tasks"}


# ---- one layer on one task ----


class Watch(keras.callbacks.Callback):
    """When each step ended, and the loss; ends a run whose loss is not finite."""

    def __init__(self):
        super().__init__()
        self.ends, self.means = [], []

    def on_train_batch_end(self, batch, logs=None):
        self.means.append(float(logs["loss"]))  # waits for the step; a mean over the steps so far
        self.ends.append(time.perf_counter())
        if not math.isfinite(self.means[-1]):
            self.model.stop_training = True

    def ms(self):
        """The median time of a step, over the second half of the run."""
        return 1e3 * statistics.median(np.diff(self.ends[(len(self.ends) - 1) // 2 :]))

    def last_loss(self):
        """The mean loss over the last tenth of the steps."""
        total = np.array(self.means) * np.arange(1, len(self.means) + 1)
        count = max(1, len(total) // 10)
        return float((total[-1] - total[-count - 1]) / count)


def trained(make, task, settings, rate, steps):
    """Trains a layer and tests it."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(settings["seed"])
    x, y = task.data(np.random.default_rng(settings["seed"] + 1), steps * settings["batch"])
    layer = make(settings["units"], task.length, task.every)
    inputs = keras.Input(x.shape[1:])
    encoded = inputs if settings["raw"] else keras.layers.Dense(settings["units"], activation="gelu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(task.outputs)(layer(encoded)))
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if task.classes else "mse"
    model.compile(keras.optimizers.Adam(schedule, global_clipnorm=settings["clip"]), loss)
    watch = Watch()
    model.fit(x, y, batch_size=settings["batch"], shuffle=False, verbose=0, callbacks=[watch])
    result = {
        "rate": rate,
        "steps": len(watch.ends),
        "ms": watch.ms() if len(watch.ends) > 1 else None,
        "parameters": sum(math.prod(w.shape) for w in layer.trainable_weights),
    }
    if not math.isfinite(watch.means[-1]):
        return {**result, "diverged": len(watch.ends)}
    x, y = task.data(np.random.default_rng(settings["seed"]), None)
    predicted = model.predict(x, batch_size=settings["batch"], verbose=0)
    if not np.isfinite(predicted).all():
        return {**result, "diverged": len(watch.ends)}
    return {**result, "loss": watch.last_loss(), "score": task.score(y, predicted)}


def fitted(task, settings, steps):
    """Fits the read-out of an echo state network to the same sequences, and tests it."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(settings["seed"])
    x, y = task.data(np.random.default_rng(settings["seed"] + 1), steps * settings["batch"])
    y = np.eye(task.outputs, dtype="float32")[y] if task.classes else y
    layer = keras_rnnx.ESN(RESERVOIR * settings["units"], return_sequences=task.every, seed=settings["seed"])
    readout = keras_rnnx.fit_readout(layer, x, y, batch_size=20 * settings["batch"])
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, readout])
    x, y = task.data(np.random.default_rng(settings["seed"]), None)
    score = task.score(y, model.predict(x, batch_size=settings["batch"], verbose=0))
    score.pop("cross_entropy", None)  # a ridge regression gives no probabilities
    return {"score": score, "parameters": readout.count_params(), "steps": steps, "ms": None, "fitted": True}


def result_of(name, make, task, settings, steps):
    """What a layer reaches with the best rate, which is that of the least loss at the end of training."""
    start = time.perf_counter()
    if name == "ESN":
        runs = [fitted(task, settings, steps)]
    else:
        runs = [trained(make, task, settings, rate, steps) for rate in settings["rates"]]
    best = min(runs, key=lambda run: run.get("loss", math.inf))
    more = {"runs": runs} if len(runs) > 1 else {}
    own = {"arguments": ARGUMENTS[name](task.length)} if name in ARGUMENTS else {}
    return {**best, **more, **own, "seconds": time.perf_counter() - start}


def skipped():
    """The layers that take no part, and why."""
    return {row.name: SKIPPED[row.family] for row in keras_rnnx.list_cells() if row.family in SKIPPED}


@functools.cache
def layers():
    """What there is, by name: a family, whether it is parallel, and `make(units, T, return_sequences)`."""

    def maker(name, layer):
        own = ARGUMENTS.get(name, lambda T: {})
        return lambda units, T, every: layer(units, return_sequences=every, **own(T))

    rows = [row for row in keras_rnnx.list_cells() if row.family not in SKIPPED]
    found = {row.name: (row.family, row.parallel, maker(row.name, row.layer)) for row in rows}
    return {**found, **{name: ("keras.layers", False, maker(name, layer)) for name, layer in PEERS.items()}}


# ---- the run ----


def parsed(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    known = {"layers": list(layers()), "tasks": list(STEPS)}

    def names(kind):
        def chosen(text):
            unknown = [name for name in text.split(",") if name not in known[kind]]
            if unknown:
                raise argparse.ArgumentTypeError(f"expected some of {known[kind]}, received {unknown}")
            return text.split(",")

        return chosen

    parser.add_argument("--layers", type=names("layers"), help="as LSTM,GRU. Default: all")
    parser.add_argument("--tasks", type=names("tasks"), default=list(STEPS))
    parser.add_argument("--steps", type=int, help=f"optimizer steps of every task. Default: {STEPS}")
    parser.add_argument("--units", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rates", type=lambda text: [float(r) for r in text.split(",")], default=[0.01])
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of the gradient")
    parser.add_argument("--symbols", type=int, default=3, help="of the copy task")
    parser.add_argument("--delay", type=int, default=5, help="of the copy task")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--raw", action="store_true", help="no encoder before the layer")
    parser.add_argument("--json", type=pathlib.Path, help="file to write. Default: runs/known_tasks.json")
    parser.add_argument("--table", action="store_true", help=f"write {EVIDENCE.relative_to(ROOT)}, run nothing")
    parser.add_argument("--smoke", action="store_true", help="two layers, three steps")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # in this process
    args = parser.parse_args(arguments)
    if args.smoke:
        args.layers, args.steps, args.batch = args.layers or SMOKE["layers"], SMOKE["steps"], SMOKE["batch"]
    args.layers = args.layers or known["layers"]
    args.json = args.json or ROOT / "runs" / ("known_tasks_smoke.json" if args.smoke else "known_tasks.json")
    if min(args.units, args.batch, args.symbols, args.delay) < 1 or (args.steps is not None and args.steps < 2):
        parser.error("expected units, batch, symbols and delay of at least 1, and at least 2 steps")
    return args


def settings_of(args):
    """What must be the same in all parts of a run."""
    own = ("units", "batch", "rates", "clip", "symbols", "delay", "seed", "raw")
    steps = {name: args.steps or STEPS[name] for name in STEPS}
    return {"backend": keras.backend.backend(), "steps": steps, **{name: getattr(args, name) for name in own}}


def facts(settings):
    """What the page tells beside the settings."""
    return {
        "adding_length": ADDING_LENGTH,
        "categories": CATEGORIES,
        "reservoir": RESERVOIR * settings["units"],
        "adding_test": TEST["adding"],
        "copy_test": TEST["copy"],
        "digits_train": len(digits()[0]),
        "digits_test": TEST["digits"],
        "logistic": logistic_accuracy(),
        "skipped": skipped(),
    }


def session():
    """Where and with what this part of the run is made."""
    backend = keras.backend.backend()
    modules = {"keras": keras, "keras_rnnx": keras_rnnx, backend: __import__(backend), "numpy": np, "sklearn": sklearn}
    line = shlex.join(["python", "examples/benchmarks/known_tasks.py", *sys.argv[1:]])
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": line if backend == "tensorflow" else f"KERAS_BACKEND={backend} {line}",
        "git": revision(),
        "python": platform.python_version(),
        "versions": {name: module.__version__ for name, module in modules.items()},
        "machine": machine(),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(THREADS)},
    }


def started(args):
    """The record of an earlier part of the same run, or a new one."""
    settings = settings_of(args)
    if args.json.exists() and not args.smoke:
        record = json.loads(args.json.read_text())
        if record["settings"] != settings:
            sys.exit(
                f"{args.json} holds a run with {record['settings']}, asked for was {settings}: give the same options "
                "to resume it, or delete the file, or choose another --json."
            )
        for layer in record["layers"].values():  # what failed is tried again
            layer["tasks"] = {task: result for task, result in layer["tasks"].items() if "error" not in result}
    else:
        record = {"settings": settings, "facts": facts(settings), "sessions": [], "layers": {}}
    record["sessions"].append(session())
    keep(args.json, record)
    return record


def keep(path, record):
    """Writes the record; a kill meanwhile leaves the one before."""
    beside = path.with_suffix(".part")
    write(beside, record)
    beside.replace(path)


def missing(record, args):
    """Pairs of a layer and a task without a result."""
    done = {name: found["tasks"] for name, found in record["layers"].items()}
    return [(name, task) for name in args.layers for task in args.tasks if task not in done.get(name, {})]


def noted(args, record, name, task, result):
    """Keeps and prints a result."""
    family, parallel, _ = layers()[name]
    found = record["layers"].setdefault(name, {"family": family, "parallel": parallel, "tasks": {}})
    found["tasks"][task] = result
    keep(args.json, record)
    words = [f"{key} {value:.4f}" for key, value in result.get("score", {}).items()]
    words = words or [result.get("error") or told(result, None)]
    words += ["only a read-out is trained, by fit_readout"] * result.get("fitted", False)
    ms = f"{result['ms']:.1f} ms a step, " if result.get("ms") else ""
    print(f"{name:22} {task:7} {', '.join(words)}; {ms}{result.get('seconds', 0):.0f} s", flush=True)


def run_here(args):
    """Every missing pair, in this process. What fails is a result as well."""
    record, known = json.loads(args.json.read_text()), layers()
    found, settings = tasks(record["settings"]), record["settings"]
    parent = os.getppid()
    for name, task in missing(record, args):
        if os.getppid() != parent:
            sys.exit("the run that asked for this was killed")
        try:
            result = result_of(name, known[name][2], found[task], settings, settings["steps"][task])
        except Exception as error:  # the table tells it, and the other layers are run
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
        noted(args, record, name, task, result)
        gc.collect()


def run_all(args):
    """Every missing pair, a few layers a process."""
    record = started(args)
    while pairs := missing(record, args):
        names = list(dict.fromkeys(name for name, _ in pairs))[:PER_PROCESS]
        command = [sys.executable, __file__, *sys.argv[1:], "--here", "--layers", ",".join(names)]
        code = subprocess.run(command).returncode
        record = json.loads(args.json.read_text())
        left = [pair for pair in missing(record, args) if pair[0] in names]
        if left:
            noted(args, record, *left[0], {"error": f"the process ended with code {code}"})
    return record


def main():
    """See the module."""
    args = parsed()
    if args.table:
        EVIDENCE.write_text(page(json.loads(args.json.read_text())), encoding="utf-8")
        return
    if args.here:
        run_here(args)
        return
    record = run_all(args)
    print("\n" + rows(record) + "\n\n" + failures(record) + "\n\n" + left_out(record))


if __name__ == "__main__":
    main()
