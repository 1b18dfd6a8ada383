"""What the engine knows of a kernel: one that is compiled for a cell, or the interpreter with a cell's program."""

import dataclasses

import numpy as np

from keras_rnnx.native.program import Product, Program


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
        program, states, lefts = self.program, *((self.before, ()) if back else self.stored(drops))
        constants, stages = program.constants, program.forward
        if back:
            constants, stages = program.backward_constants, program.backward
        crossing = program.backward_crossing if back else program.forward_crossing
        first, temporaries, end = self._slots(back, len(constants), stages)
        places = {slot: i for i, slot in enumerate(crossing)}
        code = [units, self.inputs, self.states, len(self.vectors), len(self.products), self.kept]
        code += [end - temporaries, len(crossing), int(self.same)]
        for product, bias in zip(self.products, biased, strict=True):
            code += [product.parts, -1 if product.state is None else product.state, product.left, int(bias)]
        code += [int(i in states) for i in range(self.states)] + [int(j in lefts) for j in range(len(self.products))]
        code += [places.get(slot, -1) for slot in range(temporaries, end)]
        for results in self._results(back):
            code += results
        loaded = range(first, first + (self.states + self.kept if back else self.inputs))
        for stage, due in zip(stages, self._due(back), strict=True):
            read = {slot for one in stage.code for slot in one[2:]}.union(due)
            loads = sorted(slot for slot in read if slot in loaded)
            code += [len(loads), len(stage.code), *loads, *(number for one in stage.code for number in one)]
        return {"code": np.array(code, "int64"), "constants": np.array(constants, "float32")}

    def _slots(self, back, constants, stages):
        """The first slot after constants and vectors, the first temporary, and the one after the last."""
        parts = sum(product.parts for product in self.products)
        first = constants + len(self.vectors)
        given = first + self.states + (self.kept + self.states + len(self.products) if back else self.inputs + parts)
        return first, given, 1 + max([given - 1, *(one[1] for stage in stages for one in stage.code)])

    def _results(self, back):
        """The slots of results, in the order in which they are read."""
        program = self.program
        if back:
            return program.dinputs, program.dparts, program.dstates, program.dvectors
        return program.new, program.kept

    def _due(self, back):
        """For each stage the slots that are read right after it."""
        program = self.program
        if not back:
            return [*([product.left] for product in self.products), [*program.new, *program.kept]]
        parts = iter(program.dparts)
        due = [[next(parts) for _ in range(product.parts)] for product in self.products]
        return [*due[::-1], [*program.dinputs, *program.dstates, *program.dvectors]]
