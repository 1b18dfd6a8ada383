"""A segment, steps that are all kept: the walk forwards, the walk back, and what the weights get."""

import dataclasses
import functools
import operator

from keras import ops, tree

from keras_rnnx.engine import masks, products
from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.gates import joined, split
from keras_rnnx.engine.pieces import merged


@dataclasses.dataclass(frozen=True)
class Asked:
    """A recurrent product of a step, as the backward loop finds it.

    Attributes:
        name: which of the weights.
        state: the index of the state that is the left operand as it stands; None where a left operand is collected.
        as_x: for each part of the product, the index of the leaf of x whose cotangent is also its own, so that it is
            kept once for both, or None.
    """

    name: str
    state: int | None
    as_x: tuple = ()


def transition(engine, walk, flow, data, slot, state, multiply):
    """All that happens in one step: reset, the cell's equations, zoneout, mask."""
    if "reset" in slot:
        state = [ops.where(masks.rows(slot["reset"], s), r, s) for s, r in zip(state, flow["reset_state"], strict=True)]
    x = tree.map_structure(lambda a: ops.cast(a, state[0].dtype), slot["x"])
    if "ids" in slot:
        x = {"x": x, "ids": slot["ids"]}
    vectors = {**flow["vectors"], **data["fixed"].get("held", {})}
    keep = slot.get("keep", data["fixed"].get("keep"))
    count = iter(range(len(keep or ())))

    def dropped(name, left, parts):
        return multiply(name, left * keep[next(count)] if keep else left, parts)

    new = engine.step(x, dropped, vectors, *state)
    draws = iter(slot["zoneout"]) if "zoneout" in slot else None
    for i, rate in enumerate(walk.zoneout):
        if rate and draws is not None:
            new[i] = ops.where(next(draws), state[i], new[i])
        elif rate:
            new[i] = rate * state[i] + (1 - rate) * new[i]
    if "mask" in slot:
        new = [ops.where(masks.rows(slot["mask"], s), n, s) for n, s in zip(new, state, strict=True)]
    return new


def forward(engine, walk, flow, data, slots, state, save):
    """One walk forwards: the outputs of `Engine.run`, and with `save` what the walk back needs."""
    dtype = state[0].dtype

    def body(state, slot):
        made = []

        def multiply(name, left, parts):
            made.append(split(products.apply(flow["weights"][name], left, dtype), parts))
            return made[-1]

        new = transition(engine, walk, flow, data, slot, state, multiply)
        results = {"emit": [new[i] for i in walk.emit]}
        if save:
            results.update(before=list(state), products=made)
        return new, results

    final, results = walk.scan(body, state, slots, length=data.get("length"))
    outputs = {"emit": results.pop("emit"), "final": final}
    return outputs, results


def added(total, new):
    """Sums, in the dtypes that they have."""
    return tree.map_structure(lambda a, b: a + ops.cast(b, a.dtype), total, new)


