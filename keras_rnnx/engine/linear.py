r"""The linear engine: \(h_t = a_t \odot h_{t-1} + b_t\) for all t, in parallel over time.

A number is a list of arrays, `[real]` or `[real, imaginary]`, so that no backend's complex dtype or convention matters.

The forms give the same numbers. The *loop* does T steps. The *chunked* form cuts time into chunks of L and walks all
chunks side by side, twice: once for what each chunk does to its start (\(h \mapsto p\,h + q\)), then, the starts being
known, for the states. The starts obey the same recurrence over the chunks, which may be cut into chunks again. With one
level these are 2 L + T / L steps of long vectors instead of T of short ones; with enough levels, 2 L log T / log L. The
*native* form is the loop by a kernel, which reads and writes each number once.

The gradient is the same recurrence the other way. With \(\delta h_t\) the cotangent of \(h_t\) from outside,

    g_t = dh_t + conj(a_{t+1}) g_{t+1},   db_t = g_t,   da_t = g_t conj(h_{t-1}),   dh_0 = conj(a_1) g_1.

Only products of a's are formed, never quotients or logarithms, so the forms are as stable as the loop where |a| <= 1.
"""

import functools

from keras import ops

from keras_rnnx.engine import masks
from keras_rnnx.engine.backends import backend, unrolled
from keras_rnnx.engine.pieces import in_pieces, merged, padded
from keras_rnnx.engine.twice import differentiable
from keras_rnnx.native import scan as native

NATIVE = ("native",)  # the form that a kernel computes


def times(a, b):
    """The product of two numbers."""
    if len(a) == 1:
        return [a[0] * b[0]]
    return [a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]]


def plus(a, b):
    """The sum of two numbers."""
    return [one + other for one, other in zip(a, b, strict=True)]


def conjugate(a):
    """The complex conjugate of a number."""
    return a if len(a) == 1 else [a[0], -a[1]]


class LinearEngine:
    """Runs linear recurrences and differentiates them."""

    def __init__(self):
        self._functions = {}

    def run(self, a, b, start, form, cut=None, clip=None, mask=None, compiled=True, save=True, probe=()):
        """All states of a linear recurrence.

        Args:
            a: the number (T, B, ...), or, the same at all steps, one that broadcasts to (1, B, ...).
            b: the number (T, B, ...).
            start: the number (B, ...) before the first step.
            form: `("native",)`, `("loop",)`, `("chunked", L, levels)` or `("unrolled",)`.
            cut: (T,) bool or None, the steps before which the gradient stops.
            clip: bound of the gradient entering each earlier step, or None; needs the form `("loop",)`.
            mask: (T, B) bool or None, the steps at which to clip. Default: all.
            compiled: run as a compiled region.
            save: keep what the gradient needs.
            probe: none, or the number (T, B, ...) whose gradient is to be that in the states, g; see `Engine`.

        Returns:
            The number (T, B, ...).
        """
        steps, *rest = ops.shape(b[0])
        flags = {"cut": cut, "mask": None if clip is None else mask}
        flags = {name: flag for name, flag in flags.items() if flag is not None}
        slots, padded, flow = {"b": b, "probe": list(probe), **flags}, None, {"start": start}
        same = a[0].shape[0] == 1
        if same:
            flow["a"] = [ops.broadcast_to(part, (1, *rest)) for part in a]
        else:
            slots["a"] = a
        if compiled:
            slots, padded = backend.bucket(slots)
        data = {name: slots.pop(name) for name in flags}
        states = self._function(form, same, clip, compiled, save)({**flow, **slots}, data)["h"]
        return states if padded is None else [s[:steps] for s in states]

    def _function(self, form, same, clip, compiled, save):
        key = form, same, clip, compiled, save
        if key not in self._functions:
            loop = ("loop",) if form == NATIVE else form
            plain = functools.partial(_forward, loop, same), functools.partial(_backward, loop, same, clip)
            ways = [functools.partial(way, same) for way in (native.forward, native.backward)]
            ways = ways if form == NATIVE else plain
            forward, backward = (backend.Region(way, compiled) for way in ways)
            primal = backend.Region(functools.partial(_primal, ways[0]), compiled)
            if form == NATIVE:
                forward, backward = differentiable(forward, backward, plain)
            self._functions[key] = backend.custom_vjp(primal, forward, backward, save=save)
        return self._functions[key]


