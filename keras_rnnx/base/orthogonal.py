r"""Recurrent matrices of a special form: skew-symmetric, and orthogonal as \(e^A\) with A skew-symmetric.

All functions take (H, H), or the blocks (N, H/N, H/N) of a block diagonal matrix.
"""

import math

import keras
import numpy as np
from keras import ops

from keras_rnnx.engine.backends import backend

FORMS = ("dense", "block")  # the structures that a transpose keeps
DEGREE = 20  # of the Taylor polynomial
NORM = 1.4  # up to this norm its backward error is below the unit round-off of float64 (Al-Mohy and Higham, 2011)
SQUARINGS = 16


def transposed(m):
    """Each matrix transposed."""
    return ops.swapaxes(m, -1, -2)


def skew(m):
    """M - M^T."""
    return m - transposed(m)


def shifted(m, gamma):
    """M - gamma I."""
    return m - gamma * ops.eye(m.shape[-1], dtype=m.dtype)


def expm(a):
    r"""The matrix exponential, by scaling and squaring: \(e^A = (e^{A / 2^s})^{2^s}\).

    \(e^{A / 2^s}\) is the Taylor polynomial of degree 20, in seven products (Paterson and Stockmeyer, 1973), with the
    smallest s that makes the largest sum of a row at most 1.4; it is exact to the round-off of float64. The gradient is
    that of the polynomial and the squarings. s is at most 16: the form holds for norms up to 90 000.

    Args:
        a: float32 or float64.
    """
    norm = ops.stop_gradient(ops.max(ops.sum(ops.abs(a), axis=-1)))
    large = [norm > NORM * 2**k for k in range(SQUARINGS)]
    for halve in large:
        a = ops.where(halve, a / 2, a)
    result = _taylor(a)
    for square in large:
        result = ops.cond(square, lambda e=result: _product(e, e), lambda e=result: e)
    return result


def _product(a, b):
    return backend.matmul(a, b, a.dtype)  # Keras' matmul leaves float64 on torch


def _taylor(a):
    """sum_k a^k / k! up to k = 20 = 5 * 4, by Horner's rule in a^5."""
    powers = [ops.eye(a.shape[-1], dtype=a.dtype) + ops.zeros_like(a), a]
    for _ in range(4):
        powers.append(_product(powers[-1], a))
    fifth = powers.pop()
    result = fifth / float(math.factorial(DEGREE))
    for first in range(DEGREE - 5, -1, -5):
        result = result + sum(p / float(math.factorial(first + k)) for k, p in enumerate(powers))
        if first:
            result = _product(result, fifth)
    return result


class _Planes(keras.initializers.Initializer):
    """A matrix that turns each pair of units (2i, 2i + 1) in its plane: only the entries above the diagonal are set."""

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        rows = shape[-1]
        angles = self.angles((rows // 2,))
        pairs = ops.reshape(ops.stack([angles, ops.zeros_like(angles)], -1), (-1,))
        column = ops.concatenate([pairs, ops.zeros((rows % 2,), pairs.dtype)])[:, None]
        return ops.cast(column * ops.eye(rows, k=1, dtype=pairs.dtype), dtype or keras.config.floatx())

    def get_config(self):
        """The arguments."""
        return {"seed": self.seed}


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Henaff(_Planes):
    r"""A with \(A - A^T\) made of blocks \((0, s; -s, 0)\), s uniform in \((-\pi, \pi)\) (Henaff et al., 2016).

    Args:
        seed: int, `SeedGenerator` or None.
    """

    def angles(self, shape):
        """s of each plane."""
        return keras.random.uniform(shape, -np.pi, np.pi, dtype="float32", seed=self.seed)


@keras.saving.register_keras_serializable(package="keras_rnnx")
class Cayley(_Planes):
    r"""As `Henaff`, with \(s = -\sqrt{(1 - \cos v) / (1 + \cos v)}\), v uniform in \((0, \pi/2)\).

    After Helfrich et al. (2018).

    Args:
        seed: int, `SeedGenerator` or None.
    """

    def angles(self, shape):
        """s of each plane: (1 - cos v) / (1 + cos v) = tan^2 (v / 2)."""
        return -ops.tan(keras.random.uniform(shape, 0.0, np.pi / 4, dtype="float32", seed=self.seed))
