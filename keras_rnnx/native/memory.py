"""A matrix memory by a native kernel: the same arguments and results as the loop of `engine.stepwise`."""

from keras import ops

from keras_rnnx.engine.backends import backend

BY_KEY, DELTA, RESET, CUT = (1 << i for i in range(4))  # the bits of `flags`, as in src/memory_ffi.cpp


def forward(flow, data):
    """What is read, and the last memory; `backward` takes nothing but the arguments."""
    given, attributes = _prepared(flow, {"reset": data["reset"]} if "reset" in data else {})
    y, final = backend.foreign("rnnx_memory_forward", given, _shapes(flow, "v", "state"), attributes)
    return {"y": y, "final": final}, {}


def backward(args, saved, cotangents):
    """The cotangents of `flow`."""
    del saved
    flow, data = args
    given, attributes = _prepared(flow, data)
    names = [name for name in ("q", "k", "v", "log_decay", "beta", "state") if name in flow]
    given += [*([data["cut"]] if "cut" in data else []), cotangents["y"], cotangents["final"]]
    made = backend.foreign("rnnx_memory_backward", given, _shapes(flow, *names), attributes)
    made = dict(zip(names, made, strict=True))
    made["log_decay"] = made["log_decay"] * ops.exp(flow["log_decay"])
    return (made,)


def _prepared(flow, data):
    """The arguments that both ways take, and the attributes."""
    flags = (BY_KEY if len(flow["log_decay"].shape) == 4 else 0) | (DELTA if "beta" in flow else 0)
    flags |= (RESET if "reset" in data else 0) | (CUT if "cut" in data else 0)
    given = [flow["q"], flow["k"], flow["v"], ops.exp(flow["log_decay"])]
    given += [flow["beta"]] if "beta" in flow else []
    given += [flow["state"], *([data["reset"]] if "reset" in data else [])]
    return given, {"flags": flags, "values": flow["v"].shape[-1]}


def _shapes(flow, *names):
    """The shapes of arrays like those of `flow`, as `backend.foreign` takes them: axes of q, and sizes."""
    values = (flow["v"].shape[-1],)
    known = {"q": ((0, 1, 2, 3), ()), "v": ((0, 1, 2), values), "beta": ((0, 1, 2), ()), "state": ((1, 2, 3), values)}
    known |= {"k": known["q"], "log_decay": known["q" if len(flow["log_decay"].shape) == 4 else "beta"]}
    return [known[name] for name in names]
