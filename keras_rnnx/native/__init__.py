"""Native kernels: C++ that walks a whole sequence in one call, forwards and back, called from XLA on a CPU.

`src/cells.h` has the equations, `src/sequence.h` the walk around them, `src/ffi.cpp` the calls. `library` loads what
was compiled when the package was installed; `walk` gives it the engine's arguments.
"""
