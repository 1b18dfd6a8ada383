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
          probe: none, or one (T, B, H) for each state; inputs: none, or what `Engine.inputs` reads
    data: slots {mask (T, B), reset (T, B), zoneout [(T, B, H)], keep [(T, B, H)], cut (T,), ids [integer inputs]},
          fixed {keep [(B, H)], held {integers that a step reads}}, length ()
"""

import dataclasses
import functools

from keras import ops, tree

from keras_rnnx.engine import segment
from keras_rnnx.engine.backends import backend, unrolled
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.engine.pieces import in_pieces, merged, padded, short_of_whole
from keras_rnnx.engine.twice import differentiable
from keras_rnnx.native import walk as native


@dataclasses.dataclass(frozen=True)
class Walk:
    """How a sequence is walked: everything static about one run of the engine.

    Attributes:
        emit: indices of the states that are returned at every step.
        reverse: walk from the last step to the first.
        unroll: write the loop out.
        compiled: run as a compiled region.
        kernel: the native `Kernel` that walks instead of the loop, or None. With one, x holds the inputs side by side,
            or what they are projected from, of which `Engine.inputs` makes what a step reads.
        batch_first: whether x and the states at every step are (B, T, ...); only with a kernel.
        save: store in the forward pass what the gradient needs.
        remat: keep only every k-th state and recompute the others; None keeps all.
        late: whether x holds inputs as they come, of which `Engine.inputs` makes what a step reads, k steps at a time;
            only with `remat`.
        clip: bound of the gradient entering each earlier step; None for no bound.
        lanes: whether two sequences walk side by side, each with its own weights: every array has an axis of size 2
            before B, and weights and vectors have it in front.
        zoneout: rate for each state; draws in `data` decide in training. () for none.
    """

    emit: tuple = ()
    reverse: bool = False
    unroll: bool = False
    compiled: bool = True
    kernel: object = None
    batch_first: bool = False
    save: bool = True
    lanes: bool = False
    remat: int | None = None
    late: bool = False
    clip: float | None = None
    zoneout: tuple = ()

    @property
    def scan(self):
        """The loop: the backend's own or one written out."""
        scan = unrolled.scan if self.unroll else backend.scan
        return functools.partial(scan, reverse=self.reverse, plain=not self.compiled)

    @property
    def back(self):
        """The same walk the other way."""
        return dataclasses.replace(self, reverse=not self.reverse)


class Engine:
    """Runs one pure `step` over a sequence and differentiates it.

    Args:
        step: `step(x, multiply, vectors, *state) -> [state, ...]`, a pure function; `multiply(name, left, count)`
            makes a recurrent product with the weights of that name, as a list of so many equal parts of its columns.
        inputs: `inputs(values, x, lanes) -> x`, a pure function of the values `inputs` in flow: see `Walk.late`
            and `Walk.kernel`.
    """

    def __init__(self, step, inputs=None):
        self.step = step
        self.inputs = inputs
        self._functions = {}
        self.asked = {}  # for each walk and kind of data, the products that one step asks for

    def run(self, flow, data, walk):
        """Walks the sequence.

        Returns:
            dict: `emit`, the wanted states as (T, B, H), and `final`, the last state of each.
        """
        flow = {"probe": [], "inputs": [], **flow}
        slots = {"x": flow["x"], "probe": flow["probe"], "slots": data["slots"]}
        time = 1 if walk.batch_first else 0
        steps = ops.shape(tree.flatten(slots["x"] if time else slots)[0])[time]
        whole, data = True, dict(data)
        if walk.remat and isinstance(steps, int):
            walk = dataclasses.replace(walk, remat=min(walk.remat, steps))
        if walk.remat:
            whole = isinstance(steps, int) and steps % walk.remat == 0
            slots = slots if whole else _whole_segments(slots, steps, walk)
        elif walk.compiled and not walk.unroll:
            slots, length = backend.bucket(slots, batch_first=("x",) if walk.batch_first else ())
            whole = length is None
            if not whole:
                data["length"] = length
        flow, data = {**flow, "x": slots["x"], "probe": slots["probe"]}, {**data, "slots": slots["slots"]}
        outputs = self._function(walk)(flow, data)
        if whole:
            return outputs
        return {**outputs, "emit": [a[:, :steps] if time else a[:steps] for a in outputs["emit"]]}

    def _function(self, walk):
        if walk not in self._functions:
            compiled = walk.compiled and not walk.unroll
            ways = (native.forward, native.backward) if walk.kernel and not walk.remat else (_forward, _backward)
            forward, loop = (backend.Region(functools.partial(way, self, walk), compiled) for way in ways)
            primal = backend.Region(functools.partial(_primal, ways[0], self, walk), compiled)
            backward = functools.partial(_gradients, self, walk, loop)
            if walk.kernel:
                forward, backward = _differentiable(self, walk, forward, backward)
            self._functions[walk] = backend.custom_vjp(primal, forward, backward, save=walk.save)
        return self._functions[walk]


