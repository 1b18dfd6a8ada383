"""The TensorFlow backend: `tf.while_loop` inside a region that XLA compiles.

A region is one `tf.function(jit_compile=True)` whose arguments and results are dense tensors. It compiles inside
whatever surrounds it (eager code, a graph, a model compiled as a whole). No gradient is taken through it: forward and
backward are two regions joined by `tf.custom_gradient`, so no TensorList ever crosses an edge.
"""

import ctypes
import pathlib

import tensorflow as tf
from keras import tree
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.ops import control_flow_util

from keras_rnnx.engine.backends.tensorflow_trace import described, followed
from keras_rnnx.native import stablehlo, tracing

__all__ = ["described", "followed"]

NAME = "tensorflow"
kernels = None  # for whole sequences


def compiles():
    """Whether regions are compiled, and by what."""
    return "xla"


def device():
    """The kind of device that runs the engine: `cpu` or `gpu`."""
    return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"


def scan(body, carry, slots, length=None, reverse=False, plain=False):
    """See `engine.backends`. With `length`, a scalar, only the first `length` slots are visited."""
    if plain and reverse:
        carry, results = scan(body, carry, _turned(slots), length)
        return carry, _turned(results)
    flat_slots = tree.flatten(slots)
    flat_carry = [tf.convert_to_tensor(c) for c in tree.flatten(carry)]
    size = flat_slots[0].shape[0]
    size = tf.shape(flat_slots[0])[0] if size is None else size
    steps = size if length is None else length
    structure = {}

    def flat_body(carry_now, slot):
        new, results = body(tree.pack_sequence_as(carry, carry_now), tree.pack_sequence_as(slots, slot))
        structure["results"] = results
        return tree.flatten(new), tree.flatten(results)

    traced = tf.function(flat_body, autograph=False).get_concrete_function(
        [tf.TensorSpec(c.shape, c.dtype) for c in flat_carry],
        [tf.TensorSpec(s.shape[1:], s.dtype) for s in flat_slots],
    )
    specs = traced.structured_outputs[1]
    arrays = [tf.TensorArray(s.dtype, size, element_shape=s.shape) for s in specs]

    def step(i, carry_now, arrays):
        t = steps - 1 - i if reverse else i
        new, results = traced(carry_now, [s[t] for s in flat_slots])
        for now, start in zip(new, flat_carry, strict=True):
            now.set_shape(start.shape)
        arrays = [a.write(t, r) for a, r in zip(arrays, results, strict=True)]
        return i + 1, new, arrays

    _, flat_carry, arrays = tf.while_loop(
        lambda i, *_: i < steps,
        step,
        (0, flat_carry, arrays),
        maximum_iterations=size,
        parallel_iterations=1,
    )
    results = tree.pack_sequence_as(structure["results"], [a.stack() for a in arrays])
    return tree.pack_sequence_as(carry, list(flat_carry)), results


def _turned(slots):
    return tree.map_structure(lambda a: tf.reverse(a, [0]), slots)


