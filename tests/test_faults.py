"""What goes wrong around a model: kills, full disks, rows of NaN, inputs that overflow."""

import contextlib
import pathlib
import random
import resource
import shutil
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
from cases import BACKEND, CASES, EAGER, array, few, gradients, outcome, randomized, shared, tensor
from catalogue import CATALOGUE
from keras import ops

import keras_rnnx
from keras_rnnx import attention
from keras_rnnx.callbacks import BackupAndRestore, GradientFlow, SampleText, StateMonitor

pytestmark = [pytest.mark.every_backend, pytest.mark.core]

B, T, D, H = 3, 5, 3, 4

# ---- kills ----

TRAINING = """
import sys
import keras
import numpy as np
import keras_rnnx

epochs, rng = 10, np.random.default_rng(0)
x, y = np.float32(rng.normal(size=(12, 5, 3))), np.float32(rng.normal(size=(12, 1)))

def fitted(*callbacks):
    keras.utils.set_random_seed(5)
    cell = {"dropout": 0.2, "recurrent_dropout": 0.1, "zoneout": 0.1}
    layers = [keras_rnnx.LSTM(4, stateful=True, **cell), keras.layers.Dropout(0.3), keras.layers.Dense(1)]
    model = keras.Sequential([keras.Input(batch_shape=(4, 5, 3)), *layers])
    model.compile(keras.optimizers.Adam(0.01), "mse", jit_compile=False)
    history = model.fit(x, y, batch_size=4, epochs=epochs, verbose=0, callbacks=callbacks)
    return history.epoch, model.get_weights()

say = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: print(batch, flush=True))
epoch, found = fitted(say, keras_rnnx.callbacks.BackupAndRestore(sys.argv[1]))
_, wanted = fitted()
assert 0 < len(epoch) < epochs and epoch[-1] == epochs - 1, epoch
for one, other in zip(found, wanted, strict=True):
    np.testing.assert_array_equal(one, other)
"""


def test_a_training_killed_at_random_moments_ends_with_the_same_bits(tmp_path):
    """A stateful layer with dropout and zoneout, shuffled: killed twice, and compared with an undisturbed one."""
    command, moments = [sys.executable, "-c", TRAINING, str(tmp_path / "backup")], random.Random(3)
    for _ in range(2):
        # The third batch of an epoch is the last one: what follows is its backup.
        batches, seconds = 3 + moments.randrange(8), moments.random() / 20
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            for _ in range(batches):
                assert process.stdout.readline()
            time.sleep(seconds)
            process.kill()
        assert process.returncode == -9
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not (tmp_path / "backup").exists()


class Killed(BaseException):
    """In place of a kill."""


def small_model(units=2, **options):
    layer = keras_rnnx.GRU(units, stateful=True, dropout=0.5, **options)
    model = keras.Sequential([keras.Input(batch_shape=(2, T, D)), layer])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def backed_up(folder, model):
    backup = BackupAndRestore(folder)
    backup.set_model(model)
    backup.on_train_begin()
    return backup


def changed(model, value):
    """The model, of which every variable has this value."""
    for variable in [*model.variables, *model.optimizer.variables]:
        variable.assign(ops.cast(ops.full(variable.shape, value), variable.dtype))
    return model


def held(model):
    return {float(np.max(array(v))) for v in [*model.variables, *model.optimizer.variables] if v.dtype != "bool"}


MOMENTS = [(np, "savez"), (pathlib.Path, "write_text"), (pathlib.Path, "rename"), (shutil, "rmtree")]


@pytest.mark.parametrize("half", [False, True], ids=["before", "amid"])
@pytest.mark.parametrize("where, name", MOMENTS, ids=[name for _, name in MOMENTS])
def test_a_kill_at_any_moment_of_a_backup_leaves_a_whole_one(where, name, half, tmp_path, monkeypatch):
    model = changed(small_model(), 1)
    backup = backed_up(tmp_path / "backup", model)
    backup.on_epoch_end(0)
    changed(model, 2)
    with monkeypatch.context() as patch:
        original = getattr(where, name)

        def killed(path, *args, **kwargs):
            if half and name == "rmtree":
                next(iter(sorted(path.iterdir()))).unlink()
            elif half:
                original(path, *args, **kwargs)
            raise Killed

        patch.setattr(where, name, killed)
        with pytest.raises(Killed):
            backup.on_epoch_end(1)
    other = changed(small_model(), 3)
    backed_up(tmp_path / "backup", other)
    new = name == "rmtree" or (name == "rename" and half)
    assert held(other) == {2.0 if new else 1.0}
    history = other.fit(np.ones((2, T, D)), np.ones((2, 2)), batch_size=2, epochs=1 + new, verbose=0)
    assert history.epoch == []  # both epochs, or the one, had been trained


