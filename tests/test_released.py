"""Models that earlier releases saved load and predict the same: see `released/write.py`."""

import pathlib

import keras
import numpy as np
import pytest
from cases import BACKEND, array

import keras_rnnx  # noqa: F401  (registers what the files name)

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

FILES = sorted((pathlib.Path(__file__).parent / "released").glob("*/*.keras"))
# What a file holds does not depend on the backend; torch's loops need no compilation.
EACH = [f for f in FILES if BACKEND == "torch" or f.stem == "core"]


def test_every_model_that_was_released_is_here():
    folders = pathlib.Path(__file__).parent / "released"
    assert FILES and [f.with_suffix(".npz") for f in FILES] == sorted(folders.glob("*/*.npz"))


@pytest.mark.parametrize("file", EACH, ids=lambda f: f"{f.parent.name}-{f.stem}")
def test_loads_and_predicts_the_same(file):
    model = keras.saving.load_model(file)
    with np.load(file.with_suffix(".npz")) as arrays:
        outputs = model([arrays[i.name] for i in model.inputs])
        assert set(outputs) == set(arrays) - {i.name for i in model.inputs}
        for name, y in outputs.items():
            np.testing.assert_allclose(array(y), arrays[name], rtol=1e-5, atol=1e-5, err_msg=name)
