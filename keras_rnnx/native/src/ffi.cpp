// The calls from XLA: buffers in their order, checked, to the pointers that a kernel takes.
#include "host.h"

namespace {

const auto& cells = chosen().cells;

enum Flag { BIAS = 1, MASK = 2, RESET = 4, KEEP = 8, KEEP_EACH_STEP = 16, DRAWS = 32, SAVE = 64, REVERSE = 128, LENGTH = 256,
            INPUT_BIAS = 512 };

// T, B and H, from the first argument, an array of steps in which so many stand side by side.
bool sizes_of(const ffi::RemainingArgs& given, int beside, int64_t flags, Sizes* sizes) {
  auto buffer = given.get<ffi::AnyBuffer>(0);
  if (buffer.has_error() || buffer.value().dimensions().size() != 3) return false;
  const auto dimensions = buffer.value().dimensions();
  sizes->T = sizes->steps = dimensions[0], sizes->B = dimensions[1], sizes->H = dimensions[2] / beside;
  sizes->reverse = flags & REVERSE;
  return true;
}

template <class Call>
void take_around(const Cell& cell, int64_t flags, ffi::Span<const float> rates, Args& args, Call* a) {
  const Sizes& n = *a;
  a->kernel = args.numbers("kernel", {n.H, cell.R * n.H});
  if (flags & BIAS) a->bias = args.numbers("bias", {cell.R * n.H});
  if (flags & INPUT_BIAS) a->input_bias = args.numbers("input bias", {cell.X * n.H});
  for (int i = 0; i < cell.P; i++) a->vectors[i] = args.numbers("vector", {n.H});
  if (flags & MASK) a->mask = args.flags("mask", {n.T, n.B});
  if (flags & RESET) a->reset = args.flags("reset", {n.T, n.B});
  a->keep_each_step = flags & KEEP_EACH_STEP;
  if (a->keep_each_step) a->keep = args.numbers("keep", {n.T, n.B, n.H});
  else if (flags & KEEP) a->keep = args.numbers("keep", {n.B, n.H});
  for (int i = 0; i < cell.S; i++) {
    a->rates[i] = static_cast<size_t>(i) < rates.size() ? rates.begin()[i] : 0.f;
    if (flags & DRAWS && a->rates[i]) a->draws[i] = args.flags("zoneout", {n.T, n.B, n.H});
  }
  if (flags & LENGTH) {
    const int32_t* length = args.take<int32_t>("length", {}, ffi::S32);
    if (length) a->steps = std::clamp<int64_t>(*length, 0, n.T);
  }
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
  a.x = args.numbers("x", {a.T, a.B, cell.X * a.H});
  for (int i = 0; i < cell.S; i++) a.state[i] = args.numbers("state", {a.B, a.H});
  take_around(cell, flags, rates, args, &a);
  for (int i = 0; i < cell.S && flags & RESET; i++) a.reset_state[i] = args.numbers("reset_state", {a.B, a.H});
  for (int i = 0; i < cell.S; i++)
    if (emit >> i & 1) a.emit[i] = rets.numbers("emit", {a.T, a.B, a.H});
  for (int i = 0; i < cell.S; i++) a.final[i] = rets.numbers("final", {a.B, a.H});
  if (flags & SAVE) {
    a.left = rets.numbers("left", {a.T, a.B, a.H});
    for (int i = 0; i < cell.S; i++)
      if (cell.BEFORE >> i & 1 && (i || a.keep)) a.before[i] = rets.numbers("before", {a.T, a.B, a.H});
    a.kept = rets.numbers("kept", {a.T, a.B, cell.K * a.H});
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
  if (!sizes_of(given, 1, flags, &a)) return finished("Expected arrays of steps (T, B, H). Received: others");
  Args args(given, &error);
  Rets rets(made, &error);
  a.left = args.numbers("left", {a.T, a.B, a.H});
  take_around(cell, flags, rates, args, &a);
  for (int i = 0; i < cell.S; i++)
    if (cell.BEFORE >> i & 1 && (i || a.keep)) a.before[i] = args.numbers("before", {a.T, a.B, a.H});
  a.kept = args.numbers("kept", {a.T, a.B, cell.K * a.H});
  for (int i = 0; i < cell.S; i++)
    if (emit >> i & 1) a.demit[i] = args.numbers("demit", {a.T, a.B, a.H});
  for (int i = 0; i < cell.S; i++) a.dfinal[i] = args.numbers("dfinal", {a.B, a.H});
  a.dx = rets.numbers("dx", {a.T, a.B, cell.X * a.H});
  if (!cell.SAME) a.du = rets.numbers("du", {a.T, a.B, cell.R * a.H});
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

extern "C" {

// Registers all with a host that keeps its table of handlers to itself; returns whether it took them.
int rnnx_register(const XLA_FFI_Api* api) {
  bool taken = true;
  for (auto [name, handler] : {std::pair{"rnnx_forward", rnnx_forward}, {"rnnx_backward", rnnx_backward},
                               {"rnnx_scan_forward", rnnx_scan_forward}, {"rnnx_scan_backward", rnnx_scan_backward}})
    taken = taken && !ffi::Ffi::RegisterStaticHandler(api, name, "Host", handler);
  return taken;
}

const char* rnnx_instructions() { return chosen().instructions; }
}

#pragma GCC visibility pop
