"""A step's jaxpr, followed equation by equation: see `native.program`."""

import pathlib

import jax
import numpy as np
from jax.extend.core import Literal

from keras_rnnx.native import tracing
from keras_rnnx.native.formulas import OPERATIONS, Untraceable

_POINTWISE = {
    **{name: name for name in OPERATIONS if name not in ("negative", "absolute", "subtract", "multiply", "divide")},
    **{"neg": "negative", "abs": "absolute", "sub": "subtract", "mul": "multiply", "div": "divide", "max": "maximum"},
    **{"min": "minimum", "lt": "less", "le": "less_equal", "eq": "equal", "gt": "greater", "ge": "greater_equal"},
    **{"ne": "not_equal", "and": "and", "or": "or", "not": "not", "pow": "power", "square": "square"},
    **{"rsqrt": "rsqrt", "ceil": "ceil", "expm1": "expm1", "logistic": "sigmoid", "stop_gradient": "stop"},
    **{"copy": "identity", "copy_p": "identity", "add_any": "add"},
}
# JAX's own functions that have a derivative of their own.
_OWN = ("relu", "relu6", "logaddexp")


def described(function):
    """See `engine.backends`."""
    return jax.eval_shape(function)


def followed(function, leaves, tracer):
    """See `engine.backends`."""
    with tracing.on():
        made = jax.make_jaxpr(function)(*[jax.ShapeDtypeStruct(leaf.shape, "float32") for leaf in leaves])
    return _follow(made, leaves, tracer)


def _follow(closed, given, tracer):
    """The results of a jaxpr."""
    found = dict(zip(closed.jaxpr.invars, given, strict=True))
    for var, value in zip(closed.jaxpr.constvars, closed.consts, strict=True):
        if isinstance(value, jax.core.Tracer):
            raise Untraceable("reads an array from outside")
        found[var] = tracer.constant(value)

    def read(var):
        return tracer.constant(var.val) if isinstance(var, Literal) else found[var]

    for eqn in closed.jaxpr.eqns:
        made = _made(eqn, [read(var) for var in eqn.invars], tracer)
        for var, array in zip(eqn.outvars, made if isinstance(made, list) else [made], strict=True):
            tracer.check(array, str(var.aval.dtype), eqn.primitive.name not in _POINTWISE)
            found[var] = array
    return [read(var) for var in closed.jaxpr.outvars]


def _made(eqn, given, tracer):
    """The result of one equation, or a list of them."""
    name = eqn.primitive.name
    if name in ("jit", "pjit"):
        return _follow(eqn.params["jaxpr"], given, tracer)
    if name.startswith("custom_"):
        return _own(eqn, given, tracer)
    if name in _POINTWISE:
        return tracer.pointwise(_POINTWISE[name], *given)
    if name not in _FURTHER:
        raise Untraceable(f"uses the operation {name}")
    return _FURTHER[name](eqn.params, given, tracer)


def _own(eqn, given, tracer):
    """One of JAX's own functions with a derivative of its own; those of others may mean another one."""
    inner = eqn.params.get("call_jaxpr")
    source = inner.jaxpr.debug_info if inner is not None else None
    if source is None or source.func_name not in _OWN:
        raise Untraceable("has a gradient of its own")
    if pathlib.Path(jax.__file__).parent not in pathlib.Path(source.func_filename or "").parents:
        raise Untraceable("has a gradient of its own")
    return tracer.pointwise(source.func_name, *given)


def _chosen(params, given, tracer):
    """`select_n`, which takes its first case where the condition is false."""
    if len(given) != 3:
        raise Untraceable("chooses among more than two values")
    return tracer.pointwise("select", given[0], given[2], given[1])


def _clamped(params, given, tracer):
    low, array, high = given
    return tracer.pointwise("minimum", tracer.pointwise("maximum", array, low), high)


def _integer_power(params, given, tracer):
    return tracer.pointwise("power", given[0], tracer.constant(params["y"]))


def _rounded(params, given, tracer):
    if params["rounding_method"] != jax.lax.RoundingMethod.TO_NEAREST_EVEN:
        raise Untraceable("rounds away from zero")
    return tracer.pointwise("round", given[0])


def _spread(params, given, tracer):
    shape, places = params["shape"], params["broadcast_dimensions"]

    def spread(a):
        sizes = [1] * len(shape)
        for place, size in zip(places, a.shape, strict=True):
            sizes[place] = size
        return np.broadcast_to(np.reshape(a, sizes), shape)

    return tracer.moved(spread, given[0])


def _joined(params, given, tracer):
    return tracer.moved(lambda *parts: np.concatenate(parts, params["dimension"]), *given)


def _sliced(params, given, tracer):
    strides = params["strides"] or [1] * len(params["start_indices"])
    bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    cut = tuple(slice(*each) for each in bounds)
    return tracer.moved(lambda a: a[cut], given[0])


def _split(params, given, tracer):
    places, axis = np.cumsum(params["sizes"])[:-1], params["axis"]
    return [tracer.moved(lambda a, i=i: np.split(a, places, axis)[i], given[0]) for i in range(len(params["sizes"]))]


def _unpacked(params, given, tracer):
    axis = params["axis"]
    return [tracer.moved(lambda a, i=i: np.take(a, i, axis), given[0]) for i in range(given[0].shape[axis])]


def _moving(function, key):
    """Moves the entries by a function of NumPy's that takes what a parameter says."""
    return lambda params, given, tracer: tracer.moved(lambda a: function(a, params[key]), given[0])


_FURTHER = {
    "select_n": _chosen,
    "clamp": _clamped,
    "integer_pow": _integer_power,
    "round": _rounded,
    "convert_element_type": lambda params, given, tracer: tracer.cast(given[0], np.dtype(params["new_dtype"]).kind),
    "broadcast_in_dim": _spread,
    "concatenate": _joined,
    "stack": lambda params, given, tracer: tracer.moved(lambda *parts: np.stack(parts, params["axis"]), *given),
    "unstack": _unpacked,
    "slice": _sliced,
    "split": _split,
    "reshape": _moving(np.reshape, "new_sizes"),
    "squeeze": _moving(np.squeeze, "dimensions"),
    "expand_dims": _moving(np.expand_dims, "dimensions"),
    "transpose": _moving(np.transpose, "permutation"),
    "tile": _moving(np.tile, "reps"),
}
