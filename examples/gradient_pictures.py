"""
Title: Vanishing and exploding gradients, and their cures
Description: Draws the norm of the gradient in the state along 100 steps for many recurrent layers.
Expected: pictures in docs/images/gradients-*.png, within two minutes on one CPU core.

    python examples/gradient_pictures.py
    python examples/gradient_pictures.py --output /tmp/pictures --smoke
"""

import argparse
import pathlib

import common  # first: it chooses the backend
import keras
import numpy as np
from matplotlib.figure import Figure

import keras_rnnx
from keras_rnnx.callbacks import GradientFlow, state_gradients

STEPS, UNITS, ROWS, SEED, EPOCHS, RATE = 100, 32, 32, 0, 8, 3e-3
SMOKE = {"steps": 20, "epochs": 2}
DEPTH, CUT, CLIP = 8, 20, 1e-2
IMAGES = pathlib.Path(__file__).resolve().parent.parent / "docs" / "images"
FEATURES = 2


def latch(steps, rows, seed):
    """Sequences (rows, steps, 2) of noise whose first step alone tells the target (rows, 1): a sign."""
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], size=rows)
    x = 0.1 * rng.normal(size=(rows, steps, FEATURES))
    x[:, 0, 0] = sign
    return x.astype("float32"), sign[:, None].astype("float32")


def vanilla(gain=None, **options):
    """A VanillaRNN whose recurrent matrix starts as an orthogonal one times `gain`."""
    start = {} if gain is None else {"recurrent_initializer": keras.initializers.Orthogonal(gain, seed=SEED)}
    return keras_rnnx.VanillaRNN(UNITS, **start, **options)


def random_start(deviation):
    """A VanillaRNN whose recurrent matrix starts with independent entries."""
    return keras_rnnx.VanillaRNN(
        UNITS, recurrent_initializer=keras.initializers.RandomNormal(stddev=deviation, seed=SEED)
    )


def identity_start():
    """The IRNN of Le et al.: rectified units that start by keeping all."""
    return keras_rnnx.VanillaRNN(UNITS, activation="relu", recurrent_initializer=keras.initializers.Identity())


def small_cell():
    """A VanillaRNNCell whose weights start small."""
    small = keras.initializers.RandomNormal(stddev=0.1, seed=SEED)
    return keras_rnnx.VanillaRNNCell(UNITS, kernel_initializer=small, recurrent_initializer=small)


LINES = {  # picture -> title, and a layer for each line
    "radius": (
        "VanillaRNN: orthogonal start times a gain",
        {f"gain {g}": lambda g=g: vanilla(g) for g in (0.5, 0.9, 1.0, 1.2, 2.0)},
    ),
    "starts": (
        "VanillaRNN: how the recurrent matrix starts",
        {
            "random, deviation 0.1": lambda: random_start(0.1),
            "orthogonal (default)": vanilla,
            "identity, relu": identity_start,
            "ExpRNN, orthogonal for good": lambda: keras_rnnx.ExpRNN(UNITS),
        },
    ),
    "gates": (
        "Gates",
        {
            "VanillaRNN, random": lambda: random_start(0.1),
            "VanillaRNN, orthogonal": vanilla,
            "GRU": lambda: keras_rnnx.GRU(UNITS),
            "LSTM": lambda: keras_rnnx.LSTM(UNITS),
            "JANET, t_max=100": lambda: keras_rnnx.JANET(UNITS, t_max=STEPS),
        },
    ),
    "normalization": (
        "VanillaRNN, random start: normalization",
        {
            "none": lambda: random_start(0.1),
            "layer": lambda: vanilla(normalization="layer"),
            "rms": lambda: vanilla(normalization="rms"),
        },
    ),
    "clip": (
        "VanillaRNN, gain 2: recurrent_clip",
        {
            "none": lambda: vanilla(2.0),
            f"recurrent_clip={CLIP}": lambda: vanilla(2.0, recurrent_clip=CLIP),
        },
    ),
}


def norms(layer, x, y, of_all_steps=False):
    """The mean norms of the gradient in the states of a layer at each step, (T,); of several states the largest.

    The loss is that of the output of the last step, or of all steps.
    """
    keras.utils.set_random_seed(SEED)
    layer.return_sequences = of_all_steps
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, keras.layers.Dense(1)])
    targets = np.broadcast_to(y[:, None], (*x.shape[:2], 1)) if of_all_steps else y
    (gradients,) = state_gradients(model, x, targets, loss="mse").values()
    return np.max([np.linalg.norm(g.astype("float64"), axis=-1).mean(axis=0) for g in gradients], axis=0)


def decades(values):
    """log10, where single precision still tells something."""
    return np.log10(np.maximum(values, 1e-38))


