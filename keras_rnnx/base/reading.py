"""From a cell's equations to the engine: draws, flags, and the step between plain arrays."""

import dataclasses
import functools

import keras
from keras import ops

from keras_rnnx.base.interface import Result, as_shape
from keras_rnnx.base.scopes import Given, Noting, NoVariables, values
from keras_rnnx.engine import masks, paths, products
from keras_rnnx.engine.gates import Gates, Recurrent, normalize, split
from keras_rnnx.engine.segment import transition
from keras_rnnx.engine.sequential import Walk


def _key(name, gates):
    """The name of some columns of a recurrent product among the weights of the engine."""
    return name if gates is None else f"{name}:{' '.join(gates)}"


def weights_of_step(cell):
    """The weights of each recurrent product that a step asks for, cut into columns once, before the loop."""
    weights = cell.weights_of_products()
    return {
        _key(name, gates): products.columns(weights[name], cell.recurrent_gates, gates) for name, gates, _ in cell.asked
    }


def engine_step(cell, x, multiply, vectors, *state):
    """`cell.step` between plain arrays."""
    return named_step(cell, cell.read_by_step[0], x, multiply, vectors, state)


def engine_inputs(cell, given, x, lanes=False):
    """What a step reads, for all steps of a segment, from what `Walk.late` or `Walk.kernel` has in its place."""
    if "joined" in x:
        (joined,) = x["joined"]
        if "kernel" in given:
            joined = products.apply({"kernel": given["kernel"]}, joined, joined.dtype)
        if "bias" in given:
            joined = joined + given["bias"]
        return {"inputs": list(Gates(joined, cell.read_by_step[0]))}
    if lanes:
        pair = [
            engine_inputs(cell, [v[i] for v in given], keras.tree.map_structure(lambda a, i=i: a[:, i], x))
            for i in range(2)
        ]
        return keras.tree.map_structure(lambda *both: ops.stack(both, 1), *pair)
    rest = {name: a for name, a in x.items() if name != "raw"}
    with Given(cell.read_by_step[2], given):
        return {"inputs": list(cell.inputs(x["raw"]).values()), **rest}


def named_step(cell, names, x, multiply, vectors, state, integrate=None):
    """`cell.step` on inputs with names, with products that are normalized and get their bias after that.

    `integrate(gates, arrays)` gives what the step gets in place of the recurrent products of these gates.
    """
    product = functools.partial(_product, cell, multiply, vectors)

    def multiply(name, gates, left):
        made = product(name, gates, left)
        return integrate(gates or cell.recurrent_gates, made) if integrate and name == "recurrent" else made

    if cell.timed:
        vectors = {**vectors, "delta": x["delta"]}
    u = Recurrent(cell.gates_of_products(), vectors, multiply)
    new = cell.step(Gates(x["inputs"], names), u, *state)
    new = list(new) if isinstance(new, (list, tuple)) else [new]
    return [n.array if isinstance(n, Gates) else n for n in new]


def _product(cell, multiply, vectors, name, gates, left):
    """A recurrent product: a list of an array for each of its gates."""
    names = gates or cell.gates_of_products()[name]
    made = multiply(_key(name, gates), left, len(names) or 1)
    if name != "recurrent" or not cell.normalization:
        return made
    parts = {n: v for n, v in vectors.items() if n in ("recurrent_gain", "recurrent_bias")}
    parts = products.columns(parts, cell.recurrent_gates, gates)
    gain = Gates(parts["recurrent_gain"], names)
    made = [normalize(gate, g, cell.normalization) for gate, g in zip(made, gain, strict=True)]
    if "recurrent_bias" in parts:
        made = [gate + b for gate, b in zip(made, Gates(parts["recurrent_bias"], names), strict=True)]
    return made


