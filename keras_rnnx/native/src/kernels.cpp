// All kernels in the instruction set that this file is compiled for.
#include "memory.h"
#include "program.h"
#include "scan.h"
#include "sequence.h"

#define QUOTED(name) #name
#define NAME_OF(name) QUOTED(name)

namespace INSTRUCTIONS {

template <class C>
constexpr Cell cell() {
  return {C::X, C::R, C::S, C::P, C::K, C::BEFORE, C::SAME, Sequence<C>::forward, Sequence<C>::backward};
}

extern const Kernels kernels = {
    NAME_OF(INSTRUCTIONS),
    {cell<Vanilla<Tanh>>(), cell<Vanilla<Relu>>(), cell<Lstm>(), cell<Gru>()},
    {{LinearScan<1>::forward, LinearScan<1>::backward}, {LinearScan<2>::forward, LinearScan<2>::backward}},
    MatrixMemory::forward,
    MatrixMemory::backward,
    program_forward,
    program_backward,
};

}  // namespace INSTRUCTIONS
