"""
Title: Patients seen at irregular times: is it worth knowing the time between their visits?
Description: Who dies within seven years, judged by laboratory values of visits that are days or years apart? Trains
    the same GRU-D with and without the time between visits, side by side and with several starts, and compares both
    with boosted trees on summaries of the values.
Expected: area under the curve 0.87 with intervals and without (boosted trees: 0.883) within 10 minutes on 2 CPU cores.

    python examples/irregular.py             # trains; after a kill the same line continues
    python examples/irregular.py --patient 7
    python examples/irregular.py --units 64 --starts 5
"""

import common  # first: it chooses the backend

# isort: split
import argparse
import functools

import keras
import matplotlib.pyplot as plt
import nafld
import numpy as np
import splits
from keras import ops
from sklearn.metrics import roc_auc_score, roc_curve

import keras_rnnx
from keras_rnnx.models import MaskedMaxPooling, MaskedMeanPooling

UNITS, STARTS, EPOCHS, BATCH_SIZE, SEED = 32, 3, 12, 128, 0
LEARNING_RATE, PATIENCE, DROPOUT = 1e-2, 12, 0.3
AVERAGE = 0.99  # momentum of the running mean of the weights, which is what is evaluated and kept
SMOKE = {"epochs": 1, "units": 8, "starts": 1}
SMOKE_PATIENTS = 500
ARMS = ("with", "without")
STEPS = 32  # of all batches, so that one shape is compiled; of longer histories, one in fifty, the end is read
RESAMPLES = 500
SHOWN, VISITS, MOMENTS = 4, 10, 128  # patients in the picture, with at least so many visits, at so many times
EXAMPLE = 7  # the test patient of the fresh process


def parse_options(arguments=None):
    """Returns the options of the command line."""
    parser = common.parser(__doc__, "irregular", epochs=EPOCHS, patience=PATIENCE, batch_size=BATCH_SIZE, seed=SEED)
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--starts", type=int, default=STARTS, help="networks of each kind, which start differently")
    parser.add_argument("--data-dir", help="where the data are kept; None: as datasets/packages.py says")
    parser.add_argument(
        "--patient", type=int, metavar="N", default=argparse.SUPPRESS, help="use the saved model on a test patient"
    )
    return common.parse(parser, SMOKE, arguments)


def inputs_of(patients):
    """Returns what the model reads: the visits, the years between them, how many there are, and the statics.

    The last step is day 0, at which nothing is measured: so the model is told how old the last values are.
    """
    values = [np.append(visits, np.full((1, len(nafld.TESTS)), np.nan), axis=0) for visits in patients.values]
    deltas = [np.append(since, -years[-1]) for since, years in zip(patients.deltas, patients.years, strict=True)]
    padded = functools.partial(keras.utils.pad_sequences, maxlen=STEPS, dtype="float32", padding="post")
    return {
        "values": padded(values, value=np.nan),
        "deltas": padded(deltas),
        "lengths": np.array([min(len(visits), STEPS) for visits in values], "int32"),
        "statics": patients.statics,
    }


def scaled(x, known):
    """Returns x with -1 to 1 for nine tenths of the rows of `known`; what is missing stays NaN."""
    low, high = np.nanpercentile(known, [5, 95], axis=0)
    return keras.layers.Normalization(mean=(low + high) / 2, variance=((high - low) / 2) ** 2)(x)


def risk(inputs, time, options, train):
    """Returns one network's probability (B, 1) of death, from the inputs and, in a dict, the time between visits."""
    values = scaled(inputs["values"], np.concatenate(train.values))
    values = keras.layers.Activation("tanh")(values)  # a blood pressure of 13,682 is a slip of the pen
    states = keras_rnnx.GRUD(options.units, return_sequences=True)(values, lengths=inputs["lengths"], **time)
    statics = ops.nan_to_num(scaled(inputs["statics"], train.statics))
    pooled = keras.layers.Concatenate()([MaskedMeanPooling()(states), MaskedMaxPooling()(states)])
    known = keras.layers.Concatenate()([keras.layers.Dropout(DROPOUT)(pooled), statics])
    hidden = keras.layers.Dense(options.units, activation="gelu")(known)
    return keras.layers.Dense(1, activation="sigmoid")(keras.layers.Dropout(DROPOUT)(hidden))


