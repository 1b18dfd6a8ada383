"""From a tune in ABC notation to its notes: what `abc_tunes.clean` leaves of the notation.

What a model writes need not be right: whatever cannot be read is passed over, and nothing is an error.

Reference: the abc music standard 2.1, https://abcnotation.com/wiki/abc:standard:v2.1
"""

import re

SHARPS = "FCGDAEB"  # in the order in which they come
MODES = {"": 0, "m": -3, "dor": -2, "mix": -1, "phr": -4, "lyd": 1}  # sharps more than in major
SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
SIGNS = {"^": 1, "_": -1, "=": 0}
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}  # so many notes in the time of so many others
LENGTH = r"(\d{0,2})(/{0,3})(\d?)"
NOTE = rf"([\^_=]{{0,2}})([A-Ga-gz])([,']{{0,2}}){LENGTH}"
CHORD = rf"\[(?:{NOTE})+\](?P<chord>{LENGTH})"
EVENT = re.compile(rf"(?P<mark>[|-])|(?P<broken>[<>]{{1,2}})|\((?P<tuplet>[2-9])|{CHORD}|{NOTE}")


def units(above, slashes, below):
    """Returns the length that stands behind a note: of "3/2" 1.5, of "/" 0.5, of nothing 1."""
    return int(above or 1) / (int(below or 0) or 2 ** len(slashes))


def fifths(key):
    """Returns the sharps of a key such as "G", "F#m" or "Ador"; those of flats are negative."""
    tonic, sign, mode = re.fullmatch("([A-G])([#b]?)(.*)", key).groups()
    return SHARPS.index(tonic) - 1 + {"": 0, "#": 7, "b": -7}[sign] + MODES[mode]


def played(text):
    """Returns the text of a tune with its repeats and their endings written out."""
    made, parts = "", [*re.split(r"(:\|*:|:\||\|:)", text), ""]
    for section, sign in zip(parts[::2], parts[1::2], strict=True):
        body, *ending = re.split(r"(?<=\|)1|\[1", re.sub(r"^\|*\[?2", "", section), maxsplit=1)
        made += "".join([body, *ending, "|", body if sign.startswith(":") else "", "|"])
    return made


def read(text, metre, unit, key):
    """Returns the notes of a tune, (start, length, MIDI number), and the starts of its bars, all times in quarters.

    Args:
        text: str, the tune without its head; repeats are passed over: see `played`.
        metre, unit, key: str, as "6/8", "1/8" and "Ador".
    """
    sharps = fifths(key)
    signature = dict.fromkeys(SHARPS[:sharps], 1) if sharps > 0 else dict.fromkeys((SHARPS * 2)[7 + sharps : 7], -1)
    quarters, usual = 4 / int(unit.split("/")[1]), 3 if metre in ("6/8", "9/8", "12/8") else 2
    notes, newest, bars, altered = [], [], [0.0], dict(signature)
    now, length, dotted, left, ratio, tied = 0.0, 0.0, 1.0, 0, 1.0, False
    for event in EVENT.finditer(text):
        if event["mark"] == "|":
            altered, bars = dict(signature), [*bars, now]
        elif event["mark"] == "-":
            tied = True
        elif event["tuplet"]:
            left = int(event["tuplet"])
            ratio = TUPLETS.get(left, usual) / left
        elif event["broken"]:
            part = 0.5 ** len(event["broken"])
            before, dotted = (2 - part, part) if ">" in event["broken"] else (part, 2 - part)
            for note in newest:
                note[1] += length * (before - 1)
            now += length * (before - 1)
        else:
            sounding = re.findall(NOTE, event[0])
            chord = re.fullmatch(LENGTH, event["chord"] or "").groups()
            length = quarters * units(*sounding[0][3:]) * units(*chord) * dotted * (ratio if left > 0 else 1)
            held = {n[2]: n for n in newest} if tied else {}
            newest = []
            for signs, letter, octaves, *_ in sounding:
                tone = letter.upper()
                if signs:
                    altered[tone] = sum(SIGNS[sign] for sign in signs)
                if tone == "Z":
                    continue
                pitch = 60 + SEMITONES[tone] + altered.get(tone, 0)
                pitch += 12 * (letter.islower() + octaves.count("'") - octaves.count(","))
                newest.append(held.get(pitch) or [now, 0.0, pitch])
                notes += [newest[-1]] if pitch not in held else []
                newest[-1][1] += length
            now, dotted, left, tied = now + length, 1.0, left - 1, False
    return [tuple(note) for note in notes], bars
