"""The tiny interface in which the three Keras backends meet.

Nothing above this package knows which backend runs. A backend module offers:

- `scan(body, carry, slots, length=None, reverse=False, plain=False)`: a loop over the leading axis that returns the
  last carry and the stacked results of `body(carry, slot) -> (carry, results)`. A `plain` one is for converters: some
  take results to be in the order of the steps, whatever their places, so it turns slots and results around the loop.
- `vjp(function, primals)`: `function(primals) -> (outputs, aux)`; returns `(outputs, aux, pull)`.
- `custom_vjp(primal, forward, backward, save)`: the function `primal(*args)` with its own gradient, where
  `forward(*args) -> (outputs, saved)` and `backward(args, saved, cotangents) -> (gradient, ...)`. The arguments are
  trees of arrays; the last one holds what has no gradient.
- `local_vjp(function, pull)`: the same for one operation inside a step: `function(args)`, and `pull(args, cotangents)`
  gives the gradients of `args`, one for each array (None for none).
- `twice(function, pull)`: the same where a gradient may be differentiated once more, else the function as it is.
- `Region(function, compiled)`: `function` as a compiled unit where the backend has such a thing.
- `compiled(function, variables)`: the same for a function of arrays that reads and changes Keras variables, without
  gradients.
- `matmul(left, right, dtype)`: a product accumulated in at least float32.
- `bucket(slots, batch_first)`: pads a time axis of unknown length, so that a varying length compiles few programs.
- `check_rows(batch, begun)`: raises where a batch of so many rows, cut into replicas, would meet the states of other
  rows than before; `begun` tells which rows of this replica have a state.
- `replicas(variable)`: what can be read and assigned of a Keras variable: itself, or its copies in several replicas.
- `known(tensor)`: its values where they are known now.
- `now()`: a context in which what is computed is known at once, whatever is being traced.
- `generators()` and `restore_generators(states)`: the states of its own random generators, as plain data.
- `register(library, names)`, `foreign(name, arguments, results, attributes)`: takes the library of native kernels, or
  tells that it does not fit, and calls one. Its results are float32 arrays, whose shapes are given as pairs: axes of
  the first argument, and the sizes that follow. Not on torch.
- `described(function)`: the results of a function without arguments, or their shapes alone. Not on torch.
- `followed(function, leaves, tracer)`: the results of a function of float32 arrays, a list, as the traced arrays of
  `native.tracing`, given those of its arguments. Not on torch.
- `elsewhere(training)`: why what is traced now may run where the native kernels are not, or None. Not on torch.
- `NAME`, `compiles()`, `device()`, `kernels` (its own for whole sequences, or None): what the path rule in
  `engine/paths.py` needs to know.
"""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_rnnx.engine.backends import tensorflow as backend
elif keras.backend.backend() == "jax":
    from keras_rnnx.engine.backends import jax as backend
elif keras.backend.backend() == "torch":
    from keras_rnnx.engine.backends import torch as backend
else:
    raise ValueError(
        "keras_rnnx runs on the Keras backends 'tensorflow', 'jax' and 'torch'. "
        f"Received: KERAS_BACKEND={keras.backend.backend()!r}"
    )

__all__ = ["backend"]
