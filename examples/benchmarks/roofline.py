"""How near the native kernels are to what the machine can do: the rates of an LSTM's parts, TensorFlow, on the CPU.

python examples/benchmarks/roofline.py

The rate of a large matrix product is the roof. Then for some shapes, at inference: the product that projects the
inputs, the walk of the native kernel alone, both in GFLOP/s, and the whole layer as `predict` runs it; beside it what
no layer can be quicker than, all its products at the roof in a call that does nothing else. The least of many calls, as
other programs only ever add time.
"""

import os
import pathlib
import sys
import time

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import keras
import numpy as np
import tensorflow as tf
from programs import keras_step
from registry import SHAPES

import keras_rnnx
from keras_rnnx.engine.sequential import Walk
from keras_rnnx.native import library, walk

CALLS, SECONDS = 15, 1.0  # at least so many calls, and for so long


def least(function):
    """The shortest call, in seconds."""
    function()
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def product(rows, depth, columns):
    """The rate of a matrix product, in GFLOP/s."""
    rng = np.random.default_rng(0)
    left, right = (tf.constant(rng.normal(size=s), "float32") for s in ((rows, depth), (depth, columns)))
    return 2e-9 * rows * depth * columns / least(lambda: tf.matmul(left, right).numpy())


def kernel(B, T, H):
    """The rate of the recurrent products in the native kernel, which does all the rest of the steps as well."""
    layer = keras_rnnx.LSTM(H)
    layer.build((B, T, H))
    rng = np.random.default_rng(0)
    x = tf.constant(rng.normal(size=(T, B, 4 * H)), "float32")
    how = Walk(emit=(0,), kernel=library.native.kernel(layer.cell.equations()[0]), save=False)

    @tf.function(jit_compile=True, autograph=False)
    def run(x):
        flow = {
            "x": {"joined": [x]},
            "inputs": {},
            "state": [tf.zeros((B, H))] * 2,
            "weights": layer.cell.weights_of_products(),
            "vectors": {},
            "reset_state": [],
        }
        return walk.forward(layer.cell.engine, how, flow, {"slots": {}, "fixed": {}}, save=False)[0]["emit"][0]

    return 8e-9 * T * B * H * H / least(lambda: run(x).numpy())


def predicted(B, T, D, layer):
    """The time of a model of one layer as `predict` runs it, in milliseconds."""
    inputs = keras.Input((T, D))
    model = keras.Model([inputs], layer(inputs))
    model.compile(loss="mse")
    step, _ = keras_step(model, [np.random.default_rng(0).normal(size=(B, T, D)).astype("float32")], train=False)
    return 1e3 * least(step)


def main():
    """See the module."""
    roof = product(2048, 2048, 2048)
    call = predicted(1, 1, 1, keras.layers.Rescaling(2.0))
    print(f"instructions: {library.instructions()}; a product of 2048 x 2048 x 2048: {roof:.0f} GFLOP/s")
    print(f"a call that doubles one number: {call:.2f} ms\n")
    print("| B, T, D, H | projection, GFLOP/s | kernel, GFLOP/s | both at that rate, ms | layer, ms | at best, ms |")
    print("|---|---:|---:|---:|---:|---:|")
    for B, T, D, H in SHAPES:
        rates = product(B * T, D, 4 * H), kernel(B, T, H)
        both, best = (8e-6 * B * T * H * (D / of_x + H / of_h) for of_x, of_h in (rates, (roof, roof)))
        ours = predicted(B, T, D, keras_rnnx.LSTM(H, return_sequences=True))
        times = f"{both:.2f} | {ours:.2f} | {call + best:.2f}"
        print(f"| {B}, {T}, {D}, {H} | {rates[0]:.0f} | {rates[1]:.0f} | {times} |")


if __name__ == "__main__":
    main()
