"""Cells whose state is a matrix for each head."""

from functools import partial

from cases import Case
from reference import delta_net, gated_delta_net, gla, mlstm, retnet

from keras_rnnx.cells.delta_net import DeltaNet, DeltaNetCell
from keras_rnnx.cells.gated_delta_net import GatedDeltaNet, GatedDeltaNetCell
from keras_rnnx.cells.gla import GLA, GLACell
from keras_rnnx.cells.mlstm import MLSTM, MLSTMCell
from keras_rnnx.cells.retnet import RetNet, RetNetCell

# Options that act between two steps have no place where many steps are read at once.
REFUSED = ("zoneout", "normalization", "recurrent_structure", "recurrent_dropout")
WRONG = (
    ({"units": 0}, "units"),
    ({"dropout": 1.0}, "dropout"),
    ({"heads": 0}, "heads"),
    ({"heads": 3}, "heads"),
    ({"key_units": -1}, "key_units"),
    ({"learn_initial_state": True}, "learn_initial_state"),
)
NO_WINDOW = ({"window": 0}, "window"), ({"window": 2.5}, "window")


def memory(name, cell, layer, step, *, heads=2, keys=3, wrong=WRONG, rows=None, more=(), **kwargs):
    """A row whose state is a memory (heads, keys, H / heads), then `more`, then the rows of a window."""

    def sizes(units):
        window = [(rows, 2 * heads * keys + units)] if rows else []
        return [(heads, keys, units // heads), *more, *window]

    return Case(
        name,
        cell=cell,
        layer=layer,
        step=partial(step, heads=heads, keys=keys),
        beside=True,
        readout=lambda w, states, y: y,
        state_sizes=sizes,
        kwargs={"heads": heads, "key_units": keys, **kwargs},
        refuses=REFUSED,
        wrong=wrong,
        meaning=mlstm.unscaled if cell is MLSTMCell else None,
    )


XLSTM = {"cell": MLSTMCell, "layer": MLSTM, "more": ((2, 3), (2,))}
EXPONENTIAL = partial(mlstm.step, forget_gate="exp")
DELTA = {"cell": DeltaNetCell, "layer": DeltaNet, "step": delta_net.step}
GATED = {"cell": GatedDeltaNetCell, "layer": GatedDeltaNet, "step": gated_delta_net.step}

CASES = [
    memory("mlstm", step=mlstm.step, wrong=(*WRONG, ({"forget_gate": "tanh"}, "forget_gate")), **XLSTM),
    memory("mlstm-exp", step=EXPONENTIAL, forget_gate="exp", **XLSTM),
    memory("gla", GLACell, GLA, gla.step, wrong=(*WRONG, ({"rank": 0}, "rank"), ({"tau": 0.0}, "tau"))),
    memory("gla-small", GLACell, GLA, partial(gla.step, tau=2.0), heads=1, keys=4, rank=2, tau=2.0),
    memory("retnet", RetNetCell, RetNet, retnet.step, keys=4, wrong=(*WRONG, ({"key_units": 3}, "key_units"))),
    memory("retnet-bias", RetNetCell, RetNet, retnet.step, keys=2, use_bias=True),
    memory("delta-net", wrong=(*WRONG, *NO_WINDOW), rows=3, **DELTA),
    memory("delta-net-bias", rows=1, heads=1, window=2, use_bias=True, **DELTA),
    memory("delta-net-no-window", window=1, **DELTA),
    memory("gated-delta-net", wrong=(*WRONG, *NO_WINDOW), rows=3, **GATED),
    memory("gated-delta-net-bias", rows=1, heads=1, window=2, use_bias=True, **GATED),
    memory("gated-delta-net-no-window", window=1, **GATED),
]
