"""Backups of a training that a kill cannot damage."""

import json
import pathlib
import random
import shutil

import keras
import numpy as np

from keras_rnnx.engine.backends import backend
from keras_rnnx.inspection import stateful_layers

EPOCH = "training_metadata.json"  # from which Keras' callback takes the epoch


class BackupAndRestore(keras.callbacks.Callback):
    """Continues a training that was killed so that it ends with the weights of one that was not.

    Keras' callback of the same name backs up the weights, the optimizer and the epoch. This one also keeps

    * the states that stateful layers of this package carry, which are no weights;
    * the states of seed generators, so that dropout draws what it would have drawn;
    * the states of the random generators of Python, NumPy and torch, by which Keras shuffles.

    At the end of each epoch a backup is written into a folder of its own, which is renamed once it is whole, and only
    then is the one before deleted: a kill or a full disk at any moment leaves a whole one. See [what a resumed training
    repeats](../saving.md#after-a-kill).

    Args:
        backup_dir: str or path of a local folder, for this training alone.
        delete_checkpoint: bool, whether the backups are deleted when the training ends.

    Attributes:
        latest: the path of the last whole backup, or None; known before training.

    Raises:
        ValueError: when training begins, if the backup is not one of this model and backend.
        OSError: if a backup cannot be written; when training begins, if the folder cannot be made.

    Example:
        backup = keras_rnnx.callbacks.BackupAndRestore("backup")
        model.fit(x, y, epochs=100, callbacks=[backup])  # after a kill, the same line again
    """

    def __init__(self, backup_dir, delete_checkpoint=True):
        super().__init__()
        self.backup_dir = pathlib.Path(backup_dir)
        self.delete_checkpoint = bool(delete_checkpoint)

    @property
    def latest(self):
        """The path of the last whole backup, or None."""
        return max(self._whole(), default=None)

    def _whole(self):
        """The paths of the whole backups: one, or two where a kill came before the older one was deleted."""
        return list(self.backup_dir.glob("[0-9]" * 8))

    def on_train_begin(self, logs=None):
        """Restores the last whole backup, if there is one."""
        self._empty_folder().rmdir()  # raises here, rather than after an epoch, where it cannot be made
        if self.latest is None:
            return
        if not self.model.optimizer.built:
            self.model.optimizer.build(self.model.trainable_variables)
        told = json.loads((self.latest / EPOCH).read_text())
        restore_generators(told["generators"])
        restore_variables(self.model, self.latest / "variables.npz", told["rows"])
        epoch = keras.callbacks.BackupAndRestore(str(self.latest))
        epoch.set_model(self.model)
        epoch.on_train_begin()

    def on_epoch_end(self, epoch, logs=None):
        """Backs up."""
        older = self._whole()
        told = {"epoch": epoch + 1, "rows": rows_of(self.model), "generators": generators()}
        try:
            folder = self._empty_folder()
            np.savez(folder / "variables.npz", *map(exact, variables_of(self.model)))
            (folder / EPOCH).write_text(json.dumps(told))
        except OSError as error:
            kept = max(older, default="none")
            raise OSError(
                f"Expected to write a backup of {epoch + 1} epochs to {self.backup_dir}, where the last whole one is "
                f"{kept}. Received: {error}"
            ) from error
        folder.rename(self.backup_dir / f"{1 + int(max(older).name) if older else 1:08}")
        self._delete(older)

    def on_train_end(self, logs=None):
        """Deletes the backups, and their folder if it has nothing else."""
        if self.delete_checkpoint:
            self._delete(sorted(self._whole()))
            if not any(self.backup_dir.iterdir()):
                self.backup_dir.rmdir()

    def _empty_folder(self):
        """The folder to write into, without what a kill may have left there."""
        folder = self.backup_dir / "unfinished"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True)
        return folder

    def _delete(self, backups):
        """Deletes backups, none of which is whole in name and not in fact at any moment."""
        for whole in backups:
            shutil.rmtree(whole.rename(self.backup_dir / "unfinished"))


def variables_of(model):
    """What a training changes and the next epoch reads: of the model, of the optimizer, and what layers carry.

    Carried states of several replicas are those of each.
    """
    layers = stateful_layers(model)
    passing = {id(v) for v in [*model.metrics_variables, *(v for layer in layers for v in layer.carried)]}
    found = {id(v): v for v in [*model.variables, *model.optimizer.variables] if id(v) not in passing}
    return [*found.values(), *(held for layer in layers for held in layer.held)]


def rows_of(model):
    """For how many rows each stateful layer keeps states."""
    return [layer.states[0].shape[0] if layer.states else 0 for layer in stateful_layers(model)]


def exact(variable):
    """A variable as an array of a type that NumPy knows, with the same values."""
    value = keras.ops.convert_to_numpy(variable)
    return value.astype("float32") if value.dtype.kind == "V" else value  # bfloat16


def restore_variables(model, file, rows):
    """Gives a model the values of `variables_of` another one like it.

    Args:
        model: the model.
        file: path of the arrays.
        rows: `rows_of` the other one.

    Raises:
        ValueError: if they are not those of such a model.
    """
    layers = stateful_layers(model)
    for layer, count in zip(layers, rows, strict=False):
        if count:
            layer.known_batch(count)
    variables = variables_of(model)
    with np.load(file) as arrays:
        values = list(arrays.values())
    expected, received = ([tuple(a.shape) for a in some] for some in (variables, values))
    if expected != received or len(layers) != len(rows):
        raise ValueError(
            f"Expected in {file} the variables of this model and its optimizer, of the shapes {expected}. "
            f"Received: {received}"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def generators():
    """The states of the random generators of Python, NumPy and the backend, as plain data."""
    name, keys, *rest = np.random.get_state()
    return {"python": random.getstate(), "numpy": [name, keys.tolist(), *rest], backend.NAME: backend.generators()}


def restore_generators(states):
    """Sets the random generators to what `generators` has told.

    Raises:
        ValueError: if that was on another backend.
    """
    if backend.NAME not in states:
        raise ValueError(
            f"Expected a backup from the Keras backend {backend.NAME!r}. Received: one from {[*states][-1]!r}"
        )
    version, keys, gauss = states["python"]
    random.setstate((version, tuple(keys), gauss))
    np.random.set_state(tuple(states["numpy"]))
    backend.restore_generators(states[backend.NAME])
