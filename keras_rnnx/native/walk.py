"""The engine's walk by a native kernel: the same arguments and results as the compiled loop of `engine.sequential`."""

import numpy as np
from keras import ops

from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.pieces import merged
from keras_rnnx.engine.segment import Asked, kind_of

# The bits of `flags`, as in src/around.h.
BIAS, MASK, RESET, KEEP, KEEP_EACH_STEP, DRAWS, SAVE, REVERSE, LENGTH, INPUT_BIAS, PROJECTS, BATCH_FIRST, CUT = (
    1 << i for i in range(13)
)

TINY = float(np.finfo("float32").tiny)


def forward(engine, walk, flow, data, save=True):
    """The outputs, and with `save` what `backward` takes."""
    kernel, (x,) = walk.kernel, flow["x"]["joined"]
    around, flags = _around(kernel, walk, flow, data)
    states, lefts = kernel.stored(_drops(flags))
    units = flow["state"][0].shape[-1]
    steps, state = ((0, 1), (units,)), _of_a_state(walk, units)
    results = [steps] * len(walk.emit) + [state] * kernel.states
    results += [steps] * (len(states) + len(lefts)) + [((0, 1), (kernel.kept * units,))] if save else []
    given = [x, *flow["state"], *around, *flow["reset_state"]]
    if "kernel" in flow["inputs"]:
        given.insert(1, flow["inputs"]["kernel"])
        flags |= PROJECTS
    made = _called(kernel, False, walk, flow, given, results, flags | (SAVE if save else 0))
    emit, final, saved = _cut(made, len(walk.emit), kernel.states)
    before, left, kept = _cut(saved, len(states) * save, len(lefts) * save)
    saved = {"before": dict(zip(states, before, strict=True)), "left": left, "kept": kept} if save else {}
    return {"emit": emit, "final": final}, saved


def backward(engine, walk, args, saved, cotangents):
    """The cotangents of `flow` with projected inputs, and the rows of the weight gradients."""
    flow, data = args
    kernel, biased = walk.kernel, "bias" in flow["inputs"]
    around, flags = _around(kernel, walk, flow, data)
    units = flow["state"][0].shape[-1]
    state = _of_a_state(walk, units)
    counts = [kernel.inputs, *(() if kernel.same else [product.parts for product in kernel.products])]
    results = [((0, 1), (count * units,)) for count in counts]
    results += [state] * kernel.states + [((), (units,))] * len(kernel.vectors)
    results += [((), (kernel.inputs * units,))] * biased + [state] * len(flow["reset_state"])
    before = [saved["before"][i] for i in kernel.before]
    given = [*saved["kept"], *around, *before, *cotangents["emit"], *cotangents["final"]]
    made = _called(kernel, True, walk, flow, given, results, flags)
    dx, du, dstate, dvectors, dbias, dreset = _cut(
        made, 1, len(counts) - 1, kernel.states, len(kernel.vectors), int(biased)
    )
    _, lefts = kernel.stored(_drops(flags))
    engine.asked[kind_of(walk, data)] = [
        Asked(name, None if j in lefts else product.state, (0 if kernel.same else None,))
        for j, (name, product) in enumerate(zip(_names(kernel, flow), kernel.products, strict=True))
    ]
    return {
        "x": {"joined": dx},
        "state": dstate,
        "vectors": {name: _summed(d, flow["vectors"][name]) for name, d in zip(kernel.vectors, dvectors, strict=True)},
        "reset_state": dreset,
        "probe": [],
        "inputs": {"bias": dbias[0]} if biased else {},
        "rows": {"lefts": saved["left"], "products": du},
    }


def _of_a_state(walk, units):
    """The shape of a state: the axis of the batch in the first argument, and the units."""
    return (0 if walk.batch_first else 1,), (units,)


def unprojected(flow, gradients):
    """The gradients of `flow` from those with projected inputs: the products over all rows that `forward` spared."""
    if "kernel" not in flow["inputs"]:
        return gradients
    (x,), (dx,), kernel = flow["x"]["joined"], gradients["x"]["joined"], flow["inputs"]["kernel"]
    rows, drows = merged(x), merged(dx)
    dkernel = backend.matmul(ops.transpose(rows), drows, kernel.dtype)
    dx = backend.matmul(dx, ops.transpose(kernel), x.dtype)
    return {**gradients, "x": {"joined": [dx]}, "inputs": {**gradients["inputs"], "kernel": dkernel}}


def _drops(flags):
    """Whether factors come between the states and the products."""
    return bool(flags & (KEEP | KEEP_EACH_STEP))


def _names(kernel, flow):
    """The key of each product among the weights."""
    return [next(iter(flow["weights"])) if p.name is None else p.name for p in kernel.products]


def _summed(d, vector):
    """The cotangent of a vector (H,), or of one number that every unit has read."""
    return d if tuple(vector.shape) == tuple(d.shape) else ops.reshape(ops.sum(d), vector.shape)


def _around(kernel, walk, flow, data):
    """The arguments that both ways take, and the flags that say which there are."""
    slots, units = data["slots"], flow["state"][0].shape[-1]
    weights = [flow["weights"][name] for name in _names(kernel, flow)]
    found = {
        MASK: slots.get("mask"),
        RESET: slots.get("reset"),
        CUT: slots.get("cut"),
        KEEP: data["fixed"].get("keep"),
        KEEP_EACH_STEP: slots.get("keep"),
        LENGTH: data.get("length"),
        INPUT_BIAS: flow["inputs"].get("bias"),
    }
    draws = slots.get("zoneout", [])
    flags = sum(flag for flag, a in found.items() if a is not None)
    flags |= (DRAWS if draws else 0) | (REVERSE if walk.reverse else 0) | (BATCH_FIRST if walk.batch_first else 0)
    flags |= BIAS if weights and "bias" in weights[0] else 0
    matrices = [w[key] for w in weights for key in ("kernel", "bias") if key in w]
    vectors = [ops.broadcast_to(flow["vectors"][name], (units,)) for name in kernel.vectors]
    keep = found[KEEP] or found[KEEP_EACH_STEP] or []
    rest = [found[MASK], found[RESET], found[CUT], *keep, *draws, found[LENGTH]]
    return [a for a in [*matrices, found[INPUT_BIAS], *vectors, *rest] if a is not None], flags


def _called(kernel, back, walk, flow, arguments, results, flags):
    rates = np.zeros(kernel.states, "float32")
    rates[: len(walk.zoneout)] = [max(p, TINY) if p else p for p in walk.zoneout]  # a state has draws where it is not 0
    biased = ["bias" in flow["weights"][name] for name in _names(kernel, flow)]
    attributes = kernel.attributes(back, flow["state"][0].shape[-1], biased, _drops(flags))
    attributes.update(flags=flags, emit=sum(1 << i for i in walk.emit), rates=rates)
    return backend.foreign(kernel.handlers[back], arguments, results, attributes)


def _cut(arrays, *counts):
    """The arrays in groups of so many, and the rest."""
    arrays, groups = list(arrays), []
    for count in counts:
        groups.append(arrays[:count])
        arrays = arrays[count:]
    return [*groups, arrays]
