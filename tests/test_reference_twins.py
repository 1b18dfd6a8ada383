"""The NumPy cells and products against torch.nn, keras.layers and cases by hand."""

from functools import partial

import numpy as np
import pytest
from reference import deep_transition, gru, lstm, recurrent, run, split, vanilla
from reference.activations import linear, relu, sigmoid, softmax
from reference.products import normalize

B, T, D, H = 3, 7, 4, 6
EXACT = {"rtol": 0, "atol": 1e-10}
MASK = np.array([[1, 1, 0, 1, 0, 1, 1], [0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0]], bool)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def weights(rng, gates, bias_rows=None, output=None):
    bias_shape = (gates * H,) if bias_rows is None else (bias_rows, gates * H)
    shapes = {"kernel": (D, gates * H), "recurrent_kernel": (H, gates * H), "bias": bias_shape}
    if output is not None:
        shapes |= {"output_kernel": (H, output), "output_bias": (output,)}
    return {name: rng.normal(size=shape) for name, shape in shapes.items()}


def sequence(rng, states=1):
    return rng.normal(size=(B, T, D)), [rng.normal(size=(B, H)) for _ in range(states)]


def torch_copy(layer, kernel, recurrent_kernel, bias, recurrent_bias):
    """Give a float64 torch layer our weights, gates already in torch's order."""
    torch = pytest.importorskip("torch")
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.tensor(kernel.T))
        layer.weight_hh_l0.copy_(torch.tensor(recurrent_kernel.T))
        layer.bias_ih_l0.copy_(torch.tensor(bias))
        layer.bias_hh_l0.copy_(torch.tensor(recurrent_bias))
    return layer


def zrn_to_rzn(v):
    z, r, n = split(v, 3)
    return np.concatenate([r, z, n], axis=-1)


def test_lstm_is_torch_lstm(rng):
    torch = pytest.importorskip("torch")
    w = weights(rng, 4)
    x, (h0, c0) = sequence(rng, 2)
    layer = torch.nn.LSTM(D, H, batch_first=True, dtype=torch.float64)
    torch_copy(layer, w["kernel"], w["recurrent_kernel"], w["bias"], np.zeros(4 * H))
    y, (h, c) = layer(torch.tensor(x), (torch.tensor(h0)[None], torch.tensor(c0)[None]))
    (h_all, _), final = run(partial(lstm.step, w), x, [h0, c0])
    np.testing.assert_allclose(h_all, y.detach(), **EXACT)
    np.testing.assert_allclose(final[0], h[0].detach(), **EXACT)
    np.testing.assert_allclose(final[1], c[0].detach(), **EXACT)


def test_gru_reset_after_is_torch_gru(rng):
    torch = pytest.importorskip("torch")
    w = weights(rng, 3, bias_rows=2)
    x, (h0,) = sequence(rng)
    layer = torch.nn.GRU(D, H, batch_first=True, dtype=torch.float64)
    order = [w["kernel"], w["recurrent_kernel"], *w["bias"]]
    torch_copy(layer, *map(zrn_to_rzn, order))
    y, _ = layer(torch.tensor(x), torch.tensor(h0)[None])
    (h_all,), (h,) = run(partial(gru.step, w, reset_after=True), x, [h0])
    np.testing.assert_allclose(h_all, y.detach(), **EXACT)
    np.testing.assert_array_equal(h, h_all[:, -1])


@pytest.mark.parametrize("activation", [np.tanh, relu])
def test_vanilla_is_torch_rnn(rng, activation):
    torch = pytest.importorskip("torch")
    w = weights(rng, 1)
    x, (h0,) = sequence(rng)
    name = "relu" if activation is relu else "tanh"
    layer = torch.nn.RNN(D, H, nonlinearity=name, batch_first=True, dtype=torch.float64)
    torch_copy(layer, w["kernel"], w["recurrent_kernel"], w["bias"], np.zeros(H))
    y, _ = layer(torch.tensor(x), torch.tensor(h0)[None])
    (h_all,), _ = run(partial(vanilla.step, w, activation=activation), x, [h0])
    np.testing.assert_allclose(h_all, y.detach(), rtol=1e-12, atol=1e-10)


