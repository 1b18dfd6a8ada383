"""Masked losses and metrics of sequences, against sums over steps written out in NumPy."""

import itertools

import keras
import numpy as np
import pytest
from cases import EAGER, array, few, gradients, tensor
from keras import ops

from keras_rnnx.layers.sequence import AttachMask
from keras_rnnx.losses import BitsPerCharacter, Perplexity, QuantileLoss, SequenceLoss

pytestmark = [pytest.mark.every_backend, pytest.mark.core, pytest.mark.sixths]

B, T, V = 4, 5, 3
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
REDUCTIONS = [
    (time, batch, counted)
    for time, batch in itertools.product(("sum", "mean", None), ("mean", "steps", "sum", None))
    for counted in (False, True)
    if batch != "steps" or time == "sum"
]


def sequences(rng):
    """Labels (B, T), probabilities (B, T, V), weights (B, T), and a mask with holes and a row without any step."""
    y = rng.integers(0, V, (B, T))
    p = rng.random((B, T, V)) + 0.1
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0] * 5, [1] * 5], bool)
    return y, p / p.sum(-1, keepdims=True), rng.random((B, T)) + 0.5, mask


def carrying(p, mask):
    """p as a tensor with a Keras mask."""
    return AttachMask()([tensor(p, "float32"), tensor(mask, "bool")])


def expected(y, p, weights, mask, over_time, over_batch, counted):
    """The definition, one step after the other."""
    losses, counts = np.zeros((B, T)), np.zeros((B, T))
    for b, t in itertools.product(range(B), range(T)):
        if mask[b, t] and weights[b, t] != 0:
            losses[b, t] = -weights[b, t] * np.log(p[b, t, y[b, t]])
            counts[b, t] = weights[b, t] if counted else 1
    if over_batch == "steps":
        return losses.sum() / counts.sum()
    if over_time is None:
        if over_batch is None:
            return losses
        return [s / c if over_batch == "mean" else s for s, c in zip(losses.sum(0), counts.sum(0), strict=True)]
    if over_time == "mean":
        losses = losses / np.maximum(counts.sum(1, keepdims=True), 1e-9)
    rows, real = losses.sum(1), counts.any(1).sum()
    return {None: rows, "sum": rows.sum(), "mean": rows.sum() / real}[over_batch]


@pytest.mark.parametrize("how", ["mask", "weights", "both"])
@pytest.mark.parametrize("over_time, over_batch, counted", REDUCTIONS)
def test_reductions(over_time, over_batch, counted, how, rng):
    y, p, weights, mask = sequences(rng)
    loss = SequenceLoss(over_time=over_time, over_batch=over_batch, weighted_count=counted)
    if how == "mask":
        weights = np.ones((B, T))
        found = loss(y, carrying(p, mask))
    elif how == "weights":
        found = loss(y, p, weights * mask)
    else:
        weights[3, 2] = 0
        found = loss(y, carrying(p, mask), tensor(weights, "float32"))
    np.testing.assert_allclose(array(found), expected(y, p, weights, mask, over_time, over_batch, counted), **CLOSE)


def test_weights_of_whole_sequences(rng):
    y, p, weights, mask = sequences(rng)
    w = weights[:, 0]
    want = expected(y, p, np.tile(w[:, None], (1, T)), mask, "mean", "mean", False)
    for given in (w, w[:, None], np.tile(w[:, None, None], (1, T, 1))):
        found = SequenceLoss(over_time="mean")(y, carrying(p, mask), given)
        np.testing.assert_allclose(array(found), want, **CLOSE)


def test_weights_may_be_negative(rng):
    """As advantages of a policy gradient are."""
    y, p, weights, _ = sequences(rng)
    weights[0], weights[1, 2] = -weights[0], 0
    found = SequenceLoss(over_batch="sum")(y, p, weights)
    np.testing.assert_allclose(array(found), expected(y, p, weights, np.ones((B, T)), "sum", "sum", False), **CLOSE)


@pytest.mark.parametrize("over_batch", ["mean", "steps"])
def test_padding_of_time_and_of_the_batch_changes_nothing(over_batch, rng):
    y, p, weights, mask = sequences(rng)
    loss = SequenceLoss(over_time="sum", over_batch=over_batch)
    few_steps = array(loss(y, carrying(p, mask), weights))
    pads = ((1, 2), (3, 2))
    y, weights, mask = (np.pad(a, pads) for a in (y, weights, mask))
    p = np.pad(p, (*pads, (0, 0)), constant_values=0.5)
    np.testing.assert_allclose(array(loss(y, carrying(p, mask), weights)), few_steps, **CLOSE)


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy", "mse"])
def test_what_stands_at_masked_steps_reaches_no_gradient(loss, rng):
    y, p, _, mask = sequences(rng)
    p = np.where(mask[..., None], p, [np.nan, np.inf, 0.0])
    target = np.where(mask, y, -100)
    if loss != "sparse_categorical_crossentropy":
        target = np.where(mask[..., None], np.eye(V)[y], np.nan)
    weights = tensor(mask, "float32")

    def value(p):
        return SequenceLoss(loss, over_time="mean")(tensor(target, "float32"), p, weights)

    [g] = gradients(value, [tensor(p, "float32")])
    assert np.isfinite(g).all() and not g[~mask].any()
    assert np.abs(g[mask]).max(axis=-1).min() > 0
    assert np.isfinite(array(value(tensor(p, "float32"))))


