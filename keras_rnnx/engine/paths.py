"""The rule that chooses how a sequence is walked, from configuration and shapes alone."""

import contextlib
import dataclasses

from keras import activations

from keras_rnnx.engine.backends import backend
from keras_rnnx.native import library
from keras_rnnx.native.library import native

_PLAIN = []  # for each context of plain loops, the kernels that may be used in it instead, or None
CHUNK = 32  # steps of the linear engine's chunks
LOOPED = ("cpu",)  # devices on which a compiled loop over single steps was measured as quick as chunks, or quicker
MEMORY_CHUNK = 32  # steps of a matrix memory's chunks
FEW_CHUNKS = 8  # up to which, or where their number varies, only the loop over the chunks is compiled


@contextlib.contextmanager
def plain_loops():
    """Within this context recurrent layers trace plain loops instead of XLA regions, for converters that refuse XLA.

    Example:
        with keras_rnnx.plain_loops():
            flat = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    """
    with traced_for(None):
        yield


@contextlib.contextmanager
def traced_for(kernels):
    """Within this context layers trace kernels of a converter's target, where they fit, and else plain loops."""
    _PLAIN.append(kernels)
    try:
        yield
    finally:
        _PLAIN.pop()


@dataclasses.dataclass(frozen=True)
class Equations:
    """A cell's equations, as far as a kernel for whole sequences may compute them.

    Attributes:
        kind: `"lstm"`, `"gru"` or `"rnn"`; with a program the name of the cell.
        activations: Keras' functions: of the gates, if any, of the candidate, and of an LSTM's c in the output.
        more: what the cell has beyond the usual equations of the kind: a dict of arguments and their values.
        program: the step as a `native.program.Program`, or None.
    """

    kind: str
    activations: tuple
    more: dict = dataclasses.field(default_factory=dict)
    program: object = None

    def beyond(self, kernels):
        """What they have beyond those of kernels, which are by kind and activations: a list of strings."""
        found = [f"{name}={value!r}" for name, value in self.more.items()]
        if (self.kind, *self.activations) not in kernels:
            found.append(f"the activations {', '.join(str(activations.serialize(a)) for a in self.activations)}")
        return found


def kernels():
    """What has kernels for whole sequences: the target of `traced_for`, the native library, the backend, or None.

    It has a `NAME` (that of the path), an `OWNER`, `MASKS` (whether it takes a mask), `GRADIENTS` (whether a gradient
    may be taken), `WALKS` (whether it is a way to do the engine's own walk, with all that happens around a step), and
    `lacks(equations, dtype, training)`, a list of strings. If it walks, `kernel(equations)` is `Walk.kernel`. Else it
    has `GATES` (for each kind the order of its gates) and `run(equations, x, state, weights, reverse, lengths)`, which
    returns the outputs (T, B, H) and the final states. With `lengths` (B,) only so many first steps of each row are
    read.
    """
    if _PLAIN and (_PLAIN[-1] or backend.compiles()):
        return _PLAIN[-1]
    return native if backend.compiles() and library.problem() is None else backend.kernels


@dataclasses.dataclass(frozen=True)
class Path:
    """A way of walking a sequence.

    Attributes:
        name: `"native"`, `"xla loop"`, `"plain loop"`, `"python loop"`, `"unrolled"`, `"torch fused"` or `"onnx
            operator"`; of the linear engine also `"xla chunked"` and `"chunked"`.
        why: why it was chosen, and what a faster one would need.
        form: of the linear engine, see there; else None.
        kernels: what computes the whole sequence, see `kernels`; None for a loop.
    """

    name: str
    why: str
    form: tuple | None = None
    kernels: object = None

    @property
    def compiled(self):
        """Whether the walk runs as a compiled region."""
        return self.name.startswith("xla") or self.name == "native"


