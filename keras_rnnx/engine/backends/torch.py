"""The torch backend: the loop in Python, gradients by `torch.autograd`, and torch's own fused kernels."""

import contextlib

import torch
from keras import ops, tree

from keras_rnnx.engine.backends.unrolled import scan

__all__ = [
    "NAME", "Region", "bucket", "compiled", "compiles", "custom_vjp", "device", "fused", "generators", "known",
    "local_vjp", "matmul", "now", "restore_generators", "scan", "vjp",
]  # fmt: skip

NAME = "torch"


def compiles():
    """Whether regions are compiled, and by what."""
    return None


def device():
    """The kind of device that runs the engine: `cpu` or `gpu`."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def fused(kind):
    """The backend's own kernel for a whole sequence, or None.

    Args:
        kind: `lstm`, `gru` (reset after), `rnn_tanh` or `rnn_relu`.

    Returns:
        A function `(x (T, B, D), states, kernel (G*H, D), recurrent_kernel (G*H, H), bias, recurrent_bias)`
        that returns the outputs (T, B, H) and the list of final states.
    """
    kernel = {
        "lstm": torch.lstm,
        "gru": torch.gru,
        "rnn_tanh": torch.rnn_tanh,
        "rnn_relu": torch.rnn_relu,
    }[kind]

    def run(x, states, *weights):
        states = [s[None].contiguous() for s in states]
        start = states if kind == "lstm" else states[0]
        outputs, *final = kernel(x, start, list(weights), True, 1, 0.0, False, False, False)
        return outputs, [s[0] for s in final]

    return run


def vjp(function, primals):
    """See `engine.backends`."""
    flat = [p.detach().requires_grad_() for p in tree.flatten(primals)]
    with torch.enable_grad():
        outputs, aux = function(tree.pack_sequence_as(primals, flat))

    def pull(cotangents):
        pairs = [
            (o, c) for o, c in zip(tree.flatten(outputs), tree.flatten(cotangents), strict=True) if o.requires_grad
        ]
        gradients = [None] * len(flat)
        if pairs:
            ends, cotangents = zip(*pairs, strict=True)
            gradients = torch.autograd.grad(ends, flat, cotangents, allow_unused=True)
        zeroed = [torch.zeros_like(p) if g is None else g for p, g in zip(flat, gradients, strict=True)]
        return tree.pack_sequence_as(primals, zeroed)

    detached = tree.map_structure(lambda a: a.detach(), (outputs, aux))
    return *detached, pull


def local_vjp(function, pull):
    """See `engine.backends`."""
    call = custom_vjp(
        lambda args, _: function(args),
        lambda args, _: (function(args), ()),
        lambda args, _, cotangents: (pull(args[0], cotangents),),
        save=True,
    )
    return lambda args: call(args, ())


def custom_vjp(primal, forward, backward, save):
    """See `engine.backends`. Saves what the gradient needs only while torch records one."""
    del save

    def call(*args):
        flat = tree.flatten(args)
        if not (torch.is_grad_enabled() and any(a.requires_grad for a in flat)):
            return primal(*args)
        structure = {}

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *flat):
                ctx.args = tree.pack_sequence_as(args, flat)
                outputs, ctx.saved = forward(*ctx.args)
                # Without tensors: they would hold their own gradient function, a cycle that is never freed.
                structure["outputs"] = tree.map_structure(lambda _: 0, outputs)
                return tuple(tree.flatten(outputs))

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx, *cotangents):
                cotangents = tree.pack_sequence_as(structure["outputs"], cotangents)
                gradients = tree.flatten(backward(ctx.args, ctx.saved, cotangents))
                return (*gradients, *[None] * len(tree.flatten(args[-1])))

        flat = Function.apply(*flat)
        return tree.pack_sequence_as(structure["outputs"], list(flat))

    return call


class Region:
    """`function` as it is: eager torch has no compiled regions."""

    def __init__(self, function, compiled=True):
        del compiled
        self._function = function

    def __call__(self, *args):
        return self._function(*args)


def compiled(function, variables):
    """See `engine.backends`: nothing is compiled here."""
    del variables

    @torch.no_grad()
    def call(*args):
        return function(*tree.map_structure(lambda a: None if a is None else ops.convert_to_tensor(a), args))

    return call


def matmul(left, right, dtype):
    """`left @ right` in the dtype of `right`, returned in `dtype`."""
    return ops.cast(torch.matmul(left.to(right.dtype), right), dtype)


def bucket(slots):
    """Torch shapes are static: nothing to pad."""
    return slots, None


def now():
    """A context in which values are computed at once, as they always are."""
    return contextlib.nullcontext()


def known(tensor):
    """The values of a tensor as a NumPy array."""
    return tensor.detach().cpu().numpy()


def generators():
    """The states of torch's random generators, as plain data: that of the CPU, then those of the GPUs."""
    return [state.tolist() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]


def restore_generators(states):
    """Sets torch's random generators to what `generators` has told."""
    cpu, *gpus = [torch.tensor(state, dtype=torch.uint8) for state in states]
    torch.set_rng_state(cpu)
    torch.cuda.set_rng_state_all(gpus)
