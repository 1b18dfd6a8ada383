"""Windows of inputs: each step's last inputs, by a loop that keeps them in a list."""

import numpy as np
import pytest
from cases import DIFFERENCES, EXACT, array, gradients, outcome, tensor, weighted
from reference import numeric_gradient

import keras_rnnx
from keras_rnnx.cells.qrnn import QRNN
from keras_rnnx.engine.windows import window

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D = 3, 8, 2
MASK = np.array([[1, 0, 1, 1, 0, 1, 1, 1], [0, 1, 1, 0, 1, 0, 0, 0], [0] * 8], bool)
RESETS = np.array([[0, 1, 0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 1, 1, 0, 1], [0, 0, 1, 0, 0, 0, 0, 0]], bool)
FLAGS = {"none": {}, "mask": {"mask": MASK}, "resets": {"resets": RESETS}, "both": {"mask": MASK, "resets": RESETS}}
flags = pytest.mark.parametrize("flags", FLAGS)


def by_hand(x, before, mask=None, resets=None):
    """Windows (W, T, B, D), own input first, zero at masked steps; and the inputs (W - 1, B, D) to carry on."""
    mask = np.ones((B, T), bool) if mask is None else mask
    resets = np.zeros((B, T), bool) if resets is None else resets
    windows, ends = np.zeros((len(before) + 1, *x.shape)), np.zeros_like(before)
    for row in range(B):
        last = [before[j, row] for j in range(len(before))]  # the oldest first
        for t in range(len(x)):
            if resets[row, t]:
                last = [np.zeros(D)] * len(before)
            if mask[row, t]:
                last.append(x[t, row])
                windows[:, t, row] = last[::-1]
                last.pop(0)
        ends[:, row] = last
    return windows, ends


def found(x, before, given):
    """The same by `window`, with what means nothing put to zero."""
    shifts, ends = window(x, before, **{name: tensor(a.T, "bool") for name, a in given.items()})
    valid = given.get("mask", np.ones((B, T), bool)).T[..., None]
    return [s * tensor(valid * 1.0) for s in shifts], ends


@flags
@pytest.mark.parametrize("size", [2, 3, 12])
def test_loop(flags, size, rng):
    x, before = rng.normal(size=(T, B, D)), rng.normal(size=(size - 1, B, D))
    windows, ends = by_hand(x, before, **FLAGS[flags])
    shifts, carried = found(tensor(x), tensor(before), FLAGS[flags])
    assert len(shifts) == size
    for shift, want in zip(shifts, windows, strict=True):
        np.testing.assert_allclose(array(shift), want, **EXACT)
    np.testing.assert_allclose(array(carried), ends, **EXACT)


@flags
def test_gradients(flags, rng):
    x, before, given = rng.normal(size=(T, B, D)), rng.normal(size=(2, B, D)), FLAGS[flags]
    cotangents = [rng.normal(size=(T, B, D)) for _ in range(3)] + [rng.normal(size=(2, B, D))]

    def loss(x, before):
        shifts, ends = found(x, before, given)
        return weighted([*shifts, ends], cotangents)

    def loss_by_hand(x, before):
        windows, ends = by_hand(x, before, **given)
        return sum((r * c).sum() for r, c in zip([*windows, ends], cotangents, strict=True))

    wanted = numeric_gradient(loss_by_hand, [x, before])
    for one, want in zip(gradients(loss, [tensor(x), tensor(before)]), wanted, strict=True):
        np.testing.assert_allclose(one, want, **DIFFERENCES)


def layer(rng, **options):
    """A layer that reads windows, with random weights."""
    made = QRNN(4, window=3, dtype="float64" if EXACT["atol"] < 1e-8 else "float32", **options)
    made.build((None, None, D))
    made.set_weights([rng.normal(size=w.shape) for w in made.weights])
    return made


ALL = {"return_sequences": True, "return_state": True, "return_all_states": True}


