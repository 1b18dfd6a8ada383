"""Checks of arguments, and their form in a configuration. Written once for all layers and cells."""

import collections.abc
import inspect
import numbers
import sys

import keras

from keras_rnnx.base import quantization


class FromConfig:
    """A layer made of layers, whose configuration has some of them. A mixin."""

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """A layer from its configuration."""
        config = without_legacy(cls, config)
        record = config.pop("quantized", {})
        made = cls(**{name: deserialized(value, custom_objects) for name, value in config.items()})
        quantization.restore(made, record)
        return made


def deserialized(value, custom_objects=None):
    """One value of a configuration, with the objects in it made from their own."""
    if isinstance(value, (list, tuple)):
        return [deserialized(v, custom_objects) for v in value]
    if isinstance(value, dict) and "class_name" in value:
        return keras.saving.deserialize_keras_object(value, custom_objects=custom_objects)
    return value


def arguments_of(kind, *stop):
    """The arguments of every `__init__` of a class chain, each as its class and its name.

    Args:
        kind: the class.
        *stop: the classes at which the walk up the chain ends.
    """
    for cls in kind.__mro__:
        if cls in stop:
            break
        if "__init__" not in vars(cls):
            continue
        for name, parameter in inspect.signature(cls.__init__).parameters.items():
            if name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                yield cls, name


def config_of(layer, *stop):
    """The arguments of every `__init__` of a layer's class chain, from the attributes of the same names.

    And which layers inside are quantized.

    Args:
        layer: the layer.
        *stop: the classes at which the walk up the chain ends.
    """
    config = {}
    for cls, name in arguments_of(type(layer), *stop):
        if "get_config" in vars(cls) and not hasattr(layer, name):
            continue  # a subclass that keeps an argument under another name says so in its own `get_config`
        config[name] = serialized(name, getattr(layer, name))
    return {**config, **quantization.recorded(layer)}


def serialized(name, value):
    """One value of a configuration, as plain data."""
    if name.endswith("activation"):
        return keras.activations.serialize(value) if value is not None else None
    for ending, module in (
        ("_initializer", keras.initializers),
        ("_regularizer", keras.regularizers),
        ("_constraint", keras.constraints),
    ):
        if name.endswith(ending):
            return module.serialize(value) if value is not None else None
    if isinstance(value, (list, tuple)):
        return [serialized(name, v) for v in value]
    if hasattr(value, "get_config"):
        return keras.saving.serialize_keras_object(value)
    return value


LEGACY = ("implementation", "use_cudnn", "time_major")


def without_legacy(kind, config):
    """A configuration without what versions of Keras write into it to say how a layer is computed.

    Args:
        kind: the class to be made; what is an argument of its own stays.
        config: the configuration.

    Raises:
        ValueError: if it says that time is the first axis, which no layer of Keras 3 reads.
    """
    found = {name for name in LEGACY if name in config}
    if found:
        found -= {name for _, name in arguments_of(kind)}
    if "time_major" in found and config["time_major"]:
        raise ValueError(
            "Expected sequences (B, T, D), time_major=False. Received: a configuration with time_major=True"
        )
    return {name: value for name, value in config.items() if name not in found}


def checked_initializer(value):
    """An initializer; for None the one that Keras takes then."""
    return keras.initializers.get("glorot_uniform" if value is None else value)


def integer(name, value, least=0):
    """`value`, an integer from `least` to what a shape can hold, or a ValueError that says so."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or not least <= value < 2**31:
        raise ValueError(f"Expected `{name}` to be an integer >= {least}, below 2**31. Received: {name}={value!r}")
    return int(value)


def positive(name, value):
    """`value`, an integer > 0, or a ValueError that says so."""
    return integer(name, value, 1)


def several(name, values, least=0):
    """`values`, a list or tuple of at least so many, as a list, or a ValueError that says so."""
    if not isinstance(values, (list, tuple)) or len(values) < least:
        raise ValueError(f"Expected `{name}` to be a list of at least {least}. Received: {name}={values!r}")
    return list(values)


def positives(name, values):
    """`values`, a list or tuple of integers > 0, as a list, or a ValueError that says so."""
    return [positive(name, value) for value in several(name, values)]


def number(name, value, interval="(-inf, inf)"):
    """`value`, a finite number in an interval such as `"(0, 1]"`, as a float, or a ValueError that says so."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    plain = value.item() if hasattr(value, "item") else value  # a NumPy float may be too short to be compared
    fits = real and low <= plain <= high and abs(plain) <= sys.float_info.max
    if not fits or (plain == low and interval[0] == "(") or (plain == high and interval[-1] == ")"):
        raise ValueError(f"Expected `{name}` to be a number in {interval}. Received: {name}={value!r}")
    return float(value)


