"""Native kernels: C++ that walks a whole sequence in one call, forwards and back, called from XLA on a CPU.

`src/cells.h` has equations, `src/sequence.h` the walk around them, `src/program.h` the same walk around any step,
`src/scan.h` the linear recurrence, `src/*ffi.cpp` the calls. `library` loads what was compiled when the package was
installed; `kernels` says what is in it; `walk` and `scan` give it the engines' arguments; `stablehlo` writes a call
down for TensorFlow.

`program` turns the step of a cell into code that `src/program.h` interprets: `tracing` follows the step, `formulas`
holds its graph and the derivatives, `scheduling` lays it out in stages.
"""
