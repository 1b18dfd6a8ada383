"""
Title: New folk tunes, letter by letter, in a metre and a key
Description: Composes fiddle tunes in ABC notation, or goes on with yours. Compares bits per character with a 5-gram
Expected: 1.97 bits per character of the test tunes (the 5-gram: 2.76) in 10 minutes on 2 cores.

    python examples/music.py             # trains; after a kill the same line continues
    python examples/music.py --compose 3 --metre 9/8 --key Em --temperature 0.7
    python examples/music.py --compose 2 --metre 6/8 --key D --seed-tune "d2f fed|edB BAF|"
"""

import common  # first: it chooses the backend

# isort: split
import math

import abc_notation
import abc_tunes
import keras
import matplotlib.pyplot as plt
import numpy as np
import scores
from batches import LengthBatches

import keras_rnnx
from keras_rnnx.callbacks import SampleText
from keras_rnnx.models import SequenceGenerator, Text
from keras_rnnx.seq2seq import Sampling

EPOCHS, PATIENCE, BATCH_SIZE, SEED, UNITS = 20, 4, 32, 0, 256
LEARNING_RATE, EMBEDDING, DROPOUT = 3e-3, 48, 0.3
BUCKETS = (128, 176, 232, 352, abc_tunes.LONGEST + 2)  # characters, with the start and the end
METRES = ("2/4", "3/4", "4/4", "C", "C|", "3/8", "6/8", "9/8", "12/8")
KEYS = ("G", "D", "A", "C", "F", "Bb", "E", "Em", "Am", "Bm", "Dm", "Gm", "Ador", "Edor", "Amix", "Dmix")
CONDITIONS = [*(f"M:{m}" for m in METRES), *(f"L:1/{n}" for n in (4, 8, 16)), *(f"K:{k}" for k in KEYS)]
TUNES, METRE, KEY, TEMPERATURE = 3, "6/8", "D", 0.7
SAMPLES_EVERY = 5  # epochs
SMOKE = {"epochs": 1, "units": 16}
SMOKE_TUNES = 200


def conditions(metres, units, keys):
    """Returns (N, Z) ones and zeros: which of `CONDITIONS` hold for tunes; a rare metre or key is none of them."""
    heads = [(f"M:{metre}", f"L:{unit}", f"K:{key}") for metre, unit, key in zip(metres, units, keys, strict=True)]
    return np.array([[condition in head for condition in CONDITIONS] for head in heads], "int32")


def wanted(options):
    """Returns the condition (1, Z) of the metre and the key in the options."""
    return conditions([options.metre], [abc_tunes.unit_of(options.metre)], [options.key])


def given(tunes):
    """Returns what the model is trained and measured on."""
    return {"sequences": tunes.notes, "condition": conditions(tunes.metres, tunes.units, tunes.keys)}


def shortest(tunes, count):
    """Returns the shortest of some tunes."""
    rows = sorted(zip(*tunes, strict=True), key=lambda row: len(row[-1]))[:count]
    return abc_tunes.Tunes(*map(list, zip(*rows, strict=True)))


def build_model(notes, options):
    """Returns the model whose alphabet are the characters of these notes."""
    text = Text(standardize=None, split="character", start_token="[START]", end_token="[END]")
    text.adapt(notes)
    cell = keras_rnnx.LSTMCell(options.units)
    return SequenceGenerator(
        cell, text=text, condition=len(CONDITIONS), embedding=EMBEDDING, dropout=DROPOUT, seed=options.seed
    )


def bits(model, tunes):
    """Returns the bits per character of tunes, those of the ends included."""
    return -model.log_likelihood(given(tunes)).sum() / math.log(2) / sum(map(len, tunes.notes))


