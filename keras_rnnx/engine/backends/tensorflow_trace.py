"""A step's graph in TensorFlow, followed operation by operation: see `native.program`."""

import numpy as np
import tensorflow as tf

from keras_rnnx.native import tracing
from keras_rnnx.native.formulas import OPERATIONS, Untraceable

_POINTWISE = {
    **{name.capitalize(): name for name in OPERATIONS},
    **{"Neg": "negative", "Abs": "absolute", "AddV2": "add", "Sub": "subtract", "Mul": "multiply", "RealDiv": "divide"},
    **{"LessEqual": "less_equal", "SelectV2": "select", "Greater": "greater", "GreaterEqual": "greater_equal"},
    **{"NotEqual": "not_equal", "LogicalAnd": "and", "LogicalOr": "or", "LogicalNot": "not", "Pow": "power"},
    **{"Square": "square", "SquaredDifference": "squared_difference", "Rsqrt": "rsqrt", "Reciprocal": "reciprocal"},
    **{"Inv": "reciprocal", "Rint": "round", "Ceil": "ceil", "Expm1": "expm1", "Softplus": "softplus", "Relu": "relu"},
    **{"Relu6": "relu6", "Elu": "elu", "Selu": "selu", "Softsign": "softsign", "StopGradient": "stop"},
    **{"Identity": "identity", "BiasAdd": "add"},
}
del _POINTWISE["Select"]  # whose condition may be of another shape


def described(function):
    """See `engine.backends`. Computing them is quicker than tracing a function."""
    with tf.init_scope():
        return function()


def followed(function, leaves, tracer):
    """See `engine.backends`."""
    with tf.init_scope(), tracing.on():
        made = tf.function(lambda *args: function(*args), autograph=False)
        graph = made.get_concrete_function(*[tf.TensorSpec(leaf.shape, "float32") for leaf in leaves]).graph
    names = [tensor.name for tensor in graph.inputs[: len(leaves)]]
    found = dict(zip(names, leaves, strict=True))
    for outside, inside in graph.captures:
        value = tf.get_static_value(outside)
        if value is None:
            raise Untraceable("reads an array from outside")
        found[inside.name] = tracer.constant(value)
    for op in _needed(graph.outputs):
        if op.type == "Placeholder":
            continue
        given = [found[tensor.name] for tensor in op.inputs]
        for tensor, array in zip(op.outputs, _follow(op, given, tracer), strict=True):
            tracer.check(array, tensor.dtype.name, op.type not in _POINTWISE)
            found[tensor.name] = array
    return [found[tensor.name] for tensor in graph.outputs]


def _needed(outputs):
    """The operations that tensors depend on, in the order of the graph."""
    needed, waiting = set(), [tensor.op for tensor in outputs]
    while waiting:
        op = waiting.pop()
        if op not in needed:
            needed.add(op)
            waiting += [tensor.op for tensor in op.inputs]
    return [op for op in outputs[0].graph.get_operations() if op in needed] if outputs else []


def _follow(op, given, tracer):
    """The outputs of one operation, a list."""
    if "_gradient_op_type" in op.node_def.attr and not _is_silu(op, given, tracer):
        raise Untraceable("has a gradient of its own")
    if op.type in _POINTWISE:
        return [tracer.pointwise(_POINTWISE[op.type], *given)]
    if op.type not in _FURTHER:
        raise Untraceable(f"uses the operation {op.type}")
    made = _FURTHER[op.type](op, given, tracer)
    return made if isinstance(made, list) else [made]


def _is_silu(op, given, tracer):
    """Whether an `IdentityN` is that of `tf.nn.silu`, whose own gradient is the usual one."""
    f = tracer.formulas

    def is_silu(node):
        name, operands = f.nodes[node]
        return name == "multiply" and any(f("silu", a) == node for a in operands)

    return op.type == "IdentityN" and all(is_silu(int(node)) for node in np.unique(given[0].nodes))


def _integers(array, tracer):
    return [int(n) for n in tracer.known(array).flat]


def _constant(op, given, tracer):
    return tracer.constant(tf.get_static_value(op.outputs[0]))


