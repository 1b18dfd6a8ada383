r"""The sequential engine: one loop, with a gradient of its own, for every cell.

The weights are the same at every step, so their gradients need no loop. Write \(u_{k,t} = l_{k,t} U_k\) for the k-th
recurrent product of step t. The forward loop stores the states and the products. The backward loop takes the
vector-Jacobian product of one step in which each product is *its saved value plus a perturbation that is zero*: the
cotangent of the perturbation is exactly \(\delta u_{k,t}\), and the left operands \(l_{k,t}\) are collected on the way.
After the loop, each matrix gets its gradient in one product over all T*B rows,
\(\delta U_k = \sum_t l_{k,t}^\top \delta u_{k,t}\). Vectors that a step reads are summed in the loop.

A probe is an array (T, B, H) that no step reads. The gradient which it is given is what the backward loop holds of a
state after each step: the total derivative of the loss in it, through the outputs and all later steps.

Data flow: `flow` holds what has a gradient, `data` what has none.

    flow: x (tree of (T, ...)), state [...], weights {name: {...}}, vectors {name: ...}, reset_state [...],
          probe: none, or one (T, B, H) for each state
    data: slots {mask (T, B), reset (T, B), zoneout [(T, B, H)], keep [(T, B, H)], cut (T,), ids [integer inputs]},
          fixed {keep [(B, H)], held {integers that a step reads}}, length ()
"""

import dataclasses
import functools
import operator

from keras import ops, tree

from keras_rnnx.engine import masks, products
from keras_rnnx.engine.backends import backend, unrolled
from keras_rnnx.engine.gates import at_least_single, joined, split
from keras_rnnx.engine.pieces import in_pieces, merged


@dataclasses.dataclass(frozen=True)
class Walk:
    """How a sequence is walked: everything static about one run of the engine.

    Attributes:
        emit: indices of the states that are returned at every step.
        reverse: walk from the last step to the first.
        unroll: write the loop out.
        compiled: run as a compiled region.
        save: store in the forward pass what the gradient needs.
        remat: keep only every k-th state and recompute the others; None keeps all.
        clip: bound of the gradient entering each earlier step; None for no bound.
        lanes: whether two sequences walk side by side, each with its own weights: every array has an axis of size 2
            before B, and weights and vectors have it in front.
        zoneout: rate for each state; draws in `data` decide in training. () for none.
    """

    emit: tuple = ()
    reverse: bool = False
    unroll: bool = False
    compiled: bool = True
    save: bool = True
    lanes: bool = False
    remat: int | None = None
    clip: float | None = None
    zoneout: tuple = ()

    @property
    def scan(self):
        """The loop: the backend's own or one written out."""
        scan = unrolled.scan if self.unroll else backend.scan
        return functools.partial(scan, reverse=self.reverse)

    @property
    def back(self):
        """The same walk the other way."""
        return dataclasses.replace(self, reverse=not self.reverse)


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


class Engine:
    """Runs one pure `step` over a sequence and differentiates it.

    Args:
        step: `step(x, multiply, vectors, *state) -> [state, ...]`, a pure function; `multiply(name, left, count)`
            makes a recurrent product with the weights of that name, as a list of so many equal parts of its columns.
    """

    def __init__(self, step):
        self.step = step
        self._functions = {}
        self.asked = {}  # for each walk and kind of data, the products that one step asks for

    def run(self, flow, data, walk):
        """Walks the sequence.

        Returns:
            dict: `emit`, the wanted states as (T, B, H), and `final`, the last state of each.
        """
        steps = ops.shape(tree.flatten((flow["x"], data["slots"]))[0])[0]
        padded = bool(walk.remat)
        slots = {"x": flow["x"], "probe": flow.get("probe", []), "slots": data["slots"]}
        data = dict(data)
        if walk.remat and isinstance(steps, int):
            walk = dataclasses.replace(walk, remat=min(walk.remat, steps))
        if walk.remat:
            slots = _whole_segments(slots, steps, walk)
        elif walk.compiled and not walk.unroll:
            slots, length = backend.bucket(slots)
            padded = length is not None
            if padded:
                data["length"] = length
        flow, data = {**flow, "x": slots["x"], "probe": slots["probe"]}, {**data, "slots": slots["slots"]}
        outputs = self._function(walk)(flow, data)
        if padded:
            outputs = {**outputs, "emit": [a[:steps] for a in outputs["emit"]]}
        return outputs

    def _function(self, walk):
        if walk not in self._functions:
            compiled = walk.compiled and not walk.unroll
            primal = backend.Region(functools.partial(_primal, self, walk), compiled)
            forward = backend.Region(functools.partial(_forward, self, walk), compiled)
            loop = backend.Region(functools.partial(_backward, self, walk), compiled)
            backward = functools.partial(_gradients, self, walk, loop)
            self._functions[walk] = backend.custom_vjp(primal, forward, backward, save=walk.save)
        return self._functions[walk]


def _whole_segments(slots, steps, walk):
    """Pads time to a multiple of the segment with masked steps, whose inputs are those of the last one."""
    lead = ops.shape(tree.flatten(slots["x"])[0])[: 3 if walk.lanes else 2]
    mask = slots["slots"].get("mask")
    mask = ops.ones(lead, "bool") if mask is None else mask
    extra = -steps % walk.remat

    def zeros(a):
        return ops.concatenate([a, ops.zeros((extra, *ops.shape(a)[1:]), a.dtype)])

    def last(a):
        return ops.concatenate([a, a[-1:] + ops.zeros((extra, *ops.shape(a)[1:]), a.dtype)])

    flags, probe = tree.map_structure(zeros, ({**slots["slots"], "mask": mask}, slots["probe"]))
    return {"x": tree.map_structure(last, slots["x"]), "probe": probe, "slots": flags}


