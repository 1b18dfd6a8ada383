"""How far the gradient reaches back in time, seen while a model learns."""

import numpy as np
from keras import tree

from keras_rnnx.callbacks.gradients import gradient_readings
from keras_rnnx.callbacks.periodic import Periodic
from keras_rnnx.callbacks.summaries import new_figure

TINY = float(np.finfo("float32").tiny)  # with its inverse, about the range of single precision


class GradientFlow(Periodic):
    r"""Shows whether the gradient vanishes or explodes on its way back in time.

    Before training and then after every so many epochs or batches, it takes one batch that stays the same and computes
    for every recurrent layer of this package and every state the mean norm of the gradient
    $$ g_t = \operatorname{mean}_b \Bigl\lVert \frac{dL}{ds_{b,t}} \Bigr\rVert $$
    over the rows b of which step t is valid; see [`state_gradients`][keras_rnnx.callbacks.state_gradients]. L is a mean
    over the batch, so that the size of the norms depends on that of the batch, but not their course in time. The model
    learns as it would without the callback.

    To TensorBoard go, for each layer and state, the scalars `first` (the norm at the first step that is valid
    anywhere), `last` (at the last one with a norm above zero: the loss of the last step alone does not reach the last
    \(c\) of an LSTM), `max`, and `log10_first_over_last`: near 0 the gradient keeps its size, far below it has
    vanished, far above it has exploded; a histogram of \(\log_{10}\) of the norms of all rows and steps; and the
    picture of `figure`.

    Args:
        data: the batch, `(x, y)` or `(x, y, sample_weight)`, as `model.train_on_batch` takes it. A few rows are enough.
        log_dir: the directory of the TensorBoard summaries, or None for none. Needs the package `tensorboard`.
        every: int > 0, after how many epochs or batches.
        unit: `"epoch"` or `"batch"`, what `every` counts.
        loss: see `state_gradients`. Default: the loss of the model.
        training: bool, whether the model runs as in training, with dropout.
        layers: the layers to look at, or their names; see `state_gradients`. Default: all.
        picture: bool, whether the picture goes to TensorBoard too. Needs the package `matplotlib`.

    Attributes:
        history: a dictionary of NumPy arrays (N, T), the norms at each of N measurements, by `"<layer>/<state>"`. NaN
            at steps that are masked in all rows.
        steps: the list of the N numbers of epochs (or batches) that had been trained.

    Raises:
        ValueError: if `data` is no such batch or an argument is out of range; when training begins, see
            `state_gradients`.
        ImportError: if a package is missing.

    Example:
        flow = keras_rnnx.callbacks.GradientFlow((x[:32], y[:32]), log_dir="logs")
        model.fit(x, y, callbacks=[flow])
        flow.figure().savefig("flow.png")

    Reference: Y. Bengio, P. Simard and P. Frasconi, Learning long-term dependencies with gradient descent is difficult,
        IEEE Trans. Neural Networks 5(2), 1994; R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training
        recurrent neural networks, arXiv:1211.5063.
    """

    def __init__(
        self,
        data,
        log_dir=None,
        every=1,
        unit="epoch",
        *,
        loss=None,
        training=False,
        layers=None,
        picture=True,
    ):
        super().__init__(log_dir, every, unit)
        self.data = checked_batch(data)
        self.loss = loss
        self.training = bool(training)
        self.layers = layers
        self.picture = bool(picture)
        if log_dir is not None and self.picture:
            new_figure()  # raises here rather than after an epoch
        self._rows = {}  # of the last measurement, the norms of all rows (B, T), and the mask

    def measure(self):
        """The mean norms (T,) by `"<layer>/<state>"`."""
        x, y, sample_weight = self.data
        found = gradient_readings(self.model, x, y, self.loss, self.training, sample_weight, self.layers)
        norms = {}
        for name, (read, gradients) in found.items():
            for state, gradient in gradients.items():
                each = np.sqrt(np.sum(np.square(gradient, dtype="float64"), axis=tuple(range(2, gradient.ndim))))
                self._rows[f"{name}/{state}"] = each, read.mask
                norms[f"{name}/{state}"] = mean_over_rows(each, read.mask)
        return norms

    def write(self, summaries, measured, step):
        """See `Periodic`."""
        for name, norms in measured.items():
            tag, (rows, mask) = f"gradient_flow/{name}", self._rows[name]
            norms, rows = norms[mask.any(axis=0)], rows[mask]
            if not norms.size:
                continue
            reached = np.flatnonzero(norms)
            first, last = norms[0], norms[reached[-1] if reached.size else -1]
            summaries.scalar(f"{tag}/first", first, step)
            summaries.scalar(f"{tag}/last", last, step)
            summaries.scalar(f"{tag}/max", norms.max(), step)
            summaries.scalar(f"{tag}/log10_first_over_last", decades(first) - decades(last), step)
            summaries.histogram(f"{tag}/log10_norms", decades(rows[np.isfinite(rows)]), step)
        if self.picture:
            summaries.figure("gradient_flow", self.figure(), step)

    def figure(self, index=-1, title=None):
        """A picture of one measurement: the norms over time as lines, and as a heat map of layers over time.

        Norms of zero are left out.

        Args:
            index: which of the measurements. Default: the last one.
            title: str, or None for what `steps` says.

        Returns:
            A `matplotlib.figure.Figure`; `savefig` writes it to a file.

        Raises:
            ValueError: if there is no such measurement.
            ImportError: if the package `matplotlib` is not installed.
        """
        if not -len(self.steps) <= index < len(self.steps):
            raise ValueError(f"Expected the index of one of {len(self.steps)} measurements. Received: index={index}")
        chosen = {name: values[index] for name, values in self.history.items()}
        norms = {name: decades(np.where(values > 0, values, np.nan)) for name, values in chosen.items()}
        figure = new_figure(figsize=(10, 3.5 + 0.3 * len(norms)))
        lines, heat = figure.subplots(1, 2)
        for name, values in norms.items():
            lines.plot(np.arange(1, len(values) + 1), values, label=name)
        lines.set(xlabel="step t", ylabel=r"$\log_{10} \|dL/ds_t\|$")
        lines.grid(alpha=0.3)
        lines.legend(fontsize="small")
        longest = max(len(values) for values in norms.values())
        rows = np.stack([np.pad(v, (0, longest - len(v)), constant_values=np.nan) for v in norms.values()])
        image = heat.imshow(rows, aspect="auto", interpolation="nearest", extent=(0.5, longest + 0.5, len(rows), 0))
        heat.set_yticks(np.arange(len(rows)) + 0.5, list(norms))
        heat.set(xlabel="step t")
        figure.colorbar(image, ax=heat, label=r"$\log_{10} \|dL/ds_t\|$")
        figure.suptitle(title or f"{self.unit} {self.steps[index]}")
        return figure


