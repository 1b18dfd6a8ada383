// The calls from XLA: buffers in their order, checked, to the pointers that a kernel takes.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

#include "calls.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

const Cell* chosen() {
#ifdef X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw"))
    return avx512::cells;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::cells;
#endif
  return plain::cells;
}

const Cell* const cells = chosen();

// ---- threads: those of the host ----

struct Job {
  Job(int64_t blocks, void (*f)(const void*, int64_t), const void* data) : blocks(blocks), f(f), data(data) {}

  const int64_t blocks;
  void (*const f)(const void*, int64_t);
  const void* const data;
  std::atomic<int64_t> next{0};
  int64_t done = 0;
  std::mutex mutex;
  std::condition_variable finished;

  // Takes blocks until there are none. A thread that comes late finds nothing to do.
  void work() {
    for (int64_t i; (i = next.fetch_add(1)) < blocks;) {
      f(data, i);
      std::lock_guard<std::mutex> lock(mutex);
      if (++done == blocks) finished.notify_all();
    }
  }
};

struct Pool : Host {
  ffi::ThreadPool* threads_of_host;
};

// The calling thread works too, and waits only for blocks that others have begun: a busy pool cannot stop it.
void run(const Host& host, int64_t blocks, void (*f)(const void*, int64_t), const void* data) {
  if (blocks == 1) return f(data, 0);
  auto job = std::make_shared<Job>(blocks, f, data);
  for (int64_t i = 1; i < blocks; i++) static_cast<const Pool&>(host).threads_of_host->Schedule([job] { job->work(); });
  job->work();
  std::unique_lock<std::mutex> lock(job->mutex);
  job->finished.wait(lock, [&] { return job->done == blocks; });
}

// ---- arguments ----

enum Flag { BIAS = 1, MASK = 2, RESET = 4, KEEP = 8, KEEP_EACH_STEP = 16, DRAWS = 32, SAVE = 64, REVERSE = 128, LENGTH = 256 };

// Buffers one after the other; the first that is not as expected becomes the error.
template <class Buffers>
class Taken {
 public:
  Taken(const Buffers& buffers, std::string* error) : buffers_(buffers), error_(error) {}

  template <class T>
  T* take(const char* name, std::initializer_list<int64_t> shape, ffi::DataType type) {
    auto buffer = buffers_.template get<ffi::AnyBuffer>(at_);
    at_++;
    if (!error_->empty()) return nullptr;
    if (buffer.has_error()) {
      *error_ = std::string("Expected a buffer ") + name + ". Received: none";
      return nullptr;
    }
    const ffi::AnyBuffer found = contents(buffer.value());
    const auto dimensions = found.dimensions();
    if (found.element_type() != type || !std::equal(dimensions.begin(), dimensions.end(), shape.begin(), shape.end())) {
      *error_ = std::string("Expected ") + name + " of shape (";
      for (int64_t n : shape) *error_ += std::to_string(n) + ",";
      *error_ += "). Received: (";
      for (int64_t n : dimensions) *error_ += std::to_string(n) + ",";
      *error_ += "), or another dtype";
      return nullptr;
    }
    return static_cast<T*>(found.untyped_data());
  }
  float* numbers(const char* name, std::initializer_list<int64_t> shape) { return take<float>(name, shape, ffi::F32); }
  uint8_t* flags(const char* name, std::initializer_list<int64_t> shape) { return take<uint8_t>(name, shape, ffi::PRED); }

  void finish() {
    if (error_->empty() && at_ != buffers_.size())
      *error_ = "Expected " + std::to_string(at_) + " buffers. Received: " + std::to_string(buffers_.size());
  }

 private:
  static ffi::AnyBuffer contents(ffi::AnyBuffer buffer) { return buffer; }
  static ffi::AnyBuffer contents(ffi::Result<ffi::AnyBuffer> buffer) { return *buffer; }

  const Buffers& buffers_;
  std::string* error_;
  size_t at_ = 0;
};

