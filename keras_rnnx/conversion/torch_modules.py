"""`torch.nn.LSTM`, `GRU` and `RNN` as layers of this package, and back, on any backend."""

import keras
import numpy as np

from keras_rnnx.cells.gru import GRU
from keras_rnnx.cells.lstm import LSTM
from keras_rnnx.cells.vanilla import VanillaRNN
from keras_rnnx.conversion.layouts import as_array, cells_of, fill, made, read
from keras_rnnx.engine.orders import TORCH_GATES
from keras_rnnx.layers.bidirectional import Bidirectional
from keras_rnnx.layers.deep import DeepRNN
from keras_rnnx.layers.rnn import RNN

LAYERS = {"LSTM": LSTM, "GRU": GRU, "RNN": VanillaRNN}
# Arguments of a cell that change no output.
FREE = ("name", "dtype", "trainable", "seed", "unit_forget_bias", "initializer", "regularizer", "constraint")


def from_torch(module, **options):
    """The layer that a `torch.nn.LSTM`, `GRU` or `RNN` is, with its weights.

    Args:
        module: the module, of any `num_layers`, `bidirectional`, `bias` and `proj_size`. Its `batch_first` only says
            how its own arrays lie: the layer takes (B, T, D).
        **options: more arguments of the layer, such as `return_state` or `name`. `return_sequences` is True, and
            `dtype` that of the module, unless given.

    Returns:
        A built `LSTM`, `GRU` or `VanillaRNN`; in a `Bidirectional` where the module is; a `DeepRNN` where it has more
        than one layer.

    Raises:
        ValueError: if the module is none of these, or its weights are not those that its attributes announce.
    """
    name = type(module).__name__
    if name not in LAYERS or not type(module).__module__.startswith("torch.nn"):
        raise ValueError(f"Expected a torch.nn.LSTM, GRU or RNN. Received: {module!r} of type {type(module).__name__}")
    given = {key: as_array(value) for key, value in module.state_dict().items()}
    dtypes = sorted({str(value.dtype) for value in given.values()})
    if len(dtypes) != 1:
        raise ValueError(f"Expected weights of one dtype. Received: {dtypes}")
    options = {"return_sequences": True, "dtype": dtypes[0], **options}
    cell = _cell_arguments(
        name, module.hidden_size, module.bias, module.proj_size, getattr(module, "nonlinearity", None)
    )
    kind = LAYERS[name]
    if module.num_layers > 1:
        cells = [kind.CELL(**cell, dtype=options["dtype"]) for _ in range(module.num_layers)]
        layer = DeepRNN(cells, dropout=float(module.dropout), bidirectional=module.bidirectional, **options)
    else:
        layer = made(kind, {**cell, **options}, module.bidirectional)
    layer.build((None, None, module.input_size))
    wanted = {key + suffix: value.shape for suffix, cell in _places(layer) for key, value in _read(cell, name).items()}
    found = {key: value.shape for key, value in given.items()}
    if found != wanted:
        raise ValueError(f"Expected weights of the shapes {wanted}. Received: {found}")
    for suffix, cell in _places(layer):
        _fill(cell, {key.removesuffix(suffix): value for key, value in given.items() if key.endswith(suffix)}, name)
    return layer


def to_torch(layer):
    """The `torch.nn.LSTM`, `GRU` or `RNN` that a layer is, with its weights; needs torch.

    Args:
        layer: a built `LSTM`, `GRU` or `VanillaRNN`, a `Bidirectional` of one, or a `DeepRNN` of such cells of one
            size.

    Returns:
        A module with `batch_first=True`.

    Raises:
        ValueError: if torch's modules cannot compute it.
    """
    import torch

    if not isinstance(layer, (RNN, Bidirectional, DeepRNN)) or not layer.built:
        raise ValueError(f"Expected a built recurrent layer of keras_rnnx. Received: {layer!r}")
    places = _places(layer)
    first = places[0][1]
    names = [name for name, kind in LAYERS.items() if type(first) is kind.CELL]
    merge = getattr(layer, "merge_mode", "concat")
    turned = getattr(layer, "forward_layer", layer).go_backwards
    if not names or merge != "concat" or turned or getattr(layer, "residual", None):
        raise ValueError(
            "Expected LSTM, GRU or VanillaRNN, forwards or in both directions, merge_mode='concat', residual=None. "
            f"Received: {layer.get_config()}"
        )
    name = names[0]
    nonlinearity = keras.activations.serialize(first.activation) if name == "RNN" else None
    projected = getattr(first, "projection_units", None) or 0
    wanted = _known(LAYERS[name].CELL(**_cell_arguments(name, first.units, first.use_bias, projected, nonlinearity)))
    for _, cell in places:
        other = {key: value for key, value in _known(cell).items() if wanted.get(key) != value}
        if type(cell) is not type(first) or other or nonlinearity not in (None, "tanh", "relu"):
            raise ValueError(
                f"Expected cells that torch.nn.{name} has, all of one kind. Received: {cell!r} with {other}"
            )
    more = {"nonlinearity": nonlinearity} if name == "RNN" else {"proj_size": projected} if projected else {}
    module = getattr(torch.nn, name)(
        int(first.kernel.shape[0]),
        first.units,
        num_layers=len({suffix.split("_")[1] for suffix, _ in places}),
        bias=first.use_bias,
        batch_first=True,
        dropout=getattr(layer, "dropout", 0.0) if isinstance(layer, DeepRNN) else 0.0,
        bidirectional=any(suffix.endswith("_reverse") for suffix, _ in places),
        dtype=getattr(torch, first.variable_dtype),
        **more,
    )
    values = {key + suffix: torch.tensor(value) for suffix, cell in places for key, value in _read(cell, name).items()}
    module.load_state_dict(values)
    return module


def _cell_arguments(name, units, bias, projected, nonlinearity):
    more = {"activation": nonlinearity} if name == "RNN" else {"projection_units": projected or None}
    return {"units": units, "use_bias": bool(bias), **({} if name == "GRU" else more)}


def _known(cell):
    """The arguments of a cell that its outputs depend on."""
    return {name: value for name, value in cell.get_config().items() if not name.endswith(FREE)}


def _places(layer):
    """The ends of torch's names of weights, and the cell that has them: ("_l0", cell), ("_l0_reverse", cell), ..."""
    levels = layer.levels if isinstance(layer, DeepRNN) else [layer]
    found = []
    for n, level in enumerate(levels):
        found += [(f"_l{n}" + end, cell) for end, cell in zip(("", "_reverse"), cells_of(level), strict=False)]
    return found


def _gates(cell, name):
    return TORCH_GATES[name.lower()]


def _fill(cell, given, name):
    values = {"kernel": given["weight_ih"].T, "recurrent_kernel": given["weight_hh"].T}
    if cell.use_bias:
        biases = [given[key] for key in ("bias_ih", "bias_hh")]
        values["bias"] = np.stack(biases) if name == "GRU" else sum(biases)
    if "weight_hr" in given:
        values["projection_kernel"] = given["weight_hr"].T
    fill(cell, values, _gates(cell, name))


def _read(cell, name):
    """The inverse of `_fill`; of two biases that are only ever added the second is zero."""
    values = read(cell, _gates(cell, name))
    found = {"weight_ih": values["kernel"].T, "weight_hh": values["recurrent_kernel"].T}
    if cell.use_bias:
        bias = values["bias"]
        found |= zip(("bias_ih", "bias_hh"), bias if name == "GRU" else (bias, np.zeros_like(bias)), strict=True)
    if "projection_kernel" in values:
        found["weight_hr"] = values["projection_kernel"].T
    return found
