"""A matrix memory step by step, by a native kernel: what `engine.memory` does chunk by chunk; see there.

A loop of a compiler over single steps is slow, as it reads and writes the memory as an array at each. A kernel keeps it
in the nearest cache, does no more than the equations, and stores nothing for the way back.
"""

import functools

from keras import ops

from keras_rnnx.engine import masks, memory
from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.twice import differentiable
from keras_rnnx.native import memory as native

# The memories that it knows, themselves alone, and what it takes of their parts.
WALKED = dict.fromkeys((memory.ScalarDecay, memory.VectorDecay), ("q", "k", "v", "log_decay"))
WALKED[memory.DeltaRule] = ("q", "k", "v", "log_decay", "beta")


class StepwiseMemory:
    """Walks memories, and differentiates the walk."""

    @functools.cached_property
    def _walk(self):
        forward, backward = (backend.Region(way) for way in (native.forward, native.backward))
        primal = backend.Region(lambda flow, data: native.forward(flow, data)[0])
        return backend.custom_vjp(primal, *differentiable(forward, backward, (_loop, _loop_back)), save=True)

    def run(self, kind, parts, state, flags):
        """What is read at each step, and the last memory.

        Args:
            kind: one of `WALKED`.
            parts: dict, among other things of `q`, `k` (T, B, heads, K), `v` (T, B, heads, V), `log_decay` (T, B,
                heads) or one for each key, and by the delta rule `beta` (T, B, heads). At masked steps all but `v` are
                zero.
            state: the memory (B, heads, K, V) before the first step.
            flags: dict, perhaps with `reset` (T, B) and `cut` (T,), bool.

        Returns:
            (T, B, heads, V) and (B, heads, K, V).
        """
        flags = {name: flags[name] for name in ("reset", "cut") if name in flags}
        slots, length = backend.bucket({**{name: parts[name] for name in WALKED[kind]}, **flags})
        data = {name: slots.pop(name) for name in flags}
        made = self._walk({**slots, "state": state}, data)
        return made["y"] if length is None else made["y"][:length], made["final"]


def _loop(flow, data):
    """The equations, for the gradient of a gradient."""

    def step(memory, slot):
        if "cut" in slot:
            memory = ops.where(slot["cut"], ops.stop_gradient(memory), memory)
        if "reset" in slot:
            memory = ops.where(masks.rows(slot["reset"], memory), ops.zeros_like(memory), memory)
        decay = ops.exp(slot["log_decay"])[..., None]
        kept = memory * (decay if len(decay.shape) == len(memory.shape) else decay[..., None])
        w = slot["v"]
        if "beta" in slot:
            w = slot["beta"][..., None] * (w - ops.einsum("bnkv,bnk->bnv", kept, slot["k"]))
        memory = kept + slot["k"][..., :, None] * w[..., None, :]
        return memory, ops.einsum("bnkv,bnk->bnv", memory, slot["q"])

    slots = {name: a for name, a in flow.items() if name != "state"}
    final, y = backend.scan(step, flow["state"], {**slots, **data})
    return {"y": y, "final": final}, {}


def _loop_back(args, saved, cotangents):
    del saved
    flow, data = args
    _, _, pull = backend.vjp(lambda flow: (_loop(flow, data)[0], ()), flow)
    return (pull(cotangents),)
