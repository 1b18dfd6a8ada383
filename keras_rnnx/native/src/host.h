// Kernels and XLA: the threads of the host, and buffers that are taken one by one and checked.
#pragma once

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "calls.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

// The kernels for this machine.
inline const Kernels& chosen() {
#ifdef X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw"))
    return avx512::kernels;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::kernels;
#endif
  return plain::kernels;
}

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
inline void run(const Host& host, int64_t blocks, void (*f)(const void*, int64_t), const void* data) {
  if (blocks == 1) return f(data, 0);
  auto job = std::make_shared<Job>(blocks, f, data);
  for (int64_t i = 1; i < std::min(blocks, host.threads); i++)
    static_cast<const Pool&>(host).threads_of_host->Schedule([job] { job->work(); });
  job->work();
  std::unique_lock<std::mutex> lock(job->mutex);
  job->finished.wait(lock, [&] { return job->done == blocks; });
}

using Shape = std::vector<int64_t>;

// Buffers one after the other; the first that is not as expected becomes the error.
template <class Buffers>
class Taken {
 public:
  Taken(const Buffers& buffers, std::string* error) : buffers_(buffers), error_(error) {}

  template <class T>
  T* take(const char* name, const Shape& shape, ffi::DataType type) {
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
  float* numbers(const char* name, const Shape& shape) { return take<float>(name, shape, ffi::F32); }
  uint8_t* flags(const char* name, const Shape& shape) { return take<uint8_t>(name, shape, ffi::PRED); }

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

inline ffi::Error finished(const std::string& error) {
  return error.empty() ? ffi::Error::Success() : ffi::Error::InvalidArgument(error);
}
