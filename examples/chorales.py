"""
Title: Four-part harmony: a bass, an alto and a tenor below a melody
Description: Harmonises a melody as Bach did his chorales, one voice after the other. Compares the bass with a table
Expected: 0.41 of the test eighths have Bach's bass (the table, from the soprano's pitch to the bass': 0.286) within
    12 minutes on 2 cores.

    python examples/chorales.py             # trains; after a kill the same line continues
    python examples/chorales.py --harmonise bwv244.3
    python examples/chorales.py --harmonise runs/music/tune1.abc
"""

import common  # first: it chooses the backend

# isort: split
import itertools
import pathlib

import abc_notation
import abc_tunes
import bach
import keras
import matplotlib.pyplot as plt
import numpy as np
import scores
import splits
from keras.utils import pad_sequences

import keras_rnnx
from keras_rnnx.models import SequenceTagger

EPOCHS, PATIENCE, BATCH_SIZE, SEED, UNITS, DEPTH = 30, 8, 16, 0, 128, 2
LEARNING_RATE, DROPOUT = 2e-3, 0.35
PIECE = 128  # eighths: into such pieces longer chorales are cut for the training
BAR = 8  # eighths, in most chorales
UNKNOWN, REST, LOWEST, TAGS = 0, 1, 29, 58  # a tag is 0, 1, or from 2 on the MIDI number less 29
CODES = np.concatenate([np.eye(TAGS), np.eye(12)[np.arange(TAGS) % 12]], axis=1)  # a pitch, and the same in any octave
CODES[UNKNOWN] = 0
ORDER = ("bass", "alto", "tenor")  # each is found from the soprano and the voices before it
COLORS = ("C3", "C1", "C2", "C0")
SMOKE = {"epochs": 1, "units": 8, "depth": 1}
SMOKE_CHORALES = 16
EXAMPLE = "bwv244.3"  # a test chorale, from the St Matthew Passion


def encode(pitches, fifths):
    """Returns the tags of MIDI numbers, moved to the key signature of C; 0 is a rest."""
    return np.where(pitches > 0, np.clip(pitches + bach.to_c(fifths) - LOWEST, REST + 1, TAGS - 1), REST)


def decode(tags, fifths):
    """Returns the MIDI numbers of tags, back in their own key."""
    return np.where(tags > REST, tags - bach.to_c(fifths) + LOWEST, 0)


def eighths(chorales):
    """Returns a list of tags (T, 4), and a list of where the soprano strikes (T,), a step being an eighth."""
    pitches = [pitches[:: bach.EIGHTH] for pitches in chorales.pitches]
    strikes = [starts[:: bach.EIGHTH, 0] for starts in chorales.starts]
    return [encode(p, fifths) for p, fifths in zip(pitches, chorales.fifths, strict=True)], strikes


def question(tags, strikes, voice):
    """Returns what the tagger reads in order to find a voice, (T, D): the voices that are there, and which is asked."""
    found = ORDER.index(voice)
    given = tags * np.isin(bach.PARTS, ("soprano", *ORDER[:found]))
    place = np.eye(BAR)[np.arange(len(tags)) % BAR]
    asked = np.tile(np.eye(len(ORDER))[found], (len(tags), 1))
    return np.concatenate([CODES[given].reshape(len(tags), -1), strikes[:, None], place, asked], axis=1)


def prepare(chorales):
    """Returns inputs (N, T, D) and tags (N, T): of each chorale the three questions, all in pieces."""
    x, y = [], []
    for tags, strikes in zip(*eighths(chorales), strict=True):
        for voice, start in itertools.product(ORDER, range(0, len(tags), PIECE)):
            piece = slice(start, start + PIECE)
            x.append(question(tags, strikes, voice)[piece])
            y.append(tags[piece, bach.PARTS.index(voice)])
    return padded(x), padded(y, "int32", -1)


def padded(rows, dtype="float32", value=0):
    return pad_sequences(rows, dtype=dtype, padding="post", value=value)


def build_model(options, steps):
    """Returns the compiled tagger; padding is a step of zeros only."""
    model = SequenceTagger(
        TAGS,
        keras_rnnx.GRUCell(options.units),
        options.depth,
        bidirectional=True,
        dropout=DROPOUT,
        mask_value=0,
        seed=options.seed,
    )
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0))
    return model


def harmonise(model, tags, strikes):
    """Returns the tags (T, 4) of chorales with all voices but the soprano by the model."""
    made = [rows * np.isin(bach.PARTS, "soprano") for rows in tags]
    for voice in ORDER:
        questions = padded([question(rows, *given, voice) for rows, *given in zip(made, strikes, strict=True)])
        for rows, found in zip(made, model.predict(questions, batch_size=64, verbose=0), strict=True):
            rows[:, bach.PARTS.index(voice)] = found[: len(rows)]
    return made


def right(made, tags, voice):
    """Returns the share of eighths at which a voice is as Bach has it."""
    column = bach.PARTS.index(voice)
    return float(np.mean(np.concatenate([m[:, column] == t[:, column] for m, t in zip(made, tags, strict=True)])))


