"""Cells in continuous time."""

from functools import partial

import numpy as np
from cases import SMALL, Case
from reference import activations, cfc, grud, lmu, ltc, odernn, phased_lstm, time_lstm

from keras_rnnx.cells.cfc import CfC, CfCCell
from keras_rnnx.cells.grud import GRUD, GRUDCell
from keras_rnnx.cells.lmu import LMU, LMUCell
from keras_rnnx.cells.ltc import LTC, LTCCell
from keras_rnnx.cells.odernn import ODERNN, ODERNNCell
from keras_rnnx.cells.phased_lstm import PhasedLSTM, PhasedLSTMCell
from keras_rnnx.cells.time_lstm import TimeLSTM, TimeLSTMCell
from keras_rnnx.wirings import NCP, AutoNCP, FullyConnected, Random

D, H = 3, 4  # of the tests, where a wiring or a state depends on them
PHASED = {
    "cell": PhasedLSTMCell,
    "layer": PhasedLSTM,
    "states": 3,
    "state_sizes": lambda units: [units, units, 1],
}
AWARE = {"cell": TimeLSTMCell, "layer": TimeLSTM, "states": 2}
DECAY = {
    "cell": GRUDCell,
    "layer": GRUD,
    "states": 3,
    "state_sizes": lambda units: [units, D, D],
    "refuses": ("normalization",),
}
LIQUID = {
    "cell": LTCCell,
    "layer": LTC,
    "readout": ltc.readout,
    "refuses": ("recurrent_dropout", "normalization", "recurrent_structure"),
}
CLOSED = {"cell": CfCCell, "layer": CfC}
FLOW = {"cell": ODERNNCell, "layer": ODERNN}
LEGENDRE = {"cell": LMUCell, "layer": LMU, "states": 2}


def synapses(wiring):
    """Where a wiring has synapses: from features and from neurons."""
    return dict(zip(("sensory", "synapses"), (np.abs(part) for part in wiring.connect(D)), strict=True))


def liquid(name, wiring, **options):
    """A row of LTC with a wiring."""
    own = {n: a for n, a in options.items() if n == "ode_unfolds"}
    step = partial(ltc.step, **synapses(wiring), **own)
    return Case(name, step=step, units=wiring.units, kwargs={"wiring": wiring, **options}, **LIQUID)


def wired(name, wiring, **options):
    """A row of CfC with a wiring."""
    layers = [list(part) for part in wiring.layers]
    return Case(
        name,
        step=partial(cfc.wired_step, layers=layers, **synapses(wiring), **options),
        readout=lambda w, h: h[..., : wiring.output_units],
        units=wiring.units,
        kwargs={"wiring": wiring, **options},
        refuses=("normalization", "recurrent_structure"),
        **CLOSED,
    )


def legendre(name, order, twin, wrong=(), **options):
    """A row of LMU."""
    return Case(
        name,
        step=partial(lmu.step, **twin),
        state_sizes=lambda units: [units, order],
        kwargs={"order": order, **options},
        wrong=wrong,
        **LEGENDRE,
    )


