"""What a cell's `step` sees: gates by name, and the recurrent products."""

import numpy as np
from keras import activations, ops

from keras_rnnx.engine.backends import backend


def span(names, wanted):
    """The first and last + 1 index of the names `wanted`, which must be neighbours among `names`."""
    first = names.index(wanted[0]) if wanted and wanted[0] in names else 0
    last = first + len(wanted)
    if tuple(names[first:last]) != tuple(wanted) or not wanted:
        raise ValueError(f"Expected neighbours among the gates {names}. Received: {wanted}")
    return first, last


def _split(array, sizes):
    """Slices of the last axis, whose joint gradient is one concatenation instead of a sum of padded arrays."""

    if len(sizes) == 1:
        return [array]
    ends = np.cumsum(sizes)

    def slices(array):
        return [array[..., end - size : end] for size, end in zip(sizes, ends, strict=True)]

    return backend.local_vjp(slices, lambda _, parts: ops.concatenate(parts, axis=-1))(array)


def _add(a, b):
    """a + b for arrays of one shape: both get the very same cotangent, which the engine then keeps once."""
    add = backend.local_vjp(lambda pair: pair[0] + pair[1], lambda _, d: [d, d])
    return add([a, b])


class Gates:
    """An array (..., G*H) whose columns are gates with names: `z.f` is gate f, (..., H).

    Arithmetic acts on all gates at once and keeps the names; iterating yields the gates in storage order.
    """

    __slots__ = ("_parts", "array", "names")

    def __init__(self, array, names):
        self.array = array
        self.names = tuple(names)
        self._parts = None

    def __iter__(self):
        if self._parts is None:
            size = self.array.shape[-1] // len(self.names)
            self._parts = _split(self.array, [size] * len(self.names))
        return iter(self._parts)

    def __getattr__(self, name):
        if name not in self.names:
            raise AttributeError(f"Expected one of the gates {self.names}. Received: {name!r}")
        return tuple(self)[self.names.index(name)]

    def split(self, *groups):
        """Cuts the gates into groups that stay together: `z_r, n = gates.split("z r", "n")`.

        Args:
            *groups: strings of names; together all gates in storage order.

        Returns:
            A list of `Gates`.
        """
        groups = [tuple(group.split()) for group in groups]
        if sum(groups, ()) != self.names:
            raise ValueError(f"Expected groups that make up the gates {self.names}. Received: {groups}")
        size = self.array.shape[-1] // len(self.names)
        parts = _split(self.array, [size * len(group) for group in groups])
        return [Gates(part, group) for part, group in zip(parts, groups, strict=True)]

    def _combine(self, other, operation):
        if isinstance(other, Gates):
            if other.names != self.names:
                raise ValueError(f"Expected the same gates on both sides. Received: {self.names} and {other.names}")
            other = other.array
        return Gates(operation(self.array, other), self.names)

    def __add__(self, other):
        return self._combine(other, _add if isinstance(other, Gates) else lambda a, b: a + b)

    def __sub__(self, other):
        return self._combine(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._combine(other, lambda a, b: a * b)

    __radd__, __rmul__ = __add__, __mul__


def activate(gates, functions):
    """Applies one activation to each gate, as few whole-block operations as they allow.

    XLA runs one activation over a block (B, G*H) several times faster than one over each slice. Sigmoid and tanh make
    a single block, since sigmoid(x) = tanh(x / 2) / 2 + 1 / 2, which is also faster than XLA's own sigmoid.

    Args:
        gates: `Gates`.
        functions: one activation for each gate, in storage order.

    Returns:
        A tuple of arrays (..., H) in storage order.
    """
    array, count = gates.array, len(gates.names)
    units = array.shape[-1] // count
    kinds = set(functions)
    if activations.sigmoid in kinds and kinds <= {activations.sigmoid, activations.tanh}:
        half = [f is activations.sigmoid for f in functions]
        scale = np.repeat(np.where(half, 0.5, 1.0), units)
        shift = np.repeat(np.where(half, 0.5, 0.0), units)
        scale, shift = ops.cast(scale, array.dtype), ops.cast(shift, array.dtype)
        return tuple(Gates(ops.tanh(array * scale) * scale + shift, gates.names))
    if len(kinds) == 1:
        return tuple(Gates(functions[0](array), gates.names))
    return tuple(f(gate) for f, gate in zip(functions, gates, strict=True))


class Recurrent:
    """The handle `u` of a step: recurrent products and the vectors that a step reads.

    `u(h)` is the product with all gates, `u.f(h)` with gate f alone, `u.V(h)` with a further matrix V, and `u.p` the
    vector p. Ask for one product for each distinct left operand: `u(h)` once, not `u.i(h)` and `u.f(h)`.
    """

    __slots__ = ("_gates", "_multiply", "_products", "_vectors")

    def __init__(self, gates, products, vectors, multiply):
        self._gates = tuple(gates)
        self._products = products
        self._vectors = vectors
        self._multiply = multiply

    def __call__(self, left):
        return Gates(self._multiply("recurrent", None, left), self._gates)

    def __getattr__(self, name):
        if name in self._gates:
            return lambda left: self._multiply("recurrent", (name,), left)
        if name in self._products:
            return lambda left: self._multiply(name, None, left)
        if name in self._vectors:
            return self._vectors[name]
        known = [*self._gates, *self._products, *self._vectors]
        raise AttributeError(f"Expected a gate, matrix or vector of the cell, one of {known}. Received: {name!r}")

    def take(self, *names):
        """The product with some gates that are stored side by side: `u.take("z", "r")(h)` gives `Gates`."""
        return lambda left: Gates(self._multiply("recurrent", names, left), names)


def normalize(array, gain, kind, gates, epsilon=1e-3):
    """Layer or RMS normalization of each gate by itself, times a gain.

    N(v) = (v - mean v) / sqrt(var v + epsilon) for `"layer"`, v / sqrt(mean v^2 + epsilon) for `"rms"`.

    Args:
        array: (..., gates * H).
        gain: (gates * H,).
        kind: `"layer"` or `"rms"`.
        gates: int, how many gates the last axis holds.
        epsilon: float > 0.
    """
    shape = ops.shape(array)
    v = ops.reshape(array, (*shape[:-1], gates, array.shape[-1] // gates))
    if kind == "layer":
        v = v - ops.sum(v, axis=-1, keepdims=True) / v.shape[-1]  # Keras' mean leaves float64 on torch
    v = v * ops.rsqrt(ops.sum(v * v, axis=-1, keepdims=True) / v.shape[-1] + epsilon)
    return ops.reshape(v, shape) * gain
