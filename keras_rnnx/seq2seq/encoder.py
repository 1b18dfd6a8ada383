"""From a source sequence to a memory and a state."""

import keras
from keras import tree

from keras_rnnx.models.trunk import Trunk


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Encoder(Trunk):
    """Reads a source sequence: its outputs at every step are the memory, its final states start the decoder.

    Args:
        cell: what it is made of, with the other arguments of `keras_rnnx.models.Trunk`: `depth`, `bidirectional`,
            `residual`, `dropout`, `vocabulary` (for integers, of which 0 is padding), `embedding`, `mask_value`,
            `seed`.

    Call:
        As `Trunk`.

    Returns:
        The memory (B, S, M), which carries the mask of the source, and the final states of the last level, a list of
        (B, H).

    Example:
        encoder = keras_rnnx.seq2seq.Encoder(keras_rnnx.GRUCell(64), bidirectional=True, vocabulary=1000)
        memory, states = encoder(sources)
    """

    def __init__(self, cell, *args, **kwargs):
        super().__init__(cell, *args, **{**kwargs, "return_sequences": True, "return_state": True})

    def call(self, inputs, mask=None, training=False, initial_state=None):
        """See the class."""
        memory, *states = super().call(inputs, mask, training, initial_state)
        return memory, tree.flatten(states[-1])

    def compute_mask(self, inputs, previous_mask):
        """The mask of the source, on the memory."""
        states = tree.flatten(self.layer.state_sizes_of_levels()[-1])
        return self.valid(inputs, previous_mask), [None for _ in states]

    def get_config(self):
        """The arguments."""
        config = super().get_config()
        return {name: value for name, value in config.items() if name not in ("return_sequences", "return_state")}
