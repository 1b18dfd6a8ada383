"""Parts of the engine by themselves: gates, products, order of masks, paths, what a loop asks for."""

import keras
import numpy as np
import pytest
from cases import BACKEND, BY_NAME, CASES, DOUBLE, EXACT, FLOAT, array, gradients, tensor, tensors
from keras import ops
from reference import recurrent
from reference.activations import sigmoid

import keras_rnnx
from keras_rnnx.base.interface import Reading
from keras_rnnx.engine import gates, masks, paths, products
from keras_rnnx.engine.gates import Gates
from keras_rnnx.native import library

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 5, 3, 4


# ---- gates ----


def test_gates_are_columns_with_names(rng):
    values = np.float32(rng.normal(size=(B, 3 * H)))
    made = Gates(tensor(values, "float32"), "z r n".split())
    for name, want in zip("zrn", np.split(values, 3, axis=-1), strict=True):
        np.testing.assert_array_equal(array(getattr(made, name)), want)
    both, last = made.split("z r", "n")
    pieces = Gates([getattr(made, name) for name in "zrn"], "z r n".split())
    np.testing.assert_array_equal(array(pieces.array), values)
    np.testing.assert_array_equal(array(both.array), values[:, : 2 * H])
    np.testing.assert_array_equal(array(both.r), values[:, H : 2 * H])
    np.testing.assert_array_equal(array(last.n), values[:, 2 * H :])
    assert [array(g).tolist() for g in made] == [v.tolist() for v in np.split(values, 3, axis=-1)]


def test_arithmetic_of_gates(rng):
    a, b = rng.normal(size=(2, B, 2 * H))
    one, other = Gates(tensor(a), ("f", "n")), Gates(tensor(b), ("f", "n"))
    for found, want in [
        (one + other, a + b),
        (one + tensor(b), a + b),
        (one * tensor(b[:, :1]), a * b[:, :1]),
        (one.map(ops.square), a**2),
        (one - other, a - b),
        (one * other, a * b),
        (one + 1.5, a + 1.5),
        (2 * one, 2 * a),
    ]:
        np.testing.assert_allclose(array(found.array), want, **EXACT)
        assert found.names == ("f", "n")


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu"])
def test_activated(name, rng):
    """However it is computed, and with its gradient."""
    by_name = {"sigmoid": sigmoid, "tanh": np.tanh, "relu": lambda v: np.maximum(v, 0)}
    values, function = rng.normal(size=(B, 2 * H)) * 3, keras.activations.get(name)
    found = array(gates.activated(function, tensor(values)))
    np.testing.assert_allclose(found, by_name[name](values), rtol=0, atol=max(EXACT["atol"], 1e-7))
    (found,) = gradients(lambda a: ops.sum(gates.activated(function, a) ** 2), [tensor(values)])
    (wanted,) = gradients(lambda a: ops.sum(function(a) ** 2), [tensor(values)])
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)


# ---- products ----


@pytest.mark.parametrize("wanted", [None, ("z",), ("r", "n"), ("n",)], ids=str)
def test_products_are_those_of_the_twin(wanted, rng):
    names, left = ("z", "r", "n"), rng.normal(size=(B, H))
    A, right = rng.normal(size=(H, 2)), rng.normal(size=(2, 3 * H))
    blocks = rng.normal(size=(2, H // 2, 3 * H // 2))
    U, u = rng.normal(size=(H, 3 * H)), rng.normal(size=(3 * H,))
    kinds = [
        ({"kernel": U}, recurrent(left, U)),
        ({"diagonal": u}, recurrent(left, u, "diagonal")),
        ({"blocks": blocks}, recurrent(left, blocks, "block")),
        ({"left": A, "right": right}, recurrent(left, (A, right), "low_rank")),
        ({"kernel": U, "bias": u}, recurrent(left, U) + u),
    ]
    for weights, want in kinds:
        weights = {key: tensor(a) for key, a in weights.items()}
        found = products.apply(products.columns(weights, names, wanted), tensor(left), FLOAT)
        columns = np.split(want, 3, axis=-1)
        want = np.concatenate([columns[names.index(n)] for n in wanted or names], axis=-1)
        np.testing.assert_allclose(array(found), want, **EXACT)


# ---- masks ----


def test_reorder_by_hand():
    """Position t of the walk made 10 t: the j-th valid position gets the j-th output, a masked one repeats."""
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]], bool)
    walked = tensor(np.tile([0.0, 10, 20, 30], (4, 1))[..., None])
    found = array(masks.reorder(walked, tensor(mask, "bool"), tensor(np.full((4, 1), 7.0))))[..., 0]
    assert found.tolist() == [[30, 30, 20, 0], [7, 7, 7, 7], [30, 20, 10, 0], [7, 20, 10, 10]]
    assert array(masks.reorder(walked, None))[0, :, 0].tolist() == [30, 20, 10, 0]


def test_lengths_as_a_mask():
    mask = array(masks.from_lengths(tensor([0, 2, 3], "int32"), (3, 3)))
    assert mask.tolist() == [[False] * 3, [True, True, False], [True] * 3]


# ---- paths: from the configuration alone ----

LOOP = {"tensorflow": "xla loop", "jax": "xla loop", "torch": "python loop"}[BACKEND]
NATIVE = "native" if library.problem() is None else LOOP
FUSED = "torch fused" if BACKEND == "torch" else NATIVE
CHUNKED = {"tensorflow": "xla loop", "jax": "xla loop", "torch": "chunked"}[BACKEND]
LINEAR = "native" if library.problem() is None else CHUNKED


