"""Native kernels: C++ that walks a whole sequence in one call, forwards and back, called from XLA on a CPU.

`src/cells.h` has the equations, `src/sequence.h` the walk around them, `src/ffi.cpp` the calls; `src/scan.h` and
`src/scan_ffi.cpp` are the same for what is linear in its state. `library` loads what was compiled when the package was
installed; `walk` and `scan` give it the arguments of the engines.
"""
