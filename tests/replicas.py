"""What test_distribution.py runs in processes of its own: the number of devices is settled before Keras is imported.

    python tests/replicas.py KIND [FOLDER]

prints, as its last line, what it measured as JSON.
"""

import json
import pathlib
import re
import sys

import keras
import numpy as np

import keras_rnnx
from keras_rnnx.engine import paths

ROOT = pathlib.Path(__file__).resolve().parent.parent
T, D, H, BATCH, ROWS, EPOCHS = 65, 3, 4, 4, 12, 3


def data():
    """Rows (12, 65, 3) and targets, padded with zeros; rows of two steps feel the states that are carried to them."""
    rng = np.random.default_rng(0)
    x, y = np.float32(rng.normal(size=(ROWS, T, D))), np.float32(rng.normal(size=(ROWS, 1)))
    for row, length in enumerate([T, 2, 2, 2, 2, 40, 2, 2, 2, 2, 2, 51]):
        x[row, length:] = 0
    return x, y


def compiled(stateful):
    """A new model; the same numbers at each call."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input(batch_shape=(BATCH if stateful else None, T, D)),
            keras.layers.Masking(),
            keras_rnnx.LSTM(H, return_sequences=True, stateful=stateful),
            keras_rnnx.MinGRU(H, stateful=stateful),
            keras.layers.Dense(1),
        ]
    )
    model.compile(keras.optimizers.Adam(0.05), "mse")
    return model


def resets(stateful):
    return [keras_rnnx.callbacks.ResetStates()] if stateful else []


def trained(stateful):
    """A fitted model, and what it shows: losses, those of a validation of other rows, outputs, a loss."""
    x, y = data()
    options = {"batch_size": BATCH, "verbose": 0, "callbacks": resets(stateful)}
    model = compiled(stateful)
    both = {"validation_data": (x[::-1], y[::-1])}
    history = model.fit(x, y, epochs=EPOCHS, shuffle=False, **both, **options).history
    keras_rnnx.reset_states(model)
    predicted = model.predict(x, batch_size=BATCH, verbose=0)
    loss = model.evaluate(x, y, **options)
    return model, {**history, "predicted": predicted.tolist(), "evaluated": loss}


def both(file=None):
    """What is measured of a stateless model, which is saved to the file, and of a stateful one."""
    model, stateless = trained(False)
    if file is not None:
        model.save(file)
    return {"stateless": stateless, "stateful": trained(True)[1], "shards": shards(model)}


def shards(model):
    """How the kernels of a model are spread over devices, by path; None each where arrays are not spread at all."""
    kernels = [w for w in model.weights if "kernel" in w.name]
    return {w.path.split("/", 1)[1]: str(getattr(getattr(w.value, "sharding", None), "spec", None)) for w in kernels}


def loaded(file):
    """The outputs of a saved model."""
    return keras.models.load_model(file).predict(data()[0], batch_size=BATCH, verbose=0).tolist()


def made_by_page(name):
    """A variable that the page's block with a map of layouts makes."""
    space, page = {}, (ROOT / "docs" / "distribution.md").read_text()
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "LayoutMap" in b)
    exec(block, space)
    return space[name]


# ---- TensorFlow ----


def mirrored(folder):
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    found = {"alone": both()}
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        found["mirrored"] = both(folder / "mirrored.keras")
        stateful = compiled(True)
    found["mirrored loaded"] = loaded(folder / "mirrored.keras")
    x, y = data()
    try:
        stateful.fit(x[:10], y[:10], batch_size=BATCH, shuffle=False, verbose=0)
    except tf.errors.InvalidArgumentError as error:
        found["uneven"] = str(error)
    with strategy.scope():
        found["backup"] = [carried(stateful), carried(restored(stateful, folder / "backup"))]
    return found


def restored(model, folder):
    """Another model, into which a backup of a model is restored."""
    other = compiled(True)
    for each in (model, other):
        backup = keras_rnnx.callbacks.BackupAndRestore(folder)
        backup.set_model(each)
        backup.on_train_begin()
        if each is model:
            backup.on_epoch_end(0)
    return other


def carried(model):
    """What the layers carry, in each replica."""
    layers = [layer for layer in model.layers if getattr(layer, "stateful", False)]
    return [keras.ops.convert_to_numpy(v).tolist() for layer in layers for v in layer.held]


def worker():
    sys.path.append(str(ROOT / "examples"))
    import distributed
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    assert strategy.num_replicas_in_sync == 2
    found = {}
    for name in ("stateless", "stateful"):
        with strategy.scope():
            model = compiled(name == "stateful")
        batches = tf.data.Dataset.from_tensor_slices(data()).batch(BATCH)
        history = distributed.fit_workers(model, strategy, batches, EPOCHS, resets(name == "stateful"))
        found[name] = {"loss": history.history["loss"]}
        if name == "stateless":
            found[name]["predicted"] = model.predict(data()[0], batch_size=BATCH, verbose=0).tolist()
    return found


# ---- JAX ----


def devices(folder):
    import jax

    assert jax.device_count() == 2
    found = {"alone": both()}
    parallel = {"data": keras.distribution.DataParallel(), "model": made_by_page("distribution")}
    for name, distribution in parallel.items():
        with distribution.scope():
            found[name] = both(folder / f"{name}.keras")
        found[f"{name} loaded"] = loaded(folder / f"{name}.keras")
    return found


def process():
    import jax

    keras.distribution.initialize()
    assert (jax.process_count(), jax.device_count()) == (2, 2)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    mine = np.arange(ROWS).reshape(-1, 2, BATCH // 2)[:, jax.process_index()].ravel()
    x, y = (a[mine] for a in data())
    found = {}
    for name in ("stateless", "stateful"):
        model = compiled(name == "stateful")
        options = {"batch_size": BATCH // 2, "verbose": 0, "callbacks": resets(name == "stateful")}
        found[name] = model.fit(x, y, epochs=EPOCHS, shuffle=False, **options).history
        found[name]["evaluated"] = model.evaluate(x, y, **options)
    return found


if __name__ == "__main__":
    paths.LOOPED = ()  # chunks, as on an accelerator, in layers that are linear in their state
    kind = {"mirrored": mirrored, "worker": worker, "devices": devices, "process": process}[sys.argv[1]]
    print(json.dumps(kind(*map(pathlib.Path, sys.argv[2:]))))
