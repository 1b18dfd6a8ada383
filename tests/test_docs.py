"""The examples of the documentation run as they stand."""

import re
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest

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
    found = re.findall(r"^( *)```python\n(.*?)^\1```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(example) for _, example in found]


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "docs/index.md",
        "docs/getting-started.md",
        "docs/extending.md",
        "docs/wrappers.md",
        "docs/choosing-a-layer.md",
        "docs/choosing-a-path.md",
        "docs/shapes.md",
        "docs/models.md",
        "docs/decoding.md",
        "docs/saving.md",
        "docs/exporting.md",
        "docs/quantization.md",
        "docs/gradients.md",
        "docs/migrating.md",
    ],
)
def test_examples_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    space = {"__name__": "example", **GIVEN.get(page, dict)()}
    examples = _examples(page)
    assert examples
    if any("import tensorflow" in e for e in examples) and keras.backend.backend() != "tensorflow":
        pytest.skip("the page shows a converter of TensorFlow")
    for number, example in enumerate(examples):
        exec(compile(example, f"{page}, example {number}", "exec"), space)