def vjp(function, primals):
    """See `engine.backends`."""
    flat = [tf.identity(p) for p in tree.flatten(primals)]
    with tf.GradientTape() as tape:
        tape.watch(flat)
        outputs, aux = function(tree.pack_sequence_as(primals, flat))

    def pull(cotangents):
        gradients = tape.gradient(
            tree.flatten(outputs),
            flat,
            output_gradients=tree.flatten(cotangents),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return tree.pack_sequence_as(primals, gradients)

    return outputs, aux, pull


def local_vjp(function, pull):
    """See `engine.backends`."""
    if tracing.is_on():
        return function

    def call(args):
        structure = {}

        @tf.custom_gradient
        def run(*flat):
            args_now = tree.pack_sequence_as(args, list(flat))
            outputs = structure["outputs"] = function(args_now)

            def gradient(*cotangents):
                cotangents = tree.pack_sequence_as(outputs, list(cotangents))
                return tree.flatten(pull(args_now, cotangents))

            return [tf.identity(o) for o in tree.flatten(outputs)], gradient

        outputs = run(*tree.flatten(args))
        return tree.pack_sequence_as(structure["outputs"], list(outputs))

    return call


def twice(function, pull):
    """See `engine.backends`. No gradient is differentiated once more here: see `_once`."""
    del pull
    return function


def custom_vjp(primal, forward, backward, save):
    """See `engine.backends`.

    TensorFlow does not say whether a gradient will be asked for, so `save` does: without it the forward pass stores
    nothing and a gradient, should one be wanted all the same, runs it again.
    """

    def call(*args):
        structure = {}

        def pull(saved, cotangents, *flat):
            args_now = tree.pack_sequence_as(args, list(flat))
            saved = saved if save else forward(*args_now)[1]
            cotangents = tree.pack_sequence_as(structure["outputs"], list(cotangents))
            return tree.flatten(backward(args_now, saved, cotangents))

        @tf.custom_gradient
        def run(*flat):
            flat = [tf.stop_gradient(a) for a in flat]  # no tape may look into a region
            args_now = tree.pack_sequence_as(args, flat)
            outputs, saved = forward(*args_now) if save else (primal(*args_now), None)
            structure["outputs"] = outputs

            def gradient(*cotangents):
                gradients = _once(pull, saved, cotangents, flat)
                return [*gradients, *[None] * len(tree.flatten(args[-1]))]

            return tree.flatten(outputs), gradient

        flat = [tf.convert_to_tensor(a) for a in tree.flatten(args)]
        outputs = run(*flat)
        return tree.pack_sequence_as(structure["outputs"], list(outputs))

    return call


def _once(pull, saved, cotangents, flat):
    """The gradients by `pull`, which refuse to be differentiated once more."""
    count = len(cotangents)

    @tf.custom_gradient
    def run(*values):
        values = [tf.stop_gradient(v) for v in values]

        def again(*_):
            raise NotImplementedError(
                "Expected a first-order gradient: the compiled engine on TensorFlow has no second-order gradient. "
                "Use the JAX backend for that. Received: a gradient of a gradient"
            )

        return pull(saved, values[:count], *values[count:]), again

    return run(*cotangents, *flat)


class Region:
    """`function` as one XLA program for each set of shapes, or, where XLA may not be used, as a plain graph."""

    def __init__(self, function, compiled=True):
        self._function = function
        self._compiled = compiled
        self._graph = tf.function(function, jit_compile=compiled or None, autograph=False, reduce_retracing=True)

    def __call__(self, *args):
        if tf.inside_function() and not self._compiled:
            return self._function(*args)
        return self._graph(*args)


def compiled(function, variables):
    """See `engine.backends`. A graph reads and changes variables by itself."""
    del variables
    return Region(function)


def matmul(left, right, dtype):
    """`left @ right` in the dtype of `right`, returned in `dtype`; a matrix on the right meets all rows at once."""
    left = tf.cast(left, right.dtype)
    if len(left.shape) > 2 and len(right.shape) == 2:
        rows = tf.matmul(tf.reshape(left, (-1, left.shape[-1])), right)
        product = tf.reshape(rows, tf.concat([tf.shape(left)[:-1], right.shape[-1:]], 0))
        product.set_shape((*left.shape[:-1], right.shape[-1]))
    else:
        product = tf.matmul(left, right)
    return tf.cast(product, dtype)


def bucket(slots, batch_first=()):
    """Pads a time axis of unknown length to the next of a few lengths, four to an octave.

    Args:
        slots: a dict of trees of arrays whose first axis is time; time is the second in those that `batch_first` names.

    Returns:
        The padded slots and the true length, a scalar; or the slots and None where the length is static.
    """
    key, *_ = (key for key in slots if tree.flatten(slots[key]))
    first, axis = tree.flatten(slots[key])[0], int(key in batch_first)
    if first.shape[axis] is not None and tf.inside_function():
        return slots, None
    length = tf.shape(first)[axis]
    grains = tf.constant([2**k for k in range(20)])
    grain = tf.reduce_max(tf.where(4 * grains < length, grains, 1))
    extra = -length % grain

    def pad(a, axis):
        return tf.pad(a, [[0, extra if i == axis else 0] for i in range(len(a.shape))])

    def padded(key):
        return tree.map_structure(lambda a: pad(a, int(key in batch_first)), slots[key])

    return {key: padded(key) for key in slots}, length


def now():
    """A context in which values are computed at once, also while a graph is made."""
    return tf.init_scope()


def known(tensor):
    """The values of a tensor as a NumPy array where they are known now, else None."""
    return tensor.numpy() if hasattr(tensor, "numpy") else None


def register(library, names):
    """See `engine.backends`. TensorFlow has a table of handlers of its own, which takes all at once."""
    del names
    framework = ctypes.CDLL(str(next(pathlib.Path(tf.sysconfig.get_lib()).glob("libtensorflow_framework.*"))))
    framework.XLA_FFI_GetApi.restype = ctypes.c_void_p
    library.rnnx_register.argtypes = [ctypes.c_void_p]
    return bool(library.rnnx_register(framework.XLA_FFI_GetApi()))


_NO_STEP = tf.distribute.get_replica_context()  # what it is outside `strategy.run`


def elsewhere(training):
    """See `engine.backends`. A graph for inference may be one that is being exported.

    Not where XLA compiles it at once, and not a step of `evaluate` or `predict`, which Keras gives to `strategy.run`,
    also of the default strategy; an export does not.
    """
    if tf.distribute.has_strategy():
        return "a distribution strategy"
    compiled = control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())
    step = tf.distribute.get_replica_context() is not _NO_STEP
    if not training and tf.inside_function() and not compiled and not step:
        return "a graph for inference, which may be saved"
    return None


def foreign(name, arguments, results, attributes):
    """See `engine.backends`. Axes of unknown size get theirs when the module is compiled."""
    dtypes = {tf.float32: "f32", tf.int32: "i32", tf.bool: "i1"}
    shape = arguments[0].shape
    return xla.call_module(
        arguments,
        version=9,
        module=stablehlo.module(name, [(a.shape, dtypes[a.dtype]) for a in arguments], results, attributes),
        Tout=[tf.float32] * len(results),
        Sout=[(*(shape[axis] for axis in axes), *sizes) for axes, sizes in results],
        platforms=["CPU"],
        disabled_checks=[f"custom_call:{name}"],
    )


def check_rows(batch, begun):
    """See `engine.backends`. Fails as the graph runs, since a strategy cuts a batch only then."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return
    count = tf.math.count_nonzero(begun, dtype="int32")
    message = (
        "Expected batches of one size in a stateful layer under a tf.distribute strategy, where each replica keeps the "
        "states of its own rows: drop the remainder, or call `reset_state()` before another size. Received, in a "
        "replica, rows with a state and rows of the batch:"
    )
    tf.debugging.Assert((count == 0) | (count == batch), [message, count, batch])


def replicas(variable):
    """The variable itself, or, made under a strategy, the copies that the replicas of this process have."""
    value = variable.value
    if not isinstance(value, tf.distribute.DistributedValues):
        return [variable]
    return list(value.distribute_strategy.experimental_local_results(value))


def generators():
    """No states of random generators: what is drawn depends on seeds that are variables or arguments."""
    return []


def restore_generators(states):
    """Nothing to set."""
    del states
