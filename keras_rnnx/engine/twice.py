"""A gradient of the gradient where a native kernel computes both: the kernel itself has none."""

from keras_rnnx.engine.backends import backend


def differentiable(forward, backward, plain):
    """A kernel's ways with the derivatives of plain ones.

    Args:
        forward: `(flow, data) -> (outputs, saved)`.
        backward: `(args, saved, cotangents) -> (gradient of flow,)`, with `args` a pair of flow and data.
        plain: both as functions that the backend differentiates.

    Returns:
        Both, for `backend.custom_vjp`.
    """
    plain_forward, plain_backward = plain

    def pull_forward(args, cotangents):
        flow, data = args
        _, _, pull = backend.vjp(lambda flow: (plain_forward(flow, data)[0], ()), flow)
        return pull(cotangents[0]), None

    def pull_backward(args, dgradients):
        (flow, data), _, cotangents = args

        def gradients(given):
            flow, cotangents = given
            _, saved = plain_forward(flow, data)
            return plain_backward((flow, data), saved, cotangents), ()

        _, _, pull = backend.vjp(gradients, (flow, cotangents))
        dflow, dcotangents = pull(dgradients)
        return (dflow, None), None, dcotangents

    there = backend.twice(lambda args: forward(*args), pull_forward)
    back = backend.twice(lambda args: backward(*args), pull_backward)
    return lambda *args: there(args), lambda *args: back(args)