def path(layer, **how):
    layer.build((None, None, D))
    return layer.cell.path(Reading(memory=layer.memory, clip=layer.recurrent_clip, unroll=layer.unroll, **how))


@pytest.mark.core
@pytest.mark.parametrize(
    "layer, how, name",
    [
        (keras_rnnx.LSTM(H), {}, FUSED),
        (keras_rnnx.LSTM(H, use_bias=False), {}, FUSED),
        (keras_rnnx.GRU(H), {}, FUSED),
        (keras_rnnx.VanillaRNN(H, "relu"), {}, FUSED),
        (keras_rnnx.VanillaRNN(H, output_units=2), {}, FUSED),
        (keras_rnnx.LSTM(H, dropout=0.5), {"training": True}, FUSED),
        (keras_rnnx.LSTM(H, recurrent_dropout=0.5), {"training": True}, NATIVE),
        (keras_rnnx.LSTM(H, recurrent_dropout=0.5), {"training": False}, FUSED),
        (keras_rnnx.LSTM(H), {"mask": True}, NATIVE),
        (keras_rnnx.LSTM(H), {"resets": True}, NATIVE),
        (keras_rnnx.LSTM(H), {"emit": "states"}, NATIVE),
        (keras_rnnx.GRU(H), {"emit": "states"}, FUSED),
        (keras_rnnx.LSTM(H, "relu"), {}, NATIVE),
        (keras_rnnx.GRU(H, reset_after=False), {}, NATIVE),
        (keras_rnnx.LSTM(H, zoneout=0.1), {}, NATIVE),
        (keras_rnnx.LSTM(H, normalization="rms"), {}, LOOP),
        (keras_rnnx.LSTM(H, recurrent_structure="diagonal"), {}, LOOP),
        (keras_rnnx.LSTM(H, memory=("remat", 2)), {}, NATIVE),
        (keras_rnnx.LSTM(H, memory=("tbptt", 2)), {}, NATIVE),
        (keras_rnnx.LSTM(H, recurrent_clip=1.0), {}, LOOP),
        (keras_rnnx.VanillaRNN(H, output_units=2, feedback="output"), {}, LOOP),
        (keras_rnnx.LSTM(H, dtype="mixed_bfloat16"), {}, NATIVE),
        (keras_rnnx.LSTM(H, unroll=True), {}, "unrolled"),
        (keras_rnnx.MinGRU(H), {}, LINEAR),
        (keras_rnnx.LRU(H, dtype="mixed_bfloat16"), {"training": True}, LINEAR),
        (keras_rnnx.LRU(H, memory=("remat", 2)), {"mask": True}, LINEAR),
        (keras_rnnx.MinGRU(H, dtype=FLOAT), {}, CHUNKED if DOUBLE else LINEAR),
        (keras_rnnx.MinGRU(H, recurrent_clip=1.0), {}, {"chunked": "loop"}.get(CHUNKED, CHUNKED)),
        (keras_rnnx.MinGRU(H, unroll=True), {}, "unrolled"),
    ],
)
def test_path(layer, how, name):
    found = path(layer, **how)
    assert found.name == name and found.why


def test_a_path_says_what_a_faster_one_lacks():
    found = paths.choose(keras_rnnx.LSTMCell(H).fused(), ["masks", "zoneout"], unroll=False)
    if BACKEND == "torch":
        assert "masks" in found.why and "zoneout" in found.why
    assert found.name == LOOP


# ---- a step is traced, not run: each product is asked for once ----


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operands_of_a_step(case):
    widths = {
        "jordan": (3, 4),
        "gru-before": (4, 4),
        "mgu": (4, 4),
        "long-memory": (4, 4),
        "deep-transition": (4, 3, 2, 4),
    }
    layer = case.make(H)
    layer.build((None, None, D))
    assert layer.cell.operands == widths.get(case.name, (4,))


@pytest.mark.core
def test_a_step_may_use_one_matrix_twice(rng):
    """Gates taken one by one, in any grouping, are the same step: outputs and all gradients."""

    class Apart(keras_rnnx.LSTMCell):
        def step(self, x, u, h, c):
            i, g = self.recurrent_activation(x.i + u.i(h)), self.activation(x.g + u.g(1.0 * h))
            f, o = self.recurrent_activation(x.f + u.f(h)), self.recurrent_activation(x.o + u(h).o)
            c_new = f * c + i * g
            return o * self.activation(c_new), c_new

    layer = keras_rnnx.RNN(Apart(H, dtype="float32"), return_sequences=True)
    plain = BY_NAME["lstm"].built(rng, D, H, dtype="float32", return_sequences=True)
    layer.build((None, None, D))
    layer.set_weights(plain.get_weights())
    x = tensors([rng.normal(size=(B, T, D))], "float32")
    one = gradients(lambda x: ops.sum(layer(x) ** 2), x, layer.trainable_weights)
    other = gradients(lambda x: ops.sum(plain(x) ** 2), x, plain.trainable_weights)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_calls_with_and_without_resets_take_turns(rng):
    """A reset changes which left operands are states; a compiled call of the one kind must not see the other's."""
    layer = keras_rnnx.GRU(3, return_sequences=True)
    x = ops.convert_to_tensor(rng.normal(size=(2, 5, 3)).astype("float32"))
    resets = ops.convert_to_tensor(rng.random((2, 5)) < 0.4)
    layer(x)

    def gradient(**call):
        return gradients(lambda x: ops.sum(ops.sin(layer(x, training=True, **call))), [x])[0]

    first, second = gradient(), gradient(resets=resets)
    np.testing.assert_array_equal(gradient(), first)
    np.testing.assert_array_equal(gradient(resets=resets), second)
    assert np.abs(first - second).max() > 1e-3
