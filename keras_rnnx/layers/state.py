"""States that a layer keeps between calls."""

import keras
from keras import ops

from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.masks import rows
from keras_rnnx.layers.sequence import SequenceLayer


class StatefulLayer(SequenceLayer):
    """A layer that can keep its final states for the next call.

    The states are variables but not weights: they are not saved, and `get_weights` leaves them out. A row that has not
    begun starts from the layer's own initial state as it is then, which training or loading may have changed. Under a
    `tf.distribute` strategy each replica keeps the states of its own rows, in its own copy of the variables.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._kept = []
        self._begun = None  # (B,) bool, the rows whose kept states a call or `reset_state` has given

    @property
    def weights(self):
        """The weights, without the kept states."""
        kept = {id(v) for v in self.carried}
        return [w for w in super().weights if id(w) not in kept]

    @property
    def states(self):
        """The kept states, as variables; an empty list before the first call."""
        return list(self._kept)

    @property
    def carried(self):
        """All that a call hands to the next one, as variables: the kept states, and which rows have begun."""
        return [*self._kept, self._begun] if self._kept else []

    @property
    def held(self):
        """What can be copied and assigned of `carried`: where replicas keep states of their own, those of each."""
        return [held for variable in self.carried for held in backend.replicas(variable)]

    def save_own_variables(self, store):
        """Saves nothing: the weights belong to the cell."""

    def load_own_variables(self, store):
        """Loads nothing: the weights belong to the cell."""

    def get_initial_state(self, batch_size):
        """The states to start from, as a list."""
        raise NotImplementedError

    def known_batch(self, batch):
        """Makes the kept states of a stateful layer for a batch larger than any before.

        Raises:
            ValueError: if there are none yet and the batch size is unknown.
        """
        held = self._kept[0].shape[0] if self._kept else 0
        if batch is not None and batch > held:
            self._make(batch)
        elif not held:
            raise ValueError(
                f"Expected a known batch size in the stateful layer {self.name!r}: give Input(batch_shape=...), or "
                "call the layer once on a batch. Received: an unknown batch size"
            )

    def kept_state(self, batch):
        """The states of the first `batch` rows: kept, or the layer's own where a row has not begun."""
        backend.check_rows(batch, self._begun.value)
        own = keras.tree.flatten(self.get_initial_state(batch))
        begun = ops.copy(self._begun.value[:batch])  # torch changes variables in place, before the gradient reads them
        kept = [v.value[:batch] for v in self._kept]
        return [ops.where(rows(begun, k), k, ops.cast(o, k.dtype)) for k, o in zip(kept, own, strict=True)]

    def _make(self, batch):
        start = keras.tree.flatten(self.get_initial_state(1))

        def initial(i):
            def values(shape, dtype):
                return ops.copy(ops.cast(keras.tree.flatten(self.get_initial_state(shape[0]))[i], dtype))

            return values

        self._tracker.unlock()
        for variable in self.carried:
            self._untrack_variable(variable)
        self._kept = [
            self.add_weight(
                name=f"state_{i}",
                shape=(batch, *s.shape[1:]),
                dtype=keras.backend.standardize_dtype(s.dtype),
                initializer=initial(i),
                trainable=False,
            )
            for i, s in enumerate(start)
        ]
        self._begun = self.add_weight(name="begun", shape=(batch,), dtype="bool", initializer="zeros", trainable=False)
        self._tracker.lock()

    def keep_state(self, states):
        """Keeps final states for the next call; rows beyond this batch stay as they are."""
        begun = ops.ones(ops.shape(states[0])[:1], dtype="bool")
        for variable, state in zip(self.carried, (*states, begun), strict=True):
            state = ops.cast(state, variable.dtype)
            if not isinstance(state.shape[0], int) or state.shape[0] != variable.shape[0]:
                rest = variable.value[ops.shape(state)[0] :]
                state = ops.concatenate([state, rest], axis=0)
                state = ops.reshape(state, variable.shape)
            variable.assign(state)

    def reset_state(self, states=None):
        """Sets the kept states.

        Args:
            states: a list of arrays, one for each state. Default: the layer's own initial state.

        Raises:
            ValueError: if `states` do not fit, or the layer keeps none yet.
        """
        if not self._kept:
            if states is not None:
                raise ValueError(
                    f"Expected the layer {self.name!r} to be stateful and to have met a batch before `reset_state` is "
                    "given states. Received: states for a layer that keeps none"
                )
            return
        given = states is not None
        states = keras.tree.flatten(states if given else self.get_initial_state(self._kept[0].shape[0]))
        if len(states) != len(self._kept):
            raise ValueError(f"Expected {len(self._kept)} states. Received: {len(states)} states")
        for variable, state in zip(self._kept, states, strict=True):
            variable.assign(state)
        self._begun.assign(ops.full(self._begun.shape, given))

    reset_states = reset_state
