"""Runs programs with NumPy, strictly: a slot is there only where the format promises it."""

import numpy as np

from keras_rnnx.native.program import OPERATIONS

FUNCTIONS = {
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "round": np.rint,
    "select": lambda c, a, b: np.where(c != 0, a, b),
}


def run(stages, slots, arriving, crossing, after):
    """Runs stages on the arrays in `slots`: `arriving[i]` come before stage i, `after(i, slots)` reads what it made."""
    for i, stage in enumerate(stages):
        slots = {**slots, **arriving.get(i, {})}
        given = set(slots)
        for operation, result, *operands in stage.code:
            name = OPERATIONS[operation]
            assert result not in slots
            found = (FUNCTIONS.get(name) or getattr(np, name))(*[slots[a] for a in operands if a >= 0])
            slots[result] = np.float32(found)
        after(i, slots)
        if i + 1 < len(stages):
            slots = {slot: a for slot, a in slots.items() if slot in given or slot in crossing}
    return slots


def rows(shape, *groups):
    """Arrays and numbers as rows, by slot."""
    return {i: np.broadcast_to(np.float32(a), shape) for i, a in enumerate(sum(map(list, groups), []))}


def forward(program, vectors, inputs, states, parts):
    """The left operands by number of the product, where they are computed; the new states; what is kept."""
    slots = rows(states[0].shape, program.constants, vectors, inputs, states)
    first, lefts, arriving = len(slots), {}, {}
    for k, product in enumerate(program.products):
        arriving[k + 1] = {first + i: parts[i] for i in range(len(parts))[: product.parts]}
        first, parts = first + product.parts, parts[product.parts :]

    def after(i, slots):
        if i < len(program.products) and program.products[i].state is None:
            lefts[i] = slots[program.products[i].left]

    slots = run(program.forward, slots, arriving, program.forward_crossing, after)
    return lefts, [slots[s] for s in program.new], [slots[s] for s in program.kept]


def backward(program, vectors, states, kept, dnew, dlefts):
    """The cotangents of inputs, parts, old states and vectors, given those of the left operands that are computed."""
    states = [s if i in program.before else np.full_like(s, np.nan) for i, s in enumerate(states)]
    slots = rows(dnew[0].shape, program.backward_constants, vectors, states, kept, dnew)
    count, dparts = len(program.products), {}
    arriving = {count - k: {len(slots) + k: d} for k, d in dlefts.items()}
    ends = np.cumsum([0, *[product.parts for product in program.products]])

    def got(slots, wanted):
        return [np.zeros_like(dnew[0]) if s < 0 else slots[s] for s in wanted]

    def after(i, slots):
        if i < count:
            k = count - 1 - i
            dparts[k] = got(slots, program.dparts[ends[k] : ends[k + 1]])

    slots = run(program.backward, slots, arriving, program.backward_crossing, after)
    for k in dparts:  # still there at the end
        np.testing.assert_array_equal(dparts[k], got(slots, program.dparts[ends[k] : ends[k + 1]]))
    parts = sum([dparts[k] for k in range(count)], [])
    return got(slots, program.dinputs), parts, got(slots, program.dstates), got(slots, program.dvectors)
