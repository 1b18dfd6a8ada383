"""Models as ONNX files, run by onnxruntime."""

import onnx
import onnxruntime

import keras_rnnx


def exported(model, path):
    """A model as a function of arrays that onnxruntime runs, which returns a list; and the operators in the file."""
    keras_rnnx.export_onnx(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return (lambda *x: session.run(None, dict(zip(names, x, strict=True)))), operators(onnx.load(path).graph)


def operators(graph):
    """The names of all operators in a graph and the graphs inside it."""
    inner = [operators(a.g) for node in graph.node for a in node.attribute if a.HasField("g")]
    return {node.op_type for node in graph.node}.union(*inner)
