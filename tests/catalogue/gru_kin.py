"""The gated recurrent unit's kin."""

from functools import partial

import numpy as np
from cases import SMALL, Case
from reference import (
    activations,
    atr,
    brc,
    intersection_rnn,
    light_ru,
    ligru,
    mgu,
    minimal_rnn,
    mut,
    sgu,
    star,
    tgru,
    ugrnn,
)

from keras_rnnx.cells.atr import ATR, ATRCell
from keras_rnnx.cells.brc import BRC, NBRC, BRCCell, NBRCCell
from keras_rnnx.cells.intersection_rnn import IntersectionRNN, IntersectionRNNCell
from keras_rnnx.cells.light_ru import LightRU, LightRUCell
from keras_rnnx.cells.ligru import LiGRU, LiGRUCell
from keras_rnnx.cells.mgu import MGU, MGUCell
from keras_rnnx.cells.minimal_rnn import MinimalRNN, MinimalRNNCell
from keras_rnnx.cells.mut import MUT1, MUT2, MUT3, MUT1Cell, MUT2Cell, MUT3Cell
from keras_rnnx.cells.sgu import DSGU, SGU, DSGUCell, SGUCell
from keras_rnnx.cells.star import STAR, STARCell
from keras_rnnx.cells.tgru import TGRU, TGRUCell
from keras_rnnx.cells.ugrnn import UGRNN, UGRNNCell

FIRST = {"cell": MUT1Cell, "layer": MUT1}
SECOND = {"cell": MUT2Cell, "layer": MUT2}
THIRD = {"cell": MUT3Cell, "layer": MUT3}
LIGHT = {"cell": LiGRUCell, "layer": LiGRU}
UPDATE = {"cell": UGRNNCell, "layer": UGRNN}
CROSSING = {"cell": IntersectionRNNCell, "layer": IntersectionRNN, "states": 2}
MODULATED = {"cell": NBRCCell, "layer": NBRC}
SIMPLE = {"cell": SGUCell, "layer": SGU}
DEEP = {"cell": DSGUCell, "layer": DSGU}
STACKABLE = {"cell": STARCell, "layer": STAR, "step": star.step}

CASES = [
    Case("minimal-gated-unit", cell=MGUCell, layer=MGU, step=mgu.step, wrong=SMALL),
    Case("mut1", step=mut.mut1, wrong=SMALL, **FIRST),
    Case("mut1-bare", step=mut.mut1, features=4, **FIRST),
    Case("mut1-linear", step=partial(mut.mut1, tanh=activations.linear), kwargs={"activation": "linear"}, **FIRST),
    Case("mut2", step=mut.mut2, wrong=SMALL, **SECOND),
    Case("mut2-bare", step=mut.mut2, features=4, **SECOND),
    Case("mut3", step=mut.mut3, wrong=SMALL, **THIRD),
    Case("mut3-linear", step=partial(mut.mut3, tanh=activations.linear), kwargs={"activation": "linear"}, **THIRD),
    Case("ligru", step=ligru.step, wrong=SMALL, **LIGHT),
    Case("ligru-tanh", step=partial(ligru.step, activation=np.tanh), kwargs={"activation": "tanh"}, **LIGHT),
    Case("ligru-plain", step=ligru.step, kwargs={"batch_normalization": False}, **LIGHT),
    Case("light-ru", cell=LightRUCell, layer=LightRU, step=light_ru.step, wrong=SMALL),
    Case("minimal-rnn", cell=MinimalRNNCell, layer=MinimalRNN, step=minimal_rnn.step, wrong=SMALL),
    Case("ugrnn", step=ugrnn.step, wrong=SMALL, **UPDATE),
    Case(
        "ugrnn-relu",
        step=partial(ugrnn.step, activation=activations.relu),
        kwargs={"activation": "relu", "forget_bias": 0.5},
        **UPDATE,
    ),
    Case("intersection-rnn", step=intersection_rnn.step, wrong=SMALL, **CROSSING),
    Case("intersection-rnn-bare", step=intersection_rnn.step, features=4, **CROSSING),
    Case(
        "intersection-rnn-tanh",
        step=partial(intersection_rnn.step, output_activation=np.tanh),
        kwargs={"output_activation": "tanh", "forget_bias": 0.0},
        **CROSSING,
    ),
    Case("atr", cell=ATRCell, layer=ATR, step=atr.step, wrong=SMALL),
    Case("nbrc", step=brc.nbrc, wrong=SMALL, **MODULATED),
    Case(
        "nbrc-linear",
        step=partial(brc.nbrc, activation=activations.linear),
        kwargs={"activation": "linear"},
        **MODULATED,
    ),
    Case(
        "brc",
        cell=BRCCell,
        layer=BRC,
        step=brc.brc,
        refuses=("block", "low_rank"),
        wrong=(*SMALL, ({"recurrent_structure": "dense"}, "recurrent_structure")),
    ),
    Case(
        "tgru",
        cell=TGRUCell,
        layer=TGRU,
        step=tgru.step,
        states=2,
        state_sizes=lambda units: [units, 3 * units],
        refuses=("recurrent_structure", "recurrent_dropout"),
        wrong=(*SMALL, ({"recurrent_dropout": 0.1}, "recurrent_dropout")),
    ),
    Case("sgu", step=sgu.sgu, wrong=SMALL, **SIMPLE),
    Case(
        "sgu-smooth",
        step=partial(sgu.sgu, gate=activations.sigmoid, output_activation=np.tanh),
        kwargs={"recurrent_activation": "sigmoid", "output_activation": "tanh"},
        **SIMPLE,
    ),
    Case("dsgu", step=sgu.dsgu, wrong=SMALL, **DEEP),
    Case(
        "dsgu-softplus",
        step=partial(sgu.dsgu, output_activation=sgu.softplus),
        kwargs={"output_activation": "softplus"},
        **DEEP,
    ),
    Case("star", wrong=(*SMALL, ({"t_max": 2}, "t_max")), **STACKABLE),
    Case("star-chrono", kwargs={"t_max": 30}, **STACKABLE),
]
