"""
Title: One training on several devices or machines
Description: Learns who of nine men is speaking under one of five strategies, saves the model inside the strategy and
    uses it outside, and trains once more on one device, whose losses have to be the same.
Expected: test accuracy 0.96 to 0.97 with every strategy (logistic regression: 0.984), losses that differ by less than
    1e-5 from those of one device, within two minutes on 2 CPU cores.

    python examples/distributed.py --strategy mirrored         # all GPUs of this machine, or two replicas on its CPU
    python examples/distributed.py --strategy multiworker --workers 2           # two processes on this machine
    python examples/distributed.py --strategy data-parallel                     # JAX, likewise model-parallel

On a cluster every machine gets the same line, TensorFlow's cluster in TF_CONFIG, JAX's in KERAS_DISTRIBUTION_*: see
docs/distribution.md.
"""

import common  # first: it chooses the backend

# isort: split
import contextlib
import json
import os
import socket
import subprocess
import sys

import japanese_vowels
import keras
import matplotlib.pyplot as plt
import numpy as np

import keras_rnnx

STRATEGIES = ("none", "mirrored", "multiworker", "data-parallel", "model-parallel")
UNITS, EPOCHS, BATCH_SIZE, SEED = 32, 8, 24, 0
LEARNING_RATE, LONGEST = 3e-3, 32
SMOKE = {"epochs": 2, "units": 8}
CLUSTER = "KERAS_DISTRIBUTION_JOB_ADDRESSES"


def parse_options(arguments=None):
    """Returns the options of the command line."""
    parser = common.parser(__doc__, "distributed", epochs=EPOCHS, patience=EPOCHS, batch_size=BATCH_SIZE, seed=SEED)
    parser.add_argument("--strategy", choices=STRATEGIES, default="mirrored")
    parser.add_argument("--workers", type=int, default=2, help="processes of multiworker, or CPU devices of the others")
    parser.add_argument("--units", type=int, default=UNITS)
    parser.add_argument("--data-dir", help="where the data are kept; None: as datasets/packages.py says")
    options = common.parse(parser, SMOKE, arguments)
    if options.batch_size % options.workers:
        parser.error(f"--batch-size {options.batch_size} is not a multiple of --workers {options.workers}")
    return options


# ---- processes ----


def processes(options):
    """Returns the environment of each process to be started; [] where this one is what the strategy needs."""
    if options.strategy == "multiworker" and "TF_CONFIG" not in os.environ:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(options.workers)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            cluster = {"worker": ["127.0.0.1:{1}".format(*one.getsockname()) for one in sockets]}
        tasks = [{"type": "worker", "index": i} for i in range(options.workers)]
        return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks]
    if options.strategy.endswith("parallel") and keras.backend.backend() != "jax":
        devices = f"--xla_force_host_platform_device_count={options.workers}"  # of the CPU; GPUs are left as they are
        return [{"KERAS_BACKEND": "jax", "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {devices}"}]
    return []


def start(environments):
    """Runs this command in each environment; exits with the first failure."""
    command = [sys.executable, *sys.argv]
    running = [subprocess.Popen(command, env={**os.environ, **more}) for more in environments]
    if codes := [code for code in [process.wait() for process in running] if code]:
        sys.exit(codes[0])


def begin(options):
    """Returns the strategy, None for none; before anything else asks for a device.

    A strategy of TensorFlow is a `tf.distribute.Strategy`, one of JAX a `keras.distribution.Distribution`.
    """
    if options.strategy.endswith("parallel"):
        if CLUSTER in os.environ:
            keras.distribution.initialize()
        if options.strategy == "data-parallel":
            return keras.distribution.DataParallel(auto_shard_dataset=False)  # each process brings its own rows
        mesh = keras.distribution.DeviceMesh((1, keras.distribution.get_device_count()), ["batch", "model"])
        layouts = keras.distribution.LayoutMap(mesh)
        layouts[r".*_cell(_\d+)?/(recurrent_)?kernel"] = (None, "model")
        return keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")
    if options.strategy == "none":
        return None
    import tensorflow as tf

    if options.strategy == "multiworker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * options.workers)
    return tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(options.workers)])


def place(options):
    """Returns the number of this process and how many there are."""
    if options.strategy == "multiworker":
        config = json.loads(os.environ["TF_CONFIG"])
        return config["task"]["index"], len(config["cluster"]["worker"])
    if options.strategy == "data-parallel" and CLUSTER in os.environ:
        return (int(os.environ[f"KERAS_DISTRIBUTION_{name}"]) for name in ("PROCESS_ID", "NUM_PROCESSES"))
    return 0, 1


# ---- data and model ----


def prepared(data):
    """Returns, of each split, frames (N, 32, 12) with zeros after the end, and speakers."""
    known = np.concatenate(data.train.frames)

    def scaled(frames):
        frames = [(x - known.mean(axis=0)) / known.std(axis=0) for x in frames]
        return keras.utils.pad_sequences(frames, LONGEST, dtype="float32", padding="post")

    return [(scaled(frames), speakers) for frames, speakers in data]


