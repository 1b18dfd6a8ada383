"""What 8-bit integers cost and save: the quality of two trained models, and the size of their weights.

python examples/sentiment.py                    # trains and saves the one model, in a minute or two
python examples/language_model.py               # and the other, in about five
python examples/benchmarks/quantization.py      # reads them; --smoke where they were trained with it

Each row is the model as it was saved, quantized after training: not at all, in its recurrent layers, or in all layers
that Keras can quantize, the embeddings and the layers on top among them. Nothing is trained any more.
"""

import argparse
import pathlib
import sys
import tempfile
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import common  # first: it chooses the backend
import keras
import language_model
import numpy as np
import shakespeare
import text_classification
from keras import ops

BATCH_SIZE = 256
VARIANTS = {  # which layers are quantized
    "float32": lambda layer: False,
    "int8, recurrent layers": lambda layer: hasattr(layer, "state_size"),
    "int8, all layers": lambda layer: bool(layer.weights),
}


def accuracy(model, data):
    """Returns the share of texts whose most probable class is right."""
    found = [
        ops.convert_to_numpy(model(ops.convert_to_tensor(data.texts[i : i + BATCH_SIZE].astype(str))))
        for i in range(0, len(data.texts), BATCH_SIZE)
    ]
    return float((np.concatenate(found).argmax(axis=1) == data.labels).mean())


def bits_per_character(model, text):
    """Returns the mean cost of a character, read by one state from end to end."""
    return float(language_model.bits_of(model, model.text.encode([text])[0]).mean())


def kilobytes(model):
    """Returns the size of the file of the weights, to which Keras would add what the optimizers hold."""
    for part in (model, *model.layers):
        if isinstance(part, keras.Model):
            part.optimizer = None
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "model.weights.h5"
        model.save_weights(file)
        return file.stat().st_size / 1000


def report(name, folder, measure):
    """Prints a row for each variant of the model that a script has saved in a folder."""
    for variant, chosen in VARIANTS.items():
        model = common.saved_model(folder)
        model.quantize("int8", filters=chosen)
        print(f"| {name} | {variant} | {measure(model):.4f} | {kilobytes(model):.0f} |")


def main(arguments=None):
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=pathlib.Path, default=pathlib.Path("runs"), help="where the models are")
    parser.add_argument("--smoke", action="store_true", help="measure on little of the test data")
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore", "Layer .* does not have a `quantize` method")
    reviews = text_classification.load("movie_sentences", None)[0]["test"]
    text = shakespeare.load(None).test
    if options.smoke:
        reviews, text = reviews.part(slice(BATCH_SIZE)), text[:5000]
    print(f"Keras {keras.__version__} on {keras.backend.backend()}\n")
    print("| model | weights | accuracy, or bits per character | file of the weights, kB |\n|---|---|---:|---:|")
    report("sentiment", options.runs / "sentiment", lambda model: accuracy(model, reviews))
    report("language model", options.runs / "language_model", lambda model: bits_per_character(model, text))


if __name__ == "__main__":
    main()
