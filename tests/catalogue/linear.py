"""Cells that are linear in their state."""

import numpy as np
from cases import Case
from reference import min_gru

from keras_rnnx.cells.min_gru import MinGRU, MinGRUCell, half_linear

# Options that act between two steps have no place in a recurrence that is solved at once.
REFUSED = ("zoneout", "normalization", "recurrent_structure", "recurrent_dropout")
SMALL = (
    ({"units": 0}, "units"),
    ({"dropout": 1.0}, "dropout"),
    ({"recurrent_dropout": 0.5}, "recurrent_dropout"),
)


def positive(v):
    return np.where(v >= 0, v + 0.5, 1 / (1 + np.exp(-np.minimum(v, 0))))


def half_linear_step(w, x, h):
    return min_gru.step(w, x, h, activation=positive)


MIN_GRU = {"cell": MinGRUCell, "layer": MinGRU, "refuses": REFUSED}
CASES = [
    Case("min-gru", step=min_gru.step, wrong=SMALL, **MIN_GRU),
    Case("min-gru-positive", step=half_linear_step, kwargs={"activation": half_linear}, **MIN_GRU),
]