def keras_outputs(name, w, x, mask=None, **config):
    """Outputs (B, T, H) of a Keras layer with our weights, and the tolerance of its dtype.

    Keras' own products are float64 on TensorFlow alone; elsewhere the layer runs in float32.
    """
    keras = pytest.importorskip("keras")
    dtype = keras.backend.result_type("float64", "float64")
    layer = getattr(keras.layers, name)(H, return_sequences=True, dtype=dtype, **config)
    layer.build(x.shape)
    layer.set_weights([w["kernel"], w["recurrent_kernel"], w["bias"]])
    x = keras.ops.convert_to_tensor(x, dtype)
    mask = None if mask is None else keras.ops.convert_to_tensor(mask)
    y = keras.ops.convert_to_numpy(layer(x, mask=mask))
    return y, EXACT if dtype == "float64" else {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize("mask", [None, MASK], ids=["all", "masked"])
@pytest.mark.parametrize(
    "name, step, gates, rows, config",
    [
        ("SimpleRNN", vanilla.step, 1, None, {}),
        ("LSTM", lstm.step, 4, None, {}),
        ("GRU", gru.step, 3, None, {"reset_after": False}),
        ("GRU", gru.step, 3, 2, {"reset_after": True}),
    ],
    ids=["SimpleRNN", "LSTM", "GRU-before", "GRU-after"],
)
def test_cells_are_keras_layers(rng, name, step, gates, rows, config, mask):
    w = weights(rng, gates, rows)
    x, _ = sequence(rng)
    y, tolerance = keras_outputs(name, w, x, mask, **config)
    zeros = [np.zeros((B, H))] * (2 if name == "LSTM" else 1)
    history, _ = run(partial(step, w, **config), x, zeros, mask=mask)
    np.testing.assert_allclose(history[0], y, **tolerance)


def test_gru_formulas_written_for_one_unit():
    w = {
        "kernel": np.array([[0.3, -0.8, 1.1]]),
        "recurrent_kernel": np.array([[-0.4, 0.6, 0.9]]),
        "bias": np.array([0.1, -0.2, 0.05]),
    }
    x, h = 0.7, -1.3
    z = sigmoid(0.3 * x - 0.4 * h + 0.1)
    r = sigmoid(-0.8 * x + 0.6 * h - 0.2)
    n = np.tanh(1.1 * x + 0.9 * r * h + 0.05)
    (h_new,) = gru.step(w, np.array([x]), np.array([h]), reset_after=False)
    np.testing.assert_allclose(h_new, [z * h + (1 - z) * n], **EXACT)

    w["bias"] = np.array([[0.1, -0.2, 0.05], [0.4, 0.3, -0.6]])
    z = sigmoid(0.3 * x - 0.4 * h + 0.5)
    r = sigmoid(-0.8 * x + 0.6 * h + 0.1)
    n = np.tanh(1.1 * x + 0.05 + r * (0.9 * h - 0.6))
    (h_new,) = gru.step(w, np.array([x]), np.array([h]), reset_after=True)
    np.testing.assert_allclose(h_new, [z * h + (1 - z) * n], **EXACT)


def test_jordan_with_linear_output_is_elman_with_the_product_of_kernels(rng):
    """y = h V + c makes y U = h (V U) + c U."""
    w = weights(rng, 1, output=2)
    V, c, U = w["output_kernel"], w["output_bias"], rng.normal(size=(2, H))
    x, (h0,) = sequence(rng)
    jordan = partial(vanilla.step, w | {"recurrent_kernel": U}, feedback="output")
    elman = partial(vanilla.step, w | {"recurrent_kernel": V @ U, "bias": w["bias"] + c @ U})
    (y_all,), _ = run(jordan, x, [vanilla.readout(w, h0)])
    (h_all,), _ = run(elman, x, [h0])
    np.testing.assert_allclose(y_all, vanilla.readout(w, h_all), **EXACT)


def test_readout_applies_the_output_activation(rng):
    w = weights(rng, 1, output=2)
    h = rng.normal(size=(B, H))
    expected = [softmax(row @ w["output_kernel"] + w["output_bias"]) for row in h]
    np.testing.assert_allclose(vanilla.readout(w, h, softmax), expected, **EXACT)


def deep_weights(rng):
    shapes = {"input_kernel_1": (D, 5), "input_kernel_2": (5, 3), "kernel": (3, 2)}
    shapes |= {"recurrent_kernel": (H, 2), "transition_kernel_2": (2, 4)}
    shapes |= {"transition_kernel_3": (4, H), "shortcut_kernel": (H, H)}
    shapes |= {"output_kernel_1": (H, 5), "output_kernel_2": (5, 2)}
    w = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    for name, shape in shapes.items():
        if name not in ("recurrent_kernel", "shortcut_kernel"):
            w[name.replace("kernel", "bias")] = rng.normal(size=shape[1:])
    return w


def test_deep_transition_written_out(rng):
    w = deep_weights(rng)
    x, h = rng.normal(size=(B, D)), rng.normal(size=(B, H))

    def affine(v, name, n):
        return v @ w[f"{name}_kernel_{n}"] + w[f"{name}_bias_{n}"]

    x_deep = np.tanh(affine(np.tanh(affine(x, "input", 1)), "input", 2))
    s_1 = np.tanh(x_deep @ w["kernel"] + h @ w["recurrent_kernel"] + w["bias"])
    last = affine(np.tanh(affine(s_1, "transition", 2)), "transition", 3)
    step = partial(deep_transition.step, w, input_layers=(5, 3), transition_layers=(2, 4), activation=np.tanh)
    np.testing.assert_allclose(step(x, h)[0], np.tanh(last), **EXACT)
    shortcut = np.tanh(last + h @ w["shortcut_kernel"])
    np.testing.assert_allclose(step(x, h, shortcut=True)[0], shortcut, **EXACT)

    y = sigmoid(affine(np.tanh(affine(h, "output", 1)), "output", 2))
    config = {"output_layers": (5, 2), "activation": np.tanh, "output_activation": sigmoid}
    np.testing.assert_allclose(deep_transition.readout(w, h, **config), y, **EXACT)


def test_deep_transition_without_layers_is_vanilla(rng):
    w = weights(rng, 1)
    x, h0 = sequence(rng)
    (deep,), _ = run(partial(deep_transition.step, w), x, h0)
    (plain,), _ = run(partial(vanilla.step, w), x, h0)
    np.testing.assert_allclose(deep, plain, **EXACT)


def test_a_batch_of_rows_is_each_row_alone(rng):
    w = weights(rng, 4)
    x, (h0, c0) = sequence(rng, 2)
    together = lstm.step(w, x[:, 0], h0, c0, normalization="layer")
    for row in range(B):
        alone = lstm.step(w, x[row, 0], h0[row], c0[row], normalization="layer")
        for both, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(both[row], one, **EXACT)


def test_diagonal_multiplies_unit_by_unit(rng):
    h, u = rng.normal(size=(B, H)), rng.normal(size=(3 * H,))
    expected = np.concatenate([h * u[:H], h * u[H : 2 * H], h * u[2 * H :]], axis=1)
    np.testing.assert_allclose(recurrent(h, u, "diagonal"), expected, **EXACT)


def test_block_connects_units_of_one_block_for_every_gate(rng):
    blocks, gates, size = 3, 4, H // 3
    h, U = rng.normal(size=(B, H)), rng.normal(size=(blocks, size, gates * size))
    expected = np.zeros((B, gates, H))
    for g in range(gates):
        for target in range(H):
            k, column = divmod(target, size)
            for source in range(k * size, (k + 1) * size):
                expected[:, g, target] += h[:, source] * U[k, source % size, g * size + column]
    actual = recurrent(h, U, "block", blocks=blocks)
    np.testing.assert_allclose(actual, expected.reshape(B, gates * H), **EXACT)


def test_low_rank_is_the_product_of_its_factors(rng):
    h, A, right = rng.normal(size=(B, H)), rng.normal(size=(H, 2)), rng.normal(size=(2, 3 * H))
    actual = recurrent(h, (A, right), "low_rank")
    np.testing.assert_allclose(actual, recurrent(h, A @ right), **EXACT)


def test_one_block_is_dense(rng):
    w = weights(rng, 3)
    x, h0 = sequence(rng)
    (dense,), _ = run(partial(gru.step, w, reset_after=False), x, h0)
    one_block = w | {"recurrent_kernel": w["recurrent_kernel"][None]}
    step = partial(gru.step, one_block, reset_after=False, structure="block", blocks=1)
    (block,), _ = run(step, x, h0)
    np.testing.assert_allclose(dense, block, **EXACT)


@pytest.mark.parametrize("kind", ["layer", "rms"])
def test_normalize_is_torch_normalization_of_each_gate(rng, kind):
    torch = pytest.importorskip("torch")
    v, gain = rng.normal(size=(B, 3 * H)), rng.normal(size=(3 * H,))
    norm = torch.nn.functional.layer_norm if kind == "layer" else torch.nn.functional.rms_norm
    expected = [
        norm(torch.tensor(part), (H,), weight=torch.tensor(gain_g), eps=1e-3)
        for part, gain_g in zip(split(v, 3), split(gain, 3), strict=True)
    ]
    expected = torch.cat(expected, dim=-1)
    np.testing.assert_allclose(normalize(v, gain, kind, gates=3), expected, **EXACT)


def test_normalized_gru_adds_both_biases_after_normalization(rng):
    """The GRU of weights whose products are normalised outside is the normalised GRU."""
    w = weights(rng, 3, bias_rows=2)
    w |= {"kernel_gain": rng.normal(size=3 * H), "recurrent_gain": rng.normal(size=3 * H)}
    x, h = rng.normal(size=(B, D)), rng.normal(size=(B, H))
    u = normalize(x @ w["kernel"], w["kernel_gain"], "rms", 3) + w["bias"][0]
    v = normalize(h @ w["recurrent_kernel"], w["recurrent_gain"], "rms", 3) + w["bias"][1]
    z, r = sigmoid(u[:, :H] + v[:, :H]), sigmoid(u[:, H : 2 * H] + v[:, H : 2 * H])
    n = np.tanh(u[:, 2 * H :] + r * v[:, 2 * H :])
    (h_new,) = gru.step(w, x, h, reset_after=True, normalization="rms")
    np.testing.assert_allclose(h_new, z * h + (1 - z) * n, **EXACT)


def test_left_masks_reach_the_product_alone(rng):
    """A multiplier of zero is the same as no recurrent weights in the products it guards."""
    x, (h, c) = rng.normal(size=(B, D)), (rng.normal(size=(B, H)), rng.normal(size=(B, H)))
    zero, one = np.zeros(H), np.ones(H)

    w = weights(rng, 4)
    without = w | {"recurrent_kernel": np.zeros((H, 4 * H))}
    for dropped, plain in zip(lstm.step(w, x, h, c, left_masks=[zero]), lstm.step(without, x, h, c), strict=True):
        np.testing.assert_allclose(dropped, plain, **EXACT)

    w = weights(rng, 3)
    U_z, U_r, U_n = split(w["recurrent_kernel"], 3)
    for masks, kept in [
        ([zero, one], [0 * U_z, 0 * U_r, U_n]),
        ([one, zero], [U_z, U_r, 0 * U_n]),
        ([None, zero], [U_z, U_r, 0 * U_n]),
    ]:
        (dropped,) = gru.step(w, x, h, reset_after=False, left_masks=masks)
        partly = w | {"recurrent_kernel": np.concatenate(kept, axis=1)}
        np.testing.assert_allclose(dropped, gru.step(partly, x, h, reset_after=False)[0], **EXACT)


def test_left_masks_of_jordan_and_deep_transition_in_order_of_use(rng):
    w = weights(rng, 1, output=H)
    x, h = rng.normal(size=(B, D)), rng.normal(size=(B, H))
    for use, name in enumerate(["recurrent_kernel", "output_kernel"]):
        m = [None, None]
        m[use] = rng.normal(size=H)
        (dropped,) = vanilla.step(w, x, h, feedback="output", left_masks=m)
        scaled = w | {name: m[use][:, None] * w[name]}
        (expected,) = vanilla.step(scaled, x, h, feedback="output")
        np.testing.assert_allclose(dropped, expected, **EXACT)

    w = deep_weights(rng)
    step = partial(deep_transition.step, input_layers=(5, 3), transition_layers=(2, 4), shortcut=True)
    names = ["recurrent_kernel", "transition_kernel_2", "transition_kernel_3", "shortcut_kernel"]
    for use, name in enumerate(names):
        m = [None] * 4
        m[use] = rng.normal(size=len(w[name]))
        scaled = w | {name: m[use][:, None] * w[name]}
        expected = step(scaled, x, h)[0]
        np.testing.assert_allclose(step(w, x, h, left_masks=m)[0], expected, **EXACT)


def test_sigmoid_and_linear():
    np.testing.assert_allclose(sigmoid(np.log([1.0, 3.0])), [0.5, 0.75], **EXACT)
    assert linear(2.5) == 2.5