def _primal(forward, flow, data):
    return forward(flow, data)[0]


def _forward(form, same, flow, data):
    del data
    outputs = {"h": recurrence(_at_all_steps(flow, same), flow["b"], flow["start"], form)}
    return outputs, outputs


def _at_all_steps(flow, same):
    return [ops.broadcast_to(part, ops.shape(flow["b"][0])) for part in flow["a"]] if same else flow["a"]


def _backward(form, same, clip, args, saved, cotangents):
    flow, data = args
    a, h = conjugate(_at_all_steps(flow, same)), saved["h"]
    if "cut" in data:
        cut = ops.reshape(data["cut"], (-1, *[1] * (len(a[0].shape) - 1)))
        a = [ops.where(cut, ops.zeros_like(part), part) for part in a]
    after = [ops.concatenate([part[1:], part[:1]]) for part in a]  # the last step has none after it: it meets a zero
    none = [ops.zeros_like(part[0]) for part in a]
    again = _flipped(after), _flipped(cotangents["h"]), none
    if clip is None:
        g = _flipped(recurrence(*again, form))
    else:
        mask = data.get("mask")
        later = None if mask is None else ops.flip(ops.concatenate([mask[1:], mask[:1]]), 0)
        g = _flipped(_loop(*again, unrolled.scan if form[0] == "unrolled" else backend.scan, clip, later))
    before = [ops.concatenate([s[None], part[:-1]]) for s, part in zip(flow["start"], h, strict=True)]
    start = times([part[0] for part in a], [part[0] for part in g])
    if clip is not None:
        start = masks.bounded(start, clip, None if mask is None else mask[0])
    probe = g if flow["probe"] else []
    da = times(g, conjugate(before))
    da = [ops.sum(part, 0, keepdims=True) for part in da] if same else da
    return ({"a": da, "b": g, "probe": probe, "start": start},)


def _flipped(number):
    return [ops.flip(part, 0) for part in number]


def recurrence(a, b, start, form):
    """All states (T, B, ...) of the recurrence from `start`, in a form; see `LinearEngine.run`."""
    kind = form[0]
    if kind == "chunked":
        return _chunked(a, b, start, *form[1:])
    return _loop(a, b, start, unrolled.scan if kind == "unrolled" else backend.scan)


def _loop(a, b, start, scan, bound=None, mask=None):
    """The recurrence step by step; with a bound what is kept of the state is clipped, see `masks.bounded`."""

    def body(h, slot):
        kept = times(slot["a"], h)
        kept = kept if bound is None else masks.bounded(kept, bound, slot.get("mask"))
        h = plus(kept, slot["b"])
        return h, h

    slots = {"a": a, "b": b, **({} if mask is None else {"mask": mask})}
    return scan(body, list(start), slots)[1]


def _chunked(a, b, start, size, levels):
    steps = ops.shape(a[0])[0]
    slots = {"a": [_in_chunks(part, size) for part in a], "b": [_in_chunks(part, size) for part in b]}

    def effect(carry, slot):
        p, q = carry
        return (times(slot["a"], p), plus(times(slot["a"], q), slot["b"])), ()

    first = [part[0] for part in slots["a"]]
    one = [ops.ones_like(first[0]), *[ops.zeros_like(part) for part in first[1:]]]
    zero = [ops.zeros_like(part) for part in first]
    (p, q), _ = backend.scan(effect, (one, zero), slots)
    ends = _chunked(p, q, start, size, levels - 1) if levels > 1 else _loop(p, q, start, backend.scan)
    starts = [ops.concatenate([s[None], end[:-1]]) for s, end in zip(start, ends, strict=True)]
    states = _loop(slots["a"], slots["b"], starts, backend.scan)
    return [_in_time(part, steps) for part in states]


def _in_chunks(part, size):
    """(T, B, ...) as (size, chunks, B, ...), zeros after the end."""
    return ops.swapaxes(in_pieces(padded(part, size), size), 0, 1)


def _in_time(part, steps):
    """The inverse of `_in_chunks`."""
    return merged(ops.swapaxes(part, 0, 1))[:steps]
