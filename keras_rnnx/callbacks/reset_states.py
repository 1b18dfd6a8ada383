"""When stateful layers start anew in training."""

import keras

from keras_rnnx.arguments import positive
from keras_rnnx.inspection import reset_states, stateful_layers


class ResetStates(keras.callbacks.Callback):
    """Resets the states that stateful recurrent layers carry from batch to batch.

    A pass through the data begins with fresh states: they are reset when an epoch begins, or more often. Validation
    (and `evaluate`, where the callback is given to it) begins with fresh states too, carries them through its own
    batches, and leaves those of training as they were before it: what follows in training does not depend on whether
    there was a validation.

    Args:
        at: `"epoch"`, when an epoch begins; `"batch"`, before each batch; or an int n > 0, before each n-th batch of an
            epoch, the first one included.

    Raises:
        ValueError: if `at` is something else; when training begins, if the model has no stateful layer of this package,
            or runs several batches at once (`steps_per_execution`) and `at` falls between them.

    Example:
        model.fit(windows, epochs=10, shuffle=False, callbacks=[keras_rnnx.callbacks.ResetStates()])
    """

    def __init__(self, at="epoch"):
        super().__init__()
        if isinstance(at, str) and at not in ("epoch", "batch"):
            raise ValueError(f"Expected `at` to be 'epoch', 'batch' or an integer > 0. Received: at={at!r}")
        self.at = at if isinstance(at, str) else positive("at", at)
        self._aside = None

    @property
    def _every(self):
        """After how many batches; None for epochs."""
        return {"epoch": None, "batch": 1}.get(self.at, self.at)

    def on_train_begin(self, logs=None):
        """Raises where there is nothing to reset, or no chance to."""
        if not stateful_layers(self.model):
            raise ValueError(f"Expected a model with a layer of stateful=True. Received: {self.model!r} without one")
        together = getattr(self.model, "steps_per_execution", 1)
        if self._every is not None and self._every % together:
            raise ValueError(
                f"Expected `at` to be a multiple of the model's steps_per_execution={together}, whose batches run in "
                f"one go. Received: at={self.at!r}"
            )

    def on_epoch_begin(self, epoch, logs=None):
        """Resets."""
        reset_states(self.model)

    def on_train_batch_begin(self, batch, logs=None):
        """Resets, where batches are counted."""
        if self._every is not None and batch % self._every == 0:
            reset_states(self.model)

    def on_test_begin(self, logs=None):
        """Puts the states aside, and resets."""
        self._aside = [[keras.ops.copy(v) for v in layer.held] for layer in stateful_layers(self.model)]
        reset_states(self.model)

    def on_test_end(self, logs=None):
        """Takes the states back."""
        for layer, values in zip(stateful_layers(self.model), self._aside, strict=True):
            if [tuple(v.shape) for v in layer.held] == [tuple(v.shape) for v in values]:
                for variable, value in zip(layer.held, values, strict=True):
                    variable.assign(value)
            else:
                layer.reset_state()
        self._aside = None
