"""The engine's walk by a native kernel: the same arguments and results as the compiled loop of `engine.sequential`."""

import numpy as np

from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.segment import Asked, kind_of

# The bits of `flags`, as in src/ffi.cpp.
BIAS, MASK, RESET, KEEP, KEEP_EACH_STEP, DRAWS, SAVE, REVERSE, LENGTH, INPUT_BIAS = (1 << i for i in range(10))

TINY = float(np.finfo("float32").tiny)


def forward(engine, walk, flow, data, save=True):
    """The outputs, and with `save` what `backward` takes."""
    kernel, (x,) = walk.kernel, flow["x"]["joined"]
    around, flags = _around(kernel, walk, flow, data)
    reset_state = flow["reset_state"] if flags & RESET else []
    keeps = len(_before(kernel, flags)) if save else 0
    units = flow["state"][0].shape[-1]
    steps, state = ((0, 1), (units,)), ((1,), (units,))
    results = [steps] * len(walk.emit) + [state] * kernel.states
    results += [steps] * (1 + keeps) + [((0, 1), (kernel.kept * units,))] if save else []
    flags |= SAVE if save else 0
    made = _called("rnnx_forward", kernel, walk, [x, *flow["state"], *around, *reset_state], results, flags)
    emit, final, saved = _cut(made, len(walk.emit), kernel.states)
    left, before, kept = _cut(saved, bool(save), keeps)
    return {"emit": emit, "final": final}, {"before": left, "needed": before, "kept": kept} if save else {}


def backward(engine, walk, args, saved, cotangents):
    """The cotangents of `flow`, and the rows of the weight gradients."""
    flow, data = args
    kernel = walk.kernel
    around, flags = _around(kernel, walk, flow, data)
    units = flow["state"][0].shape[-1]
    state, more = ((1,), (units,)), 0 if kernel.same else 1
    results = [((0, 1), (count * units,)) for count in (kernel.inputs, kernel.parts)[: 1 + more]]
    results += [state] * kernel.states + [((), (units,))] * len(kernel.vectors)
    results += [((), (kernel.inputs * units,))] * len(flow["inputs"]) + [state] * len(flow["reset_state"])
    given = [*saved["before"], *around, *saved["needed"], *saved["kept"], *cotangents["emit"], *cotangents["final"]]
    made = _called("rnnx_backward", kernel, walk, given, results, flags)
    dx, du, dstate, dvectors, dbias, dreset = _cut(
        made, 1, more, kernel.states, len(kernel.vectors), len(flow["inputs"])
    )
    (name,) = flow["weights"]
    engine.asked[kind_of(walk, data)] = [Asked(name, 0, (None if more else 0,))]
    return {
        "x": {"joined": dx},
        "state": dstate,
        "vectors": dict(zip(kernel.vectors, dvectors, strict=True)),
        "reset_state": dreset,
        "probe": [],
        "inputs": dbias,
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
        INPUT_BIAS: flow["inputs"][0] if flow["inputs"] else None,
    }
    draws = slots.get("zoneout", [])
    flags = sum(flag for flag, a in found.items() if a is not None)
    flags |= (DRAWS if draws else 0) | (REVERSE if walk.reverse else 0)
    vectors = [flow["vectors"][name] for name in kernel.vectors]
    rest = [found[MASK], found[RESET], found[KEEP], found[KEEP_EACH_STEP], *draws, found[LENGTH]]
    return [a for a in [weights["kernel"], found[BIAS], found[INPUT_BIAS], *vectors, *rest] if a is not None], flags


def _called(name, kernel, walk, arguments, results, flags):
    rates = np.zeros(kernel.states, "float32")
    rates[: len(walk.zoneout)] = [max(p, TINY) if p else p for p in walk.zoneout]  # a state has draws where it is not 0
    attributes = {"cell": kernel.number, "flags": flags, "emit": sum(1 << i for i in walk.emit), "rates": rates}
    return backend.foreign(name, arguments, results, attributes)


def _cut(arrays, *counts):
    """The arrays in groups of so many, and the rest."""
    arrays, groups = list(arrays), []
    for count in counts:
        groups.append(arrays[:count])
        arrays = arrays[count:]
    return [*groups, arrays]
