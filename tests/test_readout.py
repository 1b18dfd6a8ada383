"""Echo state networks and the read-out in closed form; promises of single cells beyond their equations."""

import keras
import numpy as np
import pytest
from cases import array, tensor

from keras_rnnx import (
    CFN,
    ESN,
    RHN,
    AbsoluteRange,
    ClockworkRNN,
    FastGRNN,
    FastRNN,
    IndRNN,
    IndyLSTM,
    fit_readout,
)

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

N, T, D, H, K = 7, 9, 3, 6, 2


def data(rng):
    x, y = rng.normal(size=(N, T, D)).astype("float32"), rng.normal(size=(N, T, K))
    return x, y, rng.random((N, T)) < 0.7


def ridge_regression(r, y, ridge):
    """By least squares of the rows, with a row sqrt(ridge) e_i and target 0 for each weight but the bias."""
    r = np.concatenate([r, np.ones((len(r), 1))], 1)
    penalty = np.sqrt(ridge) * np.eye(r.shape[1])[:-1]
    return np.linalg.lstsq(np.concatenate([r, penalty]), np.concatenate([y, np.zeros((len(penalty), y.shape[1]))]))[0]


@pytest.mark.parametrize(
    "structure", [{}, {"recurrent_structure": "block", "recurrent_blocks": 2}], ids=["dense", "block"]
)
def test_reservoir_is_fixed_and_has_the_radius_and_the_connections(structure):
    layer = ESN(40, connectivity=0.2, spectral_radius=1.3, use_bias=True, seed=5, **structure)
    layer.build((None, None, D))
    assert not layer.trainable_weights and len(layer.weights) == 3
    u = array(layer.cell.recurrent_kernel)
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(u)).max(), 1.3, rtol=1e-5)
    assert ((u != 0).sum(axis=-2) == round(0.2 * u.shape[-2])).all()
    layer.trainable = True
    assert not layer.trainable_weights
    again = ESN.from_config(layer.get_config())
    again.build((None, None, D))
    assert ((array(again.cell.recurrent_kernel) != 0) == (u != 0)).all()


def test_reservoir_of_independent_units():
    layer = ESN(10, recurrent_structure="diagonal", spectral_radius=0.5)
    layer.build((None, None, D))
    np.testing.assert_allclose(np.abs(array(layer.cell.recurrent_kernel)).max(), 0.5, rtol=1e-6)


def test_reservoir_without_an_eigenvalue():
    layer = ESN(4, recurrent_initializer="zeros")
    with pytest.raises(ValueError, match="eigenvalue"):
        layer.build((None, None, D))


@pytest.mark.parametrize("washout", [0, 3])
@pytest.mark.parametrize("how", ["arrays", "batches", "mask of a layer before"])
def test_readout_of_masked_sequences(how, washout, rng):
    x, y, mask = data(rng)
    layer = ESN(H, connectivity=0.5, return_sequences=True)
    counts = mask & (mask.cumsum(1) > washout)
    if how == "arrays":
        dense = fit_readout(layer, x, y, ridge=0.3, mask=mask, washout=washout, batch_size=3)
    elif how == "batches":
        batches = ((x[i : i + 2], y[i : i + 2], mask[i : i + 2]) for i in range(0, N, 2))
        dense = fit_readout(layer, batches, ridge=0.3, washout=washout)
    else:
        x = np.where(mask[..., None], x, 0.0).astype("float32")
        model = keras.Sequential([keras.Input((T, D)), keras.layers.Masking(), layer])
        dense = fit_readout(model, x, y, ridge=0.3, washout=washout)
    r = array(layer(tensor(x, "float32"), mask=tensor(mask, "bool"))).astype("float64")
    weights = ridge_regression(r[counts], y[counts], 0.3)
    np.testing.assert_allclose(np.concatenate([array(dense.kernel), array(dense.bias)[None]]), weights, atol=1e-5)
    assert dense(tensor(r, "float32")).shape == (N, T, K)


def test_readout_of_last_outputs(rng):
    x, y, _ = data(rng)
    layer = ESN(H, return_state=True)
    dense = fit_readout(layer, x, y[:, 0, 0], ridge=0.1, use_bias=False)
    r = array(layer(tensor(x, "float32"))[0]).astype("float64")
    weights = np.linalg.solve(r.T @ r + 0.1 * np.eye(H), r.T @ y[:, 0, :1])
    np.testing.assert_allclose(array(dense.kernel), weights, atol=1e-5)
    assert not dense.use_bias