def _segments(slots, size):
    return tree.map_structure(lambda a: in_pieces(a, size), slots)


def _joined(slots):
    return tree.map_structure(merged, slots)


# ---- one step ----


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


# ---- forward ----


def _primal(engine, walk, flow, data):
    return _forward(engine, walk, flow, data, save=False)[0]


def _forward(engine, walk, flow, data, save=True):
    slots = {"x": flow["x"], **data["slots"]}
    if not walk.remat:
        return _forward_segment(engine, walk, flow, data, slots, flow["state"], save)

    def segment(state, slots):
        outputs, _ = _forward_segment(engine, walk, flow, data, slots, state, save=False)
        return outputs["final"], {"emit": outputs["emit"], "start": state}

    final, kept = walk.scan(segment, flow["state"], _segments(slots, walk.remat))
    outputs = {"emit": _joined(kept["emit"]), "final": final}
    return outputs, {"start": kept["start"]} if save else {}


def _forward_segment(engine, walk, flow, data, slots, state, save):
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


# ---- backward ----


def _gradients(engine, walk, loop, args, saved, cotangents):
    """The loop in its region, then the products over all rows outside it, in the backend's own matrix product."""
    made = loop(args, saved, cotangents)
    if not walk.remat:
        flow, data = args
        made["weights"] = _weight_gradients(engine, walk, flow["weights"], data, saved, made.pop("rows"))
    return (made,)


def _backward(engine, walk, args, saved, cotangents):
    flow, data = args
    slots = {"x": flow["x"], **data["slots"]}
    sums = {key: _zero_sums(flow[key]) for key in ("vectors", "reset_state")}
    carry = {**sums, "state": list(cotangents["final"])}
    if not walk.remat:
        carry, slotted, rows = _backward_segment(engine, walk, flow, data, slots, saved, cotangents["emit"], carry)
        return {**_like(carry, flow), **slotted, "rows": rows}

    def segment(carry, part):
        carry, total = carry
        _, saved = _forward_segment(engine, walk, flow, data, part["slots"], part["start"], save=True)
        carry, slotted, rows = _backward_segment(engine, walk, flow, data, part["slots"], saved, part["emit"], carry)
        dweights = _weight_gradients(engine, walk, flow["weights"], data, saved, rows)
        return (carry, _added(total, dweights)), slotted

    parts = {"slots": slots, "emit": cotangents["emit"]}
    parts = {**_segments(parts, walk.remat), "start": saved["start"]}
    (carry, dweights), slotted = walk.back.scan(segment, (carry, _zero_sums(flow["weights"])), parts)
    return {**_like({**carry, "weights": dweights}, flow), **_joined(slotted)}


def _zero_sums(arrays):
    """Zeros in a dtype wide enough for a sum over many steps."""
    return tree.map_structure(lambda a: ops.zeros_like(a, dtype=at_least_single(a.dtype)), arrays)


def _added(total, new):
    return tree.map_structure(lambda a, b: a + ops.cast(b, a.dtype), total, new)


def _like(gradients, flow):
    """Gradients in the dtypes of what they belong to."""
    return {
        key: tree.map_structure(lambda d, a: ops.cast(d, a.dtype), gradient, flow[key])
        for key, gradient in gradients.items()
    }


def _backward_segment(engine, walk, flow, data, slots, saved, demit, carry):
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
            "vectors": _added(carry["vectors"], d["vectors"]),
            "reset_state": _added(carry["reset_state"], d["reset_state"]),
        }
        leaves = tree.flatten(d["x"])
        noise = []
        for k, parts in enumerate(d["noise"]):
            as_x = [next((i for i, leaf in enumerate(leaves) if leaf is n), None) for n in parts]
            asked[k] = dataclasses.replace(asked[k], as_x=tuple(as_x))
            noise += [n for n, i in zip(parts, as_x, strict=True) if i is None]
        engine.asked[_kind(walk, data)] = asked  # whole, as another thread may read it
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


def _kind(walk, data):
    """What decides which left operands are states as they stand: a reset or a dropout mask makes them others."""
    return walk, tuple(sorted(data["slots"])), tuple(sorted(data["fixed"]))


def _weight_gradients(engine, walk, weights, data, saved, rows):
    """One product over all T*B rows for each recurrent product of a step."""
    lefts, cotangents = iter(rows["lefts"]), iter(rows["products"])
    total = tree.map_structure(ops.zeros_like, weights)
    for ask in engine.asked[_kind(walk, data)]:
        left = next(lefts) if ask.state is None else saved["before"][ask.state]
        du = [next(cotangents) if i is None else tree.flatten(rows["x"])[i] for i in ask.as_x]
        left, du = (_all_rows(a, walk.lanes) for a in (left, joined(du)))

        def product(w, left=left, dtype=du.dtype):
            return products.apply(w, left, dtype), ()

        _, _, pull = backend.vjp(product, weights[ask.name])
        total[ask.name] = tree.map_structure(operator.add, total[ask.name], pull(du))
    return total