PHASED_WRONG = (
    *SMALL,
    ({"period": (0.0, 1.0)}, "period"),
    ({"period": (2.0, 1.0)}, "period"),
    ({"ratio_on": 1.0}, "ratio_on"),
    ({"leak": 1.0}, "leak"),
    ({"zoneout": [0.1, 0.1, 0.1]}, "zoneout"),
)
LIQUID_WRONG = (
    ({"units": 0}, "units"),
    ({"wiring": FullyConnected(5)}, "wiring"),
    ({"ode_unfolds": 0}, "ode_unfolds"),
    ({"recurrent_dropout": 0.5}, "recurrent_dropout"),
)
CLOSED_WRONG = (
    *SMALL,
    ({"mode": "gate"}, "mode"),
    ({"backbone_units": 0}, "backbone_units"),
    ({"backbone_layers": -1}, "backbone_layers"),
    ({"wiring": FullyConnected(5)}, "wiring"),
    ({"wiring": FullyConnected(4), "backbone_layers": 1}, "backbone"),
)
FLOW_WRONG = (
    *SMALL,
    ({"solver": "heun"}, "solver"),
    ({"ode_steps": 0}, "ode_steps"),
    ({"ode_units": 0}, "ode_units"),
    ({"ode_layers": 0}, "ode_layers"),
    ({"update": "lstm"}, "update"),
)
LEGENDRE_WRONG = (
    *SMALL,
    ({"order": 0}, "order"),
    ({"theta": 0.0}, "theta"),
    ({"discretization": "bilinear"}, "discretization"),
)
EULER, LINEAR = {"theta": 20.0, "discretization": "euler"}, {"activation": "linear", "use_bias": True}
CASES = [
    Case("phased-lstm", step=phased_lstm.step, wrong=PHASED_WRONG, **PHASED),
    Case(
        "phased-lstm-blind",
        step=partial(phased_lstm.step, peepholes=False, leak=0.1),
        kwargs={"peepholes": False, "leak": 0.1},
        **PHASED,
    ),
    Case("time-lstm", step=time_lstm.step, wrong=(*SMALL, ({"decay": "linear"}, "decay")), **AWARE),
    Case(
        "time-lstm-inverse",
        step=partial(time_lstm.step, decay=time_lstm.inverse_decay),
        kwargs={"decay": "inverse"},
        **AWARE,
    ),
    Case("gru-d", step=grud.step, wrong=(*SMALL[:-2], ({"missing": "zero"}, "missing")), **DECAY),
    Case(
        "gru-d-mask",
        step=partial(grud.step, missing="mask"),
        features=2 * D,
        kwargs={"missing": "mask"},
        **DECAY,
    ),
    Case("ltc", step=ltc.step, wrong=LIQUID_WRONG, **LIQUID),
    liquid("ltc-random", Random(5, output_units=2, sparsity_level=0.5), ode_unfolds=2),
    liquid("ltc-ncp", NCP(3, 2, 1, 2, 1, 2, 2), ode_unfolds=1),
    Case("cfc", step=cfc.step, square=False, kwargs={"backbone_units": 5}, wrong=CLOSED_WRONG, **CLOSED),
    Case(
        "cfc-deep",
        step=partial(cfc.step, layers=3, activation=np.tanh),
        kwargs={"backbone_units": H, "backbone_layers": 3, "activation": "tanh"},
        **CLOSED,
    ),
    Case("cfc-bare", step=partial(cfc.step, layers=0), kwargs={"backbone_layers": 0}, **CLOSED),
    Case(
        "cfc-no-gate",
        step=partial(cfc.step, mode="no_gate"),
        square=False,
        kwargs={"backbone_units": 5, "mode": "no_gate"},
        **CLOSED,
    ),
    Case(
        "cfc-pure",
        step=partial(cfc.step, mode="pure"),
        square=False,
        kwargs={"backbone_units": 5, "mode": "pure"},
        **CLOSED,
    ),
    wired("cfc-full-wiring", FullyConnected(4, output_units=3)),
    wired("cfc-ncp", NCP(3, 2, 2, 2, 1, 2, 1)),
    wired("cfc-auto-ncp", AutoNCP(8, 2), fully_recurrent=False),
    wired("cfc-ncp-pure", NCP(3, 2, 2, 2, 1, 2, 1), mode="pure"),
    Case("ode-rnn", step=odernn.step, wrong=FLOW_WRONG, **FLOW),
    Case(
        "ode-rnn-midpoint",
        step=partial(odernn.step, solver="midpoint", ode_steps=3, ode_layers=2),
        kwargs={"solver": "midpoint", "ode_steps": 3, "ode_layers": 2, "ode_units": 5},
        **FLOW,
    ),
    Case("ode-rnn-rk4", step=partial(odernn.step, solver="rk4"), kwargs={"solver": "rk4"}, **FLOW),
    Case(
        "ode-rnn-vanilla",
        step=partial(odernn.step, update="vanilla", ode_steps=2),
        kwargs={"update": "vanilla", "ode_steps": 2},
        **FLOW,
    ),
    legendre("lmu", 3, {"theta": 6.0}, LEGENDRE_WRONG, theta=6.0),
    legendre("lmu-euler", 2, EULER, **EULER),
    legendre("lmu-linear", 5, {"theta": 4.5, "activation": activations.linear}, theta=4.5, **LINEAR),
]
