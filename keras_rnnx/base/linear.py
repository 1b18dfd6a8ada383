"""The base of cells that are linear in their state: all steps at once, by the linear engine."""

import dataclasses

import keras
from keras import ops

from keras_rnnx.base.interface import Result
from keras_rnnx.base.projecting import ProjectingCell
from keras_rnnx.engine import masks, paths
from keras_rnnx.engine.linear import LinearEngine, plus, times


class LinearCell(ProjectingCell):
    r"""A cell whose state obeys \(h_t = a_t \odot h_{t-1} + b_t\), where a and b depend on the inputs alone.

    A subclass gives `coefficients`, for all steps at once, and `readout` where the output is not the state. The rest is
    inherited: weights, the parallel forms and their gradient, masks, resets, saving and Keras' cell protocol.

    Class attributes:
        GATES: names of the gates, in the storage order of the columns of `kernel` (D, G*H) and `bias` (G*H,).
        STATES: `"h"` for a real state, two names for the real and the imaginary part of a complex one.
        READS_INPUT: whether `readout` reads the inputs too.

    Args:
        units: int > 0, H.
        **kwargs: see `ProjectingCell`.
    """

    READS_INPUT = False

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.engine = LinearEngine()

    # ---- equations ----

    def coefficients(self, x):
        """The numbers a and b of all steps.

        Args:
            x: (T, B, D) in the compute dtype.

        Returns:
            A pair of lists, `[real]` or `[real, imaginary]`, of arrays (T, B, N), one for each of `STATES`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `coefficients(self, x)`")

    def readout(self, h, x):
        """The output from the state, for any number of steps at once. Default: the state itself.

        Args:
            h: a list of arrays (..., N), one for each of `STATES`, in the state dtype.
            x: (..., D), or None where `READS_INPUT` is False.
        """
        del x
        return h[0]

    # ---- the way through the engine ----

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading` of so many steps (None: unknown)."""
        return paths.choose_linear(steps, how.unroll, how.clip is not None)

    def read(self, x, state, how):
        """Reads a sequence x (T, B, D) from a list of states; returns a `Result`. See `Reading`."""
        steps, flags = x.shape[0], how.flags(ops.shape(x)[0])
        if how.reverse:
            x, flags = keras.tree.map_structure(lambda a: ops.flip(a, 0), (x, flags))
        start = [ops.cast(s, self.state_dtype) for s in state]
        a, b = self._flagged(self.coefficients(self.dropped(x, how)), flags)
        path = self.path(how, steps)
        states = self.engine.run(
            a,
            b,
            start,
            path.form,
            cut=flags.get("cut"),
            clip=how.clip,
            compiled=path.compiled,
            save=how.training and how.memory[0] != "remat",
        )
        return self._result(states, start, x, flags, how)

    def _flagged(self, numbers, flags):
        """The coefficients with masked steps, which keep the state, and resets, which replace it."""
        a, b = ([ops.cast(part, self.state_dtype) for part in number] for number in numbers)
        if "mask" in flags:
            valid = _rows(flags["mask"], a[0])
            one = [ops.ones_like(a[0]), *[ops.zeros_like(part) for part in a[1:]]]
            a = [ops.where(valid, part, kept) for part, kept in zip(a, one, strict=True)]
            b = [ops.where(valid, part, ops.zeros_like(part)) for part in b]
        if "reset" in flags:
            reset = _rows(flags["reset"], a[0])
            own = [ops.cast(s, self.state_dtype)[None] for s in self.get_initial_state(ops.shape(a[0])[1])]
            restarted = plus(times(a, own), b)
            b = [ops.where(reset, new, part) for new, part in zip(restarted, b, strict=True)]
            a = [ops.where(reset, ops.zeros_like(part), part) for part in a]
        return a, b

    def _result(self, states, start, x, flags, how):
        """Results, aligned to time."""
        x = _read_inputs(x, flags) if self.READS_INPUT else None
        final = [s[-1] for s in states]
        outputs = None if how.emit == "last" else self.readout(states, x)
        result = Result(
            output=self.readout(final, None if x is None else x[-1]) if outputs is None else outputs[-1],
            final=final,
            outputs=outputs,
            states=states if how.emit == "states" else None,
        )
        if how.reverse:
            outputs, states = keras.tree.map_structure(lambda a: ops.flip(a, 0), (result.outputs, result.states))
            result = dataclasses.replace(result, outputs=outputs, states=states)
        if how.holds_start:
            none = None if x is None else ops.zeros_like(x[0])
            result = dataclasses.replace(result, start=[self.readout(start, none), *start])
        return result

    def call(self, inputs, states, training=False):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states."""
        if training and self.draws:
            raise ValueError(
                f"Expected {type(self).__name__} with dropout inside keras_rnnx.RNN, which draws the mask of a whole "
                "sequence. Received: a single training step from another layer"
            )
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        x = ops.cast(inputs, self.compute_dtype)[None]
        start = [ops.cast(s, self.state_dtype) for s in states]
        a, b = self._flagged(self.coefficients(x), {})
        new = plus(times([part[0] for part in a], start), [part[0] for part in b])
        return ops.cast(self.readout(new, x[0] if self.READS_INPUT else None), self.compute_dtype), new


def _rows(flags, like):
    """Flags (T, B), shaped to select rows of (T, B, ...)."""
    return ops.reshape(flags, (*ops.shape(flags), *[1] * (len(like.shape) - 2)))


def _read_inputs(x, flags):
    """The inputs (T, B, D) with each masked step's replaced by the last one read in its document, zero before any."""
    if "mask" not in flags:
        return x
    read = flags["mask"]
    known = ops.logical_or(read, flags["reset"]) if "reset" in flags else read
    return masks.held(ops.where(_rows(read, x), x, ops.zeros_like(x)), known)