def compose(options):
    """Writes new tunes as ABC, MIDI, sound and a picture, by the saved model."""
    model = common.saved_model(options.output)
    opening = abc_tunes.clean(options.seed_tune) or ""
    if options.seed_tune and not opening:
        raise SystemExit(f"Expected --seed-tune to be notes in ABC. Received: {options.seed_tune}")
    strategy = Sampling(options.temperature, seed=options.seed)
    prompts = [opening] * options.compose if opening else None
    more = {"condition": wanted(options), "count": options.compose}
    tunes = model.generate(prompts, strategy, max_length=BUCKETS[-1], **more)
    head = (options.metre, abc_tunes.unit_of(options.metre), options.key)
    figure, axes = plt.subplots(len(tunes), 1, figsize=(10, 2.8 * len(tunes)), layout="constrained", squeeze=False)
    for number, (notes, axis) in enumerate(zip(tunes, axes[:, 0], strict=True), 1):
        file = options.output / f"tune{number}"
        tune = "X:{}\nT:Tune {}\nM:{}\nL:{}\nK:{}\n{}\n".format(number, number, *head, notes)
        file.with_suffix(".abc").write_text(tune)
        print(tune, end="")
        scores.write([abc_notation.read(abc_notation.played(notes), *head)[0]], file)
        draw(axis, *abc_notation.read(notes, *head), given=len(abc_notation.read(opening, *head)[0]))
    figure.savefig(options.output / "tunes.png", dpi=120)


def draw(axis, notes, bars, given):
    """Draws a tune and its bars; the notes that were given have another colour."""
    for part, color, label in ((notes[:given], "C1", "given"), (notes[given:], "C0", "composed")):
        scores.draw(axis, part, color, label if part else None)
    axis.set_xticks(bars, labels=[])
    axis.grid(axis="x")
    axis.set_axisbelow(True)
    axis.set_xlabel("bars")
    axis.legend(ncols=2, frameon=False)


def parse_options(arguments=None):
    """Returns the options of the command line."""
    parser = common.parser(__doc__, "music", epochs=EPOCHS, patience=PATIENCE, batch_size=BATCH_SIZE, seed=SEED)
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--folder", help="where the tunes are kept")
    parser.add_argument("--compose", type=int, metavar="N", help="use the saved model to write so many tunes")
    parser.add_argument("--metre", choices=METRES, default=METRE)
    parser.add_argument("--key", choices=KEYS, default=KEY)
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help="0: always the most probable note")
    parser.add_argument("--seed-tune", metavar="ABC", default="", help="the opening of the tunes to compose")
    return common.parse(parser, SMOKE, arguments)


def main(options):
    """Trains, evaluates, saves and uses a model."""
    keras.utils.set_random_seed(options.seed)
    settings = {name: getattr(options, name) for name in ("units", "seed", "batch_size", "smoke")}
    resumed = common.resumes(options.output, settings)
    data = abc_tunes.load(options.folder)
    if options.smoke:
        data = type(data)(*(shortest(part, SMOKE_TUNES) for part in data))
    baseline = abc_tunes.baseline(data)

    model = build_model(data.train.notes, options)
    x = given(data.train)
    batches = LengthBatches(
        x["condition"],
        model.text.encode(x["sequences"], BUCKETS[-1]),
        [(len(CONDITIONS), length) for length in BUCKETS],
        options.batch_size,
        options.seed,
        lambda condition, notes: model.preprocess({"sequences": notes, "condition": condition})[:2],
    )
    model.build({"sequences": (None, BUCKETS[-1]), "condition": (None, len(CONDITIONS))})
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, len(batches) * options.epochs)
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0))
    model.summary()
    print(keras_rnnx.explain(model.decoder))
    more = {"condition": wanted(options), "strategy": Sampling(options.temperature, seed=options.seed)}
    samples = SampleText(
        lambda model: model.generate(max_length=BUCKETS[-1], **more), options.output / "logs", SAMPLES_EVERY
    )
    validation = model.preprocess(given(data.validation))[:2]
    common.train(model, options, resumed, validation, callbacks=[samples], x=batches, verbose=2)

    model.save(options.output / "model.keras")
    measured = {name: bits(model, getattr(data, name)) for name in ("validation", "test")}
    folder = ["--metre", options.metre, "--key", options.key, "--temperature", options.temperature]
    common.in_fresh_process(__file__, "--output", options.output, "--compose", TUNES, *folder)
    print(f"Bits per character of the validation tunes {measured['validation']:.3f}, of the test tunes")
    print(f"{measured['test']:.3f}; by a 5-gram, which knows neither metre nor key, {baseline:.3f}.")
    print(f"Model, logs, tunes and tunes.png are in {options.output}.")
    common.print_result(measured["test"], baseline)


if __name__ == "__main__":
    chosen = parse_options()
    compose(chosen) if chosen.compose else main(chosen)
