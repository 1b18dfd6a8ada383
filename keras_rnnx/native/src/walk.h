// What a walk over a sequence consists of, whatever its step is: memory, products of rows, flags and threads.
#pragma once

#include <new>

#include "calls.h"
#include "simd.h"

namespace INSTRUCTIONS {

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

INLINE void copy(const float* from, int64_t n, float* to) { std::memcpy(to, from, sizeof(float) * n); }
INLINE void clear(float* p, int64_t n) { std::memset(p, 0, sizeof(float) * n); }

// Memory of n zeros.
class Numbers {
 public:
  explicit Numbers(int64_t n) : p_(static_cast<float*>(::operator new(sizeof(float) * (n + 1), std::align_val_t(64)))) {
    clear(p_, n);
  }
  ~Numbers() { ::operator delete(p_, std::align_val_t(64)); }
  Numbers(const Numbers&) = delete;
  Numbers& operator=(const Numbers&) = delete;
  float* at(int64_t i) { return p_ + i; }

 private:
  float* p_;
};

// As many rows as the registers hold sums of N vectors for.
constexpr int rows_of(int N) { return static_cast<int>(larger(1, smaller(8, (REGISTERS - N - 1) / N))); }

// out[M][N] = start[N] + a[M, depth] panel[depth, N]
template <int M, int N>
INLINE void product(const float* a, int64_t stride, const float* panel, int64_t depth, const Vec* start, Vec* out) {
  Vec sums[M][N];
#pragma GCC unroll 16
  for (int m = 0; m < M; m++)
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) sums[m][n] = start[n];
  for (int64_t k = 0; k < depth; k++) {
    Vec row[N];
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) row[n] = load(panel + (k * N + n) * WIDTH);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      Vec factor = splat(a[m * stride + k]);
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) sums[m][n] += factor * row[n];
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < M; m++)
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) out[m * N + n] = sums[m][n];
}

template <int M, int N>
inline void product_of(int rows, const float* a, int64_t stride, const float* panel, int64_t depth, const Vec* start, Vec* out) {
  if constexpr (M > 1)
    if (rows < M) return product_of<M - 1, N>(rows, a, stride, panel, depth, start, out);
  product<M, N>(a, stride, panel, depth, start, out);
}

// ---- what happens around a step ----

INLINE int64_t position(const Sizes& a, int64_t step) { return a.reverse ? a.steps - 1 - step : step; }

INLINE Int drawn(const uint8_t* flags, int n) {
  int32_t found[WIDTH] = {};
  for (int j = 0; j < n; j++) found[j] = flags[j] ? -1 : 0;
  Int which;
  std::memcpy(&which, found, sizeof which);
  return which;
}

// Zoneout, and what of the cotangent of a new state goes past the cell.
INLINE Vec zoned(const Around& a, int s, int64_t at, int n, Vec s_new, Vec s_old) {
  if (a.draws[s]) return choose(drawn(a.draws[s] + at, n), s_old, s_new);
  return a.rates[s] ? a.rates[s] * s_old + (1.f - a.rates[s]) * s_new : s_new;
}

INLINE void add(float* to, Vec v, int n) { store(to, load(to, n) + v, n); }

// The factors of the left operand of a product at some rows of all steps, or null.
INLINE const float* keep_of(const Around& a, int product, int64_t row, int64_t first) {
  return a.keep[product] ? a.keep[product] + (a.keep_each_step ? row : first) * a.H : nullptr;
}

template <class F>
void spread(const Host& host, int64_t blocks, const F& f) {
  host.run(host, blocks, [](const void* data, int64_t i) { (*static_cast<const F*>(data))(i); }, &f);
}

// How many threads share the rows of a sequence with so many parts of products.
INLINE int64_t blocks_of(const Sizes& a, int64_t parts, const Host& host) {
  const double work = 2.0 * a.steps * a.B * a.H * parts * a.H;
  return work < 1e6 ? 1 : larger(1, smaller(host.threads, a.B));
}

}  // namespace INSTRUCTIONS