def _shaped(op, given, tracer):
    """A change of shape, to the one that the graph says."""
    shape = tuple(op.outputs[0].shape)
    return tracer.moved(lambda a: np.reshape(a, shape), given[0])


def _spread(op, given, tracer):
    shape = tuple(op.outputs[0].shape)
    return tracer.moved(lambda a: np.broadcast_to(a, shape), given[-1 if op.type == "Fill" else 0])


def _like(op, given, tracer):
    return tracer.constant(np.full(given[0].shape, op.type == "OnesLike"))


def _cast(op, given, tracer):
    to, was = (op.get_attr(name) for name in ("DstT", "SrcT"))
    return tracer.cast(given[0], "f" if was == tf.bool else np.dtype(to.as_numpy_dtype).kind)


def _joined(op, given, tracer):
    axis = _integers(given[-1], tracer)[0]
    return tracer.moved(lambda *parts: np.concatenate(parts, axis), *given[:-1])


def _packed(op, given, tracer):
    return tracer.moved(lambda *parts: np.stack(parts, op.get_attr("axis")), *given)


def _unpacked(op, given, tracer):
    axis = op.get_attr("axis")
    return [tracer.moved(lambda a, i=i: np.take(a, i, axis), given[0]) for i in range(op.get_attr("num"))]


def _split(op, given, tracer):
    if op.type == "Split":
        (axis,), array, places = _integers(given[0], tracer), given[1], op.get_attr("num_split")
    else:
        array, (axis,) = given[0], _integers(given[2], tracer)
        places = np.cumsum(_integers(given[1], tracer))[:-1]
    return [tracer.moved(lambda a, i=i: np.split(a, places, axis)[i], array) for i in range(len(op.outputs))]


def _sliced(op, given, tracer):
    begin, size = (_integers(a, tracer) for a in given[1:])
    cut = tuple(slice(b, None if n < 0 else b + n) for b, n in zip(begin, size, strict=True))
    return tracer.moved(lambda a: a[cut], given[0])


def _indexed(op, given, tracer):
    """`StridedSlice`: an index of NumPy's, with a bit for each entry that is more than begin, end and stride."""

    def bit(name, i):
        return op.get_attr(f"{name}_mask") >> i & 1

    index = []
    for i, (begin, end, stride) in enumerate(zip(*[_integers(a, tracer) for a in given[1:]], strict=True)):
        if bit("ellipsis", i):
            index.append(...)
        elif bit("new_axis", i):
            index.append(None)
        elif bit("shrink_axis", i):
            index.append(begin)
        else:
            index.append(slice(None if bit("begin", i) else begin, None if bit("end", i) else end, stride))
    return tracer.moved(lambda a: a[tuple(index)], given[0])


def _tiled(op, given, tracer):
    times = _integers(given[1], tracer)
    return tracer.moved(lambda a: np.tile(a, times), given[0])


def _turned(op, given, tracer):
    axes = _integers(given[1], tracer)
    return tracer.moved(lambda a: np.transpose(a, axes), given[0])


def _sum(op, given, tracer):
    total, *rest = given
    for more in rest:
        total = tracer.pointwise("add", total, more)
    return total


def _leaky(op, given, tracer):
    return tracer.pointwise("leaky_relu", given[0], tracer.constant(op.get_attr("alpha")))


_FURTHER = {
    "Const": _constant,
    "Shape": _constant,
    "IdentityN": lambda op, given, tracer: list(given),
    **dict.fromkeys(("Reshape", "ExpandDims", "Squeeze"), _shaped),
    **dict.fromkeys(("BroadcastTo", "Fill"), _spread),
    **dict.fromkeys(("ZerosLike", "OnesLike"), _like),
    **dict.fromkeys(("Split", "SplitV"), _split),
    "Cast": _cast,
    "ConcatV2": _joined,
    "Pack": _packed,
    "Unpack": _unpacked,
    "Slice": _sliced,
    "StridedSlice": _indexed,
    "Tile": _tiled,
    "Transpose": _turned,
    "AddN": _sum,
    "LeakyRelu": _leaky,
}