@pytest.mark.parametrize("over_time, over_batch, counted", few(REDUCTIONS, 2))
def test_a_batch_without_a_valid_step(over_time, over_batch, counted, rng):
    y, p, _, _ = sequences(rng)
    loss = SequenceLoss(over_time=over_time, over_batch=over_batch, weighted_count=counted)
    nothing = tensor(np.zeros((B, T)), "float32")
    assert not array(loss(y, p, nothing)).any()
    [g] = gradients(lambda p: ops.sum(loss(y, p, nothing)), [tensor(p, "float32")])
    np.testing.assert_array_equal(g, np.zeros((B, T, V)))


def test_gradient_of_the_mean_over_time(rng):
    y, p, _, mask = sequences(rng)
    z = np.log(p)

    def value(z):
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return SequenceLoss(loss, over_time="mean")(y, z, tensor(mask, "float32"))

    [g] = gradients(value, [tensor(z, "float32")])
    rows = np.maximum(mask.sum(1), 1)[:, None, None] * mask.any(1).sum()
    np.testing.assert_allclose(g, (p - np.eye(V)[y]) * mask[..., None] / rows, **CLOSE)


def test_classes_to_be_ignored_count_in_no_mean(rng):
    y, p, _, mask = sequences(rng)
    target = np.where(mask, y, -1)
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=-1, reduction="sum")
    want = expected(y, p, np.ones((B, T)), mask, "mean", "mean", False)
    np.testing.assert_allclose(array(SequenceLoss(loss, "mean")(target, p)), want, **CLOSE)
    other = np.ones((B, T), bool)
    other[0, 0] = False
    want = expected(y, p, np.ones((B, T)), mask & other, "sum", "steps", False)
    found = SequenceLoss(loss, over_batch="steps")(target, carrying(p, other))
    np.testing.assert_allclose(array(found), want, **CLOSE)


@pytest.mark.parametrize("axis", ["target", "prediction", "both", "none"])
def test_one_number_a_step(axis, rng):
    y, p, mask = rng.normal(size=(B, T)), rng.normal(size=(B, T)), sequences(rng)[3]
    want = ((y - p) ** 2 * mask).sum() / mask.any(1).sum()
    y = y[..., None] if axis in ("target", "both") else y
    p = p[..., None] if axis in ("prediction", "both") else p
    for loss in ("mse", keras.losses.MeanSquaredError(), lambda y, p: (y - p) ** 2):
        found = SequenceLoss(loss)(y, p, mask.astype("float32"))
        np.testing.assert_allclose(array(found), want, **CLOSE)


def test_low_precision_predictions_are_summed_in_float32(rng):
    y, p, _, mask = sequences(rng)
    found = SequenceLoss(dtype="bfloat16")(y, ops.cast(carrying(p, mask), "float32"), None)
    assert keras.backend.standardize_dtype(found.dtype) == "float32"


@pytest.mark.parametrize(
    "quantiles, features", [([0.1, 0.5, 0.75], None), ([0.3], None), ([0.2, 0.9], 3)], ids=["three", "one", "features"]
)
def test_pinball_loss(quantiles, features, rng):
    shape = (B, T) if features is None else (B, T, features)
    y, p = rng.normal(size=shape), rng.normal(size=(*shape, len(quantiles)))
    steps = np.zeros(shape)
    for index in np.ndindex(*shape):
        for q, forecast in zip(quantiles, p[index], strict=True):
            error = y[index] - forecast
            steps[index] += (q * error if error > 0 else (q - 1) * error) / len(quantiles)
    steps = steps if features is None else steps.mean(-1)
    loss, mask = QuantileLoss(quantiles), sequences(rng)[3]
    np.testing.assert_allclose(array(loss(y, p)), steps.mean(), **CLOSE)
    np.testing.assert_allclose(array(loss(y[..., None], carrying(p, mask))), steps[mask].mean(), **CLOSE)
    found = SequenceLoss(loss, over_time="sum", over_batch="sum")(y, carrying(p, mask))
    np.testing.assert_allclose(array(found), steps[mask].sum(), **CLOSE)


def test_pinball_loss_is_smallest_at_the_quantile(rng):
    y = rng.exponential(size=(1, 4001))
    grid = np.linspace(0.1, 3, 200)
    for q in (0.2, 0.9):
        values = [float(array(QuantileLoss([q])(y, np.full((1, 4001, 1), g)))) for g in grid[:: 1 if EAGER else 5]]
        best = grid[:: 1 if EAGER else 5][np.argmin(values)]
        np.testing.assert_allclose(best, np.quantile(y, q), atol=0.1)