def between(name, array, lowest, highest):
    """`array`, integers of NumPy in lowest..highest, or a ValueError that says so."""
    if array.size and (array.min() < lowest or array.max() > highest):
        raise ValueError(f"Expected {name} in {lowest}..{highest}. Received: from {array.min()} to {array.max()}")
    return array


def rate(name, value):
    """`value`, a number in [0, 1), or a ValueError that says so."""
    return number(name, value, "[0, 1)")


def checked_seed(value):
    """`value`, an integer or None, or a ValueError that says so."""
    if value is not None and (not isinstance(value, numbers.Integral) or isinstance(value, bool)):
        raise ValueError(f"Expected `seed` to be an integer or None. Received: seed={value!r}")
    return None if value is None else int(value)


def check_shape(value):
    """Raises where what `build` is given, perhaps out of a configuration, is no shape."""

    def fits(n):
        if isinstance(n, numbers.Number):
            return isinstance(n, numbers.Integral) and not isinstance(n, bool) and n >= 0
        return not isinstance(n, collections.abc.Iterable)  # None, or a size that a backend does not know yet

    if not isinstance(value, collections.abc.Iterable) or not all(fits(n) for n in value):
        raise ValueError(f"Expected a shape of integers and None. Received: {value!r}")


def choice(name, value, allowed):
    """`value`, one of `allowed`, or a ValueError that says so."""
    if value not in allowed:
        raise ValueError(f"Expected `{name}` to be one of {allowed}. Received: {name}={value!r}")
    return value


def memory(value):
    """`value` as `("store", None)`, `("remat", k)` or `("tbptt", k)`, or a ValueError that says so."""
    kind, k = value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, None)
    if kind == "store" and k is None:
        return ("store", None)
    if kind in ("remat", "tbptt") and isinstance(k, int) and not isinstance(k, bool) and k > 0:
        return (kind, k)
    raise ValueError(
        "Expected `memory` to be 'store', ('remat', k) or ('tbptt', k) with an integer k > 0. "
        f"Received: memory={value!r}"
    )


def copy_of(layer, name, number=0, **changes):
    """A new layer like another one, unbuilt.

    Args:
        layer: the layer to copy.
        name: the name of the copy.
        number: which copy it is; integer seeds move with it, so that copies draw weights and masks of their own.
        **changes: other arguments.
    """
    config = _unshared(keras.saving.serialize_keras_object(layer))
    config["config"].update(name=name, **changes)
    _shift_seeds(config, 1_000_003 * number)  # far apart: under torch the draws of one generator have seeds in a row
    return keras.saving.deserialize_keras_object(config)


def _unshared(part):
    """A serialized object without the marks by which a model that is being loaded finds one object in two places.

    And without the shapes it was built for, as the copy is unbuilt.
    """
    if isinstance(part, dict):
        marks = ("shared_object_id", "build_config")
        return {key: _unshared(value) for key, value in part.items() if key not in marks}
    return [_unshared(value) for value in part] if isinstance(part, list) else part


def _shift_seeds(part, number):
    """Adds a number to the integer seeds of a serialized layer or cell, of its initializers and of its cells."""
    config = part.get("config")
    if not isinstance(config, dict):  # of a function it is the name
        return
    if isinstance(config.get("seed"), int):
        config["seed"] += number
    kind = keras.saving.get_registered_object(part.get("registered_name"))
    cells = getattr(kind, "CELLS", ("cell",))
    for name, inside in config.items():
        if name in cells or name == "seed" or name.endswith("initializer"):
            for each in inside if isinstance(inside, (list, tuple)) else [inside]:
                if isinstance(each, dict):
                    _shift_seeds(each, number)
