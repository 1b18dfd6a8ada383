"""Bach's four-part chorales on a grid of sixteenth notes, for harmonising a soprano.

Origin: MusicXML files in the corpus of the PyPI package music21 10.5.1, read with the standard library alone.
Licence: the music is in the public domain; the transcriptions have no explicit licence; the package is BSD-3.
Fetched, not part of this repository.
Size: of 408 files the 364 in four parts, 79,268 steps; soprano 57 to 81, alto 53 to 74, tenor 48 to 69, bass 36
to 64 as MIDI numbers.
Split: by melody: chorales whose sopranos begin with the same `OPENING` intervals are in one split, as Bach set
many melodies several times: 255 chorales are training, 63 validation, 46 test.
Baseline: a table from the soprano's pitch to the bass', measured: 0.286 of the eighths right (alto and tenor: see
`baseline`; "as at the last step" is right at 0.80 of the steps, so steps are no measure).
"""

import collections
import io
import re
import typing
import zipfile
from xml.etree import ElementTree

import numpy as np
import packages
import splits

FILES = r"music21/corpus/bach/bwv[\w.-]+\.mxl"
PARTS = ("soprano", "alto", "tenor", "bass")
STEPS = 4  # of the grid in a quarter note
EIGHTH = 2  # steps
OPENING = 8
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


class Chorales(typing.NamedTuple):
    """Lists over N chorales of T steps each.

    names: texts, as "bwv1.6". fifths: ints, sharps of the key signature, flats negative.
    pitches: int32 arrays (T, 4), MIDI numbers of soprano, alto, tenor and bass, 0 for a rest.
    starts: bool arrays (T, 4), whether a note begins at the step, and does not just go on.
    """

    names: list
    fifths: list
    pitches: list
    starts: list


def load(folder=None):
    """Returns the `splits.Splits` of `Chorales`; `folder` as in `packages.fetch`."""
    with zipfile.ZipFile(packages.fetch(packages.MUSIC21, folder)) as wheel:
        files = sorted(name for name in wheel.namelist() if re.fullmatch(FILES, name))
        scores = [(name.split("/")[-1].removesuffix(".mxl"), *parse(unpack(wheel.read(name)))) for name in files]
    rows = [score for score in scores if is_choral(score[2])]
    groups = splits.connected([[opening(pitches, starts)] for _, _, pitches, starts in rows])
    return splits.divide(rows, [splits.split_of(group, parts=7) for group in groups], Chorales)


def unpack(content):
    """Returns the MusicXML text in a compressed .mxl file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        container = ElementTree.fromstring(archive.read("META-INF/container.xml"))
        return archive.read(container.find(".//{*}rootfile").get("full-path"))


def parse(text):
    """Returns fifths, pitches (T, P) and starts (T, P) of a MusicXML score of P parts.

    Of simultaneous notes in a part the first counts. Parts that end early rest till the end.
    """
    score = ElementTree.fromstring(text)
    fifths = score.findtext(".//key/fifths", default="0")
    voices = [list(notes(part)) for part in score.iter("part")]
    length = max(end for voice in voices for _, end, _, _ in voice)
    pitches = np.zeros((length, len(voices)), "int32")
    starts = np.zeros((length, len(voices)), bool)
    for column, voice in enumerate(voices):
        for begin, end, pitch, begins in voice:
            pitches[begin:end, column] = pitch
            starts[begin : begin + 1, column] |= begins
    return int(fifths), pitches, starts


def notes(part):
    """Yields (first step, step after the last, MIDI number or 0, whether it begins) of a part's notes."""
    now, divisions = 0.0, 1
    for element in (element for measure in part.iter("measure") for element in measure):
        divisions = int(element.findtext("divisions", default=str(divisions)))
        if element.tag not in ("note", "backup", "forward") or element.find("chord") is not None:
            continue
        length = float(element.findtext("duration", default="0")) * STEPS / divisions
        if element.tag == "backup":
            now -= length
            continue
        if element.tag == "note" and length:
            tied = any(tie.get("type") == "stop" for tie in element.iter("tie"))
            pitch = midi(element.find("pitch"))
            yield round(now), round(now + length), pitch, bool(pitch) and not tied
        now += length


def midi(pitch):
    """Returns the MIDI number of a <pitch> element, 0 where there is none."""
    if pitch is None:
        return 0
    alter = int(float(pitch.findtext("alter", default="0")))
    return 12 * (int(pitch.findtext("octave")) + 1) + SEMITONES[pitch.findtext("step")] + alter


def is_choral(pitches):
    """Returns whether a score has four parts that all sound."""
    return pitches.shape[1] == len(PARTS) and bool((pitches > 0).any(axis=0).all())


def opening(pitches, starts):
    """Returns the first intervals of the soprano as a text, the same in every key."""
    tones = pitches[starts[:, 0], 0][: OPENING + 1]
    return " ".join(str(interval) for interval in np.diff(tones))


def to_c(fifths):
    """Returns the semitones, -6 to 5, that move a key signature to that without sharps and flats."""
    return (-7 * fifths + 6) % 12 - 6


def baseline(data, part="bass"):
    """Returns the share of the test eighths at which a table gives the pitch of a part.

    The table has, for each pitch of the soprano, the part's most frequent one in the training and the
    validation split, all moved to the key signature of C. A pitch that it lacks is taken to be wrong.
    """
    column = PARTS.index(part)
    counts = collections.defaultdict(collections.Counter)
    for chorales in (data.train, data.validation):
        for soprano, other in _eighths(chorales, column):
            counts[soprano][other] += 1
    table = {soprano: others.most_common(1)[0][0] for soprano, others in counts.items()}
    return float(np.mean([table.get(soprano) == other for soprano, other in _eighths(data.test, column)]))


def _eighths(chorales, column):
    for fifths, pitches in zip(chorales.fifths, chorales.pitches, strict=True):
        moved = np.where(pitches > 0, pitches + to_c(fifths), 0)[::EIGHTH]
        yield from zip(moved[:, 0].tolist(), moved[:, column].tolist(), strict=True)