def backward(engine, walk, flow, data, slots, saved, demit, carry):
    """One walk back.

    Returns:
        The carry (cotangents of state, vectors, reset state), the gradients of x and of the probe, and the rows of the
        weight gradients.
    """

    def body(carry, slot):
        asked = []
        dstate = list(carry["state"])
        for i, d in zip(walk.emit, slot["demit"], strict=True):
            dstate[i] = dstate[i] + d
        primals = {
            "x": slot["x"],
            "state": slot["before"],
            "vectors": flow["vectors"],
            "reset_state": flow["reset_state"],
            "noise": tree.map_structure(ops.zeros_like, slot["products"]),
        }

        step = functools.partial(_replayed_step, engine, walk, flow, data, slot, asked)
        _, lefts, pull = backend.vjp(step, primals)
        d = pull(dstate)
        before = d["state"]
        if walk.clip is not None:
            # Not where a masked step hands on what it gets, or the amount of padding would be felt.
            before = masks.bounded(before, walk.clip, slot["data"].get("clipped", slot["data"].get("mask")))
        if "cut" in slot["data"]:
            before = [ops.where(slot["data"]["cut"], ops.zeros_like(b), b) for b in before]
        new_carry = {
            "state": before,
            "vectors": added(carry["vectors"], d["vectors"]),
            "reset_state": added(carry["reset_state"], d["reset_state"]),
        }
        leaves = tree.flatten(d["x"])
        noise = []
        for k, parts in enumerate(d["noise"]):
            as_x = [next((i for i, leaf in enumerate(leaves) if leaf is n), None) for n in parts]
            asked[k] = dataclasses.replace(asked[k], as_x=tuple(as_x))
            noise += [n for n, i in zip(parts, as_x, strict=True) if i is None]
        engine.asked[kind_of(walk, data)] = asked  # whole, as another thread may read it
        probe = dstate if flow["probe"] else []
        return new_carry, {"x": d["x"], "probe": probe, "products": noise, "lefts": lefts}

    slots = dict(slots)
    back = {"x": slots.pop("x"), "data": slots, "demit": demit, **saved}
    carry, results = walk.back.scan(body, carry, back, length=data.get("length"))
    return carry, {"x": results["x"], "probe": results.pop("probe")}, results


def _replayed_step(engine, walk, flow, data, slot, asked, primals):
    """One step whose products are their saved values plus noise: the new states, and the left operands to collect.

    Lists in `asked` the products that the step asks for.
    """
    lefts, dtype = [], primals["state"][0].dtype

    def multiply(name, left, parts):
        del parts
        k = len(asked)
        same = [i for i, s in enumerate(primals["state"]) if s is left]
        asked.append(Asked(name, same[0] if same else None))
        if not same:
            lefts.append(left)
        return _replay(slot["products"][k], primals["noise"][k], left, flow["weights"][name], dtype)

    now = {**flow, "vectors": primals["vectors"], "reset_state": primals["reset_state"]}
    step_slot = {**slot["data"], "x": primals["x"]}
    return transition(engine, walk, now, data, step_slot, primals["state"], multiply), lefts


def _replay(value, noise, left, weights, dtype):
    """`value`, the parts of a saved product, with the gradient of `left @ weights + noise` in `left` and `noise`."""

    def pull(args, dvalue):
        weights, dvalue = args["weights"], list(dvalue)
        _, _, back = backend.vjp(lambda left: (products.apply(weights, left, dtype), ()), args["left"])
        none = tree.map_structure(lambda _: None, weights)
        return {"left": back(joined(dvalue)), "noise": dvalue, "value": [None] * len(dvalue), "weights": none}

    replay = backend.local_vjp(lambda args: args["value"], pull)
    return replay({"left": left, "noise": noise, "value": value, "weights": weights})


def _all_rows(a, lanes):
    """(T, B, ...) as rows (T*B, ...); in lanes (T, 2, B, ...) as (2, T*B, ...)."""
    if lanes:
        return ops.stack([merged(a[:, lane]) for lane in range(2)])
    return merged(a)


def kind_of(walk, data):
    """A key of `Engine.asked`: what decides which left operands are states as they stand."""
    return walk, tuple(sorted(data["slots"])), tuple(sorted(data["fixed"]))


def weight_gradients(engine, walk, weights, data, saved, rows):
    """One product over all T*B rows for each recurrent product of a step."""
    lefts, cotangents = iter(rows["lefts"]), iter(rows["products"])
    total = tree.map_structure(ops.zeros_like, weights)
    for ask in engine.asked[kind_of(walk, data)]:
        left = next(lefts) if ask.state is None else saved["before"][ask.state]
        du = [next(cotangents) if i is None else tree.flatten(rows["x"])[i] for i in ask.as_x]
        left, du = (_all_rows(a, walk.lanes) for a in (left, joined(du)))

        def product(w, left=left, dtype=du.dtype):
            return products.apply(w, left, dtype), ()

        _, _, pull = backend.vjp(product, weights[ask.name])
        total[ask.name] = tree.map_structure(operator.add, total[ask.name], pull(du))
    return total
