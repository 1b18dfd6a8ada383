"""The Legendre memory unit whose memory is linear in the inputs."""

from functools import partial

from cases import Case
from reference import parallel_lmu
from reference.activations import relu, tanh

from keras_rnnx.cells.parallel_lmu import ParallelLMU, ParallelLMUCell

# Options that act between two steps have no place where many steps are computed at once.
REFUSED = ("zoneout", "normalization", "recurrent_structure", "recurrent_dropout")


def row(name, *, order, theta, memories=1, method="zoh", encoder=None, activation="tanh", wrong=(), **kwargs):
    """A row of so many memories (d,), whose activations are given by their functions and names."""
    functions = {"relu": relu, "tanh": tanh}
    more = {} if encoder is None else {"encoder_activation": functions[encoder]}
    return Case(
        name,
        cell=ParallelLMUCell,
        layer=ParallelLMU,
        step=partial(parallel_lmu.step, order=order, theta=theta, memories=memories, method=method, **more),
        beside=True,
        readout=partial(parallel_lmu.readout, activation=functions[activation]),
        state_sizes=lambda units: [memories * order],
        kwargs={
            "order": order,
            "theta": theta,
            "memories": memories,
            "discretization": method,
            "encoder_activation": encoder,
            "activation": activation,
            **kwargs,
        },
        refuses=REFUSED,
        wrong=wrong,
    )


CASES = [
    row(
        "parallel-lmu",
        order=5,
        theta=4.0,
        wrong=(
            ({"units": 0}, "units"),
            ({"dropout": 1.0}, "dropout"),
            ({"order": 0}, "order"),
            ({"memories": 1.5}, "memories"),
            ({"theta": 0.0}, "theta"),
            ({"discretization": "bilinear"}, "discretization"),
        ),
    ),
    row("parallel-lmu-memories", order=3, theta=6.5, memories=2, encoder="tanh", learn_initial_state=True),
    row("parallel-lmu-euler", order=3, theta=40.0, memories=3, method="euler", activation="relu", use_bias=False),
]
