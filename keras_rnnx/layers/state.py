"""States that a layer keeps between calls."""

import keras
from keras import ops


class StatefulLayer(keras.layers.Layer):
    """A layer that can keep its final states for the next call.

    The states are variables but not weights: they are not saved, and `get_weights` leaves them out.
    """

    def __init__(self, *, stateful=False, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.stateful = bool(stateful)
        self._kept = []

    @property
    def weights(self):
        """The weights, without the kept states."""
        kept = {id(v) for v in self._kept}
        return [w for w in super().weights if id(w) not in kept]

    @property
    def states(self):
        """The kept states, as variables; an empty list before the first call."""
        return list(self._kept)

    def save_own_variables(self, store):
        """Saves nothing: the weights belong to the cell."""

    def load_own_variables(self, store):
        """Loads nothing: the weights belong to the cell."""

    def get_initial_state(self, batch_size):
        """The states to start from, as a list."""
        raise NotImplementedError

    def kept_state(self, batch, static_batch):
        """The kept states of the first `batch` rows; makes them for a batch larger than any before.

        Raises:
            ValueError: if the batch size is not known when the states are first made.
        """
        held = self._kept[0].shape[0] if self._kept else 0
        if static_batch is not None and static_batch > held:
            self._make(static_batch)
        elif not self._kept:
            raise ValueError(
                f"Expected a known batch size at the first call of the stateful layer {self.name!r}: give "
                "Input(batch_shape=...), or call the layer once on a batch. Received: an unknown batch size"
            )
        return [v.value[:batch] if batch != v.shape[0] else v.value for v in self._kept]

    def _make(self, batch):
        start = keras.tree.flatten(self.get_initial_state(batch))
        shapes = [(tuple(s.shape), s.dtype) for s in start]
        self._tracker.unlock()
        for variable in self._kept:
            self._untrack_variable(variable)
        self._kept = [
            self.add_weight(name=f"state_{i}", shape=shape, dtype=dtype, initializer="zeros", trainable=False)
            for i, (shape, dtype) in enumerate(shapes)
        ]
        self._tracker.lock()

    def keep_state(self, states):
        """Keeps final states for the next call; rows beyond this batch stay as they are."""
        for variable, state in zip(self._kept, states, strict=True):
            state = ops.cast(state, variable.dtype)
            if state.shape[0] != variable.shape[0]:
                rest = variable.value[ops.shape(state)[0] :]
                state = ops.concatenate([state, rest], axis=0)
                state = ops.reshape(state, variable.shape)
            variable.assign(state)

    def reset_state(self, states=None):
        """Sets the kept states.

        Args:
            states: a list of arrays, one for each state. Default: the layer's own initial state.
        """
        if not self._kept:
            return
        if states is None:
            states = self.get_initial_state(self._kept[0].shape[0])
        states = keras.tree.flatten(states)
        if len(states) != len(self._kept):
            raise ValueError(f"Expected {len(self._kept)} states. Received: {len(states)} states")
        for variable, state in zip(self._kept, states, strict=True):
            variable.assign(state)

    reset_states = reset_state
