"""Cells that are linear in their state, and their kin."""

from functools import partial

import numpy as np
from cases import SMALL as EVERY
from cases import Case
from reference import hgrn, linear_rnn, lru, min_gru, min_lstm, qrnn, rglru, sru, state_space
from reference.activations import linear, sigmoid, tanh

from keras_rnnx.cells.hgrn import HGRN, HGRNCell
from keras_rnnx.cells.linear_rnn import LinearRNN, LinearRNNCell
from keras_rnnx.cells.lru import LRU, LRUCell
from keras_rnnx.cells.min_gru import MinGRU, MinGRUCell, half_linear
from keras_rnnx.cells.min_lstm import MinLSTM, MinLSTMCell
from keras_rnnx.cells.qrnn import QRNN, QRNNCell
from keras_rnnx.cells.rglru import RGLRU, RGLRUCell
from keras_rnnx.cells.s4d import S4D, S4DCell
from keras_rnnx.cells.s5 import S5, S5Cell
from keras_rnnx.cells.sru import SRU, LinearSRU, LinearSRUCell, SRUCell

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


def sizes(*factors):
    """The sizes of states as factors of the units."""
    return lambda units: [int(factor * units) for factor in factors]


MIN_GRU = {"cell": MinGRUCell, "layer": MinGRU, "refuses": REFUSED}
MIN_LSTM = {"cell": MinLSTMCell, "layer": MinLSTM, "refuses": REFUSED}
BESIDE = {"beside": True, "refuses": REFUSED}
QUASI = {"cell": QRNNCell, "layer": QRNN, "refuses": REFUSED}
OUTPUT_GATE = {"beside": True, "readout": qrnn.readout}
SIMPLE = {"cell": SRUCell, "layer": SRU, "states": 2, "refuses": ("recurrent_structure", "recurrent_dropout")}
LINEAR_SRU = {"cell": LinearSRUCell, "layer": LinearSRU, **BESIDE}
LINEAR = {"cell": LRUCell, "layer": LRU, "states": 2, "readout": lru.readout, **BESIDE}
REAL_GATED = {"cell": RGLRUCell, "layer": RGLRU, "refuses": REFUSED}
COMPLEX_GATED = {
    **REAL_GATED,
    "beside": True,
    "readout": rglru.complex_readout,
    "state_sizes": sizes(0.5, 0.5),
}
OF_S4D = {"cell": S4DCell, "layer": S4D, "readout": state_space.s4d_readout, "state_sizes": sizes(2, 2), **BESIDE}
OF_S5 = {"cell": S5Cell, "layer": S5, "readout": state_space.s5_readout, "state_sizes": sizes(0.5, 0.5), **BESIDE}
OF_HGRN = {"cell": HGRNCell, "layer": HGRN, "readout": hgrn.readout, **BESIDE}
STEPS = ({"dt_min": 0.0}, "dt_min"), ({"dt_min": 0.2}, "dt_m"), ({"discretization": "euler"}, "discretization")

