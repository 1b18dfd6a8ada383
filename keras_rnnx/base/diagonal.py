r"""What cells with a trained diagonal recurrence share: numbers in two arrays, discretization, and how they start.

A number is `[real]` or `[real, imaginary]`, as in `engine.linear`.
"""

import keras
import numpy as np
from keras import ops

from keras_rnnx.base.linear import LinearCell
from keras_rnnx.engine import products
from keras_rnnx.engine.backends import backend
from keras_rnnx.engine.linear import conjugate, times

DISCRETIZATIONS = ("zoh", "bilinear")


# ---- numbers ----


def divided(a, b):
    """The quotient of two complex numbers."""
    size = b[0] * b[0] + b[1] * b[1]
    return [part / size for part in times(a, conjugate(b))]


def polar(log_size, phase):
    r"""The complex number \(e^{s + i \varphi}\)."""
    size = ops.exp(log_size)
    return [size * ops.cos(phase), size * ops.sin(phase)]


def below_one(log_size):
    r"""\(\sqrt{1 - e^{2 s}}\) for s < 0, without cancellation; s = 0 counts as a number just below it."""
    tiny = 1e-12 if keras.backend.standardize_dtype(log_size.dtype) == "float64" else 1e-7
    return ops.sqrt(-ops.expm1(2 * ops.where(log_size < -tiny, log_size, ops.full_like(log_size, -tiny))))


def real_part(h, rows):
    """Re(h C) for a complex h [(..., N)] * 2 and the rows (2N, H) of C, its real ones first; in the dtype of h."""
    return backend.matmul(ops.concatenate([h[0], -h[1]], axis=-1), rows, h[0].dtype)


def at_all_steps(number):
    """A number (N,) as the one that is the same at every step of every row: (1, 1, N)."""
    return [part[None, None] for part in number]


# ---- continuous time ----


def discretized(kind, pole, step):
    r"""A step of \(\dot h = \lambda h + u\): the numbers \(\bar\lambda, \bar b\) of \(h' = \bar\lambda h + \bar b u\).

    Args:
        kind: `"zoh"`, \(e^{\lambda\Delta}, (e^{\lambda\Delta} - 1) / \lambda\), or `"bilinear"`,
            \((1 + \lambda\Delta/2) / (1 - \lambda\Delta/2), \Delta / (1 - \lambda\Delta/2)\).
        pole: the complex number \(\lambda\) (N,).
        step: \(\Delta\), (..., N).
    """
    real, imaginary = [part * step for part in pole]
    if kind == "zoh":
        half = ops.sin(imaginary / 2)
        grown = [ops.expm1(real) * ops.cos(imaginary) - 2 * half * half, ops.exp(real) * ops.sin(imaginary)]
        return polar(real, imaginary), divided(grown, pole)
    below = [1 - real / 2, -imaginary / 2]
    return divided([1 + real / 2, imaginary / 2], below), divided([step, ops.zeros_like(step)], below)


def hippo_normal(size):
    r"""The normal part of the HiPPO-LegS matrix, \(A + p p^\top\) with \(p_n = \sqrt{n + 1/2}\), diagonalized.

    Returns:
        The eigenvalues (size,), ordered by their imaginary parts, and the unitary matrix V of eigenvectors.
    """
    n = np.arange(size)
    root = np.sqrt(2 * n + 1.0)
    matrix = -np.tril(np.outer(root, root)) + np.diag(n) + np.outer(root, root) / 2
    imaginary, vectors = np.linalg.eigh(-1j * (matrix + np.eye(size) / 2))
    return -0.5 + 1j * imaginary, vectors


# ---- starts ----


def starting_at(value):
    """An initializer that gives one array, of the shape asked for."""

    def start(shape, dtype=None):
        return ops.cast(ops.reshape(ops.convert_to_tensor(value), shape), dtype or keras.config.floatx())

    return start


def uniform(shape, low=0.0, high=1.0):
    """Uniform random numbers as a float64 NumPy array, drawn by Keras' global generator."""
    with backend.now():
        return low + (high - low) * ops.convert_to_numpy(keras.random.uniform(shape, dtype="float32")).astype("float64")


def normal(shape, deviation=1.0):
    """Normal random numbers as a float64 NumPy array, drawn by Keras' global generator."""
    with backend.now():
        return deviation * ops.convert_to_numpy(keras.random.normal(shape, dtype="float32")).astype("float64")


# ---- the cell ----


class SkipCell(LinearCell):
    """A linear cell whose output adds a multiple of the input, `feed`."""

    def build_skip(self):
        """Makes `skip` (H,) where D = H, otherwise `skip_kernel` (D, H)."""
        if self.features == self.units:
            start = starting_at(normal((self.units,)))
            self.skip = self.add_weight(name="skip", shape=(self.units,), initializer=start)
        else:
            shape = (self.features, self.units)
            start = starting_at(normal(shape, self.features**-0.5))
            self.skip_kernel = self.add_kernel(name="skip_kernel", shape=shape, initializer=start)

    def feed(self, x):
        """What the input adds to the output, for all steps."""
        if self.features == self.units:
            return x * self._cast(self.skip)
        return products.apply({"kernel": self._cast(self.skip_kernel)}, x, x.dtype)

    @property
    def output_size(self):
        """H."""
        return self.units
