"""Music as a picture, a MIDI file and sound. A voice is a list of notes (start, length, MIDI number) in quarters."""

import itertools
import shutil
import subprocess

import mido
import numpy as np

SYNTHESISERS = {"timidity": ("-Ow", "-o", "{wav}", "{mid}"), "fluidsynth": ("-ni", "-F", "{wav}", "{mid}")}
VELOCITY = 80


def notes(pitches, begins, steps):
    """Returns the voice whose MIDI numbers (T,), 0 being a rest, are on a grid of so many steps in a quarter.

    Args:
        pitches: (T,) integers.
        begins: (T,) booleans, whether a note or a rest begins at the step.
        steps: int > 0.
    """
    spans = itertools.pairwise([*np.flatnonzero(begins).tolist(), len(pitches)])
    return [(start / steps, (end - start) / steps, int(pitches[start])) for start, end in spans if pitches[start]]


def grid(voice, steps):
    """Returns the MIDI numbers (T,) of a voice on a grid, and where its notes begin (T,): the way back of `notes`."""
    spans = [(round(steps * start), round(steps * (start + length)), pitch) for start, length, pitch in voice]
    pitches, begins = np.zeros((2, max((end for _, end, _ in spans), default=0)), "int32")
    for start, end, pitch in spans:
        pitches[start:end], begins[start:end] = pitch, np.arange(end - start) == 0
    return pitches, begins > 0


def draw(axis, voice, color, label=None):
    """Draws a voice as a piano roll on a matplotlib axis."""
    bottoms, lengths = [pitch - 0.4 for *_, pitch in voice], [0.92 * length for _, length, _ in voice]
    axis.bar([start for start, *_ in voice], 0.8, lengths, bottoms, align="edge", color=color, label=label)
    axis.set(xlabel="quarter notes", ylabel="MIDI number")
    axis.spines[["top", "right"]].set_visible(False)


def write(voices, file):
    """Writes voices as a .mid file, and where a synthesiser is installed also as .wav; prints what it wrote.

    Args:
        file: path without a suffix.
    """
    mid, wav = f"{file}.mid", f"{file}.wav"
    midi = mido.MidiFile()
    for voice in voices:
        events = [(start, VELOCITY, pitch) for start, _, pitch in voice]
        events += [(start + length, 0, pitch) for start, length, pitch in voice]
        track, now = midi.add_track(), 0
        for time, velocity, pitch in sorted(events):  # at one time what ends, with velocity 0, is first
            ticks = round(time * midi.ticks_per_beat)
            track.append(mido.Message("note_on", note=pitch, velocity=velocity, time=ticks - now))
            now = ticks
    midi.save(mid)
    program = next(filter(shutil.which, SYNTHESISERS), None)
    if program is None:
        print(f"{mid}; no sound file, as neither {' nor '.join(SYNTHESISERS)} is installed")
        return
    command = [program, *(argument.format(mid=mid, wav=wav) for argument in SYNTHESISERS[program])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    print(f"{mid} and {wav}")
