"""Speech Commands: which of ten words a recording of one second holds, or another word, or none.

Origin: Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv:1804.03209; the TFDS set
`speech_commands`, whose preparation needs the package pydub.
Licence: CC BY 4.0. Fetched, not part of this repository.
Size: about 100,000 recordings of at most a second at 16 kHz, some 2.5 GB to fetch; as frames they need 4 GB of memory.
Split: the given one, in which no speaker is in two parts.
Baseline: logistic regression on mean, deviation, first and last frame, not measured: the set needs the internet.
"""

import functools
import typing

import japanese_vowels
import keras
import numpy as np
import public_sets
import splits
import tensorflow_datasets as tfds
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "speech_commands"
CLASSES = [*"down go left no off on right stop up yes".split(), "silence", "another word"]
RATE, SAMPLES = 16000, 16000  # samples a second, and of a whole recording
WINDOW, STRIDE, BANDS = 400, 160, 40  # 25 ms every 10 ms, in 40 bands


class Recordings(typing.NamedTuple):
    """frames: list of N float32 arrays (T, 40). words: int32 array (N,), numbers of `CLASSES`."""

    frames: list
    words: np.ndarray


def load(data_dir=None):
    """Returns the `splits.Splits` of `Recordings`; `data_dir` is where TFDS keeps its sets."""
    made = public_sets.builder(NAME, data_dir, default="japanese_vowels")
    return splits.Splits(*(read(made, split) for split in splits.NAMES))


def read(made, split):
    """Returns the `Recordings` of a split of a builder."""
    frames, words = [], []
    for batch in tfds.as_numpy(made.as_dataset(split=split, batch_size=512)):
        frames += log_mel(batch["audio"])
        words.append(batch["label"])
    return Recordings(frames, np.concatenate(words).astype("int32"))


def log_mel(audio):
    """Returns a list of frames (T, 40) for recordings (B, at most 16000) of int16, padded with zeros on the right.

    A frame is the logarithm of the power in 40 bands of the mel scale, scaled to numbers around 0.
    """
    lengths = audio.shape[1] - np.argmax(audio[:, ::-1] != 0, axis=1)
    audio = np.pad(audio, ((0, 0), (0, SAMPLES - audio.shape[1]))) / 2**15
    decibels = keras.ops.convert_to_numpy(mel_spectrogram()(audio))
    frames = np.swapaxes(decibels, 1, 2) / 40 + 1
    return [row[: 1 + length // STRIDE] for row, length in zip(frames, lengths, strict=True)]


@functools.cache
def mel_spectrogram():
    """Returns the Keras layer (B, S) -> (B, 40, T), in decibels."""
    return keras.layers.MelSpectrogram(
        fft_length=512,
        sequence_length=WINDOW,
        sequence_stride=STRIDE,
        sampling_rate=RATE,
        num_mel_bins=BANDS,
        min_power=1e-8,
        top_db=200,  # counts from the loudest recording of a batch; never reached, so that no other one matters
    )


def baseline(data):
    """Returns the test accuracy of a logistic regression on four summaries of the frames."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(japanese_vowels.summaries(data.train.frames), data.train.words)
    return float(model.score(japanese_vowels.summaries(data.test.frames), data.test.words))