def build(options):
    """Returns the compiled model of frames (B, 32, 12)."""
    model = keras.Sequential(
        [
            keras.Input((LONGEST, 12)),
            keras.layers.Masking(),
            keras_rnnx.Bidirectional(keras_rnnx.LSTM(options.units, return_sequences=True)),
            keras_rnnx.MinGRU(options.units),
            keras.layers.Dense(japanese_vowels.SPEAKERS, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(LEARNING_RATE), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


# ---- training ----


def fit_workers(model, strategy, batches, epochs, callbacks=()):
    """Trains a compiled model under a MultiWorkerMirroredStrategy, which `fit` of Keras 3.15 cannot; gives the History.

    `batches` are a tf.data.Dataset of whole batches, the same in every worker; each takes its rows of every batch.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = strategy.experimental_distribute_dataset(batches.with_options(options))

    @tf.function
    def step(batch):
        strategy.run(model.train_step, args=(batch,))

    with strategy.scope():
        model.optimizer.build(model.trainable_variables)
    callbacks = keras.callbacks.CallbackList(list(callbacks), add_history=True, model=model, epochs=epochs)
    callbacks.on_train_begin()
    for epoch in range(epochs):
        model.reset_metrics()
        callbacks.on_epoch_begin(epoch)
        for number, batch in enumerate(batches):
            callbacks.on_train_batch_begin(number)
            step(batch)
            callbacks.on_train_batch_end(number)
        callbacks.on_epoch_end(epoch, {name: float(value) for name, value in model.get_metrics_result().items()})
    callbacks.on_train_end()
    return model.history


def rows_of(count, batch_size, number, processes):
    """Returns which of `count` rows a process feeds: its part of every batch, so that the batches stay the same."""
    return np.arange(count).reshape(-1, processes, batch_size // processes)[:, number].ravel()


def trained(options, strategy, x, y):
    """Returns the model, made and trained under the strategy, and the losses of its epochs."""
    number, count = place(options)
    keras.utils.set_random_seed(options.seed)
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = build(options)
        if options.strategy == "multiworker":
            import tensorflow as tf

            batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(options.batch_size)
            history = fit_workers(model, strategy, batches, options.epochs)
        else:
            mine = rows_of(len(x), options.batch_size, number, count)
            more = {"batch_size": options.batch_size // count, "shuffle": False, "verbose": 0}
            history = model.fit(x[mine], y[mine], epochs=options.epochs, **more)
    return model, history.history["loss"]


def draw(losses, alone, strategy, file):
    """Draws the losses with the strategy over those of one device."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
    epochs = np.arange(1, len(losses) + 1)
    axis.plot(epochs, alone, "o-", color="C0", markersize=9, label="one device")
    axis.plot(epochs, losses, ".--", color="C1", label=strategy)
    axis.set(xlabel="epoch", ylabel="loss")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def main(options):
    """Trains under the strategy; the chief saves, evaluates, and compares with one device."""
    data = common.loaded(japanese_vowels.load, options.data_dir)  # first, so that of several processes one fetches
    if environments := processes(options):
        return start(environments)
    strategy = begin(options)
    output = options.output
    output.mkdir(parents=True, exist_ok=True)
    (x, y), _, (test, speakers) = prepared(data)
    whole = len(x) - len(x) % options.batch_size
    model, losses = trained(options, strategy, x[:whole], y[:whole])
    if place(options)[0]:
        return None
    model.save(output / "model.keras")
    probabilities = common.saved_model(output).predict(test, batch_size=len(test), verbose=0)
    accuracy = float((probabilities.argmax(axis=1) == speakers).mean())
    (output / "losses.json").write_text(json.dumps(losses))
    alone = losses if options.strategy == "none" else on_one_device(options)
    draw(losses, alone, options.strategy, output / "losses.png")
    print(f"{options.strategy}: losses of the epochs {np.round(losses, 4).tolist()},")
    print(f"at most {np.abs(np.subtract(losses, alone)).max():.1e} from those of one device.")
    print(f"Test accuracy {accuracy:.3f}. model.keras, losses.json and losses.png are in {output}.")
    return common.print_result(accuracy, japanese_vowels.baseline(data))


def on_one_device(options):
    """Returns the losses of a run without a strategy, made here in a process of its own."""
    for name in ("TF_CONFIG", CLUSTER):
        os.environ.pop(name, None)
    same = ["units", "epochs", "batch_size", "seed"] + ["data_dir"] * bool(options.data_dir)
    more = [word for name in same for word in (f"--{name.replace('_', '-')}", getattr(options, name))]
    folder = options.output / "one_device"
    common.in_fresh_process(__file__, "--strategy", "none", "--output", folder, *more)
    return json.loads((folder / "losses.json").read_text())


if __name__ == "__main__":
    main(parse_options())
