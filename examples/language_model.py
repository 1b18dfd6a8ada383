"""
Title: A language model of characters that reads one long text from end to end
Description: Reads Shakespeare and says which character comes next; then it writes on by itself. Trained by truncated
    backpropagation through time: the gradient ends with a window, the state goes on into the next one.
Expected: 2.23 bits per character of the test text (a 6-gram: 2.41) in 5 minutes on 2 cores.

    python examples/language_model.py        # trains; after a kill the same line continues
    python examples/language_model.py --continue-text "To be, or not to be" --temperature 0.7
    KERAS_BACKEND=jax python examples/language_model.py --units 512
"""

import common  # first: it chooses the backend

# isort: split
import argparse

import keras
import matplotlib.pyplot as plt
import numpy as np
import shakespeare

import keras_rnnx
from keras_rnnx.callbacks import ResetStates, SampleText
from keras_rnnx.losses import BitsPerCharacter
from keras_rnnx.models import SequenceGenerator, Text
from keras_rnnx.seq2seq import Sampling

EPOCHS, PATIENCE, BATCH_SIZE, SEED, UNITS, WINDOW = 8, 2, 32, 0, 256, 32
LEARNING_RATE, EMBEDDING, DROPOUT, TEMPERATURE = 3e-3, 64, 0.1, 0.7
RESET = 32  # windows after which all streams begin anew: the model has to learn how to begin, too
SMOKE = {"epochs": 1, "units": 32}
SMOKE_CHARACTERS = 40_000
TEST_WINDOW = 500
LINES = 14  # of the test text, in the picture
SAMPLE, MORE = "KING.\n", 300  # the characters that are written
BEGINNING = "HAMLET.\nTo be, or not to be"


