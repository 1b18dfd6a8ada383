"""What the scripts on music read and write: ABC notation, MIDI files, and questions to a tagger of voices."""

import importlib
import pathlib
import random
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).resolve().parent.parent / "examples"
sys.path.append(str(EXAMPLES))
abc_notation = importlib.import_module("abc_notation")


def read(text, metre="6/8", unit="1/8", key="C"):
    return abc_notation.read(text, metre, unit, key)[0]


def pitches(text, key="C"):
    return [pitch for *_, pitch in read(text, key=key)]


def lengths(text, metre="6/8", unit="1/8"):
    return [length for _, length, _ in read(text, metre, unit)]


@pytest.mark.parametrize(
    ("key", "sharps"), [("C", 0), ("G", 1), ("F", -1), ("Bb", -2), ("Em", 1), ("Ador", 1), ("Dmix", 1), ("F#m", 3)]
)
def test_a_key_has_its_sharps_and_flats(key, sharps):
    assert abc_notation.fifths(key) == sharps


def test_pitches_follow_octaves_the_key_and_accidentals_until_the_bar():
    assert pitches("C,Ccc'") == [48, 60, 72, 84]
    assert pitches("FCB", key="D") == [66, 61, 71]
    assert pitches("BEA", key="Bb") == [70, 63, 69]
    assert pitches("^FF=FF|F_F", key="D") == [66, 66, 65, 65, 66, 64]


def test_lengths_are_in_quarters():
    assert lengths("AA2A3/2A/A/4A//") == [0.5, 1, 0.75, 0.25, 0.125, 0.125]
    assert lengths("A", unit="1/16") == [0.25]
    assert lengths("A>BA<BA>>B") == [0.75, 0.25, 0.25, 0.75, 0.875, 0.125]
    assert lengths("(3ABcA(2AB") == pytest.approx([1 / 3] * 3 + [0.5] + [0.75] * 2)
    assert lengths("(5ABcde", "6/8") == pytest.approx([0.3] * 5)
    assert lengths("(5ABcde", "2/4") == pytest.approx([0.2] * 5)


def test_rests_chords_and_ties():
    assert read("z[CE]A") == [(0.5, 0.5, 60), (0.5, 0.5, 64), (1, 0.5, 69)]
    assert read("[C2E2]/[CE]2") == [(0, 0.5, 60), (0, 0.5, 64), (0.5, 1, 60), (0.5, 1, 64)]
    assert read("zA-A2|") == [(0.5, 1.5, 69)]
    assert read("A-B") == [(0, 0.5, 69), (0.5, 0.5, 71)]


def test_bars_begin_where_they_are_written():
    assert abc_notation.read("d|ABc def|g3", "6/8", "1/8", "C")[1] == [0, 0.5, 3.5]


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("AB", "AB"),
        ("A|B:|C:|", "ABABCC"),
        ("A::B:|", "AABB"),
        ("A|:B:|C", "ABBC"),
        ("|:A|1B:|2C|D", "ABACD"),
        ("A[1B:|[2C|", "ABAC"),
    ],
)
def test_repeats_are_played(text, notes):
    assert abc_notation.played(text).replace("|", "") == notes


def test_what_is_no_notation_is_passed_over():
    draw = random.Random(0)
    signs = "ABCDEFGabcdefgz0123456789/,'^_=<>()[]|:-xyz!\"{} \n"
    for _ in range(300):
        text = "".join(draw.choice(signs) for _ in range(40))
        for start, length, pitch in read(abc_notation.played(text)):
            assert start >= 0 and length >= 0 and 0 <= pitch < 128
    assert read("") == []


def test_voices_are_written_as_midi(tmp_path, capsys, monkeypatch):
    mido, scores = pytest.importorskip("mido"), importlib.import_module("scores")
    monkeypatch.setattr(scores, "SYNTHESISERS", {"no-such-program": ()})
    scores.write([[(0, 1, 60), (1, 0.5, 62)], [(0, 1.5, 48)]], tmp_path / "bwv1.6")
    assert "bwv1.6.mid; no sound file" in capsys.readouterr().out
    midi = mido.MidiFile(tmp_path / "bwv1.6.mid")
    first = [(m.time / midi.ticks_per_beat, m.note, m.velocity > 0) for m in midi.tracks[0] if m.type == "note_on"]
    assert first == [(0, 60, True), (1, 60, False), (0, 62, True), (0.5, 62, False)]
    assert len(midi.tracks) == 2


def test_a_voice_on_a_grid_and_back():
    pytest.importorskip("mido")
    scores = importlib.import_module("scores")
    voice = [(0.5, 1, 60), (1.5, 0.5, 60), (2, 1, 62)]
    pitches, begins = scores.grid([*voice, (3, 0.1, 70)], 2)  # the last is shorter than a step
    assert pitches.tolist() == [0, 60, 60, 60, 62, 62]
    assert begins.tolist() == [False, True, False, True, True, False]
    assert scores.notes(pitches, begins, 2) == voice