def build(options, train):
    """Returns the compiled model: all networks as one, which share nothing but the batches.

    Its outputs "with" and "without" have a column for each start, as targets have.
    """
    inputs = {
        "values": keras.Input((None, len(nafld.TESTS)), name="values"),
        "deltas": keras.Input((None,), name="deltas"),
        "lengths": keras.Input((), dtype="int32", name="lengths"),
        "statics": keras.Input((len(nafld.STATICS),), name="statics"),
    }
    times = {"with": {"deltas": inputs["deltas"]}, "without": {}}
    risks = {}
    for arm in ARMS:
        columns = [risk(inputs, times[arm], options, train) for _ in range(options.starts)]
        risks[arm] = keras.layers.Concatenate(name=arm)(columns)
    model = keras.Model(inputs, risks)
    steps = options.epochs * -(-len(train.died) // options.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(
        keras.optimizers.Adam(rate, clipnorm=1.0, use_ema=True, ema_momentum=AVERAGE),
        dict.fromkeys(ARMS, "binary_crossentropy"),
        metrics={arm: keras.metrics.AUC(multi_label=True, num_labels=options.starts, name="auc") for arm in ARMS},
    )
    return model


def pairs(patients, starts):
    """Returns the inputs, and the targets of all networks."""
    return inputs_of(patients), dict.fromkeys(ARMS, np.repeat(patients.died[:, None], starts, axis=1))


def as_of(patients, row, times):
    """Returns the `Patients` that one would have been, had day 0 been at each of `times`, in years from it."""
    years = patients.years[row]
    counts = [np.searchsorted(years, time, "right") for time in times]
    statics = np.repeat(patients.statics[row : row + 1], len(times), axis=0)
    statics[:, nafld.STATICS.index("age")] += times
    return nafld.Patients(
        statics,
        [patients.values[row][:count] for count in counts],
        [years[:count] - time for count, time in zip(counts, times, strict=True)],
        [patients.deltas[row][:count] for count in counts],
        np.repeat(patients.died[row : row + 1], len(times)),
    )


