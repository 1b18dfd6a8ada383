"""A function as one compiled region whose gradient computes it again rather than keep what is inside."""

from keras_rnnx.engine.backends import backend


def recomputed(function):
    """`function(flow, data)` of trees of arrays, where `data` has no gradient, compiled forwards and backwards.

    For wide elementwise work between products: outside a region each operation would write its result to memory, and
    keep it for the gradient.
    """

    def gradient(flow, data, cotangents):
        _, _, pull = backend.vjp(lambda flow: (function(flow, data), ()), flow)
        return pull(cotangents)

    forward, backward = backend.Region(function), backend.Region(gradient)
    return backend.custom_vjp(
        forward,
        lambda flow, data: (forward(flow, data), ()),
        lambda args, _, cotangents: (backward(*args, cotangents),),
        save=True,
    )
