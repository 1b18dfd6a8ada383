"""The tiny interface in which the three Keras backends meet.

Nothing above this package knows which backend runs. A backend module offers:

- `scan(body, carry, slots, length=None, reverse=False)`: a loop over the leading axis that returns the last carry and
  the stacked results of `body(carry, slot) -> (carry, results)`.
- `vjp(function, primals)`: `function(primals) -> (outputs, aux)`; returns `(outputs, aux, pull)`.
- `custom_vjp(primal, forward, backward, save)`: the function `primal(*args)` with its own gradient, where
  `forward(*args) -> (outputs, saved)` and `backward(args, saved, cotangents) -> (gradient, ...)`. The arguments are
  trees of arrays; the last one holds what has no gradient.
- `local_vjp(function, pull)`: the same for one operation inside a step: `function(args)`, and `pull(args, cotangents)`
  gives the gradients of `args`, one for each array (None for none).
- `Region(function, compiled)`: `function` as a compiled unit where the backend has such a thing.
- `compiled(function, variables)`: the same for a function of arrays that reads and changes Keras variables, without
  gradients.
- `matmul(left, right, dtype)`: a product accumulated in at least float32.
- `bucket(slots)`: pads a time axis of unknown length, so that a varying length compiles few programs.
- `known(tensor)`: its values where they are known now.
- `now()`: a context in which what is computed is known at once, whatever is being traced.
- `generators()` and `restore_generators(states)`: the states of its own random generators, as plain data.
- `NAME`, `compiles()`, `device()`, `fused(kind)`: what the path rule in `engine/paths.py` needs to know.
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
