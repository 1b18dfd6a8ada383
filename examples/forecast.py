"""
Title: Tomorrow's electricity demand, and anomalies as errors of a forecast
Description: From a week of half hours, how much electricity will be used in each half hour of the next day?
    Trains on the pinball loss of three quantiles and compares with last week's demand and with a ridge regression in
    the same run. A second, small forecaster finds the anomaly of another series by the size of its own errors.
Expected: mean absolute error 0.179 gigawatts in 2 minutes on 2 cores (the week before: 0.296, ridge regression: 0.220,
    one that knows the calendar too: 0.197).

    python examples/forecast.py              # trains; after a kill the same line continues
    python examples/forecast.py --predict 1000
    python examples/forecast.py --cell lstm --units 64 --mode recursive
"""

import common  # first: it chooses the backend
import elecdemand
import kdd_tsad
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_rnnx
from keras_rnnx.losses import QuantileLoss
from keras_rnnx.models import Forecaster, residual_scores, windows

CELL, UNITS, MODE, EPOCHS, BATCH_SIZE, SEED = "gru", 48, "direct", 30, 128, 0
LEARNING_RATE, PATIENCE, STRIDE, DROPOUT, CONTEXT = 3e-3, 5, 2, 0.1, 32
AVERAGE = 0.99  # momentum of the running mean of the weights, which is what is evaluated and kept
QUANTILES = (0.1, 0.5, 0.9)
DAY, WEEK = 48, 336
LAGS = tuple(range(DAY, WEEK + 1, DAY))  # the same time of the last seven days
SMOKE = {"epochs": 1, "units": 4, "batch_size": 64}
SMOKE_STRIDE = 60
CELLS = {"gru": keras_rnnx.GRUCell, "lstm": keras_rnnx.LSTMCell, "lem": keras_rnnx.LEMCell, "cfc": keras_rnnx.CfCCell}
ANOMALY = {"length": 128, "horizon": 4, "units": 24, "epochs": 25, "learning_rate": 5e-3}
EXAMPLE = 1000  # the test window that the fresh process forecasts


def calendar(data):
    """Returns what is known of every half hour in advance, (T, 12), for each part of the data.

    Where in the day it is, whether it is a working day, and whether it was one at the same time of the days before.
    """
    whole = np.concatenate([data.train, data.validation[WEEK:], data.test[WEEK:]])
    work = whole[:, 1]
    angle = 2 * np.pi * np.arange(len(whole)) / DAY
    day = [f(n * angle) for n in (1, 2) for f in (np.sin, np.cos)]
    known = np.stack([*day, work, *(np.roll(work, lag) for lag in LAGS)], axis=1)  # no target is in the first week
    first, second = len(data.train), len(data.train) + len(data.validation) - WEEK
    return type(data)(known[:first], known[first - WEEK : second], known[second - WEEK :])


def prepare(options, stride):
    """Returns the data, and of training, validation and test the inputs and targets."""
    data = elecdemand.load(options.data_dir)
    parts = []
    for values, known, step in zip(data, calendar(data), (stride, 1, 1), strict=True):
        series = np.concatenate([values, known[:, :4]], axis=1)
        teacher = options.mode == "recursive"
        parts.append(windows(series, WEEK, DAY, step, covariates=known, teacher=teacher))
    return data, type(data)(*parts)


def build(options, inputs):
    """Returns the compiled forecaster: demand, temperature and calendar of a week to quantiles of a day."""
    model = Forecaster(
        DAY,
        CELLS[options.cell](options.units),
        dropout=DROPOUT,
        mode=options.mode,
        quantiles=QUANTILES,
        normalization="standard",
        lags=LAGS,
        context=CONTEXT,
        name="demand",
    )
    model({name: values[:1] for name, values in inputs.items()})
    optimizer = keras.optimizers.Adam(LEARNING_RATE, clipnorm=1.0, use_ema=True, ema_momentum=AVERAGE)
    model.compile(optimizer, QuantileLoss(QUANTILES))
    return model


def find_anomaly(options):
    """Returns a labelled series and the scores of its points, by a forecaster trained on its first part."""
    data = kdd_tsad.load(options.data_dir)
    length, horizon = ANOMALY["length"], ANOMALY["horizon"]
    model = Forecaster(horizon, keras_rnnx.GRUCell(ANOMALY["units"]), normalization="standard", name="anomaly")
    model.compile(keras.optimizers.Adam(ANOMALY["learning_rate"]), "mae")
    inputs, targets = windows(data.train.values, length, horizon)
    model.fit(inputs, targets, batch_size=64, epochs=1 if options.smoke else ANOMALY["epochs"], verbose=2)
    points = 3 * length if options.smoke else None
    reference = len(data.train.values) + len(data.validation.values)
    scores = residual_scores(model, data.test.values[:points], length, reference=reference)
    return data.test, scores


