"""What a cell's `step` sees: gates by name, and the recurrent products."""

import functools
import itertools

import keras
from keras import activations, ops

from keras_rnnx.engine.backends import backend


def span(names, wanted):
    """The first and last + 1 index of the names `wanted`, which must be neighbours among `names`."""
    first = names.index(wanted[0]) if wanted and wanted[0] in names else 0
    last = first + len(wanted)
    if tuple(names[first:last]) != tuple(wanted) or not wanted:
        raise ValueError(f"Expected neighbours among the gates {names}. Received: {wanted}")
    return first, last


def at_least_single(dtype):
    """The dtype of states and of sums: this one, but at least float32."""
    dtype = keras.backend.standardize_dtype(dtype)
    return "float32" if dtype in ("float16", "bfloat16") else dtype


def finite(exponents, most=1e30):
    """What a gate puts into exp, but finite: a difference of two is then a number where half precision overflows."""
    return ops.clip(exponents, -1e30, most)  # which keeps the dtype; `ops.minimum` of float64 is float32 on torch


def split(array, count):
    """Equal parts of the last axis, whose joint gradient is one concatenation instead of a sum of padded arrays."""

    if count == 1:
        return [array]
    size = array.shape[-1] // count

    def slices(array):
        return [array[..., i * size : (i + 1) * size] for i in range(count)]

    return backend.local_vjp(slices, lambda _, parts: joined(parts))(array)


def joined(parts):
    """The inverse of `split`."""
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=-1)


def reordered(array, names, wanted):
    """The columns (..., G*H) of the gates `names`, in the order of `wanted`."""
    if tuple(names) == tuple(wanted):
        return array
    parts = dict(zip(names, ops.split(array, len(names), axis=-1), strict=True))
    return ops.concatenate([parts[name] for name in wanted], axis=-1)


def _add(a, b):
    """a + b; where they have one shape both get the very same cotangent, which the engine then keeps once."""
    if tuple(a.shape) != tuple(b.shape):
        return a + b
    add = backend.local_vjp(lambda pair: pair[0] + pair[1], lambda _, d: [d, d])
    return add([a, b])


class Gates:
    """Gates by name, side by side: `z.f` is gate f, (..., H).

    Arithmetic acts on all gates and keeps the names; iterating yields the gates in storage order. The gates of a
    sequence are kept as one array each: XLA reads a whole array in the loop several times faster than a slice of one.

    Args:
        array: (..., G*H), whose columns are the gates, or a list of an array (..., H) for each gate.
        names: the gates, in storage order.
    """

    __slots__ = ("_array", "_pieces", "names")

    def __init__(self, array, names):
        self.names = tuple(names)
        self._array, self._pieces = (None, list(array)) if isinstance(array, (list, tuple)) else (array, None)

    @property
    def array(self):
        """All gates as one array."""
        if self._array is None:
            self._array = joined(self._pieces)
        return self._array

    @property
    def pieces(self):
        """An array for each gate."""
        if self._pieces is None:
            self._pieces = split(self._array, len(self.names))
        return self._pieces

    def __iter__(self):
        return iter(self.pieces)

    def __getattr__(self, name):
        if name not in self.names:
            raise AttributeError(f"Expected one of the gates {self.names}. Received: {name!r}")
        return self.pieces[self.names.index(name)]

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
        pieces = iter(self.pieces)
        return [Gates(list(itertools.islice(pieces, len(group))), group) for group in groups]

    def map(self, function):
        """`Gates` of function(gate) for each."""
        return Gates([function(gate) for gate in self], self.names)

    def _combine(self, other, operation):
        if isinstance(other, Gates):
            if other.names != self.names:
                raise ValueError(f"Expected the same gates on both sides. Received: {self.names} and {other.names}")
            others = other.pieces
        elif getattr(other, "shape", ()) and other.shape[-1] == len(self.names) * self.pieces[0].shape[-1]:
            others = Gates(other, self.names).pieces
        else:
            others = [other] * len(self.names)
        return Gates([operation(a, b) for a, b in zip(self.pieces, others, strict=True)], self.names)

    def __add__(self, other):
        return self._combine(other, _add if isinstance(other, Gates) else lambda a, b: a + b)

    def __sub__(self, other):
        return self._combine(other, lambda a, b: a - b)

    def __mul__(self, other):
        return self._combine(other, lambda a, b: a * b)

    __radd__, __rmul__ = __add__, __mul__


def activated(function, gate):
    """function(gate); the sigmoid as tanh(x / 2) / 2 + 1 / 2, which is faster than XLA's own."""
    if function is activations.sigmoid:
        return ops.tanh(gate * 0.5) * 0.5 + 0.5
    return function(gate)


class Recurrent:
    """The handle `u` of a step: recurrent products and the vectors that a step reads.

    `u(h)` is the product with all gates, `u.f(h)` with gate f alone, `u.V(h)` with a further matrix V (`Gates`, where
    it was added with names of gates), and `u.p` the vector p. Ask for one product for each distinct left operand:
    `u(h)` once, not `u.i(h)` and `u.f(h)`.

    Args:
        products: the names of the gates of each product, () for one array; those of `"recurrent"` are `u(h)`'s.
        vectors: arrays by name.
        multiply: `multiply(product, gates or None, left)`, a list of an array for each gate.
    """

    __slots__ = ("_gates", "_multiply", "_products", "_vectors")

    def __init__(self, products, vectors, multiply):
        self._gates = products.get("recurrent", ())
        self._products = products
        self._vectors = vectors
        self._multiply = multiply

    def __call__(self, left):
        return Gates(self._multiply("recurrent", None, left), self._gates)

    def __getattr__(self, name):
        if name in self._gates:
            return lambda left: self._multiply("recurrent", (name,), left)[0]
        if name in self._products:
            return functools.partial(self._further, name)
        if name in self._vectors:
            return self._vectors[name]
        known = [*self._gates, *self._products, *self._vectors]
        raise AttributeError(f"Expected a gate, matrix or vector of the cell, one of {known}. Received: {name!r}")

    def _further(self, name, left):
        made, gates = self._multiply(name, None, left), self._products[name]
        return Gates(made, gates) if gates else made[0]

    def take(self, *names):
        """The product with some gates that are stored side by side: `u.take("z", "r")(h)` gives `Gates`."""
        return lambda left: Gates(self._multiply("recurrent", names, left), names)


def normalize(v, gain, kind, epsilon=1e-3):
    """Layer or RMS normalization of a gate, times a gain.

    N(v) = (v - mean v) / sqrt(var v + epsilon) for `"layer"`, v / sqrt(mean v^2 + epsilon) for `"rms"`.

    Args:
        v: (..., H).
        gain: (H,).
        kind: `"layer"` or `"rms"`.
        epsilon: float > 0.
    """
    dtype = v.dtype
    v, gain = (ops.cast(a, at_least_single(dtype)) for a in (v, gain))  # in half precision the squares overflow
    if kind == "layer":
        v = v - ops.sum(v, axis=-1, keepdims=True) / v.shape[-1]  # Keras' mean leaves float64 on torch
    v = v * ops.rsqrt(ops.sum(v * v, axis=-1, keepdims=True) / v.shape[-1] + epsilon) * gain
    return ops.cast(v, dtype)