def voices(pitches, strikes):
    """Returns four lists of notes: a new one where the pitch changes, and on the beat with the soprano's."""
    beats = strikes & (np.arange(len(strikes)) % 2 == 0)
    return [scores.notes(column, beats | (np.diff(column, prepend=-1) != 0), 2) for column in pitches.T]


def draw(pitches, made, strikes, history, file):
    """Draws Bach's voices, the model's, and the curves of the training."""
    figure, axes = plt.subplots(3, 1, figsize=(10, 9), layout="constrained")
    for axis, rows, whose in ((axes[0], pitches, "by Bach"), (axes[1], made, "below Bach's soprano by the model")):
        for part, color, voice in zip(bach.PARTS, COLORS, voices(rows, strikes), strict=True):
            scores.draw(axis, voice, color, part)
        axis.set(title=f"{EXAMPLE} {whose}", ylim=(pitches[pitches > 0].min() - 3, pitches.max() + 2))
    figure.legend(*axes[0].get_legend_handles_labels(), ncols=4, frameon=False, loc="outside upper center")
    common.draw_history(axes[2], history, "accuracy")
    axes[2].legend(frameon=False)
    figure.savefig(file, dpi=120)
    plt.close(figure)


def melody(name, folder):
    """Returns of a melody the MIDI numbers (T,), where it strikes (T,), and the sharps of its key.

    It is the soprano of a chorale, or the first tune of a file in ABC notation.
    """
    for part in bach.load(folder):
        if name in part.names:
            n = part.names.index(name)
            return part.pitches[n][:: bach.EIGHTH, 0], part.starts[n][:: bach.EIGHTH, 0], part.fifths[n]
    file = pathlib.Path(name)
    tune = next(abc_tunes.parse(file.read_text()), None) if file.exists() else None
    if tune is None:
        raise SystemExit(f"Expected a chorale, such as {EXAMPLE}, or a file with a tune in ABC. Received: {name}")
    _, metre, unit, key, text = tune
    notes, _ = abc_notation.read(text, metre, unit, key)
    return *scores.grid(notes, 2), abc_notation.fifths(key)


def write_harmony(options):
    """Writes a melody with three voices below it, by the saved model."""
    model = common.saved_model(options.output)
    soprano, strikes, fifths = melody(options.harmonise, options.folder)
    tags = encode(np.tile(soprano[:, None], 4), fifths)
    pitches = decode(harmonise(model, [tags], [strikes])[0], fifths)
    pitches[:, 0] = soprano
    name = pathlib.Path(options.harmonise).name.removesuffix(".abc")
    scores.write(voices(pitches, strikes), options.output / name)


def parse_options(arguments=None):
    """Returns the options of the command line."""
    parser = common.parser(__doc__, "chorales", epochs=EPOCHS, patience=PATIENCE, batch_size=BATCH_SIZE, seed=SEED)
    parser.add_argument("--units", type=int, default=UNITS, help="of each direction of a level")
    parser.add_argument("--depth", type=int, default=DEPTH, help="levels")
    parser.add_argument("--folder", help="where the chorales are kept")
    parser.add_argument("--harmonise", metavar="MELODY", help="use the saved model on a chorale's soprano, or a file")
    return common.parse(parser, SMOKE, arguments)


def main(options):
    """Trains, evaluates, saves and uses a model."""
    output = options.output
    keras.utils.set_random_seed(options.seed)
    fixed = ("units", "depth", "seed", "batch_size", "smoke")
    resumed = common.resumes(output, {name: getattr(options, name) for name in fixed})
    data = bach.load(options.folder)
    if options.smoke:
        data = splits.shortened(data, SMOKE_CHORALES)._replace(test=data.test)
    baselines = {voice: bach.baseline(data, voice) for voice in ORDER}

    x, y = prepare(data.train)
    model = build_model(options, -(-len(x) // options.batch_size) * options.epochs)
    model.build(x.shape)
    model.summary()
    print(keras_rnnx.explain(model))
    fit = {"x": x, "y": y, "batch_size": options.batch_size, "verbose": 2}
    common.train(model, options, resumed, prepare(data.validation), **fit)
    model.save(output / "model.keras")

    for name, part in (("validation", data.validation), ("test", data.test)):
        tags, strikes = eighths(part)
        made = harmonise(model, tags, strikes)
        shares = {voice: right(made, tags, voice) for voice in ORDER}
        print(f"{name}: share of eighths that are Bach's: " + ", ".join(f"{v} {s:.3f}" for v, s in shares.items()))
    n = data.test.names.index(EXAMPLE)
    pictured = (decode(rows[n], data.test.fifths[n]) for rows in (tags, made))
    draw(*pictured, strikes[n], common.read_history(output / "history.csv"), output / "harmony.png")
    folder = ["--folder", options.folder] if options.folder else []
    common.in_fresh_process(__file__, "--output", output, "--harmonise", EXAMPLE, *folder)
    print("The table, test: " + ", ".join(f"{voice} {share:.3f}" for voice, share in baselines.items()))
    print(f"Model, logs and harmony.png are in {output}.")
    common.print_result(shares["bass"], baselines["bass"])


if __name__ == "__main__":
    chosen = parse_options()
    write_harmony(chosen) if chosen.harmonise else main(chosen)
