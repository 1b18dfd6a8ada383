"""Set-up for all tests; the backend is chosen by KERAS_BACKEND, TensorFlow by default."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import hypothesis
import keras
import numpy as np
import pytest

# A test that is slow because the machine is busy is no failure.
BUSY = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("ci", derandomize=True, database=None, max_examples=20, **BUSY)
hypothesis.settings.register_profile("nightly", print_blob=True, max_examples=2000, **BUSY)
hypothesis.settings.load_profile("ci")


def pytest_collection_modifyitems(config, items):
    """Of the tests marked `sixths` each compiled backend runs a sixth of its own: each compiles something."""
    backend = keras.backend.backend()
    if backend == "torch" or config.option.keyword:
        return
    heavy = [item for item in items if item.get_closest_marker("sixths")]
    kept = set(map(id, heavy[3 * (backend == "jax") :: 6]))
    left_out = [item for item in heavy if id(item) not in kept]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if not item.get_closest_marker("sixths") or id(item) in kept]


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same numbers, alone or in any order."""
    keras.utils.set_random_seed(1)


@pytest.fixture
def rng():
    return np.random.default_rng(7)