CASES = [
    Case("min-gru", step=min_gru.step, wrong=SMALL, **MIN_GRU),
    Case("min-gru-positive", step=half_linear_step, kwargs={"activation": half_linear}, **MIN_GRU),
    Case("min-lstm", step=min_lstm.step, wrong=SMALL, **MIN_LSTM),
    Case(
        "min-lstm-positive",
        step=partial(min_lstm.step, activation=positive),
        kwargs={"activation": half_linear},
        **MIN_LSTM,
    ),
    Case(
        "qrnn",
        step=qrnn.step,
        state_sizes=lambda units: [units, 3],
        wrong=(*SMALL, ({"window": 0}, "window"), ({"pooling": "of"}, "pooling")),
        **OUTPUT_GATE,
        **QUASI,
    ),
    Case(
        "qrnn-f",
        step=lambda *args: qrnn.step(*args, pooling="f", activation=sigmoid)[:-1],
        kwargs={"pooling": "f", "window": 3, "activation": "sigmoid"},
        state_sizes=lambda units: [units, 6],
        **QUASI,
    ),
    Case(
        "qrnn-ifo",
        step=partial(qrnn.step, pooling="ifo"),
        kwargs={"pooling": "ifo", "window": 1},
        **OUTPUT_GATE,
        **QUASI,
    ),
    Case(
        "sru",
        step=sru.step,
        wrong=(*(a for a in EVERY if a[1] != "recurrent_structure"), ({"alpha": 0.0}, "alpha")),
        **SIMPLE,
    ),
    Case(
        "sru-highway",
        step=partial(sru.step, alpha=np.sqrt(1 + 2 * np.exp(-0.5)), activation=tanh),
        kwargs={"highway_bias": -0.5, "activation": "tanh"},
        features=4,
        **SIMPLE,
    ),
    Case("sru-alpha", step=partial(sru.step, alpha=0.7), kwargs={"alpha": 0.7}, **SIMPLE),
    Case("linear-sru", step=sru.linear_step, readout=sru.linear_readout, wrong=SMALL, **LINEAR_SRU),
    Case(
        "linear-sru-square",
        step=sru.linear_step,
        readout=partial(sru.linear_readout, activation=linear),
        kwargs={"activation": "linear"},
        features=4,
        **LINEAR_SRU,
    ),
    Case(
        "lru",
        step=lru.step,
        wrong=(
            *SMALL,
            ({"state_units": 0}, "state_units"),
            ({"r_min": 0.8, "r_max": 0.5}, "r_m"),
            ({"r_max": 1.5}, "r_max"),
            ({"max_phase": 0.0}, "max_phase"),
        ),
        **LINEAR,
    ),
    Case(
        "lru-wide",
        step=lru.step,
        kwargs={"state_units": 6, "use_bias": True},
        state_sizes=sizes(1.5, 1.5),
        features=4,
        **LINEAR,
    ),
    Case(
        "rglru",
        step=rglru.step,
        wrong=(*SMALL, ({"heads": 3}, "heads"), ({"c": 0.0}, "c"), ({"a_min": 0.9, "a_max": 0.5}, "a_m")),
        **REAL_GATED,
    ),
    Case("rglru-heads", step=partial(rglru.step, c=3.0), kwargs={"heads": 2, "c": 3.0}, features=4, **REAL_GATED),
    Case(
        "rglru-complex",
        step=rglru.complex_step,
        kwargs={"complex_state": True},
        wrong=(({"units": 5}, "units"),),
        **COMPLEX_GATED,
    ),
    Case(
        "rglru-complex-heads",
        step=partial(rglru.complex_step, c=2.0),
        kwargs={"complex_state": True, "heads": 2, "c": 2.0},
        features=4,
        **COMPLEX_GATED,
    ),
    Case(
        "s4d",
        step=state_space.s4d_step,
        kwargs={"state_units": 4},
        wrong=(*SMALL, ({"state_units": 3}, "state_units"), ({"initialization": "hippo"}, "initialization"), *STEPS),
        **OF_S4D,
    ),
    Case(
        "s4d-bilinear",
        step=partial(state_space.s4d_step, discretization="bilinear"),
        kwargs={"state_units": 4, "discretization": "bilinear", "use_bias": True, "initialization": "inv"},
        features=4,
        **OF_S4D,
    ),
    Case("s4d-legs", step=state_space.s4d_step, kwargs={"state_units": 4, "initialization": "legs"}, **OF_S4D),
    Case(
        "s5",
        step=state_space.s5_step,
        wrong=(*SMALL, ({"state_units": 3}, "state_units"), ({"blocks": 3}, "blocks"), *STEPS),
        **OF_S5,
    ),
    Case(
        "s5-bilinear",
        step=partial(state_space.s5_step, discretization="bilinear", clip_poles=True),
        kwargs={"discretization": "bilinear", "clip_poles": True, "use_bias": True},
        features=4,
        **OF_S5,
    ),
    Case(
        "hgrn",
        step=hgrn.step,
        states=2,
        wrong=(*SMALL, ({"lower_bound": 1.0}, "lower_bound"), ({"state_units": 0}, "state_units")),
        **OF_HGRN,
    ),
    Case(
        "hgrn-wide",
        step=partial(hgrn.step, lower_bound=0.4, activation=tanh),
        kwargs={"state_units": 6, "lower_bound": 0.4, "activation": "tanh"},
        state_sizes=sizes(1.5, 1.5),
        **OF_HGRN,
    ),
    Case(
        "hgrn-real",
        step=partial(hgrn.real_step, lower_bound=0.2),
        kwargs={"complex_state": False, "lower_bound": 0.2},
        **OF_HGRN,
    ),
    Case(
        "linear-rnn",
        step=linear_rnn.step,
        wrong=(*SMALL, ({"a_min": -1.0}, "a_min"), ({"a_min": 0.5, "a_max": 0.2}, "a_m")),
        cell=LinearRNNCell,
        layer=LinearRNN,
        refuses=REFUSED,
    ),
]
