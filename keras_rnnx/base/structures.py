"""The weights of a recurrent product in each structure."""

import keras
from keras import ops

STRUCTURES = ("dense", "diagonal", "block", "low_rank")


def shapes(structure, size, width, gates, blocks=None, rank=None):
    """The shapes of the weights that take rows of `size` to `gates` gates, together rows of `width`.

    Returns:
        dict: the key in the engine's product -> (suffix of the weight's name, shape).

    Raises:
        ValueError: if `blocks` or `rank` is missing or does not fit, or a square structure is asked for where the
            recurrence is not square.
    """
    if structure == "dense":
        return {"kernel": ("", (size, width))}
    if structure in ("diagonal", "block") and size * gates != width:
        raise ValueError(
            f"Expected a state as wide as a gate with recurrent_structure={structure!r}. "
            f"Received: a state of {size}, gates of {width // gates}"
        )
    if structure == "diagonal":
        return {"diagonal": ("", (width,))}
    if structure == "block":
        if blocks is None or size % blocks:
            raise ValueError(
                "Expected `recurrent_blocks` > 0 that divides the units when recurrent_structure='block'. "
                f"Received: recurrent_blocks={blocks!r}, units={size}"
            )
        return {"blocks": ("", (blocks, size // blocks, width // blocks))}
    if rank is None or rank > size:
        raise ValueError(
            "Expected 0 < `recurrent_rank` <= units when recurrent_structure='low_rank'. "
            f"Received: recurrent_rank={rank!r}, units={size}"
        )
    return {"left": ("_left", (size, rank)), "right": ("_right", (rank, width))}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Structured(keras.initializers.Initializer):
    """Applies an initializer to each block of a structured matrix, in float32 whatever the dtype of the weight.

    A diagonal is made of blocks of one unit: an orthogonal start is a sign, anything else draws (1, width).

    Args:
        initializer: the initializer of a dense matrix.
        key: the kind of weight: `kernel`, `diagonal`, `blocks`, `left` or `right`.
    """

    def __init__(self, initializer, key="kernel"):
        self.initializer = keras.initializers.get(initializer)
        self.key = key

    def __call__(self, shape, dtype=None):
        if self.key == "diagonal":
            value = ops.squeeze(self._draw((1, *shape), 0), 0)
            if isinstance(self.initializer, keras.initializers.Orthogonal):
                value = ops.where(value < 0, -1.0, 1.0) * self.initializer.gain
        elif self.key == "blocks":
            value = ops.stack([self._draw(shape[1:], n) for n in range(shape[0])])
        else:
            value = self._draw(shape, 0)
        return ops.cast(value, dtype or keras.config.floatx())

    def _draw(self, shape, n):
        initializer = self.initializer
        if n and isinstance(initializer, keras.initializers.Initializer):
            config = initializer.get_config()
            if isinstance(config.get("seed"), int):
                config["seed"] += 10_007 * n  # far from the seeds of copies, which follow each other
            if not isinstance(config.get("seed"), dict):  # a `SeedGenerator` draws anew by itself
                initializer = type(initializer).from_config(config)
        return initializer(shape, dtype="float32")

    def get_config(self):
        """The arguments."""
        return {"initializer": keras.initializers.serialize(self.initializer), "key": self.key}
