"""Writes the models of this release: `python tests/released/write.py` from the repository, once a release.

One `.keras` file a family of layers, in a folder of the release's name, and beside it inputs and outputs. Later
releases must load each and predict the same; a file that was released is never written again.
"""

import os
import pathlib
import sys

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent)]
from cases import CASES, randomized  # noqa: E402
from catalogue import CATALOGUE  # noqa: E402

import keras_rnnx  # noqa: E402

B, T, D, H = 2, 6, 3, 4


def families():
    """Layers by the name of the family, each with the shape of its inputs."""
    found = {"core": [], "shared": shared(), "convolutional": convolutional()}
    seen = set()
    for case in [*CASES, *CATALOGUE]:
        if case.cell.__module__.startswith("keras_rnnx.") and str(case) not in seen:
            seen.add(str(case))
            family = "core" if case in CASES else family_of(case)
            layer = case.make(case.units or H, dtype="float32", name=str(case), return_sequences=True)
            found.setdefault(family, []).append((layer, (T, case.features or D)))
    return found


def family_of(case):
    """The module of the table that has the case."""
    modules = [m for name, m in sys.modules.items() if name.startswith("catalogue.")]
    return next(m.__name__.partition(".")[2] for m in modules if case in m.CASES)


def shared():
    """What any cell may be put into."""
    cell, lstm, gru = keras_rnnx.LSTMCell(H), keras_rnnx.LSTMCell, keras_rnnx.GRUCell
    layers = {
        "bidirectional": keras_rnnx.Bidirectional(keras_rnnx.GRU(H), merge_mode="concat", name="bidirectional"),
        "deep": keras_rnnx.DeepRNN(gru(H), depth=3, residual="highway", name="deep"),
        "deep-both": keras_rnnx.DeepRNN(lstm(H), depth=2, residual="dense", bidirectional=True, name="deep-both"),
        "list": keras_rnnx.RNN([gru(H), lstm(2)], name="list"),
        "options": keras_rnnx.LSTM(H, normalization="layer", learn_initial_state=True, name="options"),
        "low-rank": keras_rnnx.GRU(H, recurrent_structure="low_rank", recurrent_rank=2, zoneout=0.1, name="low-rank"),
        "keras-cell": keras_rnnx.RNN(keras.layers.GRUCell(H), name="keras-cell"),
        "zoneout": keras_rnnx.RNN(keras_rnnx.ZoneoutCell(gru(H), 0.2), name="zoneout"),
        "residual": keras_rnnx.RNN(keras_rnnx.ResidualCell(gru(D)), name="residual"),
        "integrated": keras_rnnx.RNN(keras_rnnx.MultiplicativeIntegrationCell(cell), name="integrated"),
        "mixed": keras_rnnx.RNN(keras_rnnx.MixedMemoryCell(keras_rnnx.LTCCell(H)), name="mixed"),
        "fast-slow": keras_rnnx.RNN(keras_rnnx.FastSlowCell([lstm(H), lstm(H)], lstm(5)), name="fast-slow"),
    }
    return [(layer, (T, D)) for layer in layers.values()]


def convolutional():
    """Layers over pictures."""
    sizes = {1: (5,), 2: (5, 4), 3: (4, 3, 3)}
    return [
        (kind(2, 3, padding="same", return_sequences=True, name=name.lower()), (T, *sizes[int(name[-2])], 2))
        for name, kind in vars(keras_rnnx).items()
        if name.startswith("Conv") and name.endswith("D")
    ]


def model_of(layers):
    """A model that reads each layer's inputs and returns all outputs, by the layers' names."""
    inputs = {str(shape): keras.Input(shape, name=f"inputs_{'_'.join(map(str, shape))}") for _, shape in layers}
    model = keras.Model(list(inputs.values()), {layer.name: layer(inputs[str(shape)]) for layer, shape in layers})
    return randomized(model, np.random.default_rng(7))


def main():
    """See the module."""
    folder = HERE / keras_rnnx.__version__
    folder.mkdir()
    rng = np.random.default_rng(11)
    for family, layers in families().items():
        model = model_of(layers)
        inputs = {i.name: rng.normal(size=(B, *i.shape[1:])).astype("float32") for i in model.inputs}
        outputs = {name: keras.ops.convert_to_numpy(y) for name, y in model(list(inputs.values())).items()}
        broken = [name for name, y in outputs.items() if not np.isfinite(y).all()]
        if broken:
            raise ValueError(f"Expected finite outputs. Received: others from {broken}")
        model.save(folder / f"{family}.keras")
        np.savez_compressed(folder / f"{family}.npz", **inputs, **outputs)
        print(family, len(outputs))


if __name__ == "__main__":
    main()
