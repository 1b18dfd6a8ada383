"""What all layers that read sequences share: their arguments, their call, and the mask on what they return."""

import dataclasses
import inspect

import keras
from keras import ops, tree

from keras_rnnx import arguments
from keras_rnnx.base.quantization import Parts, check_float
from keras_rnnx.base.uncast import Uncast
from keras_rnnx.engine import masks


def first_mask(mask):
    """One mask out of None, a mask, or a nest of masks for nested inputs."""
    found = [m for m in tree.flatten(mask) if m is not None]
    return found[0] if found else None


def check_single(sequences):
    """Raises where there are several inputs for what reads one, such as what a layer with `return_state` returns."""
    if tree.is_nested(sequences):
        kind, count = type(sequences).__name__, len(tree.flatten(sequences))
        raise ValueError(f"Expected one array of sequences. Received: a {kind} of {count}")


@keras.saving.register_keras_serializable(package="keras_rnnx")
class AttachMask(keras.layers.Layer):
    """Passes `[outputs, mask]` on as outputs that carry the mask."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.built = True

    def call(self, inputs):
        """The outputs, unchanged."""
        return ops.copy(inputs[0])

    def compute_mask(self, inputs, previous_mask):
        """The mask."""
        return inputs[1]

    def quantize(self, mode=None, type_check=True, config=None):
        """Does nothing, as there are no weights, where Keras would warn of each recurrent layer in a model."""


@dataclasses.dataclass(frozen=True)
class Given:
    """What a call gives besides sequences and states; see `RNN`."""

    mask: object = None
    training: bool = False
    lengths: object = None
    resets: object = None
    deltas: object = None
    constants: object = None
    memory: object = None
    memory_mask: object = None

    def valid(self, sequences):
        """The mask (B, T) that mask and lengths make together, or None; raises where they do not fit the sequences."""
        mask = masks.checked("mask", first_mask(self.mask), tuple(sequences.shape))
        if self.lengths is None:
            return mask
        within = masks.from_lengths(self.lengths, ops.shape(sequences)[:2])
        return within if mask is None else ops.logical_and(mask, within)


class SequenceLayer(arguments.FromConfig, Parts, Uncast):
    """The arguments and the call of a layer that reads sequences; see `RNN`. A subclass defines `respond`."""

    def __init__(
        self,
        return_sequences=False,
        return_state=False,
        go_backwards=False,
        stateful=False,
        unroll=False,
        zero_output_for_mask=False,
        *,
        return_all_states=False,
        memory="store",
        recurrent_clip=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_float(self, self.dtype_policy)
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.return_all_states = bool(return_all_states)
        self.go_backwards = bool(go_backwards)
        self.stateful = bool(stateful)
        self.unroll = bool(unroll)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        self.memory = arguments.memory(memory)
        clip = recurrent_clip
        self.recurrent_clip = None if clip is None else arguments.number("recurrent_clip", clip, "(0, inf)")
        self.supports_masking = True
        self._attach_mask = AttachMask(name="mask", autocast=False)

    def call(
        self,
        sequences,
        initial_state=None,
        mask=None,
        training=False,
        lengths=None,
        resets=None,
        deltas=None,
        constants=None,
        memory=None,
        memory_mask=None,
        sequences_mask=None,
    ):
        """See `RNN`."""
        mask = mask if first_mask(mask) is not None else sequences_mask
        self.check_memory(memory, memory_mask, sequences)
        given = Given(mask, bool(training), lengths, resets, deltas, constants, memory, memory_mask)
        results, mask = self.respond(sequences, initial_state, given)
        if lengths is not None and self.return_sequences:
            outputs = self.outputs
            results = [*(self._attach_mask([y, mask]) for y in results[:outputs]), *results[outputs:]]
        return tuple(results) if len(results) > 1 else results[0]

    def build_from_config(self, config):
        """Builds for the shapes in a configuration; without any, Keras would take the layer for built."""
        if not isinstance(config, dict) or not {"input_shape", "shapes_dict"} & set(config):
            raise ValueError(f"Expected a configuration of `build` with shapes. Received: {config!r}")
        super().build_from_config(config)

    def compute_output_shape(self, sequences_shape, initial_state_shape=None):
        """The shapes of the results."""
        del initial_state_shape
        made = tree.map_shape_structure(lambda s: keras.KerasTensor(s, self.compute_dtype), sequences_shape)
        return tree.map_structure(lambda spec: tuple(spec.shape), self.compute_output_spec(made))

    @property
    def dtype_policy(self):
        """One of floats, in which the layer computes."""
        return super().dtype_policy

    @dtype_policy.setter
    def dtype_policy(self, policy):
        check_float(self, keras.dtype_policies.get(policy))
        keras.layers.Layer.dtype_policy.fset(self, policy)

    def freeze(self, *inner):
        """Freezes layers inside a frozen one: Keras does so only where `trainable` is set after they are made."""
        for layer in inner if not self.trainable else ():
            layer.trainable = False

    @property
    def timed(self):
        """Whether a cell reads the time between steps."""
        raise NotImplementedError

    @property
    def attends(self):
        """Whether a cell looks at a memory."""
        return False

    def check_memory(self, memory, mask, sequences):
        """Raises where the memory of a call or its mask do not fit, or no cell looks at one."""
        if memory is None:
            if self.attends:
                raise ValueError(f"Expected `memory` in a call of {self.name!r}, whose cell attends. Received: None")
            if mask is not None:
                raise ValueError("Expected no `memory_mask` without `memory`. Received: one")
            return
        if not self.attends:
            raise ValueError(
                f"Expected no `memory`, as no cell of {type(self).__name__} {self.name!r} attends. Received: a memory"
            )
        batch, shape = tree.flatten(sequences)[0].shape[0], tuple(memory.shape)
        if len(shape) != 3 or shape[1] == 0 or (None not in (batch, shape[0]) and batch != shape[0]):
            raise ValueError(f"Expected `memory` of shape ({batch}, S > 0, features). Received: shape {shape}")
        masks.checked_shape("memory_mask", mask, shape)

    def checked_deltas(self, deltas, shape):
        """The intervals as (B, T), or None; raises where they do not fit, or no cell reads them."""
        if deltas is not None and not self.timed:
            raise ValueError(
                "Expected no `deltas`, as no equation of the cell reads the time between steps. "
                f"Received: deltas in a call of {type(self).__name__} {self.name!r}"
            )
        return masks.checked_intervals("deltas", deltas, shape)

    @property
    def outputs(self):
        """How many of the results are outputs."""
        return 1

    def respond(self, sequences, initial_state, given):
        """The results of a call.

        Returns:
            list: the outputs, the states at every step, the final states, as far as they are asked for.
            The mask (B, T) that was used, or None.
        """
        raise NotImplementedError


LAYER_ARGUMENTS = {
    name: parameter
    for name, parameter in inspect.signature(SequenceLayer.__init__).parameters.items()
    if name not in ("self", "kwargs")
}


def says_all_arguments(cls):
    """A class decorator: the signature of a layer whose `__init__` passes on names the layer arguments too."""
    own = [p for n, p in inspect.signature(cls.__init__).parameters.items() if n not in ("self", "args", "kwargs")]
    passed_on = LAYER_ARGUMENTS.values()
    if any(p.kind is p.KEYWORD_ONLY for p in own):
        passed_on = [p.replace(kind=p.KEYWORD_ONLY) for p in passed_on]
    parameters = sorted([*own, *passed_on], key=lambda p: p.kind)
    keywords = inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)
    cls.__signature__ = inspect.Signature([*parameters, keywords])
    return cls
