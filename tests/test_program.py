"""The programs of cells, run with NumPy, beside the step and its gradient in the backend."""

import functools

import keras
import numpy as np
import program_run
import pytest
from cases import BACKEND, CASES, array, randomized, shared, tensor
from catalogue import CATALOGUE
from keras import ops

import keras_rnnx
from keras_rnnx.base import reading
from keras_rnnx.engine.backends import backend
from keras_rnnx.native.program import OPERATIONS, Product, Untraceable, traced

pytestmark = pytest.mark.every_backend

TABLE = {case.name: case for case in [*CASES, *CATALOGUE] if issubclass(case.cell, keras_rnnx.Cell)}
# The cells that are no programs, by the reason.
UNTRACEABLE = {
    "reads the time between steps": "decay phased-lstm phased-lstm-blind time-lstm time-lstm-inverse gru-d gru-d-mask "
    "ltc ltc-random ltc-ncp cfc cfc-deep cfc-bare cfc-no-gate cfc-pure cfc-full-wiring cfc-ncp cfc-auto-ncp "
    "cfc-ncp-pure ode-rnn ode-rnn-midpoint ode-rnn-rk4 ode-rnn-vanilla",
    "has states of the sizes": "scrn-learned clockwork-rnn clockwork-rnn-two tau-gru tgru lstm-projected tlstm lmu "
    "lmu-euler lmu-linear",
    "has a recurrent product of the shape": "jordan deep-transition on-lstm-chunks",
    "has a recurrent product with diagonal": "ind-rnn ind-rnn-bounded indy-lstm indy-gru indy-gru-after unicornn "
    "unicornn-slow brc",
    "has a recurrent product with blocks": "slstm-heads",
    "uses the operation (Softmax|reduce_max)": "on-lstm",
}
WHY = {name: reason for reason, names in UNTRACEABLE.items() for name in names.split()}
# Activations that are programs.
ACTIVATIONS = (
    "relu relu6 leaky_relu elu selu silu softplus softsign log_sigmoid sigmoid hard_sigmoid hard_silu hard_tanh tanh "
    "exponential linear mish squareplus soft_shrink tanh_shrink"
).split()


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


ZEROS = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros"}  # the weights are drawn after all


def made(kind, rng, units=4, **options):
    """A cell of a kind with random weights."""
    layer = keras_rnnx.RNN(kind(units, dtype="float32", **ZEROS, **options), dtype="float32")
    layer.build((None, None, 3))
    return randomized(layer, rng).cell


def compare(cell, rng):
    """A cell's program beside its step, and beside the step's gradient."""
    program, shape = traced(cell), (5, cell.units)
    assert hash(program) == hash(traced(cell))

    def drawn(count):
        return [np.float32(rng.normal(size=shape)) for _ in range(count)]

    values = {name: array(v) for name, v in cell.values_of_vectors().items()}
    vectors = [values[name] for name in program.vectors]
    inputs, states, parts = drawn(program.inputs), drawn(program.states), drawn(len(program.dparts))
    dnew = drawn(program.states)
    dlefts = {k: drawn(1)[0] for k, product in enumerate(program.products) if product.state is None}

    args = {
        "inputs": inputs,
        "states": states,
        "parts": parts,
        "vectors": dict(zip(program.vectors, vectors, strict=True)),
    }
    args, cotangents = (
        keras.tree.map_structure(lambda a: tensor(a, "float32"), values)
        for values in (args, {"new": dnew, "lefts": list(dlefts.values())})
    )
    outputs, as_they_stand, pull = backend.vjp(functools.partial(flat_step, cell, program), args)
    expected = pull(cotangents)
    for k, state in as_they_stand.items():
        np.testing.assert_array_equal(array(state), states[program.products[k].state])

    lefts, new, kept = program_run.forward(program, vectors, inputs, states, parts)
    close([*lefts.values(), *new], [*outputs["lefts"], *outputs["new"]], 1e-6)
    dinputs, dparts, dstates, dvectors = program_run.backward(program, vectors, states, kept, dnew, dlefts)
    close([*dinputs, *dparts, *dstates], [*expected["inputs"], *expected["parts"], *expected["states"]], 1e-5)
    dvectors = [
        np.sum(d, axis=0) if v.shape == shape[1:] else np.sum(d) for d, v in zip(dvectors, vectors, strict=True)
    ]
    close(dvectors, [expected["vectors"][name] for name in program.vectors], 1e-5)
    return program


def flat_step(cell, program, args):
    """The step with products that are given, as a function of arrays alone."""
    lefts, states, waiting, products = [], {}, list(args["parts"]), iter(enumerate(program.products))

    def multiply(name, left, count):
        k, product = next(products)
        assert product.name == name
        if product.state is None:
            lefts.append(left)
        else:
            states[k] = left
        taken, waiting[:] = waiting[: product.parts], waiting[product.parts :]
        each = product.parts // count
        return [ops.concatenate(taken[i * each : (i + 1) * each], axis=-1) for i in range(count)]

    new = reading.engine_step(cell, {"inputs": args["inputs"]}, multiply, args["vectors"], *args["states"])
    return {"new": new, "lefts": lefts}, states


