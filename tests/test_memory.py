"""Chunks of a matrix memory: the step-by-step definition, with documents, both kinds of decay and the delta rule."""

import numpy as np
import pytest
from cases import EXACT, array, gradients, tensor, tensors
from keras import ops

from keras_rnnx.engine import memory

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, N, L, K, V = 2, 2, 6, 3, 4
MEMORIES = {"scalar": memory.ScalarDecay, "delta": memory.DeltaRule, "vector": memory.VectorDecay}
DOCUMENTS = np.array([[0, 0, 0, 1, 1, 2], [1, 1, 1, 1, 1, 1]])
KINDS = tuple(MEMORIES)


def data(kind, rng):
    """The arrays of a chunk, by name, the state first."""
    found = {"memory": rng.normal(size=(B, N, K, V)), "q": rng.normal(size=(B, N, L, K))}
    found |= {"k": rng.normal(size=(B, N, L, K)), "v": rng.normal(size=(B, N, L, V))}
    found["log_decay"] = -rng.exponential(size=(B, N, L, K) if kind == "vector" else (B, N, L))
    if kind == "delta":
        found["beta"] = rng.uniform(size=(B, N, L))
    return found


def by_hand(documents, memory, q, k, v, log_decay, beta=None):
    """One row, one head and one step at a time."""
    y, last = np.zeros_like(v), np.zeros_like(memory)
    for b, n in np.ndindex(B, N):
        S = memory[b, n]
        for t in range(L):
            if documents[b, t] != (documents[b, t - 1] if t else 0):
                S = np.zeros_like(S)
            kept = np.exp(np.atleast_1d(log_decay[b, n, t]))[:, None] * S
            w = v[b, n, t] if beta is None else beta[b, n, t] * (v[b, n, t] - k[b, n, t] @ kept)
            S = kept + np.outer(k[b, n, t], w)
            y[b, n, t] = q[b, n, t] @ S
        last[b, n] = S
    return y, last


def run(kind, documents, values):
    chunks = memory.Chunks(ops.convert_to_tensor(documents, "int32")[None])
    parts = {name: a[None] for name, a in values.items() if name != "memory"}
    written = MEMORIES[kind].write(chunks, parts)
    shown, (last,) = MEMORIES[kind].carry({name: a[0] for name, a in written.items()}, values["memory"])
    return MEMORIES[kind].read(chunks, parts, written, *(s[None] for s in shown))[0], last


@pytest.mark.parametrize("documents", [np.zeros((B, L), int), DOCUMENTS], ids=["one", "documents"])
@pytest.mark.parametrize("kind", KINDS)
def test_chunk_is_its_steps(kind, documents, rng):
    values = data(kind, rng)
    found = run(kind, documents, {name: tensor(a) for name, a in values.items()})
    for one, want in zip(found, by_hand(documents, **values), strict=True):
        np.testing.assert_allclose(array(one), want, **EXACT)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_that_of_single_steps(kind, rng):
    """A chunk of L steps and L chunks of one step have the same derivatives."""
    values = data(kind, rng)
    names, cotangents = list(values), [rng.normal(size=(B, N, L, V)), rng.normal(size=(B, N, K, V))]

    def loss(*arrays):
        y, last = run(kind, DOCUMENTS, dict(zip(names, arrays, strict=True)))
        return ops.sum(y * tensor(cotangents[0])) + ops.sum(last * tensor(cotangents[1]))

    def stepwise(*arrays):
        given = dict(zip(names, arrays, strict=True))
        state, total = given.pop("memory"), 0.0
        for t in range(L):
            begins = DOCUMENTS[:, t] - (DOCUMENTS[:, t - 1] if t else 0)
            parts = {name: a[:, :, t : t + 1] for name, a in given.items()}
            y, state = run(kind, begins[:, None], {"memory": state, **parts})
            total = total + ops.sum(y * tensor(cotangents[0][:, :, t : t + 1]))
        return total + ops.sum(state * tensor(cotangents[1]))

    arrays = tensors(values.values())
    for one, other in zip(gradients(loss, arrays), gradients(stepwise, arrays), strict=True):
        np.testing.assert_allclose(one, other, **EXACT)


def test_the_delta_rule_stays_exact_for_equal_keys(rng):
    """Keys that are all alike and beta 1: the system is as far from the identity as it gets."""
    values = data("delta", rng)
    key = rng.normal(size=(B, N, 1, K))
    values["k"] = np.repeat(key / np.linalg.norm(key, axis=-1, keepdims=True), L, axis=2)
    values |= {"beta": np.ones((B, N, L)), "log_decay": np.zeros((B, N, L))}
    found = run("delta", DOCUMENTS, {name: tensor(a) for name, a in values.items()})
    for one, want in zip(found, by_hand(DOCUMENTS, **values), strict=True):
        np.testing.assert_allclose(array(one), want, **EXACT)
