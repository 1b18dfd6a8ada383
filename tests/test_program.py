"""The programs of cells, run with NumPy, beside the step and its gradient in the backend."""

import re

import keras
import numpy as np
import program_run
import pytest
from cases import CASES, array, randomized, tensor, tensors
from catalogue import CATALOGUE
from keras import ops

import keras_rnnx
from keras_rnnx.base import reading
from keras_rnnx.engine.backends import backend
from keras_rnnx.native.program import Untraceable, traced

pytestmark = pytest.mark.every_backend

TABLE = {case.name: case for case in [*CASES, *CATALOGUE] if issubclass(case.cell, keras_rnnx.Cell)}
# For each cell that is no program, why.
UNTRACEABLE = {}


class TwoProductsCell(keras_rnnx.Cell):
    """Two products, the second of what the first one made; a vector and a scalar."""

    GATES, RECURRENT_GATES, STATES, MATRICES, VECTORS = "z n", "z n", "h c", "V", "p"

    def build(self, input_shape):
        super().build(input_shape)
        self.add_vector("scale", (1,))
        self.check()

    def step(self, x, u, h, c):
        a = x + u(h)
        z = ops.sigmoid(a.z + u.p * c)
        mixed = u.scale * ops.tanh(a.n) * c + ops.softplus(u.p)
        c_new = z * c + (1 - z) * u.V(mixed)
        return ops.tanh(c_new) * z + 0.5 * mixed, c_new


class ManyOperationsCell(keras_rnnx.Cell):
    """What a step may consist of besides."""

    GATES, STATES, MATRICES = "a b", "h c", "V"

    def step(self, x, u, h, c):
        a, b = u(h)
        both = ops.reshape(ops.concatenate([x.a + a, x.b * b], axis=-1), (-1, 2, self.units))
        both = ops.stack([both[:, 1], both[:, 0]], axis=1)
        p, q = ops.tanh(both[:, 0]), ops.transpose(both, (1, 0, 2))[1]
        chosen = ops.where(ops.logical_and(p > 0.1, ops.logical_not(q <= c)), p**3 / (1 + q**2), ops.abs(p) ** 0.5)
        cut = ops.clip(q, -0.5, 0.7) + ops.minimum(p, c) * ops.maximum(q, h) - ops.cast(p != q, "float32")
        waves = ops.sin(p) * ops.cos(q) + ops.exp(-ops.square(p)) + ops.log(2 + p) + ops.log1p(ops.relu(q))
        steps = ops.floor(4 * p) + ops.ceil(3 * q) + ops.round(5 * c) + ops.sign(q) * p
        held = ops.stop_gradient(p * q) * c + ops.rsqrt(1 + ops.square(c)) + ops.expm1(p) + 1 / (2 + p)
        c_new = ops.split(u.V(ops.concatenate([cut], axis=-1)), 1, axis=-1)[0] / 3 + waves + 0.1 * steps
        return chosen * cut + ops.zeros_like(h), c_new - held + ops.ones_like(c)


@pytest.fixture(scope="module")
def built():
    """The layers of the table, by name."""
    rng = np.random.default_rng(3)
    return lambda name: TABLE[name].built(rng, dtype="float32")


def compare(cell, rng):
    """A cell's program beside its step, and beside the step's gradient."""
    program, shape = traced(cell), (5, cell.units)
    assert hash(program) == hash(traced(cell))

    def drawn(count):
        return [np.float32(rng.normal(size=shape)) for _ in range(count)]

    values = {name: array(v) for name, v in cell.values_of_vectors().items()}
    vectors = [values[name] for name in program.vectors]
    inputs, states, parts = drawn(program.inputs), drawn(program.states), drawn(len(program.dparts))
    asked = []

    def step(args):
        asked.clear()
        lefts, waiting = {}, list(args["parts"])

        def multiply(name, left, count):
            product = program.products[len(asked)]
            assert product.name == name
            if product.state is None:
                lefts[str(len(asked))] = left
            else:
                assert left is args["states"][product.state]
            asked.append(name)
            taken, waiting[:] = waiting[: product.parts], waiting[product.parts :]
            each = product.parts // count
            return [ops.concatenate(taken[i * each : (i + 1) * each], axis=-1) for i in range(count)]

        new = reading.engine_step(cell, {"inputs": args["inputs"]}, multiply, args["vectors"], *args["states"])
        return {"lefts": lefts, "new": new}, ()

    flat = {"inputs": inputs, "states": states, "parts": parts}
    args = {**{key: tensors(v, "float32") for key, v in flat.items()}, "vectors": {}}
    args["vectors"] = {name: tensor(v, "float32") for name, v in zip(program.vectors, vectors, strict=True)}
    outputs, _, pull = backend.vjp(step, args)
    lefts, new, kept = program_run.forward(program, vectors, inputs, states, parts)
    close([*lefts.values(), *new], [*outputs["lefts"].values(), *outputs["new"]], 1e-6)

    dnew, dlefts = drawn(program.states), {k: drawn(1)[0] for k in lefts}
    found = pull({"lefts": {str(k): tensor(d, "float32") for k, d in dlefts.items()}, "new": tensors(dnew, "float32")})
    dinputs, dparts, dstates, dvectors = program_run.backward(program, vectors, states, kept, dnew, dlefts)
    dvectors = [
        np.sum(d, axis=0) if v.shape == shape[1:] else np.sum(d) for d, v in zip(dvectors, vectors, strict=True)
    ]
    expected = [found["vectors"][name] for name in program.vectors]
    close([*dinputs, *dparts, *dstates], [*found["inputs"], *found["parts"], *found["states"]], 1e-5)
    close(dvectors, expected, 1e-5)
    return program


def close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        other = array(other)
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one / scale, (other / scale).reshape(one.shape), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in UNTRACEABLE])
def test_programs(name, built, rng):
    compare(built(name).cell, rng)
