"""The linear engine: every form is the loop, and so is its gradient."""

import keras
import numpy as np
import pytest
from cases import BACKEND, EXACT, FLOAT, array, few, gradients, tensor, tensors
from keras import ops

from keras_rnnx.engine.linear import LinearEngine

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

FORMS = [("loop",), ("unrolled",), *[("chunked", *each) for each in ((1, 1), (3, 1), (8, 1), (20, 1), (2, 2), (2, 4))]]
forms = pytest.mark.parametrize("form", FORMS, ids=lambda f: "-".join(map(str, f)))
parts = pytest.mark.parametrize("parts", [1, 2], ids=["real", "complex"])
B, N = 2, 3


def numbers(rng, parts, steps):
    """a, b and the start, as lists of arrays; |a| around 1, so that products neither vanish nor explode."""
    a = [rng.normal(size=(steps, B, N)) * 0.7 for _ in range(parts)]
    b = [rng.normal(size=(steps, B, N)) for _ in range(parts)]
    return a, b, [rng.normal(size=(B, N)) for _ in range(parts)]


def as_complex(number):
    return number[0] if len(number) == 1 else number[0] + 1j * number[1]


def by_hand(a, b, start):
    """Every state by the definition, with NumPy's own complex numbers."""
    a, b, h = (as_complex(n) for n in (a, b, start))
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    states = np.stack(states)
    return [states] if np.isrealobj(states) else [states.real, states.imag]


def run(engine, form, a, b, start, **options):
    return engine.run(tensors(a), tensors(b), tensors(start), form, compiled=form[0] != "unrolled", **options)


@forms
@parts
@pytest.mark.parametrize("steps", few([13, 1, 8], 2))
def test_forms_are_the_definition(form, parts, steps, rng):
    a, b, start = numbers(rng, parts, steps)
    found = run(LinearEngine(), form, a, b, start)
    for one, want in zip(found, by_hand(a, b, start), strict=True):
        np.testing.assert_allclose(array(one), want, **EXACT)


def gradient_by_hand(a, b, start, cotangents):
    """The adjoint of the definition, step by step."""
    states, a, start = as_complex(by_hand(a, b, start)), as_complex(a), as_complex(start)
    d, g = as_complex(cotangents), 0.0 * start
    da, db = np.zeros_like(a), np.zeros_like(a)
    for t in reversed(range(len(a))):
        g = g + d[t]
        before = states[t - 1] if t else start
        da[t], db[t] = g * np.conj(before), g
        g = np.conj(a[t]) * g
    return [part for n in (da, db, g) for part in ([n] if np.isrealobj(n) else [n.real, n.imag])]


@forms
@parts
def test_gradients(form, parts, rng):
    a, b, start = numbers(rng, parts, 7)
    cotangents = [rng.normal(size=(7, B, N)) for _ in range(parts)]
    engine = LinearEngine()

    def loss(*flat):
        a, b, start = (list(flat[i * parts : (i + 1) * parts]) for i in range(3))
        states = engine.run(a, b, start, form, compiled=form[0] != "unrolled")
        return sum(ops.sum(s * tensor(c)) for s, c in zip(states, cotangents, strict=True))

    found = gradients(loss, tensors([*a, *b, *start]))
    for one, want in zip(found, gradient_by_hand(a, b, start, cotangents), strict=True):
        np.testing.assert_allclose(one, want, **EXACT)


def test_stable_over_many_steps_in_float32(rng):
    """Coefficients near 1 and near 0 over 16384 steps: every form stays at the float64 result."""
    steps = 16384
    a = 1 / (1 + np.exp(-rng.normal(size=(steps, 1, 2)) * 8))
    b, start = (1 - a) * rng.normal(size=a.shape), rng.normal(size=(1, 2))
    want = by_hand([a], [b], [start])[0]
    for form in (("loop",), ("chunked", 32, 2)) if BACKEND != "torch" else (("chunked", 128, 1),):
        (found,) = LinearEngine().run(*[[tensor(n, "float32")] for n in (a, b, start)], form)
        np.testing.assert_allclose(array(found), want, rtol=0, atol=2e-5)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow alone has shapes that are unknown while it traces")
def test_a_varying_length_compiles_few_programs(rng):
    import tensorflow as tf

    engine = LinearEngine()
    call = tf.function(
        lambda a, b, start: engine.run([a], [b], [start], ("chunked", 4, 1))[0],
        input_signature=[tf.TensorSpec((None, B, N), FLOAT)] * 2 + [tf.TensorSpec((B, N), FLOAT)],
    )
    for steps in (3, 9, 17):
        a, b, start = numbers(rng, 1, steps)
        np.testing.assert_allclose(array(call(a[0], b[0], start[0])), by_hand(a, b, start)[0], **EXACT)
    assert call.experimental_get_tracing_count() == 1
    assert keras.backend.backend() == "tensorflow"
