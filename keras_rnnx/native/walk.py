"""The engine's walk by a native kernel: the same arguments and results as the compiled loop of `engine.sequential`."""

import numpy as np
from keras import tree

from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.segment import Asked, kind_of

# The bits of `flags`, as in src/ffi.cpp.
BIAS, MASK, RESET, KEEP, KEEP_EACH_STEP, DRAWS, SAVE, REVERSE, LENGTH = (1 << i for i in range(9))

STEPS, STATE, VECTOR = (0, 1, 2), (1, 2), (2,)  # shapes as axes of the first argument, (T, B, H)


def forward(engine, walk, flow, data, save=True):
    """The outputs, and with `save` what `backward` takes."""
    kernel = walk.kernel
    x = tree.flatten(flow["x"])
    around, flags = _around(kernel, walk, flow, data)
    reset_state = flow["reset_state"] if flags & RESET else []
    keeps = len(_before(kernel, flags)) if save else 0
    made = _called(
        "rnnx_forward",
        kernel,
        walk,
        [*x, *flow["state"], *around, *reset_state],
        [STEPS] * len(walk.emit) + [STATE] * kernel.states + [STEPS] * (save and 1 + keeps + kernel.kept),
        flags | (SAVE if save else 0),
    )
    emit, final, saved = _cut(made, len(walk.emit), kernel.states)
    left, before, kept = _cut(saved, bool(save), keeps)
    return {"emit": emit, "final": final}, {"before": left, "needed": before, "kept": kept} if save else {}


def backward(engine, walk, args, saved, cotangents):
    """The cotangents of `flow`, and the rows of the weight gradients."""
    flow, data = args
    kernel = walk.kernel
    around, flags = _around(kernel, walk, flow, data)
    alone = [i for i, shared in enumerate(kernel.shared) if shared is None]
    results = [STEPS] * (kernel.arrays + len(alone)) + [STATE] * kernel.states + [VECTOR] * len(kernel.vectors)
    results += [STATE] * (kernel.states if flags & RESET else 0)
    given = [*saved["before"], *around, *saved["needed"], *saved["kept"], *cotangents["emit"], *cotangents["final"]]
    made = _called("rnnx_backward", kernel, walk, given, results, flags)
    dx, du, dstate, dvectors, dreset = _cut(made, kernel.arrays, len(alone), kernel.states, len(kernel.vectors))
    (name,) = flow["weights"]
    engine.asked[kind_of(walk, data)] = [Asked(name, 0, kernel.shared)]
    return {
        "x": tree.pack_sequence_as(flow["x"], dx),
        "state": dstate,
        "vectors": dict(zip(kernel.vectors, dvectors, strict=True)),
        "reset_state": dreset,
        "probe": [],
        "inputs": [],
        "rows": {"lefts": [], "products": du},
    }


def _before(kernel, flags):
    """The old states that are kept beside the left operand, which without dropout is the first of them."""
    return [i for i in kernel.before if i or flags & (KEEP | KEEP_EACH_STEP)]


def _around(kernel, walk, flow, data):
    """The arguments that both ways take, and the flags that say which there are."""
    slots, (weights,) = data["slots"], flow["weights"].values()
    found = {
        BIAS: weights.get("bias"),
        MASK: slots.get("mask"),
        RESET: slots.get("reset"),
        KEEP: data["fixed"].get("keep", [None])[0],
        KEEP_EACH_STEP: slots.get("keep", [None])[0],
        LENGTH: data.get("length"),
    }
    draws = slots.get("zoneout", [])
    flags = sum(flag for flag, a in found.items() if a is not None)
    flags |= (DRAWS if draws else 0) | (REVERSE if walk.reverse else 0)
    vectors = [flow["vectors"][name] for name in kernel.vectors]
    rest = [found[MASK], found[RESET], found[KEEP], found[KEEP_EACH_STEP], *draws, found[LENGTH]]
    return [a for a in [weights["kernel"], found[BIAS], *vectors, *rest] if a is not None], flags


def _called(name, kernel, walk, arguments, results, flags):
    rates = np.zeros(kernel.states, "float32")
    rates[: len(walk.zoneout)] = walk.zoneout
    attributes = {"cell": kernel.number, "flags": flags, "emit": sum(1 << i for i in walk.emit), "rates": rates}
    return backend.foreign(name, arguments, results, attributes)


def _cut(arrays, *counts):
    """The arrays in groups of so many, and the rest."""
    arrays, groups = list(arrays), []
    for count in counts:
        groups.append(arrays[:count])
        arrays = arrays[count:]
    return [*groups, arrays]
