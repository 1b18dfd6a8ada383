"""`torch.nn.LSTM`, `GRU` and `RNN` as layers of this package, and back, on any backend."""

import keras
import numpy as np
from keras import ops

from keras_rnnx.cells.gru import GRU
from keras_rnnx.cells.lstm import LSTM
from keras_rnnx.cells.vanilla import VanillaRNN
from keras_rnnx.layers.bidirectional import Bidirectional
from keras_rnnx.layers.deep import DeepRNN
from keras_rnnx.layers.rnn import RNN

LAYERS = {"LSTM": LSTM, "GRU": GRU, "RNN": VanillaRNN}
ORDER = {"LSTM": (0, 1, 2, 3), "GRU": (1, 0, 2), "RNN": (0,)}  # torch's gates, in the order of this package
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
    given = {key: value.detach().cpu().numpy() for key, value in module.state_dict().items()}
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
        inner = options if not module.bidirectional else {k: v for k, v in options.items() if k != "name"}
        layer = kind(**cell, **inner)
        outer = {k: options[k] for k in ("name", "dtype") if k in options}
        layer = Bidirectional(layer, **outer) if module.bidirectional else layer
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
        both = isinstance(level, Bidirectional)
        cells = [level.forward_layer.cell, level.backward_layer.cell] if both else [level.cell]
        found += [(f"_l{n}" + end, cell) for end, cell in zip(("", "_reverse"), cells, strict=False)]
    return found


def _swapped(rows, name):
    """Rows (G H, ...) with the gates in the other order; the two orders are one another's inverse."""
    parts = np.split(rows, len(ORDER[name]))
    return np.concatenate([parts[i] for i in ORDER[name]])


def _fill(cell, given, name):
    cell.kernel.assign(_swapped(given["weight_ih"], name).T)
    cell.recurrent_kernel.assign(_swapped(given["weight_hh"], name).T)
    if cell.use_bias:
        biases = [_swapped(given[key], name) for key in ("bias_ih", "bias_hh")]
        cell.bias.assign(np.stack(biases) if name == "GRU" else sum(biases))
    if "weight_hr" in given:
        cell.projection_kernel.assign(given["weight_hr"].T)


def _read(cell, name):
    """The inverse of `_fill`; of two biases that are only ever added the second is zero."""
    kernels = {"weight_ih": cell.kernel, "weight_hh": cell.recurrent_kernel}
    found = {key: _swapped(ops.convert_to_numpy(value).T, name) for key, value in kernels.items()}
    if cell.use_bias:
        bias = ops.convert_to_numpy(cell.bias)
        pair = bias if name == "GRU" else (bias, np.zeros_like(bias))
        found |= {key: _swapped(b, name) for key, b in zip(("bias_ih", "bias_hh"), pair, strict=True)}
    if getattr(cell, "projection_units", None):
        found["weight_hr"] = ops.convert_to_numpy(cell.projection_kernel).T
    return found
