"""Many calls: from many threads at once, and with ever new lengths. Linux.

python examples/benchmarks/endurance.py                          # 1,000 concurrent calls, 10,000 of varying length
python examples/benchmarks/endurance.py --concurrent 64 --varying 300

The model is an LSTM in both directions, a MinGRU and a GRU, over masked embeddings; the backend is that of
KERAS_BACKEND. It ends with an error if a call from a thread gives another result than the same call alone. Resident
memory is printed after each tenth of the calls: what grows to the end is a leak, what stops growing are the programs
compiled for new lengths.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import keras
import numpy as np
from memory import resident

import keras_rnnx

WORDS, UNITS, ROWS = 50, 16, 4
THREADS, LENGTHS = 16, (3, 17, 40)
LONGEST = 200


def build_model():
    """Returns the model of sequences of integers, 0 being padding."""
    return keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            keras.layers.Embedding(WORDS, UNITS, mask_zero=True),
            keras_rnnx.Bidirectional(keras_rnnx.LSTM(UNITS, return_sequences=True)),
            keras_rnnx.MinGRU(UNITS, return_sequences=True),
            keras_rnnx.GRU(UNITS),
        ]
    )


def inputs_of(rng, steps):
    """Returns random sequences (ROWS, steps), padded on the right."""
    x = rng.integers(1, WORDS, size=(ROWS, steps)).astype("int32")
    return np.where(np.arange(steps) < rng.integers(1, steps + 1, size=(ROWS, 1)), x, 0)


def concurrent_calls(model, count):
    """Calls the model from `THREADS` threads; raises AssertionError where the result is not that of a single thread."""
    rng = np.random.default_rng(0)
    inputs = [inputs_of(rng, steps) for steps in LENGTHS for _ in range(8)]
    alone = [keras.ops.convert_to_numpy(model(x)) for x in inputs]
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda n: keras.ops.convert_to_numpy(model(inputs[n % len(inputs)])), range(count)))
    seconds = time.perf_counter() - start
    for n, result in enumerate(found):
        np.testing.assert_allclose(result, alone[n % len(inputs)], rtol=0, atol=1e-6)
    print(f"{count} calls from {THREADS} threads give what one thread gives, {1e3 * seconds / count:.2f} ms a call")


def varying_calls(model, count):
    """Calls `predict_on_batch` with sequences of 1 to `LONGEST` steps, and prints time and resident memory."""
    rng = np.random.default_rng(1)
    start, tenth = time.perf_counter(), max(count // 10, 1)
    for n in range(1, count + 1):
        model.predict_on_batch(inputs_of(rng, int(rng.integers(1, LONGEST + 1))))
        if n % tenth == 0:
            seconds = time.perf_counter() - start
            print(f"{n} calls: {resident('VmRSS'):.0f} MB, {1e3 * seconds / tenth:.2f} ms a call", flush=True)
            start = time.perf_counter()


def main(arguments=None):
    """Runs both."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--concurrent", type=int, default=1000)
    parser.add_argument("--varying", type=int, default=10_000)
    options = parser.parse_args(arguments)
    model = build_model()
    concurrent_calls(model, options.concurrent)
    varying_calls(model, options.varying)


if __name__ == "__main__":
    main()
