"""Summaries for TensorBoard, on every backend: the `tensorboard` package alone, without TensorFlow."""

import importlib
import io
import os
import tempfile
import time

import numpy as np

MISSING = (
    "Writing to `log_dir` needs the package tensorboard: `pip install tensorboard`, or leave `log_dir` out and read "
    "`history`."
)


def tensorboard(module):
    """A module of the package `tensorboard`, which is imported only where it is used."""
    try:
        return importlib.import_module(f"tensorboard.{module}")
    except ImportError as error:
        raise ImportError(MISSING) from error


def check_folder(log_dir):
    """Makes a local folder where it is missing; raises OSError where no file can be made in it.

    The writer of TensorBoard makes its file in a thread, where an error is lost.
    """
    if "://" in str(log_dir):  # of a remote file system, which TensorFlow knows
        return
    try:
        os.makedirs(log_dir, exist_ok=True)
        tempfile.TemporaryFile(dir=log_dir).close()
    except OSError as error:
        raise OSError(
            f"Expected `log_dir` to be a folder in which files can be made. Received: log_dir={str(log_dir)!r}, {error}"
        ) from error


def new_figure(**options):
    """An empty matplotlib figure that belongs to no window.

    Raises:
        ImportError: if the package `matplotlib` is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need the package matplotlib: `pip install matplotlib`.") from error
    return Figure(layout="constrained", **options)


def png_of(figure):
    """The bytes of a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


class Summaries:
    """Writes summaries to an event file.

    Args:
        log_dir: the directory, made where it is missing.

    Raises:
        ImportError: if the package `tensorboard` is not installed.
        OSError: if no file can be made there.
    """

    def __init__(self, log_dir):
        check_folder(log_dir)
        self._writer = tensorboard("summary.writer.event_file_writer").EventFileWriter(str(log_dir))

    def scalar(self, tag, value, step):
        """A number."""
        self._add(tensorboard("plugins.scalar.summary_v2").scalar_pb(tag, np.float32(value)), step)

    def histogram(self, tag, values, step):
        """The distribution of an array of finite numbers."""
        self._add(tensorboard("plugins.histogram.summary_v2").histogram_pb(tag, np.asarray(values)), step)

    def text(self, tag, text, step):
        """A text, shown as Markdown; a list of texts is shown as a column."""
        self._add(tensorboard("plugins.text.summary_v2").text_pb(tag, np.asarray(text, object)), step)

    def figure(self, tag, figure, step):
        """A matplotlib figure, as an image."""
        png = png_of(figure)
        width, height = (int.from_bytes(png[i : i + 4], "big") for i in (16, 20))  # of the header of a PNG
        values = np.asarray([str(width).encode(), str(height).encode(), png], object)
        image = tensorboard("compat.proto.summary_pb2").Summary()
        image.value.add(
            tag=tag,
            metadata=tensorboard("plugins.image.metadata").create_summary_metadata(display_name=None, description=None),
            tensor=tensorboard("util.tensor_util").make_tensor_proto(values),
        )
        self._add(image, step)

    def flush(self):
        """Writes out what has been added."""
        self._writer.flush()

    def close(self):
        """Writes out what has been added, and closes the file."""
        self._writer.close()

    def _add(self, summary, step):
        event = tensorboard("compat.proto.event_pb2").Event(wall_time=time.time(), step=int(step), summary=summary)
        self._writer.add_event(event)
