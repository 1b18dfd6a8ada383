"""The compiled library: what is in it, and whether it can be called here."""

import ctypes
import functools
import os
import pathlib

from keras import activations

from keras_rnnx.engine.backends import backend
from keras_rnnx.native.kernels import CompiledCell, InterpretedCell

HANDLERS = tuple(
    f"rnnx_{kind}{way}" for kind in ("", "scan_", "memory_", "program_") for way in ("forward", "backward")
)
MOST = 16  # as in src/calls.h
FILE = pathlib.Path(__file__).parent / "_kernels.so"


tanh, sigmoid, relu = activations.tanh, activations.sigmoid, activations.relu


class Native:
    """The kernels of the library; see `engine.paths.kernels`."""

    NAME, OWNER = "native", "keras_rnnx"
    MASKS = GRADIENTS = WALKS = True
    KERNELS = {
        ("rnn", tanh): CompiledCell(0, 1, 1, 1, (), 1, True),
        ("rnn", relu): CompiledCell(1, 1, 1, 1, (), 1, True),
        ("lstm", sigmoid, tanh, tanh): CompiledCell(2, 4, 4, 2, (1,), 4, True),
        ("gru", sigmoid, tanh): CompiledCell(3, 3, 3, 1, (0,), 4, False),
    }

    def kernel(self, equations):
        """The `Kernel` of equations that have one."""
        if equations.program is not None:
            return InterpretedCell(equations.program)
        return self.KERNELS[equations.kind, *equations.activations]

    def lacks(self, equations, dtype, training):
        """What rules the kernels out."""
        program = equations.program
        beyond = equations.beyond(self.KERNELS) if program is None else []
        if program is not None and max(program.states, len(program.products), len(program.vectors)) > MOST:
            beyond = [f"more than {MOST} states, products or vectors"]
        return [*beyond, *self.excludes(dtype, training)]

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
