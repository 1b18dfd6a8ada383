"""The layer contract, once: `RNN` walks any cell; `CellLayer` is an `RNN` that makes its own cell."""

import dataclasses
import inspect

import keras
from keras import ops, tree

from keras_rnnx import arguments
from keras_rnnx.base.adapt import as_cell
from keras_rnnx.base.interface import AbstractCell, Reading, as_shape
from keras_rnnx.base.quantization import float_policy
from keras_rnnx.base.watching import watched
from keras_rnnx.engine import masks
from keras_rnnx.layers.sequence import LAYER_ARGUMENTS, check_single, first_mask, says_all_arguments
from keras_rnnx.layers.state import StatefulLayer


@says_all_arguments
@keras.saving.register_keras_serializable(package="keras_rnnx")
class RNN(StatefulLayer):
    """Walks a cell along the time axis.

    Args:
        cell: a cell of this package, any Keras cell object, or a list of cells (each reads the outputs of the one
            before it).
        return_sequences: bool, return the output at every step rather than the last one.
        return_state: bool, return the final states after the output.
        return_all_states: bool, return every state at every step, (B, T, H) each, after the output.
        go_backwards: bool, read the valid steps last to first. With `return_sequences` the outputs come in that order;
            masked positions stay where they are.
        stateful: bool, start each call from the states in which the one before it ended, row by row.
        unroll: bool, write the loop out; needs a known number of steps.
        zero_output_for_mask: bool, give zero at masked steps instead of the last output.
        memory: what the gradient keeps. `"store"`: every state. `("remat", k)`: every k-th state, the others are
            computed again: O(T/k + k) states, exact gradients, one more forward pass. `("tbptt", k)`: the gradient is
            cut every k steps.
        recurrent_clip: float > 0 or None; the gradient that enters each earlier step is clipped to
            [-recurrent_clip, recurrent_clip].

    Call:
        sequences: (B, T, D), or what the cell takes, nested, with B and T in front.
        initial_state: the states to start from, as `return_state` gives them. Default: the cell's own.
        mask: (B, T) booleans in any pattern; a step that is False keeps the state and repeats the last output.
        training: bool, whether dropout and zoneout draw.
        lengths: (B,) integers in 0..T; the same as a mask of that many valid steps.
        resets: (B, T) booleans; where True, the step starts from the cell's own initial state (packed documents).
        deltas: (B, T) numbers >= 0, for a cell that reads time: the time since the valid step before, at the first one
            since the initial state. Entries at masked steps are not read. A walk from last to first pairs each step
            with the interval to the step it has just left, and its first step with that of the sequence's first.
            Default: 1 everywhere.
        constants: a tensor or nested tensors passed on to every step of a Keras cell that takes `constants`.
        memory: (B, S, M), what a cell with attention looks at, see `keras_rnnx.attention.AttentionCell`. The length S
            may differ from call to call.
        memory_mask: (B, S) booleans, in any pattern; no step looks where it is False. Default: the mask that Keras
            hands on with `memory`.

    Returns:
        The output (B, O) or (B, T, O); with `return_all_states` the states (B, T, H); with `return_state` the final
        states (B, H), in float32 at least. More than one of these come as a tuple.

    Raises:
        ValueError: if T = 0, or a rank, mask, length or state does not fit.
    """

    def __init__(self, cell, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cell = as_cell(cell, self.dtype_policy)
        self.freeze(self.cell)

    # ---- Keras ----

    def build(self, sequences_shape, memory_shape=None):
        """Builds the cell and tries one step of it."""
        if self.cell.casts_inputs:
            self._check_rank(sequences_shape)
        step_shape = tree.map_shape_structure(self._step_shape, sequences_shape)
        if not self.cell.built:
            self.cell.build(step_shape, **({"memory_shape": memory_shape} if self.attends else {}))
            self.cell.built = True
        self.cell.check()
        batch = tree.flatten(sequences_shape)[0]
        if self.stateful and batch is not None:
            self.known_batch(batch)
        self.built = True

    def get_config(self):
        """The arguments; the cell as a serialized object."""
        return {**super().get_config(), **arguments.config_of(self, keras.layers.Layer)}

    def compute_mask(self, inputs, previous_mask):
        """The mask of the inputs, on the outputs of a sequence."""
        mask = first_mask(previous_mask) if self.return_sequences else None
        others = len(tree.flatten(self.cell.state_size)) * (self.return_state + self.return_all_states)
        return [mask, *[None] * others] if others else mask

    def compute_output_spec(self, sequences, initial_state=None, mask=None, training=False, **kwargs):
        """Shapes and dtypes of the results; raises on wrong ranks and shapes."""
        del training
        shape = self._checked_shape(sequences)
        masks.checked_shape("mask", first_mask(mask), shape)
        masks.checked_shape("resets", kwargs.get("resets"), shape)
        self.checked_deltas(kwargs.get("deltas"), shape)
        masks.checked_lengths(kwargs.get("lengths"), shape[0])
        self._check_constants(kwargs.get("constants"))
        self.check_memory(kwargs.get("memory"), kwargs.get("memory_mask"), sequences)
        self._checked_state(initial_state, shape[0])
        if self.stateful:
            self.known_batch(shape[0])
        dtype, state_dtype = self.compute_dtype, self.cell.state_dtype
        lead = shape[:2] if self.return_sequences else shape[:1]
        sizes = tree.flatten(self.cell.state_size)
        spec = [keras.KerasTensor((*lead, *as_shape(self.cell.output_size)), dtype)]
        if self.return_all_states:
            spec += [keras.KerasTensor((*shape[:2], *as_shape(n)), state_dtype) for n in sizes]
        if self.return_state:
            final = [keras.KerasTensor((shape[0], *as_shape(n)), state_dtype) for n in sizes]
            spec += tree.pack_sequence_as(self._state_structure(), final)
        return tuple(spec) if len(spec) > 1 else spec[0]

    def _state_structure(self):
        size = self.cell.state_size
        return list(size) if isinstance(size, (list, tuple)) else [size]

    # ---- the call ----

    def respond(self, sequences, initial_state, given):
        """See `SequenceLayer`."""
        result, mask = self.walk(sequences, initial_state, given)
        return self.results(result, mask), mask

    def walk(self, sequences, initial_state, given):
        """Checks the arguments of a call and reads the sequence.

        Returns:
            The `Result`, aligned to time, and the mask (B, T) or None.
        """
        x, state, how, mask = self.prepared(sequences, initial_state, given)
        more = {} if given.constants is None else {"constants": given.constants}
        result = self.cell.read(x, state, how, **more)
        if self.stateful:
            self.keep_state(result.final)
        return result, mask

    def prepared(self, sequences, initial_state, given):
        """The arguments of a call, checked: inputs, states, the `Reading`, and the mask (B, T) or None.

        The inputs are time-major, unless the `Reading` says that the batch comes first.
        """
        static = self._checked_shape(sequences)
        self._check_constants(given.constants)
        first = tree.flatten(sequences)[0]
        batch = ops.shape(first)[0]
        mask = given.valid(first)
        resets = masks.checked("resets", given.resets, static)
        deltas = self.checked_deltas(given.deltas, static)
        how = self._reading(mask, resets, deltas, given)
        state = self._start(initial_state, batch, static[0], how)
        if mask is not None:  # whatever stands at masked steps: it must not reach a gradient, times zero
            sequences = tree.map_structure(lambda a: masks.quiet(a, mask), sequences)
        x = tree.map_structure(self._cast_inputs, sequences)

        def time_major():
            return tree.map_structure(lambda a: ops.swapaxes(a, 0, 1), x)

        how = watched(self, time_major, state, how)
        if self.cell.reads_batch_first(how):
            return x, state, dataclasses.replace(how, batch_first=True), mask
        return time_major(), state, how, mask

    @property
    def quantization_mode(self):
        """That of the cell."""
        return self.cell.quantization_mode

    @property
    def timed(self):
        """Whether the cell reads the time between steps."""
        return self.cell.timed

    @property
    def attends(self):
        """Whether the cell looks at a memory."""
        return self.cell.attends

    @property
    def emit(self):
        """What the layer asks of its cell: see `Reading`."""
        if self.return_all_states:
            return "states"
        return "outputs" if self.return_sequences else "last"

    def _reading(self, mask, resets, deltas, given):
        if mask is not None and deltas is not None:  # whatever stands at masked steps
            deltas = ops.where(mask, deltas, ops.ones_like(deltas))
        attended = None
        if self.attends:
            memory_mask = masks.checked("memory_mask", given.memory_mask, given.memory.shape)
            attended = self.cell.attended(given.memory, memory_mask)
        mask, resets, deltas = (None if a is None else ops.transpose(a) for a in (mask, resets, deltas))
        return Reading(
            mask=mask,
            resets=resets,
            deltas=deltas,
            reverse=self.go_backwards,
            emit=self.emit,
            training=given.training,
            unroll=self.unroll,
            memory=self.memory,
            clip=self.recurrent_clip,
            attended=attended,
        )

    def _cast_inputs(self, a):
        is_float = keras.backend.is_float_dtype(a.dtype)
        return ops.cast(a, self.cell.compute_dtype) if is_float or self.cell.casts_inputs else a

    def results(self, result, mask, aligned=False):
        """Batch-major results, in the order and dtypes that the caller is promised.

        Args:
            result: a `Result` of `walk`.
            mask: (B, T) or None.
            aligned: whether sequences stay aligned to time when the layer goes backwards.
        """

        def finished(a, dtype, start):
            a = a if result.batch_first else ops.swapaxes(a, 0, 1)
            if self.go_backwards and not aligned:
                a = masks.reorder(a, mask, start)
            return ops.cast(a, dtype)

        output_start, *state_starts = result.start or [None] * (1 + len(result.final))

        output = ops.cast(result.output, self.compute_dtype)
        if self.return_sequences:
            output = finished(result.outputs, self.compute_dtype, output_start)
            if self.zero_output_for_mask and mask is not None:
                output = masks.quiet(output, mask)
        results = [output]
        if self.return_all_states:
            pairs = zip(result.states, state_starts, strict=True)
            results += [finished(s, self.cell.state_dtype, start) for s, start in pairs]
        if self.return_state:
            results += tree.pack_sequence_as(self._state_structure(), result.final)
        return results

    # ---- checks and states ----

    def _checked_shape(self, sequences):
        """The static shape of the (first) input; raises where it cannot be read as a sequence."""
        if self.cell.casts_inputs:
            check_single(sequences)
        shapes = [tuple(s.shape) for s in tree.flatten(sequences)]
        for shape in shapes:
            self._check_rank(shape)
            if shape[1] == 0:
                raise ValueError(f"Expected at least one time step. Received: shape {shape}")
            if shape[1] is None and self.unroll:
                raise ValueError(f"Expected a known number of steps with unroll=True. Received: shape {shape}")
        self.cell.check_inputs(shapes)
        return shapes[0]

    def _step_shape(self, shape):
        self._check_rank(shape)
        return (shape[0], *shape[2:])

    def _check_rank(self, shape):
        arguments.check_shape(shape)
        axes = ("batch", "time", *self.cell.step_axes)
        if len(shape) < 3 or (len(shape) != len(axes) and self.cell.casts_inputs):
            raise ValueError(f"Expected sequences of shape ({', '.join(axes)}). Received: shape {tuple(shape)}")

    def _check_constants(self, constants):
        if constants is not None and not self.cell.takes_constants:
            raise ValueError(
                f"Expected a cell whose `call` takes `constants`. Received: constants for {type(self.cell).__name__}"
            )

    def _checked_state(self, state, batch):
        """The states as a flat list, or None; raises where they do not fit the cell."""
        if state is None:
            return None
        flat = tree.flatten(state)
        expected = [(batch, *as_shape(n)) for n in tree.flatten(self.cell.state_size)]
        shapes = [tuple(s.shape) for s in flat]
        fits = len(shapes) == len(expected) and all(
            len(a) == len(b) and all(m is None or n is None or m == n for m, n in zip(a, b, strict=True))
            for a, b in zip(shapes, expected, strict=True)
        )
        if not fits:
            raise ValueError(f"Expected `initial_state` of shapes {expected}. Received: {shapes}")
        return flat

    def _start(self, initial_state, batch, static_batch, how):
        given = self._checked_state(initial_state, static_batch)
        if self.stateful:
            self.known_batch(static_batch)
        if given is not None:
            return given
        if self.stateful:
            return self.kept_state(batch)
        return self.cell.start(batch, how)

    def get_initial_state(self, batch_size):
        """The cell's own initial state, as a list."""
        state = self.cell.get_initial_state(batch_size=batch_size)
        return list(state) if isinstance(state, (list, tuple)) else [state]


_KERAS_ARGUMENTS = ("name", "dtype", "trainable", "activity_regularizer", "input_shape")


class CellLayer(RNN):
    """An `RNN` that makes its own cell: takes the arguments of the cell and of `RNN` together.

    Class attributes:
        CELL: the class of the cell.
    """

    CELL = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        names = {}
        for base in cls.CELL.__mro__:
            if issubclass(base, AbstractCell) and "__init__" in vars(base):
                for name, parameter in inspect.signature(base.__init__).parameters.items():
                    if name not in ("self", *cls.CELL.LACKS) and parameter.kind is not parameter.VAR_KEYWORD:
                        names.setdefault(name, parameter)
        for name in names:
            if not hasattr(cls, name):
                setattr(cls, name, property(lambda self, name=name: getattr(self.cell, name)))
        names.update({n: p.replace(kind=p.KEYWORD_ONLY) for n, p in LAYER_ARGUMENTS.items()})
        keywords = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
        parameters = [*sorted(names.values(), key=lambda p: p.kind), keywords]
        cls.__signature__ = inspect.Signature(parameters)

    def __init__(self, *args, **kwargs):
        mine = {n: kwargs.pop(n) for n in (*LAYER_ARGUMENTS, *_KERAS_ARGUMENTS) if n in kwargs}
        dtype = {"dtype": mine["dtype"]} if "dtype" in mine else {}
        cell = self.CELL(*args, **kwargs, **dtype)
        super().__init__(cell, **{**mine, "dtype": float_policy(cell.dtype_policy)})

    def get_config(self):
        """The arguments of the cell and of the layer together."""
        config = super().get_config()
        cell = {k: v for k, v in self.cell.get_config().items() if k not in _KERAS_ARGUMENTS}
        config.pop("cell")
        return {**cell, **config}
