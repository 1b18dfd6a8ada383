"""Fiddle tunes of Scotland and Ireland in ABC notation, with metre and key, for generating music.

Origin: three collections in the corpus of the PyPI package music21 10.5.1: Aird's Airs (1782-1803), Ryan's
Mammoth Collection (1883), O'Neill's Music of Ireland (1903).
Licence: the tunes are in the public domain; the transcriptions are by volunteers, named in the files, with no
explicit licence; the package is BSD-3. Fetched, not part of this repository.
Size: of 4,248 tunes those that stay in one metre, unit and key and have 60 to 500 characters: 4,159, together
646,726 characters of 39 symbols; 151 in 9/8, 1,179 in 6/8, the others in 2/4, C, C| and 3/4 with few exceptions.
Text: `clean` keeps what sounds (notes, rests, lengths, ties, tuplets, chords, bars, repeats) and takes out
layout, fingering, ornaments and words, so that a model spends nothing on a transcriber's habits.
Split: by tune. Tunes that share a title or begin with the same `OPENING` notes are in one split, as many are in
two of the collections (3,505 groups): 3,395 tunes are training, 388 validation, 376 test.
Baseline: a 5-gram of characters with Witten and Bell's smoothing, measured: 2.76 bits per character (7-gram: 3.03;
of the text before `clean`, with a random split that parts copies, 2.93).
"""

import re
import typing
import zipfile

import ngrams
import packages
import splits

FILES = r"music21/corpus/(oneills1850|ryansMammoth|airdsAirs)/.*\.abc"
SHORTEST, LONGEST = 60, 500
OPENING = 16
ORDER = 5
SOUNDING = r"[A-Ga-gz0-9/,'^_=<>()\[\]|:-]+"
SILENT = r"""
    "[^"\n]*"               # chords, fingering, words above the staff
    | ![a-z][^!\n]*!        # named decorations
    | \{[^}\n]*\}           # grace notes
    | [~.H-WYh-wy!$*\\`\s]  # ornaments, line ends, spaces
    | \((?!\d) | \)         # slurs, but not the "(3" of a triplet
"""
MODES = {"": "", "maj": "", "m": "m", "min": "m", "dor": "dor", "mix": "mix", "phr": "phr", "lyd": "lyd"}


class Tunes(typing.NamedTuple):
    """Lists of N texts each: first title, metre ("6/8"), unit of length ("1/8"), key ("Ador") and notes."""

    titles: list
    metres: list
    units: list
    keys: list
    notes: list


def load(folder=None):
    """Returns the `splits.Splits` of `Tunes`; `folder` as in `packages.fetch`."""
    with zipfile.ZipFile(packages.fetch(packages.MUSIC21, folder)) as wheel:
        files = sorted(name for name in wheel.namelist() if re.fullmatch(FILES, name))
        texts = [wheel.read(name).decode("utf-8", "replace") for name in files]
    return split([tune for text in texts for tune in parse(text)])


def split(tunes):
    """Returns the `Splits` of the rows of `parse`, with a tune's copies in one split."""
    groups = splits.connected([_titles(titles) + [_opening(rest[-1])] for titles, *rest in tunes])
    rows = [(titles[0], *rest) for titles, *rest in tunes]
    return splits.divide(rows, [splits.split_of(group) for group in groups], Tunes)


def parse(text):
    """Yields (titles, metre, unit, key, notes) of each tune of an ABC file that `SHORTEST` etc. admit."""
    for tune in re.split(r"(?m)^(?=X:)", text)[1:]:
        head, _, body = re.sub(r"%.*", "", tune).partition("\nK:")
        key, _, body = body.partition("\n")
        fields = dict(re.findall(r"(?m)^([A-Z]):[ \t]*(.*?)[ \t]*$", head))
        titles = re.findall(r"(?m)^T:[ \t]*(.*?)[ \t]*$", head)
        notes, key = clean(body), normal_key(key)
        if notes and key and SHORTEST <= len(notes) <= LONGEST:
            yield titles, fields["M"], fields.get("L") or unit_of(fields["M"]), key, notes


def clean(body):
    """Returns the body of a tune without what does not sound; None if it changes metre, unit, key or voice."""
    if re.search(r"(?m)^[KLMV]:|\[[A-Z]:|&", body):
        return None
    body = re.sub(r"(?m)^[A-Za-z]:.*", "", body)
    body = re.sub(SILENT, "", body, flags=re.VERBOSE).replace("x", "z")
    body = re.sub(r"\[\||\|\]|\|+", "|", body)
    body = re.sub(r"\|+", "|", body.replace("|]", "|"))
    body = re.sub(r":\|:|::", "::", body).lstrip("|")
    return body if re.fullmatch(SOUNDING, body) else None


def normal_key(text):
    """Returns tonic and mode as in "G", "F#m", "Ador", "Dmix"; None if the text is no such key."""
    found = re.fullmatch(r"\s*([A-G][#b]?)\s*(|m|M|(?i:maj|min|dor|mix|phr|lyd)[a-z]*)\s*", text)
    if found is None:
        return None
    tonic, mode = found.groups()
    return tonic + MODES["maj" if mode == "M" else mode.lower()[:3]]


def unit_of(metre):
    """Returns the unit length that ABC takes for a metre where none is given."""
    if "/" not in metre:
        return "1/8"
    above, below = metre.split("/")
    return "1/16" if int(above) / int(below) < 0.75 else "1/8"


def _titles(titles):
    """Returns keys of the titles: their words in alphabetical order without articles and kinds of dance."""
    plain = [re.split(r"--|\(", title.lower().replace("'", ""))[0] for title in titles]
    words = [sorted(set(re.findall(r"\w+", title)) - {"the", "a"}) for title in plain]
    return ["title: " + " ".join(found) for found in words if found]


def _opening(notes):
    return "notes: " + "".join(re.findall("[a-g]", notes.lower())[:OPENING])


def baseline(data, order=ORDER):
    """Returns the bits per character of the test tunes by an n-gram of the training tunes."""
    return ngrams.bits_per_character(data.train.notes, data.test.notes, order)