def difference(died, risks):
    """Returns how much larger the area under the curve is with intervals: in 95 % of resamples, from ... to ..."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(RESAMPLES):
        rows = random.integers(0, len(died), len(died))
        found.append(np.subtract(*(roc_auc_score(died[rows], risks[arm][rows]) for arm in ARMS)))
    return np.percentile(found, [2.5, 97.5])


def draw(history, patients, risks, model, file):
    """Draws the curves of the training and of the test, and the risk of a few test patients over the years."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for arm, color in zip(ARMS, ("C0", "C1"), strict=True):
        left.plot([row[f"val_{arm}_auc"] for row in history], color=color, label=f"{arm} intervals")
        middle.plot(*roc_curve(patients.died, risks[arm])[:2], color=color, label=f"{arm} intervals")
    left.set(xlabel="epoch", ylabel="validation area under the curve")
    middle.set(xlabel="false alarms", ylabel="deaths found")
    left.legend(frameon=False)
    often = [row for row, years in enumerate(patients.years) if len(years) >= VISITS]
    for died, color in ((0, "C2"), (1, "C3")):
        for row in [row for row in often if patients.died[row] == died][: SHOWN // 2]:
            visits = patients.years[row]
            times = np.sort(np.append(visits, np.linspace(visits[0], 0, MOMENTS - len(visits))))
            course = model.predict(inputs_of(as_of(patients, row, times)), batch_size=MOMENTS, verbose=0)[:, 0]
            right.plot(times, course, color=color)
            right.plot(visits, np.interp(visits, times, course), ".", color=color)
    right.set(xlabel="years before day 0; a dot is a visit", ylabel="risk", title="red: died within seven years")
    for axis in (left, middle, right):
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def tell(options):
    """Prints the visits of a test patient, and the risk after each by the saved model."""
    model = common.saved_model(options.output)
    patients = nafld.load(options.data_dir).test
    if not 0 <= options.patient < len(patients.died):
        raise SystemExit(f"Expected a patient from 0 to {len(patients.died) - 1}. Received: {options.patient}")
    row = options.patient
    age, male, bmi = patients.statics[row]
    who, fate = "a man" if male else "a woman", "died" if patients.died[row] else "lived"
    weight = "unknown" if np.isnan(bmi) else f"{bmi:.0f}"
    print(f"Test patient {row}, {who} of {age:.0f} with body mass index {weight}, who {fate}:")
    years, values = np.append(patients.years[row], 0), [*patients.values[row], []]
    chances = model.predict(inputs_of(as_of(patients, row, years)), verbose=0)
    for time, visit, chance in zip(years, values, chances[:, 0], strict=True):
        known = ", ".join(f"{name} {v:.4g}" for name, v in zip(nafld.TESTS, visit, strict=False) if not np.isnan(v))
        print(f"  {abs(time):5.2f} years before, risk {chance:.2f}: {known or 'day 0'}")


def main(options):
    """Trains, evaluates, saves and uses a model."""
    keras.utils.set_random_seed(options.seed)
    settings = {name: getattr(options, name) for name in ("units", "starts", "batch_size", "seed", "smoke")}
    resumed = common.resumes(options.output, settings)
    data = nafld.load(options.data_dir)
    if options.smoke:
        data = splits.shortened(data, SMOKE_PATIENTS)
    baselines = {method: nafld.baseline(data, method) for method in nafld.METHODS}

    model = build(options, data.train)
    model.summary()
    print(keras_rnnx.explain(model, mask=True))
    whole = len(data.train.died) // options.batch_size * options.batch_size  # batches of one shape: compiled once
    x, y = pairs(nafld.Patients(*(column[:whole] for column in data.train)), options.starts)
    average = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    more = {"x": x, "y": y, "batch_size": options.batch_size, "verbose": 2}
    common.train(model, options, resumed, pairs(data.validation, options.starts), callbacks=[average], **more)

    risks = model.predict(inputs_of(data.test), batch_size=len(data.test.died), verbose=0)
    died = data.test.died
    areas = {arm: [roc_auc_score(died, column) for column in risks[arm].T] for arm in ARMS}
    means = {arm: risks[arm].mean(axis=1) for arm in ARMS}
    saved = keras.Model(model.input, ops.mean(model.output["with"], axis=1, keepdims=True), name="risk")
    saved.save(options.output / "model.keras")
    draw(common.read_history(options.output / "history.csv"), data.test, means, saved, options.output / "irregular.png")
    folder = ["--data-dir", options.data_dir] if options.data_dir else []
    common.in_fresh_process(__file__, "--output", options.output, *folder, "--patient", EXAMPLE)

    print(f"Area under the curve on {len(died)} test patients, {died.sum()} of whom died:")
    for arm in ARMS:
        each = ", ".join(f"{area:.3f}" for area in areas[arm])
        print(
            f"  {arm:>7} intervals {np.mean(areas[arm]):.3f} ({each}), together {roc_auc_score(died, means[arm]):.3f}"
        )
    print("  boosted trees " + ", ".join(f"on {method} {area:.3f}" for method, area in baselines.items()))
    place = "above" if np.mean(areas["with"]) > baselines["both"] else "below"
    print(f"With intervals the networks are {place} the boosted trees that know the same.")
    low, high = difference(died, means)
    print(f"What intervals add: {low:+.3f} to {high:+.3f}, in 95 % of {RESAMPLES} resamples of the test patients.")
    print(f"Model, logs and irregular.png are in {options.output}.")
    common.print_result(np.mean(areas["with"]), baselines["both"])


if __name__ == "__main__":
    chosen = parse_options()
    tell(chosen) if "patient" in chosen else main(chosen)
