"""Cells whose new state is a plain sum or mean: CFN, SCRN, SGRN, T-RNN, highway, fast, independent, clockwork, ESN."""

from functools import partial

import numpy as np
from cases import SMALL, Case
from reference import (
    activations,
    cfn,
    clockwork_rnn,
    esn,
    fast_grnn,
    fast_rnn,
    gru,
    ind_rnn,
    lstm,
    rhn,
    scrn,
    sgrn,
    trnn,
)

from keras_rnnx.cells.cfn import CFN, CFNCell
from keras_rnnx.cells.clockwork_rnn import ClockworkRNN, ClockworkRNNCell
from keras_rnnx.cells.esn import ESN, ESNCell
from keras_rnnx.cells.fast_grnn import FastGRNN, FastGRNNCell
from keras_rnnx.cells.fast_rnn import FastRNN, FastRNNCell
from keras_rnnx.cells.ind_rnn import IndRNN, IndRNNCell
from keras_rnnx.cells.indy import IndyGRU, IndyGRUCell, IndyLSTM, IndyLSTMCell
from keras_rnnx.cells.rhn import RHN, RHNCell
from keras_rnnx.cells.scrn import SCRN, SCRNCell
from keras_rnnx.cells.sgrn import SGRN, SGRNCell
from keras_rnnx.cells.trnn import TRNN, TRNNCell

SCRN_ = {"cell": SCRNCell, "layer": SCRN, "states": 2}
RHN_ = {"cell": RHNCell, "layer": RHN}
FAST_GRNN = {"cell": FastGRNNCell, "layer": FastGRNN}
# Networks whose matrix is a diagonal: no other structure.
IND_RNN = {"cell": IndRNNCell, "layer": IndRNN, "refuses": ("block", "low_rank")}
INDY_LSTM = {"cell": IndyLSTMCell, "layer": IndyLSTM, "states": 2, "refuses": ("block", "low_rank")}
INDY_GRU = {"cell": IndyGRUCell, "layer": IndyGRU, "refuses": ("block", "low_rank")}
CLOCKWORK = {
    "cell": ClockworkRNNCell,
    "layer": ClockworkRNN,
    "states": 2,
    "state_sizes": lambda units: [units, 1],
    "refuses": ("recurrent_structure",),
}
ESN_ = {"cell": ESNCell, "layer": ESN, "refuses": ("low_rank", "normalization")}
DENSE = ({"recurrent_structure": "dense"}, "recurrent_structure")

CASES = [
    Case("cfn", cell=CFNCell, layer=CFN, step=cfn.step, wrong=SMALL),
    Case(
        "scrn",
        step=scrn.step,
        wrong=(*SMALL, ({"alpha": 0.0}, "alpha"), ({"alpha": 1.0}, "alpha"), ({"context_units": 0}, "context_units")),
        **SCRN_,
    ),
    Case(
        "scrn-learned",
        step=scrn.step,
        kwargs={"context_units": 3, "learn_alpha": True},
        state_sizes=lambda units: [units, 3],
        **SCRN_,
    ),
    Case(
        "scrn-tanh",
        step=partial(scrn.step, activation=np.tanh, alpha=0.7),
        kwargs={"activation": "tanh", "alpha": 0.7},
        **SCRN_,
    ),
    Case("sgrn", cell=SGRNCell, layer=SGRN, step=sgrn.step, wrong=SMALL),
    Case(
        "trnn",
        cell=TRNNCell,
        layer=TRNN,
        step=trnn.step,
        refuses=("recurrent_structure", "recurrent_dropout"),
        wrong=(*SMALL, ({"recurrent_dropout": 0.5}, "recurrent_dropout")),
    ),
    Case("rhn", step=rhn.step, wrong=(*SMALL, ({"depth": 0}, "depth"), ({"depth": 1.5}, "depth")), **RHN_),
    Case("rhn-one", step=partial(rhn.step, depth=1), kwargs={"depth": 1}, **RHN_),
    Case(
        "rhn-carry",
        step=partial(rhn.step, depth=2, coupled=False),
        kwargs={"depth": 2, "coupled": False},
        **RHN_,
    ),
    Case("fast-rnn", cell=FastRNNCell, layer=FastRNN, step=fast_rnn.step, wrong=SMALL),
    Case("fast-grnn", step=fast_grnn.step, wrong=(*SMALL, ({"kernel_rank": 0}, "kernel_rank")), **FAST_GRNN),
    Case("fast-grnn-low-rank", step=fast_grnn.step, kwargs={"kernel_rank": 2}, **FAST_GRNN),
    Case(
        "ind-rnn",
        step=ind_rnn.step,
        wrong=(
            *SMALL,
            DENSE,
            ({"recurrent_min_abs": -1.0}, "recurrent_min_abs"),
            ({"recurrent_min_abs": 2.0, "recurrent_max_abs": 1.0}, "recurrent_max_abs"),
        ),
        **IND_RNN,
    ),
    Case(
        "ind-rnn-bounded",
        step=partial(ind_rnn.step, activation=np.tanh),
        kwargs={"activation": "tanh", "recurrent_min_abs": 0.5, "recurrent_max_abs": 1.1},
        **IND_RNN,
    ),
    Case("indy-lstm", step=partial(lstm.step, structure="diagonal"), wrong=(*SMALL, DENSE), **INDY_LSTM),
    Case(
        "indy-gru",
        step=partial(gru.step, structure="diagonal", reset_after=False),
        wrong=(*SMALL, DENSE),
        **INDY_GRU,
    ),
    Case("indy-gru-after", step=partial(gru.step, structure="diagonal"), kwargs={"reset_after": True}, **INDY_GRU),
    Case(
        "clockwork-rnn",
        step=clockwork_rnn.step,
        wrong=(
            *SMALL,
            ({"periods": (2, 1)}, "periods"),
            ({"periods": (1, 1)}, "periods"),
            ({"periods": (1, 2, 3)}, "periods"),
            ({"periods": (0, 1)}, "periods"),
            ({"zoneout": [0.1, 0.1]}, "zoneout"),
        ),
        **CLOCKWORK,
    ),
    Case(
        "clockwork-rnn-two",
        step=partial(clockwork_rnn.step, periods=(2, 3), activation=activations.relu),
        kwargs={"periods": (2, 3), "activation": "relu"},
        **CLOCKWORK,
    ),
    Case(
        "esn",
        step=esn.step,
        kwargs={"connectivity": 1.0},
        wrong=(
            *SMALL,
            ({"connectivity": 0.0}, "connectivity"),
            ({"connectivity": 1.5}, "connectivity"),
            ({"spectral_radius": 0.0}, "spectral_radius"),
            ({"leak": 0.0}, "leak"),
            ({"leak": 1.5}, "leak"),
            ({"kernel_regularizer": "l2"}, "kernel_regularizer"),
            ({"bias_constraint": "non_neg"}, "bias_constraint"),
        ),
        **ESN_,
    ),
    Case(
        "esn-leaky",
        step=partial(esn.step, leak=0.3),
        kwargs={"connectivity": 0.5, "leak": 0.3, "use_bias": True, "seed": 1},
        **ESN_,
    ),
]
