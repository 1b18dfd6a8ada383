"""ONNX's own recurrent operators, as TensorFlow traces them and tf2onnx writes them.

TensorFlow has no such operation. In its graph the operator is a `PyFuncStateless`, whose inputs are the operator's and
whose token tells the rest. Nothing can run that graph; a handler registered with tf2onnx turns it into the operator.
"""

import json

import numpy as np
import tensorflow as tf
from keras import activations
from tf2onnx.handler import tf_op
from tf2onnx.utils import make_name, map_onnx_to_numpy_type

ACTIVATIONS = {
    activations.tanh: "Tanh",
    activations.sigmoid: "Sigmoid",
    activations.relu: "Relu",
    activations.softsign: "Softsign",
    activations.softplus: "Softplus",
}
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


class Operators:
    """The operators LSTM, GRU and RNN; see `engine.paths.kernels`."""

    NAME, OWNER = "onnx operator", "ONNX"
    GATES = {"lstm": "i o f g", "gru": "z r n", "rnn": "h"}
    MASKS, GRADIENTS, WALKS = True, False, False

    def lacks(self, equations, dtype, training):
        """What rules the operators out."""
        del training
        more = {name: value for name, value in equations.more.items() if name not in ("peepholes", "reset_after")}
        others = [str(activations.serialize(a)) for a in equations.activations if a not in ACTIVATIONS]
        found = [f"{name}={value!r}" for name, value in more.items()]
        found += [f"the activation {name}" for name in dict.fromkeys(others)]
        return found if dtype == "float32" else [*found, dtype]

    def run(self, equations, x, state, weights, reverse, lengths):
        """See `engine.paths.kernels`."""
        kernel, recurrent_kernel, bias, recurrent_bias, *peepholes = weights
        biases = tf.concat([bias, recurrent_bias], 0)
        given = {"X": x, "W": kernel[None], "R": recurrent_kernel[None], "B": biases[None], "sequence_lens": lengths}
        given |= {name: s[None] for name, s in zip(("initial_h", "initial_c"), state, strict=False)}
        given |= {name: p[None] for name, p in zip("P", peepholes, strict=False)}
        given = {name: tf.convert_to_tensor(a) for name, a in given.items() if a is not None}
        attributes = {
            "hidden_size": recurrent_kernel.shape[1],
            "direction": "reverse" if reverse else "forward",
            "activations": [ACTIVATIONS[a] for a in equations.activations],
        }
        if equations.kind == "gru":
            attributes["linear_before_reset"] = int("reset_after" not in equations.more)
        token = json.dumps({"operator": equations.kind.upper(), "inputs": list(given), "attributes": attributes})
        made = tf.raw_ops.PyFuncStateless(input=list(given.values()), token=token, Tout=[tf.float32] * (1 + len(state)))
        shapes = [(*x.shape[:1], 1, *state[0].shape), *((1, *s.shape) for s in state)]
        outputs, *final = [tf.ensure_shape(a, shape) for a, shape in zip(made, shapes, strict=True)]
        return tf.squeeze(outputs, 1), [tf.squeeze(s, 0) for s in final]


@tf_op("PyFuncStateless")
class RecurrentOperator:
    """What tf2onnx writes for a traced operator."""

    @classmethod
    def version_7(cls, ctx, node, **kwargs):
        """The operator of that name, its absent inputs left out."""
        told = json.loads(node.get_attr_str("token"))
        given = dict(zip(told["inputs"], node.input, strict=True))
        names = [given.get(name, "") for name in INPUTS]
        names = names[: 1 + max(i for i, name in enumerate(names) if name)]
        shapes, dtypes = node.output_shapes, node.output_dtypes
        ctx.remove_node(node.name)
        made = {"outputs": node.output, "shapes": shapes, "dtypes": dtypes}
        ctx.make_node(told["operator"], names, attr=told["attributes"], name=node.name, **made)


@tf_op("Expm1")
class Expm1:
    """What tf2onnx, which has none, writes for exp(x) - 1: exact near zero too."""

    @classmethod
    def version_7(cls, ctx, node, **kwargs):
        """2 t / (1 - t) with t = tanh(x / 2)."""
        x, dtype, shape = node.input[0], ctx.get_dtype(node.output[0]), ctx.get_shape(node.output[0])
        kind = map_onnx_to_numpy_type(dtype)
        half, one, two = (ctx.make_const(make_name("expm1"), np.array(v, kind)).output[0] for v in (0.5, 1, 2))

        def made(operator, *inputs, **more):
            return ctx.make_node(operator, inputs, shapes=[shape], dtypes=[dtype], **more).output[0]

        t = made("Tanh", made("Mul", x, half))
        ctx.remove_node(node.name)
        made("Div", made("Mul", t, two), made("Sub", one, t), name=node.name, outputs=node.output)
