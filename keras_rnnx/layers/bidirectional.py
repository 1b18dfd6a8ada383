"""Two walks over the same sequence, from both ends."""

import keras
from keras import ops, tree

from keras_rnnx import arguments
from keras_rnnx.base import reading
from keras_rnnx.base.interface import as_shape, refuse_attention
from keras_rnnx.base.quantization import Template, recorded
from keras_rnnx.engine import paths
from keras_rnnx.layers.rnn import RNN
from keras_rnnx.layers.sequence import LAYER_ARGUMENTS, SequenceLayer

MERGE_MODES = ("concat", "sum", "mul", "ave", None)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Bidirectional(SequenceLayer):
    r"""Reads a sequence forwards and backwards and merges the outputs, which are aligned to time.

    $$ y_t = \text{merge}(\overrightarrow{y}_t, \overleftarrow{y}_t) $$

    where the forward output has seen the steps 1..t and the backward output the steps T..t. Without `return_sequences`
    each direction gives its output after its last valid step. A masked step is skipped in both directions, so the
    amount and side of padding change no result at a valid step.

    Args:
        layer: an `RNN` of this package (`LSTM`, `RNN(cell)`, ...), whose arguments both directions take.
        merge_mode: `"concat"`, `"sum"`, `"mul"`, `"ave"`, or None for a pair of outputs.
        weights: initial weights, as `set_weights` takes them, or None.
        backward_layer: another `RNN` for the backward direction, with `go_backwards=True`. Default: a copy of `layer`.

    Call: as `RNN`; `initial_state` is the list of the forward states followed by the backward states, and
        `return_state` gives them in this order.

    Raises:
        ValueError: if a layer is no `RNN` of this package, or the two disagree in what they return or the way they go.

    Reference: M. Schuster and K. Paliwal, Bidirectional recurrent neural networks, IEEE Trans. Signal Processing
        45(11), 1997.
    """

    def __init__(self, layer, merge_mode="concat", weights=None, backward_layer=None, **kwargs):
        for name, value in (("layer", layer), ("backward_layer", backward_layer)):
            if not isinstance(value, RNN) and not (name == "backward_layer" and value is None):
                raise ValueError(f"Expected `{name}` to be a recurrent layer of keras_rnnx. Received: {value!r}")
            if value is not None:
                refuse_attention(self, value.cell)
        super().__init__(**{name: getattr(layer, name) for name in LAYER_ARGUMENTS}, **kwargs)
        self.merge_mode = arguments.choice("merge_mode", merge_mode, MERGE_MODES)
        layer = arguments.copy_of(layer, layer.name) if layer.built else layer
        self._template = Template(layer)
        self.forward_layer = arguments.copy_of(layer, f"forward_{layer.name}")
        if backward_layer is None:
            name = f"backward_{layer.name}"
            self.backward_layer = arguments.copy_of(layer, name, 1, go_backwards=not layer.go_backwards)
        else:
            self.backward_layer = backward_layer
        self.given_backward_layer = backward_layer
        self._check_pair()
        self.initial_weights = weights
        self.freeze(*self._directions)

    def _check_pair(self):
        names = ("return_sequences", "return_state", "return_all_states", "stateful")
        names += ("zero_output_for_mask",)
        for name in names:
            pair = [getattr(d, name) for d in self._directions]
            if pair[0] != pair[1]:
                raise ValueError(f"Expected `{name}` to be the same in both directions. Received: {pair}")
        if self.forward_layer.go_backwards == self.backward_layer.go_backwards:
            raise ValueError(
                "Expected `go_backwards` to differ between the two directions. Received: "
                f"go_backwards={self.forward_layer.go_backwards} in both"
            )

    @property
    def layer(self):
        """The layer that both directions are like."""
        return self._template.layer

    @property
    def _directions(self):
        return (self.forward_layer, self.backward_layer)

    def build(self, input_shape):
        """Builds both directions."""
        for direction in self._directions:
            if not direction.built:
                direction.build(input_shape)
        sizes = [as_shape(direction.cell.output_size) for direction in self._directions]
        if self.merge_mode in ("sum", "mul", "ave") and sizes[0] != sizes[1]:
            raise ValueError(
                f"Expected outputs of one size in both directions with merge_mode={self.merge_mode!r}. "
                f"Received: {sizes[0]} and {sizes[1]}"
            )
        if self.initial_weights is not None:
            self.set_weights(self.initial_weights)
        self.built = True

    def get_config(self):
        """The arguments."""
        config = {
            "layer": keras.saving.serialize_keras_object(self.layer),
            "merge_mode": self.merge_mode,
        }
        if self.given_backward_layer is not None:
            config["backward_layer"] = keras.saving.serialize_keras_object(self.backward_layer)
        return {**super().get_config(), **config, **recorded(self)}

    def compute_mask(self, inputs, previous_mask):
        """The mask of the inputs, on the outputs of a sequence."""
        masks = [self.forward_layer.compute_mask(inputs, previous_mask)] * 2
        flat = self._flat(*[m if isinstance(m, list) else [m] for m in masks], lambda a, b: a)
        return flat if len(flat) > 1 else flat[0]

    def compute_output_spec(self, sequences, initial_state=None, mask=None, training=False, **kwargs):
        """Shapes and dtypes of the results."""
        states = self._halves(initial_state)
        specs = []
        for direction, state in zip(self._directions, states, strict=True):
            spec = direction.compute_output_spec(sequences, state, mask, training, **kwargs)
            specs.append(list(spec) if isinstance(spec, tuple) else [spec])

        def merged(a, b):
            shape, axis = list(a.shape), self.features_axis
            if self.merge_mode == "concat":
                shape[axis] += b.shape[axis]
            return keras.KerasTensor(shape, a.dtype)

        results = self._flat(*specs, merged)
        return tuple(results) if len(results) > 1 else results[0]

    @property
    def timed(self):
        """Whether the cells read the time between steps."""
        return all(direction.timed for direction in self._directions)

    @property
    def features_axis(self):
        """The axis of the features in the outputs, counted from the last one."""
        return self.forward_layer.cell.features_axis

    @property
    def outputs(self):
        """Two where they are not merged."""
        return 2 if self.merge_mode is None else 1

    def respond(self, sequences, initial_state, given):
        """See `SequenceLayer`."""
        states = self._halves(initial_state)
        if self.one_loop:
            pairs = self._walk_pair(sequences, states, given)
        else:
            pairs = [
                direction.walk(sequences, state, given)
                for direction, state in zip(self._directions, states, strict=True)
            ]
        results = [
            direction.results(result, valid, aligned=True)
            for direction, (result, valid) in zip(self._directions, pairs, strict=True)
        ]
        for direction, (output, *_) in zip(self._directions, results, strict=True):
            if direction.activity_regularizer is not None:
                direction.add_loss(direction.activity_regularizer(output))
        return self._flat(*results, self._merge), pairs[0][1]

    @property
    def one_loop(self):
        """Whether both directions walk in one loop: their cells are alike, and the device gains by it."""
        cells = [direction.cell for direction in self._directions]
        same = ("memory", "recurrent_clip", "unroll")
        return (
            reading.alike(cells)
            and all(len({getattr(d, name) for d in self._directions}) == 1 for name in same)
            and paths.gains_by_lanes(cells[0].whole_sequence(), self.forward_layer.unroll)
        )

    def _walk_pair(self, sequences, states, given):
        ready = [
            direction.prepared(sequences, state, given)
            for direction, state in zip(self._directions, states, strict=True)
        ]
        x, states, ways, valid = zip(*ready, strict=True)
        cells = [direction.cell for direction in self._directions]
        results = reading.read_pair(cells, x[0], states, ways)
        for direction, result in zip(self._directions, results, strict=True):
            if direction.stateful:
                direction.keep_state(result.final)
        return list(zip(results, valid, strict=True))

    def _merge(self, a, b):
        if self.merge_mode == "concat":
            return ops.concatenate([a, b], axis=self.features_axis)
        if self.merge_mode == "mul":
            return a * b
        return a + b if self.merge_mode == "sum" else (a + b) / 2

    def _flat(self, forward, backward, merge):
        """Merged outputs (or both), then the forward results, then the backward ones."""
        pair = [forward[0], backward[0]]
        outputs = pair if self.merge_mode is None else [merge(*pair)]
        return [*outputs, *forward[1:], *backward[1:]]

    def _halves(self, initial_state):
        if initial_state is None:
            return None, None
        state = list(initial_state) if isinstance(initial_state, (list, tuple)) else [initial_state]
        count = len(tree.flatten(self.forward_layer.cell.state_size))
        flat = tree.flatten(state)
        other = len(tree.flatten(self.backward_layer.cell.state_size))
        if len(flat) != count + other:
            raise ValueError(
                f"Expected `initial_state` of {count} forward and {other} backward states. Received: {len(flat)} states"
            )
        return flat[:count], flat[count:]

    def reset_state(self, states=None):
        """Resets both directions; `states` lists the forward states, then the backward ones."""
        for direction, state in zip(self._directions, self._halves(states), strict=True):
            direction.reset_state(state)

    reset_states = reset_state
