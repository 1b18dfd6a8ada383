"""Set-up for all tests; the backend is chosen by KERAS_BACKEND, TensorFlow by default."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import keras
import numpy as np
import pytest

hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, database=None, max_examples=20)
hypothesis.settings.register_profile("search", deadline=None, max_examples=200)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same numbers, alone or in any order."""
    keras.utils.set_random_seed(1)


@pytest.fixture
def rng():
    return np.random.default_rng(7)
