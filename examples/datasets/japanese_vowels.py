"""JapaneseVowels: which of nine men said it, from short utterances of different length.

Origin: Kudo, Toyama, Shimbo, "Multidimensional Curve Classification Using Passing-Through Regions", Pattern
Recognition Letters 20, 1999; UCI archive, from the PyPI package aeon 1.6.0 (its file alone, not its code).
Licence: UCI, CC BY 4.0 there; the package is BSD-3. Fetched, not part of this repository.
Size: 640 utterances of 7 to 29 frames with 12 coefficients of linear prediction each.
Split: the given one, 270 for training (30 a speaker) and 370 for test; of each speaker's 30 the last 6 are the
validation split.
Baseline: logistic regression on mean, deviation, first and last frame, measured: 0.984 accuracy. The task is nearly
solved: good to see that a model works, not to rank layers.
"""

import typing
import zipfile

import numpy as np
import packages
import splits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

FILE = "aeon/datasets/data/JapaneseVowels/JapaneseVowels_{}.ts"
SPEAKERS = 9
CLASSES = [f"speaker {number}" for number in range(1, SPEAKERS + 1)]
HELD_OUT = 6  # of a speaker's utterances for training


class Utterances(typing.NamedTuple):
    """frames: list of N float32 arrays (T, 12). speakers: int32 array (N,), from 0 to 8."""

    frames: list
    speakers: np.ndarray


def load(folder=None):
    """Returns the `splits.Splits` of `Utterances`; `folder` as in `packages.fetch`."""
    with zipfile.ZipFile(packages.fetch(packages.AEON, folder)) as wheel:
        train, test = (parse(wheel.read(FILE.format(name)).decode()) for name in ("TRAIN", "TEST"))
    late = np.zeros(len(train.speakers), bool)
    for speaker in range(SPEAKERS):
        late[np.flatnonzero(train.speakers == speaker)[-HELD_OUT:]] = True
    return splits.Splits(train=_rows(train, ~late), validation=_rows(train, late), test=test)


def parse(text):
    """Returns the `Utterances` of a .ts file: a line is `c1,c1,...:c2,c2,...: ... :speaker`, from 1."""
    rows = [line.split(":") for line in text.partition("@data")[2].split()]
    frames = [np.array([column.split(",") for column in columns], "float32").T for *columns, _ in rows]
    return Utterances(frames, np.array([int(speaker) - 1 for *_, speaker in rows], "int32"))


def _rows(data, chosen):
    return Utterances([data.frames[row] for row in np.flatnonzero(chosen)], data.speakers[chosen])


def baseline(data):
    """Returns the test accuracy of a logistic regression on four summaries of the frames."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    frames = data.train.frames + data.validation.frames
    model.fit(summaries(frames), np.concatenate([data.train.speakers, data.validation.speakers]))
    return float(model.score(summaries(data.test.frames), data.test.speakers))


def summaries(frames):
    """Returns (N, 48): mean, standard deviation, first and last frame of each utterance."""
    return np.stack([np.concatenate([x.mean(axis=0), x.std(axis=0), x[0], x[-1]]) for x in frames])
