"""Training on several devices or processes is training on one: losses, outputs, carried states, saved models.

Each case is a process of `replicas.py`, since the number of devices is settled before Keras is imported. On TensorFlow
two logical CPU devices and two workers on this machine, on JAX two host devices and two processes.
"""

import contextlib
import importlib
import inspect
import json
import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest
import replicas
from cases import BACKEND, CASES, SINGLE
from catalogue import CATALOGUE

pytestmark = pytest.mark.every_backend
if BACKEND == "torch":
    pytest.skip("Keras distributes nothing on torch", allow_module_level=True)
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="strategies of TensorFlow")
on_jax = pytest.mark.skipif(BACKEND != "jax", reason="distributions of JAX")

ROOT = pathlib.Path(__file__).resolve().parent.parent
TWO_DEVICES = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
COUNT = 2  # of processes
VECTORS = {"BRC", "IndRNN", "IndyGRU", "IndyLSTM", "UnICORNN"}  # whose recurrent kernel is no matrix
MODELS = ["stateless", "stateful"]
LAYERS = {case.layer.__name__: case for case in reversed([*CASES, *CATALOGUE]) if case.layer is not None}


def measured(kind, environments, *folder):
    """What `replicas.py` prints, for each process started."""
    script = str(ROOT / "tests" / "replicas.py")
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with contextlib.ExitStack() as stack:
        running = []
        for more in environments:
            command = [sys.executable, script, kind, *map(str, folder)]
            process = subprocess.Popen(command, env={**os.environ, **more}, **options)
            stack.callback(process.kill)
            running.append(process)
        ended = [process.communicate(timeout=600) for process in running]
    for process, (_, errors) in zip(running, ended, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [json.loads(shown.splitlines()[-1]) for shown, _ in ended]


def addresses():
    """Free ports of this machine, one for each process."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(COUNT)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """One process with two devices: what they measured together, and one alone."""
    kind, more = ("mirrored", {}) if BACKEND == "tensorflow" else ("devices", TWO_DEVICES)
    return measured(kind, [more], tmp_path_factory.mktemp(kind))[0]


@pytest.fixture(scope="module")
def apart():
    """What two processes measured."""
    places = addresses()
    if BACKEND == "tensorflow":
        config = [{"cluster": {"worker": places}, "task": {"type": "worker", "index": i}} for i in range(COUNT)]
        environments = [{"TF_CONFIG": json.dumps(one)} for one in config]
        return measured("worker", environments)
    known = {"JOB_ADDRESSES": places[0], "NUM_PROCESSES": str(COUNT)}
    names = [{**known, "PROCESS_ID": str(i)} for i in range(COUNT)]
    environments = [{f"KERAS_DISTRIBUTION_{name}": value for name, value in one.items()} for one in names]
    return measured("process", environments)


def agree(one, other):
    """Whatever the second was measured to have is what the first has."""
    for name, value in other.items():
        np.testing.assert_allclose(value, one[name], **SINGLE, err_msg=name)


ways = pytest.mark.parametrize(
    "way",
    [pytest.param("mirrored", marks=on_tensorflow), *(pytest.param(way, marks=on_jax) for way in ("data", "model"))],
)
models = pytest.mark.parametrize("model", MODELS)


def test_the_carried_states_are_felt(here):
    """Otherwise the tests of stateful models below would say nothing."""
    stateless, stateful = (here["alone"][model] for model in MODELS)
    for name in ("loss", "val_loss", "predicted"):
        assert np.abs(np.subtract(stateless[name], stateful[name])).max() > 1e-3


@models
@ways
def test_two_devices_are_one(here, way, model):
    agree(here["alone"][model], here[way][model])


@models
def test_two_processes_are_one(here, apart, model):
    for process in apart:
        agree(here["alone"][model], process[model])


@on_tensorflow
def test_a_backup_has_the_carried_states_of_each_replica(here):
    one, other = here["backup"]
    assert one == other
    assert one[0] != one[1], "those of the two replicas"


@ways
def test_what_is_saved_inside_is_loaded_outside(here, way):
    np.testing.assert_allclose(here[f"{way} loaded"], here[way]["stateless"]["predicted"], **SINGLE)


@on_tensorflow
def test_a_stateful_layer_refuses_a_batch_that_gives_replicas_other_rows(here):
    assert "Expected batches of one size in a stateful layer" in here["uneven"]


@on_jax
def test_the_map_of_the_page_splits_kernels_and_data_parallelism_does_not(here):
    for way in ("data", "model"):
        kernels = {path: spec for path, spec in here[way]["shards"].items() if not path.startswith("dense")}
        assert len(kernels) == 3 and {"model" in spec for spec in kernels.values()} == {way == "model"}


@on_tensorflow  # where layers are built in no time; the map is the same
def test_the_map_of_the_page_splits_the_matrices_of_every_layer():
    layouts, split, left = replicas.made_by_page("layouts"), 0, set()
    for name, case in LAYERS.items():
        layer = case.make(case.units or 4)
        layer.build((None, None, case.features or 3))
        for w in layer.weights:
            layout = layouts[w.path]
            if layout is not None:
                assert layout.axes == (None, "model") and len(w.shape) == 2, w.path
                split += 1
            elif w.name in ("kernel", "recurrent_kernel"):
                left.add(name)
    assert left == VECTORS and split > 100


@on_tensorflow
def test_the_loop_of_the_page_is_that_of_the_example():
    sys.path.append(str(ROOT / "examples"))
    distributed = importlib.import_module("distributed")
    assert inspect.getsource(distributed.fit_workers) in (ROOT / "docs" / "distribution.md").read_text()
