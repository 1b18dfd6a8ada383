"""The definition of every cell and of the time loop, as plain float64 NumPy.

These twins are written from the papers, one gate at a time and one row at a time, to be read
beside them. They are slow on purpose: the layers are compared against them, never the reverse.

Each cell module has `step(w, x, *states, **config) -> tuple of new states` for one row `(D,)` or
a batch of rows `(B, D)`. `w` is a dict of float64 arrays named like the layer's weights; a bias
or gain that is absent counts as zero or one. `run` walks a sequence:

    step = functools.partial(lstm.step, w)
    (h_all, c_all), (h, c) = run(step, x, [h0, c0], mask=mask)
"""

from . import activations, deep_transition, gru, lstm, min_gru, vanilla
from .gradients import numeric_gradient
from .loop import run
from .products import normalize, recurrent, split

__all__ = [
    "activations",
    "deep_transition",
    "gru",
    "lstm",
    "min_gru",
    "normalize",
    "numeric_gradient",
    "recurrent",
    "run",
    "split",
    "vanilla",
]