def checked_batch(data):
    """A batch as `(x, y, sample_weight)`.

    Raises:
        ValueError: if it is no pair or triple of arrays with one number of rows.
    """
    if not isinstance(data, (tuple, list)) or len(data) not in (2, 3):
        raise ValueError(
            "Expected `data` to be one batch, a tuple (x, y) or (x, y, sample_weight) of arrays. "
            f"Received: {type(data).__name__}" + (f" of {len(data)}" if isinstance(data, (tuple, list)) else "")
        )
    rows = rows_of(data)
    if len(rows) != 1 or 0 in rows:
        raise ValueError(f"Expected `data` of arrays with one number of rows > 0. Received: {sorted(rows)} rows")
    return (*data, None)[:3]


def rows_of(data):
    """The set of the numbers of rows of the arrays in a structure; raises where one of its leaves is no array."""
    leaves = [leaf for leaf in tree.flatten(data) if leaf is not None]
    wrong = [type(leaf).__name__ for leaf in leaves if not getattr(leaf, "shape", ())]
    if wrong:
        raise ValueError(f"Expected `data` of arrays whose first axis is the batch. Received: {wrong[0]}")
    return {int(leaf.shape[0]) for leaf in leaves}


def decades(norms):
    """log10 of norms, within the range of single precision: of zero too, and of an overflow."""
    return np.log10(np.clip(norms, TINY, 1 / TINY))


def mean_over_rows(values, mask):
    """The mean (T,) of values (B, T) over the rows in which a step is valid; NaN where it is in none."""
    count = mask.sum(axis=0)
    total = np.where(mask, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
