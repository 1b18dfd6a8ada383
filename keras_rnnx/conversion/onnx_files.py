"""Models as ONNX files."""

from pathlib import Path

import keras

from keras_rnnx.engine import paths
from keras_rnnx.engine.backends import backend
from keras_rnnx.inspection import layers_of


def export_onnx(model, path, input_signature=None, opset_version=None):
    """Writes a model as an ONNX file; needs the TensorFlow backend, and the extra `onnx`.

    `LSTM`, `GRU`, `VanillaRNN` and `PeepholeLSTM` become ONNX's own operators LSTM, GRU and RNN, also with masks, read
    backwards, and in `Bidirectional` or `DeepRNN`; other layers, and options that the operators lack, become loops of
    plain operations. Batch and time stay open where the inputs leave them open.

    Args:
        model: a Keras model.
        path: the file to write.
        input_signature: as in Keras' `model.export`. Default: the inputs of a functional model, else the shapes of the
            last call.
        opset_version: int, the version of ONNX's operators. Default: that of tf2onnx.

    Raises:
        ValueError: if the backend is another one, if a layer carries states from call to call, which a file cannot, or
            if the model has an operation that tf2onnx cannot write.

    Example:
        ```python
        model = keras.Sequential([keras.Input((None, 3)), keras_rnnx.LSTM(4)])
        keras_rnnx.export_onnx(model, "model.onnx")
        ```
    """
    if backend.NAME != "tensorflow":
        raise ValueError(
            "Expected the TensorFlow backend, on which a saved model can be loaded whatever wrote it. "
            f"Received: KERAS_BACKEND={backend.NAME}"
        )
    if not isinstance(model, keras.Model):
        raise ValueError(f"Expected a Keras model. Received: {model!r} of type {type(model).__name__}")
    stateful = [layer.name for layer in layers_of(model) if getattr(layer, "stateful", False)]
    if stateful:
        raise ValueError(
            "Expected layers that carry no states from call to call: let them go in and come out, with `initial_state` "
            f"and `return_state`. Received: stateful=True in {', '.join(stateful)}"
        )
    import onnx

    from keras_rnnx.engine.backends import onnx_operators

    inputs = getattr(model, "inputs", None)
    if input_signature is None and inputs:
        input_signature = inputs if len(inputs) == 1 else [inputs]
    with paths.traced_for(onnx_operators.Operators()):
        model.export(path, format="onnx", verbose=False, input_signature=input_signature, opset_version=opset_version)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        Path(path).unlink()
        raise ValueError(f"Expected operations that tf2onnx can write. Received: {error}") from error
