"""Random layers against their twins, and random mistakes in configurations, archives and modules.

The normal run draws a bounded sample, always the same; `--hypothesis-profile=nightly` draws a hundred times as many,
each time new ones. An XLA program costs about a second for each distinct shape, so most layers run uncompiled: on torch
every loop is Python, which makes it the backend of the nightly run; on TensorFlow and JAX the same layers are walked
step by step too, and a few of them in the compiled loop and in the native kernels, which are there alone. A failure
that is found becomes a named test in test_regressions.py.
"""

import contextlib
import functools
import json
import tempfile
import zipfile

import hypothesis
import keras
import numpy as np
import pytest
from cases import BACKEND, DIFFERENCES, gradients, tensors, weighted
from catalogue import CATALOGUE
from fuzzing import Prepared, native_trials, trials, uncompiled
from hypothesis import strategies as st
from mutations import MISTAKES, check_clear, check_nothing_ran, composed, mistaken, text_of

import keras_rnnx
from keras_rnnx.native import library

pytestmark = [pytest.mark.every_backend, pytest.mark.core]


def examples(**counts):
    """So many examples in the normal run, by backend; in proportion more in a profile of more examples."""
    share = counts.get(BACKEND, 0) / 20
    return hypothesis.settings(max_examples=max(1, round(share * hypothesis.settings.default.max_examples)))


# ---- equations ----


@examples(torch=160, tensorflow=50, jax=5)
@hypothesis.given(trial=trials())
def test_layers_are_their_twins(trial):
    with uncompiled():
        Prepared(trial).compare()


@pytest.mark.skipif(BACKEND == "torch", reason="nothing is compiled there")
@examples(tensorflow=4, jax=2)
@hypothesis.given(trial=trials(longest=3))
def test_compiled_layers_are_their_twins(trial):
    Prepared(trial).compare()


@pytest.mark.skipif(library.problem() is not None, reason=f"no native kernels: {library.problem()}")
@examples(tensorflow=12, jax=3)
@hypothesis.given(trial=native_trials())
def test_native_kernels_are_the_plain_loop(trial):
    """Results and gradients, in training too, where both draw the same masks."""
    found = {}
    for path in ("native", "plain loop"):
        ready = Prepared(trial)
        for weight in ready.layer.weights:
            weight.assign(weight / max(1.0, trial.sizes[-1] ** 0.5 / 2))  # not so large that errors grow
        with contextlib.nullcontext() if path == "native" else keras_rnnx.plain_loops():
            report = keras_rnnx.explain(ready.layer, mask=bool(trial.call["mask"]), training=trial.call["training"])
            assert report[0].path == path
            found[path] = ready.differentiated()
    for one, other in zip(found["native"], found["plain loop"], strict=True):
        scale = max(1.0, np.abs(other).max(initial=0))
        np.testing.assert_allclose(one / scale, other / scale, rtol=0, atol=1e-5)


@examples(torch=25, tensorflow=3, jax=3)
@hypothesis.given(trial=trials(longest=4, exact=True))
def test_gradients_are_differences_of_the_twins(trial):
    """Inputs, intervals, initial states and weights, each along a random direction."""
    ready = Prepared(trial)
    hypothesis.assume(not ready.layer.cell.measures)  # the twin of a cell that does is that of inference
    with np.errstate(all="ignore"):
        wanted = ready.expected(ready.arrays, ready.w)
    size = max(1.0, *(abs(a).max(initial=0) for a in wanted))
    hypothesis.assume(np.isfinite(size) and size < 1e3)
    cotangents = [ready.rng.normal(size=a.shape) for a in wanted]
    weights = [v for v in ready.layer.trainable_weights if v.name not in ready.case.kinked]
    arrays = {**ready.arrays, **{v.name: ready.w[v.name] for v in weights}}

    def twin_loss(name, moved):
        given, w = ({**group, **({name: moved} if name in group else {})} for group in (ready.arrays, ready.w))
        with np.errstate(all="ignore"):
            return sum((a * c).sum() for a, c in zip(ready.expected(given, w), cotangents, strict=True))

    def loss(*given):
        return weighted(ready.meant(ready.results(*given), keras.ops.exp), tensors(cotangents, ready.dtype))

    found = gradients(loss, ready.tensors(), weights)
    for (name, a), gradient in zip(arrays.items(), found, strict=True):
        way = ready.rng.normal(size=a.shape)
        way /= max(np.linalg.norm(way), 1e-12)
        sides = [twin_loss(name, a + sign * 1e-6 * way) for sign in (1, -1)]
        difference = (sides[0] - sides[1]) / 2e-6
        tolerance = DIFFERENCES["atol"] * 10 * max(size, abs(difference))
        np.testing.assert_allclose((gradient * way).sum(), difference, rtol=0, atol=tolerance, err_msg=name)


# ---- configurations ----

FIRST = {str(case): case for case in {case.cell: case for case in reversed(CATALOGUE)}.values()}  # one of each cell


@functools.cache
def configurations():
    """Classes and their configurations, as JSON has them, by name."""
    layers = {name: case.make(case.units or 4, dtype="float32") for name, case in FIRST.items()}
    cells = {f"{name}-cell": layer.cell for name, layer in layers.items()}
    made = {**layers, **cells, **composed()}
    return {name: (type(one), json.loads(json.dumps(one.get_config()))) for name, one in made.items()}