using Args = Taken<ffi::RemainingArgs>;
using Rets = Taken<ffi::RemainingRets>;

// T, B and H, from the first argument, an array of steps.
bool sizes_of(const ffi::RemainingArgs& given, int64_t flags, Sizes* sizes) {
  auto buffer = given.get<ffi::AnyBuffer>(0);
  if (buffer.has_error() || buffer.value().dimensions().size() != 3) return false;
  const auto dimensions = buffer.value().dimensions();
  sizes->T = sizes->steps = dimensions[0], sizes->B = dimensions[1], sizes->H = dimensions[2];
  sizes->reverse = flags & REVERSE;
  return true;
}

template <class Call>
void take_around(const Cell& cell, int64_t flags, ffi::Span<const float> rates, Args& args, Call* a) {
  const Sizes& n = *a;
  a->kernel = args.numbers("kernel", {n.H, cell.R * n.H});
  if (flags & BIAS) a->bias = args.numbers("bias", {cell.R * n.H});
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

ffi::Error finished(const std::string& error) {
  return error.empty() ? ffi::Error::Success() : ffi::Error::InvalidArgument(error);
}

ffi::Error forward(ffi::ThreadPool threads, ffi::RemainingArgs given, ffi::RemainingRets made, int64_t which,
                   int64_t flags, int64_t emit, ffi::Span<const float> rates) {
  if (which < 0 || which >= CELLS) return finished("Expected a cell that is compiled. Received: " + std::to_string(which));
  const Cell& cell = cells[which];
  std::string error;
  Forward a{};
  if (!sizes_of(given, flags, &a)) return finished("Expected arrays of steps (T, B, H). Received: others");
  Args args(given, &error);
  Rets rets(made, &error);
  for (int i = 0; i < cell.X; i++) a.x[i] = args.numbers("x", {a.T, a.B, a.H});
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
    for (int i = 0; i < cell.K; i++) a.kept[i] = rets.numbers("kept", {a.T, a.B, a.H});
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
  if (!sizes_of(given, flags, &a)) return finished("Expected arrays of steps (T, B, H). Received: others");
  Args args(given, &error);
  Rets rets(made, &error);
  a.left = args.numbers("left", {a.T, a.B, a.H});
  take_around(cell, flags, rates, args, &a);
  for (int i = 0; i < cell.S; i++)
    if (cell.BEFORE >> i & 1 && (i || a.keep)) a.before[i] = args.numbers("before", {a.T, a.B, a.H});
  for (int i = 0; i < cell.K; i++) a.kept[i] = args.numbers("kept", {a.T, a.B, a.H});
  for (int i = 0; i < cell.S; i++)
    if (emit >> i & 1) a.demit[i] = args.numbers("demit", {a.T, a.B, a.H});
  for (int i = 0; i < cell.S; i++) a.dfinal[i] = args.numbers("dfinal", {a.B, a.H});
  for (int i = 0; i < cell.X; i++) a.dx[i] = rets.numbers("dx", {a.T, a.B, a.H});
  for (int i = 0; i < cell.R; i++)
    if (cell.SHARED[i] < 0) a.du[i] = rets.numbers("du", {a.T, a.B, a.H});
  for (int i = 0; i < cell.S; i++) a.dstate[i] = rets.numbers("dstate", {a.B, a.H});
  for (int i = 0; i < cell.P; i++) a.dvectors[i] = rets.numbers("dvector", {a.H});
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

extern "C" {

// Registers both with a host that keeps its table of handlers to itself; returns whether it took them.
int rnnx_register(const XLA_FFI_Api* api) {
  return !ffi::Ffi::RegisterStaticHandler(api, "rnnx_forward", "Host", rnnx_forward) &&
         !ffi::Ffi::RegisterStaticHandler(api, "rnnx_backward", "Host", rnnx_backward);
}

const char* rnnx_instructions() {
#ifdef X86
  if (cells == avx512::cells) return "avx512";
  if (cells == avx2::cells) return "avx2";
#endif
  return "plain";
}
}

#pragma GCC visibility pop
