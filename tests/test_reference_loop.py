"""The NumPy time loop and the numeric gradient, by hand and against torch autograd."""

from functools import partial

import numpy as np
import pytest
from reference import gru, lstm, numeric_gradient, run
from reference.loop import intervals

B, T, D, H = 3, 7, 4, 6
EXACT = {"rtol": 0, "atol": 1e-10}
MASK = np.array([[1, 1, 0, 1, 0, 1, 1], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0]], bool)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def weights(rng, gates):
    shapes = {"kernel": (D, gates * H), "recurrent_kernel": (H, gates * H), "bias": (gates * H,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def sequence(rng, states=1):
    return rng.normal(size=(B, T, D)), [rng.normal(size=(B, H)) for _ in range(states)]


def append_digit(x, h):
    """Write the digit x behind the number h, so that a state spells what was read."""
    return (10 * h + x,)


DIGITS = np.array([[1, 2, 3, 4]], float)[..., None]


def spell(**options):
    (history,), (final,) = run(append_digit, DIGITS, [np.zeros((1, 1))], **options)
    assert final[0, 0] == history[0, -1, 0]
    return history[0, :, 0].tolist()


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [1, 12, 123, 1234]),
        ({"mask": [[0, 1, 0, 1]]}, [0, 2, 2, 24]),
        ({"mask": [[0, 0, 0, 0]]}, [0, 0, 0, 0]),
        ({"go_backwards": True}, [4, 43, 432, 4321]),
        ({"go_backwards": True, "mask": [[1, 0, 1, 1]]}, [4, 4, 43, 431]),
        ({"go_backwards": True, "mask": [[1, 1, 0, 0]]}, [2, 21, 21, 21]),
        ({"resets": [[0, 0, 1, 0]]}, [1, 12, 3, 34]),
        ({"resets": [[1, 0, 0, 1]], "reset_state": [[7]]}, [71, 712, 7123, 74]),
        ({"resets": [[0, 0, 1, 0]], "mask": [[1, 1, 0, 1]]}, [1, 12, 0, 4]),
        ({"resets": [[0, 0, 1, 0]], "go_backwards": True}, [4, 43, 2, 21]),
        ({"resets": [[1, 0, 0, 1]], "go_backwards": True}, [4, 3, 32, 321]),
        ({"resets": [[0, 0, 1, 0]], "mask": [[1, 1, 0, 1]], "go_backwards": True}, [4, 2, 2, 21]),
    ],
)
def test_loop_by_hand(options, expected):
    assert spell(**options) == expected


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, {0: 1, 1: 2, 2: 3, 3: 4}),
        ({"go_backwards": True}, {3: 1, 2: 4, 1: 3, 0: 2}),
        ({"valid": [1, 0, 1, 1], "go_backwards": True}, {3: 1, 2: 4, 0: 3}),
        ({"valid": [0, 1, 1, 0], "go_backwards": True}, {2: 2, 1: 3}),
        ({"starts": [0, 0, 1, 0], "go_backwards": True}, {3: 3, 2: 4, 1: 1, 0: 2}),
        ({"starts": [1, 0, 0, 1], "valid": [1, 1, 0, 1], "go_backwards": True}, {3: 4, 1: 1, 0: 2}),
    ],
)
def test_intervals_by_hand(options, expected):
    """Deltas 1 2 3 4."""
    given = {"valid": [1] * 4, "starts": [0] * 4, "go_backwards": False, **options}
    assert intervals([1, 2, 3, 4], **given) == expected


def test_zoneout_by_hand():
    draws = [np.array([[0, 1, 0, 1]], bool)[..., None]]
    assert spell(zoneout=[0.5], zoneout_draws=draws, training=True) == [1, 1, 13, 13]
    # 0.25 old + 0.75 (10 old + x), from 0: 0.75, then 7.75 times the last plus 0.75 x
    assert spell(zoneout=[0.25])[:2] == [0.75, 7.3125]
    masked = spell(zoneout=[0.25], mask=[[1, 0, 0, 1]])
    assert masked == [0.75, 0.75, 0.75, 7.75 * 0.75 + 0.75 * 4]


def test_draws_belong_to_their_time_step_also_backwards():
    draws = [np.array([[0, 1, 0, 0]], bool)[..., None]]
    options = {"zoneout": [0.5], "zoneout_draws": draws, "training": True}
    assert spell(go_backwards=True, **options) == [4, 43, 43, 431]

    def read(x, h, left_masks):
        return (10 * h * left_masks[0] + x,)

    left = np.array([[1, 0, 1, 1]], float)[..., None]
    (history,), _ = run(read, DIGITS, [np.zeros((1, 1))], left_masks=[left], go_backwards=True)
    assert history[0, :, 0].tolist() == [4, 43, 2, 21]


