"""From samples to tables: pure functions over what `run.py` writes.

A unit is one case at one shape in one mode: {"case", "shape", "mode", "entrants"}. An entrant is {"peer", "case",
"seconds"}: seconds a step, one value a round. Ratios are taken within a round, between entrants timed seconds apart;
their median over the rounds counts.
"""

import math
import statistics

from registry import CASES, PEERS, SHAPES

_LAYERS = (("VanillaRNN", "vanilla_rnn", 1.5), ("LSTM", "lstm", 1.0), ("GRU", "gru", 1.5))  # torch / ours in training
TARGETS = (  # what, case, mode, against whom, bound on the geometric mean, lowest ratio on any shape
    *((f"{title} train step, keras.layers / ours", case, "train", "keras", 2.5, 1.0) for title, case, _ in _LAYERS),
    *((f"{title} train step, torch.nn / ours", case, "train", "torch", bound, None) for title, case, bound in _LAYERS),
    *((f"{title} inference, keras.layers / ours", case, "infer", "keras", 2.5, None) for title, case, _ in _LAYERS),
    *((f"{title} inference, torch.nn / ours", case, "infer", "torch", 1.1, None) for title, case, _ in _LAYERS),
    *((f"{title} inference, ONNX Runtime / ours", case, "infer", "onnx", 1.0, None) for title, case, _ in _LAYERS),
    ("Own cell train step, keras.layers.RNN / ours", "mgu", "train", "keras", 1.8, None),
    ("recurrent_dropout=0.2 / none, train step", "recurrent_dropout", "train", None, 1.15, None),
    ("mask / none, train step", "masked", "train", None, 1.1, None),
    ("mask / none, inference", "masked", "infer", None, 1.1, None),
)


def spread(samples):
    """The least, the median and the interquartile range."""
    if len(samples) < 2:
        return {"min": min(samples), "median": samples[0], "iqr": 0.0}
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"min": min(samples), "median": median, "iqr": high - low}


def ratio(above, below):
    """The median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def geometric_mean(values):
    """exp of the mean logarithm."""
    return math.exp(statistics.fmean(math.log(v) for v in values))


def samples(unit, peer, case=None):
    """The seconds of an entrant, or None if it takes no part."""
    case = unit["case"] if case is None else case
    for entrant in unit["entrants"]:
        if (entrant["peer"], entrant["case"]) == (peer, case):
            return entrant["seconds"]
    return None


def speed(unit, peer):
    """How many times as long a peer takes as ours at default settings; None if one of them is absent."""
    theirs, ours = samples(unit, peer), samples(unit, "ours")
    return ratio(theirs, ours) if theirs and ours else None


def better_keras(unit):
    """The peer that is keras.layers at its better setting here, or None."""
    present = [p for p in ("keras", "keras-jit") if samples(unit, p)]
    return min(present, key=lambda p: statistics.median(samples(unit, p)), default=None)


def speed_of_better(unit):
    """How many times as long keras.layers takes at its better setting; None if it takes no part."""
    peer = better_keras(unit)
    return None if peer is None else speed(unit, peer)


def cost(unit, peer):
    """How many times as long a peer takes as for the case without the option; None if it has none."""
    against = CASES[unit["case"]].against
    plain = samples(unit, peer, against) if against else None
    return ratio(samples(unit, peer), plain) if plain else None


# ---- targets ----


def targets(units):
    """For each target: what was measured on which shapes, and `reached`, `missed` or `not judged`."""
    rows = []
    for what, case, mode, peer, bound, lowest in TARGETS:
        found = {}
        for unit in units:
            if (unit["case"], unit["mode"]) == (case, mode):
                value = (
                    cost(unit, "ours")
                    if peer is None
                    else speed_of_better(unit)
                    if peer == "keras"
                    else speed(unit, peer)
                )
                if value is not None:
                    found[tuple(unit["shape"])] = value
        row = {"what": what, "kind": "speed" if peer else "cost", "bound": bound, "lowest": lowest}
        row["ratios"] = [found.get(shape) for shape in SHAPES]
        rows.append({**row, **_judged(row)})
    return rows


def _against(unit, peer):
    if peer is None:
        return cost(unit, "ours")
    return speed_of_better(unit) if peer == "keras" else speed(unit, peer)


def _judged(row):
    measured = [r for r in row["ratios"] if r is not None]
    if len(measured) < len(SHAPES):
        return {"mean": None, "verdict": f"not judged: {len(measured)} of {len(SHAPES)} shapes"}
    mean = geometric_mean(measured)
    if row["kind"] == "cost":
        reached = mean <= row["bound"]
    else:
        reached = mean >= row["bound"] and min(measured) >= (row["lowest"] or 0.0)
    return {"mean": mean, "verdict": "reached" if reached else "missed"}


def targets_table(rows):
    """Markdown."""
    head = ["target", "asked", *[_shape(s) for s in SHAPES], "geometric mean", "verdict"]
    lines = []
    for row in rows:
        sign = "<=" if row["kind"] == "cost" else ">="
        asked = f"{sign} {row['bound']:.2f}"
        if row["lowest"] is not None:
            asked += f", each >= {row['lowest']:.2f}"
        cells = [_number(r) for r in [*row["ratios"], row["mean"]]]
        lines.append([row["what"], asked, *cells, row["verdict"]])
    return _table(head, lines)


# ---- tables ----


def report(units):
    """Markdown: for each case and mode the times, the ratios to ours and, for an option, what it costs."""
    parts = []
    for case in CASES.values():
        for mode in case.modes:
            chosen = [u for u in units if (u["case"], u["mode"]) == (case.name, mode)]
            if chosen:
                parts.append(f"### {case.title}: {_mode(mode)}\n\n{_times(chosen)}")
                parts.append(_ratios("time / ours", chosen, speed))
                if case.against:
                    parts.append(_ratios(f"time / time of `{case.against}`", chosen, cost))
    return "\n\n".join(part for part in parts if part)


def _present(units):
    return [p for p in PEERS if any(samples(u, p) for u in units)]


def _times(units):
    peers = _present(units)
    lines = []
    for unit in units:
        cells = [_milliseconds(samples(unit, p)) for p in peers]
        lines.append([_shape(unit["shape"]), *cells])
    return _table(["ms a step: median (min, IQR)", *peers], lines)


def _ratios(head, units, value):
    """A row a shape and their geometric mean; empty where there is nothing to compare."""
    peers = [p for p in _present(units) if value is cost or p != "ours"]
    values = {p: [value(u, p) for u in units] for p in peers}
    values = {p: found for p, found in values.items() if any(v is not None for v in found)}
    if not values:
        return ""
    lines = [[_shape(unit["shape"]), *[_number(found[i]) for found in values.values()]] for i, unit in enumerate(units)]
    means = [_number(None if None in found else geometric_mean(found)) for found in values.values()]
    return _table([head, *values], [*lines, ["geometric mean", *means]])


def _table(head, lines):
    rows = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _shape(shape):
    return "x".join(str(n) for n in shape)


def _mode(mode):
    return {"train": "train step", "infer": "inference"}[mode]


def _number(value):
    return "-" if value is None else f"{value:.2f}"


def _milliseconds(seconds):
    if not seconds:
        return "-"
    s = {name: 1e3 * value for name, value in spread(seconds).items()}
    digits = 3 if s["median"] < 1 else 2 if s["median"] < 100 else 0
    return f"{s['median']:.{digits}f} ({s['min']:.{digits}f}, {s['iqr']:.{digits}f})"
