"""Writes vectors of other people's implementations, which `tests/test_oracles.py` compares ours with.

    pip install torch scipy torchrecurrent
    python tests/oracles/make_vectors.py

A file a cell: inputs (B, T, D), initial states, parameters under the names of the library, outputs (B, T, H), final
states, and the gradient of sum(outputs * cotangent) with respect to the inputs, all in float64; `origin` says whose
they are. `torch` is `torch.nn`; `torchrecurrent` are the cells that do not deviate from their papers, see the table in
`tests/test_oracles.py`; `scipy_lmu` are the matrices of Legendre memories, discretized by `scipy.signal.cont2discrete`.
"""

import pathlib
import platform
import zlib

import numpy as np

HERE = pathlib.Path(__file__).parent
B, T, D, H = 2, 4, 3, 4
SCALE = 0.5  # of the random parameters and states
# Legendre memories: order, theta, method.
MEMORIES = ((1, 3.0, "zoh"), (4, 6.0, "zoh"), (6, 20.5, "zoh"), (5, 100.0, "euler"))
TORCH = {
    "rnn": ("RNN", {}),
    "rnn_relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "lstm_projected": ("LSTM", {"proj_size": 2}),
    "gru": ("GRU", {}),
}
# The cells of torchrecurrent that are compared, with arguments. A bias that the paper does not have is left out.
INPUT_BIAS, RECURRENT_BIAS = {"recurrent_bias": False}, {"bias": False}
TORCHRECURRENT = {
    "AntisymmetricRNN": {"epsilon": 0.3, "gamma": 0.2},
    "GatedAntisymmetricRNN": {"epsilon": 0.3, "gamma": 0.2},
    "ATR": INPUT_BIAS,
    "BR": {},
    "NBR": {},
    "CFN": RECURRENT_BIAS,
    "coRNN": {"cell_bias": False, "dt": 0.1, "gamma": 1.3, "epsilon": 0.7},
    "FastRNN": {},
    "FastGRNN": {"nonlinearity": "sigmoid"},
    "IndRNN": {"nonlinearity": "relu"},
    "IntersectionRNN": {},
    "JANET": {},
    "LightRU": RECURRENT_BIAS,
    "MGU": {},
    "MinimalRNN": {},
    "MultiplicativeLSTM": {**INPUT_BIAS, **RECURRENT_BIAS},
    "MUT1": RECURRENT_BIAS,
    "MUT2": {},
    "MUT3": {},
    "OriginalLSTM": {},
    "PeepholeLSTM": {},
    "RAN": {},
    "ResLSTM": {},
    "SGRN": RECURRENT_BIAS,
    "SGU": INPUT_BIAS,
    "DSGU": INPUT_BIAS,
    "STAR": {},
    "TRNN": {},
    "TGRU": {},
    "TLSTM": {},
    "UGRNN": {},
    "UnICORNN": {"dt": 0.19, "alpha": 2.0},
    "WMCLSTM": {"memory_bias": False},
}
SQUARE = ("IntersectionRNN",)  # adds the inputs to a state, so D is H
DECOUPLED = ("IntersectionRNN", "TLSTM")  # give the output beside the states
STATES = {"TGRU": (H, D), "TLSTM": (H, D)}  # a state and the last input; else H for each state


def randomized(module, rng):
    """The module with random parameters; those, by name."""
    import torch

    found = {}
    for name, parameter in module.named_parameters():
        if not parameter.ndim:  # a constant of the paper, trained there
            continue
        found[name] = SCALE * rng.normal(size=tuple(parameter.shape))
        with torch.no_grad():
            parameter.copy_(torch.tensor(found[name]))
    return found


def vectors(run, parameters, states, rng, features=D, width=H):
    """Everything of one cell; `run(x, states)` gives the outputs (B, T, width) and the final states (B, n)."""
    import torch

    x, cotangent = rng.normal(size=(B, T, features)), rng.normal(size=(B, T, width))
    leaf = torch.tensor(x, requires_grad=True)
    outputs, final = run(leaf, [torch.tensor(s) for s in states])
    (gradient,) = torch.autograd.grad((outputs * torch.tensor(cotangent)).sum(), leaf)
    found = {"inputs": x, "cotangent": cotangent, "outputs": outputs.detach().numpy(), "gradient": gradient.numpy()}
    found |= {f"state-{i}": s for i, s in enumerate(states)}
    found |= {f"final-{i}": s.detach().numpy() for i, s in enumerate(final)}
    return found | {f"parameter-{name}": a for name, a in parameters.items()}


