// The calls from XLA of a matrix memory. The first argument is q (T, B, heads, K), and V is an attribute.
#include "host.h"

namespace {

enum Flag { BY_KEY = 1, DELTA = 2, RESET = 4, CUT = 8 };

// A call with its sizes, and the shapes of its arrays.
template <class Call>
struct Prepared {
  Call a{};
  Shape keys, values, numbers, decay, memory;

  Prepared(const ffi::RemainingArgs& given, int64_t flags, int64_t V) {
    auto buffer = given.get<ffi::AnyBuffer>(0);
    if (buffer.has_error() || buffer.value().dimensions().size() != 4) return;
    keys.assign(buffer.value().dimensions().begin(), buffer.value().dimensions().end());
    numbers.assign(keys.begin(), keys.end() - 1);
    values = numbers, values.push_back(V);
    memory.assign(keys.begin() + 1, keys.end()), memory.push_back(V);
    a.by_key = flags & BY_KEY;
    decay = a.by_key ? keys : numbers;
    a.T = keys[0], a.R = keys[1] * keys[2], a.heads = keys[2], a.K = keys[3], a.V = V;
  }

  void take(Args& args, int64_t flags) {
    a.q = args.numbers("q", keys);
    a.k = args.numbers("k", keys);
    a.v = args.numbers("v", values);
    a.a = args.numbers("decay", decay);
    if (flags & DELTA) a.beta = args.numbers("beta", numbers);
    a.start = args.numbers("start", memory);
    if (flags & RESET) a.reset = args.flags("reset", {a.T, a.heads ? a.R / a.heads : 0});
  }
};

ffi::Error forward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, int64_t flags, int64_t values) {
  Prepared<MemoryForward> call(given, flags, values);
  MemoryForward& a = call.a;
  std::string error;
  Args args(given, &error);
  Rets rets(made, &error);
  call.take(args, flags);
  a.y = rets.numbers("y", call.values);
  a.final = rets.numbers("final", call.memory);
  args.finish();
  rets.finish();
  if (error.empty()) chosen().memory_forward(a, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

ffi::Error backward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, int64_t flags, int64_t values) {
  Prepared<MemoryBackward> call(given, flags, values);
  MemoryBackward& a = call.a;
  std::string error;
  Args args(given, &error);
  Rets rets(made, &error);
  call.take(args, flags);
  if (flags & CUT) a.cut = args.flags("cut", {a.T});
  a.dy = args.numbers("dy", call.values);
  a.dfinal = args.numbers("dfinal", call.memory);
  a.dq = rets.numbers("dq", call.keys);
  a.dk = rets.numbers("dk", call.keys);
  a.dv = rets.numbers("dv", call.values);
  a.da = rets.numbers("ddecay", call.decay);
  if (flags & DELTA) a.dbeta = rets.numbers("dbeta", call.numbers);
  a.dstart = rets.numbers("dstart", call.memory);
  args.finish();
  rets.finish();
  if (error.empty()) chosen().memory_backward(a, Pool{{threads.num_threads(), run}, &threads});
  return finished(error);
}

auto binding() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .RemainingArgs()
      .RemainingRets()
      .Attr<int64_t>("flags")
      .Attr<int64_t>("values");
}

}  // namespace

#pragma GCC visibility push(default)

XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_memory_forward, forward, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(rnnx_memory_backward, backward, binding());

#pragma GCC visibility pop
