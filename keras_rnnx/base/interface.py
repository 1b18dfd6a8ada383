"""The interface between layers and cells."""

import dataclasses

import keras
from keras import ops, tree

from keras_rnnx.arguments import FromConfig, config_of
from keras_rnnx.base.quantization import Parts
from keras_rnnx.base.uncast import Uncast
from keras_rnnx.engine import masks
from keras_rnnx.engine.gates import at_least_single
from keras_rnnx.engine.sequential import Walk


def as_shape(size):
    """The size of a state as a shape without the batch; None for a size that the call decides."""
    return (size,) if size is None or isinstance(size, int) else tuple(size)


def is_float(a):
    """Whether an array or a variable has numbers with a gradient."""
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(a.dtype))


def refuse_attention(owner, cell):
    """Raises where a cell attends, as a layer or wrapper has no memory to give it."""
    if cell.attends:
        raise ValueError(
            f"Expected in {type(owner).__name__} a cell without a memory of its own; an AttentionCell belongs in "
            f"keras_rnnx.RNN, or in a list of cells there. Received: {type(cell).__name__}"
        )


@dataclasses.dataclass(frozen=True)
class Reading:
    """How a layer wants a sequence read: time-major flags, and what to return.

    Attributes:
        mask: (T, B) bool or None; False keeps the state.
        resets: (T, B) bool or None; True marks the first step of a document: the state becomes the cell's own initial
            state there, or, read in reverse, at the last step of the document before.
        deltas: (T, B) float or None; the time since the valid step before.
        reverse: read from the last step to the first; results stay aligned to time.
        emit: `"last"`, `"outputs"` (the output at every step) or `"states"` (every state at every step).
        training: whether dropout and zoneout draw.
        unroll: write the loop out.
        memory: `("store", None)`, `("remat", k)` or `("tbptt", k)`.
        clip: bound of the gradient that enters each earlier step, or None.
        probe: nothing, or an array (T, B, ...) of the state dtype for each state, whatever it holds: its gradient is
            that of the loss in the state after each step.
        attended: what the cell's `attended` made of a memory, or None.
        batch_first: whether the inputs, and the results of all steps, are (B, T, ...): see `reads_batch_first`.
    """

    mask: object = None
    resets: object = None
    deltas: object = None
    reverse: bool = False
    emit: str = "last"
    training: bool = False
    unroll: bool = False
    memory: tuple = ("store", None)
    clip: float | None = None
    probe: list | tuple = ()
    attended: object = None
    batch_first: bool = False

    def unprobed(self, cell, why):
        """Raises, with the reason why a cell cannot tell the gradients in its states, where they are asked for."""
        if self.probe:
            raise ValueError(
                "Expected layers whose outputs are made from their states, to tell the gradients in these; `layers` "
                f"leaves others out. Received: {type(cell).__name__}, {why}"
            )

    def flags(self, steps):
        """What the engine needs at each step besides the inputs: mask, resets, where tbptt cuts."""
        resets = self.resets
        if resets is not None and self.reverse:  # a document that starts at t ends, read backwards, before t - 1
            resets = ops.concatenate([resets[1:], ops.zeros_like(resets[:1])])
        flags = {"mask": self.mask, "reset": resets}
        if self.memory[0] == "tbptt":
            done = ops.arange(steps)
            done = steps - 1 - done if self.reverse else done
            flags["cut"] = (done % self.memory[1] == 0) & (done > 0)
        return {name: flag for name, flag in flags.items() if flag is not None}

    def intervals(self, x, dtype):
        """The time since the step read before, (T, B, 1), for inputs x (T, B, ...); 1 where none is given."""
        if self.deltas is None:
            return ops.ones((*ops.shape(x)[:2], 1), dtype)
        deltas = self.deltas
        if self.reverse:
            flags = [None if a is None else ops.transpose(a) for a in (self.mask, self.resets)]
            deltas = ops.transpose(masks.reversed_intervals(ops.transpose(deltas), *flags))
        return ops.cast(deltas, dtype)[:, :, None]

    def walk_over_chunks(self, **more):
        """The engine's static view where its steps are chunks, which come in the order of reading and are all kept."""
        return dataclasses.replace(self, reverse=False, memory=("store", None)).walk(**more)

    @property
    def holds_start(self):
        """Whether outputs from before the first step may be wanted once they are put in reading order."""
        return self.reverse and self.mask is not None

    def walk(self, **more):
        """The engine's static view of this reading."""
        return Walk(
            reverse=self.reverse,
            unroll=self.unroll,
            save=self.training,
            remat=self.memory[1] if self.memory[0] == "remat" else None,
            clip=self.clip,
            batch_first=self.batch_first,
            **more,
        )


