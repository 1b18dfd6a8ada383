"""Our layers against other people's, by the vectors in `oracles/`: outputs, final states and input gradients.

`oracles/make_vectors.py` wrote them with the libraries, which are not needed here.
"""

import dataclasses
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from cases import BACKEND, DOUBLE, FLOAT, gradients, outcome, tensor, tensors, weighted

import keras_rnnx

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(BACKEND != "torch", reason="formulas, the same on every backend"),
]

ORACLES = pathlib.Path(__file__).parent / "oracles"
CLOSE = {"rtol": 0, "atol": 1e-10 if DOUBLE else 1e-5}


@dataclasses.dataclass(frozen=True)
class Oracle:
    """How a cell of another library is written as one of ours.

    Attributes:
        layer: `layer(units, **kwargs)`.
        weights: function of their parameters that gives our weights, both by name.
        kwargs: arguments of the layer.
        states: function of their parameters, their states, and the output that belongs to these states, that gives our
            states.
    """

    layer: Callable
    weights: Callable
    kwargs: dict = dataclasses.field(default_factory=dict)
    states: Callable = lambda p, states, output: states


def blocks(rows, names):
    """Rows (G*H, ...), cut into blocks by the names of the gates."""
    return dict(zip(names.split(), np.split(rows, len(names.split())), strict=True))


def columns(rows, theirs, ours=None):
    """Their rows (G*H, D), or a vector (G*H,), as our columns (D, G*H), in our order of the gates."""
    cut = blocks(rows, theirs)
    return np.concatenate([cut[gate] for gate in (ours or theirs).split()]).T


def mapped(ih, hh="", kernel=None, recurrent=None, bias=None, bias_ih=None, bias_hh=None, **more):
    """The function that maps `weight_ih`, `weight_hh`, `bias_ih` and `bias_hh`.

    Args:
        ih, hh, bias_ih, bias_hh: the gates in their order; those of a bias are those of the matrix unless given.
        kernel, recurrent, bias: the gates in our order, which is theirs unless given; the biases are added up.
        **more: our further weights by name, functions of their parameters.
    """

    def weights(p):
        parts = [blocks(p[n], g) for n, g in (("bias_ih", bias_ih or ih), ("bias_hh", bias_hh or hh)) if n in p]
        size = next(len(a) for part in parts for a in part.values())
        order = (kernel or ih) if bias is None else bias
        found = {"kernel": columns(p["weight_ih"], ih, kernel)}
        if hh:
            found["recurrent_kernel"] = columns(p["weight_hh"], hh, recurrent)
        found["bias"] = np.concatenate([sum(part.get(g, np.zeros(size)) for part in parts) for g in order.split()])
        return {**found, **{name: value(p) for name, value in more.items()}}

    return weights


def turned(name):
    """Their matrix, turned."""
    return lambda p: p[name].T


def cut(name, theirs, ours):
    """Some gates of their matrix, as columns."""
    return lambda p: columns(p[name], theirs, ours)


def torch_gru(p):
    """The recurrent bias is inside the reset."""
    both = np.stack([columns(p[f"bias_{kind}"], "r z n", "z r n") for kind in ("ih", "hh")])
    return {**mapped("r z n", "r z n", "z r n", "z r n")(p), "bias": both}


def multiplicative(p):
    """The matrix of the gates is their `weight_mh`; `weight_hh` makes the factor of the intermediate state."""
    return {
        "kernel": columns(p["weight_ih"], "m i f g o", "i f g o m"),
        "recurrent_kernel": p["weight_mh"].T,
        "multiplicative_kernel": p["weight_hh"].T,
        "bias": p["bias_mh"],
    }


def deep_simple_gated(p):
    """The output's matrix is between those of the gates."""
    found = mapped("g z", "g z")(p)
    g, z = np.split(found["recurrent_kernel"], 2, axis=1)
    return {**found, "recurrent_kernel": np.concatenate([g, p["weight_ho"].T, z], axis=1)}


def last_inputs(p, states, output):
    """Ours is the product of the last input with its matrix."""
    return [*states[:-1], states[-1] @ p["weight_hh"].T]


def with_output(p, states, output):
    """Our first state is the output, which is not read."""
    return [output, *states]


