"""The step of a cell as a small program, which a kernel interprets on vectors of units: its format, and how it is made.

A number of a program is a slot. Every slot is a float32 row of H units; a constant or a scalar fills the row. A stage
is the code between two recurrent products. The program forwards has a stage before each product and one after the last;
the program back has them in the opposite order. After its stage i the cotangents of all parts of product J-1-i are
there, du; its `dleft`, du U^T, belongs to the old state where the left operand is one as it stands, else the stages
after it read it.

The derivatives are those of the equations. Where one has no derivative: `maximum` and `minimum` at a tie are their
second operand, and a constant always is the second, so that relu has the derivative 0 at 0; `absolute` has 0 at 0.
Steps (`sign`, `floor`, `round`, comparisons) have the derivative 0 everywhere.
"""

import dataclasses
import functools
import itertools

from keras import ops

from keras_rnnx.engine.backends import backend
from keras_rnnx.native import scheduling, tracing
from keras_rnnx.native.formulas import OPERATIONS, Formulas, Untraceable

__all__ = ["OPERATIONS", "Product", "Program", "Stage", "Untraceable", "traced"]


@dataclasses.dataclass(frozen=True)
class Stage:
    """Code: a tuple of instructions (number of the operation, result, operand, operand, operand), -1 for no operand."""

    code: tuple


@dataclasses.dataclass(frozen=True)
class Product:
    """A recurrent product.

    Attributes:
        name: its key among the weights of the engine.
        parts: the number of its parts, each H wide.
        state: the index of the old state that is its left operand as it stands, or None.
        left: the slot of a left operand that is computed, or -1.
    """

    name: str
    parts: int
    state: int | None
    left: int


