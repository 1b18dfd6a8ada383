"""A series with one labelled anomaly, number 135 of the UCR anomaly archive.

Origin: KDD-TSAD_135, "InternalBleeding16" (Wu, Keogh, "Current Time Series Anomaly Detection Benchmarks are Flawed
and are Creating the Illusion of Progress", 2021, arXiv:2009.13807), from the PyPI package aeon 1.6.0 (its file alone).
Licence: BSD-3 of the package. Fetched, not part of this repository.
Size: 7,501 points, of which 12 (4,187 to 4,198) are the anomaly.
Split: the first 1,200 points, which have none, are for training; the last fifth of them is validation. The test is
the whole series, as in the archive.
Baseline: the largest residual of a linear prediction from 100 points lies at 4,200: a hit by the archive's rule.
"""

import csv
import io
import typing
import zipfile

import numpy as np
import packages
import splits
from sklearn.linear_model import Ridge

FILE = "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_{}.csv"
TRAIN = 960
ORDER = 100
TOLERANCE = 100  # points beside the anomaly that still count as a hit in the archive


class Series(typing.NamedTuple):
    """values: float32 array (T,). anomalous: bool array (T,)."""

    values: np.ndarray
    anomalous: np.ndarray


def load(folder=None):
    """Returns the `splits.Splits` of `Series`; `folder` as in `packages.fetch`."""
    with zipfile.ZipFile(packages.fetch(packages.AEON, folder)) as wheel:
        train, test = (parse(wheel.read(FILE.format(name)).decode()) for name in ("TRAIN", "TEST"))
    early, late = (Series(*(column[part] for column in train)) for part in (slice(TRAIN), slice(TRAIN, None)))
    return splits.Splits(train=early, validation=late, test=test)


def parse(text):
    """Returns the `Series` of a table with the columns value and is_anomaly."""
    rows = list(csv.DictReader(io.StringIO(text)))
    values = np.array([row["value"] for row in rows], "float32")
    return Series(values, np.array([int(row["is_anomaly"]) for row in rows], bool))


def hit(scores, anomalous, tolerance=TOLERANCE):
    """Returns whether the largest score lies on the anomaly or at most `tolerance` points beside it.

    Args:
        scores: float array (T,), how strange each point is.
        anomalous: bool array (T,) with at least one True.
        tolerance: int, in points.
    """
    places = np.flatnonzero(anomalous)
    return bool(places[0] - tolerance <= np.argmax(scores) <= places[-1] + tolerance)


def linear_residuals(data, order=ORDER):
    """Returns (T,): how far each test point is from its linear prediction; 0 for the first `order` points."""
    train = np.concatenate([data.train.values, data.validation.values])
    past, now = _lagged(train, order)
    model = Ridge(alpha=1.0).fit(past, now)
    past, now = _lagged(data.test.values, order)
    return np.concatenate([np.zeros(order), np.abs(model.predict(past) - now)])


def _lagged(values, order):
    return np.lib.stride_tricks.sliding_window_view(values, order)[:-1], values[order:]


def baseline(data):
    """Returns 1.0 if the largest residual of the linear prediction is a `hit`, 0.0 otherwise."""
    return float(hit(linear_residuals(data), data.test.anomalous))
