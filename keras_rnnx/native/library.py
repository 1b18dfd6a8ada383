"""The compiled library: what is in it, and whether it can be called here."""

import ctypes
import dataclasses
import functools
import os
import pathlib

import numpy as np
from keras import activations

from keras_rnnx.engine.backends import backend
from keras_rnnx.native.program import Product, Program

HANDLERS = tuple(f"rnnx_{kind}{way}" for kind in ("", "scan_", "program_") for way in ("forward", "backward"))
MOST = 16  # as in src/calls.h
FILE = pathlib.Path(__file__).parent / "_kernels.so"


class Kernel:
    """What the engine has to know of a kernel for a cell.

    Attributes:
        handlers: as XLA calls it, forwards and back.
        inputs: the number of arrays from the inputs, which stand side by side.
        products: the recurrent products, each a `program.Product`; without a name, the only one there is.
        states: the number of states.
        before: the old states that the way back needs.
        kept: the number of values that it needs besides.
        same: whether the cotangents of the only product are those of the inputs.
        vectors: the names of the vectors of weights.
    """

    def stored(self, drops):
        """The old states and the left operands, by number of the product, that are stored for the way back.

        A left operand that is a state as it stands is stored as that; `drops`: not where factors come between.
        """
        lefts = tuple(j for j, product in enumerate(self.products) if drops or product.state is None)
        states = {product.state for j, product in enumerate(self.products) if j not in lefts}
        return tuple(sorted(states.union(self.before))), lefts

    def attributes(self, back, units, biased, drops):
        """What a call says besides its arguments: numbers and arrays by name."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class CompiledCell(Kernel):
    """A cell of `src/cells.h`, of which these are the numbers."""

    number: int
    inputs: int
    parts: int
    states: int
    before: tuple
    kept: int
    same: bool
    handlers = ("rnnx_forward", "rnnx_backward")
    vectors = ()

    @property
    def products(self):
        """See `Kernel`."""
        return (Product(None, self.parts, 0, -1),)

    def attributes(self, back, units, biased, drops):
        """See `Kernel`."""
        del back, units, biased, drops
        return {"cell": self.number}


@dataclasses.dataclass(frozen=True)
class InterpretedCell(Kernel):
    """A cell whose step is a program: see `src/program.h`."""

    program: Program
    handlers = ("rnnx_program_forward", "rnnx_program_backward")

    inputs = property(lambda self: self.program.inputs)
    products = property(lambda self: self.program.products)
    states = property(lambda self: self.program.states)
    before = property(lambda self: self.program.before)
    vectors = property(lambda self: self.program.vectors)
    kept = property(lambda self: len(self.program.kept))

    @property
    def same(self):
        """See `Kernel`."""
        return len(self.products) == 1 and self.program.dinputs == self.program.dparts

    def attributes(self, back, units, biased, drops):
        """The program in one row of numbers, as src/program_ffi.cpp reads it."""
        program = self.program
        states, lefts = (self.before, ()) if back else self.stored(drops)
        constants = program.backward_constants if back else program.constants
        given = len(constants) + len(self.vectors) + self.states
        parts = sum(product.parts for product in self.products)
        given += self.kept + self.states + len(self.products) if back else self.inputs + parts
        stages = program.backward if back else program.forward
        crossing = program.backward_crossing if back else program.forward_crossing
        last = max([given - 1, *(slot for stage in stages for one in stage.code for slot in one[1:])])
        places = {slot: i for i, slot in enumerate(crossing)}
        code = [units, self.inputs, self.states, len(self.vectors), len(self.products), self.kept]
        code += [last + 1 - given, len(crossing), int(self.same)]
        for product, bias in zip(self.products, biased, strict=True):
            code += [product.parts, -1 if product.state is None else product.state, product.left, int(bias)]
        code += [int(i in states) for i in range(self.states)] + [int(j in lefts) for j in range(len(self.products))]
        code += [places.get(slot, -1) for slot in range(given, last + 1)]
        for results in _results(program, back):
            code += results
        for stage, due in zip(stages, self._due(back), strict=True):
            first = len(constants) + len(self.vectors)
            loaded = range(first, first + (self.states + self.kept if back else self.inputs))
            read = {slot for one in stage.code for slot in one[2:]}.union(due)
            loads = sorted(slot for slot in read if slot in loaded)
            code += [len(loads), len(stage.code), *loads, *(number for one in stage.code for number in one)]
        return {"code": np.array(code, "int64"), "constants": np.array(constants, "float32")}

    def _due(self, back):
        """For each stage the slots that are read right after it."""
        program = self.program
        if not back:
            return [*([product.left] for product in self.products), [*program.new, *program.kept]]
        parts = iter(program.dparts)
        due = [[next(parts) for _ in range(product.parts)] for product in self.products]
        return [*due[::-1], [*program.dinputs, *program.dstates, *program.dvectors]]


def _results(program, back):
    if back:
        return program.dinputs, program.dparts, program.dstates, program.dvectors
    return program.new, program.kept


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
