"""Which path each recurrent layer takes, and why not a faster one."""

import dataclasses

import keras

from keras_rnnx.base.interface import Reading
from keras_rnnx.engine.backends import backend
from keras_rnnx.layers.bidirectional import Bidirectional
from keras_rnnx.layers.deep import DeepRNN
from keras_rnnx.layers.rnn import RNN
from keras_rnnx.layers.state import StatefulLayer


@dataclasses.dataclass(frozen=True)
class Report:
    """The path of one recurrent layer.

    Attributes:
        layer: the layer's path or name in the model.
        cell: the class of its cell.
        path: the name of the way it is walked, see `Path` in the docs.
        device: `cpu`, `gpu` or `tpu`.
        why: why this path, and what a faster one would need.
    """

    layer: str
    cell: str
    path: str
    device: str
    why: str


class Explanation(list):
    """A list of `Report`s that prints as a table."""

    def __str__(self):
        rows = [("layer", "cell", "path", "device", "why")]
        rows += [dataclasses.astuple(report) for report in self]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = ["  ".join([*(f"{c:<{w}}" for c, w in zip(row, widths)), row[4]]) for row in rows]  # noqa: B905
        return "\n".join(lines)

    __repr__ = __str__


def explain(layer_or_model, input_shape=None, *, mask=False, training=True):
    """Tells which path each recurrent layer takes, on which device, and why not a faster one.

    The path follows from configuration and shapes alone, so this is what a call will do, not what one did.

    Args:
        layer_or_model: a recurrent layer of this package, or a model or layer that contains some.
        input_shape: the shape (B, T, D) of the inputs of each layer. Only T matters, and whether it is known.
        mask: bool, whether the calls have a mask (or lengths).
        training: bool, whether the calls are training calls.

    Returns:
        A list of `Report`s that prints as a table. Built-in Keras recurrent layers are listed too.

    Raises:
        ValueError: if there is no recurrent layer in it.
    """
    reports = Explanation()
    for layer in layers_of(layer_or_model):
        if isinstance(layer, RNN):
            reports.append(_report(layer, input_shape, mask, training))
        elif isinstance(layer, keras.layers.RNN):
            why = "a built-in layer of Keras; keras_rnnx has its drop-in"
            name = type(layer.cell).__name__
            reports.append(Report(_name(layer), name, "keras", backend.device(), why))
    if not reports:
        raise ValueError(f"Expected a recurrent layer in it. Received: {layer_or_model!r}")
    return reports


def reset_states(model):
    """Resets the kept states of every stateful recurrent layer in a model or layer.

    Args:
        model: a Keras model or layer.
    """
    for layer in stateful_layers(model):
        layer.reset_state()


def stateful_layers(model):
    """The layers of this package in a model that carry states from call to call, in the order of use."""
    return [layer for layer in layers_of(model) if isinstance(layer, StatefulLayer) and layer.stateful]


def layers_of(layer):
    """The layer itself and every layer inside it, each once, in the order of use."""
    found, seen = [], set()

    def visit(layer):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        found.append(layer)
        for child in _children(layer):
            visit(child)

    visit(layer)
    return found


def _children(layer):
    if isinstance(layer, Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    if isinstance(layer, DeepRNN):
        return layer.levels
    if isinstance(layer, RNN):
        return []
    values = keras.tree.flatten([v for v in vars(layer).values() if isinstance(v, (list, tuple))])
    values = [*vars(layer).values(), *values]
    return [v for v in values if isinstance(v, keras.layers.Layer)]


def _report(layer, input_shape, mask, training):
    how = Reading(
        mask=True if mask else None,
        reverse=layer.go_backwards,
        emit=layer.emit,
        training=training,
        unroll=layer.unroll,
        memory=layer.memory,
        clip=layer.recurrent_clip,
    )
    path = layer.cell.path(how, None if input_shape is None else input_shape[1])
    why = path.why
    if path.name in ("xla loop", "native") and input_shape is not None and input_shape[1] is None:
        why += "; T varies: padded to one of four lengths an octave, one program each"
    return Report(_name(layer), type(layer.cell).__name__, path.name, backend.device(), why)


def _name(layer):
    return layer.path if getattr(layer, "path", None) else layer.name