def lines(title, curves):
    """A picture of one line for each label."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for label, values in curves.items():
        axes.plot(np.arange(1, len(values) + 1), decades(values), label=label)
    axes.set(title=title, xlabel="step t", ylabel=r"$\log_{10} \|dL/dh_t\|$")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def truncation(x, y):
    """A loss at every step, with and without truncation."""
    walks = {"whole": "store", f"memory=('tbptt', {CUT})": ("tbptt", CUT)}
    return {label: norms(vanilla(memory=memory), x, y, of_all_steps=True) for label, memory in walks.items()}


def levels(x, y):
    """The mean norm over all steps in each level of a stack, (DEPTH,), with and without skips."""
    found = {}
    for label, residual in (("no skips", None), ('residual="sum"', "sum")):
        keras.utils.set_random_seed(SEED)
        layer = keras_rnnx.DeepRNN(small_cell(), depth=DEPTH, residual=residual, return_sequences=True)
        model = keras.Sequential([keras.Input(x.shape[1:]), layer, keras.layers.Dense(1)])
        targets = np.broadcast_to(y[:, None], (*x.shape[:2], 1))
        gradients = state_gradients(model, x, targets, loss="mse")
        found[label] = np.array([np.linalg.norm(g, axis=-1).mean() for (g,) in gradients.values()])
    return found


def learning(layer, x, y, epochs):
    """Trains a layer on the task while `GradientFlow` looks on; returns the callback and the last accuracy."""
    keras.utils.set_random_seed(SEED)
    model = keras.Sequential([keras.Input(x.shape[1:]), layer, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.optimizer.learning_rate = RATE
    flow = GradientFlow((x[:ROWS], y[:ROWS]))
    model.fit(x, y, batch_size=ROWS, epochs=epochs, verbose=0, callbacks=[flow])
    right = np.sign(model.predict(x, verbose=0)) == y
    return flow, right.mean()


def mixed(x, y):
    """`GradientFlow` on three layers on top of each other, before training."""
    keras.utils.set_random_seed(SEED)
    kinds = (keras_rnnx.VanillaRNN, keras_rnnx.GRU, keras_rnnx.LSTM)
    layers = [kind(UNITS, return_sequences=kind is not kinds[-1], name=kind.__name__) for kind in kinds]
    model = keras.Sequential([keras.Input(x.shape[1:]), *layers, keras.layers.Dense(1)])
    flow = GradientFlow((x, y), loss="mse")
    flow.set_model(model)
    flow.take(0)
    return flow


def heat_maps(flows):
    """The norms of several trainings, steps by epochs."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, (title, flow) in zip(figure.subplots(1, len(flows), sharey=True), flows.items(), strict=True):
        norms = decades(next(iter(flow.history.values())))
        image = axes.imshow(norms, aspect="auto", origin="lower", interpolation="nearest", vmin=-12, vmax=0)
        axes.set(title=title, xlabel="step t", ylabel="epoch")
    figure.colorbar(image, label=r"$\log_{10} \|dL/dh_t\|$", ax=figure.axes)
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[2])
    parser.add_argument("--output", type=pathlib.Path, default=IMAGES)
    parser.add_argument("--smoke", action="store_true", help="a short run: few steps and epochs")
    options = parser.parse_args()
    steps, epochs = (SMOKE["steps"], SMOKE["epochs"]) if options.smoke else (STEPS, EPOCHS)
    options.output.mkdir(parents=True, exist_ok=True)
    x, y = latch(steps, ROWS, SEED)

    def save(name, figure):
        path = options.output / f"gradients-{name}.png"
        figure.savefig(path, dpi=90)
        print(path)

    for name, (title, layers) in LINES.items():
        curves = {label: norms(make(), x, y) for label, make in layers.items()}
        for label, values in curves.items():
            print(f"  {label:32} log10(first / last) = {decades(values[0]) - decades(values[-1]):6.1f}")
        save(name, lines(title, curves))
    save("truncation", lines("A loss at every step: truncation", truncation(x, y)))
    by_level = levels(x, y)
    for label, values in by_level.items():
        print(f"  {label:32} log10(lowest / highest level) = {decades(values[0]) - decades(values[-1]):6.1f}")
    figure = lines(f"A stack of {DEPTH} levels: skips", by_level)
    figure.axes[0].set(xlabel="level", ylabel=r"$\log_{10} \|dL/dh\|$, mean over steps")
    save("levels", figure)

    save("flow", mixed(x, y).figure())
    x, y = latch(steps, 8 * ROWS, SEED)
    layers = {"VanillaRNN, random start": random_start(0.1), "JANET, t_max=100": keras_rnnx.JANET(UNITS, t_max=STEPS)}
    flows, right = {}, []
    for label, layer in layers.items():
        flow, accuracy = learning(layer, x, y, epochs)
        right.append(accuracy)
        flows[f"{label}: {accuracy:.0%} right"] = flow
    save("learning", heat_maps(flows))
    common.print_result(metric=right[1], baseline=right[0])


if __name__ == "__main__":
    main()
