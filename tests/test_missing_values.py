"""GRU-D: both ways to say what is missing, and that what stands there is never read."""

import numpy as np
import pytest
from cases import EXACT, FLOAT, array, gradients, tensor, weights_of
from keras import ops

from keras_rnnx.cells.grud import GRUD, GRUDCell

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 2, 6, 3, 4


def data(rng):
    """Inputs with NaN, the same with a mask, intervals. Feature 2 of row 0 is never observed; step 3 has nothing."""
    x, observed = rng.normal(size=(B, T, D)), rng.random(size=(B, T, D)) < 0.6
    observed[0, :, 2] = observed[:, 3] = False
    deltas = rng.exponential(size=(B, T))
    return np.where(observed, x, np.nan), np.concatenate([np.where(observed, x, 7.0), observed], -1), deltas


def pair(rng, **options):
    layers = [GRUD(H, missing=m, return_sequences=True, dtype=FLOAT, **options) for m in ("nan", "mask")]
    layers[0].build((B, T, D))
    layers[1].build((B, T, 2 * D))
    values = [rng.normal(size=w.shape) * 0.4 for w in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    return layers


def test_nan_and_mask_are_the_same(rng):
    (by_nan, by_mask), (x, joint, deltas) = pair(rng), data(rng)
    found = [
        gradients(lambda x, d, layer=layer: ops.sum(layer(x, deltas=d) ** 2), [tensor(a), tensor(deltas)], weights)
        for layer, a, weights in ((by_nan, x, by_nan.trainable_weights), (by_mask, joint, by_mask.trainable_weights))
    ]
    np.testing.assert_allclose(
        array(by_nan(tensor(x), deltas=tensor(deltas))), array(by_mask(tensor(joint), deltas=tensor(deltas))), **EXACT
    )
    assert all(np.isfinite(g).all() for g in found[0])
    assert not found[0][0][np.isnan(x)].any() and found[0][0][~np.isnan(x)].all()
    assert not found[1][0][..., D:].any()
    np.testing.assert_allclose(found[1][0][..., :D], found[0][0], **EXACT)
    for one, other in zip(found[0][1:], found[1][1:], strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


@pytest.mark.parametrize("options", [{"dropout": 0.5}, {"recurrent_dropout": 0.5}, {"zoneout": 0.3}], ids=str)
def test_training_is_finite(options, rng):
    for layer, x in zip(pair(rng, **options), data(rng)[:2], strict=True):
        assert np.isfinite(array(layer(tensor(x), training=True))).all()


def test_masked_steps_may_hold_anything(rng):
    by_nan, (x, _, deltas) = pair(rng)[0], data(rng)
    mask = np.ones((B, T), bool)
    mask[:, 2] = False
    other = x.copy()
    other[:, 2] = np.nan
    results = [array(by_nan(tensor(a), deltas=tensor(deltas), mask=ops.convert_to_tensor(mask))) for a in (x, other)]
    np.testing.assert_array_equal(*results)


def test_adapt_sets_the_means_of_what_is_observed(rng):
    x, joint, _ = data(rng)
    x[:, :, 1] = joint[:, :, D + 1] = np.nan
    joint[:, :, D + 1] = 0
    wanted = [np.nanmean(x[:, :, 0]), 0.0, np.nanmean(x[:, :, 2])]
    for missing, a in (("nan", x), ("mask", joint)):
        layer = GRUD(H, missing=missing, dtype=FLOAT)
        layer.adapt(a)
        np.testing.assert_allclose(weights_of(layer)["mean"], wanted, rtol=1e-6)
        assert "mean" not in [w.name for w in layer.trainable_weights]
        cell = GRUDCell(H, missing=missing)
        cell.adapt(a)
        np.testing.assert_allclose(array(cell.mean), wanted, rtol=1e-6)


def test_a_feature_that_is_never_observed_is_at_its_mean(rng):
    by_nan, x = pair(rng)[0], np.full((B, T, D), np.nan)
    values = weights_of(by_nan)
    far = [values[w.name] + (5.0 if w.name == "input_decay_bias" else 0.0) for w in by_nan.weights]
    before = array(by_nan(tensor(x)))
    by_nan.set_weights(far)
    np.testing.assert_allclose(array(by_nan(tensor(x))), before, **EXACT)


@pytest.mark.parametrize(
    "options, features, word",
    [
        ({"missing": "zero"}, D, "missing"),
        ({"missing": "mask"}, 3, "mask"),
        ({"normalization": "layer"}, D, "normalization"),
        ({"zoneout": [0.1, 0.1, 0.0]}, D, "zoneout"),
    ],
)
def test_wrong_arguments(options, features, word):
    with pytest.raises(ValueError, match=word):
        GRUD(H, **options).build((B, T, features))
