"""The compiled library: what is in it, and whether it can be called here."""

import ctypes
import dataclasses
import functools
import os
import pathlib

from keras import activations

from keras_rnnx.engine.backends import backend

HANDLERS = ("rnnx_forward", "rnnx_backward", "rnnx_scan_forward", "rnnx_scan_backward")  # as XLA calls them
FILE = pathlib.Path(__file__).parent / "_kernels.so"


@dataclasses.dataclass(frozen=True)
class Kernel:
    """What the engine has to know of a cell in the library: see `src/cells.h`.

    Attributes:
        number: its place among the cells.
        inputs: the number of arrays from the inputs, which stand side by side.
        parts: the number of parts of the recurrent product.
        states: the number of states.
        before: the old states that the way back needs.
        kept: the number of values that it needs besides.
        same: whether the cotangents of the product are those of the inputs.
        vectors: the names of the vectors of weights.
    """

    number: int
    inputs: int
    parts: int
    states: int
    before: tuple
    kept: int
    same: bool
    vectors: tuple = ()


tanh, sigmoid, relu = activations.tanh, activations.sigmoid, activations.relu


class Native:
    """The kernels of the library; see `engine.paths.kernels`."""

    NAME, OWNER = "native", "keras_rnnx"
    MASKS = GRADIENTS = WALKS = True
    KERNELS = {
        ("rnn", tanh): Kernel(0, 1, 1, 1, (), 1, True),
        ("rnn", relu): Kernel(1, 1, 1, 1, (), 1, True),
        ("lstm", sigmoid, tanh, tanh): Kernel(2, 4, 4, 2, (1,), 4, True),
        ("gru", sigmoid, tanh): Kernel(3, 3, 3, 1, (0,), 4, False),
    }

    def kernel(self, equations):
        """The `Kernel` of equations that have one."""
        return self.KERNELS[equations.kind, *equations.activations]

    def lacks(self, equations, dtype, training):
        """What rules the kernels out."""
        return [*equations.beyond(self.KERNELS), *self.excludes(dtype, training)]

    def excludes(self, dtype, training):
        """What rules out any kernel."""
        place = backend.elsewhere(training)
        return ([place] if place else []) + ([dtype] if dtype != "float32" else [])


native = Native()


@functools.cache
def problem():
    """Why the library cannot be called in this process, or None where it can."""
    if os.environ.get("KERAS_RNNX_NATIVE") == "0":
        return "KERAS_RNNX_NATIVE=0 turns them off"
    if not hasattr(backend, "register"):
        return f"{backend.NAME} does not call them"
    if backend.device() != "cpu":
        return f"they are for a cpu, and this is a {backend.device()}"
    if not FILE.exists():
        return "none were compiled when keras_rnnx was installed"
    if not backend.register(ctypes.CDLL(str(FILE)), HANDLERS):
        return f"this version of {backend.NAME} has another FFI than they were compiled for; install keras_rnnx again"
    return None


def instructions():
    """The instruction set that the kernels use on this machine."""
    library = ctypes.CDLL(str(FILE))
    library.rnnx_instructions.restype = ctypes.c_char_p
    return library.rnnx_instructions().decode()
