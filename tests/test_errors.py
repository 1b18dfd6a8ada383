"""A wrong argument, rank, shape or value is a ValueError that says what was expected and received."""

import keras
import numpy as np
import pytest
from cases import BACKEND, BY_NAME, CASES, tensor
from keras import ops

import keras_rnnx

pytestmark = pytest.mark.every_backend

B, T, D, H = 2, 5, 3, 4
WRONG = [pytest.param(case, kwargs, word, id=f"{case}-{kwargs}") for case in CASES for kwargs, word in case.wrong]


@pytest.mark.core
@pytest.mark.parametrize("case, kwargs, word", WRONG)
def test_wrong_argument_of_a_cell(case, kwargs, word):
    kwargs = {"units": H, **kwargs}
    with pytest.raises(ValueError, match=rf"Expected .*{word}.*Received: "):
        case.make(**kwargs)


@pytest.mark.parametrize(
    "structure, word",
    [
        ({"recurrent_structure": "block"}, "recurrent_blocks"),
        ({"recurrent_structure": "block", "recurrent_blocks": 3}, "recurrent_blocks"),
        ({"recurrent_structure": "block", "recurrent_blocks": -2}, "recurrent_blocks"),
        ({"recurrent_structure": "low_rank"}, "recurrent_rank"),
        ({"recurrent_structure": "low_rank", "recurrent_rank": 5}, "recurrent_rank"),
        ({"recurrent_structure": "low_rank", "recurrent_rank": -1}, "recurrent_rank"),
    ],
    ids=str,
)
def test_structure_that_does_not_fit(structure, word):
    with pytest.raises(ValueError, match=rf"Expected .*{word}.*Received: "):
        keras_rnnx.GRU(H, **structure).build((None, None, D))


@pytest.mark.parametrize("outputs, structure", [(2, "diagonal"), (3, "diagonal"), (2, "block")])
def test_jordan_with_a_matrix_that_cannot_have_the_structure(outputs, structure):
    """U takes 2 or 3 outputs to 5 or 4 units: neither diagonal nor of two equal blocks."""
    options = {"recurrent_structure": structure, "recurrent_blocks": 2}
    units = 5 if structure == "block" else 4
    with pytest.raises(ValueError, match="Expected .*Received: "):
        layer = keras_rnnx.VanillaRNN(units, output_units=outputs, feedback="output", **options)
        layer.build((None, None, D))


@pytest.mark.parametrize(
    "memory",
    ["keep", "remat", ("remat",), ("remat", 0), ("tbptt", -1), ("tbptt", 2.0), ("remat", True), ("store", 2), 3, None],
    ids=str,
)
def test_wrong_memory(memory):
    with pytest.raises(ValueError, match="Expected `memory`.*Received: "):
        keras_rnnx.LSTM(H, memory=memory)


@pytest.mark.parametrize("clip", [0, -1.0])
def test_wrong_recurrent_clip(clip):
    with pytest.raises(ValueError, match="Expected `recurrent_clip`.*Received: "):
        keras_rnnx.LSTM(H, recurrent_clip=clip)


@pytest.mark.parametrize(
    "cell", [3, "lstm", keras.layers.Dense(3), [], [4]], ids=["int", "str", "Dense", "none", "list"]
)
def test_what_is_no_cell(cell):
    with pytest.raises(ValueError, match="Expected .*cell.*Received: "):
        keras_rnnx.RNN(cell)


CALLS = {
    "no-steps": ((B, 0, D), {}, "at least one time step"),
    "rank-2": ((B, D), {}, r"shape \(batch, time, features\)"),
    "rank-4": ((B, T, D, 1), {}, r"shape \(batch, time, features\)"),
    "features": ((B, T, D + 1), {}, "input features"),
    "mask-steps": ((B, T, D), {"mask": ((B, T - 1), "bool")}, "`mask`"),
    "mask-batch": ((B, T, D), {"mask": ((B + 1, T), "bool")}, "`mask`"),
    "mask-rank-1": ((B, T, D), {"mask": ((B,), "bool")}, "`mask`"),
    "mask-rank-3": ((B, T, D), {"mask": ((B, T, 2), "bool")}, "`mask`"),
    "mask-transposed": ((B, T, D), {"mask": ((T, B), "bool")}, "`mask`"),
    "resets": ((B, T, D), {"resets": ((B, T + 1), "bool")}, "`resets`"),
    "lengths-rank": ((B, T, D), {"lengths": ((B, 1), "int32")}, "`lengths`"),
    "lengths-dtype": ((B, T, D), {"lengths": ((B,), "float32")}, "`lengths`"),
    "lengths-batch": ((B, T, D), {"lengths": ((B + 1,), "int32")}, "`lengths`"),
    "state-size": ((B, T, D), {"initial_state": [((B, H), "float32"), ((B, H + 1), "float32")]}, "`initial_state`"),
    "state-batch": ((B, T, D), {"initial_state": [((B + 1, H), "float32")] * 2}, "`initial_state`"),
    "state-count": ((B, T, D), {"initial_state": [((B, H), "float32")]}, "`initial_state`"),
    "state-rank": ((B, T, D), {"initial_state": [((H,), "float32")] * 2}, "`initial_state`"),
}


@pytest.fixture(scope="module")
def layer():
    layer = keras_rnnx.LSTM(H)
    layer.build((None, None, D))
    return layer