@pytest.mark.parametrize(
    "arguments, word",
    [
        ({"ridge": -1.0}, "ridge"),
        ({"washout": -1}, "washout"),
        ({"washout": T}, "valid row"),
        ({"targets": np.zeros((N, T + 1, K))}, "targets"),
        ({"targets": np.zeros((N - 1, T, K))}, "as many"),
        ({"targets": None, "mask": np.ones((N, T), bool)}, "inside"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_readout_of_wrong_arguments(arguments, word, rng):
    x, y, _ = data(rng)
    with pytest.raises(ValueError, match=word):
        fit_readout(ESN(H, return_sequences=True), x, **{"targets": y, **arguments})


def test_readout_learns_to_remember(rng):
    """A reservoir holds the input of some steps ago."""
    keras.utils.set_random_seed(1)
    x = rng.uniform(-0.5, 0.5, size=(4, 300, 1)).astype("float32")
    layer = ESN(60, spectral_radius=0.8, return_sequences=True)
    dense = fit_readout(layer, x[:, 3:], x[:, :-3], ridge=1e-6, washout=20)
    error = array(dense(layer(tensor(x[:, 3:], "float32")))) - x[:, :-3]
    assert np.abs(error[:, 20:]).mean() < 0.03  # the inputs are 0.25 in the mean


def test_clock_goes_on_in_the_next_chunk_and_stops_at_masked_steps(rng):
    layer = ClockworkRNN(8, return_sequences=True, return_state=True)
    x = tensor(rng.normal(size=(2, 11, D)), "float32")
    whole, _, clock = layer(x)
    first, *state = layer(x[:, :5])
    second, *_ = layer(x[:, 5:], initial_state=state)
    np.testing.assert_allclose(np.concatenate([array(first), array(second)], 1), array(whole), atol=1e-6)
    np.testing.assert_array_equal(array(clock), [[11], [11]])
    changes = (np.diff(array(whole), axis=1) != 0).all(axis=0)
    for module, period in enumerate((1, 2, 4, 8)):
        changed = changes[:, 2 * module : 2 * module + 2]
        np.testing.assert_array_equal(changed, np.tile((np.arange(1, 11) % period == 0)[:, None], 2))
    _, _, clock = layer(x, mask=tensor(np.arange(11) % 3 == 0, "bool")[None] & tensor(np.ones((2, 1)), "bool"))
    np.testing.assert_array_equal(array(clock), [[4], [4]])


def test_clock_is_no_weight_and_has_no_zoneout(rng):
    layer = ClockworkRNN(8, learn_initial_state=True, zoneout=0.5, return_state=True)
    *_, clock = layer(tensor(rng.normal(size=(2, 5, D)), "float32"))
    assert {w.name for w in layer.trainable_weights} == {"kernel", "recurrent_kernel", "bias", "initial_h"}
    np.testing.assert_array_equal(array(clock), [[5], [5]])
    assert ClockworkRNN(8, zoneout=(0.5, 0.0)).cell.rates == (0.5, 0.0)
    with pytest.raises(ValueError, match="clock"):
        ClockworkRNN(8, zoneout=(0.5, 0.1))


def test_bounds_of_independent_weights(rng):
    layer = IndRNN(50, recurrent_min_abs=0.5, recurrent_max_abs=1.1)
    layer.build((None, None, D))
    u = array(layer.cell.recurrent_kernel)
    assert (u >= 0.5).all() and (u <= 1.1).all() and len(np.unique(u)) == 50
    bounded = array(layer.cell.recurrent_kernel.constraint(tensor([-2.0, -0.1, 0.0, 0.7, 3.0])))
    np.testing.assert_allclose(bounded, [-1.1, -0.5, 0.5, 0.7, 1.1])
    again = IndRNN.from_config(layer.get_config())
    assert isinstance(again.cell.recurrent_constraint, AbsoluteRange)
    assert IndRNN(3).cell.recurrent_constraint is None
    with pytest.raises(ValueError, match="maximum"):
        AbsoluteRange(1.0, 0.5)


@pytest.mark.parametrize(
    "kind, arguments, starts",
    [
        (CFN, {"units": 2}, {"bias": [1, 1, -1, -1]}),
        (RHN, {"units": 2, "depth": 2}, {"bias": [0, 0, -2, -2], "depth_2_bias": [0, 0, -2, -2]}),
        (RHN, {"units": 1, "depth": 1, "coupled": False, "transform_bias": -3}, {"bias": [0, -3, 3]}),
        (FastRNN, {"units": 2}, {"bias": [1, 1], "alpha": [-3], "beta": [3]}),
        (FastGRNN, {"units": 1}, {"bias": [1, 1], "zeta": [1], "nu": [-4]}),
        (IndyLSTM, {"units": 1}, {"bias": [0, 1, 0, 0]}),
    ],
)
def test_initial_values(kind, arguments, starts):
    layer = kind(**arguments)
    layer.build((None, None, D))
    values = {w.name: array(w) for w in layer.weights}
    for name, start in starts.items():
        np.testing.assert_array_equal(values[name], start)