def test_zoneout_of_one_state_leaves_the_other(rng):
    w = weights(rng, 4)
    x, (h0, c0) = sequence(rng, 2)
    keep_c = [None, np.ones((B, T, H), bool)]
    step = partial(lstm.step, w)
    (h_all, c_all), _ = run(step, x, [h0, c0], zoneout=[0.0, 0.5], zoneout_draws=keep_c, training=True)
    np.testing.assert_array_equal(c_all, np.repeat(c0[:, None], T, axis=1))
    np.testing.assert_allclose(h_all[:, 0], step(x[:, 0], h0, c0)[0], **EXACT)


def test_zoneout_in_training_needs_draws():
    with pytest.raises(ValueError, match="zoneout_draws"):
        spell(zoneout=[0.5], training=True)


@pytest.mark.parametrize("go_backwards", [False, True])
def test_masked_batch_is_each_sequence_alone(rng, go_backwards):
    w = weights(rng, 4)
    x, state = sequence(rng, 2)
    step = partial(lstm.step, w)
    history, final = run(step, x, state, mask=MASK, go_backwards=go_backwards)
    for row, valid in enumerate(MASK):
        short = x[row : row + 1, valid][:, :: -1 if go_backwards else 1]
        alone, last = run(step, short, [s[row : row + 1] for s in state])
        for s in range(2):
            np.testing.assert_allclose(history[s][row, valid], alone[s][0], **EXACT)
            np.testing.assert_allclose(final[s][row], last[s][0], **EXACT)


def test_reset_splits_the_sequence(rng):
    w = weights(rng, 3)
    x, (h0,) = sequence(rng)
    own = rng.normal(size=H)
    resets = np.zeros((B, T), bool)
    resets[:, 4] = True
    step = partial(gru.step, w, reset_after=False)
    (h_all,), _ = run(step, x, [h0], resets=resets, reset_state=[own])
    (first,), _ = run(step, x[:, :4], [h0])
    (second,), _ = run(step, x[:, 4:], [np.tile(own, (B, 1))])
    np.testing.assert_allclose(h_all, np.concatenate([first, second], axis=1), **EXACT)


def test_left_masks_follow_row_and_step(rng):
    w = weights(rng, 4)
    x, (h0, c0) = sequence(rng, 2)
    m = rng.normal(size=(B, T, H))
    (h_all, _), _ = run(partial(lstm.step, w), x, [h0, c0], left_masks=[m])
    h, c = h0, c0
    for t in range(T):
        h, c = lstm.step(w, x[:, t], h, c, left_masks=[m[:, t]])
        np.testing.assert_allclose(h_all[:, t], h, **EXACT)


def test_arguments_are_not_changed(rng):
    w = weights(rng, 3)
    x, (h0,) = sequence(rng)
    before = x.copy(), h0.copy()
    run(partial(gru.step, w, reset_after=False), x, [h0], mask=MASK, go_backwards=True)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(h0, before[1])


def test_numeric_gradient_of_a_polynomial(rng):
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3,))
    da, db = numeric_gradient(lambda a, b: (a**3 * b).sum(), [a, b])
    np.testing.assert_allclose(da, 3 * a**2 * b, rtol=0, atol=1e-8)
    np.testing.assert_allclose(db, (a**3).sum(axis=0), rtol=0, atol=1e-8)


def test_numeric_gradient_through_time_is_torch_autograd(rng):
    torch = pytest.importorskip("torch")
    w = {name: 0.5 * a for name, a in weights(rng, 4).items()}
    x, (h0, c0) = sequence(rng, 2)
    cotangent = rng.normal(size=(B, T, H))

    def loss(x, recurrent_kernel):
        step = partial(lstm.step, w | {"recurrent_kernel": recurrent_kernel})
        return (run(step, x, [h0, c0])[0][0] * cotangent).sum()

    x, U = x[:, :3], w["recurrent_kernel"]
    cotangent = cotangent[:, :3]
    dx, dU = numeric_gradient(loss, [x, U])

    layer = torch.nn.LSTM(D, H, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(w["kernel"].T))
        layer.weight_hh_l0.copy_(torch.tensor(U.T))
        layer.bias_ih_l0.copy_(torch.tensor(w["bias"]))
        layer.bias_hh_l0.zero_()
    x_torch = torch.tensor(x, requires_grad=True)
    y, _ = layer(x_torch, (torch.tensor(h0)[None], torch.tensor(c0)[None]))
    (y * torch.tensor(cotangent)).sum().backward()
    np.testing.assert_allclose(dx, x_torch.grad, rtol=0, atol=1e-8)
    np.testing.assert_allclose(dU, layer.weight_hh_l0.grad.numpy().T, rtol=0, atol=1e-8)
