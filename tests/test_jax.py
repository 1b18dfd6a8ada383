"""JAX alone: jit, grad, vmap of a stateless call, higher orders."""

import keras
import numpy as np
import pytest
from cases import BACKEND, BY_NAME, SINGLE, array, gradients, randomized, weighted

import keras_rnnx

if BACKEND != "jax":
    pytest.skip("needs the JAX backend", allow_module_level=True)
jax = pytest.importorskip("jax")

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 5, 3, 4
LINEAR = {
    "min-gru": keras_rnnx.MinGRU,
    "lru": keras_rnnx.LRU,
    "gla": keras_rnnx.GLA,
    "gated-delta-net": keras_rnnx.GatedDeltaNet,
}
NAMES = ["lstm", "gru-before", "long-memory", *LINEAR]


def built(name, rng, **options):
    if name not in LINEAR:
        return BY_NAME[name].built(rng, D, H, **options)
    layer = LINEAR[name](H, **options)
    layer.build((None, T, D))
    return randomized(layer, rng)


def pure(layer):
    """The layer as a pure function of its weights and inputs."""
    fixed = [v.value for v in layer.non_trainable_variables]

    def call(weights, x, **kwargs):
        return layer.stateless_call(weights, fixed, x, **kwargs)[0]

    return call, [w.value for w in layer.trainable_weights]


@pytest.mark.parametrize("name", NAMES)
def test_jit_and_grad_of_a_stateless_call(name, rng):
    layer = built(name, rng, return_sequences=True)
    call, weights = pure(layer)
    x, cotangent = np.float32(rng.normal(size=(B, T, D))), np.float32(rng.normal(size=(B, T, H)))
    np.testing.assert_allclose(jax.jit(call)(weights, x), array(layer(x)), **SINGLE)

    def loss(weights, x):
        return (call(weights, x) * cotangent).sum()

    dweights, dx = jax.jit(jax.grad(loss, argnums=(0, 1)))(weights, x)
    wanted = gradients(lambda x: weighted(layer(x), [cotangent]), [keras.ops.array(x)], layer.trainable_weights)
    for one, want in zip([dx, *dweights], wanted, strict=True):
        np.testing.assert_allclose(one, want, **SINGLE)


@pytest.mark.parametrize("name", NAMES)
def test_vmap_over_inputs_and_over_weights(name, rng):
    layer = built(name, rng)
    call, weights = pure(layer)
    x = np.float32(rng.normal(size=(3, B, T, D)))
    many = [np.float32(rng.normal(size=(3, *w.shape))) for w in weights]
    found = jax.vmap(call)(many, x)
    gradient = jax.vmap(jax.grad(lambda w, x: call(w, x).sum()))(many, x)
    for i in range(3):
        mine = [w[i] for w in many]
        np.testing.assert_allclose(found[i], call(mine, x[i]), **SINGLE)
        for one, want in zip(gradient, jax.grad(lambda w, x: call(w, x).sum())(mine, x[i]), strict=True):
            np.testing.assert_allclose(one[i], want, **SINGLE)


@pytest.mark.parametrize("name", ["lstm", *LINEAR])
def test_second_order_gradient(name, rng):
    """The engine's gradient can itself be differentiated: against central differences."""
    call, weights = pure(built(name, rng))
    x, direction = (np.float32(rng.normal(size=(B, T, D))) for _ in range(2))
    slope = jax.jit(jax.grad(lambda x: (call(weights, x) ** 2).sum()))
    curvature = jax.grad(lambda x: (slope(x) * direction).sum())(x)
    eps = 1e-2
    wanted = (slope(x + eps * direction) - slope(x - eps * direction)) / (2 * eps)
    np.testing.assert_allclose(curvature, wanted, rtol=0, atol=1e-3)


def test_draws_inside_jit_advance_the_seed(rng):
    layer = BY_NAME["lstm"].built(rng, D, H, dropout=0.5, recurrent_dropout=0.5, zoneout=0.3)
    weights = [w.value for w in layer.trainable_weights]
    call = jax.jit(lambda fixed, x: layer.stateless_call(weights, fixed, x, training=True))
    x = np.float32(rng.normal(size=(B, T, D)))
    fixed = [v.value for v in layer.non_trainable_variables]
    first, fixed = call(fixed, x)
    second, _ = call(fixed, x)
    assert np.abs(first - second).max() > 1e-3
