"""The examples of the documentation run as they stand."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import keras_rnnx

ROOT = Path(__file__).parent.parent
# What a page speaks of without making it.
GIVEN = {
    "docs/getting-started.md": lambda: {
        "sequences": np.ones((3, 7, 32), "float32"),
        "first_half": np.ones((3, 4, 32), "float32"),
        "second_half": np.ones((3, 3, 32), "float32"),
        "mask": np.ones((3, 7), bool),
        "lengths": np.array([7, 3, 0]),
        "keras_lstm": _built(keras.layers.LSTM(64)),
    },
}


def _built(layer):
    layer.build((None, None, 32))
    return layer


def _examples(page):
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/index.md",
        "docs/getting-started.md",
        "docs/extending.md",
        "docs/wrappers.md",
        "docs/choosing-a-path.md",
    ],
)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "example", "keras": keras, "ops": ops, "keras_rnnx": keras_rnnx}
    space.update(GIVEN.get(page, dict)())
    examples = _examples(page)
    assert examples
    if any("import tensorflow" in e for e in examples) and keras.backend.backend() != "tensorflow":
        pytest.skip("the page shows a converter of TensorFlow")
    for number, example in enumerate(examples):
        exec(compile(example, f"{page}, example {number}", "exec"), space)
