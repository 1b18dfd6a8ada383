"""What the task models over one trunk share: their arguments, and names in place of numbers."""

import keras
import numpy as np

from keras_rnnx import arguments
from keras_rnnx.models.text import TextModel, checked_text, numbers_of
from keras_rnnx.models.trunk import Trunk, sequences_of


class Labels:
    """Names of classes or of tags, and their numbers.

    Args:
        argument: the name of the argument, for errors.
        value: int, how many there are, or a list of their names.
        least: how many there have to be.

    Raises:
        ValueError: if it is neither, or there are too few.
    """

    def __init__(self, argument, value, least=2):
        self.argument = argument
        self.names = None
        if isinstance(value, (list, tuple)):
            self.names = [str(name) for name in value]
            if any(not isinstance(name, str) for name in value) or len(set(self.names)) != len(self.names):
                raise ValueError(f"Expected `{argument}` to be a number or different names. Received: {value!r}")
        self.count = arguments.positive(argument, value) if self.names is None else len(self.names)
        if self.count < least:
            raise ValueError(f"Expected at least {least} {argument}. Received: {argument}={value!r}")
        self._number = {name: i for i, name in enumerate(self.names or ())}

    @property
    def value(self):
        """The argument, as it was given."""
        return self.count if self.names is None else self.names

    def numbers(self, given):
        """The numbers of a list of names.

        Raises:
            ValueError: if one is not known.
        """
        unknown = [name for name in given if name not in self._number]
        if unknown:
            known = self.names or f"integers, as {self.argument}={self.count} has no names"
            raise ValueError(f"Expected {self.argument}: {known}. Received: {unknown[0]!r}")
        return [self._number[name] for name in given]

    def check(self, numbers, lowest=0):
        """Raises unless an array of integers is in range; what is no NumPy array of integers is not looked at."""
        if isinstance(numbers, np.ndarray) and numbers.dtype.kind in "iu":
            arguments.between(self.argument, numbers, lowest, self.count - 1)


def _of_trunk(name):
    return property(lambda self: getattr(self.trunk, name), doc="See `Trunk`.")


class TrunkModel(arguments.FromConfig, TextModel):
    """A task model over one `Trunk`.

    Its inputs are raw strings, where it has a `Text`; integers (B, T), where it has a `vocabulary`; else vectors
    (B, T, D). They may also come as a dict: see `Trunk`.

    Args:
        cell: what the trunk is made of, with `depth`, `bidirectional`, `residual`, `dropout`, `embedding`, `mask_value`
            and `seed`: see `Trunk`.
        text: a `Text` with a vocabulary, or None.
        vocabulary: int V, the number of integers, or None. With `text`: the size of its vocabulary.
    """

    def __init__(
        self,
        cell,
        depth=1,
        bidirectional=False,
        residual=None,
        dropout=0.0,
        *,
        text=None,
        vocabulary=None,
        embedding=None,
        mask_value=None,
        seed=None,
        **kwargs,
    ):
        return_sequences = kwargs.pop("return_sequences", True)  # what a subclass needs, no argument of a model
        super().__init__(autocast=False, **kwargs)
        if checked_text("text", text) is not None and vocabulary not in (None, text.size):
            raise ValueError(f"Expected vocabulary=None or {text.size} with this `text`. Received: {vocabulary!r}")
        self.text = text
        self.vocabulary = vocabulary
        self.trunk = Trunk(
            cell,
            depth,
            bidirectional,
            residual,
            dropout,
            vocabulary=vocabulary if text is None else text.size,
            embedding=embedding,
            mask_value=mask_value,
            return_sequences=return_sequences,
            seed=seed,
            dtype=self.dtype_policy,
            name="trunk",
        )

    cell, depth, bidirectional, residual, dropout, embedding, mask_value, seed = map(
        _of_trunk, ("cell", "depth", "bidirectional", "residual", "dropout", "embedding", "mask_value", "seed")
    )

    def build(self, input_shape):
        """Builds the trunk and what stands on it."""
        self.trunk.build(input_shape)
        steps = tuple(sequences_of(input_shape))[: 2 if self.trunk.return_sequences else 1]
        self.build_head((*steps, *self.trunk.layer.shape_of_step))
        self.built = True

    def build_head(self, shape):
        """Builds what reads the outputs of the trunk, of this shape."""
        raise NotImplementedError

    def get_config(self):
        """The arguments."""
        return {**super().get_config(), **arguments.config_of(self, keras.Model)}

    def numbers_of(self, x):
        """Inputs as arrays of numbers.

        Raises:
            ValueError: if they are strings and the model has no `text`, or integers out of range.
        """
        if isinstance(x, dict):
            return {**x, "sequences": self.numbers_of(sequences_of(x))}
        if self.text is not None and self.text.size != self.trunk.vocabulary:
            raise ValueError(
                f"Expected `text` to have the {self.trunk.vocabulary} integers that it had when the model was made. "
                f"Received: a Text of {self.text.size}"
            )
        return self.trunk.checked(numbers_of(x, self.text))
