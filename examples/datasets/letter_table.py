"""Pronunciation by a table from a letter and its neighbours: the baseline of `cmudict`."""

import numpy as np

LONGEST = 16  # letters of a word that is learned from
SAMPLE = 20_000  # words, of which alignments are learned
ROUNDS = 5  # of alignment and counting
WIDTHS = (4, 3, 2, 1, 0)  # letters on either side, the widest that was seen counts
NONE, TWO = -3.0, -6.0  # logarithms before the first round: of no phoneme and of two, beside 0 for the best one
RARE = 0.01  # is added to every count
FORBIDDEN = -1e9


class LetterTable:
    """Gives each letter the none, one or two phonemes most frequent with it and its neighbours in training.

    The letters and phonemes of a word are aligned first: by Viterbi's algorithm with the probabilities of
    the last round's alignment, which begins with how often letter and phoneme share a word.

    Args:
        spellings: list of N texts.
        phonemes: list of N lists of texts.
    """

    def __init__(self, spellings, phonemes):
        pairs = [(w, p) for w, p in zip(spellings, phonemes, strict=True) if len(w) <= LONGEST and len(p) <= 2 * len(w)]
        self.letters = {letter: i for i, letter in enumerate(sorted({c for w, _ in pairs for c in w}), start=1)}
        names = sorted({phoneme for _, p in pairs for phoneme in p})
        self.numbers = {phoneme: i for i, phoneme in enumerate(names, start=1)}
        written = self._encode([word for word, _ in pairs])
        spoken = np.zeros((len(pairs), max(len(p) for _, p in pairs)), "int64")
        for row, (_, found) in zip(spoken, pairs, strict=True):
            row[: len(found)] = [self.numbers[phoneme] for phoneme in found]
        stride = -(-len(pairs) // SAMPLE)
        scores = self._chances(written[::stride], spoken[::stride])
        chunks = _viterbi(written, spoken, scores, len(names) + 1)
        self.chunks = [
            tuple(names[n - 1] for n in divmod(c, len(names) + 1) if n) for c in range((len(names) + 1) ** 2)
        ]
        contexts = self._contexts(written)
        self.tables = {width: _most_frequent(contexts[width], chunks[written > 0]) for width in WIDTHS}

    def pronounce(self, word):
        """Returns the list of phonemes of a word."""
        contexts = self._contexts(self._encode([word]))
        found = np.full(len(word), -1)
        for width in WIDTHS:
            keys, values = self.tables[width]
            places = np.minimum(np.searchsorted(keys, contexts[width]), len(keys) - 1)
            found = np.where((found < 0) & (keys[places] == contexts[width]), values[places], found)
        return [phoneme for chunk in found if chunk >= 0 for phoneme in self.chunks[chunk]]

    def _encode(self, words):
        """Returns (N, L) numbers of letters, 0 after the end; unknown letters get a number of their own."""
        rows = np.zeros((len(words), max(len(word) for word in words)), "int64")
        for row, word in zip(rows, words, strict=True):
            row[: len(word)] = [self.letters.get(letter, len(self.letters) + 1) for letter in word]
        return rows

    def _contexts(self, written):
        """Returns for each width one number for each letter's neighbourhood, of all letters in a row."""
        widest, base = max(WIDTHS), len(self.letters) + 2
        padded = np.pad(written, ((0, 0), (widest, widest)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * widest + 1, axis=1)[written > 0]
        sides = {width: windows[:, widest - width : widest + width + 1] for width in WIDTHS}
        return {width: side @ base ** np.arange(2 * width + 1) for width, side in sides.items()}

    def _chances(self, written, spoken):
        """Returns the logarithms of the probabilities of each letter's chunks.

        The number of a chunk is first * base + second phoneme, with 0 for none.
        """
        base = len(self.numbers) + 1
        symbols = len(self.letters) + 1  # with 0 for "after the end"
        together = np.ones((symbols, base))
        for column in written.T:
            for other in spoken.T:
                together += _counts(column, other, symbols, base)
        scores = np.full((symbols, base * base), TWO)
        scores[:, :base] = np.log(together / together.sum(axis=0) / together.sum(axis=1, keepdims=True))
        scores[:, :base] -= scores[1:, 1:base].max()
        scores[:, 0] = NONE
        for _ in range(ROUNDS):
            chunks = _viterbi(written, spoken, scores, base)
            counts = _counts(written, chunks, symbols, base * base) + RARE
            scores = np.log(counts / counts.sum(axis=1, keepdims=True))
        return scores


def _viterbi(written, spoken, scores, base):
    """Returns the chunks (N, L) of the best alignment of letters (N, L) with phonemes (N, P)."""
    many, long = written.shape
    spoken = np.pad(spoken, ((0, 0), (2, 0)))
    one, two = spoken[:, 2:], spoken[:, 1:-1] * base + spoken[:, 2:]
    best = np.full((many, spoken.shape[1] - 1), FORBIDDEN)
    best[:, 0] = 0
    steps = np.zeros((long, *best.shape), "int8")
    for letter in range(long):
        now = written[:, letter, None]
        ended = now[:, 0] == 0
        options = np.full((3, *best.shape), FORBIDDEN)
        options[0] = best + np.where(now == 0, 0.0, scores[now, 0])
        options[1][:, 1:] = best[:, :-1] + scores[now, one]
        options[2][:, 2:] = best[:, :-2] + scores[now, two[:, 1:]]
        options[1:, ended] = FORBIDDEN
        steps[letter] = options.argmax(axis=0)
        best = options.max(axis=0)
    place = (spoken > 0).sum(axis=1)
    chunks, everyone = np.zeros((many, long), "int64"), np.arange(many)
    for letter in reversed(range(long)):
        step = steps[letter, everyone, place]
        last, before = (spoken[everyone, np.maximum(place + 1 - back, 0)] for back in (0, 1))
        chunks[:, letter] = np.select([step == 1, step == 2], [last, before * base + last], 0)
        place = place - step
    return chunks


def _counts(rows, columns, height, width):
    """Returns (height, width): how often each pair of numbers occurs at one place of two arrays."""
    return np.bincount((rows * width + columns).ravel(), minlength=height * width).reshape(height, width)


def _most_frequent(keys, values):
    """Returns the sorted different keys and for each the value most frequent with it."""
    size = values.max() + 1
    pairs, counts = np.unique(keys * size + values, return_counts=True)
    keys = pairs // size
    order = np.lexsort((counts, keys))
    last = np.append(np.diff(keys) > 0, True)
    return keys[last], (pairs % size)[order][last]
