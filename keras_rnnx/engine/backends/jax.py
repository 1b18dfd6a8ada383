"""The JAX backend: `lax.scan`, `jax.vjp`, `jax.custom_vjp`, `jax.jit`."""

import jax
import jax.numpy as jnp
import keras
import numpy as np

from keras_rnnx.engine.backends.jax_trace import described, followed
from keras_rnnx.native import tracing

__all__ = ["described", "followed"]

NAME = "jax"
kernels = None  # for whole sequences


def compiles():
    """Whether regions are compiled, and by what."""
    return "xla"


def device():
    """The kind of device that runs the engine: `cpu`, `gpu` or `tpu`."""
    return jax.default_backend()


def scan(body, carry, slots, length=None, reverse=False, plain=False):
    """See `engine.backends`. The length is always static here."""
    del length, plain
    return jax.lax.scan(body, carry, slots, reverse=reverse)


def vjp(function, primals):
    """See `engine.backends`."""
    outputs, pull, aux = jax.vjp(function, primals, has_aux=True)
    return outputs, aux, lambda cotangents: pull(cotangents)[0]


def local_vjp(function, pull):
    """See `engine.backends`."""
    if tracing.is_on():
        return function
    call = jax.custom_vjp(function)
    call.defvjp(lambda args: (function(args), args), lambda args, dout: (pull(args, dout),))
    return call


twice = local_vjp


def custom_vjp(primal, forward, backward, save):
    """See `engine.backends`. JAX itself calls `forward` only where a gradient is wanted."""
    del save

    def forward_and_arguments(*args):
        outputs, saved = forward(*args)
        return outputs, (args, saved)

    function = jax.custom_vjp(primal)
    function.defvjp(forward_and_arguments, lambda kept, dout: (*backward(*kept, dout), None))
    return function


class Region:
    """`function` under `jax.jit`, so that an eager call runs compiled too."""

    def __init__(self, function, compiled=True):
        self._function = jax.jit(function) if compiled else function

    def __call__(self, *args):
        return self._function(*args)


def compiled(function, variables):
    """See `engine.backends`. Values of variables go in as arguments, and those that changed come out."""

    @jax.jit
    def pure(values, args):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))) as scope:
            before = dict(scope.state_mapping)
            results = function(*args)
        if scope.state_mapping.keys() != before.keys():
            raise ValueError(
                "Expected all variables that the compiled function changes in `variables`. Received: a function that "
                "changes another one"
            )
        now = {i: scope.get_current_value(v) for i, v in enumerate(variables)}
        return results, {i: value for i, value in now.items() if value is not before[id(variables[i])]}

    def call(*args):
        results, changed = pure([v.value for v in variables], args)
        for i, value in changed.items():
            variables[i].assign(value)
        return results

    return call


def matmul(left, right, dtype):
    """`left @ right` in the dtype of `right`, accumulated and returned in `dtype`.

    A matrix on the right meets all rows at once, as the gradient of the matrix takes four times as long on a CPU where
    the rows have two axes. Over several devices the axes stay apart, as one of them may be cut.
    """
    left = left.astype(right.dtype)
    if left.ndim > 2 and right.ndim == 2 and jax.device_count() == 1:
        rows = jnp.matmul(left.reshape(-1, left.shape[-1]), right, preferred_element_type=dtype)
        return rows.reshape(*left.shape[:-1], right.shape[-1])
    return jnp.matmul(left, right, preferred_element_type=dtype)


def bucket(slots, batch_first=()):
    """JAX shapes are static: nothing to pad."""
    del batch_first
    return slots, None


def now():
    """A context in which values are computed at once, also while a function is traced."""
    return jax.ensure_compile_time_eval()


def known(tensor):
    """The values of an array as a NumPy array where they are known now, else None."""
    return None if isinstance(tensor, jax.core.Tracer) else np.asarray(tensor)


def register(library, names):
    """See `engine.backends`."""
    for name in names:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return True


def elsewhere(training):
    """See `engine.backends`."""
    del training
    return "several devices" if jax.device_count() > 1 else None


def foreign(name, arguments, results, attributes):
    """See `engine.backends`."""
    shape = arguments[0].shape
    made = [jax.ShapeDtypeStruct((*(shape[axis] for axis in axes), *more), jnp.float32) for axes, more in results]
    attributes = {key: np.int64(value) if isinstance(value, int) else value for key, value in attributes.items()}
    return jax.ffi.ffi_call(name, made, vmap_method="sequential")(*arguments, **attributes)


def check_rows(batch, begun):
    """See `engine.backends`. An array is the whole batch, however its rows are spread over devices."""
    del batch, begun


def replicas(variable):
    """The variable itself."""
    return [variable]


def generators():
    """No states of random generators: what is drawn depends on seeds that are variables or arguments."""
    return []


def restore_generators(states):
    """Nothing to set."""
    del states
