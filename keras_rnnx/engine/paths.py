"""The rule that chooses how a sequence is walked, from configuration and shapes alone."""

import contextlib
import dataclasses

from keras_rnnx.engine.backends import backend
from keras_rnnx.native import library

_PLAIN = []
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
    _PLAIN.append(True)
    try:
        yield
    finally:
        _PLAIN.pop()


@dataclasses.dataclass(frozen=True)
class Path:
    """A way of walking a sequence.

    Attributes:
        name: `"native"`, `"xla loop"`, `"plain loop"`, `"python loop"`, `"unrolled"` or `"torch fused"`; of the linear
            engine also `"xla chunked"` and `"chunked"`.
        why: why it was chosen, and what a faster one would need.
        form: of the linear engine, see there; else None.
    """

    name: str
    why: str
    form: tuple | None = None

    @property
    def compiled(self):
        """Whether the walk runs as a compiled region."""
        return self.name.startswith("xla") or self.name == "native"


def choose(kernel, obstacles, unroll):
    """The path of one recurrent layer.

    Args:
        kernel: the kind of a whole-sequence kernel, native or the backend's own, that computes the same equations, or
            None.
        obstacles: what in the layer's configuration or call rules that kernel out: a list of strings.
        unroll: whether the loop is to be written out.
    """
    if unroll:
        return Path("unrolled", "unroll=True writes the loop out; a compiled loop is faster to build and to run")
    if backend.NAME == "torch":
        if kernel is None:
            return Path("python loop", "torch has no fused kernel for this cell")
        if obstacles:
            return Path("python loop", f"torch's fused kernel does not have {', '.join(obstacles)}")
        return Path("torch fused", f"torch's own {kernel} kernel computes this configuration")
    if backend.compiles() and not _PLAIN:
        missing = _not_native(kernel, obstacles)
        if missing is None:
            return Path("native", f"the native {kernel} kernel computes this configuration")
        return Path("xla loop", f"one compiled loop, weight gradients batched after it; {missing}")
    return Path("plain loop", "inside plain_loops(): a graph without XLA, for converters")


def _not_native(kernel, obstacles):
    """Why no native kernel walks, or None where one does."""
    if library.problem() is not None:
        return f"no native kernel, as {library.problem()}"
    if kernel not in library.KERNELS:
        return "no native kernel computes this cell"
    return f"the native {kernel} kernel does not have {', '.join(obstacles)}" if obstacles else None


def choose_linear(steps, unroll, clipped):
    """The path of a layer that is linear in its state.

    Args:
        steps: int, the number of steps, or None where it is unknown.
        unroll: whether the loop is to be written out.
        clipped: whether the gradient is clipped at each step, which only a loop can do.
    """
    if unroll:
        return Path("unrolled", "unroll=True writes the loop out", ("unrolled",))
    if clipped:
        return _parallel(("loop",), "recurrent_clip acts at each step")
    if steps is not None and steps < 2 * CHUNK:
        return _parallel(("loop",), f"fewer than {2 * CHUNK} steps")
    if backend.compiles() and not _PLAIN and backend.device() in LOOPED:
        return _parallel(("loop",), f"a compiled loop keeps a {backend.device()} as busy as chunks do")
    return _parallel(("chunked", CHUNK, 1), f"chunks of {CHUNK} steps side by side")


def choose_chunks(steps, unroll, at_each_step, whole=None):
    """The path of a layer with a matrix memory.

    Args:
        steps: int, the number of steps, or None where it is unknown.
        unroll: whether the loop over the chunks is to be written out.
        at_each_step: what is asked for at each step and rules out larger chunks: a list of strings.
        whole: the number of steps that whole chunks must make up, or None.
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
    return _parallel(("chunked", size), f"chunks of {size} steps, one after the other")


def _parallel(form, why):
    compiled = backend.compiles() and not _PLAIN
    return Path(f"xla {form[0]}" if compiled else form[0], why, form)


def gains_by_lanes(kernel, unroll):
    """Whether two alike sequences walk faster side by side in one loop than one after the other.

    On an accelerator one loop halves the launches. On a CPU it was measured slower: its batched products are.
    """
    return backend.device() != "cpu" and choose(kernel, ["lanes"], unroll).compiled
