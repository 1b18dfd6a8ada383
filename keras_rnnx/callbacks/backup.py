"""Backups of a training that a kill cannot damage."""

import json
import os
import pathlib
import random
import shutil

import keras
import numpy as np

from keras_rnnx.arguments import positive
from keras_rnnx.inspection import stateful_layers


class BackupAndRestore(keras.callbacks.Callback):
    """Continues a training that was killed so that it ends with the weights of one that was not.

    Keras' callback of the same name backs up the weights, the optimizer and the epoch. This one also keeps

    * the states that stateful layers of this package carry, which are no weights;
    * the state of every seed generator, so that dropout draws what it would have drawn;
    * the states of Python's and NumPy's random generators, from which Keras shuffles arrays on JAX.

    Each backup is written into a folder of its own and renamed when it is whole, and only then is the one before
    deleted: a kill or a full disk at any moment leaves a whole one. See [what a resumed training
    repeats](../saving.md#after-a-kill).

    Args:
        backup_dir: str or path of a local folder, which no other callback uses.
        save_freq: `"epoch"`, or an int n > 0: every n batches. A backup from inside an epoch begins that epoch again
            from its first batch, with the weights it had then.
        delete_checkpoint: bool, whether the folder is deleted when the training ends.

    Attributes:
        latest: the path of the last whole backup, or None. Known before training.

    Raises:
        ValueError: if an argument is out of range; when training begins, if the backup is not one of this model.
        OSError: when training begins, if the folder cannot be made or the backup not be read; later, if the disk is
            full.

    Example:
        backup = keras_rnnx.callbacks.BackupAndRestore("backup")
        model.fit(x, y, epochs=100, callbacks=[backup])  # after a kill, the same line again
    """

    def __init__(self, backup_dir, save_freq="epoch", delete_checkpoint=True):
        super().__init__()
        self.backup_dir = pathlib.Path(backup_dir)
        if save_freq != "epoch":
            positive("save_freq", save_freq)
        self.delete_checkpoint = bool(delete_checkpoint)
        self._unfinished = self.backup_dir / "unfinished"
        self._writer = keras.callbacks.BackupAndRestore(str(self._unfinished), save_freq)

    @property
    def latest(self):
        """The path of the last whole backup, or None."""
        return max(self._whole(), default=None)

    def _whole(self):
        """The paths of the whole backups."""
        return list(self.backup_dir.glob("[0-9]" * 8))

    def set_model(self, model):
        """Keeps the model."""
        super().set_model(model)
        self._writer.set_model(model)

    def on_train_begin(self, logs=None):
        """Restores the last whole backup, if there is one."""
        if self._unfinished.exists():
            shutil.rmtree(self._unfinished)  # a kill has cut it off
        self._unfinished.mkdir(parents=True)  # raises here rather than after an epoch
        self._unfinished.rmdir()
        if self.latest is not None:
            reader = keras.callbacks.BackupAndRestore(str(self.latest))
            reader.set_model(self.model)
            reader.on_train_begin()
            restore_variables(self.model, self.latest / "variables.npz")
            restore_generators(json.loads((self.latest / "generators.json").read_text()))

    def on_epoch_end(self, epoch, logs=None):
        """Backs up."""
        self._writer.on_epoch_end(epoch, logs)
        self._finish()

    def on_train_batch_end(self, batch, logs=None):
        """Backs up where batches are counted."""
        self._writer.on_train_batch_end(batch, logs)
        self._finish()

    def on_train_end(self, logs=None):
        """Deletes the backups."""
        if self.delete_checkpoint:
            shutil.rmtree(self.backup_dir)

    def _finish(self):
        """Completes what Keras has written, if it has, and lets it take the place of the backup before."""
        if not self._unfinished.exists():
            return
        np.savez(self._unfinished / "variables.npz", **variables_of(self.model))
        (self._unfinished / "generators.json").write_text(json.dumps(generators()))
        older = self._whole()
        number = int(max(older).name) + 1 if older else 1
        os.rename(self._unfinished, self.backup_dir / f"{number:08}")
        for folder in older:
            shutil.rmtree(folder)


def beside_weights(model):
    """The variables of a model that are no weights, by a name that a second process gives them too.

    They are what stateful layers carry, and the states of seed generators. Not the metrics, which start each epoch.
    """
    found = {
        f"layer_{n}_{i}": variable
        for n, layer in enumerate(stateful_layers(model))
        for i, variable in enumerate(layer.carried)
    }
    known = {id(v) for v in (*found.values(), *model.weights, *model.metrics_variables)}
    others = [v for v in model.variables if id(v) not in known]
    return {**found, **{f"variable_{i}": variable for i, variable in enumerate(others)}}


def variables_of(model):
    """The values of the variables of a model that are no weights, as arrays by name."""
    return {name: keras.ops.convert_to_numpy(v) for name, v in beside_weights(model).items()}


def restore_variables(model, file):
    """Gives a model the variables that `variables_of` has told of one like it.

    Raises:
        ValueError: if they are not those of such a model.
    """
    with np.load(file) as arrays:
        values = dict(arrays)
    for n, layer in enumerate(stateful_layers(model)):
        if f"layer_{n}_0" in values:
            layer.known_batch(len(values[f"layer_{n}_0"]))
    variables = beside_weights(model)
    expected = {name: tuple(v.shape) for name, v in variables.items()}
    received = {name: value.shape for name, value in values.items()}
    if expected != received:
        raise ValueError(
            f"Expected in {file} states and seeds of this model, of the shapes {expected}. Received: {received}"
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def generators():
    """The states of Python's and NumPy's random generators, as plain data."""
    name, keys, *rest = np.random.get_state()
    return {"python": random.getstate(), "numpy": [name, keys.tolist(), *rest]}


def restore_generators(states):
    """Sets Python's and NumPy's random generators to what `generators` has told."""
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(states["numpy"]))