def test_a_kill_at_the_end_leaves_a_whole_backup_or_none(tmp_path, monkeypatch):
    backup = backed_up(tmp_path, small_model())
    backup.on_epoch_end(0)

    def killed(path):
        next(path.iterdir()).unlink()
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(shutil, "rmtree", killed)
        backup.on_train_end()
    assert backed_up(tmp_path, small_model()).latest is None


def test_what_else_is_in_the_folder_stays(tmp_path):
    (tmp_path / "notes").write_text("mine")
    backup = backed_up(tmp_path, small_model())
    backup.on_epoch_end(0)
    backup.on_train_end()
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]


def test_a_backup_of_another_model_or_backend(tmp_path):
    backed_up(tmp_path, small_model()).on_epoch_end(0)
    for other in (small_model(3), small_model(learn_initial_state=True)):
        with pytest.raises(ValueError, match=r"Expected .*variables of this model.*Received: "):
            backed_up(tmp_path, other)
    told = tmp_path / "00000001" / "training_metadata.json"
    told.write_text(told.read_text().replace(f'"{BACKEND}"', '"another"'))
    with pytest.raises(ValueError, match=f"Expected .*{BACKEND}.*Received: .*another"):
        backed_up(tmp_path, small_model())


def test_a_backup_has_half_precision_and_states_of_more_rows(tmp_path):
    def model():
        layer = keras_rnnx.GRU(H, stateful=True, dtype="bfloat16")
        layer(ops.ones((2, T, D)))
        made = keras.Sequential([layer])
        made.build((2, T, D))
        made.compile("adam", "mse")
        made.optimizer.build(made.trainable_variables)
        return made

    first, second = model(), model()
    first.layers[0](ops.ones((4, T, D)))
    changed(first, 1 / 3)
    backed_up(tmp_path, first).on_epoch_end(0)
    backed_up(tmp_path, second)
    assert second.layers[0].states[0].shape == (4, H) and held(second) == held(first)


# ---- disks ----


