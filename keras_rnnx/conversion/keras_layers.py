"""Models from Keras' recurrent layers to those of this package, and back, with their weights."""

import inspect

import keras

from keras_rnnx import arguments
from keras_rnnx.base.adapt import StackedCells
from keras_rnnx.base.interface import AbstractCell
from keras_rnnx.cells.conv_lstm import ConvLSTM1D, ConvLSTM2D, ConvLSTM3D
from keras_rnnx.cells.gru import GRU, GRUCell
from keras_rnnx.cells.lstm import LSTM, LSTMCell
from keras_rnnx.cells.vanilla import VanillaRNN, VanillaRNNCell
from keras_rnnx.inspection import layers_of
from keras_rnnx.layers.bidirectional import Bidirectional
from keras_rnnx.layers.rnn import RNN
from keras_rnnx.layers.sequence import SequenceLayer

SAME = (LSTM, GRU, LSTMCell, GRUCell, RNN, Bidirectional, ConvLSTM1D, ConvLSTM2D, ConvLSTM3D)
RENAMED = {"SimpleRNN": VanillaRNN, "SimpleRNNCell": VanillaRNNCell, "StackedRNNCells": StackedCells}
COUNTERPARTS = {**RENAMED, **{kind.__name__: kind for kind in SAME}}  # of the layers of Keras, by their names
PLACED = ("name", "inbound_nodes", "shared_object_id")  # of a layer's place in a model, not of its kind


def convert(model, to="keras_rnnx"):
    """A copy of a model with the recurrent layers of Keras replaced by those of this package, or the reverse.

    Replaced are `LSTM`, `GRU`, `SimpleRNN` (here `VanillaRNN`), `ConvLSTM1D`, `2D` and `3D`, `RNN`, `Bidirectional`,
    `StackedRNNCells` and the cells, wherever they are in the configuration of the model: also inside other wrappers
    and nested models. Weights are carried over, outputs are the same. The copy is compiled as the model was, with a new
    optimizer. The states of stateful layers start anew.

    Args:
        model: a Keras model, or a single layer.
        to: `"keras_rnnx"` or `"keras"`.

    Returns:
        The copy.

    Raises:
        ValueError: if a layer has no counterpart, or has options that its counterpart lacks; or if a recurrent layer is
            made by a class of the user, whose configuration does not have it.

    Example:
        ```python
        model = keras.Sequential([keras.Input((None, 3)), keras.layers.LSTM(4)])
        faster = keras_rnnx.convert(model)
        original = keras_rnnx.convert(faster, to="keras")
        ```
    """
    arguments.choice("to", to, ("keras_rnnx", "keras"))
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(f"Expected a Keras model or layer. Received: {model!r} of type {type(model).__name__}")
    config = _converted(keras.saving.serialize_keras_object(model), _ours if to == "keras_rnnx" else _of_keras)
    made = keras.saving.deserialize_keras_object(config, safe_mode=False)  # what is in it runs in this process already
    replaced = (keras.layers.RNN, keras.layers.Bidirectional) if to == "keras_rnnx" else SequenceLayer
    left = [layer.name for layer in layers_of(made) if isinstance(layer, replaced)]
    if left:
        raise ValueError(
            "Expected a model whose configuration has all its recurrent layers. "
            f"Received: a {type(model).__name__}, whose class makes {', '.join(left)} itself"
        )
    if model.built:
        if not made.built:
            shapes = model.get_build_config()
            made.build(shapes["input_shape"] if "input_shape" in shapes else shapes["shapes_dict"]["sequences_shape"])
        made.set_weights(model.get_weights())
    return made


def _converted(part, counterpart):
    """A serialized object with its recurrent layers replaced, from the inner ones to the outer ones."""
    if isinstance(part, (list, tuple)):
        return [_converted(p, counterpart) for p in part]
    if not isinstance(part, dict):
        return part
    target = counterpart(part) if "class_name" in part else None
    part = {name: _converted(value, counterpart) for name, value in part.items()}
    if target is None:
        return part
    made = keras.saving.serialize_keras_object(target(part["config"]))
    return {**made, **{name: part[name] for name in PLACED if name in part}}


def _ours(part):
    """What makes the layer of this package from the configuration of Keras', or None where it is to stay."""
    name = part["class_name"]
    if part.get("registered_name") or not str(part.get("module")).startswith("keras") or name not in COUNTERPARTS:
        return None
    kind = COUNTERPARTS[name]

    def make(config):
        if name == "Bidirectional":  # which has renamed the layer that it was given
            layer = config["layer"]
            given = {**layer["config"], "name": layer["config"]["name"].removeprefix("forward_")}
            config = {**config, "layer": {**layer, "config": given}}
        return kind.from_config(config)

    return make


def _of_keras(part):
    """What makes Keras' layer from the configuration of that of this package, or None where it is to stay."""
    registered = keras.saving.get_registered_object(part.get("registered_name") or "")
    if not (inspect.isclass(registered) and issubclass(registered, (SequenceLayer, AbstractCell))):
        return None
    name, config = registered.__name__, part["config"]
    label = f"{name} {config['name']!r}"
    found = [theirs for theirs, ours in COUNTERPARTS.items() if ours is registered]
    if not found:
        raise ValueError(f"Expected layers that Keras has. Received: {label}")
    kind = getattr(keras.layers, found[0])
    known = config.keys() & _arguments(kind)
    plain = registered.from_config({name: config[name] for name in known}).get_config()
    more = {name: value for name, value in config.items() if name not in known and value != plain.get(name)}
    if more:
        raise ValueError(f"Expected a {label} of nothing but what Keras has. Received: {more}")
    return lambda config: kind.from_config({name: config[name] for name in known})


def _arguments(kind):
    """The names of the arguments of a layer of Keras, and of the classes that it is derived from."""
    classes = [cls for cls in kind.__mro__ if issubclass(cls, keras.layers.Layer) and "__init__" in vars(cls)]
    return {name for cls in classes for name in inspect.signature(cls.__init__).parameters} - {"self"}