def choose(equations, obstacles, unroll, lack=None):
    """The path of one recurrent layer.

    Args:
        equations: those of the cell, or None where no kernel can compute them.
        obstacles: what in the layer's configuration or call rules a kernel out: a list of strings.
        unroll: whether the loop is to be written out.
        lack: what the step does that makes it no program for the native kernels, where they have looked.
    """
    if unroll:
        return Path("unrolled", "unroll=True writes the loop out; a compiled loop is faster to build and to run")
    own, why = kernels(), f"no native kernel, as {library.problem()}"
    if _PLAIN:
        why = "inside plain_loops(): a graph without XLA, for converters"
    if own is not None:
        if equations is not None and not obstacles:
            why = f"{own.OWNER}'s own {equations.kind} kernel computes this configuration"
            if equations.program is not None:
                why = f"{own.OWNER}'s kernel interprets the step of {equations.kind}"
            return Path(own.NAME, why, kernels=own)
        why = f"{own.OWNER} has no fused kernel for this cell" + (f": its step {lack}" if lack else "")
        if equations is not None:
            why = f"{own.OWNER}'s fused kernel does not have {', '.join(obstacles)}"
    if backend.NAME == "torch":
        return Path("python loop", why)
    if backend.compiles() and not _PLAIN:
        return Path("xla loop", f"one compiled loop, weight gradients batched after it; {why}")
    return Path("plain loop", why)


def choose_linear(steps, unroll, clipped, dtype, training):
    """The path of a layer that is linear in its state.

    Args:
        steps: int, the number of steps, or None where it is unknown.
        unroll: whether the loop is to be written out.
        clipped: whether the gradient is clipped at each step, which only a loop can do.
        dtype: that of the state.
        training: whether a gradient may be wanted.
    """
    if unroll:
        return Path("unrolled", "unroll=True writes the loop out", ("unrolled",))
    if clipped:
        return _parallel(("loop",), "recurrent_clip acts at each step")
    path, why = _walked("a linear recurrence", dtype, training)
    if path is not None:
        return path
    if steps is not None and steps < 2 * CHUNK:
        return _parallel(("loop",), f"fewer than {2 * CHUNK} steps{why}")
    if backend.compiles() and not _PLAIN and backend.device() in LOOPED:
        return _parallel(("loop",), f"a compiled loop keeps a {backend.device()} as busy as chunks do{why}")
    return _parallel(("chunked", CHUNK, 1), f"chunks of {CHUNK} steps side by side{why}")


def choose_chunks(steps, unroll, at_each_step, whole=None, walked=False, dtype=None, training=False):
    """The path of a layer with a matrix memory, or another that is read in chunks.

    Args:
        steps: int, the number of steps, or None where it is unknown.
        unroll: whether the loop over the chunks is to be written out.
        at_each_step: what is asked for at each step and rules out larger chunks: a list of strings.
        whole: the number of steps that whole chunks must make up, or None.
        walked: whether a kernel walks it, with a state of this `dtype`, and with a gradient when `training`.
    """
    size = MEMORY_CHUNK if steps is None else min(steps, MEMORY_CHUNK)
    if whole is not None:
        size = max(n for n in range(1, min(whole, MEMORY_CHUNK) + 1) if whole % n == 0)
    if at_each_step:
        size = 1
    if unroll:
        return Path("unrolled", "unroll=True writes the loop out", ("unrolled", size))
    if size == 1 and at_each_step:
        return _parallel(("loop", 1), f"{', '.join(at_each_step)} acts at each step")
    path, why = _walked("a matrix memory", dtype, training) if walked else (None, "")
    return path or _parallel(("chunked", size), f"chunks of {size} steps, one after the other{why}")


def _walked(what, dtype, training):
    """The path of a native kernel that walks it and "", or None and why there is none, to follow another reason."""
    own = kernels()
    if own is native:
        found = native.excludes(dtype, training)
        if not found:
            return Path("native", f"{own.OWNER}'s own kernel walks {what}", ("native",)), ""
        return None, f"; {own.OWNER}'s own kernel does not have {', '.join(found)}"
    return None, f"; no native kernel, as {library.problem()}" if backend.compiles() and not _PLAIN else ""


def _parallel(form, why):
    compiled = backend.compiles() and not _PLAIN
    return Path(f"xla {form[0]}" if compiled else form[0], why, form)


def gains_by_lanes(equations, unroll):
    """Whether two alike sequences walk faster side by side in one loop than one after the other.

    On an accelerator one loop halves the launches. On a CPU it was measured slower: its batched products are.
    """
    return backend.device() != "cpu" and choose(equations, ["lanes"], unroll).name == "xla loop"
