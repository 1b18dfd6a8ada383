"""A case as one step that can be run and timed, on TensorFlow, JAX, torch or ONNX Runtime."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Callable

import numpy as np
from registry import CASES


@dataclasses.dataclass
class Program:
    """A built case.

    Attributes:
        run: does one step, returns when the results are on the host side: the outputs, or the loss and the gradients.
        jit: whether the step as a whole is compiled.
        parameters: the number of weights.
        model: the Keras model, or None.
    """

    run: Callable
    jit: bool
    parameters: int
    model: object = None


def data(shape, masked):
    """Fixed inputs (B, T, D) and, if masked, lengths (B,) in 1..T."""
    batch, steps, features, _ = shape
    random = np.random.default_rng(0)
    x = random.standard_normal((batch, steps, features), "float32")
    lengths = random.integers(1, steps + 1, batch) if masked else None
    return x, lengths


def build(peer, name, shape, mode, weights=None):
    """A `Program` for a peer, the name of a case, (B, T, D, H) and a mode."""
    if peer == "torch":
        return _torch_program(CASES[name], shape, mode)
    if peer == "onnx":
        return _onnx_program(CASES[name], shape)
    return _keras_program(CASES[name], peer, shape, mode, weights)


def summed(results):
    """One number out of all results, to see that they are finite."""
    if isinstance(results, (list, tuple)):
        return float(sum(summed(r) for r in results))
    return float(np.sum(np.asarray(results), dtype="float64"))


# ---- Keras ----


def _keras_program(case, peer, shape, mode, weights):
    x, lengths = data(shape, case.masked)
    inputs = [x]
    if lengths is not None:
        inputs.append(np.arange(shape[1]) < lengths[:, None])
    model = _model(case, peer, shape)
    if weights is not None:
        model.set_weights(weights)
    model.compile(loss="mse", jit_compile=True if peer.endswith("-jit") else "auto")
    run, jit = keras_step(model, inputs, mode == "train")
    return Program(run, jit, model.count_params(), model)


def _model(case, peer, shape):
    import keras

    import keras_rnnx

    _, steps, features, units = shape
    ours = peer.startswith("ours")
    made = case.ours(keras_rnnx, units) if ours else case.keras(keras.layers, units)
    inputs = [keras.Input((steps, features))]
    if case.masked:
        inputs.append(keras.Input((steps,), dtype="bool"))
    mask = {"mask": inputs[1]} if case.masked else {}
    outputs = inputs[0]
    for layer in made if isinstance(made, list) else [made]:
        outputs = layer(outputs, **mask)
    return keras.Model(inputs, outputs)


def keras_step(model, inputs, train):
    """A compiled Keras model's step on some inputs, as `fit` would run it, and whether it is all jitted."""
    import keras

    return {"tensorflow": _tensorflow_step, "jax": _jax_step}[keras.backend.backend()](model, inputs, train)


def _tensorflow_step(model, inputs, train):
    """As `fit` and `predict` trace it: by `strategy.run`, batch size unknown, the rest known; jit as the model says."""
    import tensorflow as tf
    from keras import ops

    variables = [v.value for v in model.trainable_variables]

    def step(*inputs):
        if not train:
            return model(list(inputs), training=False)
        with tf.GradientTape() as tape:
            loss = ops.mean(ops.square(model(list(inputs), training=True)))
        return loss, *tape.gradient(loss, variables)

    jit = bool(model.jit_compile)
    function = tf.function(
        lambda *inputs: tf.distribute.get_strategy().run(step, inputs),
        input_signature=[tf.TensorSpec((None, *a.shape[1:]), a.dtype) for a in inputs],
        jit_compile=True if jit else None,
        autograph=False,
    )
    tensors = [tf.constant(a) for a in inputs]

    def run():
        results = function(*tensors)
        return [np.asarray(r) for r in (results if train else [results])]

    return run, jit


def _jax_step(model, inputs, train):
    """As `fit` compiles it: everything in one `jax.jit`."""
    import jax
    from keras import ops

    trainable = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]

    def outputs(trainable, others, inputs):
        return model.stateless_call(trainable, others, inputs, training=train)[0]

    def loss_and_gradients(trainable, others, inputs):
        def loss(trainable):
            return ops.mean(ops.square(outputs(trainable, others, inputs)))

        value, gradients = jax.value_and_grad(loss)(trainable)
        return value, *gradients

    function = jax.jit(loss_and_gradients if train else outputs)
    arrays = [jax.device_put(a) for a in inputs]

    def run():
        results = jax.block_until_ready(function(trainable, others, arrays))
        return list(results) if train else [results]

    return run, True


# ---- torch ----


def _torch_program(case, shape, mode):
    """Eager, as torch users run it; masked sequences are packed."""
    import torch

    inputs, lengths = data(shape, case.masked)
    x = torch.from_numpy(inputs)
    lengths = None if lengths is None else torch.from_numpy(lengths)
    _, steps, features, units = shape
    torch.manual_seed(0)
    module = case.torch(torch.nn, features, units)
    weights = list(module.parameters())
    rnn = torch.nn.utils.rnn

    def outputs():
        if lengths is None:
            return module(x)[0]
        packed = rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return rnn.pad_packed_sequence(module(packed)[0], batch_first=True, total_length=steps)[0]

    def train():
        loss = outputs().square().mean()
        return [loss.detach(), *torch.autograd.grad(loss, weights)]

    def infer():
        with torch.inference_mode():
            return [outputs()]

    return Program(train if mode == "train" else infer, jit=False, parameters=sum(w.numel() for w in weights))


# ---- ONNX Runtime ----


def _onnx_program(case, shape):
    """Our layer as ONNX's own operator, at inference, with the settings that a session has by default."""
    import onnxruntime

    import keras_rnnx

    x, _ = data(shape, masked=False)
    model = _model(case, "ours", shape)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.onnx"
        keras_rnnx.export_onnx(model, path)
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return Program(lambda: session.run(None, {given.name: x}), jit=False, parameters=model.count_params(), model=model)