@dataclasses.dataclass(frozen=True)
class Program:
    """A step and its derivative.

    Attributes:
        constants: the numbers in the first slots of the program forwards.
        vectors: the names of the vectors, each (H,) or one number.
        inputs: the number of arrays from the inputs.
        states: the number of states.
        products: the products, in the order in which they are asked for.
        forward: the stages. Slots: constants, vectors, inputs, old states, the parts of all products, temporaries.
        new: the slots of the new states.
        kept: the slots of `forward` that are stored for the way back.
        before: the old states that the way back reads.
        backward: the stages. Slots: constants, vectors, old states, what was kept, the cotangents of the new states,
            `dleft` of each product, temporaries.
        backward_constants: the numbers in its first slots.
        dinputs, dparts, dstates, dvectors: the slots of the cotangents of inputs, parts, old states and vectors, -1 for
            zero.
        forward_crossing, backward_crossing: the temporaries that are read after the stage that computes them: by a
            later stage, or as a result where the stage is not the last one.
    """

    constants: tuple
    vectors: tuple
    inputs: int
    states: int
    products: tuple
    forward: tuple
    new: tuple
    kept: tuple
    before: tuple
    backward: tuple
    backward_constants: tuple
    dinputs: tuple
    dparts: tuple
    dstates: tuple
    dvectors: tuple
    forward_crossing: tuple
    backward_crossing: tuple


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A recurrent product that a step asks for: the arrays that it is handed out as, and their H-wide parts."""

    arrays: int
    parts: int

    @property
    def each(self):
        """The parts of each array."""
        return self.parts // self.arrays


def traced(cell):
    """The `Program` of a built `Cell`.

    Raises:
        Untraceable: if its step is none.
    """
    if cell.timed:
        raise Untraceable("reads the time between steps")
    if cell.state_dtype != "float32":
        raise Untraceable(f"computes in {cell.state_dtype}")
    sizes = cell.state_sizes()
    units = sizes[0]
    if not isinstance(units, int) or any(size != units for size in sizes):
        raise Untraceable(f"has states of the sizes {', '.join(map(str, sizes))}")
    products = cell.asked  # tries the step, where that has not been done
    inputs, vectors, weights = backend.described(
        lambda: (
            list(cell.inputs(ops.zeros((tracing.ROWS, *cell.step_shape), cell.compute_dtype)).values()),
            cell.values_of_vectors(),
            cell.weights_of_products(),
        )
    )
    asked = [_asked(cell, weights[name], name, gates) for name, gates, _ in products]
    vectors = dict(sorted(vectors.items()))  # as JAX has them
    formulas = Formulas()
    tracer = tracing.Tracer(formulas, units)
    row = (tracing.ROWS, units)
    leaves = [_leaves(tracer, "input", [tuple(a.shape) for a in inputs], [row])]
    leaves.append(_leaves(tracer, "state", [row] * len(sizes), [row]))
    leaves.append(_parts(tracer, asked))
    leaves.append(_leaves(tracer, "vector", [tuple(v.shape) for v in vectors.values()], [(units,), (1,), ()]))
    names = []
    step = functools.partial(_flat_step, cell, len(inputs), asked, list(vectors), names)
    results = backend.followed(step, sum(leaves, []), tracer)
    nodes = [tracer.node(a) for a in results]
    counts = {"input": len(inputs), "state": len(sizes), "vector": len(vectors)}
    return _program(formulas, counts, tuple(vectors), asked, names, nodes[: len(asked)], nodes[len(asked) :])


def _asked(cell, weights, name, gates):
    """The `_Asked` of the product of some gates, or of all."""
    more, units = sorted(set(weights) - {"kernel", "bias"}), cell.state_sizes()[0]
    if more:
        raise Untraceable(f"has a recurrent product with {' and '.join(more)}")
    left, width = weights["kernel"].shape
    arrays = len(gates or cell.gates_of_products()[name]) or 1
    width = width // len(cell.recurrent_gates) * len(gates) if gates else width
    if left != units or width % (arrays * units):
        raise Untraceable(f"has a recurrent product of the shape ({left}, {width}) beside {units} units")
    return _Asked(arrays, width // units)


def _leaves(tracer, kind, shapes, allowed):
    for shape in shapes:
        if shape not in allowed:
            raise Untraceable(f"reads an array of shape {shape}")
    return [tracer.leaf(shape, [tracer.formulas.leaf(kind, i)]) for i, shape in enumerate(shapes)]


def _parts(tracer, asked):
    """The arrays that the products are handed out as."""
    nodes = [tracer.formulas.leaf("part", i) for i in range(sum(ask.parts for ask in asked))]
    each = [ask.each for ask in asked for _ in range(ask.arrays)]
    taken = iter(nodes)
    return [tracer.leaf((tracing.ROWS, n * tracer.units), list(itertools.islice(taken, n))) for n in each]


def _flat_step(cell, count, asked, vectors, names, *arrays):
    """The step as a function of arrays alone: the left operands of its products, then the new states.

    Lists in `names` the keys of the products.
    """
    arrays, lefts = list(arrays), []

    def take(count):
        return [arrays.pop(0) for _ in range(count)]

    inputs, state = take(count), take(len(cell.state_sizes()))
    products = [take(ask.arrays) for ask in asked]

    def multiply(name, left, _):
        names.append(name)
        lefts.append(left)
        return products[len(lefts) - 1]

    new = cell.engine.step({"inputs": inputs}, multiply, dict(zip(vectors, arrays, strict=True)), *state)
    return [*lefts, *new]


def _cotangents(formulas, asked, lefts, new):
    """The cotangents of nodes, from the last product to the first."""
    parts = itertools.count()
    after = {formulas.leaf("part", next(parts)): k + 1 for k, ask in enumerate(asked) for _ in range(ask.parts)}
    stages = scheduling.stages_of(formulas, [*lefts, *new], after)
    found = {}

    def add(node, d):
        if formulas.value(node) is None:
            found[node] = formulas("add", found[node], d) if node in found else d

    for i, node in enumerate(new):
        add(node, formulas.leaf("dnew", i))
    for stage in range(len(asked), -1, -1):
        for node in sorted([n for n, s in stages.items() if s == stage], reverse=True):
            if node in found:
                for a, d in formulas.pulled(node, found[node]):
                    add(a, d)
        if stage and formulas.nodes[lefts[stage - 1]][0] != "state":
            add(lefts[stage - 1], formulas.leaf("dleft", stage - 1))
    return found


def _program(formulas, counts, vectors, asked, names, lefts, new):
    """The program of a step whose left operands and new states are these nodes."""
    found = _cotangents(formulas, asked, lefts, new)
    counts = {**counts, "part": sum(ask.parts for ask in asked), "dnew": len(new), "dleft": len(asked)}
    leaves = {kind: [formulas.leaf(kind, i) for i in range(count)] for kind, count in counts.items()}
    cotangents = {
        kind: [formulas.lowered(found[leaf]) if leaf in found else None for leaf in leaves[kind]]
        for kind in ("input", "part", "state", "vector")
    }
    is_state = [formulas.nodes[node][0] == "state" for node in lefts]
    state_of = [formulas.nodes[node][1][0] if state else None for node, state in zip(lefts, is_state, strict=True)]
    lefts, new = ([formulas.lowered(node) for node in nodes] for nodes in (lefts, new))
    keep = _kept(formulas, cotangents, [*lefts, *new])
    due = [[] if state else [left] for left, state in zip(lefts, is_state, strict=True)] + [[*new, *keep]]
    forward = scheduling.Schedule(
        formulas, [n for kind in ("vector", "input", "state", "part") for n in leaves[kind]], due
    )
    last = forward.due[-1]
    products = [
        Product(name, ask.parts, state, slots[0] if slots else -1)
        for name, ask, state, slots in zip(names, asked, state_of, forward.due[:-1], strict=True)
    ]
    backward, slots = _way_back(formulas, leaves, keep, asked, cotangents)
    return Program(
        constants=forward.constants,
        vectors=vectors,
        inputs=counts["input"],
        states=counts["state"],
        products=tuple(products),
        forward=tuple(map(Stage, forward.stages)),
        new=last[: len(new)],
        kept=last[len(new) :],
        before=tuple(i for i, leaf in enumerate(leaves["state"]) if leaf in backward.read),
        backward=tuple(map(Stage, backward.stages)),
        backward_constants=backward.constants,
        dinputs=slots["input"],
        dparts=slots["part"],
        dstates=slots["state"],
        dvectors=slots["vector"],
        forward_crossing=forward.crossing,
        backward_crossing=tuple(
            sorted({*backward.crossing, *[s for due in backward.due[:-1] for s in due if s >= backward.temporaries]})
        ),
    )


def _kept(formulas, cotangents, forward):
    """The nodes that are stored for the way back."""
    mixed, wanted = set(), set()
    for node in formulas.reached([d for each in cotangents.values() for d in each if d is not None]):
        operands = formulas.operands(node)
        if formulas.nodes[node][0] in ("dnew", "dleft") or mixed.intersection(operands):
            mixed.add(node)
            wanted.update(operands)
    return scheduling.kept(formulas, wanted - mixed, set(formulas.reached(forward)))


def _way_back(formulas, leaves, keep, asked, cotangents):
    """The `Schedule` of the way back, and by kind of leaf the slots of the cotangents.

    The cotangents of a product's parts are due before the product. Another one is computed where what it shares with
    them is at hand, so that this need not be stored, and in the last stage where it shares nothing.
    """
    given = [*leaves["vector"], *leaves["state"], *keep, *leaves["dnew"], *leaves["dleft"]]
    last, early = len(asked), {}
    part_stage = [last - 1 - k for k, ask in enumerate(asked) for _ in range(ask.parts)]
    for stage, d in sorted(zip(part_stage, cotangents["part"], strict=True), key=lambda pair: pair[0]):
        for node in formulas.reached([d] if d is not None else [], set(given)):
            if formulas.operands(node) and node not in given:
                early.setdefault(node, stage)
    known = {**{leaf: last - k for k, leaf in enumerate(leaves["dleft"])}, **early}

    def stage_of(kind, i, d):
        if kind == "part":
            return part_stage[i]
        shares = not early.keys().isdisjoint(formulas.reached([d], set(given)))
        return scheduling.stages_of(formulas, [d], known)[d] if shares else last

    places = {
        (kind, i): (stage_of(kind, i, d), d)
        for kind, found in cotangents.items()
        for i, d in enumerate(found)
        if d is not None
    }
    due = [[d for at, d in places.values() if at == stage] for stage in range(last + 1)]
    schedule = scheduling.Schedule(formulas, given, due)
    slots = {kind: [-1] * len(found) for kind, found in cotangents.items()}
    for (kind, i), (stage, d) in places.items():
        slots[kind][i] = schedule.due[stage][due[stage].index(d)]
    return schedule, {kind: tuple(found) for kind, found in slots.items()}