def filled(spec):
    if isinstance(spec, list):
        return [filled(s) for s in spec]
    shape, dtype = spec
    return ops.ones(shape, dtype)


@pytest.mark.core
@pytest.mark.parametrize("name", CALLS)
def test_wrong_call(layer, name):
    shape, call, word = CALLS[name]
    with pytest.raises(ValueError, match=rf"Expected .*{word}.*Received: "):
        layer(ops.ones(shape), **{n: filled(spec) for n, spec in call.items()})


SYMBOLIC = ["no-steps", "rank-2", "features", "mask-steps", "mask-rank-1", "resets", "state-size", "state-count"]


@pytest.mark.parametrize("name", SYMBOLIC)
def test_wrong_symbolic_call(layer, name):
    """Raised while the model is put together, not when it runs."""
    shape, call, word = CALLS[name]

    def symbol(spec):
        if isinstance(spec, list):
            return [symbol(s) for s in spec]
        return keras.Input(batch_shape=spec[0], dtype=spec[1])

    with pytest.raises(ValueError, match=rf"Expected .*{word}.*Received: "):
        layer(keras.Input(batch_shape=shape), **{n: symbol(spec) for n, spec in call.items()})


@pytest.mark.core
@pytest.mark.parametrize("lengths", [[T + 1, 2], [-1, 2]], ids=str)
def test_lengths_out_of_range(layer, lengths):
    with pytest.raises(ValueError, match=f"Expected 0 <= lengths <= time = {T}. Received: "):
        layer(ops.ones((B, T, D)), lengths=tensor(lengths, "int32"))


@pytest.mark.skipif(BACKEND != "tensorflow", reason="only TensorFlow has a time axis of unknown length")
def test_unroll_needs_known_steps():
    with pytest.raises(ValueError, match="known number of steps"):
        keras_rnnx.LSTM(H, unroll=True)(keras.Input((None, D)))


def test_features_must_be_known():
    with pytest.raises(ValueError, match="last axis"):
        keras_rnnx.LSTM(H)(keras.Input((T, None)))


def test_stateful_needs_a_known_batch():
    with pytest.raises(ValueError, match="known batch size"):
        keras_rnnx.LSTM(H, stateful=True)(keras.Input((T, D)))


def test_reset_state_with_another_number_of_states():
    layer = keras_rnnx.LSTM(H, stateful=True)
    layer(ops.ones((B, T, D)))
    with pytest.raises(ValueError, match="Expected 2 states. Received: 1"):
        layer.reset_state([np.zeros((B, H))])


def test_dropout_needs_the_whole_sequence():
    cell = keras_rnnx.GRUCell(H, dropout=0.5)
    cell.build((None, D))
    with pytest.raises(ValueError, match="dropout"):
        cell(ops.ones((B, D)), [ops.ones((B, H))], training=True)


# ---- cells that a user writes ----


def cell_of(step, **attributes):
    body = {"GATES": "a b", "STATES": "h", **attributes, "step": step}
    return type("Wrong", (keras_rnnx.Cell,), body)(H)


def reads_a_variable(self, x, u, h):
    return x.a + u.a(h) + ops.mean(self.kernel)


STEPS = {
    "variable": (reads_a_variable, {}, "reads the variable"),
    "too-many": (lambda self, x, u, h: (x.a, x.b), {}, "to return the states"),
    "too-few": (lambda self, x, u, h, c: x.a, {"STATES": "h c"}, "to return the states"),
    "shape": (lambda self, x, u, h: x.array, {}, "to return the states"),
}


@pytest.mark.core
@pytest.mark.parametrize("name", STEPS)
def test_wrong_step(name):
    step, attributes, message = STEPS[name]
    with pytest.raises(ValueError, match=message):
        keras_rnnx.RNN(cell_of(step, **attributes)).build((None, None, D))


@pytest.mark.parametrize(
    "step, error",
    [
        (lambda self, x, u, h: x.c, AttributeError),
        (lambda self, x, u, h: u.c(h), AttributeError),
        (lambda self, x, u, h: (x + x.split("a", "b")[0]).a, ValueError),
        (lambda self, x, u, h: x.split("b", "a")[0].b, ValueError),
        (lambda self, x, u, h: u.take("b", "a")(h).a, ValueError),
    ],
    ids=["no-such-gate", "no-such-product", "other-gates", "order-of-split", "order-of-take"],
)
def test_wrong_names_in_a_step(step, error):
    with pytest.raises(error, match="Expected .*Received: "):
        keras_rnnx.RNN(cell_of(step)).build((None, None, D))


def test_a_cell_without_step_says_so():
    class Empty(keras_rnnx.Cell):
        GATES = "a"

    with pytest.raises(NotImplementedError, match="step"):
        keras_rnnx.RNN(Empty(H)).build((None, None, D))


@pytest.mark.parametrize("name", ["lstm", "gru-before", "long-memory"])
def test_nan_stays_in_its_row(name, rng):
    """No check hides it, no row sees another's."""
    layer = BY_NAME[name].built(rng, D, H)
    x = rng.normal(size=(B, T, D))
    x[0, 1] = np.nan
    outputs = ops.convert_to_numpy(layer(tensor(x)))
    assert np.isnan(outputs[0]).all()
    assert np.isfinite(outputs[1]).all()
