"""What the example scripts share: options, a training that survives a kill, a fresh process, and the last line.

A script imports this module before Keras. Its main function is then, in short:

    keras.utils.set_random_seed(options.seed)
    resumed = common.resumes(options.output, {"units": options.units, "seed": options.seed})
    ...                                                  # data, baseline, a compiled model
    common.train(model, options, resumed, validation_data=validation, x=x, y=y)
    model.save(options.output / "model.keras")
    common.in_fresh_process(__file__, "--output", options.output, "--classify", *texts)
    common.print_result(metric, baseline)

Everything a run writes is in `options.output`: settings.json, history.csv, best.weights.h5, TensorBoard's logs/, and
until it is done backup/, from which the same command continues after a kill.
"""

import time

STARTED = time.time()  # before the imports below, which take seconds

import argparse
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.append(str(pathlib.Path(__file__).resolve().parent / "datasets"))

import keras
import matplotlib

from keras_rnnx.callbacks import BackupAndRestore

matplotlib.use("Agg")


def parser(documentation, name, *, epochs, patience, batch_size, seed):
    """Returns a parser of command lines with the options that all scripts have.

    Args:
        documentation: the script's docstring, whose third line describes it.
        name: str, of the folder in `runs` that is the default output.
        epochs, patience, batch_size, seed: int, the defaults.
    """
    made = argparse.ArgumentParser(
        description=documentation.split("\n")[2], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    made.add_argument("--epochs", type=int, default=epochs, help="at most so many")
    made.add_argument("--patience", type=int, default=patience, help="epochs without progress")
    made.add_argument("--batch-size", type=int, default=batch_size)
    made.add_argument("--seed", type=int, default=seed)
    made.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs") / name)
    made.add_argument("--smoke", action="store_true", help="a short run on little data")
    return made


def parse(made, smoke, arguments=None):
    """Returns the options on a command line; with `--smoke` those in the dict `smoke` replace them."""
    options = made.parse_args(arguments)
    if options.smoke:
        vars(options).update(smoke)
    return options


def backup_of(output):
    """The callback that backs up a run in the folder `output`."""
    return BackupAndRestore(output / "backup")


def resumes(output, settings):
    """Prepares the folder `output`; returns whether it holds an unfinished run to continue.

    Args:
        output: path of the folder.
        settings: dict of the options that an unfinished run can be continued with, and only with them.
    """
    file = output / "settings.json"
    if backup_of(output).latest is not None:
        started = json.loads(file.read_text())
        if started != settings:
            sys.exit(
                f"{output} holds an unfinished run of {started}, asked for was {settings}: give the"
                " same options to resume it, or delete the folder, or choose another --output."
            )
        return True
    if file.exists():
        shutil.rmtree(output / "logs", ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings))
    return False


def loaded(load, *arguments):
    """Returns what `load` returns; exits with its message where data are not here and cannot be fetched."""
    try:
        return load(*arguments)
    except ConnectionError as error:
        raise SystemExit(str(error)) from error


def train(model, options, resumed, validation_data, callbacks=(), measure=None, **data):
    """Fits the compiled model, from its last backup on if resumed, and leaves the weights of its best epoch.

    Args:
        model: a compiled model, whose optimizer may have to be built for the backup to be restored.
        options: with `output`, `epochs` and `patience`.
        resumed: what `resumes` returned.
        validation_data: what decides on the best epoch by its loss: a tuple of inputs and targets, or of a data set.
        callbacks: more callbacks, called after the backup of an epoch and before its weights are judged.
        measure: a function of the model that decides in place of that loss: the more, the better.
        **data: further arguments of `fit`: `x`, `y`, `batch_size`, ...
    """
    output, weights = options.output, options.output / "best.weights.h5"
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    best = best_so_far(model, weights, validation_data, measure) if resumed else None
    judged, measuring = {"monitor": "val_loss", "mode": "min"}, []
    if measure is not None:
        judged = {"monitor": "measure", "mode": "max"}
        measuring = [keras.callbacks.LambdaCallback(on_epoch_end=lambda _, logs: logs.update(measure=measure(model)))]
    model.fit(
        **data,
        validation_data=validation_data,
        epochs=options.epochs,
        callbacks=[
            keras.callbacks.CSVLogger(output / "history.csv", append=resumed),
            backup_of(output),
            *callbacks,
            *measuring,
            keras.callbacks.ModelCheckpoint(
                weights, save_best_only=True, save_weights_only=True, initial_value_threshold=best, **judged
            ),
            keras.callbacks.TensorBoard(output / "logs"),
            keras.callbacks.EarlyStopping(patience=options.patience, baseline=best, **judged),
        ],
    )
    model.load_weights(weights)


def best_so_far(model, weights, validation_data, measure=None):
    """Returns the validation loss, or the measure, of the best epoch before a kill; None if none was kept."""
    if not weights.exists():
        return None
    try:
        model.load_weights(weights)
    except OSError as error:
        print(f"{weights} was not written to its end, so a later epoch has to replace it: {error}")
        return None
    if measure is not None:
        return measure(model)
    return model.evaluate(*validation_data, verbose=0, return_dict=True)["loss"]


def read_history(file):
    """Returns a dict of floats for each epoch; of an epoch run twice, around a kill, the last."""
    with open(file, newline="") as rows:
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(rows)]
    return list({row["epoch"]: row for row in rows}.values())


def draw_history(axis, history, key):
    """Draws a loss or metric over the epochs, in training and validation, on a matplotlib axis."""
    epochs = [row["epoch"] + 1 for row in history]
    axis.plot(epochs, [row[key] for row in history], "o-", color="C0", label="training")
    axis.plot(epochs, [row["val_" + key] for row in history], "o-", color="C1", label="validation")
    axis.set(xlabel="epoch", ylabel=key)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.spines[["top", "right"]].set_visible(False)


def saved_model(output, kind=keras.Model):
    """Returns the model of this class that a run has saved in the folder `output`, or exits with what to do."""
    file = output / "model.keras"
    if not file.exists():
        sys.exit(f"There is no {file}: train first, with the same --output and without the option that uses it.")
    model = keras.models.load_model(file)
    if not isinstance(model, kind):
        sys.exit(f"{file} holds a {type(model).__name__}, expected was a {kind.__name__}: choose another --output.")
    return model


def in_fresh_process(script, *arguments):
    """Runs the script once more, as a user does who comes later: whatever it needs it has to load."""
    subprocess.run([sys.executable, script, *map(str, arguments)], check=True)


def print_result(metric, baseline):
    """Prints the line that ends every script; the seconds count from the start of the process."""
    print(f"RESULT metric={metric:.4f} baseline={baseline:.4f} seconds={time.time() - STARTED:.0f}")