@pytest.mark.parametrize("metric", [Perplexity, BitsPerCharacter])
def test_metrics_weigh_every_step_alike_over_batches_of_different_lengths(metric, rng):
    total = count = 0
    m = metric()
    for steps in (2, 7, 5):
        y, p = rng.integers(0, V, (B, steps)), rng.random((B, steps, V)) + 0.05
        p /= p.sum(-1, keepdims=True)
        mask, weights = rng.random((B, steps)) < 0.6, rng.random((B, steps)) + 0.1
        m.update_state(y, carrying(p, mask), weights)
        w = weights * mask
        total, count = total - (w * np.log(np.take_along_axis(p, y[..., None], -1)[..., 0])).sum(), count + w.sum()
    want = np.exp(total / count) if metric is Perplexity else total / count / np.log(2)
    np.testing.assert_allclose(array(m.result()), want, rtol=1e-5)
    m.reset_state()
    assert float(array(m.result())) == (1 if metric is Perplexity else 0)


def test_perplexity_of_an_even_guess_is_the_number_of_classes():
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
    metrics = [Perplexity(logits), BitsPerCharacter(logits)]
    for m in metrics:
        m.update_state(np.array([[3, 1, 0], [2, 0, 0]]), np.full((2, 3, 8), 2.5))
    np.testing.assert_allclose([float(array(m.result())) for m in metrics], [8, 3], rtol=1e-5)


@keras.saving.register_keras_serializable("tests")
def cubic(y_true, y_pred):
    return ops.mean(ops.abs(y_true - y_pred) ** 3, axis=-1)


@pytest.mark.parametrize(
    "thing",
    [
        SequenceLoss(cubic, "mean", None, weighted_count=True, name="mine"),
        SequenceLoss(QuantileLoss([0.25, 0.5]), over_batch="steps"),
        QuantileLoss([0.1, 0.9], reduction="sum"),
        Perplexity(keras.losses.SparseCategoricalCrossentropy(from_logits=True)),
        BitsPerCharacter(),
    ],
    ids=lambda thing: thing.name,
)
def test_configurations(thing):
    config = keras.saving.serialize_keras_object(thing)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(thing) and keras.saving.serialize_keras_object(again) == config


def test_a_model_trains_with_its_own_mask_and_saves_whole(rng, tmp_path):
    """The loss that `fit` and `evaluate` report is that of the unpadded sequences."""
    y, _, _, mask = sequences(rng)
    x = np.where(mask, y + 1, 0)
    model = keras.Sequential([keras.layers.Embedding(V + 1, 4, mask_zero=True), keras.layers.Dense(V, "softmax")])
    model.compile("sgd", SequenceLoss(over_time="mean"), metrics=[Perplexity()])
    model.build((None, T))
    p = array(model(tensor(x, "int32")))
    found = model.evaluate(x, y, batch_size=B, verbose=0, return_dict=True)
    want = expected(y, p, np.ones((B, T)), mask, "mean", "mean", False)
    np.testing.assert_allclose(found["loss"], want, rtol=1e-5)
    steps = expected(y, p, np.ones((B, T)), mask, "sum", "steps", False)
    np.testing.assert_allclose(found["perplexity"], np.exp(steps), rtol=1e-5)
    history = model.fit(x, y, batch_size=B, epochs=2, verbose=0).history
    np.testing.assert_allclose(history["loss"][0], want, rtol=1e-5)
    assert history["loss"][1] < history["loss"][0]
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert again.evaluate(x, y, batch_size=B, verbose=0) == model.evaluate(x, y, batch_size=B, verbose=0)


@pytest.mark.parametrize(
    "make, word",
    [
        (lambda: SequenceLoss(None), "loss"),
        (lambda: SequenceLoss(over_time="max"), "over_time"),
        (lambda: SequenceLoss(over_batch="weights"), "over_batch"),
        (lambda: SequenceLoss(over_time="mean", over_batch="steps"), "over_time='sum'"),
        (lambda: QuantileLoss([]), "quantiles"),
        (lambda: QuantileLoss([0.5, 0.2]), "quantiles"),
        (lambda: QuantileLoss([0.0, 0.5]), "quantiles"),
        (lambda: QuantileLoss([0.5, 1.0]), "quantiles"),
        (lambda: SequenceLoss()(np.zeros((B, T + 1)), np.ones((B, T, V))), "same batch and time"),
        (lambda: SequenceLoss()(np.zeros(B), np.ones((B, V))), "same batch and time"),
        (lambda: SequenceLoss()(np.zeros((B, T)), np.ones((B, T, V)), np.ones((B, T - 1))), "sample_weight"),
        (lambda: SequenceLoss()(np.zeros((B, T)), np.ones((B, T, V)), np.ones(B + 1)), "sample_weight"),
        (
            lambda: SequenceLoss(lambda y, p: ops.sum(p))(np.zeros((B, T)), np.ones((B, T, V))),
            "one value for each step",
        ),
        (lambda: QuantileLoss([0.5])(np.zeros((B, T)), np.ones((B, T, 2))), "quantiles"),
        (lambda: QuantileLoss([0.5, 0.6])(np.zeros((B, T, 2)), np.ones((B, T, 2))), "quantiles"),
    ],
)
def test_wrong_arguments(make, word):
    with pytest.raises(ValueError, match=word):
        make()
