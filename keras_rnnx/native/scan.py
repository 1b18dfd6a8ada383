"""The linear recurrence by a native kernel: the same arguments and results as the loop of `engine.linear`."""

from keras_rnnx.engine.backends import backend

COMPLEX, SAME, CUT = (1 << i for i in range(3))  # the bits of `flags`, as in src/scan_ffi.cpp


def forward(same, flow, data):
    """The states, which are also what `backward` takes."""
    del data
    a, steps, _, _, flags = _prepared(same, flow)
    given = [*flow["b"], *a, *flow["start"]]
    states = {"h": list(backend.foreign("rnnx_scan_forward", given, [steps] * len(a), {"flags": flags}))}
    return states, states


def backward(same, args, saved, cotangents):
    """The cotangents of `flow`."""
    flow, data = args
    a, steps, state, factor, flags = _prepared(same, flow)
    cut = [data["cut"]] if "cut" in data else []
    given = [*saved["h"], *cotangents["h"], *a, *flow["start"], *cut]
    results = [shape for shape in (factor, steps, state) for _ in a]
    made = list(backend.foreign("rnnx_scan_backward", given, results, {"flags": flags | (CUT if cut else 0)}))
    da, db, dstart = (made[i : i + len(a)] for i in range(0, len(made), len(a)))
    da = [part[None] for part in da] if same else da
    return ({"a": da, "b": db, "start": dstart, "probe": db if flow["probe"] else []},)


def _prepared(same, flow):
    """The array a; the shapes of steps, of a state and of a, as `backend.foreign` takes them; the flags."""
    axes = tuple(range(len(flow["b"][0].shape)))
    steps, state = (axes, ()), (axes[1:], ())
    a = [part[0] for part in flow["a"]] if same else flow["a"]
    flags = (COMPLEX if len(a) == 2 else 0) | (SAME if same else 0)
    return a, steps, state, state if same else steps, flags