@contextlib.contextmanager
def full_disk(size):
    """Within this context no file grows beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_full_disk_costs_no_backup(size, tmp_path):
    model = changed(small_model(), 1)
    backup = backed_up(tmp_path, model)
    backup.on_epoch_end(0)
    changed(model, 2)
    with full_disk(size), pytest.raises(OSError, match=r"last whole one is .*00000001. Received: .*File too large"):
        backup.on_epoch_end(1)
    backed_up(tmp_path, model)
    assert held(model) == {1.0}


def test_a_folder_that_cannot_be_written(tmp_path, rng):
    (tmp_path / "file").write_text("in the way")
    x, y = np.float32(rng.normal(size=(2, T, D))), np.zeros((2, 2), "float32")
    model = small_model()
    callbacks = {
        "backup": BackupAndRestore,
        "flow": lambda folder: GradientFlow((x, y), log_dir=folder, picture=False),
        "monitor": lambda folder: StateMonitor(x, log_dir=folder),
        "sample": lambda folder: SampleText(lambda model: "text", log_dir=folder, printed=False),
    }
    before = [w.copy() for w in model.get_weights()]
    for name, callback in callbacks.items():
        if name != "backup":
            pytest.importorskip("tensorboard")
        for folder in (tmp_path / "file", tmp_path / "file" / "below"):
            with pytest.raises(OSError, match=str(folder)):
                model.fit(x, y, batch_size=2, verbose=0, callbacks=[callback(folder)])
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


# ---- rows of NaN ----

# By their nature: LiGRU normalizes over the batch in training; GRU-D takes NaN for a missing value.
MIXED = {"ligru", "ligru-tanh"}
EVERY = {str(case): case for case in [*CASES, *CATALOGUE]}
ROWS = EVERY if EAGER else shared(["lstm", "gru-after", "vanilla-relu"])


def with_nan(x):
    """x, with a NaN in its second row."""
    x = x.copy()
    x[1, 2] = np.nan
    return x


@pytest.mark.parametrize("name", ROWS)
def test_a_row_of_nan_leaves_the_others_alone(name, rng):
    """What is computed in training, and its gradient."""
    case = EVERY[name]
    layer = case.built(rng, D, case.units or H, dtype="float32", return_sequences=True, return_state=True)
    x = np.float32(rng.normal(size=(B, T, case.features or D)))

    def loss(x):
        return sum(ops.sum(ops.square(y)) for y in keras.tree.flatten(layer(x, training=True)))

    found = []
    for inputs in (tensor(x, "float32"), tensor(with_nan(x), "float32")):
        found.append([*outcome(layer(inputs, training=True)), *gradients(loss, [inputs])])
    if name in MIXED:
        assert np.isnan(found[1][0][[0, 2]]).any()
        return
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])


@pytest.mark.parametrize("kind", few(["attention", "both", "deep", "pooling"], 1))
def test_a_row_of_nan_in_models(kind, rng):
    """Rows of different lengths, whose padding is masked."""
    layer = {
        "both": lambda: keras_rnnx.Bidirectional(keras_rnnx.LSTM(H, return_sequences=True)),
        "deep": lambda: keras_rnnx.DeepRNN(keras_rnnx.GRUCell(H), 2, residual="highway", return_sequences=True),
        "pooling": lambda: attention.AttentionPooling(H),
        "attention": lambda: attention.MultiHeadAttention(2, 3),
    }[kind]()
    inputs = keras.Input((T, D))
    masked = keras.layers.Masking()(inputs)
    outputs = layer(masked, masked) if kind == "attention" else layer(masked)
    model = randomized(keras.Model(inputs, outputs), rng)
    x = np.float32(rng.normal(size=(B, T, D)))
    x[0, 3:] = x[2, 4:] = 0

    def loss(x):
        return ops.sum(ops.square(model(x)))

    found = [[array(model(a)), *gradients(loss, [tensor(a, "float32")])] for a in (x, with_nan(x))]
    assert np.isnan(found[1][0][1]).any()
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one[[0, 2]], other[[0, 2]])


# ---- inputs that overflow ----

# These multiply inputs with inputs, or let a gate grow with them.
GROWING = ("gla", "mlstm", "retnet", "delta-net", "gated-delta-net", "original-lstm-activations")
LARGE = EVERY if EAGER else shared(["lstm", "slstm", "gru-after"])
BOUNDED = ["slstm", "on-lstm", "slstm-exp", "slstm-heads", "on-lstm-chunks", "lstm", "gru-after", "gru-before",
           "vanilla", "mgu"]  # fmt: skip
HALF = BOUNDED if EAGER else shared(BOUNDED[:2])


def check_finite(case, size, dtype, rng):
    layer = case.make(case.units or H, dtype=dtype, return_sequences=True, return_state=True)
    layer.build((None, None, case.features or D))
    dtype = "float32" if dtype == "float32" else "float16"
    x = tensor(np.clip(rng.normal(size=(B, 6, case.features or D)) * size, -size, size), dtype)

    def loss(x):
        return sum(ops.sum(ops.cast(y, "float32")) for y in keras.tree.flatten(layer(x, training=True)))

    for result in [*outcome(layer(x)), *gradients(loss, [x])]:
        assert np.isfinite(result.astype("float32")).all()


@pytest.mark.parametrize("name", LARGE)
def test_large_inputs_give_finite_results(name, rng):
    check_finite(EVERY[name], 1e3 if name.startswith(GROWING) else 1e30, "float32", rng)


@pytest.mark.parametrize("dtype", few(["float16", "mixed_float16"]))
@pytest.mark.parametrize("name", HALF)
def test_gates_that_overflow_in_half_precision(name, dtype, rng):
    check_finite(EVERY[name], 6e4, dtype, rng)