class Streams(keras.utils.PyDataset):
    """A text cut into streams of equal length, which are read side by side, window by window.

    Row b of a batch goes on where row b of the batch before it ended, as a stateful layer expects.

    Args:
        codes: (L,) integers > 0.
        count: int B > 0, how many streams.
        window: int T > 0, how many characters of each are in a batch. The last stream is padded with 0.
    """

    def __init__(self, codes, count, window):
        super().__init__()
        self.window = window
        self.windows = -(-(len(codes) - 1) // (count * window))
        missing = count * self.windows * window - (len(codes) - 1)
        self.read, self.said = (np.pad(part, (0, missing)).reshape(count, -1) for part in (codes[:-1], codes[1:]))

    def __len__(self):
        return self.windows

    def __getitem__(self, index):
        steps = slice(index * self.window, (index + 1) * self.window)
        return self.read[:, steps], self.said[:, steps]


def parse_options(arguments=None):
    """Returns the options of the command line."""
    parser = common.parser(
        __doc__, "language_model", epochs=EPOCHS, patience=PATIENCE, batch_size=BATCH_SIZE, seed=SEED
    )
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--window", type=int, default=WINDOW, help="characters between two updates of the weights")
    parser.add_argument("--folder", help="where the text is kept")
    parser.add_argument("--continue-text", metavar="TEXT", default=argparse.SUPPRESS, help="use the saved model")
    parser.add_argument("--temperature", type=float, default=TEMPERATURE, help="of the text that it writes")
    return common.parse(parser, SMOKE, arguments)


def build_model(characters, options, steps):
    """Returns the compiled model, whose state is kept from batch to batch."""
    text = Text(standardize=None, split="character", vocabulary=characters)
    model = SequenceGenerator(
        keras_rnnx.GRUCell(options.units),
        text=text,
        embedding=EMBEDDING,
        dropout=DROPOUT,
        stateful=True,
        seed=options.seed,
    )
    model.build((options.batch_size, options.window))
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    bits = BitsPerCharacter(keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.compile(keras.optimizers.Adam(schedule, clipnorm=1.0), metrics=[bits])
    return model


def bits_of(model, codes, streams=1):
    """Returns what each character but the first costs, (L - 1,) bits; each stream is read from a fresh state on."""
    data = Streams(codes, streams, TEST_WINDOW)
    keras_rnnx.reset_states(model)
    log_probs = keras.ops.log_softmax(model.predict(data, verbose=0))
    said = np.concatenate([said for _, said in data])
    bits = -np.take_along_axis(np.asarray(log_probs), said[..., None], axis=-1) / np.log(2)
    return bits.reshape(len(data), streams, -1).swapaxes(0, 1).reshape(-1)[: len(codes) - 1]


def draw(history, text, bits, fresh, streams, baseline, file):
    """Draws the training, the worth of the state, and what each character of some lines costs."""
    figure, axes = plt.subplot_mosaic([["left", "right"], ["below", "below"]], figsize=(10, 7), layout="constrained")
    left, right, below = axes.values()
    common.draw_history(left, history, "bits_per_character")
    left.axhline(baseline, color="grey", ls="--", label="6-gram, test")
    octave = np.log2(np.arange(len(bits)) % -(-len(bits) // streams) + 1).astype(int)
    for costs, label in ((fresh, f"{streams} fresh states, along the text"), (bits, "one state for the whole text")):
        means = [costs[octave == n].mean() for n in range(octave.max() + 1)]
        right.plot(2.0 ** np.arange(len(means)), means, "o-", label=label)
    right.set(xscale="log", xlabel="characters since the fresh state", ylabel="bits_per_character, test")
    for axis in (left, right):
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    place = text.index("\n\n", len(text) // 2) + 2
    lines = text[place:].splitlines(keepends=True)[:LINES]
    grid = np.full((len(lines), max(map(len, lines))), np.nan)
    for row, line in enumerate(lines):
        grid[row, : len(line)] = bits[place - 1 : place - 1 + len(line)]
        place += len(line)
        for column, character in enumerate(line.rstrip("\n")):
            below.text(column, row, character, ha="center", va="center", family="monospace", fontsize=8)
    image = below.imshow(grid, cmap="YlOrRd", vmin=0, vmax=10, aspect="auto")
    below.set_axis_off()
    figure.colorbar(image, ax=below, label="bits")
    figure.savefig(file, dpi=150)
    plt.close(figure)


def continue_text(options):
    """Prints a beginning and what the saved model writes on."""
    model = common.saved_model(options.output)
    unknown = set(options.continue_text) - set(model.text.tokens)
    if unknown or not options.continue_text:
        raise SystemExit(f"Expected a beginning of characters that Shakespeare uses. Received: {sorted(unknown)}")
    strategy = Sampling(options.temperature, seed=options.seed)
    length = len(options.continue_text) + MORE
    print(model.generate([options.continue_text], strategy, max_length=length)[0])


def main(options):
    """Trains, evaluates, saves and uses a model."""
    keras.utils.set_random_seed(options.seed)
    fixed = ("units", "window", "batch_size", "seed", "smoke")
    resumed = common.resumes(options.output, {name: getattr(options, name) for name in fixed})
    data = shakespeare.load(options.folder)
    if options.smoke:
        data = type(data)(*(text[:SMOKE_CHARACTERS] for text in data))
    baseline = shakespeare.baseline(data)
    print(f"{len(data.train)} characters to learn from; a 6-gram needs {baseline:.3f} bits for one of the test text")

    steps = options.epochs * -(-len(data.train) // (options.batch_size * options.window))
    model = build_model(sorted(set(data.train)), options, steps)
    train, validation, test = (model.text.encode([text])[0] for text in data)
    model.summary()
    print(keras_rnnx.explain(model))
    batches, judged = (Streams(codes, options.batch_size, options.window) for codes in (train, validation))
    sample = SampleText(prompts=[SAMPLE], strategy=Sampling(TEMPERATURE, seed=options.seed), max_length=MORE)
    common.train(
        model, options, resumed, (judged,), callbacks=[ResetStates(RESET), sample], x=batches, shuffle=False, verbose=2
    )

    bits = bits_of(model, test)
    fresh = bits_of(model, test, options.batch_size)
    model.save(options.output / "model.keras")
    history = common.read_history(options.output / "history.csv")
    draw(history, data.test, bits, fresh, options.batch_size, baseline, options.output / "bits.png")
    again = ["--output", options.output, "--temperature", options.temperature, "--continue-text", BEGINNING]
    common.in_fresh_process(__file__, *again)
    print(f"{len(bits)} test characters. Model, logs and bits.png are in {options.output}.")
    common.print_result(bits.mean(), baseline)


if __name__ == "__main__":
    chosen = parse_options()
    continue_text(chosen) if "continue_text" in chosen else main(chosen)
