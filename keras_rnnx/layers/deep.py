"""A stack of recurrent layers as one layer."""

import dataclasses

import keras
from keras import ops, tree

from keras_rnnx import arguments
from keras_rnnx.base.adapt import as_cell
from keras_rnnx.base.interface import Reading, as_shape, refuse_attention
from keras_rnnx.base.quantization import FloatDense, Template
from keras_rnnx.engine import masks
from keras_rnnx.layers.bidirectional import MERGE_MODES, Bidirectional
from keras_rnnx.layers.rnn import RNN
from keras_rnnx.layers.sequence import LAYER_ARGUMENTS, SequenceLayer, check_single, first_mask, says_all_arguments

RESIDUALS = (None, "sum", "highway", "dense")


@says_all_arguments
@keras.saving.register_keras_serializable(package="keras_rnnx")
class DeepRNN(SequenceLayer):
    r"""A stack of recurrent layers as one layer.

    Level l reads the outputs of the level below, with dropout in between:
    $$ a^{(1)} = x, \qquad y^{(l)} = \text{level}_l(a^{(l)}) $$

    and, by `residual`:
    $$ a^{(l+1)} = y^{(l)} \quad \texttt{None} $$
    $$ a^{(l+1)} = a^{(l)} + y^{(l)} \quad \texttt{"sum"} $$
    $$ s = \sigma(a^{(l)} W_s + b_s), \quad a^{(l+1)} = s \odot y^{(l)} + (1-s) \odot a^{(l)}\quad\texttt{"highway"} $$
    $$ a^{(l+1)} = [a^{(l)}; y^{(l)}] \quad \texttt{"dense"} $$

    The output is the a of the last level. A level whose output is not as wide as its input has no sum or highway skip
    (the first level where D differs from the width). b_s starts at -1, so that a highway starts by carrying.

    Args:
        cell: a cell, copied `depth` times, or a list of cells, one for each level.
        depth: int > 0, the number of levels when `cell` is one cell. Default 1.
        residual: None, `"sum"` (or True), `"highway"` or `"dense"`.
        dropout: rate in [0, 1) between the levels; each entry at each step is dropped by itself.
        bidirectional: bool, whether each level reads in both directions.
        merge_mode: `"concat"`, `"sum"`, `"mul"` or `"ave"`: how a bidirectional level merges.
        seed: int or None, for `dropout`.
        return_sequences: as in `RNN`, like the rest.
        return_state: see `RNN`.
        go_backwards: see `RNN`; not with `bidirectional`.
        stateful: see `RNN`.
        unroll: see `RNN`.
        zero_output_for_mask: see `RNN`.
        return_all_states: see `RNN`.
        memory: see `RNN`.
        recurrent_clip: see `RNN`.

    Call: as `RNN`. States are lists with one entry for each level: its list of states (forward, then backward, where
        bidirectional). At a masked step a skip repeats its input of the last valid step, zero before any.

    Raises:
        ValueError: if an argument is out of range, or `depth` contradicts a list of cells.

    Reference: R. K. Srivastava, K. Greff and J. Schmidhuber, Highway networks, arXiv:1505.00387 (highway skips);
        A. Graves, Generating sequences with recurrent neural networks, arXiv:1308.0850 (stacks).
    """

    def __init__(
        self,
        cell,
        depth=None,
        residual=None,
        dropout=0.0,
        bidirectional=False,
        *,
        merge_mode="concat",
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        cells = list(cell) if isinstance(cell, (list, tuple)) else None
        if cells is not None and depth not in (None, len(cells)):
            raise ValueError(
                f"Expected `depth` to be None or {len(cells)} with a list of {len(cells)} cells. "
                f"Received: depth={depth!r}"
            )
        if cells is None:
            as_cell(cell)  # raises where it is none
            cell = arguments.copy_of(cell, cell.name) if cell.built else cell
        self._template = Template(cell)
        depth = (1 if cells is None else len(cells)) if depth is None else depth
        self.depth = arguments.positive("depth", depth)
        self.residual = arguments.choice("residual", "sum" if residual is True else residual or None, RESIDUALS)
        self.dropout = arguments.rate("dropout", dropout)
        self.bidirectional = bool(bidirectional)
        self.merge_mode = arguments.choice("merge_mode", merge_mode, MERGE_MODES[:-1])
        self.seed = arguments.checked_seed(seed)
        if self.go_backwards and self.bidirectional:
            raise ValueError("Expected go_backwards=False with bidirectional=True. Received: both True")
        copies = cells or [arguments.copy_of(cell, f"{cell.name}_{n}", 2 * n) for n in range(self.depth)]
        self.levels = [self._level(c, n) for n, c in enumerate(copies)]
        self._gates = []  # of highways, in the order of the levels that have one
        if self.dropout:
            self.between = keras.layers.Dropout(self.dropout, seed=seed, dtype=self.dtype_policy)
        self.freeze(*self.levels)

    def _level(self, cell, n):
        last = n + 1 == self.depth
        options = {name: getattr(self, name) for name in LAYER_ARGUMENTS}
        options |= {"return_sequences": self.return_sequences or not last, "return_state": True}
        options["zero_output_for_mask"] = False  # skips of the levels above read what a masked step repeats
        cell = as_cell(cell, self.dtype_policy)
        refuse_attention(self, cell)
        layer = RNN(cell, **options, dtype=self.dtype_policy, name=f"level_{n}")
        if not self.bidirectional:
            return layer
        return Bidirectional(layer, self.merge_mode, dtype=self.dtype_policy, name=f"level_{n}")

    # ---- Keras ----

    def build(self, input_shape):
        """Builds the levels and the gates of highways."""
        arguments.check_shape(input_shape)
        lead, shape = input_shape[:2], tuple(input_shape[2:])
        self._shapes = []  # of each level, the shape of one step's input
        self._fits = []  # and whether its output has that shape too
        for n, level in enumerate(self.levels):
            if not level.built:
                level.build((*lead, *shape))
            made, axis = self._shape_of_level(n), self.features_axis
            self._shapes.append(shape)
            self._fits.append(made == shape)
            if self.residual == "highway" and self._fits[n]:
                gate = FloatDense(
                    made[axis],
                    "sigmoid",
                    bias_initializer=keras.initializers.Constant(-1.0),
                    dtype=self.dtype_policy,
                    name=f"highway_{n}",
                )
                self.freeze(gate)
                gate.build((*lead, *[None] * (len(made) - 1), made[axis]))
                self._gates.append(gate)
            shape = self._side_by_side([shape, made]) if self.residual == "dense" else made
        self.shape_of_step = shape
        self.built = True

    @property
    def features_axis(self):
        """The axis of the features in the inputs and the outputs, counted from the last one."""
        return self._cells()[0][0].features_axis

    def _shape_of_level(self, n):
        """The shape of one step's output of a level."""
        shapes = [as_shape(cell.output_size) for cell in self._cells()[n]]
        return self._side_by_side(shapes) if self.merge_mode == "concat" else shapes[0]

    def _side_by_side(self, shapes):
        """The shape of arrays of these shapes side by side; raises where they differ in more than the features."""
        axis = len(shapes[0]) + self.features_axis
        total = sum(shape[axis] for shape in shapes)
        joined = {(*shape[:axis], total, *shape[axis + 1 :]) for shape in shapes}
        if len(joined) > 1:
            raise ValueError(f"Expected outputs that differ in their features alone, to be joined. Received: {shapes}")
        return joined.pop()

    @property
    def cell(self):
        """The cell that all levels are like, or a list of one for each."""
        return self._template.layer

    def _cells(self):
        """The cells of each level: one, or one for each direction."""
        if self.bidirectional:
            return [[level.forward_layer.cell, level.backward_layer.cell] for level in self.levels]
        return [[level.cell] for level in self.levels]

    def get_config(self):
        """The arguments."""
        config = arguments.config_of(self, keras.layers.Layer)
        if isinstance(self.cell, (list, tuple)):
            config["depth"] = None
        return {**super().get_config(), **config}

    def compute_mask(self, inputs, previous_mask):
        """The mask of the inputs, on the outputs of a sequence."""
        mask = first_mask(previous_mask) if self.return_sequences else None
        per_level = [len(tree.flatten(level_states)) for level_states in self.state_sizes_of_levels()]
        others = sum(per_level) * (self.return_state + self.return_all_states)
        return [mask, *[None] * others] if others else mask

    def state_sizes_of_levels(self):
        """The sizes of the states of each level, in one list a level."""
        return [[n for c in cells for n in tree.flatten(c.state_size)] for cells in self._cells()]

    def compute_output_spec(self, sequences, initial_state=None, mask=None, training=False, **kwargs):
        """Shapes and dtypes of the results."""
        check_single(sequences)
        states = self._states_of_levels(initial_state)
        self.checked_deltas(kwargs.pop("deltas", None), sequences.shape)
        self.levels[0].compute_output_spec(sequences, states[0], mask, training, **kwargs)
        shape, steps = sequences.shape, sequences.shape[:2]
        for level, step, state in zip(self.levels[1:], self._shapes[1:], states[1:], strict=True):
            below = keras.KerasTensor((*steps, *step), self.compute_dtype)
            level.compute_output_spec(below, state, mask, training, **kwargs)
        lead = steps if self.return_sequences else steps[:1]
        spec = [keras.KerasTensor((*lead, *self.shape_of_step), self.compute_dtype)]
        dtype = self._cells()[0][0].state_dtype
        for wanted, front in ((self.return_all_states, steps), (self.return_state, shape[:1])):
            if wanted:
                spec += [
                    [keras.KerasTensor((*front, *as_shape(n)), dtype) for n in sizes]
                    for sizes in self.state_sizes_of_levels()
                ]
        return tuple(spec) if len(spec) > 1 else spec[0]

    # ---- the call ----

    @property
    def timed(self):
        """Whether a level reads the time between steps; the others get no `deltas`."""
        return any(level.timed for level in self.levels)

    def respond(self, sequences, initial_state, given):
        """See `SequenceLayer`."""
        check_single(sequences)
        self.checked_deltas(given.deltas, sequences.shape)
        mask = given.valid(sequences)
        given = dataclasses.replace(given, mask=mask, lengths=None)
        untimed = dataclasses.replace(given, deltas=None)
        a, gates = ops.cast(sequences, self.compute_dtype), iter(self._gates)
        if self.residual:
            a = self._held(a, given)
        before = ops.zeros_like(a[:, 0])  # what a walk backwards holds before the first step that it reads
        every, starts, final = [], [], []
        states = self._states_of_levels(initial_state)
        for n, (level, state) in enumerate(zip(self.levels, states, strict=True)):
            below = self.between(a, training=given.training) if n and self.dropout else a
            y, all_states, last, start = self._read(level, below, state, given if level.timed else untimed)
            every.append(all_states)
            final.append(last)
            if n + 1 == self.depth and not self.return_sequences and self.residual:
                a = a[:, 0] if self.go_backwards else a[:, -1]
            fits = self._fits[n]
            gate = next(gates) if self.residual == "highway" and fits else None
            a = self._joined(a, y, gate, fits)
            start = start or [None] * (1 + len(last))
            starts.append(start[1:])
            before = None if start[0] is None else self._joined(before, ops.cast(start[0], a.dtype), gate, fits)
        if self.return_sequences:
            a = self._finished(a, mask, before)
        results = [a]
        if self.return_all_states:
            results += [
                [self._turned(s, mask, start) for s, start in zip(*level, strict=True)]
                for level in zip(every, starts, strict=True)
            ]
        results += final if self.return_state else []
        return results, mask

    def _held(self, a, given):
        """a (B, T, ...) in which a masked step repeats the last one read in its document, zero before any."""
        if given.mask is None:
            return a
        resets = None if given.resets is None else ops.transpose(ops.cast(given.resets, "bool"))
        how = Reading(mask=ops.transpose(given.mask), resets=resets, reverse=self.go_backwards)
        a, flags = ops.swapaxes(a, 0, 1), how.flags(ops.shape(a)[1])
        if self.go_backwards:
            a, flags = tree.map_structure(lambda one: ops.flip(one, 0), (a, flags))
        a = masks.last_read(a, flags["mask"], flags.get("reset"))
        return ops.swapaxes(ops.flip(a, 0) if self.go_backwards else a, 0, 1)

    def _read(self, level, x, state, given):
        """One level: its output, its states at every step and its final states, aligned to time, and `Result.start`."""
        if self.bidirectional:
            (y, *rest), start = level.respond(x, state, given)[0], None
            halves = [rest[: len(rest) // 2], rest[len(rest) // 2 :]]
        else:
            result, mask = level.walk(x, state, given)
            (y, *rest), start = level.results(result, mask, aligned=True), result.start
            halves = [rest]
        halves = [tree.flatten(half) for half in halves]
        cut = [len(half) // 2 if self.return_all_states else 0 for half in halves]
        every = [s for half, c in zip(halves, cut, strict=True) for s in half[:c]]
        final = [s for half, c in zip(halves, cut, strict=True) for s in half[c:]]
        return y, every, final, start

    def _turned(self, a, mask, start):
        return masks.reorder(a, mask, start) if self.go_backwards else a

    def _finished(self, a, mask, start):
        a = self._turned(a, mask, start)
        if self.zero_output_for_mask and mask is not None:
            a = masks.quiet(a, mask)
        return a

    def _states_of_levels(self, initial_state):
        """One list of states for each level, or Nones."""
        if initial_state is None:
            return [None] * self.depth
        flat, sizes = tree.flatten(initial_state), self.state_sizes_of_levels()
        if len(flat) != sum(map(len, sizes)):
            raise ValueError(
                f"Expected `initial_state` with {[len(s) for s in sizes]} states for the levels. "
                f"Received: {len(flat)} states"
            )
        rest = iter(flat)
        return [[next(rest) for _ in size] for size in sizes]

    def reset_state(self, states=None):
        """Resets every level; `states` is nested as `return_state` gives them."""
        for level, state in zip(self.levels, self._states_of_levels(states), strict=True):
            level.reset_state(state)

    reset_states = reset_state

    def _joined(self, a, y, gate, fits):
        """a of the next level from that of this one and its output."""
        axis = self.features_axis
        if self.residual == "dense":
            return ops.concatenate([a, y], axis=axis)
        if self.residual is None or not fits:
            return y
        if self.residual == "sum":
            return a + y
        s = ops.moveaxis(gate(ops.moveaxis(a, axis, -1)), -1, axis)
        return s * y + (1 - s) * a
