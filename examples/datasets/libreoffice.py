"""English and French sentences of LibreOffice's help, for translation.

Origin: the Debian packages libreoffice-help-en-us and libreoffice-help-fr (any version: updates replace them; the
numbers below are of 7.4.7). A paragraph has the same file and id in every language, so pairs are exact.
Licence: MPL-2.0. Fetched, not part of this repository.
Size: 73,296 aligned paragraphs; here the pairs of 3 to 16 words or signs in both languages, without program code,
one French text for an English one: 14,189.
Split: by template. Texts that are alike but for numbers and names (`template`), in either language, are in one
split, and so is what they are alike to in turn: 11,452 groups, 11,608 training, 1,261 validation, 1,320 test pairs.
Baseline: a translation memory, BLEU measured: 27.0 (with a random split of the same pairs, which parts templates,
32.7; the English sentence as its own translation 2.6).
"""

import collections
import html
import re
import typing

import packages
import sacrebleu
import splits
import translation_memory

ENGLISH = packages.Package("debian", "libreoffice-help-en-us")
FRENCH = packages.Package("debian", "libreoffice-help-fr")
ROOT = "usr/share/libreoffice/help/"
PARAGRAPH = re.compile(r'<(?:p|h[1-6]) id="([^"]+)"[^>]*>(.*?)</(?:p|h[1-6])>', re.DOTALL)
TOKEN = r"\w+|[^\w\s]"
SHORTEST, LONGEST = 3, 16
PROSE = r"""[\w\s.,;:!?()'’"“”«»%&/+–…*°-]+"""
FEWEST = 5000  # pairs: with fewer the packages are not what they were


class Pairs(typing.NamedTuple):
    """sources and targets: two lists of N texts."""

    sources: list
    targets: list


def load(folder=None):
    """Returns the `splits.Splits` of `Pairs`; `folder` as in `packages.fetch`.

    Raises:
        ValueError: if the packages hold too few pairs.
    """
    english = paragraphs(packages.deb_files(packages.fetch(ENGLISH, folder)), ROOT + "en-US/")
    french = paragraphs(packages.deb_files(packages.fetch(FRENCH, folder)), ROOT + "fr/")
    found = pairs(english, french)
    if len(found) < FEWEST:
        raise ValueError(f"Expected at least {FEWEST} pairs in LibreOffice's help. Received: {len(found)}")
    return split(found)


def paragraphs(files, root):
    """Returns a dict from (path below root, id) to the text of the paragraph, of (path, bytes) of HTML files."""
    return {
        (path.removeprefix(root), identifier): " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).split())
        for path, content in files
        if path.startswith(root) and path.endswith(".html")
        for identifier, text in PARAGRAPH.findall(content.decode("utf-8"))
    }


def pairs(english, french):
    """Returns the sorted list of (English, French) that differ and are short enough prose.

    Of several translations the most frequent counts, of equally frequent ones the first in the alphabet.
    """
    counts = collections.defaultdict(collections.Counter)
    for key in english.keys() & french.keys():
        if english[key] != french[key] and is_short_prose(english[key]) and is_short_prose(french[key]):
            counts[english[key]][french[key]] += 1
    return [(text, min(others, key=lambda other: (-others[other], other))) for text, others in sorted(counts.items())]


def is_short(text):
    """Returns whether a text has `SHORTEST` to `LONGEST` words or signs."""
    return SHORTEST <= len(re.findall(TOKEN, text)) <= LONGEST


def is_short_prose(text):
    """Returns whether a text is short, and has no sign that belongs to code."""
    return is_short(text) and re.fullmatch(PROSE, text) is not None


def split(found):
    """Returns the `Splits` of a list of pairs, those of one template together."""
    groups = splits.connected([["en " + template(source), "fr " + template(target)] for source, target in found])
    return splits.divide(found, [splits.split_of(group) for group in groups], Pairs)


def template(text):
    """Returns the words in lower case, where names, abbreviations and numbers in a row have become one "N".

    A word is a name if it has a digit, an underscore, a point or a capital inside, is all capitals, or has
    a capital first but is not the first word; that last not in an English heading, where most words do. A
    path of menus, "Format - Page", is none.
    """
    words = re.findall(r"\w[\w.]*\w|\w", text)
    heading = 2 * sum(word[0].isupper() for word in words[1:]) > len(words) and " - " not in text
    plain = []
    for place, word in enumerate(words):
        name = re.search(r"[\d_.]|[a-z][A-Z]", word) or (len(word) > 1 and word.isupper())
        name = name or (place > 0 and word[0].isupper() and not heading)
        if not (name and plain[-1:] == ["N"]):
            plain.append("N" if name else word.lower())
    return " ".join(plain)


def bleu(translations, references):
    """Returns sacrebleu's BLEU, 0 to 100, of a list of translations with one reference each."""
    return sacrebleu.corpus_bleu(translations, [references]).score


def baseline(data):
    """Returns the BLEU on the test split of a translation memory of the training and validation split."""
    sources = [*data.train.sources, *data.validation.sources]
    targets = [*data.train.targets, *data.validation.targets]
    found = translation_memory.nearest(sources, data.test.sources, token_pattern=TOKEN, ngram_range=(1, 3))
    return bleu([targets[number] for number in found], data.test.targets)
