"""A look at what recurrent layers read while a model runs, without a change to the model."""

import contextlib
import contextvars

_WATCH = contextvars.ContextVar("WATCH", default=None)


@contextlib.contextmanager
def watching(watch):
    """Within this context, in this thread, every recurrent layer that reads a sequence tells `watch` first.

    Args:
        watch: `watch(layer, x, state, how) -> how`, called with an `RNN`, its time-major inputs (T, B, ...), the list
            of states that it starts from, and its `Reading`; what it returns is the `Reading` that is done.
    """
    before = _WATCH.set(watch)
    try:
        yield
    finally:
        _WATCH.reset(before)


def watched(layer, x, state, how):
    """The `Reading` that a layer does; `x` is a function that gives the inputs."""
    watch = _WATCH.get()
    return how if watch is None else watch(layer, x(), state, how)
