"""The recurrent cells of TensorFlow Addons, and weights in their layout, as layers of this package."""

from keras_rnnx import arguments
from keras_rnnx.cells.esn import ESN
from keras_rnnx.cells.nas import NAS, NASCell
from keras_rnnx.cells.peephole_lstm import PeepholeLSTM
from keras_rnnx.conversion.layouts import Layout, layer_of, named

PEEPHOLES = {f"{gate}_gate_peephole_weights": f"p_{gate[0]}" for gate in ("input", "forget", "output")}
SAME = ("activation", "recurrent_activation", "dropout", "recurrent_dropout")
LAYOUTS = {
    "PeepholeLSTMCell": Layout(
        PeepholeLSTM,
        "i f g o",
        {"kernel": "D GH", "recurrent_kernel": "H GH", "bias": "GH", **dict.fromkeys(PEEPHOLES, "H")},
        names=PEEPHOLES,
        config={name: name for name in SAME},
        optional=("bias",),
    ),
    "NASCell": Layout(
        NAS, NASCell.GATES, {"recurrent_kernel": "H GH", "kernel": "D GH", "bias": "GH"}, optional=("bias",)
    ),
    "ESNCell": Layout(
        ESN,
        "h",
        {"recurrent_kernel": "H H", "kernel": "D H", "bias": "H"},
        config={"activation": "activation", "leaky": "leak"},
        optional=("bias",),
    ),
}
DIFFERENT = {
    "LayerNormLSTMCell": "it normalizes all gates together, and c before the next step reads it, where `normalization` "
    "takes each gate by itself and leaves c",
    "LayerNormSimpleRNNCell": "it normalizes the sum of the two products, where `normalization` takes each by itself",
}
WALKS = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll", "zero_output_for_mask")


def from_addons(source, kind=None, **options):
    """The layer that a recurrent cell of TensorFlow Addons is, with its weights.

    Args:
        source: a built `PeepholeLSTMCell`, `NASCell` or `ESNCell`, an `ESN`, or an `RNN` layer of such a cell; or its
            weights: what `get_weights()` gives, or a mapping of names, which may be paths, to arrays.
        kind: for weights, `"PeepholeLSTMCell"`, `"NASCell"`, or `"ESNCell"`, which is `ESN` too.
        **options: more arguments of the layer here. Unless given, activations, leak and dropout are those of the cell,
            `return_sequences` and the like those of the `RNN` layer, or True for a cell or weights, and `dtype` that of
            the weights. Weights alone do not tell the activations and the leak.

    Returns:
        A built `PeepholeLSTM`, `NAS` or `ESN`. The states of `NAS` are [h, c], those of `NASCell` were [c, h].

    Raises:
        ValueError: if the cell is none of these, or a weight is missing or of a wrong shape.
    """
    if kind is None:
        cell = getattr(source, "cell", source)
        kind = type(cell).__name__
        if type(cell).__module__.split(".")[0] != "tensorflow_addons" or kind not in (*LAYOUTS, *DIFFERENT):
            raise ValueError(
                f"Expected one of the cells {tuple(LAYOUTS)} of TensorFlow Addons, an RNN layer of one, or its weights "
                f"with `kind`. Received: {source!r} of type {type(source).__name__}"
            )
        options = {**_arguments_of(source, cell, kind), **options}
        source = {w.name: w for w in cell.weights}
    kind = arguments.choice("kind", kind, (*LAYOUTS, *DIFFERENT))
    if kind in DIFFERENT:
        raise ValueError(f"Expected a cell that this package computes. Received: {kind}: {DIFFERENT[kind]}")
    return layer_of(LAYOUTS[kind], [named(source, LAYOUTS[kind], kind)], kind, options)


def _arguments_of(layer, cell, kind):
    """The arguments here that a cell, and the layer that it may be in, tell."""
    if kind in DIFFERENT:
        return {}
    config = cell.get_config()
    found = {ours: config[theirs] for theirs, ours in LAYOUTS[kind].config.items() if theirs in config}
    if layer is cell:
        return found
    config = layer.get_config()
    return {**found, **{name: config[name] for name in WALKS if name in config}}