def numbers_in(part):
    """All numbers in a configuration."""
    if isinstance(part, (list, tuple, dict)):
        return [n for inside in (part.values() if isinstance(part, dict) else part) for n in numbers_in(inside)]
    return [part] if isinstance(part, (int, float)) else []


@pytest.fixture(scope="module", autouse=True)
def whole_tracebacks():
    """Keras leaves its own files out of tracebacks, by which `check_clear` knows whose an error is."""
    keras.config.disable_traceback_filtering()
    yield
    keras.config.enable_traceback_filtering()


def try_call(made, shape):
    """Calls a layer, which works or says why not."""
    try:
        with uncompiled():
            results = made(np.ones(shape, "float32"))
    except Exception as error:
        check_clear(error)
    else:
        assert keras.tree.flatten(results)[0].shape[0] == shape[0]


@examples(torch=200, tensorflow=60, jax=40)
@hypothesis.given(name=st.deferred(lambda: st.sampled_from(sorted(configurations()))), mistakes=MISTAKES)
def test_a_configuration_with_mistakes_works_or_says_what_is_wrong(name, mistakes):
    kind, config = configurations()[name]
    try:
        made = kind.from_config(mistaken(config, mistakes))
    except Exception as error:
        check_clear(error)
        return
    text = text_of(made.get_config())
    assert text_of(kind.from_config(json.loads(text)).get_config()) == text
    if name in FIRST and max(numbers_in(made.get_config()), default=0) <= 64:
        try_call(made, (2, 3, FIRST[name].features or 3))
    check_nothing_ran()


@functools.cache
def archives():
    """The files in the archives of two models."""
    deep = keras_rnnx.DeepRNN(keras_rnnx.GRUCell(3), 2, bidirectional=True)
    first = keras_rnnx.LSTM(4, return_sequences=True, normalization="layer", kernel_regularizer="l2")
    stacks = [[first, keras_rnnx.MinGRU(3)], [keras_rnnx.Bidirectional(keras_rnnx.MGU(3, return_sequences=True)), deep]]
    found = []
    for layers in stacks:
        with tempfile.TemporaryDirectory() as folder:
            keras.Sequential([keras.Input((4, 3)), *layers]).save(f"{folder}/model.keras")
            with zipfile.ZipFile(f"{folder}/model.keras") as archive:
                found.append({name: archive.read(name) for name in archive.namelist()})
    return found


def try_archive(parts):
    """Loads an archive of these files and calls what is in it: works, or says why not, and runs no code out of them."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(f"{folder}/model.keras", "w") as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
        try:
            model = keras.saving.load_model(f"{folder}/model.keras")
        except Exception as error:
            check_clear(error)
            return
    if isinstance(model, keras.Sequential) and model.input_shape == (None, 4, 3):
        try_call(model, (2, 4, 3))
    check_nothing_ran()


@examples(torch=30, tensorflow=12, jax=10)
@hypothesis.given(which=st.integers(0, 1), mistakes=MISTAKES)
def test_an_archive_whose_configuration_has_mistakes(which, mistakes):
    parts = archives()[which]
    try_archive({**parts, "config.json": json.dumps(mistaken(json.loads(parts["config.json"]), mistakes))})


@examples(torch=30, tensorflow=12, jax=10)
@hypothesis.given(
    which=st.integers(0, 1),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6),
    kept=st.floats(0, 1) | st.just(1.0),
)
def test_an_archive_whose_weights_are_damaged(which, changes, kept):
    parts = archives()[which]
    content = bytearray(parts["model.weights.h5"])
    for place, value in changes:
        content[place % len(content)] = value
    try_archive({**parts, "model.weights.h5": bytes(content[: int(kept * len(content))])})


@examples(torch=30, tensorflow=10, jax=6)
@hypothesis.given(
    name=st.sampled_from(["LSTM", "GRU", "RNN"]),
    options=st.fixed_dictionaries({"bias": st.booleans(), "bidirectional": st.booleans()}),
    levels=st.integers(1, 2),
    projected=st.booleans(),
    which=st.integers(0, 99),
    change=st.sampled_from(["delete", "float16", "nan"]) | st.lists(st.integers(0, 13), max_size=3),
)
def test_a_torch_module_with_mistakes(name, options, levels, projected, which, change):
    torch = pytest.importorskip("torch")
    options = {**options, "proj_size": 2} if projected and name == "LSTM" else options
    module = getattr(torch.nn, name)(3, 4, levels, **options)
    weights = sorted(module.state_dict().items())
    key, value = weights[which % len(weights)]
    if change == "delete":
        delattr(module, key)
    else:
        shape = tuple(value.shape) if isinstance(change, str) else change
        dtype = torch.float16 if change == "float16" else torch.float32
        setattr(module, key, torch.nn.Parameter(torch.full(shape, float("nan"), dtype=dtype)))
    if change == "nan" or change == list(value.shape):
        layer = keras_rnnx.from_torch(module)
        assert sum(np.isnan(a).any() for a in layer.get_weights()) == 1
    else:
        with pytest.raises(ValueError, match="Expected weights"):
            keras_rnnx.from_torch(module)