def _whole_segments(slots, steps, walk):
    """Pads time to a multiple of the segment with masked steps, whose inputs are those of the last one."""
    lead = ops.shape(tree.flatten((slots["x"], slots["slots"].get("ids", [])))[0])[: 3 if walk.lanes else 2]
    mask = slots["slots"].get("mask")
    mask = ops.ones(lead, "bool") if mask is None else mask
    extra = short_of_whole(steps, walk.remat)

    def last(a):
        return ops.concatenate([a, a[-1:] + ops.zeros((extra, *ops.shape(a)[1:]), a.dtype)])

    rest = {"probe": slots["probe"], "slots": {**slots["slots"], "mask": mask}}
    zeros = tree.map_structure(lambda a: padded(a, walk.remat), rest)
    return {"x": tree.map_structure(last, slots["x"]), **zeros}


def _segments(slots, size):
    return tree.map_structure(lambda a: in_pieces(a, size), slots)


def _joined(slots):
    return tree.map_structure(merged, slots)


def _made(engine, walk, values, x):
    """What a step reads of x, for all steps of a segment."""
    return engine.inputs(values, x, walk.lanes) if walk.late else x


# ---- forward ----


def _primal(forward, engine, walk, flow, data):
    return forward(engine, walk, flow, data, save=False)[0]


def _forward(engine, walk, flow, data, save=True):
    slots = {"x": flow["x"], **data["slots"]}
    if not walk.remat:
        return segment.forward(engine, walk, flow, data, slots, flow["state"], save)

    def one(state, slots):
        outputs, _ = _segment_forward(engine, walk, *_part(flow, data, slots, state), save=False)
        return outputs["final"], {"emit": outputs["emit"], "start": state}

    final, kept = walk.scan(one, flow["state"], _segments(slots, walk.remat))
    outputs = {"emit": _joined(kept["emit"]), "final": final}
    return outputs, {"start": kept["start"]} if save else {}


def _part(flow, data, slots, state):
    """`flow` and `data` of one segment."""
    slots = dict(slots)
    return {**flow, "x": slots.pop("x"), "state": state}, {**data, "slots": slots}


def _segment_forward(engine, walk, flow, data, save):
    """A segment, as `segment.forward` and `native.forward` do it."""
    if walk.kernel:
        return native.forward(engine, dataclasses.replace(walk, remat=None), flow, data, save)
    slots = {"x": _made(engine, walk, flow["inputs"], flow["x"]), **data["slots"]}
    return segment.forward(engine, walk, flow, data, slots, flow["state"], save)


# ---- backward ----


