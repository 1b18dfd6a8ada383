"""The base of callbacks that measure something once in a while."""

import keras
import numpy as np

from keras_rnnx.arguments import choice, positive
from keras_rnnx.callbacks.summaries import Summaries, tensorboard

UNITS = ("epoch", "batch")


class Periodic(keras.callbacks.Callback):
    """A callback that measures before training and then after every so many epochs or batches.

    A subclass defines `measure`, and `write` to put what it gave into TensorBoard.

    Args:
        log_dir: the directory of the TensorBoard summaries, or None for none.
        every: int > 0, after how many epochs or batches.
        unit: `"epoch"` or `"batch"`, what `every` counts.

    Attributes:
        steps: the list of how many epochs (or batches) had been trained at each measurement.

    Raises:
        ValueError: if an argument is out of range.
        ImportError: if there is a `log_dir` and the package `tensorboard` is not installed.
        OSError: when training begins, if no file can be made in `log_dir`; later, if one cannot be written.
    """

    def __init__(self, log_dir=None, every=1, unit="epoch"):
        super().__init__()
        self.log_dir = log_dir
        self.every = positive("every", every)
        self.unit = choice("unit", unit, UNITS)
        self.steps = []
        self._measured = []
        self._batches, self._batch = 0, 0
        self._summaries = None
        if log_dir is not None:
            tensorboard("summary.writer.event_file_writer")  # raises here rather than after an epoch

    @property
    def history(self):
        """What was measured: a dictionary of NumPy arrays by name, whose first axis is that of `steps`."""
        names = self._measured[0] if self._measured else ()
        return {name: np.stack([np.asarray(measured[name]) for measured in self._measured]) for name in names}

    def measure(self):
        """Measures `self.model`: a dictionary of numbers or arrays, with the same names each time."""
        raise NotImplementedError

    def write(self, summaries, measured, step):
        """Writes what `measure` gave to `Summaries`. Default: every number of it."""
        for name, value in measured.items():
            if np.ndim(value) == 0 and np.isfinite(value):
                summaries.scalar(name, value, step)

    def take(self, step):
        """Measures now."""
        if self.log_dir is not None and self._summaries is None:
            self._summaries = Summaries(self.log_dir)
        measured = self.measure()
        self.steps.append(step)
        self._measured.append(measured)
        if self.log_dir is not None:
            self.write(self._summaries, measured, step)
            self._summaries.flush()

    # ---- Keras ----

    def on_epoch_begin(self, epoch, logs=None):
        """Measures once before anything is learned."""
        if not self.steps:
            self.take(epoch if self.unit == "epoch" else self._batches)

    def on_epoch_end(self, epoch, logs=None):
        """Measures after epochs."""
        if self.unit == "epoch" and (epoch + 1) % self.every == 0:
            self.take(epoch + 1)

    def on_train_batch_begin(self, batch, logs=None):
        """Notes the first of the batches that are run together."""
        self._batch = batch

    def on_train_batch_end(self, batch, logs=None):
        """Measures after batches."""
        before, self._batches = self._batches, self._batches + batch - self._batch + 1
        if self.unit == "batch" and self._batches // self.every > before // self.every:
            self.take(self._batches)

    def on_train_end(self, logs=None):
        """Closes the event file."""
        if self._summaries is not None:
            self._summaries.close()
            self._summaries = None
