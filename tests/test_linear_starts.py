"""Where the cells that are linear in their state start: the ranges and matrices of their papers."""

import numpy as np
import pytest
from cases import FLOAT, array, tensor, weights_of

from keras_rnnx.base.diagonal import hippo_normal
from keras_rnnx.cells.linear_rnn import LinearRNN
from keras_rnnx.cells.lru import LRU
from keras_rnnx.cells.rglru import RGLRU
from keras_rnnx.cells.s4d import S4D
from keras_rnnx.cells.s5 import S5
from keras_rnnx.cells.sru import SRU

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

D = 6


def started(layer):
    """The weights with which a layer starts."""
    layer.build((None, None, D))
    return weights_of(layer)


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def test_lru_starts_on_the_ring():
    w = started(LRU(200, r_min=0.6, r_max=0.9, max_phase=0.5, dtype=FLOAT))
    size, phase = np.exp(-np.exp(w["nu"])), np.exp(w["theta"])
    assert 0.6 <= size.min() < 0.65 and 0.87 < size.max() <= 0.9
    assert 0 < phase.min() < 0.05 and 0.45 < phase.max() <= 0.5
    np.testing.assert_allclose(np.exp(w["gamma"]), np.sqrt(1 - size**2), rtol=1e-5)
    np.testing.assert_allclose(w["kernel"].std(), (2 * D) ** -0.5, rtol=0.1)
    np.testing.assert_allclose(w["output_kernel"].std(), 200**-0.5, rtol=0.1)


@pytest.mark.parametrize("complex_state", [False, True])
def test_rglru_starts_with_slow_decay(complex_state):
    w = started(RGLRU(300, complex_state=complex_state, dtype=FLOAT))
    slow = sigmoid(w["Lambda"]) ** 8
    assert 0.9 <= slow.min() < 0.91 and 0.99 < slow.max() < 0.99901


def test_the_normal_part_of_hippo():
    """A_nk = -sqrt((2n+1)(2k+1)) below the diagonal, -(n+1) on it; the normal part adds p p^T."""
    size = 8
    n = np.arange(size)
    hippo = -np.tril(np.sqrt(np.outer(2 * n + 1, 2 * n + 1)), -1) - np.diag(n + 1.0)
    p = np.sqrt(n + 0.5)
    values, vectors = hippo_normal(size)
    np.testing.assert_allclose(vectors @ np.diag(values) @ vectors.conj().T, hippo + np.outer(p, p), atol=1e-12)
    np.testing.assert_allclose(values.imag, -values.imag[::-1], atol=1e-12)


def test_s5_starts_as_the_real_system_of_its_blocks():
    """The pairs of poles make a real system: with V, its matrix is the block diagonal normal part of HiPPO."""
    w = started(S5(5, state_units=8, blocks=2, dtype=FLOAT))
    values, vectors = hippo_normal(4)
    half, turn = values[:2], np.kron(np.eye(2), vectors[:, :2])
    np.testing.assert_allclose(w["Lambda_re"] + 1j * w["Lambda_im"], np.tile(half, 2), atol=1e-6)
    B = w["kernel"][:, :4] + 1j * w["kernel"][:, 4:]
    drawn = 2 * (B @ turn.T).real  # V and its conjugate take the coordinates back
    np.testing.assert_allclose(drawn @ turn.conj(), B, atol=1e-6)
    step = np.exp(w["log_step"])
    assert step.min() >= 0.001 and step.max() <= 0.1


@pytest.mark.parametrize(
    "initialization, imaginary",
    [
        ("lin", np.pi * np.arange(4)),
        ("inv", 8 / np.pi * (8 / (2 * np.arange(4) + 1) - 1)),
        ("legs", hippo_normal(8)[0][4:].imag),
    ],
)
def test_s4d_starts(initialization, imaginary):
    w = started(S4D(5, state_units=8, initialization=initialization, dtype=FLOAT))
    assert w["A_im"].shape == (5, 4)
    np.testing.assert_allclose(w["A_im"], np.tile(imaginary, (5, 1)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(-np.exp(w["A_log"]), -0.5, rtol=1e-6)


def test_sru_keeps_the_variance(rng):
    """alpha makes h as large as x at the start, in a wide layer of depth one."""
    layer = SRU(512, highway_bias=-2.0, return_sequences=True, use_bias=True, dtype=FLOAT)
    x = rng.normal(size=(4, 40, 512))
    h = array(layer(tensor(x)))
    np.testing.assert_allclose(h[:, 10:].var(), 1.0, rtol=0.15)


def test_linear_rnn_starts_between_its_bounds():
    a = np.tanh(started(LinearRNN(300, a_min=-0.5, a_max=0.9, dtype=FLOAT))["alpha"])
    assert -0.5 <= a.min() < -0.45 and 0.85 < a.max() <= 0.9
