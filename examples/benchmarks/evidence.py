"""From what `known_tasks.py` writes to tables and the page docs/evidence.md. Imports no framework."""

import math
import re

COLUMNS = (
    ("adding", "mse"),
    ("copy", "cross_entropy"),
    ("copy", "accuracy"),
    ("rows", "accuracy"),
    ("pixels", "accuracy"),
)
TASKS = ("adding", "copy", "rows", "pixels")
HEAD = (
    "| Layer | Parallel | Parameters | Adding, MSE | Copy, cross-entropy | Copy, accuracy | Rows | Pixels | ms a step |"
)
OURS_ARE_LINKED = "[`{0}`][keras_rnnx.{0}]"
PAGE = """# Evidence

Does every layer learn? One small model, tasks whose answers are known, {count} layers, the same budget for all.

This is a check that each layer works, not a ranking: one seed, the same learning rate for all, few steps, {units}
units. A layer that is behind here may need another rate, more steps, or the deep model of its paper, and differences of
a few hundredths mean nothing. [How to choose](choosing-a-layer.md) says what the layers are for.

## Tasks

* **Adding** (Hochreiter and Schmidhuber, 1997): {adding_length} steps, at each a random number in [0, 1) and a mark.
  One number in either half is marked; the target is the sum of the two. Mean squared error on {adding_test} new
  sequences. Always answering 1 gives 1/6 = 0.167.
* **Copy** (Arjovsky, Shah and Bengio, 2016): {symbols} symbols out of {categories}; after a delay of {delay} steps the
  same symbols again. Cross-entropy and accuracy over the recalled symbols of {copy_test} sequences, drawn at random, as
  those of training, out of the {possible:,} that there are. Without a memory: {chance_entropy:.3f} and {chance:.3f}.
* **Rows** and **pixels**: the 8x8 digits of scikit-learn, {digits_train} to train and {digits_test} to test, as 8 steps
  of 8 pixels and as 64 steps of one. Accuracy on the test digits. Logistic regression on all 64 pixels: {logistic:.3f}.

## Model and budget

{encoder}the layer with {units} units, a linear read-out.
{steps} optimizer steps (adding / copy / rows / pixels) of {batch} sequences; every layer reads the same
sequences in the same order. Adam, rate {rates}, cosine decay to 0, the norm of all gradients clipped to {clip};
seed {seed}.

Arguments are at their defaults but for those that a paper sets by its task: a window, a delay, a bound, a step size,
for CoRNN and UnICORNN also damping and frequency, and the time scale at which the gates of JANET and STAR start, which
is a head start. With T = {adding_length}: {arguments}. The layers that read intervals get 1 at each step, which tells
them nothing.

`ESN` trains nothing but a read-out, by [`fit_readout`][keras_rnnx.fit_readout], on {reservoir} units and on the bare
inputs; it has no cross-entropy, since ridge regression gives no probabilities. Its parameters are the read-out's.

**Parameters**: the trained ones of the layer. **ms a step**: the median time of a train step as `fit` runs it, without
compilation, for adding / copy / rows / pixels, on a shared machine: a few tenths mean nothing. **NaN at n**: the loss
was not finite at step n, where the run ended, or the outputs of the test after it. An empty cell: not run.

## Results

{tables}

{failures}

{left_out}

## Where and how

{where}

    {command}

After a kill the same line continues; the file that it writes has every number.
"""


def told(result, key):
    """A result as a cell of the table."""
    if result is None:
        return ""
    if "error" in result:
        return "failed"
    if "diverged" in result:
        return f"NaN at {result['diverged']}"
    value = result["score"].get(key)
    return "-" if value is None else f"{value:.4f}" if key == "mse" else f"{value:.3f}"


def parameters(results):
    """How many weights a layer trains, or between how many on these tasks."""
    counts = sorted({r["parameters"] for r in results if "parameters" in r})
    return " to ".join(f"{n:,}" for n in dict.fromkeys([*counts[:1], *counts[-1:]]))


def milliseconds(results):
    """The time of a step on each task."""
    times = [results.get(task, {}).get("ms") for task in TASKS]
    return " / ".join("-" if ms is None else f"{ms:.1f}" for ms in times)


