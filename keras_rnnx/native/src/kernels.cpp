// The kernels of all cells in the instruction set that this file is compiled for.
#include "sequence.h"

namespace INSTRUCTIONS {

template <class C>
constexpr Cell cell() {
  return {C::X, C::R, C::S, C::P, C::K, C::BEFORE, C::SAME, Sequence<C>::forward, Sequence<C>::backward};
}

extern const Cell cells[CELLS] = {cell<Vanilla<Tanh>>(), cell<Vanilla<Relu>>(), cell<Lstm>(), cell<Gru>()};

}  // namespace INSTRUCTIONS
