"""Known tasks as arrays: the adding problem, the copy task, digits as sequences. Imports no framework."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import sklearn.datasets
import sklearn.linear_model
import sklearn.model_selection

ADDING_LENGTH, CATEGORIES = 100, 8
TEST = {"adding": 1024, "copy": 512, "digits": 352}  # sequences


@dataclasses.dataclass(frozen=True)
class Task:
    """A known task.

    Attributes:
        length, features, outputs: T, D, and the width of the read-out.
        data: `data(rng, count)` gives training sequences (count, T, D) and targets; count None: those of the test.
        score: `score(targets, predictions)` gives numbers by name.
        every: whether there is a target at each step.
        classes: whether targets are classes; else numbers.
    """

    length: int
    features: int
    outputs: int
    data: Callable
    score: Callable
    every: bool = False
    classes: bool = True


def adding(rng, count, length=ADDING_LENGTH):
    """(N, T, 2) numbers and marks, (N, 1) the sum of the two marked numbers, one in either half."""
    count = count or TEST["adding"]
    x = np.zeros((count, length, 2), "float32")
    x[..., 0] = rng.random((count, length))
    rows, half = np.arange(count), length // 2
    for place in (rng.integers(0, half, count), rng.integers(half, length, count)):
        x[rows, place, 1] = 1
    return x, (x[..., 0] * x[..., 1]).sum(axis=1, keepdims=True)


def copying(rng, count, symbols, delay):
    """(N, delay + 2 symbols, 10) one-hot inputs, (N, delay + 2 symbols) classes, of which 0 is the blank."""
    count, length = count or TEST["copy"], delay + 2 * symbols
    given = rng.integers(1, CATEGORIES + 1, (count, symbols))
    x, y = np.zeros((2, count, length), "int32")
    x[:, :symbols] = y[:, -symbols:] = given
    x[:, -symbols - 1] = CATEGORIES + 1  # asks for the symbols
    return np.eye(CATEGORIES + 2, dtype="float32")[x], y


@functools.cache
def digits():
    """Training and test images (N, 8, 8) in [0, 1], then their labels."""
    data = sklearn.datasets.load_digits()
    x, y = (data.images / 16).astype("float32"), data.target.astype("int32")
    return sklearn.model_selection.train_test_split(x, y, test_size=TEST["digits"], stratify=y, random_state=0)


def digit_sequences(rng, count, length):
    """The test digits, or `count` training digits epoch after epoch: (N, T, 64 / T) and labels (N,)."""
    train, test, train_labels, test_labels = digits()
    if count is None:
        return test.reshape(-1, length, 64 // length), test_labels
    epochs = [rng.permutation(len(train)) for _ in range(-(-count // len(train)))]
    picked = np.concatenate(epochs)[:count]
    return train[picked].reshape(count, length, 64 // length), train_labels[picked]


def squared_error(y, predicted):
    """The mean over all sequences."""
    return {"mse": float(np.mean((predicted.astype("float64") - y) ** 2))}


def share_right(y, predicted):
    """The share of steps, or sequences, whose likeliest class is right."""
    return {"accuracy": float(np.mean(predicted.argmax(axis=-1) == y))}


def recall(y, predicted, symbols):
    """Cross-entropy and share right over the steps at which the symbols are asked for."""
    y, logits = y[:, -symbols:], predicted[:, -symbols:].astype("float64")
    logits = logits - logits.max(axis=-1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    entropy = -np.take_along_axis(log_p, y[..., None], axis=-1).mean()
    return {"cross_entropy": float(entropy), **share_right(y, predicted[:, -symbols:])}


def tasks(settings):
    """The tasks by name."""
    memory = {"symbols": settings["symbols"], "delay": settings["delay"]}
    length = memory["delay"] + 2 * memory["symbols"]
    copied = functools.partial(recall, symbols=memory["symbols"])
    found = {
        "adding": Task(ADDING_LENGTH, 2, 1, adding, squared_error, classes=False),
        "copy": Task(length, CATEGORIES + 2, CATEGORIES + 1, functools.partial(copying, **memory), copied, every=True),
    }
    for name, length in (("rows", 8), ("pixels", 64)):
        found[name] = Task(length, 64 // length, 10, functools.partial(digit_sequences, length=length), share_right)
    return found


def logistic_accuracy():
    """Of a linear model that sees all pixels at once."""
    train, test, train_labels, test_labels = digits()
    model = sklearn.linear_model.LogisticRegression(max_iter=5000).fit(train.reshape(-1, 64), train_labels)
    return float(model.score(test.reshape(-1, 64), test_labels))
