"""Batches of sequences of like length, so that little of them is padding and few shapes are compiled."""

import keras
import numpy as np


class LengthBatches(keras.utils.PyDataset):
    """Batches of pairs of sequences, shuffled anew at each epoch, each padded to one of a few lengths.

    A pair goes to the first bucket that is long enough for both of its sequences. The last, incomplete batch of a
    bucket is filled up with other pairs of it, so that all batches are of one size.

    Args:
        source: (N, S) integers, padded with 0 on the right.
        target: (N, T) integers, likewise, with a start and an end token.
        buckets: list of (S, T), from short to long; the last one is long enough for all.
        batch_size: int > 0.
        seed: int.
        prepare: function of a source and a target that gives what the model is trained on.
    """

    def __init__(self, source, target, buckets, batch_size, seed, prepare):
        super().__init__()
        self.source, self.target, self.buckets, self.batch_size = source, target, buckets, batch_size
        self.prepare = prepare
        self.random = np.random.default_rng(seed)
        lengths = np.stack([(source != 0).sum(axis=1), (target != 0).sum(axis=1)])
        fits = np.stack([(lengths[0] <= s) & (lengths[1] <= t) for s, t in buckets])
        if not fits[-1].all():
            raise ValueError(f"Expected sequences of at most {buckets[-1]} steps. Received: {lengths.max(axis=1)}")
        self.bucket = fits.argmax(axis=0)
        self.batches = []
        self.on_epoch_end()

    def on_epoch_end(self):
        """Makes the batches of the next epoch."""
        self.batches = []
        for n in range(len(self.buckets)):
            rows = self.random.permutation(np.flatnonzero(self.bucket == n))
            missing = -len(rows) % self.batch_size if len(rows) else 0
            rows = np.concatenate([rows, self.random.choice(rows, missing)]) if missing else rows
            self.batches += [(n, part) for part in rows.reshape(-1, self.batch_size)]
        self.random.shuffle(self.batches)
        # From the first two batches Keras takes which axes vary in length: let them be a short and a long one.
        for place, extreme in enumerate((np.argmin, np.argmax)):
            self.batches.insert(place, self.batches.pop(extreme([n for n, _ in self.batches])))

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        n, rows = self.batches[index]
        s, t = self.buckets[n]
        return self.prepare(self.source[rows, :s], self.target[rows, :t])
