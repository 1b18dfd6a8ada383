"""Keras' quantization: matrices of 8-bit integers, and which layers inside a layer have them."""

import keras
from keras import ops

from keras_rnnx.engine.gates import at_least_single

MODE = "int8"


class Quantizable:
    """A layer whose matrices `quantize("int8")` turns into integers with one float32 scale for each output column.

    A mixin. The matrices are those that `add_kernel` makes; `_cast` reads them, as floats, once for a whole call.
    """

    def add_kernel(self, name, shape, **options):
        """`add_weight` of a matrix, which is one of integers where the layer is quantized."""
        if len(shape) < 2 or 0 in shape:
            return self.add_weight(name=name, shape=shape, **options)
        self._kernels.append(name)
        if self.quantization_mode is None:
            return self.add_weight(name=name, shape=shape, **options)
        check_mode(self, self.quantization_mode)
        return self._add_integers(name, shape)

    def summed_axes(self, shape):
        """The axes over which a product with a matrix sums. Default: the last but one, also of a stack of matrices."""
        return (len(shape) - 2,)

    def _add_integers(self, name, shape):
        """The integers, and the attribute `<name>_scale` by which they are divided."""
        summed = self.summed_axes(shape)
        each = tuple(1 if axis in summed else size for axis, size in enumerate(shape))
        kernel = self.add_weight(name=name, shape=shape, dtype="int8", initializer="zeros", trainable=False)
        scale = self.add_weight(name=f"{name}_scale", shape=each, dtype="float32", initializer="ones", trainable=False)
        setattr(self, f"{name}_scale", scale)
        self._is_quantized = True  # what Keras looks for before it quantizes a layer
        return kernel

    def quantize(self, mode=None, type_check=True, config=None):
        """Turns the matrices into integers, which are not trained any more.

        Args:
            mode: `"int8"`.
            type_check: not used.
            config: a `keras.quantizers.Int8QuantizationConfig` without a `weight_quantizer`, or None. Its
                `activation_quantizer` is not used: activations stay floats.

        Raises:
            NotImplementedError: for another mode or a `weight_quantizer`; `Model.quantize` warns and leaves the layer.
            ValueError: if the layer is not built, or is quantized.
        """
        del type_check
        check_mode(self, mode, config)
        if not self._kernels:
            raise NotImplementedError(f"Expected a layer with matrices of products. Received: {self!r}")
        weights = self._by_name()
        for name in self._kernels:
            old = weights[name]
            found = keras.quantizers.abs_max_quantize(
                ops.cast(old, "float32"), self.summed_axes(old.shape), to_numpy=True
            )
            self._untrack_variable(old)
            new = self._add_integers(name, old.shape)
            for variable, value in zip((new, getattr(self, f"{name}_scale")), found, strict=True):
                variable.assign(value)
            _exchange(self, old, new)
        self._is_quantized = True
        if self.quantization_mode is None:
            self.dtype_policy = f"{mode}_from_{self.dtype_policy.name}"

    def quantized_call(self, *args, **kwargs):
        """The call: what is quantized is how weights are kept."""
        return self.call(*args, **kwargs)

    def _cast(self, weight):
        """A weight in the compute dtype; integers as the floats that they stand for."""
        return ops.cast(self.value_of(weight), self.compute_dtype)

    def value_of(self, weight):
        """A weight as it is; integers as the floats that they stand for, in float32 at least."""
        if keras.backend.standardize_dtype(weight.dtype) != MODE:
            return weight
        wide = at_least_single(self.compute_dtype)
        return ops.cast(weight, wide) / ops.cast(getattr(self, f"{weight.name}_scale"), wide)

    def _by_name(self):
        """The weights by their names; its own, which come first, before those of an activation with weights."""
        return {weight.name: weight for weight in reversed(self.weights)}

    # In the order of `weights` stands first what is trained, which `quantize` changes: names tell the rest apart.

    def save_own_variables(self, store):
        """Saves the weights, where the layer is quantized by their names."""
        if self.quantization_mode is None:
            super().save_own_variables(store)
            return
        for name, weight in self._by_name().items():
            store[name] = weight

    def load_own_variables(self, store):
        """Loads the weights, see `save_own_variables`."""
        if self.quantization_mode is None:
            super().load_own_variables(store)
            return
        weights = self._by_name()
        if set(store.keys()) != set(weights):
            raise ValueError(
                f"Expected the weights {sorted(weights)} of {self.name!r}, which is quantized. "
                f"Received: {sorted(store.keys())}"
            )
        for name, weight in weights.items():
            weight.assign(store[name])


