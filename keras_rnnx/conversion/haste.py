"""The layers of haste, and weights in its layout, as layers of this package."""

import collections.abc
import re

import numpy as np

from keras_rnnx import arguments
from keras_rnnx.cells.gru import GRU
from keras_rnnx.cells.ind_rnn import IndRNN
from keras_rnnx.cells.lstm import LSTM
from keras_rnnx.conversion.layouts import Layout, as_array, layer_of, named, plain_name

DENSE = {"kernel": "D GH", "recurrent_kernel": "H GH", "bias": "GH"}
LAYOUTS = {
    "LSTM": Layout(LSTM, "i g f o", DENSE),
    "GRU": Layout(GRU, "z r n", {**DENSE, "recurrent_bias": "GH"}),
    "IndRNN": Layout(
        IndRNN,
        "h",
        {"kernel": "D H", "recurrent_scale": "H", "bias": "H"},
        names={"recurrent_scale": "recurrent_kernel"},
        arguments={"activation": "tanh"},
    ),
}
TOGETHER = "it normalizes all gates together, where `normalization` takes each gate by itself"
DIFFERENT = {
    "LayerNormLSTM": f"{TOGETHER}, and also normalizes c on its way to h",
    "LayerNormGRU": TOGETHER,
    "LayerNormIndRNN": "it normalizes the inputs alone, where `normalization` takes the recurrent product too",
}


def from_haste(source, kind=None, **options):
    """The layer that a `LSTM`, `GRU` or `IndRNN` of haste is, with its weights.

    Args:
        source: a layer of `haste_pytorch` or `haste_tf`, built, in one or both directions; or its weights, a mapping of
            names to arrays: a `state_dict()`, what `get_weights()` of a `haste_tf` layer gives, or the variables of a
            checkpoint, whose names may be paths (`rnn/lstm_cell/kernel`; a part `bw` or `bw_layer` marks the backward
            direction) and whose kernel may hold the recurrent one below the other.
        kind: for weights, `"LSTM"`, `"GRU"` or `"IndRNN"`.
        **options: more arguments of the layer, such as `return_state` or `name`. `return_sequences` is True, `dtype`
            that of the weights, and `zoneout` that of the layer, unless given. Weights alone do not tell the
            zoneout, which haste has on h alone: for an LSTM `zoneout=[p, 0.0]`.

    Returns:
        A built `LSTM`, `GRU` or `IndRNN`, in a `Bidirectional` where there are two directions.

    Raises:
        ValueError: if the layer is none of these, drops recurrent weights, or a weight is missing or of a wrong shape.
    """
    if kind is None:
        kind, source, found = _parts_of(source)
        options = {**found, **options}
    kind = arguments.choice("kind", kind, (*LAYOUTS, *DIFFERENT))
    if kind in DIFFERENT:
        raise ValueError(f"Expected a layer that this package computes. Received: haste's {kind}: {DIFFERENT[kind]}")
    if not isinstance(source, collections.abc.Mapping):
        raise ValueError(f"Expected a mapping of names to arrays. Received: {source!r} of type {type(source).__name__}")
    backward = {name: w for name, w in source.items() if {"bw", "bw_layer"} & set(re.split(r"[/.]", name))}
    forward = {name: w for name, w in source.items() if name not in backward}
    layout, label = LAYOUTS[kind], f"haste's {kind}"
    halves = [forward, backward] if backward else [forward]
    return layer_of(layout, [named(_parted(half, layout), layout, label) for half in halves], label, options)


def _parts_of(layer):
    """The kind of a layer of haste, its weights, and the arguments here that it tells."""
    kind, library = type(layer).__name__, type(layer).__module__.split(".")[0]
    if library not in ("haste_pytorch", "haste_tf") or kind not in (*LAYOUTS, *DIFFERENT):
        raise ValueError(
            "Expected a LSTM, GRU or IndRNN of haste_pytorch or haste_tf, or its weights with `kind`. "
            f"Received: {layer!r} of type {type(layer).__name__}"
        )
    if kind in DIFFERENT:
        return kind, {}, {}
    halves = {"fw": layer.fw_layer, "bw": layer.bw_layer} if library == "haste_tf" else {"": layer}
    halves = {name: half for name, half in halves.items() if half is not None}
    first = next(iter(halves.values()))
    if getattr(first, "dropout", 0):
        raise ValueError(
            "Expected a layer without DropConnect, which drops recurrent weights: `recurrent_dropout` drops states. To "
            f"leave it out, pass the weights and `kind`. Received: dropout={first.dropout}"
        )
    if not getattr(first, "built", True):
        raise ValueError(f"Expected a layer that has been built. Received: {layer!r}")
    zoneout = float(first.zoneout)
    weights = {
        f"{name}/{key}": value
        for name, half in halves.items()
        for key, value in (half.state_dict() if library == "haste_pytorch" else half.get_weights()).items()
    }
    return kind, weights, {"zoneout": [zoneout, 0.0] if kind == "LSTM" else zoneout}


def _parted(weights, layout):
    """The weights of one direction with the recurrent kernel and bias as arrays of their own."""
    found = {plain_name(path): path for path in weights}
    if "recurrent_kernel" not in layout.shapes or "recurrent_kernel" in found or "kernel" not in found:
        return weights
    weights = {path: as_array(value) for path, value in weights.items()}
    kernel = weights.pop(found["kernel"])
    units = kernel.shape[-1] // layout.count
    weights |= {"kernel": kernel[:-units], "recurrent_kernel": kernel[-units:]}
    if "recurrent_bias" in layout.shapes and "bias" in found:
        weights |= dict(zip(("bias", "recurrent_bias"), np.split(weights.pop(found["bias"]), 2), strict=True))
    return weights
