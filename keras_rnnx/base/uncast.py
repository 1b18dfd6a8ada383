"""A layer that decides itself what it computes in which dtype."""

import keras


class Uncast(keras.layers.Layer):
    """A layer that gets its inputs and its own weights as they are, and casts them where it needs to.

    With `autocast=False` Keras leaves the inputs alone, but in a mixed policy it still rounds every weight that is read
    to the compute dtype. What is to be float32 in half precision, a carried state or a decay near 1, would be rounded
    before it is cast.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, autocast=False, **kwargs)
        if not isinstance(self.dtype_policy, keras.DTypePolicy):  # which Keras makes of some configurations
            raise ValueError(f"Expected `dtype` to be a dtype or a policy. Received: dtype={kwargs.get('dtype')!r}")

    def add_weight(self, *args, **kwargs):
        """See `keras.layers.Layer.add_weight`; the weight is read as it is stored."""
        return super().add_weight(*args, autocast=False, **kwargs)