@flags
@pytest.mark.parametrize("cut", [1, 5])
def test_a_carried_state_continues_the_sequence(flags, cut, rng):
    """Two chunks give what the whole gives, wherever the cut falls: at a masked step, or at a document's first one."""
    reader, x = layer(rng, **ALL), rng.normal(size=(B, T, D))
    given = FLAGS[flags]

    def call(part, state):
        more = {name: tensor(a[:, part], "bool") for name, a in given.items()}
        return reader(tensor(x[:, part]), initial_state=state, **more)

    start = [tensor(rng.normal(size=(B, n))) for n in reader.cell.state_sizes()]
    whole = outcome(call(slice(None), start))
    first = call(slice(cut), start)
    second = call(slice(cut, None), list(first[-2:]))
    valid = given.get("mask", np.ones((B, T), bool))[..., None]
    joined = [np.concatenate([array(a), array(b)], axis=1) for a, b in zip(first[:3], second[:3], strict=True)]
    np.testing.assert_allclose(joined[0] * valid, whole[0] * valid, **EXACT)
    for found_states, want in zip([*joined[1:], *outcome(second[3:])], whole[1:], strict=True):
        np.testing.assert_allclose(found_states, want, **EXACT)


def test_backwards_reads_the_windows_of_the_flipped_sequence(rng):
    """The valid steps, flipped by hand, give the same last output and states; padding changes nothing."""
    forwards, x = layer(rng, return_state=True), rng.normal(size=(1, T, D))
    backwards = layer(rng, return_state=True, go_backwards=True)
    backwards.set_weights(forwards.get_weights())
    valid = MASK[:1]
    wanted = outcome(forwards(tensor(x[:, valid[0]][:, ::-1].copy())))
    for one, want in zip(outcome(backwards(tensor(x), mask=tensor(valid, "bool"))), wanted, strict=True):
        np.testing.assert_allclose(one, want, **EXACT)


@flags
def test_tbptt_cuts_the_window_too(flags, rng):
    """The gradient is that of chunks whose carried state is a constant."""
    reader, x, given = layer(rng, **ALL), rng.normal(size=(B, T, D)), FLAGS[flags]
    cut = layer(rng, return_sequences=True, memory=("tbptt", 3))
    cut.set_weights(reader.get_weights())
    valid = given.get("mask", np.ones((B, T), bool))[..., None]
    cotangent = rng.normal(size=(B, T, 4)) * valid
    start = [tensor(rng.normal(size=(B, n))) for n in reader.cell.state_sizes()]

    def more(part):
        return {name: tensor(a[:, part], "bool") for name, a in given.items()}

    whole = slice(None)
    (found_gradient,) = gradients(
        lambda x: weighted(cut(x, initial_state=start, training=True, **more(whole)), [cotangent]), [tensor(x)]
    )
    wanted, state = [], start
    for first in range(0, T, 3):
        part = slice(first, first + 3)

        def loss(x, part=part, state=state):
            outputs = reader(x, initial_state=state, **more(part))[0]
            return weighted(outputs, [cotangent[:, part]])

        wanted += gradients(loss, [tensor(x[:, part])])
        state = [tensor(array(s)) for s in reader(tensor(x[:, part]), initial_state=state, **more(part))[-2:]]
    np.testing.assert_allclose(found_gradient, np.concatenate(wanted, axis=1), **EXACT)


def test_documents_do_not_see_each_other(rng):
    """Packed documents give what each gives alone, in both directions."""
    one, two = rng.normal(size=(1, 3, D)), rng.normal(size=(1, 5, D))
    packed, resets = np.concatenate([one, two], axis=1), np.zeros((1, T), bool)
    resets[0, 3] = True
    both = keras_rnnx.Bidirectional(layer(rng, return_sequences=True))
    both.build((None, None, D))
    both.set_weights([rng.normal(size=w.shape) for w in both.weights])
    together = array(both(tensor(packed), resets=tensor(resets, "bool")))
    alone = np.concatenate([array(both(tensor(one))), array(both(tensor(two)))], axis=1)
    np.testing.assert_allclose(together, alone, **EXACT)


def test_only_the_linear_state_is_learned(rng):
    reader = layer(rng, learn_initial_state=True)
    assert [w.name for w in reader.weights] == ["kernel", "bias", "initial_c"]
    c, x = reader.cell.get_initial_state(2)
    assert np.abs(array(c)).min() > 0 and np.abs(array(x)).max() == 0


def test_the_state_of_a_window_needs_the_features():
    with pytest.raises(ValueError, match="built"):
        _ = QRNN(4, window=2).cell.state_size