def write(name, origin, arrays):
    """One file."""
    arrays = {key: np.asarray(a) for key, a in arrays.items()}
    np.savez_compressed(HERE / f"{name}.npz", origin=np.array(origin), **arrays)
    print(name, (HERE / f"{name}.npz").stat().st_size, "bytes")


def seeded(name):
    """The same numbers for a cell, whatever other cells there are."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def random_states(rng, sizes):
    """States (B, n) that are not zero."""
    return [SCALE * rng.normal(size=(B, n)) for n in sizes]


def write_torch():
    """`torch.nn` modules of one layer."""
    import torch

    for name, (kind, arguments) in TORCH.items():
        rng = seeded(name)
        module = getattr(torch.nn, kind)(D, H, batch_first=True, dtype=torch.float64, **arguments)
        parameters = randomized(module, rng)
        width = arguments.get("proj_size") or H
        pair = kind == "LSTM"

        def run(x, states, module=module, pair=pair):
            start = [s[None] for s in states]
            outputs, final = module(x, tuple(start) if pair else start[0])
            return outputs, [s[0] for s in (final if pair else [final])]

        states = random_states(rng, [width, H] if pair else [H])
        arrays = vectors(run, parameters, states, rng, width=width)
        origin = (
            f"torch.nn.{kind}({D}, {H}, {arguments}), torch {torch.__version__}, Python {platform.python_version()}"
        )
        write(f"torch_{name}", origin, arrays)


def write_torchrecurrent():
    """Cells of torchrecurrent, walked step by step."""
    from importlib.metadata import version

    import torch
    import torchrecurrent

    for name, arguments in TORCHRECURRENT.items():
        rng, features = seeded(name), H if name in SQUARE else D
        cell = getattr(torchrecurrent, f"{name}Cell")(features, H, dtype=torch.float64, **arguments).double()
        parameters = randomized(cell, rng)
        if name == "TRNN":  # the paper has a bias in the gate alone
            parameters["bias_ih"][:H] = 0.0
            with torch.no_grad():
                cell.bias_ih[:H] = 0.0
        states = random_states(rng, STATES.get(name, (H,) * (1 + cell.uses_double_state())))
        if name == "JANET":  # its two states are one after the first step, and in the paper
            states[1] = states[0]

        def run(x, states, cell=cell, name=name):
            outputs = []
            for t in range(T):
                found = cell(x[:, t], tuple(states) if len(states) > 1 else states[0])
                output, found = found if name in DECOUPLED else (None, found)
                states = list(found) if isinstance(found, tuple) else [found]
                outputs.append(states[0] if output is None else output)
            return torch.stack(outputs, 1), states

        arrays = vectors(run, parameters, states, rng, features)
        origin = f"torchrecurrent.{name}Cell({features}, {H}, {arguments}), torchrecurrent {version('torchrecurrent')}"
        write(f"torchrecurrent_{name.lower()}", f"{origin}, torch {torch.__version__}", arrays)


def legendre(order, theta):
    """A and B of theta dm/dt = A m + B u divided by theta, as keras-lmu writes them."""
    Q = np.arange(order, dtype="float64")
    R = (2 * Q + 1)[:, None] / theta
    j, i = np.meshgrid(Q, Q)
    return np.where(i < j, -1, (-1.0) ** (i - j + 1)) * R, (-1.0) ** Q[:, None] * R


def write_legendre():
    """The discrete matrices for each of `MEMORIES`."""
    import scipy
    from scipy.signal import cont2discrete

    arrays = {}
    for index, (order, theta, method) in enumerate(MEMORIES):
        A, B = legendre(order, theta)
        system = (A, B, np.ones((1, order)), np.zeros((1, 1)))
        A_bar, B_bar, *_ = cont2discrete(system, dt=1.0, method=method)
        arrays |= {f"A-{index}": A_bar, f"B-{index}": B_bar[:, 0]}
        arrays |= {f"order-{index}": order, f"theta-{index}": theta, f"method-{index}": method}
    write("scipy_lmu", f"the formula of keras-lmu 0.9, scipy.signal.cont2discrete, scipy {scipy.__version__}", arrays)


def main():
    """Every file."""
    write_torch()
    write_torchrecurrent()
    write_legendre()


if __name__ == "__main__":
    main()
