"""Samples of what a model writes, while it learns."""

import numpy as np
from keras import ops

from keras_rnnx.callbacks.periodic import Periodic


class SampleText(Periodic):
    """Prints texts that a model writes, before training and then after every so many epochs or batches.

    Args:
        generate: a function of the model that gives a text or several, a string or a list of strings. Default: the
            model's own method, `model.generate(prompts, **options)`.
        log_dir: the directory of the TensorBoard summaries, or None for none. Needs the package `tensorboard`.
        every: int > 0, after how many epochs or batches.
        unit: `"epoch"` or `"batch"`, what `every` counts.
        prompts: what the model's own `generate` gets first, such as a list of the beginnings of texts.
        printed: bool, whether the texts are printed.
        **options: further arguments of the model's own `generate`, such as `temperature=0.7`.

    Attributes:
        history: the list of the lists of texts, one for each measurement.
        steps: the list of how many epochs (or batches) had been trained at each.

    Raises:
        ValueError: if both a function and prompts or options are given, or neither; when training begins, if the model
            has no `generate` of its own; if what is generated is no text.
        ImportError: if a package is missing.

    Example:
        model.fit(x, y, epochs=5, callbacks=[SampleText(lambda model: write(model, "Once upon "), log_dir="logs")])
    """

    def __init__(self, generate=None, log_dir=None, every=1, unit="epoch", *, prompts=None, printed=True, **options):
        super().__init__(log_dir, every, unit)
        if generate is None and prompts is None:
            raise ValueError("Expected a function `generate`, or `prompts` for the model's own. Received: neither")
        if generate is not None and not callable(generate):
            raise ValueError(f"Expected `generate` to be a function of the model. Received: {generate!r}")
        if generate is not None and (prompts is not None or options):
            raise ValueError(
                "Expected `prompts` and options only for the model's own `generate`. "
                f"Received: a function, prompts={prompts!r}, {options}"
            )
        self.generate = generate
        self.prompts = prompts
        self.printed = bool(printed)
        self.options = options

    @property
    def history(self):
        """The texts of each measurement."""
        return [measured["texts"] for measured in self._measured]

    def on_train_begin(self, logs=None):
        """Raises where the model cannot generate."""
        if self.generate is None and not callable(getattr(self.model, "generate", None)):
            raise ValueError(
                f"Expected a model with a method `generate`, or the argument `generate`. Received: {self.model!r}"
            )

    def measure(self):
        """The texts, under the name `texts`."""
        if self.generate is None:
            made = self.model.generate(self.prompts, **self.options)
        else:
            made = self.generate(self.model)
        return {"texts": texts_of(made)}

    def write(self, summaries, measured, step):
        """See `Periodic`."""
        summaries.text("sample_text", measured["texts"], step)

    def take(self, step):
        """Generates now."""
        super().take(step)
        if self.printed:
            print(f"\n{self.unit} {step}:", *self.history[-1], sep="\n")


def texts_of(made):
    """A text, or a list, an array or a tensor of texts, as a list of strings; raises where it is something else."""
    if not isinstance(made, (str, bytes, list, tuple, np.ndarray)):
        made = ops.convert_to_numpy(made)
    texts = [t.decode("utf-8", "replace") if isinstance(t, bytes) else t for t in np.ravel(np.asarray(made, object))]
    wrong = [t for t in texts if not isinstance(t, str)]
    if wrong:
        raise ValueError(f"Expected a text or several from `generate`. Received: {type(wrong[0]).__name__}")
    return [str(t) for t in texts]
