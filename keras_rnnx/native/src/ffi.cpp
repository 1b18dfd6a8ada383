// The calls from XLA of the cells in cells.h: buffers in their order, checked, to the pointers that a kernel takes.
#include "around.h"

namespace {

const auto& cells = chosen().cells;

Counts counts_of(const Cell& cell, int64_t flags) {
  Counts count;
  count.inputs = cell.X, count.states = cell.S, count.vectors = cell.P, count.products = 1;
  count.parts[0] = cell.R, count.bias[0] = flags & BIAS;
  return count;
}

ffi::Error forward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, int64_t which,
                   int64_t flags, int64_t emit, ffi::Span<const float> rates) {
  if (which < 0 || which >= CELLS) return finished("Expected a cell that is compiled. Received: " + std::to_string(which));
  const Cell& cell = cells[which];
  std::string error;
  Forward a{};
  if (!sizes_of(given, cell.X, flags, &a)) return finished("Expected arrays of steps (T, B, H). Received: others");
  Args args(given, &error);
  Rets rets(made, &error);
  take_inputs(cell.X, flags, args, &a);
  for (int i = 0; i < cell.S; i++) a.state[i] = args.numbers("state", {a.B, a.H});
  take_around(counts_of(cell, flags), flags, rates, args, &a);
  for (int i = 0; i < cell.S && flags & RESET; i++) a.reset_state[i] = args.numbers("reset_state", {a.B, a.H});
  for (int i = 0; i < cell.S; i++)
    if (emit >> i & 1) a.emit[i] = rets.numbers("emit", of_steps(a, a.H));
  for (int i = 0; i < cell.S; i++) a.final[i] = rets.numbers("final", {a.B, a.H});
  if (flags & SAVE) {
    // The left operand of the product is the first state, unless factors come between.
    for (int i = 0; i < cell.S; i++)
      if (cell.BEFORE >> i & 1 || (!i && !a.keep[0])) a.before[i] = rets.numbers("before", of_steps(a, a.H));
    if (a.keep[0]) a.left = rets.numbers("left", of_steps(a, a.H));
    a.kept = rets.numbers("kept", of_steps(a, cell.K * a.H));
  }
  args.finish();
  rets.finish();
  if (error.empty()) cell.forward(a, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

ffi::Error backward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, int64_t which,
                    int64_t flags, int64_t emit, ffi::Span<const float> rates) {
  if (which < 0 || which >= CELLS) return finished("Expected a cell that is compiled. Received: " + std::to_string(which));
  const Cell& cell = cells[which];
  std::string error;
  Backward a{};
  if (!sizes_of(given, cell.K, flags, &a)) return finished("Expected arrays of steps (T, B, H). Received: others");
  Args args(given, &error);
  Rets rets(made, &error);
  a.kept = args.numbers("kept", of_steps(a, cell.K * a.H));
  take_around(counts_of(cell, flags), flags, rates, args, &a);
  for (int i = 0; i < cell.S; i++)
    if (cell.BEFORE >> i & 1) a.before[i] = args.numbers("before", of_steps(a, a.H));
  for (int i = 0; i < cell.S; i++)
    if (emit >> i & 1) a.demit[i] = args.numbers("demit", of_steps(a, a.H));
  for (int i = 0; i < cell.S; i++) a.dfinal[i] = args.numbers("dfinal", {a.B, a.H});
  a.dx = rets.numbers("dx", of_steps(a, cell.X * a.H));
  if (!cell.SAME) a.du = rets.numbers("du", of_steps(a, cell.R * a.H));
  for (int i = 0; i < cell.S; i++) a.dstate[i] = rets.numbers("dstate", {a.B, a.H});
  for (int i = 0; i < cell.P; i++) a.dvectors[i] = rets.numbers("dvector", {a.H});
  if (flags & INPUT_BIAS) a.dinput_bias = rets.numbers("dinput_bias", {cell.X * a.H});
  for (int i = 0; i < cell.S && flags & RESET; i++) a.dreset_state[i] = rets.numbers("dreset_state", {a.B, a.H});
  args.finish();
  rets.finish();
  if (error.empty()) cell.backward(a, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .RemainingArgs()
      .RemainingRets()
      .Attr<int64_t>("cell")
      .Attr<int64_t>("flags")
      .Attr<int64_t>("emit")
      .Attr<ffi::Span<const float>>("rates");
}

}  // namespace

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_forward, forward, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_backward, backward, binding());
XLA_FFI_DECLARE_HANDLER_SYMBOL(rnnx_scan_forward);
XLA_FFI_DECLARE_HANDLER_SYMBOL(rnnx_scan_backward);
XLA_FFI_DECLARE_HANDLER_SYMBOL(rnnx_memory_forward);
XLA_FFI_DECLARE_HANDLER_SYMBOL(rnnx_memory_backward);
XLA_FFI_DECLARE_HANDLER_SYMBOL(rnnx_program_forward);
XLA_FFI_DECLARE_HANDLER_SYMBOL(rnnx_program_backward);

extern "C" {

// Registers all with a host that keeps its table of handlers to itself; returns whether it took them.
int rnnx_register(const XLA_FFI_Api* api) {
  bool taken = true;
  for (auto [name, handler] : {std::pair{"rnnx_forward", rnnx_forward}, {"rnnx_backward", rnnx_backward},
                               {"rnnx_scan_forward", rnnx_scan_forward}, {"rnnx_scan_backward", rnnx_scan_backward},
                               {"rnnx_memory_forward", rnnx_memory_forward},
                               {"rnnx_memory_backward", rnnx_memory_backward},
                               {"rnnx_program_forward", rnnx_program_forward},
                               {"rnnx_program_backward", rnnx_program_backward}})
    taken = taken && !ffi::Ffi::RegisterStaticHandler(api, name, "Host", handler);
  return taken;
}

const char* rnnx_instructions() { return chosen().instructions; }
}

#pragma GCC visibility pop