@dataclasses.dataclass
class Result:
    """What reading a sequence gives.

    Attributes:
        output: (B, O), the output after the last valid step.
        final: the final states.
        outputs: (T, B, O), or None where only the last was asked for.
        states: every state as (T, B, ...), or None unless asked for.
        start: the output before the first step and the states there, where a masked walk goes in reverse; else None.
        batch_first: whether outputs and states of all steps are (B, T, ...).
    """

    output: object
    final: list
    outputs: object = None
    states: object = None
    start: object = None
    batch_first: bool = False

    def mapped(self, function):
        """The result with a function of each of its arrays in their place."""
        arrays = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "batch_first"}
        return dataclasses.replace(self, **tree.map_structure(function, arrays))


class Shape(tuple):
    """The shape of a state without the batch: a leaf where a plain tuple would be taken for several sizes."""


class AbstractCell(FromConfig, Parts, Uncast):
    """The interface between a layer and whatever it steps: our cells, Keras' cells, stacks of both.

    A subclass has `state_size`, `output_size`, `get_initial_state(batch_size)` and `read(x, state, how)`.

    Class attributes:
        casts_inputs: whether all inputs are one tensor of features, cast to the compute dtype.
        timed: whether it reads the time between steps.
        measures: whether training measures something over a whole sequence.
        takes_constants: whether `read` takes `constants`, which every step gets.
        attends: whether each step looks at a memory, a sequence of its own: see `attended`.
        step_axes: the names of the axes of one step's inputs, without the batch.
        features_axis: the axis of the features in the inputs and the output, counted from the last one.
        LACKS: names of arguments of the base classes that the cell does not have.
        CELLS: names of arguments that are cells, or lists of cells.
    """

    casts_inputs = True
    timed = False
    measures = False
    takes_constants = False
    attends = False
    step_axes = ("features",)
    features_axis = -1
    LACKS = ()
    CELLS = ("cell", "cells")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)

    @property
    def state_dtype(self):
        """The dtype of the carried states: the compute dtype, but at least float32."""
        return at_least_single(self.compute_dtype)

    def states_of_step(self, states, training, deltas=None):
        """The states of a single step, a list; raises where Keras' cell protocol cannot do what is asked."""
        if training and (self.draws or self.measures):
            what = "dropout or zoneout" if self.draws else "batch statistics"
            raise ValueError(
                f"Expected {type(self).__name__} with {what} inside keras_rnnx.RNN, which sees a whole sequence. "
                "Received: a single training step from another layer"
            )
        if deltas is not None and not self.timed:
            raise ValueError(f"Expected no `deltas`, which {type(self).__name__} does not read. Received: deltas")
        return list(states) if isinstance(states, (list, tuple)) else [states]

    def check(self):
        """Called once, after building: raises where the cell cannot work."""

    def check_inputs(self, shapes):
        """Called at each call with the static shapes of the inputs: raises where they do not fit."""

    def reads_batch_first(self, how):
        """Whether `read` can do a `Reading` without the time axis in front."""
        del how
        return False

    def start(self, batch, how):
        """The states before the first step, a flat list, for a `Reading`. Default: `get_initial_state`."""
        del how
        return tree.flatten(self.get_initial_state(batch_size=batch))

    def attended(self, memory, mask):
        """What the steps need of a memory (B, S, M) and its mask (B, S) or None, made once for all of them.

        Only for a cell that `attends`, whose `build` takes the shape of the memory too.
        """
        raise NotImplementedError

    def read(self, x, state, how):
        """Reads a sequence x (T, B, D) from a flat list of states, as a `Reading` says; returns a `Result`."""
        raise NotImplementedError

    def path(self, how, steps=None):
        """The `Path` that `read` takes for a `Reading` of so many steps, None where their number is unknown."""
        raise NotImplementedError

    def get_config(self):
        """The arguments of every `__init__` of the class chain, from the attributes of the same names."""
        config = {**super().get_config(), **config_of(self, AbstractCell)}
        return {name: value for name, value in config.items() if name not in self.LACKS}