PEEPHOLES = {f"p_{gate}": cut("weight_ph", "i f o", gate) for gate in "ifo"}
LAST_INPUT = {"bias_hh": "z f o", "previous_kernel": turned("weight_hh")}
TORCH = {
    "rnn": Oracle(keras_rnnx.VanillaRNN, mapped("h", "h")),
    "rnn_relu": Oracle(keras_rnnx.VanillaRNN, mapped("h", "h"), {"activation": "relu"}),
    "lstm": Oracle(keras_rnnx.LSTM, mapped("i f g o", "i f g o")),
    "lstm_projected": Oracle(
        keras_rnnx.LSTM,
        mapped("i f g o", "i f g o", projection_kernel=turned("weight_hr")),
        {"projection_units": 2},
    ),
    "gru": Oracle(keras_rnnx.GRU, torch_gru),
}
# Not here, since torchrecurrent 0.2.5 differs from the paper: LEM (the second update reads the old state), NAS (one
# branch adds where it should multiply), SCRN (recurs on its read-out). LiGRU and TauGRU are other variants than ours.
# What differs by an argument is here with it: the gate of FastGRNN, the squashing of OriginalLSTM, the slope in SGU.
STEEP = {"recurrent_activation": "hard_sigmoid"}
TORCHRECURRENT = {
    "antisymmetricrnn": Oracle(keras_rnnx.AntisymmetricRNN, mapped("h", "h"), {"epsilon": 0.3, "gamma": 0.2}),
    "gatedantisymmetricrnn": Oracle(
        keras_rnnx.GatedAntisymmetricRNN, mapped("z h", "h"), {"epsilon": 0.3, "gamma": 0.2}
    ),
    "atr": Oracle(keras_rnnx.ATR, mapped("h", "h")),
    "br": Oracle(keras_rnnx.BRC, mapped("a c h", "a c")),
    "nbr": Oracle(keras_rnnx.NBRC, mapped("a c h", "a c")),
    "cfn": Oracle(keras_rnnx.CFN, mapped("theta eta w", "theta eta", bias="theta eta")),
    "cornn": Oracle(
        keras_rnnx.CoRNN,
        mapped("z", "z", velocity_kernel=turned("weight_ch")),
        {"dt": 0.1, "gamma": 1.3, "epsilon": 0.7},
    ),
    "fastrnn": Oracle(keras_rnnx.FastRNN, mapped("h", "h", alpha=turned("alpha"), beta=turned("beta"))),
    "fastgrnn": Oracle(
        keras_rnnx.FastGRNN,
        mapped("h", "h", bias="z h", bias_ih="z h", bias_hh="z h", zeta=turned("zeta"), nu=turned("nu")),
    ),
    "indrnn": Oracle(keras_rnnx.IndRNN, mapped("h", bias_hh="h", recurrent_kernel=turned("vector_u"))),
    "intersectionrnn": Oracle(keras_rnnx.IntersectionRNN, mapped("y h gy gh", "y h gy gh"), states=with_output),
    "janet": Oracle(keras_rnnx.JANET, mapped("f c", "f c"), states=lambda p, states, output: states[:1]),
    "lightru": Oracle(keras_rnnx.LightRU, mapped("h f", "f", "f h", bias="f")),
    "mgu": Oracle(keras_rnnx.MGU, mapped("f h", "f h")),
    "minimalrnn": Oracle(keras_rnnx.MinimalRNN, mapped("z", "u", bias="z u", update_kernel=turned("weight_mm"))),
    "multiplicativelstm": Oracle(keras_rnnx.MultiplicativeLSTM, multiplicative),
    "mut1": Oracle(
        keras_rnnx.MUT1, mapped("z r x", "r h", "z r", bias="z r h", input_kernel=cut("weight_ih", "z r x", "x"))
    ),
    "mut2": Oracle(
        keras_rnnx.MUT2, mapped("z r h", "z r h", "z h", bias="z h r", input_kernel=cut("weight_ih", "z r h", "r"))
    ),
    "mut3": Oracle(keras_rnnx.MUT3, mapped("z r h", "z r h")),
    "originallstm": Oracle(
        keras_rnnx.OriginalLSTM, mapped("i g o", "i g o"), {"activation": "tanh", "output_activation": "tanh"}
    ),
    "peepholelstm": Oracle(keras_rnnx.PeepholeLSTM, mapped("i f g o", "i f g o", **PEEPHOLES)),
    "ran": Oracle(keras_rnnx.RAN, mapped("c i f", "i f", "i f c", bias="i f", bias_ih="i f")),
    "reslstm": Oracle(
        keras_rnnx.ResLSTM,
        mapped(
            "i f g o",
            "i f g o",
            projection_kernel=turned("weight_proj"),
            input_kernel=turned("weight_res"),
            **PEEPHOLES,
        ),
    ),
    "sgrn": Oracle(keras_rnnx.SGRN, mapped("h", "h")),
    "sgu": Oracle(keras_rnnx.SGU, mapped("g z", "g z"), STEEP),
    "dsgu": Oracle(keras_rnnx.DSGU, deep_simple_gated, STEEP),
    "star": Oracle(keras_rnnx.STAR, mapped("z k", "k", "k z")),
    "trnn": Oracle(keras_rnnx.TRNN, mapped("z f", bias="f")),
    "tgru": Oracle(keras_rnnx.TGRU, mapped("z f o", **LAST_INPUT), states=last_inputs),
    "tlstm": Oracle(
        keras_rnnx.TLSTM,
        mapped("z f o", **LAST_INPUT),
        states=lambda p, states, output: with_output(p, last_inputs(p, states, output), output),
    ),
    "ugrnn": Oracle(keras_rnnx.UGRNN, mapped("c g", "c g")),
    "unicornn": Oracle(keras_rnnx.UnICORNN, mapped("y", "y", c=turned("weight_ch")), {"dt": 0.19, "alpha": 2.0}),
    "wmclstm": Oracle(
        keras_rnnx.WMCLSTM,
        mapped(
            "i f g o",
            "i f g o",
            memory_kernel=cut("weight_mh", "i f o", "i f"),
            output_memory_kernel=cut("weight_mh", "i f o", "o"),
        ),
    ),
}
ORACLE = {
    f"{library}_{name}": oracle
    for library, table in (("torch", TORCH), ("torchrecurrent", TORCHRECURRENT))
    for name, oracle in table.items()
}


