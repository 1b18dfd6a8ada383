"""Gradients by central differences."""

import numpy as np


def numeric_gradient(f, arrays, eps=1e-6):
    """df/da for every entry of every array: (f(a + eps) - f(a - eps)) / (2 eps), in float64.

    Args:
        f: function (*arrays) -> a number. It must not change its arguments.
        arrays: list of arrays; they are copied.
        eps: the step. The error is about eps^2 |f'''| / 6 + 1e-16 |f| / eps.

    Returns:
        A list of arrays of the shapes of `arrays`.
    """
    arrays = [np.array(a, np.float64) for a in arrays]
    gradients = [np.zeros_like(a) for a in arrays]
    for a, gradient in zip(arrays, gradients, strict=True):
        for index in np.ndindex(a.shape):
            value = a[index]
            a[index] = value + eps
            above = float(f(*arrays))
            a[index] = value - eps
            below = float(f(*arrays))
            a[index] = value
            gradient[index] = (above - below) / (2 * eps)
    return gradients
