"""Networks that are discretized differential equations, or whose recurrent matrix has a given spectrum."""

from functools import partial

from cases import SMALL, Case
from reference import antisymmetric, cornn, exprnn, lem, lipschitz, tau_gru, unicornn

import keras_rnnx

OF_A_MATRIX = {"refuses": ("diagonal", "low_rank")}
ANTISYMMETRIC = {"cell": keras_rnnx.AntisymmetricRNNCell, "layer": keras_rnnx.AntisymmetricRNN, **OF_A_MATRIX}
GATED = {"cell": keras_rnnx.GatedAntisymmetricRNNCell, "layer": keras_rnnx.GatedAntisymmetricRNN, **OF_A_MATRIX}
LARGE = {"epsilon": 0.7, "gamma": 0.3}
WRONG_EULER = (({"epsilon": 0.0}, "epsilon"), ({"gamma": -0.1}, "gamma"))
CORNN = {"cell": keras_rnnx.CoRNNCell, "layer": keras_rnnx.CoRNN, "states": 2}
OSCILLATION = {"dt": 0.3, "gamma": 1.2, "epsilon": 0.8}
UNICORNN = {
    "cell": keras_rnnx.UnICORNNCell,
    "layer": keras_rnnx.UnICORNN,
    "states": 2,
    "refuses": ("block", "low_rank"),
}
LEM_CELL = {"cell": keras_rnnx.LEMCell, "layer": keras_rnnx.LEM, "states": 2}
LIPSCHITZ = {"cell": keras_rnnx.LipschitzRNNCell, "layer": keras_rnnx.LipschitzRNN, **OF_A_MATRIX}
PAIRS = {"beta": (0.6, 0.8), "gamma": (0.2, 0.1), "epsilon": 0.4}
TAU_GRU = {"cell": keras_rnnx.TauGRUCell, "layer": keras_rnnx.TauGRU, "states": 2}

CASES = [
    Case("antisymmetric", step=antisymmetric.step, wrong=(*SMALL, *WRONG_EULER), **ANTISYMMETRIC),
    Case("antisymmetric-large", step=partial(antisymmetric.step, **LARGE), kwargs=LARGE, **ANTISYMMETRIC),
    Case("gated-antisymmetric", step=antisymmetric.gated_step, wrong=(*SMALL, *WRONG_EULER), **GATED),
    Case("gated-antisymmetric-large", step=partial(antisymmetric.gated_step, **LARGE), kwargs=LARGE, **GATED),
    Case(
        "cornn",
        step=cornn.step,
        wrong=(
            *SMALL,
            ({"dt": 0.0}, "dt"),
            ({"gamma": 0}, "gamma"),
            ({"epsilon": -1.0}, "epsilon"),
            ({"damping": "none"}, "damping"),
        ),
        **CORNN,
    ),
    Case("cornn-large", step=partial(cornn.step, **OSCILLATION), kwargs=OSCILLATION, **CORNN),
    Case(
        "cornn-implicit",
        step=partial(cornn.step, **OSCILLATION, damping="implicit"),
        kwargs={**OSCILLATION, "damping": "implicit"},
        **CORNN,
    ),
    Case(
        "unicornn",
        step=unicornn.step,
        wrong=(*SMALL, ({"dt": -0.1}, "dt"), ({"alpha": -1.0}, "alpha")),
        **UNICORNN,
    ),
    Case(
        "unicornn-slow",
        step=partial(unicornn.step, dt=0.6, alpha=0.9),
        kwargs={"dt": 0.6, "alpha": 0.9},
        **UNICORNN,
    ),
    Case("lem", step=lem.step, wrong=(*SMALL, ({"dt": 0}, "dt")), **LEM_CELL),
    Case("lem-dt", step=partial(lem.step, dt=0.4), kwargs={"dt": 0.4}, **LEM_CELL),
    Case(
        "lipschitz",
        step=lipschitz.step,
        wrong=(
            *SMALL,
            *WRONG_EULER,
            ({"beta": 1.5}, "beta"),
            ({"beta": (0.5, 0.6, 0.7)}, "beta"),
            ({"solver": "rk4"}, "solver"),
        ),
        **LIPSCHITZ,
    ),
    Case("lipschitz-pairs", step=partial(lipschitz.step, **PAIRS), kwargs=PAIRS, **LIPSCHITZ),
    Case(
        "lipschitz-rk2",
        step=partial(lipschitz.step, **PAIRS, solver="rk2"),
        kwargs={**PAIRS, "solver": "rk2"},
        **LIPSCHITZ,
    ),
    Case(
        "tau-gru",
        step=tau_gru.step,
        kwargs={"tau": 3},
        state_sizes=lambda units: [units, 3 * units],
        wrong=(*SMALL, ({"tau": 0}, "tau"), ({"tau": 1.5}, "tau")),
        **TAU_GRU,
    ),
    Case(
        "tau-gru-next",
        step=tau_gru.step,
        kwargs={"tau": 1},
        state_sizes=lambda units: [units, units],
        **TAU_GRU,
    ),
    Case("exprnn", cell=keras_rnnx.ExpRNNCell, layer=keras_rnnx.ExpRNN, step=exprnn.step, wrong=SMALL, **OF_A_MATRIX),
]
