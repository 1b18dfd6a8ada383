"""The torch backend: the loop in Python, gradients by `torch.autograd`, and torch's own fused kernels."""

import contextlib

import torch
from keras import activations, ops, tree

from keras_rnnx.engine.backends.unrolled import scan
from keras_rnnx.engine.orders import TORCH_GATES

__all__ = [
    "NAME", "Region", "bucket", "check_rows", "compiled", "compiles", "custom_vjp", "device", "generators", "kernels",
    "known", "local_vjp", "matmul", "now", "replicas", "restore_generators", "scan", "vjp",
]  # fmt: skip

NAME = "torch"


def compiles():
    """Whether regions are compiled, and by what."""
    return None


def device():
    """The kind of device that runs the engine: `cpu` or `gpu`."""
    return "gpu" if torch.cuda.is_available() else "cpu"


class Kernels:
    """Torch's kernels for whole sequences; see `engine.paths.kernels`."""

    NAME, OWNER = "torch fused", "torch"
    GATES = TORCH_GATES
    MASKS, GRADIENTS, WALKS = False, True, False
    KERNELS = {
        ("lstm", activations.sigmoid, activations.tanh, activations.tanh): torch.lstm,
        ("gru", activations.sigmoid, activations.tanh): torch.gru,
        ("rnn", activations.tanh): torch.rnn_tanh,
        ("rnn", activations.relu): torch.rnn_relu,
    }

    def lacks(self, equations, dtype, training):
        """What rules the kernels out."""
        del dtype, training
        return equations.beyond(self.KERNELS)

    def run(self, equations, x, state, weights, reverse, lengths):
        """See `engine.paths.kernels`."""
        del lengths
        kernel = self.KERNELS[equations.kind, *equations.activations]
        state = [s[None].contiguous() for s in state]
        start = state if equations.kind == "lstm" else state[0]
        x = x.flip(0) if reverse else x
        outputs, *final = kernel(x, start, list(weights), True, 1, 0.0, False, False, False)
        return outputs.flip(0) if reverse else outputs, [s[0] for s in final]


kernels = Kernels()


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


def bucket(slots, batch_first=()):
    """Torch shapes are static: nothing to pad."""
    del batch_first
    return slots, None


def now():
    """A context in which values are computed at once, as they always are."""
    return contextlib.nullcontext()


def known(tensor):
    """The values of a tensor as a NumPy array."""
    return tensor.detach().cpu().numpy()


def check_rows(batch, begun):
    """See `engine.backends`. Nothing cuts a batch here."""
    del batch, begun


def replicas(variable):
    """The variable itself."""
    return [variable]


def generators():
    """The states of torch's random generators, as plain data: that of the CPU, then those of the GPUs."""
    return [state.tolist() for state in (torch.get_rng_state(), *torch.cuda.get_rng_state_all())]


def restore_generators(states):
    """Sets torch's random generators, as far as this machine has the GPUs, to what `generators` has told."""
    cpu, *gpus = [torch.tensor(state, dtype=torch.uint8) for state in states]
    torch.set_rng_state(cpu)
    torch.cuda.set_rng_state_all(gpus[: torch.cuda.device_count()])
