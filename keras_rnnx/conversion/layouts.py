"""What importers share: how another library stores a layer, and a layer of this package that gets its weights."""

import collections.abc
import dataclasses
import re

import numpy as np
from keras import ops

from keras_rnnx.engine.gates import reordered
from keras_rnnx.layers.bidirectional import Bidirectional

GATED = ("kernel", "recurrent_kernel", "bias")  # whose columns are gates
ENDINGS = re.compile(r"(:\d+|/\.ATTRIBUTES/VARIABLE_VALUE)$")  # of the names of variables of TensorFlow


@dataclasses.dataclass(frozen=True)
class Layout:
    """How another library stores a layer that one of this package computes.

    Attributes:
        layer: the class of the layer here.
        gates: their order of gates, in the names of this package.
        shapes: their names of the weights, in the order of their `get_weights()`, and the shapes in D, H and GH.
        names: the names here, where they differ.
        arguments: arguments of the layer here that theirs does not have, as it cannot be otherwise.
        config: their arguments that the outputs or the training depend on, and the names here.
        optional: their names of the weights that may be missing.
    """

    layer: type
    gates: str
    shapes: dict
    names: dict = dataclasses.field(default_factory=dict)
    arguments: dict = dataclasses.field(default_factory=dict)
    config: dict = dataclasses.field(default_factory=dict)
    optional: tuple = ()

    @property
    def count(self):
        """G, the number of gates."""
        return len(self.gates.split())


def as_array(value):
    """A tensor or variable of any library, or an array, as a NumPy array."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def plain_name(path):
    """The last part of the name of a weight in a checkpoint or state_dict: `kernel` of `rnn/lstm/kernel:0`."""
    return re.split(r"[/.]", ENDINGS.sub("", path))[-1].lstrip("_")


def named(weights, layout, label):
    """The arrays of one layer by their own names.

    Args:
        weights: a mapping of names, which may be paths, to arrays; or arrays in the order of their `get_weights()`.
        layout: the `Layout`.
        label: what the layer is called in a message.
    """
    names = tuple(layout.shapes)
    if not isinstance(weights, collections.abc.Mapping):
        short = tuple(n for n in names if n not in layout.optional)
        keys = names if len(weights) == len(names) else short
        if len(weights) != len(keys):
            raise ValueError(f"Expected the arrays {names} of {label}. Received: {len(weights)} arrays")
        weights = dict(zip(keys, weights, strict=True))
    found = {}
    for path, value in weights.items():
        if plain_name(path) in found:
            raise ValueError(f"Expected the weights of one layer, a {label}. Received: {sorted(weights)}")
        found[plain_name(path)] = as_array(value)
    if not set(names) - set(layout.optional) <= found.keys() <= set(names):
        raise ValueError(f"Expected the weights {names} of {label}. Received: {sorted(weights)}")
    return found


def sizes(found, layout, label):
    """D and H of the arrays of one layer; raises where a shape does not fit."""
    kernel = found["kernel"]
    if kernel.ndim != 2 or kernel.shape[1] % layout.count or not np.issubdtype(kernel.dtype, np.floating):
        raise ValueError(
            f"Expected the kernel of {label} to be numbers (D, {layout.count} H). "
            f"Received: {kernel.dtype} of shape {kernel.shape}"
        )
    features, units = kernel.shape[0], kernel.shape[1] // layout.count
    lengths = {"D": features, "H": units, "GH": kernel.shape[1]}
    for name, array in found.items():
        wanted = tuple(lengths[letter] for letter in layout.shapes[name].split())
        if array.shape != wanted:
            raise ValueError(
                f"Expected {name} of {label} with {units} units to have the shape {wanted}. Received: {array.shape}"
            )
    return features, units


def layer_of(layout, directions, label, options):
    """The built layer for the weights of one direction, or of two.

    Args:
        layout: the `Layout`.
        directions: for each direction its arrays by their own names.
        label: what the layer is called in a message.
        options: arguments of the layer here.
    """
    given = [sizes(found, layout, label) for found in directions]
    if given[0] != given[-1] or directions[0].keys() != directions[-1].keys():
        raise ValueError(f"Expected two directions of one size. Received: (D, H) = {given[0]} and {given[-1]}")
    features, units = given[0]
    arguments = {"units": units, "use_bias": "bias" in directions[0], **layout.arguments}
    options = {"return_sequences": True, "dtype": str(directions[0]["kernel"].dtype), **options}
    layer = made(layout.layer, {**arguments, **options}, len(directions) == 2)
    layer.build((None, None, features))
    for cell, found in zip(cells_of(layer), directions, strict=True):
        values = {layout.names.get(name, name): array for name, array in found.items()}
        if "recurrent_bias" in values:
            values["bias"] = np.stack([values["bias"], values.pop("recurrent_bias")])
        fill(cell, values, layout.gates)
    return layer


def made(kind, arguments, both):
    """A layer of a class, or where it goes both ways a `Bidirectional` of it that has the name."""
    if not both:
        return kind(**arguments)
    outer = {k: arguments[k] for k in ("name", "dtype") if k in arguments}
    return Bidirectional(kind(**{k: v for k, v in arguments.items() if k != "name"}), **outer)


def cells_of(layer):
    """The cell of a layer, or the two of a `Bidirectional`, forwards first."""
    directions = [layer.forward_layer, layer.backward_layer] if isinstance(layer, Bidirectional) else [layer]
    return [direction.cell for direction in directions]


def fill(cell, values, gates):
    """Gives a built cell weights.

    Args:
        cell: the cell.
        values: arrays by the names of its weights.
        gates: the order of the gates in their columns.
    """
    weights = {w.name: w for w in cell.weights}
    if not values.keys() <= weights.keys():
        raise ValueError(f"Expected a layer with the weights {sorted(values)}. Received: one with {sorted(weights)}")
    for name, value in values.items():
        weights[name].assign(reordered(value, gates.split(), cell.gates) if name in GATED else value)


def read(cell, gates):
    """The inverse of `fill`: the weights of a cell as NumPy arrays by their names."""
    values = {w.name: cell.value_of(w) for w in cell.weights}
    return {
        name: ops.convert_to_numpy(reordered(value, cell.gates, gates.split()) if name in GATED else value)
        for name, value in values.items()
    }