def tried_step(cell):
    """Runs one step on zeros; returns what it reads: see `Cell.read_by_step`.

    Raises:
        ValueError: if `step` returns other states than `STATES` announces, or reads a variable.
    """
    asked, dtype = [], cell.state_dtype
    weights, vectors = cell.weights_of_products(), cell.values_of_vectors()

    def multiply(key, left, count):
        name, _, gates = key.partition(":")
        gates = tuple(gates.split()) or None
        size = tuple(left.shape[1:])
        asked.append((name, gates, size[0] if len(size) == 1 else size))
        product = products.apply(products.columns(weights[name], cell.recurrent_gates, gates), left, dtype)
        return split(product, count)

    read = {}
    with Noting(read):
        inputs = cell.inputs(ops.zeros((2, *cell.step_shape), cell.compute_dtype))
    x = {"inputs": [ops.cast(a, dtype) for a in inputs.values()], "delta": ops.ones((2, 1), dtype)}
    expected = [(2, *as_shape(size)) for size in cell.state_sizes()]
    names, state = tuple(inputs), [ops.zeros(shape, dtype) for shape in expected]
    with NoVariables():
        new = named_step(cell, names, x, multiply, vectors, state)
    shapes = [tuple(n.shape) for n in new]
    if shapes != expected:
        raise ValueError(
            f"Expected `step` of {type(cell).__name__} to return the states {cell.states} of "
            f"shapes {expected} for a batch of 2. Received: shapes {shapes}"
        )
    return names, tuple(asked), list(read.values())


def interval(deltas, inputs, dtype):
    """The time since the step before, (B, 1), of a single step; 1 where none is given."""
    deltas = ops.ones((ops.shape(inputs)[0], 1)) if deltas is None else ops.reshape(deltas, (-1, 1))
    return ops.cast(deltas, dtype)


def multiplier(weights, dtype):
    """What makes the products of a single step outside the engine: see `Engine`."""

    def multiply(name, left, count):
        return split(products.apply(weights[name], left, dtype), count)

    return multiply


def single_step(cell, inputs, states, deltas=None):
    """One step at inference, outside the engine: Keras' cell protocol."""
    flow = {"vectors": cell.values_of_vectors()}
    states = [ops.cast(s, cell.state_dtype) for s in states]
    x = {"inputs": list(cell.inputs(ops.cast(inputs, cell.compute_dtype)).values())}
    if cell.timed:
        x["delta"] = interval(deltas, inputs, cell.state_dtype)
    walk, multiply = Walk(zoneout=cell.rates), multiplier(weights_of_step(cell), cell.state_dtype)
    new = transition(cell.engine, walk, flow, {"fixed": {}}, {"x": x}, states, multiply)
    return ops.cast(cell.readout(new[0]), cell.compute_dtype), new


def read(cell, x, state, how):
    """Reads a sequence x (T, B, D), or (B, T, D) as the `Reading` says, from a list of states; returns a `Result`."""
    path = cell.path(how)
    if path.kernels is not None and not path.kernels.WALKS:
        return _read_fused(cell, cell.dropped(x, how), state, how, path.kernels)
    flow, data = _prepared(cell, x, state, how, path.kernels)
    made = cell.engine.run(flow, data, walk_of(cell, how, path))
    return result_of(cell, flow, made["emit"], made["final"], how)