def close(found, expected, tolerance):
    for one, other in zip(found, expected, strict=True):
        other = array(other)
        scale = max(1.0, np.abs(other).max())
        np.testing.assert_allclose(one / scale, (other / scale).reshape(one.shape), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in WHY][:: 1 + (BACKEND == "jax")])
def test_cells(name, rng):
    options = {} if name.startswith("esn") else ZEROS  # whose matrix must have an eigenvalue
    compare(TABLE[name].built(rng, dtype="float32", **options).cell, rng)


@pytest.mark.parametrize("name", shared(WHY))
def test_cells_that_are_no_programs(name):
    case = TABLE[name]
    layer = case.make(case.units or 4, dtype="float32")
    if WHY[name].startswith(("has a", "uses")):  # the others are told from the options alone
        layer.build((None, None, 3))
    with pytest.raises(Untraceable, match=WHY[name]):
        traced(layer.cell)


@pytest.mark.parametrize("kind", [TwoProductsCell, ManyOperationsCell])
@pytest.mark.parametrize("units", [1, 3])
def test_cells_of_a_user(kind, units, rng):
    compare(made(kind, rng, units), rng)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(activation, rng):
    compare(made(keras_rnnx.VanillaRNNCell, rng, activation=activation), rng)


def test_lstm_keeps_little(rng):
    """What is kept of an LSTM: four gates, tanh(c), and the old c; one array is the cotangent of x W and of h U."""
    program = traced(made(keras_rnnx.LSTMCell, rng))
    assert (len(program.kept), program.before) == (5, (1,))
    assert program.dinputs == program.dparts
    assert program.products == (Product("recurrent", 4, 0, -1),)
    assert program.forward_crossing == ()
    names = [OPERATIONS[operation] for operation, *_ in program.forward[1].code]
    assert sorted(names) == ["add"] * 5 + ["multiply"] * 3 + ["sigmoid"] * 3 + ["tanh"] * 2


def test_a_tie_has_no_derivative(rng):
    program = traced(made(keras_rnnx.VanillaRNNCell, rng, activation="relu"))
    zero = [np.zeros((2, 4), "float32")]
    _, _, kept = program_run.forward(program, [], zero, zero, zero)
    dinputs, *_ = program_run.backward(program, [], zero, kept, [np.ones((2, 4), "float32")], {})
    np.testing.assert_array_equal(dinputs, [zero[0]])


def test_traced_while_something_else_is(rng):
    cell, found = made(TwoProductsCell, rng), []

    def function(x):
        found.append(traced(cell))
        return 2 * x

    backend.Region(function)(ops.ones((2,)))
    assert found == [traced(cell)] * len(found)
    assert found


def straight_through(x):
    return ops.custom_gradient(lambda a: (ops.round(a), lambda *args, upstream=None: upstream or args[0]))(x)


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        (lambda x, h: ops.cumsum(h, axis=-1), "uses the operation (Cumsum|cumsum)"),
        (lambda x, h: h + ops.concatenate([x.a[1:], x.a[:1]]), "mixes rows"),
        (lambda x, h: ops.concatenate([h[:, 1:], h[:, :1]], axis=-1) + x.a, "mixes units"),
        (lambda x, h: ops.concatenate([h[:, 1:], h[:, :1]], axis=-1), "moves rows or units"),
        (lambda x, h: ops.concatenate([h[:, :1], x.a[:, 1:]], axis=-1), "treats its units in different ways"),
        (lambda x, h: h * np.arange(4, dtype="float32"), "treats its units in different ways"),
        (lambda x, h: ops.cast(ops.cast(h, "int32"), "float32"), "computes in int32"),
        (lambda x, h: h * (1 + ops.abs(x.a)) ** 0.3, "uses a power with the exponent 0.3"),
        (lambda x, h: (1 + ops.abs(h)) ** x.a, "uses a power with the exponent that it computes"),
        (lambda x, h: straight_through(h), "has a gradient of its own"),
    ],
)
def test_steps_that_are_no_programs(step, reason, rng):
    kind = type("StepCell", (keras_rnnx.Cell,), {"GATES": "a", "step": lambda self, x, u, h: step(x, h + u.a(h))})
    with pytest.raises(Untraceable, match=reason):
        traced(made(kind, rng))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"normalization": "layer"}, r"reads an array of shape \(12,\)"),
        ({"recurrent_structure": "low_rank", "recurrent_rank": 2}, "has a recurrent product with left and right"),
    ],
)
def test_options_that_are_no_programs(options, reason, rng):
    with pytest.raises(Untraceable, match=reason):
        traced(made(keras_rnnx.GRUCell, rng, **options))
