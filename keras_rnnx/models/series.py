"""Series as windows for a `Forecaster`, and what its errors say about a series."""

import numpy as np

from keras_rnnx import arguments

CONSISTENT = 1.4826  # the deviation of a normal distribution over its median absolute deviation


def windows(series, length, horizon, stride=1, *, covariates=None, targets=None, teacher=False):
    """Cuts a series into windows of the past and what follows each, for `Forecaster`.

    Window i is steps i * stride to i * stride + length - 1; its targets, and its covariates, are those of the `horizon`
    steps right after. No step is on both sides of a pair. Splits are made before: cut the series, and let a later part
    begin `length` steps earlier, with the end of the part before it as its first window.

    Args:
        series: (N,) or (N, F) numbers, what is forecast in front.
        length: int > 0, T.
        horizon: int > 0, J.
        stride: int > 0, the steps from one window to the next.
        covariates: (N, C) numbers, or (N,), known for the future too: a calendar, or values at least `horizon` old.
        targets: as in `Forecaster`.
        teacher: bool, whether the inputs have the targets, for teacher forcing.

    Returns:
        A dict of the inputs, `sequences` (n, T, F) and as asked for `future` (n, J, C) and `targets`, and the targets
        (n, J) or (n, J, K), in float32.

    Raises:
        ValueError: if a number is no integer > 0, shapes do not fit, or the series has no window.
    """
    sizes = {"length": length, "horizon": horizon, "stride": stride}
    length, horizon, stride = (arguments.positive(name, value) for name, value in sizes.items())
    series = _columns("series", series)
    count = (len(series) - length - horizon) // stride + 1
    if count < 1:
        raise ValueError(f"Expected at least length + horizon = {length + horizon} steps. Received: {len(series)}")
    if targets is not None and not arguments.positive("targets", targets) <= series.shape[1]:
        raise ValueError(f"Expected at most {series.shape[1]} targets, the features. Received: targets={targets!r}")

    def cut(a, first, size):
        rows = first + stride * np.arange(count)[:, None] + np.arange(size)
        return a[rows]

    following = cut(series[:, 0] if targets is None else series[:, :targets], length, horizon)
    inputs = {"sequences": cut(series, 0, length)}
    if covariates is not None:
        covariates = _columns("covariates", covariates)
        if len(covariates) != len(series):
            raise ValueError(f"Expected covariates of all {len(series)} steps. Received: {len(covariates)}")
        inputs["future"] = cut(covariates, length, horizon)
    return (inputs | {"targets": following} if teacher else inputs), following


def _columns(name, values):
    values = np.asarray(values, "float32")
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ValueError(f"Expected `{name}` of shape (N,) or (N, features). Received: shape {values.shape}")
    return values


def residual_scores(model, series, length, *, covariates=None, reference=None, batch_size=256):
    r"""How unusual each value of a series is, by the error of its forecasts on a robust scale.

    With the error \(r_t\) of the mean of all forecasts that are made for step t from windows before it (their
    medians, where they are quantiles),
    $$ \text{score}_t = \frac{|r_t - \operatorname{med} r|}{1.4826 \operatorname{med} |r - \operatorname{med} r|} $$

    where the medians are taken over the reference. On normal errors the score is in standard deviations; a few
    anomalies within the reference hardly change it.

    Args:
        model: a `Forecaster`.
        series: (N,) or (N, F) numbers, as in `windows`.
        length: int > 0, the length of a window.
        covariates: as in `windows`.
        reference: int, how many steps at the start of the series are the reference. Default: all.
        batch_size: int > 0.

    Returns:
        (N,) scores, or (N, K) for a model with `targets`; NaN for the first `length` steps, which have no forecast.

    Raises:
        ValueError: if the reference has no forecast, or more than half of its errors are equal.

    Reference: F. R. Hampel, The influence curve and its role in robust estimation, JASA 69(346), 1974.
    """
    inputs, targets = windows(series, length, model.horizon, covariates=covariates, targets=model.targets)
    forecasts = model.predict(inputs, batch_size=batch_size, verbose=0)
    forecasts = forecasts[..., model.median] if model.quantiles else forecasts
    errors, total = targets - forecasts, np.zeros((len(series), *targets.shape[2:]))
    count = np.zeros(total.shape)
    for j in range(model.horizon):
        at = slice(length + j, length + j + len(errors))
        total[at] += errors[:, j]
        count[at] += 1
    residuals = np.full(total.shape, np.nan)
    residuals[length:] = total[length:] / count[length:]
    known = residuals[length:reference]
    if not len(known):
        raise ValueError(
            f"Expected a reference of more than length = {length} steps. Received: reference={reference!r}"
        )
    center = np.median(known, axis=0)
    scale = CONSISTENT * np.median(np.abs(known - center), axis=0)
    if not np.all(scale > 0):
        raise ValueError("Expected errors that differ in the reference. Received: more than half of them equal")
    return np.abs(residuals - center) / scale