def read_pair(cells, x, states, ways):
    """Reads a sequence forwards by one cell and backwards by another one like it, in one loop.

    Args:
        cells: two cells for which `alike` holds.
        x: (T, B, D).
        states: two lists of states.
        ways: their `Reading`s, which differ in the direction.

    Returns:
        Two `Result`s, aligned to time.
    """
    how = ways[0]
    flows, datas = zip(*[_prepared(*each) for each in zip(cells, (x, x), states, ways, strict=True)], strict=True)
    lanes = []
    for way, flow, data in zip(ways, flows, datas, strict=True):
        slots = {k: v for k, v in data["slots"].items() if k != "cut"}
        timed = {"x": flow["x"], "probe": flow["probe"], "slots": slots}
        timed = keras.tree.map_structure(lambda a: ops.flip(a, 0), timed) if way.reverse else timed
        rows = {key: flow[key] for key in ("weights", "vectors")}
        rows = keras.tree.map_structure(lambda w: w[None] if len(w.shape) == 1 else w, rows)
        rest = {**{key: flow[key] for key in ("inputs", "state", "reset_state")}, "fixed": data["fixed"]}
        lanes.append((timed, {**rows, **rest}))
    timed, rest = (
        keras.tree.map_structure(lambda *pair, axis=axis: ops.stack(pair, axis), *parts)
        for axis, parts in ((1, [lane[0] for lane in lanes]), (0, [lane[1] for lane in lanes]))
    )
    if "cut" in datas[0]["slots"]:
        cuts = datas[0]["slots"]["cut"]
        timed["slots"]["cut"] = ops.flip(cuts, 0) if how.reverse else cuts
    data = {"slots": timed["slots"], "fixed": rest.pop("fixed")}
    walk = walk_of(cells[0], dataclasses.replace(how, reverse=False), cells[0].path(how), lanes=True)
    made = cells[0].engine.run({**rest, "x": timed["x"], "probe": timed["probe"]}, data, walk)
    results = []
    for i, (cell, way, flow) in enumerate(zip(cells, ways, flows, strict=True)):
        emit = [ops.flip(a[:, i], 0) if way.reverse else a[:, i] for a in made["emit"]]
        results.append(result_of(cell, flow, emit, [s[i] for s in made["final"]], way))
    return results


def alike(cells):
    """Whether two cells can walk in one loop: the same equations and options, in weights of their own."""
    first, second = cells
    if type(first) is not type(second) or not getattr(first, "LANES", False):
        return False
    ignored = ("name", "seed", "trainable")
    configs = [{k: v for k, v in cell.get_config().items() if k not in ignored} for cell in cells]
    return configs[0] == configs[1] and first.recurrent_structure != "block"


def _prepared(cell, x, state, how, kernels=None):
    """What the engine takes: `flow` and `data`, see there."""
    steps, batch = ops.shape(x)[1::-1] if how.batch_first else ops.shape(x)[:2]
    given = []
    if kernels is not None:
        joined, given = _wide(cell, cell.joined_inputs(x, how))
        made = {"joined": joined}
    elif cell.is_late(how):
        made, given = {"raw": cell.dropped(x, how)}, values(cell.read_by_step[2])
    else:
        made = {"inputs": list(cell.inputs_of_sequence(x, how).values())}
    weights = weights_of_step(cell)
    flow = {
        "x": {**made, "delta": how.intervals(x, cell.state_dtype)} if cell.timed else made,
        "inputs": given,
        "state": [ops.cast(s, cell.state_dtype) for s in state],
        "weights": weights if kernels is None else _wide(cell, weights),
        "vectors": cell.values_of_vectors(),
        "reset_state": cell.initial_state(batch) if how.resets is not None else [],
        "probe": list(how.probe),
    }
    data = {"slots": how.flags(steps), "fixed": {}}
    if how.training:
        draw(cell, data, steps, batch)
    return flow, data


def _wide(cell, arrays):
    """Arrays in the dtype of the states, in which a native kernel computes whatever dtype they are rounded to."""
    return keras.tree.map_structure(lambda a: ops.cast(a, cell.state_dtype), arrays)


def walk_of(cell, how, path, lanes=False):
    """The engine's `Walk` for a cell and a `Reading`."""
    every = tuple(range(len(cell.states)))
    return how.walk(
        late=cell.is_late(how),
        emit={"last": (), "outputs": (0,), "states": every}[how.emit],
        compiled=path.compiled,
        kernel=None if path.kernels is None or lanes else path.kernels.kernel(cell.equations()[0]),
        zoneout=cell.rates if any(cell.rates) else (),
        lanes=lanes,
    )