def read(name):
    """The arrays of a file, the states and parameters gathered."""
    with np.load(ORACLES / f"{name}.npz") as file:
        arrays = dict(file)
    parts = {
        kind: {k.removeprefix(kind): a for k, a in arrays.items() if k.startswith(kind)}
        for kind in ("state-", "final-", "parameter-")
    }
    states, final = ([parts[kind][str(i)] for i in range(len(parts[kind]))] for kind in ("state-", "final-"))
    return arrays, states, final, {name.removesuffix("_l0"): a for name, a in parts["parameter-"].items()}


def test_every_file_has_its_layer():
    files = {path.stem for path in ORACLES.glob("*.npz")}
    assert files == {*ORACLE, "scipy_lmu"}


@pytest.mark.parametrize("name", ORACLE)
def test_layer_is_that_of_another_library(name):
    oracle = ORACLE[name]
    arrays, states, final, parameters = read(name)
    outputs = arrays["outputs"]
    units = outputs.shape[-1] if "projection_units" not in oracle.kwargs else states[-1].shape[-1]
    states = oracle.states(parameters, states, np.zeros_like(outputs[:, -1]))
    final = oracle.states(parameters, final, outputs[:, -1])
    layer = oracle.layer(units, dtype=FLOAT, return_sequences=True, return_state=True, **oracle.kwargs)
    layer.build(arrays["inputs"].shape)
    weights = oracle.weights(parameters)
    assert set(weights) == {w.name for w in layer.weights}
    layer.set_weights([weights[w.name] for w in layer.weights])
    x, *start = tensors([arrays["inputs"], *states])

    def results(x):
        return layer(x, initial_state=start)

    for one, want in zip(outcome(results(x)), [outputs, *final], strict=True):
        np.testing.assert_allclose(one, want, **CLOSE)
    cotangent = tensor(arrays["cotangent"])
    (gradient,) = gradients(lambda x: weighted(results(x)[:1], [cotangent]), [x])
    coarse = 1e-6 if DOUBLE else 1e-5  # XLA's softplus has a coarser gradient
    np.testing.assert_allclose(gradient, arrays["gradient"], rtol=0, atol=coarse)


def test_legendre_memory_is_that_of_scipy():
    with np.load(ORACLES / "scipy_lmu.npz") as arrays:
        for i in range(sum(name.startswith("A-") for name in arrays)):
            layer = keras_rnnx.LMU(
                3,
                order=int(arrays[f"order-{i}"]),
                theta=float(arrays[f"theta-{i}"]),
                discretization=str(arrays[f"method-{i}"]),
            )
            layer.build((None, None, 2))
            for part, name in zip(layer.cell.system, "AB", strict=True):
                np.testing.assert_allclose(np.asarray(part), arrays[f"{name}-{i}"], rtol=0, atol=1e-12)
