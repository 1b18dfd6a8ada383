"""Long short-term memory and its kin."""

from functools import partial

from cases import SMALL, Case
from reference import (
    activations,
    coupled_lstm,
    janet,
    lstm_projected,
    multiplicative_lstm,
    nas,
    nested_lstm,
    on_lstm,
    original_lstm,
    peephole_lstm,
    ran,
    res_lstm,
    slstm,
    tlstm,
    wmc_lstm,
)

import keras_rnnx
from keras_rnnx.cells.coupled_lstm import CoupledLSTM, CoupledLSTMCell
from keras_rnnx.cells.janet import JANET, JANETCell
from keras_rnnx.cells.multiplicative_lstm import MultiplicativeLSTM, MultiplicativeLSTMCell
from keras_rnnx.cells.nas import NAS, NASCell
from keras_rnnx.cells.nested_lstm import NestedLSTM, NestedLSTMCell
from keras_rnnx.cells.on_lstm import ONLSTM, ONLSTMCell
from keras_rnnx.cells.original_lstm import OriginalLSTM, OriginalLSTMCell
from keras_rnnx.cells.peephole_lstm import PeepholeLSTM, PeepholeLSTMCell
from keras_rnnx.cells.ran import RAN, RANCell
from keras_rnnx.cells.res_lstm import ResLSTM, ResLSTMCell
from keras_rnnx.cells.slstm import SLSTM, SLSTMCell
from keras_rnnx.cells.tlstm import TLSTM, TLSTMCell
from keras_rnnx.cells.wmc_lstm import WMCLSTM, WMCLSTMCell


class Normalized(Case):
    """A case whose third state is a sum of positive terms, which divides the output."""

    def start(self, rng, batch, units=4):
        h, c, n, m = super().start(rng, batch, units)
        return [h, c, 0.5 + abs(n), m]


PEEPHOLE = {"cell": PeepholeLSTMCell, "layer": PeepholeLSTM, "states": 2}
ORIGINAL = {"cell": OriginalLSTMCell, "layer": OriginalLSTM, "states": 2}
COUPLED = {"cell": CoupledLSTMCell, "layer": CoupledLSTM, "states": 2}
RESIDUAL = {"cell": ResLSTMCell, "layer": ResLSTM, "states": 2}
ORDERED = {"cell": ONLSTMCell, "layer": ONLSTM, "step": on_lstm.step, "states": 2}
EXPONENTIAL = {"cell": SLSTMCell, "layer": SLSTM, "states": 4}
FORGETFUL = {"cell": JANETCell, "layer": JANET}
ADDITIVE = {"cell": RANCell, "layer": RAN, "states": 2}

CASES = [
    Case("peephole-lstm", step=peephole_lstm.step, wrong=SMALL, **PEEPHOLE),
    Case(
        "peephole-lstm-linear",
        step=partial(peephole_lstm.step, activation=activations.linear),
        kwargs={"activation": "linear"},
        **PEEPHOLE,
    ),
    Case("original-lstm", step=original_lstm.step, wrong=SMALL, **ORIGINAL),
    Case(
        "original-lstm-activations",
        step=partial(
            original_lstm.step,
            input_squash=activations.linear,
            output_squash=activations.tanh,
            recurrent_activation=activations.relu,
        ),
        kwargs={"activation": "linear", "output_activation": "tanh", "recurrent_activation": "relu"},
        **ORIGINAL,
    ),
    Case("coupled-lstm", step=coupled_lstm.step, wrong=SMALL, **COUPLED),
    Case("coupled-lstm-blind", step=coupled_lstm.step, kwargs={"peepholes": False}, **COUPLED),
    Case(
        "lstm-projected",
        cell=keras_rnnx.LSTMCell,
        layer=keras_rnnx.LSTM,
        step=lstm_projected.step,
        states=2,
        kwargs={"projection_units": 3},
        state_sizes=lambda units: [3, units],
        square=False,
        wrong=(({"projection_units": 0}, "projection_units"), ({"projection_units": 1.5}, "projection_units")),
    ),
    Case("res-lstm", step=res_lstm.step, wrong=SMALL, **RESIDUAL),
    Case("res-lstm-identity", step=res_lstm.step, features=4, **RESIDUAL),
    Case("wmc-lstm", cell=WMCLSTMCell, layer=WMCLSTM, step=wmc_lstm.step, states=2, wrong=SMALL),
    Case(
        "multiplicative-lstm",
        cell=MultiplicativeLSTMCell,
        layer=MultiplicativeLSTM,
        step=multiplicative_lstm.step,
        states=2,
        wrong=SMALL,
    ),
    Case("nas", cell=NASCell, layer=NAS, step=nas.step, states=2, wrong=SMALL),
    Case("on-lstm", wrong=(*SMALL, ({"chunk_size": 3}, "chunk_size"), ({"chunk_size": 0}, "chunk_size")), **ORDERED),
    Case("on-lstm-chunks", kwargs={"chunk_size": 2}, **ORDERED),
    Case("nested-lstm", cell=NestedLSTMCell, layer=NestedLSTM, step=nested_lstm.step, states=3, wrong=SMALL),
    Normalized(
        "slstm",
        step=slstm.step,
        wrong=(
            *SMALL,
            ({"heads": 3}, "heads"),
            ({"forget_gate": "tanh"}, "forget_gate"),
            ({"heads": 2, "recurrent_structure": "diagonal"}, "recurrent_structure"),
        ),
        **EXPONENTIAL,
    ),
    Normalized(
        "slstm-exp",
        step=partial(slstm.step, forget_gate="exp"),
        kwargs={"forget_gate": "exp"},
        **EXPONENTIAL,
    ),
    Normalized(
        "slstm-heads",
        step=partial(slstm.step, structure="block"),
        kwargs={"heads": 2},
        refuses=("diagonal", "low_rank"),
        **EXPONENTIAL,
    ),
    Case("janet", step=janet.step, wrong=(*SMALL, ({"t_max": 2}, "t_max")), **FORGETFUL),
    Case("janet-plain", step=partial(janet.step, beta=0.0), kwargs={"beta": 0.0, "t_max": 20}, **FORGETFUL),
    Case("ran", step=ran.step, wrong=SMALL, **ADDITIVE),
    Case(
        "ran-linear",
        step=partial(ran.step, activation=activations.linear),
        kwargs={"activation": "linear"},
        **ADDITIVE,
    ),
    Case(
        "tlstm",
        cell=TLSTMCell,
        layer=TLSTM,
        step=tlstm.step,
        states=3,
        state_sizes=lambda units: [units, units, 3 * units],
        refuses=("recurrent_structure", "recurrent_dropout"),
        wrong=SMALL,
    ),
]