def result_of(cell, flow, emit, final, how):
    """The `Result` of what the engine emitted and of the last states."""
    return Result(
        output=cell.readout(final[0]),
        final=list(final),
        outputs=cell.readout(emit[0]) if emit else None,
        states=emit if how.emit == "states" else None,
        start=[cell.readout(flow["state"][0]), *flow["state"]] if how.holds_start else None,
        batch_first=how.batch_first,
    )


def draw(cell, data, steps, batch):
    """Draws the masks of recurrent dropout and zoneout for a whole sequence."""
    if cell.recurrent_dropout:
        each_step = cell.recurrent_dropout_mode == "step"
        lead = (steps, batch) if each_step else (batch,)
        data["slots" if each_step else "fixed"]["keep"] = [
            keras.random.dropout(
                ops.ones((*lead, *as_shape(size)), cell.state_dtype),
                cell.recurrent_dropout,
                seed=cell.seed_generator,
            )
            for size in cell.operands
        ]
    if any(cell.rates):
        data["slots"]["zoneout"] = [
            keras.random.uniform((steps, batch, *as_shape(size)), seed=cell.seed_generator) < p
            for size, p in zip(cell.state_sizes(), cell.rates, strict=True)
            if p
        ]


def obstacles(cell, how, equations):
    """What the kernels for whole sequences do not do, among what is asked for: a list of names."""
    kernels = paths.kernels()
    if equations is None or kernels is None:
        return []
    around = {
        "resets": how.resets is not None,
        "all states at every step": how.emit == "states" and len(cell.states) > 1,
        "recurrent_dropout": how.training and cell.recurrent_dropout,
        "zoneout": any(cell.rates),
        f"{cell.compute_dtype} inputs with float32 states": cell.compute_dtype != cell.state_dtype,
    }
    found = {
        "masks": how.mask is not None and not kernels.MASKS,
        "normalization": cell.normalization,
        f"recurrent_structure={cell.recurrent_structure!r}": cell.recurrent_structure != "dense",
        f"memory={how.memory!r}": kernels.GRADIENTS and not _remembers(cell, how, kernels),
        "recurrent_clip": kernels.GRADIENTS and how.clip is not None,
        "gradients in the states": how.probe,
    }
    found |= {name: asked and not kernels.WALKS for name, asked in around.items()}
    dtype = cell.state_dtype if kernels.WALKS else cell.compute_dtype
    return [*kernels.lacks(equations, dtype, how.training), *[name for name, asked in found.items() if asked]]


def _remembers(cell, how, kernels):
    """Whether kernels have the memory mode: `remat` those that project the inputs themselves."""
    return how.memory[0] == "store" or (kernels.WALKS and (how.memory[0] == "tbptt" or cell.is_projected))


def _read_fused(cell, x, state, how, kernels):
    """Reads with a kernel, which takes lengths but no mask: the valid steps of each row come first, then the others."""
    equations, lengths = cell.fused(), None
    state = [ops.cast(s, cell.state_dtype) for s in state]
    if how.mask is not None:
        places = ops.transpose(masks.places(ops.transpose(how.mask)))
        x, lengths = masks.taken(x, places), ops.sum(ops.cast(how.mask, "int32"), axis=0)
    weights = cell.fused_weights(kernels.GATES[equations.kind])
    outputs, final = kernels.run(equations, x, state, weights, how.reverse, lengths)
    if how.mask is not None:
        before = ops.cumsum(ops.cast(how.mask, "int32"), axis=0) - 1  # the place of the last valid step up to each
        last = before + ops.cast(~how.mask, "int32") if how.reverse else before
        known = (last >= 0) & (last < lengths)
        outputs = masks.taken(outputs, ops.clip(last, 0, ops.shape(last)[0] - 1))
        outputs = ops.where(masks.rows(known, outputs), outputs, state[0])
        final = [ops.where(lengths[:, None] > 0, new, old) for new, old in zip(final, state, strict=True)]
    emit = [outputs] if how.emit != "last" else []
    return result_of(cell, {"state": state}, emit, final, how)
