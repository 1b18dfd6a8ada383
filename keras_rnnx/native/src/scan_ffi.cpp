// The calls from XLA of the linear recurrence. The first argument is an array of steps (T, ...); all but T are channels.
#include "host.h"

namespace {

enum Flag { COMPLEX = 1, SAME = 2, CUT = 4 };

// A call with its sizes, the shape of an array of steps, that of a state and that of a.
template <class Call>
struct Prepared {
  Call a{};
  Shape steps, state, factor;
  int parts;

  Prepared(const ffi::RemainingArgs& given, int64_t flags) : parts(flags & COMPLEX ? 2 : 1) {
    auto buffer = given.get<ffi::AnyBuffer>(0);
    if (buffer.has_error() || buffer.value().dimensions().size() == 0) return;
    steps.assign(buffer.value().dimensions().begin(), buffer.value().dimensions().end());
    state.assign(steps.begin() + 1, steps.end());
    a.same = flags & SAME;
    factor = a.same ? state : steps;
    a.T = steps[0], a.C = 1;
    for (int64_t n : state) a.C *= n;
  }

  template <class Buffers, class Pointer>
  void take(Taken<Buffers>& from, const char* name, const Shape& shape, Pointer* to) {
    for (int i = 0; i < parts; i++) to[i] = from.numbers(name, shape);
  }
};

ffi::Error forward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, int64_t flags) {
  Prepared<ScanForward> call(given, flags);
  ScanForward& a = call.a;
  std::string error;
  Args args(given, &error);
  Rets rets(made, &error);
  call.take(args, "b", call.steps, a.b);
  call.take(args, "a", call.factor, a.a);
  call.take(args, "start", call.state, a.start);
  call.take(rets, "h", call.steps, a.h);
  args.finish();
  rets.finish();
  if (error.empty()) chosen().scans[call.parts - 1].forward(a, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

ffi::Error backward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, int64_t flags) {
  Prepared<ScanBackward> call(given, flags);
  ScanBackward& a = call.a;
  std::string error;
  Args args(given, &error);
  Rets rets(made, &error);
  call.take(args, "h", call.steps, a.h);
  call.take(args, "dh", call.steps, a.dh);
  call.take(args, "a", call.factor, a.a);
  call.take(args, "start", call.state, a.start);
  if (flags & CUT) a.cut = args.flags("cut", {a.T});
  call.take(rets, "da", call.factor, a.da);
  call.take(rets, "db", call.steps, a.db);
  call.take(rets, "dstart", call.state, a.dstart);
  args.finish();
  rets.finish();
  if (error.empty()) chosen().scans[call.parts - 1].backward(a, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

auto binding() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().RemainingArgs().RemainingRets().Attr<int64_t>("flags"); }

}  // namespace

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_scan_forward, forward, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_scan_backward, backward, binding());

#pragma GCC visibility pop