def _segment_backward(engine, walk, args, demit, carry):
    """A segment that is walked once more, and then back: the carry after it, and the gradients of its flow."""
    flow, data = args
    if walk.kernel:
        whole = dataclasses.replace(walk, remat=None)
        _, saved = native.forward(engine, whole, flow, data)
        made = native.backward(engine, whole, args, saved, {"emit": demit, "final": carry["state"]})
        rows = {"x": made["x"], **made.pop("rows")}
        made["weights"] = segment.weight_gradients(engine, whole, flow["weights"], data, saved, rows)
        made = native.unprojected(flow, made)
        sums = {key: carry[key] for key in ("vectors", "reset_state")}
        return {**made, **segment.added(sums, {key: made[key] for key in sums})}
    given = {"inputs": flow["inputs"], "x": flow["x"]}
    x, _, pull = backend.vjp(lambda given: (_made(engine, walk, given["inputs"], given["x"]), ()), given)
    slots = {**data["slots"], "x": x}
    _, saved = segment.forward(engine, walk, flow, data, slots, flow["state"], save=True)
    carry, slotted, rows = segment.backward(engine, walk, flow, data, slots, saved, demit, carry)
    weights = segment.weight_gradients(engine, walk, flow["weights"], data, saved, rows)
    return {**carry, **slotted, "weights": weights, **pull(slotted["x"])}


def _gradients(engine, walk, loop, args, saved, cotangents):
    """The loop in its region, then the products over all rows outside it, in the backend's own matrix product."""
    made = loop(args, saved, cotangents)
    if not walk.remat:
        flow, data = args
        rows = {"x": made["x"], **made.pop("rows")}
        made["weights"] = segment.weight_gradients(engine, walk, flow["weights"], data, saved, rows)
        made = native.unprojected(flow, made) if walk.kernel else made
    return (made,)


def _backward(engine, walk, args, saved, cotangents):
    flow, data = args
    slots = {"x": flow["x"], **data["slots"]}
    sums = {key: _zero_sums(flow[key]) for key in ("vectors", "reset_state")}
    carry = {**sums, "state": list(cotangents["final"])}
    if not walk.remat:
        carry, slotted, rows = segment.backward(engine, walk, flow, data, slots, saved, cotangents["emit"], carry)
        rows = {name: rows[name] for name in ("lefts", "products")}
        return {**_like({**carry, "inputs": []}, flow), **slotted, "rows": rows}

    def one(carry, part):
        carry, total = carry
        args = _part(flow, data, part["slots"], part["start"])
        made = _segment_backward(engine, walk, args, part["emit"], carry)
        total = segment.added(total, {key: made[key] for key in total})
        return ({key: made[key] for key in carry}, total), {"x": made["x"], "probe": made["probe"]}

    parts = {"slots": slots, "emit": cotangents["emit"]}
    parts = {**_segments(parts, walk.remat), "start": saved["start"]}
    total = {key: _zero_sums(flow[key]) for key in ("weights", "inputs")}
    (carry, total), slotted = walk.back.scan(one, (carry, total), parts)
    return {**_like({**carry, **total}, flow), **_joined(slotted)}


def _differentiable(engine, walk, forward, backward):
    """Both with the derivatives of the compiled loop."""
    plain = dataclasses.replace(walk, kernel=None, late=False, batch_first=False)

    def turned(arrays):
        return tree.map_structure(lambda a: ops.swapaxes(a, 0, 1), arrays) if walk.batch_first else arrays

    def for_loop(flow):
        return {**flow, "x": engine.inputs(flow["inputs"], turned(flow["x"]), False), "inputs": []}

    def plain_forward(flow, data):
        outputs, saved = _forward(engine, plain, for_loop(flow), data)
        return {**outputs, "emit": turned(outputs["emit"])}, saved

    def plain_backward(args, saved, cotangents):
        flow, data = args
        cotangents = {**cotangents, "emit": turned(cotangents["emit"])}
        flow, _, pull = backend.vjp(lambda flow: (for_loop(flow), ()), flow)
        loop = functools.partial(_backward, engine, plain)
        (dflow,) = _gradients(engine, plain, loop, (flow, data), saved, cotangents)
        return (pull(dflow),)

    return differentiable(forward, backward, (plain_forward, plain_backward))


def _zero_sums(arrays):
    """Zeros in a dtype wide enough for a sum over many steps."""
    return tree.map_structure(lambda a: ops.zeros_like(a, dtype=at_least_single(a.dtype)), arrays)


def _like(gradients, flow):
    """Gradients in the dtypes of what they belong to."""
    return {
        key: tree.map_structure(lambda d, a: ops.cast(d, a.dtype), gradient, flow[key])
        for key, gradient in gradients.items()
    }
