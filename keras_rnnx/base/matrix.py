"""The base of cells whose state is a matrix for each head: many steps at once, chunk by chunk."""

import dataclasses

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.interface import Reading, Result
from keras_rnnx.base.projecting import ProjectingCell
from keras_rnnx.engine import masks, memory, paths
from keras_rnnx.engine.sequential import Engine


class MatrixCell(ProjectingCell):
    r"""A cell that writes values under keys into a matrix for each head, and reads it by queries.

    A subclass gives `inputs`, what is written and read at all steps at once, and where its memory is not
    `engine.memory.scalar_decay`, its own `chunk`. `readout` makes the output from what was read. The rest is
    inherited. At a masked step nothing is written, nothing decays, and the output is the last one (zero before any).

    Class attributes:
        STATES: names of the states; the first is the memory (B, heads, K, V).

    Args:
        units: int > 0, H, the width of the output; each head reads V = H / heads.
        heads: int > 0 that divides `units`.
        key_units: int > 0, K, the width of a key of one head. Default: V.
        **kwargs: see `ProjectingCell`.
    """

    STATES = "S"

    def __init__(self, units, *, heads=1, key_units=None, **kwargs):
        super().__init__(units, **kwargs)
        self.heads = positive("heads", heads)
        if units % heads:
            raise ValueError(f"Expected `heads` to divide the units. Received: heads={heads}, units={units}")
        self.key_units = key_units if key_units is None else positive("key_units", key_units)
        if self.learn_initial_state:
            raise ValueError("Expected learn_initial_state=False: a memory starts empty. Received: True")
        self.engine = Engine(self._step)

    @property
    def keys(self):
        """K."""
        return self.key_units or self.units // self.heads

    def state_sizes(self):
        """The shape of each state, without the batch."""
        return [(self.heads, self.keys, self.units // self.heads)]

    @property
    def output_size(self):
        """H."""
        return self.units

    def get_initial_state(self, batch_size=None):
        """An empty memory."""
        return [ops.zeros((batch_size, *size), self.state_dtype) for size in self.state_sizes()]

    # ---- equations ----

    def inputs(self, x):
        """What all steps write and read.

        Args:
            x: (T, B, D) in the compute dtype.

        Returns:
            dict: arrays (T, B, heads, ...), among them `q` (..., K), `k` (..., K), `v` (..., V) and `log_decay`.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `inputs(self, x)`")

    def chunk(self, seen, parts, *state):
        """A chunk of steps: what is read, (B, heads, L, V), and the new states; see `engine.memory`.

        Args:
            seen: `engine.memory.Chunk`.
            parts: dict, what `inputs` gave, as (B, heads, L, ...); `k` and `log_decay` are zero at masked steps.
            *state: the states before the chunk.
        """
        y, kept = memory.scalar_decay(seen, *state, **parts)
        return y, [kept]

    def readout(self, y, x):
        """The output from what was read, for all steps at once. Default: that itself.

        Args:
            y: (T, B, H) in the state dtype.
            x: (T, B, D).
        """
        del x
        return y

    def in_heads(self, a, size):
        """(..., heads * size) as (..., heads, size)."""
        return ops.reshape(a, (*ops.shape(a)[:-1], self.heads, size))

    # ---- the way through the engine ----

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading` of so many steps (None: unknown)."""
        each = {"return_all_states=True": how.emit == "states", "recurrent_clip": how.clip is not None}
        whole = how.memory[1] if how.memory[0] == "tbptt" else None
        return paths.choose_chunks(steps, how.unroll, [name for name, asked in each.items() if asked], whole)

    def _step(self, x, multiply, vectors, y, *state):
        del multiply, vectors
        parts, documents = (x["x"], x["ids"][0]) if "ids" in x else (x, None)
        if documents is None:
            documents = ops.zeros((1, y.shape[2]), "int32")
        y_new, new = self.chunk(memory.Chunk(documents), parts, *state)
        return [y_new, *new]

    def read(self, x, state, how):
        """Reads a sequence x (T, B, D) from a list of states; returns a `Result`. See `Reading`."""
        path = self.path(how, x.shape[0])
        size = path.form[1]
        steps, batch = ops.shape(x)[:2]
        flags = how.flags(steps)
        x = self.dropped(x, how)
        if how.reverse:
            x, flags = keras.tree.map_structure(lambda a: ops.flip(a, 0), (x, flags))
        parts = self._quiet(self.inputs(x), flags.get("mask"))
        width = self.units // self.heads
        state = [ops.cast(s, self.state_dtype) for s in state]
        flow = {
            "x": {name: _in_chunks(a, size) for name, a in parts.items()},
            "state": [ops.zeros((batch, self.heads, size, width), self.state_dtype), *state],
            **{"weights": {}, "vectors": {}, "reset_state": []},
        }
        slots = {"cut": _padded(flags["cut"], size)[::size]} if "cut" in flags else {}
        if "reset" in flags:
            resets = _in_chunks(ops.cast(flags["reset"], "int32")[:, :, None], size)[:, :, 0]
            slots["ids"] = [ops.cumsum(resets, axis=-1)]
        every = how.emit == "states"
        how_chunks = dataclasses.replace(how, reverse=False, memory=("store", None))
        walk = how_chunks.walk(emit=tuple(range(len(state) + 1)) if every else (0,), compiled=path.compiled)
        made = self.engine.run(flow, {"slots": slots, "fixed": {}}, walk)
        y = ops.reshape(_in_time(made["emit"][0], steps), (steps, batch, self.units))
        outputs = self._held(self.readout(y, x), flags)
        result = Result(outputs[-1], list(made["final"][1:]), outputs, made["emit"][1:] if every else None)
        return self._aligned(result, state, how)

    def _quiet(self, parts, mask):
        """The parts in the state dtype, where masked steps neither write nor decay."""
        parts = {name: ops.cast(a, self.state_dtype) for name, a in parts.items()}
        if mask is not None:
            for name in ("k", "log_decay"):
                valid = ops.reshape(mask, (*ops.shape(mask), *[1] * (len(parts[name].shape) - 2)))
                parts[name] = ops.where(valid, parts[name], ops.zeros_like(parts[name]))
        return parts

    def _held(self, outputs, flags):
        if "mask" not in flags:
            return outputs
        known, mask = flags["mask"], flags["mask"][:, :, None]
        if "reset" in flags:
            known = ops.logical_or(known, flags["reset"])
        return masks.held(ops.where(mask, outputs, ops.zeros_like(outputs)), known)

    def _aligned(self, result, state, how):
        if how.reverse:
            outputs, states = keras.tree.map_structure(lambda a: ops.flip(a, 0), (result.outputs, result.states))
            result = dataclasses.replace(result, outputs=outputs, states=states)
        if how.holds_start:
            result = dataclasses.replace(result, start=[ops.zeros_like(result.output), *state])
        return result

    def call(self, inputs, states, training=False):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states."""
        if training and self.draws:
            raise ValueError(
                f"Expected {type(self).__name__} with dropout inside keras_rnnx.RNN, which draws the mask of a whole "
                "sequence. Received: a single training step from another layer"
            )
        states = list(states) if isinstance(states, (list, tuple)) else [states]
        result = self.read(ops.cast(inputs, self.compute_dtype)[None], states, Reading(unroll=True))
        return ops.cast(result.output, self.compute_dtype), result.final


def _padded(a, size):
    """a (T, ...) with zeros up to whole chunks."""
    extra = -ops.shape(a)[0] % size
    if isinstance(extra, int) and not extra:
        return a
    return ops.concatenate([a, ops.zeros((extra, *ops.shape(a)[1:]), a.dtype)])


def _in_chunks(a, size):
    """(T, B, heads, ...) as (T / size, B, heads, size, ...)."""
    a = _padded(a, size)
    a = ops.reshape(a, (-1, size, *ops.shape(a)[1:]))
    return ops.transpose(a, (0, 2, 3, 1, *range(4, len(a.shape))))


def _in_time(a, steps):
    """The inverse of `_in_chunks`."""
    a = ops.transpose(a, (0, 3, 1, 2, *range(4, len(a.shape))))
    return ops.reshape(a, (-1, *ops.shape(a)[2:]))[:steps]