def draw(history, actual, forecast, series, scores, file):
    """Draws a week of test forecasts, the loss, and the scores of the other series."""
    figure, axes = plt.subplots(3, 1, figsize=(9, 9), layout="constrained")
    days = slice(0, 7 * DAY, DAY)
    hours = np.arange(7 * DAY) / 2
    low, middle, high = (forecast[days, :, i].reshape(-1)[: len(hours)] for i in range(3))
    hours = hours[: len(middle)]
    axes[0].fill_between(hours, low, high, color="C0", alpha=0.25, label="forecast, 10 % to 90 %")
    axes[0].plot(hours, middle, color="C0", label="forecast, median")
    axes[0].plot(hours, actual[days].reshape(-1)[: len(hours)], color="black", lw=1, label="demand")
    axes[0].set(xlabel="hours; each day is forecast at its first midnight", ylabel="gigawatts")
    common.draw_history(axes[1], history, "loss")
    axes[2].plot(scores, lw=0.7, label="size of the error, in robust standard deviations")
    for start in np.flatnonzero(np.diff(series.anomalous[: len(scores)].astype(int)) == 1):
        axes[2].axvline(start, color="C3", ls="--", label="labelled anomaly")
    axes[2].set(xlabel="point", ylabel="score")
    for axis in axes:
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def predict(options):
    """Prints the forecast of one test window by the saved model, beside what came."""
    model = common.saved_model(options.output, Forecaster)
    _, parts = prepare(options, STRIDE)
    inputs, targets = parts.test
    row = slice(options.predict, options.predict + 1)
    forecast = model.predict({name: values[row] for name, values in inputs.items()}, verbose=0)[0]
    for step in range(0, DAY, 8):
        low, middle, high = forecast[step]
        print(
            f"in {(step + 1) / 2:4.1f} h: {middle:.2f} ({low:.2f} to {high:.2f}) GW, came {targets[row][0, step]:.2f}"
        )


def parse_options(arguments=None):
    parser = common.parser(__doc__, "forecast", epochs=EPOCHS, patience=PATIENCE, batch_size=BATCH_SIZE, seed=SEED)
    parser.add_argument("--cell", choices=CELLS, default=CELL, help="the cell of the recurrent layer")
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--mode", choices=("direct", "recursive"), default=MODE)
    parser.add_argument("--data-dir", help="where the data packages are kept; None: as datasets/packages.py says")
    parser.add_argument("--predict", type=int, metavar="WINDOW", help="use the saved model on a test window")
    return common.parse(parser, SMOKE, arguments)


def main(options):
    output = options.output
    keras.utils.set_random_seed(options.seed)
    fixed = ("cell", "units", "mode", "batch_size", "seed", "smoke")
    resumed = common.resumes(output, {name: getattr(options, name) for name in fixed})

    data, parts = prepare(options, SMOKE_STRIDE if options.smoke else STRIDE)
    baselines = {method: elecdemand.baseline(data, method) for method in ("week", "ridge", "calendar")}
    series, scores = find_anomaly(options)

    model = build(options, parts.train[0])
    model.summary()
    print(keras_rnnx.explain(model))
    x, y = parts.train
    average = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
    more = {"x": x, "y": y, "batch_size": options.batch_size, "verbose": 2}
    common.train(model, options, resumed, parts.validation, callbacks=[average], **more)
    inputs, actual = parts.test
    forecast = model.predict(inputs, batch_size=256, verbose=0)
    error = float(np.abs(forecast[..., 1] - actual).mean())
    inside = float(np.mean((actual >= forecast[..., 0]) & (actual <= forecast[..., 2])))

    model.save(output / "model.keras")
    draw(common.read_history(output / "history.csv"), actual, forecast, series, scores, output / "forecast.png")
    again = ["--output", output, "--mode", options.mode, "--predict", EXAMPLE]
    common.in_fresh_process(__file__, *again, *(["--data-dir", options.data_dir] if options.data_dir else []))

    place = int(np.nanargmax(scores))
    found = kdd_tsad.hit(np.nan_to_num(scores), series.anomalous) if len(scores) == len(series.values) else None
    print(f"Anomaly: the largest score, {scores[place]:.1f}, is at point {place}; a hit: {found}.")
    print(f"{len(actual)} test windows, mean absolute error in gigawatts: {error:.3f} by the recurrent model,")
    print(
        f"{baselines['ridge']:.3f} by ridge regression, {baselines['calendar']:.3f} by one that knows the calendar too,"
    )
    print(f"as the recurrent model does, and {baselines['week']:.3f} by the week before.")
    print(f"{inside:.0%} of the half hours are within the 80 % interval. Model, logs and picture are in {output}.")
    common.print_result(error, baselines["ridge"])


if __name__ == "__main__":
    chosen = parse_options()
    predict(chosen) if chosen.predict is not None else main(chosen)
