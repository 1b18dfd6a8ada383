"""Times keras_rnnx against keras.layers, torch.nn and ONNX Runtime on the CPU; see README.md in this folder.

python examples/benchmarks/run.py --targets --json runs/benchmark.json
python examples/benchmarks/run.py --cases lstm,gru --shapes 0,1 --mode train
python examples/benchmarks/run.py --report runs/benchmark.json --targets
python examples/benchmarks/run.py --check
python examples/benchmarks/run.py --smoke
"""

import argparse
import contextlib
import datetime
import json
import math
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import summary
from registry import BACKENDS, CASES, MODES, PEERS, SHAPES, SMOKE_CASES, SMOKE_SHAPES, entrants

TIMEOUT = 900  # seconds for one command
TAIL = 3000  # characters of a worker's stderr that are shown when it fails
IDLE_SHARE = 0.02  # of a core; a worker that uses more while it waits is reported
SHORTEST_WAIT = 0.05  # seconds; in less, answering a command is most of what a worker does
THREADS = ("OMP_", "KMP_", "GOMP_", "MKL_", "TF_", "XLA_", "JAX_", "KERAS_", "TORCH_")


class Worker:
    """A peer's process.

    Raises:
        RuntimeError: from any command that the process does not answer; with the end of its stderr.
    """

    def __init__(self, peer, backend):
        self.peer = peer
        self._errors = tempfile.TemporaryFile("w+")
        # The GPU is hidden: this measures the CPU. Nothing else about threads or devices is set.
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), peer, backend],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **quiet},
        )

    def send(self, do, **arguments):
        """Starts a command."""
        self._command = {"do": do, **arguments}
        try:
            self._process.stdin.write(json.dumps(self._command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()

    def receive(self):
        """The answer to the command that was sent."""
        timer = threading.Timer(TIMEOUT, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            self._fail()
        return json.loads(line)

    def ask(self, do, **arguments):
        """A command and its answer."""
        self.send(do, **arguments)
        return self.receive()

    def _fail(self):
        code = self._process.wait()
        self._errors.seek(0)
        tail = self._errors.read()[-TAIL:]
        raise RuntimeError(
            f"Expected an answer from {self.peer} to {self._command}. Received: exit code {code}\n{tail}"
        )

    def close(self):
        """Ends the process."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()


def on_all(workers, do, **arguments):
    """One command to several workers at once; their answers in order."""
    for worker in workers:
        worker.send(do, **arguments)
    return [worker.receive() for worker in workers]


# ---- one unit ----


def measure(workers, case, shape, mode, rounds, seconds):
    """Builds a case for every peer, then times them in turn; returns a unit, see `summary`."""
    pairs = entrants(case, [w.peer for w in workers], workers[0].backend, mode)
    by_peer = {w.peer: w for w in workers}
    taking_part = [w for w in workers if (w.peer, case.name) in pairs]
    built = {}
    for name in dict.fromkeys(name for _, name in pairs):
        answers = on_all(taking_part, "build", case=name, shape=shape, mode=mode)
        built.update({(w.peer, name): a for w, a in zip(taking_part, answers, strict=True)})
    if mode == "infer":
        same_shapes(case, shape, built)
    steps = {}
    for peer, name in pairs:
        first = by_peer[peer].ask("time", case=name, steps=1)["seconds"]
        steps[peer, name] = max(1, math.ceil(seconds / first))
        if steps[peer, name] > 3:  # one short step says little
            few = by_peer[peer].ask("time", case=name, steps=3)["seconds"] / 3
            steps[peer, name] = max(1, math.ceil(seconds / few))
    samples = {pair: [] for pair in pairs}
    waits = {pair: [] for pair in pairs}
    for r in range(rounds):
        turn = r % len(pairs)
        for pair in pairs[turn:] + pairs[:turn]:
            peer, name = pair
            answer = by_peer[peer].ask("time", case=name, steps=steps[pair])
            samples[pair].append(answer["seconds"] / steps[pair])
            waits[pair].append(answer["wait"])
    on_all(taking_part, "drop")
    return {
        "case": case.name,
        "shape": list(shape),
        "mode": mode,
        "entrants": [
            {
                "peer": peer,
                "case": name,
                "seconds": samples[peer, name],
                "steps": steps[peer, name],
                "idle_cpu": idle_share(waits[pair]),
                "jit": built[peer, name]["jit"],
                "parameters": built[peer, name]["parameters"],
            }
            for pair in pairs
            for peer, name in [pair]
        ],
    }


def idle_share(waits):
    """The CPU time that a worker used while others were timed, as a share of that time; None if it hardly waited."""
    waits = [w for w in waits if w["wall"] >= SHORTEST_WAIT]
    return sum(w["cpu"] for w in waits) / sum(w["wall"] for w in waits) if waits else None


def same_shapes(case, shape, built):
    """Raises where the outputs of the peers differ in shape."""
    shapes = {f"{peer} {name}": b["shapes"] for (peer, name), b in built.items()}
    if len({json.dumps(s) for s in shapes.values()}) > 1:
        raise RuntimeError(f"Expected outputs of one shape in {case.name} {shape}. Received: {shapes}")


# ---- where and what ----


def machine():
    """The CPU and how much of it there is."""
    model = platform.processor()
    with contextlib.suppress(FileNotFoundError), open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": platform.platform(),
        "load": os.getloadavg(),
    }


def revision():
    """The commit of this checkout, with `+changes` where it has been edited; None outside git."""
    try:
        run = {"cwd": HERE, "capture_output": True, "text": True, "check": True}
        commit = subprocess.run(["git", "rev-parse", "HEAD"], **run).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], **run).stdout.strip()
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if changed else "")


def about(args, workers):
    """Everything needed to say what the samples are."""
    versions = {}
    for answer in on_all(workers, "versions"):
        versions.update(answer)
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
        "git": revision(),
        "backend": args.backend,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "python": platform.python_version(),
        "versions": versions,
        "machine": machine(),
        "environment": {k: v for k, v in sorted(os.environ.items()) if k.startswith(THREADS)},
    }


# ---- the runs ----


def parsed(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])

    def names(known):
        def chosen(text):
            found = text.split(",")
            unknown = [name for name in found if name not in known]
            if unknown:
                raise argparse.ArgumentTypeError(f"expected some of {known}, received {unknown}")
            return found

        return chosen

    shapes = [str(i) for i in range(len(SHAPES))]
    parser.add_argument("--backend", choices=BACKENDS, default="tensorflow")
    parser.add_argument("--cases", type=names(tuple(CASES)))
    parser.add_argument("--shapes", type=names(shapes), default=shapes, help="indices, as 0,2")
    parser.add_argument("--mode", type=names(MODES), default=list(MODES))
    parser.add_argument("--peers", type=names(PEERS), default=list(PEERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.2, help="least time of a sample")
    parser.add_argument("--json", type=pathlib.Path, help="file to write, after each case")
    parser.add_argument("--targets", action="store_true", help="compare with the targets")
    parser.add_argument("--report", type=pathlib.Path, nargs="+", help="print such files, run nothing")
    parser.add_argument("--check", action="store_true", help="compare results at equal weights")
    parser.add_argument("--smoke", action="store_true", help="one case, tiny shape, under a minute")
    args = parser.parse_args(arguments)
    args.cases = args.cases or list(SMOKE_CASES if args.smoke else CASES)
    args.shapes = [SHAPES[int(i)] for i in args.shapes]
    if args.smoke:
        args.shapes, args.rounds, args.seconds = list(SMOKE_SHAPES), 2, 0.005
    if args.rounds < 1 or args.seconds <= 0:
        parser.error("expected --rounds of at least 1 and --seconds above 0")
    return args


def benchmark(args):
    """Runs what was asked for; returns the record that is written as JSON."""
    with contextlib.ExitStack() as stack:
        workers = []
        for peer in args.peers:
            if all(CASES[name].lacks(peer, args.backend) for name in args.cases):
                print(f"{peer}: {CASES[args.cases[0]].lacks(peer, args.backend)}", file=sys.stderr)
                continue
            worker = Worker(peer, args.backend)
            worker.backend = args.backend
            stack.callback(worker.close)
            workers.append(worker)
        record = {**about(args, workers), "units": []}
        for name in args.cases:
            case = CASES[name]
            for mode in [m for m in args.mode if m in case.modes]:
                for shape in args.shapes:
                    start = time.perf_counter()
                    unit = measure(workers, case, shape, mode, args.rounds, args.seconds)
                    record["units"].append(unit)
                    took = time.perf_counter() - start
                    print(f"{name} {mode} {shape}: {took:.0f} s{_restless(unit)}", file=sys.stderr)
            record["absent"] = _absent(args)
            record["targets"] = summary.targets(record["units"])
            write(args.json, record)
    return record


def _absent(args):
    reasons = {n: {p: CASES[n].lacks(p, args.backend) for p in args.peers} for n in args.cases}
    return {n: {p: why for p, why in found.items() if why} for n, found in reasons.items()}


def _restless(unit):
    """A note on workers that used the CPU while others were timed."""
    busy = [e["peer"] for e in unit["entrants"] if (e["idle_cpu"] or 0.0) > IDLE_SHARE]
    return f" (CPU used while waiting: {', '.join(dict.fromkeys(busy))})" if busy else ""


def write(path, record):
    """A record as JSON, if a path is given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")


def check(args):
    """Compares keras_rnnx with keras.layers at equal weights; returns whether all are equal."""
    worker = Worker("ours", args.backend)
    equal = True
    try:
        for name in args.cases:
            for mode in CASES[name].modes:
                if name == "recurrent_dropout":  # draws its own masks: nothing to compare
                    continue
                answer = worker.ask("check", case=name, shape=(3, 7, 5, 8), mode=mode)
                equal = equal and answer["equal"]
                word = "equal" if answer["equal"] else "DIFFERENT"
                print(f"{name} {mode}: {word}, largest difference {answer['difference']:.1e}")
    finally:
        worker.close()
    return equal


def main():
    """See the module."""
    args = parsed()
    if args.check:
        sys.exit(0 if check(args) else 1)
    if args.report:
        units = [unit for path in args.report for unit in json.loads(path.read_text())["units"]]
    else:
        record = benchmark(args)
        about_it = {k: v for k, v in record.items() if k not in ("units", "targets", "absent")}
        print(json.dumps(about_it, indent=1), "\n")
        units = record["units"]
        for name, absent in record["absent"].items():
            for peer, why in absent.items():
                print(f"{name}: no {peer}: {why}")
    print("\n" + summary.report(units))
    if args.targets:
        print("\n### Targets\n\n" + summary.targets_table(summary.targets(units)))


if __name__ == "__main__":
    main()