def check_mode(layer, mode, config=None):
    """Raises NotImplementedError, as Keras does, for a quantization that layers of this package do not have."""
    if mode != MODE or (config is not None and config.weight_quantizer is not None):
        raise NotImplementedError(
            f"Expected mode={MODE!r} and no `weight_quantizer` for {type(layer).__name__} {layer.name!r}, whose "
            f"matrices get one scale for each column. Received: mode={mode!r}, config={config!r}"
        )


def _exchange(layer, old, new):
    """Puts a variable in the place of another one, wherever an attribute of a layer has it."""
    for name, value in list(vars(layer).items()):
        if value is old:
            setattr(layer, name, new)
        elif name == "_products" or not name.startswith("_"):
            _exchange_inside(value, old, new)


def _exchange_inside(values, old, new):
    if not isinstance(values, (dict, list)):
        return
    for key, value in list(values.items() if isinstance(values, dict) else enumerate(values)):
        if value is old:
            values[key] = new
        else:
            _exchange_inside(value, old, new)


# ---- layers made of layers ----


class Parts:
    """A layer that is quantized through the layers inside it. A mixin; its own dtype policy stays one of floats."""

    def quantize(self, mode=None, type_check=True, config=None):
        """Quantizes every layer inside that is not quantized yet: see `Quantizable`."""
        del type_check
        check_mode(self, mode, config)
        parts = [part for part in parts_of(self).values() if getattr(part, "_kernels", part.weights)]
        unable = [part.name for part in parts if type(part).quantize is keras.layers.Layer.quantize]
        if unable or not parts:
            raise NotImplementedError(
                f"Expected layers with matrices of products in {type(self).__name__} {self.name!r}, all of which have "
                f"`quantize`. Received: {unable or parts}"
            )
        for part in [part for part in parts if part.quantization_mode is None] or parts:
            part.quantize(mode, config=config)

    def quantized_call(self, *args, **kwargs):
        """The call."""
        return self.call(*args, **kwargs)


def parts_of(layer):
    """The layers inside a layer that are made of no others, each by the path of attributes that leads to it."""
    found, seen = {}, set()

    def visit(layer, path):
        inside = list(_inside(layer))
        if path and not inside:
            found["/".join(path)] = layer
        for name, part in inside:
            if id(part) not in seen:
                seen.add(id(part))
                visit(part, [*path, name])

    visit(layer, [])
    return found


def _inside(layer):
    """The layers that public attributes of a layer hold, or lists there; but activations, which are no parts."""
    attributes = {**vars(layer), **vars(layer).get("_modules", {})}  # where torch keeps layers
    for name, value in sorted(attributes.items()):
        if not name.startswith("_") and not name.endswith("activation"):
            several = isinstance(value, (list, tuple))
            for i, part in enumerate(value if several else [value]):
                if isinstance(part, keras.layers.Layer):
                    yield (f"{name}.{i}" if several else name), part


def recorded(layer):
    """What a configuration says of the layers inside that are quantized, by their paths; nothing where none is."""
    made = {}
    for path, part in parts_of(layer).items():
        if part.quantization_mode is not None:
            made[path] = {"dtype": part.dtype_policy.name}
            if getattr(part, "quantization_config", None) is not None:
                config = keras.saving.serialize_keras_object(part.quantization_config)
                made[path]["quantization_config"] = config
    return {"quantized": made} if made else {}


def restore(layer, record):
    """Has the layers inside a layer that is not built yet be built as `recorded` says."""
    parts = parts_of(layer)
    if not set(record) <= set(parts):
        raise ValueError(f"Expected layers to quantize among {sorted(parts)}. Received: {sorted(record)}")
    for path, said in record.items():
        if parts[path].quantization_mode is None:
            if "quantization_config" in said:
                config = keras.saving.deserialize_keras_object(said["quantization_config"])
                parts[path].quantization_config = config
            parts[path].dtype_policy = said["dtype"]


def check_float(layer, policy):
    """Raises where a layer made of layers is given the dtype policy of one that is quantized."""
    if policy.quantization_mode is not None:
        raise ValueError(
            f"Expected a dtype policy of floats for {type(layer).__name__} {layer.name!r}, whose cells have those that "
            f"`quantize` changes. Received: {policy.name!r}"
        )


def float_policy(policy):
    """The policy of floats that a quantized one is made from; another policy as it is."""
    policy = keras.dtype_policies.get(policy)
    return policy if policy.quantization_mode is None else keras.DTypePolicy(policy.name.partition("_from_")[2])


class FloatDense(keras.layers.Dense):
    """A layer that is made when another one is built, which no configuration tells: Keras quantizes no subclass."""


class Template:
    """A layer that others are copied from, held so that Keras does not take it for a part of the layer that has it."""

    def __init__(self, layer):
        self.layer = layer
