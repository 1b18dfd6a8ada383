"""The base of cells whose state is a matrix for each head: many steps at once, or each by a kernel."""

import dataclasses

import keras
from keras import ops

from keras_rnnx.arguments import positive
from keras_rnnx.base.interface import Reading, Result, Shape
from keras_rnnx.base.projecting import ProjectingCell
from keras_rnnx.engine import masks, memory, paths, stepwise
from keras_rnnx.engine.recomputed import recomputed
from keras_rnnx.engine.sequential import Engine
from keras_rnnx.engine.windows import handed, truncated, window

EPSILON = 1e-5  # of the normalization of heads, as in the authors' code of the cells that have one


class MatrixCell(ProjectingCell):
    r"""A cell that writes values under keys into a matrix for each head, and reads it by queries.

    A subclass names the columns of its kernel, `columns`, and gives `inputs`, what is written and read at all steps at
    once, and where its memory is not `engine.memory.ScalarDecay`, its own `MEMORY`. `readout` makes the output from
    what was read. The rest is inherited. At a masked step nothing is written, nothing decays, and the output is the
    last one of the document (zero before any).

    A cell that sets `self.window` = W > 1 puts a convolution over the last W valid steps between x W and `inputs`, for
    the columns named in `CONVOLVED`; the last of its `STATES`, (W - 1, C), then holds what the next step reads.

    Class attributes:
        GATES: names of the blocks of columns of `kernel` and `bias`, in storage order.
        BIASED: those that have a bias. Default: all.
        CONVOLVED: those that the window is for; the first ones of `GATES`.
        STATES: names of the states; the first is the memory (B, heads, K, V).
        MEMORY: how it is written and read: see `engine.memory`.

    Args:
        units: int > 0, H, the width of the output; each head reads V = H / heads.
        heads: int > 0 that divides `units`.
        key_units: int > 0, K, the width of a key of one head. Default: V.
        **kwargs: see `ProjectingCell`. There is no `learn_initial_state`.

    Raises:
        ValueError: if an argument is out of range, or with `learn_initial_state`.
    """

    STATES = "S"
    MEMORY = memory.ScalarDecay
    BIASED = None
    CONVOLVED = "q k v"
    window = 1

    def __init__(self, units, *, heads=1, key_units=None, **kwargs):
        super().__init__(units, **kwargs)
        self.heads = positive("heads", heads)
        if units % heads:
            raise ValueError(f"Expected `heads` to divide the units. Received: heads={heads}, units={units}")
        self.key_units = key_units if key_units is None else positive("key_units", key_units)
        if self.learn_initial_state:
            raise ValueError("Expected learn_initial_state=False: a memory starts empty. Received: True")
        self.engine = Engine(self._step)
        self.stepwise = stepwise.StepwiseMemory()
        self._compiled = {}

    # ---- sizes ----

    @property
    def keys(self):
        """K."""
        return self.key_units or self.values

    @property
    def values(self):
        """V."""
        return self.units // self.heads

    def columns(self):
        """The widths of the blocks of columns of `kernel`, by the names of `GATES`, in storage order."""
        raise NotImplementedError(f"{type(self).__name__} must define `columns(self)`")

    def state_sizes(self):
        """The shape of each state, without the batch."""
        sizes = [Shape((self.heads, self.keys, self.values))]
        return [*sizes, Shape((self.window - 1, self._convolved()))] if self.window > 1 else sizes

    @property
    def state_size(self):
        """A list of shapes."""
        return self.state_sizes()

    @property
    def output_size(self):
        """H."""
        return self.units

    # ---- weights ----

    def build_kernel(self, width):
        """Makes `kernel` (D, all columns)."""
        super().build_kernel(sum(self.columns().values()))

    def build_own(self, width):
        """Makes the bias, and `conv_kernel` where there is a window."""
        self.build_bias(sum(self._biased().values()))
        if self.window > 1:
            start = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")
            shape = (self.window, self._convolved())
            self.conv_kernel = self.add_weight(name="conv_kernel", shape=shape, initializer=start)

    def build_output(self, gain=True, bias=False):
        """Makes `output_kernel` (H, H), and `norm_gain` and `norm_bias` (V,), which all heads share."""
        size = self.units
        self.output_kernel = self.add_kernel(name="output_kernel", shape=(size, size), initializer="glorot_uniform")
        self.norm_gain = self.norm_bias = None
        if gain:
            self.norm_gain = self.add_weight(name="norm_gain", shape=(self.values,), initializer="ones")
        if bias:
            self.norm_bias = self.add_weight(name="norm_bias", shape=(self.values,), initializer="zeros")

    # ---- equations ----

    def named(self, x):
        """The columns of x W + b for rows x (..., D), by name."""
        bias, kernels = self.input_bias(), _cut(self._cast(self.kernel), self.columns())
        a = self.scaled({name: self.times(x, kernel) for name, kernel in kernels.items()})
        return a if bias is None else {**a, **{n: a[n] + b for n, b in _cut(bias, self._biased()).items()}}

    def scaled(self, a):
        """The columns of x W, by name, as the bias is added to them. Default: as they are."""
        return a

    def inputs(self, a):
        """What all steps write and read.

        Args:
            a: dict, the columns of x W + b of all steps, (T, B, width) in the state dtype, by name.

        Returns:
            A dict of arrays (T, B, heads, ...), among them `q` (..., K), `k` (..., K), `v` (..., V) and `log_decay`;
            and what `readout` needs besides what is read, an array (T, B, M), or None.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `inputs(self, a)`")

    def in_chunk(self, parts):
        """The parts as `MEMORY` takes them, from what `inputs` gave, (N, B, heads, L, ...), zero at masked steps."""
        return parts

    def readout(self, y, beside):
        """The output from what was read, for all steps at once. Default: that itself.

        Args:
            y: (T, B, H) in the state dtype.
            beside: (T, B, M), what `inputs` gave besides, or None.
        """
        del beside
        return y

    def in_heads(self, a, size):
        """(..., heads * size) as (..., heads, size)."""
        split = (*ops.shape(a)[:-1], self.heads, size)
        return ops.reshape(ops.expand_dims(a, -2), split)  # tf2onnx joins two reshapes in a row, with wrong sizes

    def normed(self, y, centered=False):
        """y (..., H) with each head divided by its root mean square, or `centered` first, then gain and bias."""
        shape, rows = ops.shape(y), self.in_heads(y, self.values)
        if centered:
            rows = rows - ops.sum(rows, axis=-1, keepdims=True) / self.values
        rows = rows * ops.rsqrt(ops.sum(rows * rows, axis=-1, keepdims=True) / self.values + EPSILON)
        rows = rows if self.norm_gain is None else rows * ops.cast(self.norm_gain, rows.dtype)
        rows = rows if self.norm_bias is None else rows + ops.cast(self.norm_bias, rows.dtype)
        return ops.reshape(rows, shape)

    def projected_output(self, y):
        """y W_o."""
        return self.times(y, self.output_kernel)

    # ---- the way through the engine ----

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading` of so many steps (None: unknown)."""
        each = {"return_all_states=True": how.emit == "states", "recurrent_clip": how.clip is not None}
        whole = how.memory[1] if how.memory[0] == "tbptt" else None
        each = [name for name, asked in each.items() if asked]
        walked = self.MEMORY in stepwise.WALKED and type(self).in_chunk is MatrixCell.in_chunk
        return paths.choose_chunks(steps, how.unroll, each, whole, walked, self.state_dtype, how.training)

    def _step(self, written, multiply, vectors, *state):
        del multiply, vectors
        shown, new = self.MEMORY.carry(written, *state[-self._carried() :])
        return [*shown, *new]

    def _write(self, flow, data):
        return self.MEMORY.write(memory.Chunks(data["documents"]), flow["parts"])

    def _read_out(self, flow, data):
        chunks = memory.Chunks(data["documents"])
        return self.MEMORY.read(chunks, flow["parts"], flow["written"], *flow["shown"])

    def _section(self, function, size=None):
        """A method as one compiled region, for chunks of a size."""
        key = function.__name__, size
        if key not in self._compiled:
            self._compiled[key] = recomputed(function)
        return self._compiled[key]

    def _carried(self):
        """How many states the loop over the chunks carries: all but the window's."""
        return len(self.state_sizes()) - (self.window > 1)

    def read(self, x, state, how):
        """Reads a sequence x (T, B, D) from a list of states; returns a `Result`. See `Reading`."""
        how.unprobed(self, "whose output is not made from the state after the step")
        steps, flags = x.shape[0], how.flags(ops.shape(x)[0])
        x = self.dropped(x, how)
        if how.reverse:
            x, flags = keras.tree.map_structure(lambda a: ops.flip(a, 0), (x, flags))
        state = [ops.cast(s, self.state_dtype) for s in state]
        path = self.path(how, steps)
        a, carried = self._convolve(self.named(x), state, flags, how, self._is_long(path, steps, paths.MEMORY_CHUNK))
        parts, beside = self.inputs({name: ops.cast(part, self.state_dtype) for name, part in a.items()})
        parts, memories = self._quiet(parts, flags.get("mask")), state[: self._carried()]
        y, every, final = self._walk(parts, memories, flags, how, path, steps)
        y = ops.reshape(y, (*ops.shape(x)[:2], self.units))
        outputs = masks.last_read(self.readout(y, beside), flags.get("mask"), flags.get("reset"))
        every = [*every, *carried] if how.emit == "states" else None
        final = [*final, *(a[-1] for a in carried)]
        return self._aligned(Result(outputs[-1], final, outputs, every), state, how)

    @staticmethod
    def _is_long(path, steps, size):
        """Whether what surrounds the loop gains from being compiled, over so many steps in chunks of a size."""
        return path.compiled and steps is not None and steps > paths.FEW_CHUNKS * size

    def _walk(self, parts, state, flags, how, path, steps):
        """What was read, (T, B, heads, V), the states after each chunk if asked for, else none, and the final ones."""
        if path.name == "native":
            y, final = self.stepwise.run(self.MEMORY, parts, *state, flags)
            return y, [], [final]
        size, length = path.form[1], ops.shape(parts["q"])[0]
        parts = self.in_chunk({name: memory.in_chunks(a, size) for name, a in parts.items()})
        documents = ops.zeros((1, 1, size), "int32")
        if "reset" in flags:
            resets = memory.in_chunks(ops.cast(flags["reset"], "int32")[:, :, None], size)[:, :, 0]
            documents = ops.cumsum(resets, axis=-1)
        flow, documents = {"parts": parts}, {"documents": documents}
        many, sections = self._is_long(path, steps, size), (self._write, self._read_out)
        write, read = (self._section(f, size) if many else f for f in sections)
        written, shown = write(flow, documents), self.MEMORY.shown(*state, size=size)
        flow = {"x": written, "state": [*shown, *state], "weights": {}, "vectors": {}, "reset_state": []}
        slots = {"cut": memory.padded(flags["cut"], size)[::size]} if "cut" in flags else {}
        if how.clip is not None and "mask" in flags:  # chunks of one step, masked by what they write
            slots["clipped"] = flags["mask"]
        emit = len(shown) + len(state) * (how.emit == "states")
        walk = how.walk_over_chunks(emit=tuple(range(emit)), compiled=path.compiled)
        made = self.engine.run(flow, {"slots": slots, "fixed": {}}, walk)
        y = read({"parts": parts, "written": written, "shown": made["emit"][: len(shown)]}, documents)
        return memory.in_time(y, length), made["emit"][len(shown) :], made["final"][len(shown) :]

    def _convolved(self):
        return sum(self.columns()[name] for name in self.CONVOLVED.split())

    def _biased(self):
        names = self.GATES if self.BIASED is None else self.BIASED
        return {name: self.columns()[name] for name in names.split()}

    def _convolve(self, a, state, flags, how, compiled):
        """The columns after the convolution, and what each step hands on, (T, B, W - 1, C), in a list; if any."""
        if self.window == 1:
            return a, []
        names = self.CONVOLVED.split()
        x = ops.concatenate([a[name] for name in names], axis=-1)
        flow = {"x": x, "before": state[-1], "kernel": self._cast(self.conv_kernel)}
        data = {name: flag for name, flag in flags.items() if name in ("mask", "reset", "cut")}
        convolved = self._all_convolved if how.emit == "states" else self._convolved_rows
        made = (self._section(convolved) if compiled else convolved)(flow, data)
        return {**a, **_cut(made["made"], {name: a[name].shape[-1] for name in names})}, [made["carried"]]

    def _all_convolved(self, flow, data):
        return self._convolved_rows(flow, data, states=True)

    def _convolved_rows(self, flow, data, states=False):
        """Every row of x after the convolution, and what is handed on after the last step, or after each."""
        cut, flags = data.get("cut"), (data.get("mask"), data.get("reset"))
        x, before, kernel = flow["x"], flow["before"], flow["kernel"]
        shifts, last = window(x, ops.swapaxes(ops.cast(before, x.dtype), 0, 1), *flags)
        read = shifts if cut is None else truncated(shifts, cut, *flags)
        made = sum(shift * kernel[self.window - 1 - j] for j, shift in enumerate(read))
        if not states:
            return {"made": made, "carried": ops.cast(ops.swapaxes(last, 0, 1), self.state_dtype)[None]}
        carried = ops.cast(ops.stack(shifts[-2::-1], axis=2), self.state_dtype)
        return {"made": made, "carried": handed(carried, before, *flags)}

    def _quiet(self, parts, mask):
        """The parts, zero at masked steps: they neither write nor decay."""
        if mask is None:
            return parts

        return {name: masks.quiet(a, mask) for name, a in parts.items()}

    def _aligned(self, result, state, how):
        if how.reverse:
            states = None if result.states is None else [ops.flip(s, 0) for s in result.states]
            result = dataclasses.replace(result, outputs=ops.flip(result.outputs, 0), states=states)
        if how.holds_start:
            result = dataclasses.replace(result, start=[ops.zeros_like(result.output), *state])
        return result

    def call(self, inputs, states, training=False):
        """Keras' cell protocol: one step of (B, D) inputs; returns the output and the list of new states."""
        states = self.states_of_step(states, training)
        result = self.read(ops.cast(inputs, self.compute_dtype)[None], states, Reading(unroll=True))
        return ops.cast(result.output, self.compute_dtype), result.final


def _cut(a, widths):
    """The last axis of a in blocks of these widths, by name."""
    parts, start = {}, 0
    for name, width in widths.items():
        parts[name] = a[..., start : start + width]
        start += width
    return parts
