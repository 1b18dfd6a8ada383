"""From a sequence to one vector, over its valid steps alone."""

import keras
from keras import ops

from keras_rnnx.engine import masks
from keras_rnnx.engine.gates import at_least_single


class MaskedPooling(keras.layers.Layer):
    """What poolings over time share. A subclass defines `pooled`.

    Call:
        sequences: (B, T, ...).
        mask: (B, T) booleans in any pattern, or None for all steps.

    Returns:
        (B, ...); zero where no step is valid.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def compute_mask(self, inputs, previous_mask):
        """None: the result is no sequence."""
        return None

    def compute_output_shape(self, input_shape):
        """The shape without its time axis."""
        return (input_shape[0], *input_shape[2:])

    def call(self, sequences, mask=None):
        """See the class."""
        mask = masks.checked("mask", mask, tuple(sequences.shape))
        if mask is None:
            mask = ops.ones(ops.shape(sequences)[:2], "bool")
        return self.pooled(sequences, mask)

    def pooled(self, sequences, mask):
        """The vector (B, ...) of sequences (B, T, ...) under a mask (B, T)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MaskedMaxPooling(MaskedPooling):
    r"""The largest value over the valid steps, feature by feature.

    $$ y_d = \max_{t:\, m_t = 1} x_{td} $$

    Call: (B, T, D), with a mask (B, T) or without, to (B, D); zero where no step is valid.

    Example:
        >>> x = keras_rnnx.LSTM(8, return_sequences=True)(x)
        >>> y = keras_rnnx.models.MaskedMaxPooling()(x)
    """

    def pooled(self, sequences, mask):
        """See `MaskedPooling`."""
        kept, none = masks.rows(mask, sequences), ops.full_like(sequences, -float("inf"))
        largest = ops.max(ops.where(kept, sequences, none), axis=1)
        return masks.quiet(largest, ops.any(mask, axis=1))


@keras.saving.register_keras_serializable(package="keras_rnnx")
class MaskedMeanPooling(MaskedPooling):
    r"""The mean over the valid steps, feature by feature, summed in float32 at least.

    $$ y_d = \frac{\sum_t m_t\, x_{td}}{\sum_t m_t} $$

    Call: (B, T, D), with a mask (B, T) or without, to (B, D); zero where no step is valid.

    Example:
        >>> x = keras_rnnx.LSTM(8, return_sequences=True)(x)
        >>> y = keras_rnnx.models.MaskedMeanPooling()(x)
    """

    def pooled(self, sequences, mask):
        """See `MaskedPooling`."""
        wide = ops.cast(sequences, at_least_single(sequences.dtype))
        total = ops.sum(masks.quiet(wide, mask), axis=1)
        count = ops.maximum(ops.sum(ops.cast(mask, wide.dtype), axis=1), 1)
        return ops.cast(total / masks.rows(count, total), sequences.dtype)
