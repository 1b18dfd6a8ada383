"""Missing values: NaN or a mask beside the values, by GRU-D."""

import numpy as np
import pytest
from cases import EXACT, FLOAT, array, gradients, tensor, weighted, weights_of
from reference import grud, run

from keras_rnnx.cells.grud import GRUD

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 6, 3, 4


def made(rng, missing, weights=None):
    layer = GRUD(H, missing=missing, return_sequences=True, dtype=FLOAT)
    layer.build((None, None, D if missing == "nan" else 2 * D))
    layer.set_weights([rng.normal(size=w.shape) * 0.4 for w in layer.weights] if weights is None else weights)
    return layer


def data(rng):
    """Values with holes, one feature never seen in a row, and the intervals."""
    m = rng.random(size=(B, T, D)) < 0.6
    m[0, :, 1] = False
    return rng.normal(size=(B, T, D)), m, rng.exponential(size=(B, T))


def test_nan_and_mask_are_the_definition(rng):
    (x, m, deltas), by_nan = data(rng), made(rng, "nan")
    by_mask = made(rng, "mask", by_nan.get_weights())
    holes = np.where(m, x, np.nan)
    w = weights_of(by_nan)
    start = [np.zeros((B, n)) for n in (H, D, D)]
    want = run(lambda x, *s, **more: grud.step(w, x, *s, **more), holes, start, deltas=deltas)[0][0]
    found = array(by_nan(tensor(holes), deltas=tensor(deltas)))
    np.testing.assert_allclose(found, want, **EXACT)
    junk = np.where(m, x, 1e3)  # what stands at a missing value is not read
    both = np.concatenate([junk, m], axis=-1)
    np.testing.assert_allclose(array(by_mask(tensor(both), deltas=tensor(deltas))), want, **EXACT)


def test_gradients_are_finite_and_missing_values_have_none(rng):
    (x, m, deltas), layer = data(rng), made(rng, "nan")
    cotangents = [rng.normal(size=(B, T, H))]

    def loss(x, deltas):
        return weighted(layer(x, deltas=deltas), cotangents)

    found = gradients(loss, [tensor(np.where(m, x, np.nan)), tensor(deltas)], layer.trainable_weights)
    assert all(np.isfinite(g).all() for g in found)
    assert np.abs(found[0][~m]).max() == 0 and np.abs(found[0][m]).min() > 0
