"""Arrays of a traced step: each entry knows its formula, and the row and the unit that it belongs to.

So an operation that only moves entries (a slice, a concatenation, a change of shape) leaves no formula, whatever it
does to the axes, and one that would mix rows or units is found by its entries.
"""

import contextlib
import contextvars
import dataclasses

import numpy as np

from keras_rnnx.native.formulas import Untraceable

ROWS = 3  # of a traced step: not 1, or a row could not be told from a vector

_TRACING = contextvars.ContextVar("tracing", default=False)


def is_on():
    """Whether a step is being traced: then it is written without gradients of its own, which its program finds."""
    return _TRACING.get()


@contextlib.contextmanager
def on():
    """The context in which a step is traced."""
    token = _TRACING.set(True)
    try:
        yield
    finally:
        _TRACING.reset(token)


@dataclasses.dataclass(frozen=True)
class Array:
    """A traced array: three arrays of its shape.

    Attributes:
        nodes: the formula of each entry.
        rows: the row that it belongs to, -1 where it is the same in all.
        units: the unit likewise.
    """

    nodes: np.ndarray
    rows: np.ndarray
    units: np.ndarray

    @property
    def shape(self):
        """As any array."""
        return self.nodes.shape


class Tracer:
    """Makes traced arrays.

    Args:
        formulas: `Formulas`, which get the nodes.
        units: int, H.
    """

    def __init__(self, formulas, units):
        self.formulas = formulas
        self.units = units

    def constant(self, value):
        """An array of numbers."""
        values, places = np.unique(np.asarray(value, "float32"), return_inverse=True)
        nodes = np.array([self.formulas.constant(v) for v in values], int)[places].reshape(np.shape(value))
        none = np.full(nodes.shape, -1)
        return Array(nodes, none, none)

    def leaf(self, shape, nodes):
        """An array of leaves: rows (ROWS, n H), a vector (n H,), or a scalar, () or (1,), of n nodes."""
        nodes = np.asarray(nodes)
        if shape[-1:] in ((), (1,)) and shape[:-1] == ():
            none = np.full(shape, -1)
            return Array(np.broadcast_to(nodes, shape), none, none)
        nodes, units = np.repeat(nodes, self.units), np.tile(np.arange(self.units), len(nodes))
        rows = np.arange(shape[0])[:, None] if len(shape) == 2 else np.array(-1)
        return Array(*(np.broadcast_to(a, shape) for a in (nodes, rows, units)))

    def is_constant(self, array):
        """Whether an array holds numbers alone."""
        return all(self.formulas.value(node) is not None for node in np.unique(array.nodes))

    def check(self, array, dtype, moves):
        """Raises where an operation computes in other numbers than float32; constants of others may be moved and cast.

        Args:
            array: its result.
            dtype: the dtype of that.
            moves: whether the operation does no arithmetic.
        """
        if dtype not in ("float32", "bool") and not (moves and self.is_constant(array)):
            raise Untraceable(f"computes in {dtype}")

    def known(self, array):
        """The numbers of an array that holds no others."""
        nodes, places = np.unique(array.nodes, return_inverse=True)
        values = [self.formulas.value(node) for node in nodes]
        if None in values:
            raise Untraceable("uses the values of arrays as shapes, places or the like")
        return np.array(values, "float32")[places].reshape(array.shape)

    def pointwise(self, name, *arrays):
        """An operation, see `Formulas`, on the entries of arrays."""
        nodes, rows, units = (
            np.broadcast_arrays(*parts) for parts in zip(*[(a.nodes, a.rows, a.units) for a in arrays], strict=True)
        )
        found = []
        for places, what in ((rows, "rows"), (units, "units")):
            found.append(np.maximum.reduce(places))
            if any(((p >= 0) & (p != found[-1])).any() for p in places):
                raise Untraceable(f"mixes {what}")
        keys, count = nodes[0].astype(np.int64), len(self.formulas.nodes)
        for more in nodes[1:]:
            keys = keys * count + more
        keys, first, places = np.unique(keys, return_index=True, return_inverse=True)
        made = [self.formulas(name, *[int(n.flat[i]) for n in nodes]) for i in first]
        return Array(np.array(made, int)[places].reshape(nodes[0].shape), *found)

    def cast(self, array, kind):
        """An array in a dtype of the kind `b`, `i` or `f`; numbers alone are cut to integers."""
        if kind == "b":
            return self.pointwise("boolean", array)
        return self.constant(np.trunc(self.known(array))) if kind == "i" and self.is_constant(array) else array

    def moved(self, function, *arrays):
        """An array of the entries of arrays, moved by a function of NumPy arrays."""
        return Array(*(function(*parts) for parts in zip(*[(a.nodes, a.rows, a.units) for a in arrays], strict=True)))

    def node(self, array):
        """The formula of rows (ROWS, H)."""
        if array.shape != (ROWS, self.units):
            raise Untraceable(f"makes an array of shape {array.shape}")
        rows, units = np.arange(ROWS)[:, None], np.arange(self.units)
        if ((array.rows >= 0) & (array.rows != rows)).any() or ((array.units >= 0) & (array.units != units)).any():
            raise Untraceable("moves rows or units")
        if (array.nodes != array.nodes[0, 0]).any():
            raise Untraceable("treats its units in different ways")
        return int(array.nodes[0, 0])