def rows(record, family=None, name_as="`{0}`"):
    """The lines of the table, of one family or all."""
    lines = [HEAD, "|---|---|" + "---:|" * (HEAD.count("|") - 3)]
    for name, layer in sorted(record["layers"].items(), key=lambda pair: (pair[1]["family"], pair[0].lower())):
        if family in (None, layer["family"]):
            results = layer["tasks"]
            cells = [
                (name_as if layer["family"] != "keras.layers" else "`{0}`").format(name),
                "yes" if layer["parallel"] else "",
                parameters(results.values()),
                *[told(results.get(task), key) for task, key in COLUMNS],
                milliseconds(results),
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def failures(record):
    """A line for each run that gave no score."""
    found = [(n, t, r) for n, layer in record["layers"].items() for t, r in layer["tasks"].items() if "score" not in r]
    lines = [f"* `{n}`, {t}: {r.get('error', 'the loss or an output was not finite')}" for n, t, r in found]
    return "Without a score:\n\n" + "\n".join(lines) if lines else "Every run gave a score."


def left_out(record):
    """The layers that take no part, and why."""
    by_reason = {}
    for name, why in record["facts"].get("skipped", {}).items():
        by_reason.setdefault(why, []).append(f"`{name}`")
    return "\n".join(f"Not run: {', '.join(names)}: {why}." for why, names in by_reason.items())


def own_arguments(record):
    """The arguments that depend on the length of the task, as code; dots for the values where adding was not run."""

    def code(arguments):
        return ", ".join(f"{n}={round(a, 4) if isinstance(a, float) else a}" for n, a in arguments.items())

    found = {}
    for name, layer in sorted(record["layers"].items()):
        own = {task: result["arguments"] for task, result in layer["tasks"].items() if "arguments" in result}
        if own:
            found[name] = own.get("adding") or dict.fromkeys(next(iter(own.values())), "...")
    return ", ".join(f"`{name}({code(arguments)})`" for name, arguments in found.items()) or "none"


def where(record):
    """The machine, the versions, and how long it took."""
    last, results = record["sessions"][-1], [r for layer in record["layers"].values() for r in layer["tasks"].values()]
    cores = last["machine"]["usable_cores"] or last["machine"]["cores"]
    versions = ", ".join(f"{name} {version}" for name, version in last["versions"].items())
    minutes = sum(r.get("seconds", 0) for r in results) / 60
    commits = [(session["git"] or "none").partition("+") for session in record["sessions"]]
    backend, cores = record["settings"]["backend"], f"{cores} core{'s' * (cores > 1)}"
    revision = ", ".join(dict.fromkeys(commit[:7] + plus + changes for commit, plus, changes in commits))
    return (
        f"{minutes:.0f} minutes on {cores} of {last['machine']['cpu']}, no GPU; the {backend} backend.\n"
        f"Python {last['python']}, {versions}; {last['date'][:10]}, revision {revision}."
    )


def page(record):
    """The text of docs/evidence.md."""
    settings, facts = record["settings"], record["facts"]
    families = dict.fromkeys(layer["family"] for layer in record["layers"].values())
    titles = {name: name if "." in name else name.capitalize() for name in families}
    tables = [f"### {titles[name]}\n\n{rows(record, name, OURS_ARE_LINKED)}" for name in families]
    commands = [re.sub(r" --json[ =]\S+", "", session["command"]) for session in record["sessions"]]
    encoder = "" if settings["raw"] else f'`Dense({settings["units"]}, "gelu")` at each step, '
    return PAGE.format(
        **{name: settings[name] for name in ("units", "batch", "symbols", "delay", "clip", "seed")},
        **facts,
        count=sum(layer["family"] != "keras.layers" for layer in record["layers"].values()),
        possible=facts["categories"] ** settings["symbols"],
        chance=1 / facts["categories"],
        chance_entropy=math.log(facts["categories"]),
        steps=" / ".join(f"{settings['steps'][task]:,}" for task in TASKS),
        rates=" or ".join(map(str, settings["rates"])),
        encoder=encoder,
        arguments=own_arguments(record),
        tables="\n\n".join(tables),
        failures=failures(record),
        left_out=left_out(record),
        where=where(record),
        command="\n    ".join(dict.fromkeys(commands)),
    )
