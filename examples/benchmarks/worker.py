"""One peer in a process of its own: reads commands as JSON lines, answers with JSON lines.

{"do": "build", "case": "lstm", "shape": [1, 256, 64, 128], "mode": "train"}
{"do": "time", "case": "lstm", "steps": 10}
{"do": "drop"}          forgets what was built
{"do": "check", ...}    compares keras_rnnx with keras.layers at equal weights
"""

import argparse
import gc
import json
import os
import pathlib
import platform
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
WARM_UP = 2  # calls before anything is timed; the first one compiles
REST = 0.02  # seconds before an answer, in which threads that still spin go to sleep
TOLERANCE = 1e-4


class Worker:
    """The commands, for one peer."""

    def __init__(self, peer):
        self.peer = peer
        self.programs = {}
        self.rested = time.process_time(), time.perf_counter()

    def versions(self):
        """What this process runs on; imports it."""
        if self.peer == "torch":
            import torch

            return {"torch": torch.__version__, "python": platform.python_version()}
        import keras

        import keras_rnnx

        versions = {"keras": keras.__version__, "keras_rnnx": keras_rnnx.__version__}
        backend = keras.backend.backend()
        versions[backend] = __import__(backend).__version__
        if self.peer == "onnx":
            versions["onnxruntime"] = __import__("onnxruntime").__version__
        return {**versions, "numpy": __import__("numpy").__version__}

    def build(self, case, shape, mode):
        """Builds and runs a case; says what came out."""
        import programs

        program = programs.build(self.peer, case, shape, mode)
        results = program.run()
        total = programs.summed(results)
        if total != total or total in (float("inf"), float("-inf")):
            raise ValueError(f"Expected finite results. Received: {total} from {case} {shape}")
        for _ in range(WARM_UP - 1):
            program.run()
        self.programs[case] = program
        return {
            "shapes": [list(r.shape) for r in results],
            "jit": program.jit,
            "parameters": program.parameters,
        }

    def time(self, case, steps):
        """Seconds for a number of steps, and how long and how busily this process waited before."""
        cpu, wall = time.process_time(), time.perf_counter()
        wait = {"cpu": cpu - self.rested[0], "wall": wall - self.rested[1]}
        run = self.programs[case].run
        gc.collect()
        gc.disable()
        if steps > 1:  # bring back the caches that the peers before this one have used
            run()
        start = time.perf_counter()
        for _ in range(steps):
            run()
        seconds = time.perf_counter() - start
        gc.enable()
        time.sleep(REST)
        self.rested = time.process_time(), time.perf_counter()
        return {"seconds": seconds, "wait": wait}

    def drop(self):
        """Frees what was built."""
        self.programs.clear()
        if self.peer != "torch":
            import keras

            keras.utils.clear_session()
        gc.collect()
        return {}

    def check(self, case, shape, mode):
        """The largest difference between both libraries' results, relative to the largest value of each."""
        import numpy as np
        import programs

        theirs = programs.build("keras", case, shape, mode)
        random = np.random.default_rng(1)
        weights = [0.3 * random.standard_normal(w.shape) for w in theirs.model.get_weights()]
        ours, theirs = (
            [np.asarray(r) for r in programs.build(p, case, shape, mode, weights).run()] for p in ("ours", "keras")
        )
        shapes = [[list(r.shape) for r in results] for results in (ours, theirs)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"Expected results of equal shapes. Received: {shapes}")
        difference = max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in zip(ours, theirs, strict=True))
        return {"difference": difference, "equal": difference < TOLERANCE}


def main():
    """Answers commands until the input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("backend")
    args = parser.parse_args()
    os.environ["KERAS_BACKEND"] = args.backend
    sys.path[:0] = [str(HERE), str(HERE.parent.parent)]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a framework prints must not mix with the answers
    worker = Worker(args.peer)
    commands = {n: getattr(worker, n) for n in ("versions", "build", "time", "drop", "check")}
    for line in sys.stdin:
        command = json.loads(line)
        answer = commands[command.pop("do")](**command)
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
