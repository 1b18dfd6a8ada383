"""What is compared: cases, shapes, and who takes part. Imports no framework."""

import dataclasses
from collections.abc import Callable

PEERS = ("ours", "ours-jit", "keras", "keras-jit", "torch", "onnx")
BACKENDS = ("tensorflow", "jax")
MODES = ("train", "infer")
SHAPES = (  # (B, T, D, H)
    (1, 256, 64, 128),
    (32, 100, 64, 128),
    (32, 128, 128, 256),
    (64, 128, 256, 512),
    (8, 1000, 32, 64),
)
SMOKE_SHAPES, SMOKE_CASES = ((2, 6, 3, 4),), ("masked",)  # which is timed beside "lstm"


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer, written for each library.

    Attributes:
        name: what `--cases` calls it.
        title: one line for the reader.
        ours: `ours(keras_rnnx, H)` gives a layer.
        keras: `keras(keras.layers, H)` gives a layer, or a list of layers to apply in turn.
        torch: `torch(torch.nn, D, H)` gives a module; or a string that says why there is none.
        masked: whether the layer reads sequences of random lengths, padded on the right.
        onnx: whether ONNX has an operator for the layer, which ONNX Runtime then takes part with, at inference.
        modes: the modes in which the case differs from every other case.
        against: the name of the case whose time is the unit of this one's cost, or None.
    """

    name: str
    title: str
    ours: Callable
    keras: Callable
    torch: Callable | str
    masked: bool = False
    onnx: bool = False
    modes: tuple = MODES
    against: str | None = None

    def lacks(self, peer, backend, mode=None):
        """Why a peer takes no part, in a mode or in any, or None if it does."""
        if peer == "onnx":
            if not self.onnx:
                return "ONNX has no operator for it"
            if backend == "jax":
                return "models are exported from TensorFlow"
            return "ONNX Runtime computes no gradients" if mode == "train" else None
        if peer == "torch":
            return self.torch if isinstance(self.torch, str) else None
        if backend == "jax" and peer.endswith("-jit"):
            return f"JAX always compiles: the same as {peer.removesuffix('-jit')}"
        return None


def _own_cell(library, units):
    from mgu import RnnxMGUCell

    return library.RNN(RnnxMGUCell(units), return_sequences=True)


def _own_keras_cell(library, units):
    from mgu import KerasMGUCell

    return library.RNN(KerasMGUCell(units), return_sequences=True)


def _lstm(library, units, **kwargs):
    return library.LSTM(units, return_sequences=True, **kwargs)


def _torch_lstm(nn, features, units, **kwargs):
    return nn.LSTM(features, units, batch_first=True, **kwargs)


def _keras_stack(library, units):
    return [_lstm(library, units) for _ in range(3)]


_CASES = (
    Case(
        "vanilla_rnn",
        "VanillaRNN: tanh(x W + h U + b)",
        ours=lambda rnnx, H: rnnx.VanillaRNN(H, return_sequences=True),
        keras=lambda layers, H: layers.SimpleRNN(H, return_sequences=True),
        torch=lambda nn, D, H: nn.RNN(D, H, batch_first=True),
        onnx=True,
    ),
    Case("lstm", "LSTM", ours=_lstm, keras=_lstm, torch=_torch_lstm, onnx=True),
    Case(
        "gru",
        "GRU (reset after the product)",
        ours=lambda rnnx, H: rnnx.GRU(H, return_sequences=True),
        keras=lambda layers, H: layers.GRU(H, return_sequences=True),
        torch=lambda nn, D, H: nn.GRU(D, H, batch_first=True),
        onnx=True,
    ),
    Case(
        "mgu",
        "A user's own cell: a minimal gated unit",
        ours=_own_cell,
        keras=_own_keras_cell,
        torch="torch.nn has no layer that takes an own cell",
    ),
    Case(
        "recurrent_dropout",
        "LSTM with recurrent_dropout=0.2",
        ours=lambda rnnx, H: _lstm(rnnx, H, recurrent_dropout=0.2),
        keras=lambda layers, H: _lstm(layers, H, recurrent_dropout=0.2),
        torch="torch.nn has no recurrent dropout",
        modes=("train",),
        against="lstm",
    ),
    Case(
        "masked",
        "LSTM over sequences of random lengths, padded on the right",
        ours=_lstm,
        keras=_lstm,
        torch=_torch_lstm,
        masked=True,
        against="lstm",
    ),
    Case(
        "bidirectional",
        "Bidirectional LSTM",
        ours=lambda rnnx, H: rnnx.Bidirectional(_lstm(rnnx, H)),
        keras=lambda layers, H: layers.Bidirectional(_lstm(layers, H)),
        torch=lambda nn, D, H: _torch_lstm(nn, D, H, bidirectional=True),
    ),
    Case(
        "stack",
        "Stack of three LSTM layers",
        ours=lambda rnnx, H: rnnx.DeepRNN(rnnx.LSTMCell(H), depth=3, return_sequences=True),
        keras=_keras_stack,
        torch=lambda nn, D, H: _torch_lstm(nn, D, H, num_layers=3),
    ),
)
CASES = {case.name: case for case in _CASES}


def entrants(case, peers, backend, mode):
    """The (peer, case) pairs that are timed side by side for a case, the case it is measured against included."""
    taking_part = [p for p in peers if case.lacks(p, backend, mode) is None]
    own = [(peer, case.name) for peer in taking_part]
    if case.against is None:
        return own
    return [pair for peer, _ in own for pair in ((peer, case.against), (peer, case.name))]
