"""The base of cells that are linear in their state: all steps at once, by the linear engine."""

import dataclasses

import keras
from keras import ops

from keras_rnnx.base.interface import Reading, Result
from keras_rnnx.base.projecting import ProjectingCell
from keras_rnnx.engine import masks, paths
from keras_rnnx.engine.linear import LinearEngine, plus, times
from keras_rnnx.engine.windows import handed, truncated, window


class LinearCell(ProjectingCell):
    r"""A cell whose state obeys \(h_t = a_t \odot h_{t-1} + b_t\), where a and b depend on the inputs alone.

    A subclass gives `coefficients`, for all steps at once, and `readout` where the output is not the state. The rest is
    inherited: weights, the parallel forms and their gradient, masks, resets, saving and Keras' cell protocol.

    A cell whose coefficients read several inputs sets `self.window` = W > 1: `coefficients` then gets the last W inputs
    of each step, and the last of the `STATES`, (B, (W - 1) D), carries those that the next step reads. They are zero
    before the first step of a document.

    Class attributes:
        GATES: names of the gates, in the storage order of the columns of `kernel` (D, G*H) and `bias` (G*H,).
        STATES: `"h"` for a real state, two names for the real and the imaginary part of a complex one; with a window
            one more.
        TIMED: whether `coefficients` reads the time between steps.

    Args:
        units: int > 0, H.
        **kwargs: see `ProjectingCell`.
    """

    window = 1

    def __init__(self, units, **kwargs):
        super().__init__(units, **kwargs)
        self.engine = LinearEngine()

    # ---- equations ----

    def coefficients(self, x, deltas=None):
        """The numbers a and b of all steps, and what else the output reads.

        Args:
            x: (T, B, D) in the compute dtype; with a window (T, B, W*D), the oldest input first.
            deltas: (T, B, 1), given to a cell that is `TIMED`: the time since the step before; None: 1 everywhere.

        Returns:
            A pair of lists, `[real]` or `[real, imaginary]`, of arrays (T, B, N), one for each linear state; and, where
            `readout` reads more than the state, a third thing: the array (T, B, M) it reads. Where a is the same at all
            steps of all rows, it may be of arrays (1, 1, N).
        """
        raise NotImplementedError(f"{type(self).__name__} must define `coefficients(self, x)`")

    def readout(self, h, beside):
        """The output from the state, for any number of steps at once. Default: the state itself.

        Args:
            h: a list of arrays (..., N), one for each linear state, in the state dtype.
            beside: (..., M), what `coefficients` gave besides a and b, or None. At a masked step it is that of the last
                step read in the document, zero before any.
        """
        del beside
        return h[0]

    # ---- the way through the engine ----

    def learned_states(self):
        """All but the inputs of a window."""
        return [True] * (len(self.states) - (self.window > 1)) + [False] * (self.window > 1)

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading` of so many steps (None: unknown)."""
        return paths.choose_linear(steps, how.unroll, how.clip is not None, self.state_dtype, how.training)

    def read(self, x, state, how):
        """Reads a sequence x (T, B, D) from a list of states; returns a `Result`. See `Reading`."""
        steps, flags = x.shape[0], how.flags(ops.shape(x)[0])
        x = self.dropped(x, how)
        deltas = {} if how.deltas is None else {"deltas": how.intervals(x, self.state_dtype)}
        given = {"x": x, "flags": flags, "probe": list(how.probe), **deltas}
        if how.reverse:
            given = keras.tree.map_structure(lambda a: ops.flip(a, 0), given)
        flags = given["flags"]
        state = [ops.cast(s, self.state_dtype) for s in state]
        seen, carried = _seen(given["x"], state, flags, self.window)
        a, b, *beside = self.coefficients(seen, given.get("deltas")) if self.timed else self.coefficients(seen)
        start = state[: len(a)]
        how_read = dataclasses.replace(how, probe=given["probe"][: len(a)])
        states = self.solved(a, b, start, flags, how_read, self.path(how, steps))
        beside = masks.last_read(beside[0], flags.get("mask"), flags.get("reset")) if beside else None
        result = self._result([*states, *carried], len(a), beside, how)
        if how.holds_start:
            none = None if beside is None else ops.zeros_like(beside[0])
            result = dataclasses.replace(result, start=[self.readout(start, none), *state])
        return result

    def solved(self, a, b, start, flags, how, path):
        """The states after all steps, a number (T, B, ...), in the order of reading.

        Args:
            a, b: what `coefficients` gave.
            start: the number (B, ...) before the first step.
            flags: dict of what there is of `mask` (T, B), `reset` (T, B) and `cut` (T,), in the order of reading.
            how: the `Reading`, with its probe in the order of reading.
            path: the `Path`.
        """
        a, b = self._flagged(a, b, flags)
        return self.engine.run(
            a,
            b,
            start,
            path.form,
            cut=flags.get("cut"),
            clip=how.clip,
            mask=flags.get("mask"),
            compiled=path.compiled,
            save=how.training and how.memory[0] != "remat",
            probe=how.probe,
        )

    def _flagged(self, a, b, flags):
        """The coefficients with masked steps, which keep the state, and resets, which replace it."""
        a, b = ([ops.cast(part, self.state_dtype) for part in number] for number in (a, b))
        if "mask" in flags:
            valid = masks.rows(flags["mask"], a[0])
            one = [ops.ones_like(a[0]), *[ops.zeros_like(part) for part in a[1:]]]
            a = [ops.where(valid, part, kept) for part, kept in zip(a, one, strict=True)]
            b = [ops.where(valid, part, ops.zeros_like(part)) for part in b]
        if "reset" in flags:
            reset = masks.rows(flags["reset"], a[0])
            own = self.get_initial_state(ops.shape(b[0])[1])[: len(a)]
            restarted = plus(times(a, [ops.cast(s, self.state_dtype)[None] for s in own]), b)
            b = [ops.where(reset, new, part) for new, part in zip(restarted, b, strict=True)]
            a = [ops.where(reset, ops.zeros_like(part), part) for part in a]
        return a, b

    def _result(self, states, count, beside, how):
        """Results, aligned to time."""
        final = [s[-1] for s in states]
        outputs = None if how.emit == "last" else self.readout(states[:count], beside)
        last = None if beside is None else beside[-1]
        output = self.readout(final[:count], last) if outputs is None else outputs[-1]
        states = states if how.emit == "states" else None
        if how.reverse:
            outputs = None if outputs is None else ops.flip(outputs, 0)
            states = None if states is None else [ops.flip(s, 0) for s in states]
        return Result(output=output, final=final, outputs=outputs, states=states)

    def call(self, inputs, states, training=False, deltas=None):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states.

        Args:
            inputs: (B, D).
            states: as `state_size` says.
            training: bool.
            deltas: (B,) or (B, 1), the time since the step before, for a cell that reads it. Default: 1.

        Raises:
            ValueError: in training with dropout, whose mask belongs to a whole sequence; if `deltas` are given to a
                cell that does not read them.
        """
        states = self.states_of_step(states, training, deltas)
        how = Reading(unroll=True, deltas=None if deltas is None else ops.reshape(deltas, (1, -1)))
        result = self.read(ops.cast(inputs, self.compute_dtype)[None], states, how)
        return ops.cast(result.output, self.compute_dtype), result.final


def _seen(x, state, flags, size):
    """The inputs (T, B, D) as windows (T, B, size*D), and the inputs that each step hands on, if any.

    Returns:
        The windows, the oldest input first, and a list of nothing or one array (T, B, (size - 1) D).
    """
    if size == 1:
        return x, []
    rows = ops.reshape(ops.cast(state[-1], x.dtype), (ops.shape(x)[1], size - 1, x.shape[-1]))
    valid, cut = (flags.get("mask"), flags.get("reset")), flags.get("cut")
    shifts, _ = window(x, ops.swapaxes(rows, 0, 1), *valid)
    carried = handed(ops.cast(ops.concatenate(shifts[-2::-1], axis=-1), state[-1].dtype), state[-1], *valid)
    shifts = shifts if cut is None else truncated(shifts, cut, *valid)
    return ops.concatenate(shifts[::-1], axis=-1), [carried]
