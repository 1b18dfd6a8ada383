// A sequence, walked forwards and back. Each thread owns rows of the batch for the whole sequence, so none waits for
// another; the kernel is packed once a call into panels that are read in order.
#pragma once

#include <new>

#include "calls.h"
#include "cells.h"

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

// ---- products ----

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

// ---- a sequence ----

template <class C>
struct Sequence {
  static constexpr int TOGETHER = C::R < 4 ? 4 / C::R : 1;  // blocks of units whose products are made together
  static constexpr int N = TOGETHER * C::R, ROWS = rows_of(N);
  static constexpr int BACK = 4, BACK_ROWS = rows_of(BACK);

  static int64_t groups(int64_t H, int64_t together) { return (H + together * WIDTH - 1) / (together * WIDTH); }
  static int64_t padded(int64_t H) { return groups(H, BACK) * BACK * WIDTH; }

  // For each group of blocks of units: (H, TOGETHER, R, WIDTH)
  static void pack(const float* kernel, int64_t H, float* panels) {
    for (int64_t g = 0; g < groups(H, TOGETHER); g++)
      for (int64_t k = 0; k < H; k++)
        for (int n = 0; n < N; n++, panels += WIDTH) {
          const int64_t unit = (g * TOGETHER + n / C::R) * WIDTH;
          const float* from = kernel + k * C::R * H + n % C::R * H + unit;
          if (unit < H) copy(from, smaller(WIDTH, H - unit), panels);
        }
  }

  // The transpose, for each group of blocks of units: (R H, BACK, WIDTH)
  static void pack_back(const float* kernel, int64_t H, float* panels) {
    const int64_t depth = C::R * H, wide = BACK * WIDTH;
    for (int64_t unit = 0; unit < H; unit++) {
      float* to = panels + unit / wide * depth * wide + unit % wide;
      for (int64_t k = 0; k < depth; k++) to[k * wide] = kernel[unit * depth + k];
    }
  }

  static int64_t blocks_of(const Sizes& a, const Host& host) {
    const double work = 2.0 * a.steps * a.B * a.H * C::R * a.H;
    return work < 1e6 ? 1 : larger(1, smaller(host.threads, a.B));
  }

  static void forward(const Forward& a, const Host& host) {
    Numbers panels(groups(a.H, TOGETHER) * a.H * N * WIDTH);
    pack(a.kernel, a.H, panels.at(0));
    const int64_t blocks = blocks_of(a, host), walked = a.steps * a.B * a.H, rest = (a.T - a.steps) * a.B * a.H;
    if (a.left) clear(a.left + walked, rest);
    auto rows = [&](int64_t i) { forward_rows(a, panels.at(0), a.B * i / blocks, a.B * (i + 1) / blocks); };
    run(host, blocks, rows);
  }

  static void backward(const Backward& a, const Host& host) {
    Numbers panels(groups(a.H, BACK) * C::R * a.H * BACK * WIDTH);
    pack_back(a.kernel, a.H, panels.at(0));
    const int64_t blocks = blocks_of(a, host), walked = a.steps * a.B * a.H, rest = (a.T - a.steps) * a.B * a.H;
    clear(a.dx + C::X * walked, C::X * rest);
    if (!C::SAME) clear(a.du + C::R * walked, C::R * rest);
    Numbers sums(blocks * (C::P + C::X) * a.H);  // of what the vectors and the bias of x get, for each thread
    auto rows = [&](int64_t i) {
      backward_rows(a, panels.at(0), a.B * i / blocks, a.B * (i + 1) / blocks, sums.at(i * (C::P + C::X) * a.H));
    };
    run(host, blocks, rows);
    for (int p = 0; p < C::P + C::X; p++) {
      float* total = p < C::P ? a.dvectors[p] : a.dinput_bias ? a.dinput_bias + (p - C::P) * a.H : nullptr;
      for (int64_t j = 0; j < a.H && total; j++) {
        total[j] = 0;
        for (int64_t i = 0; i < blocks; i++) total[j] += *sums.at((i * (C::P + C::X) + p) * a.H + j);
      }
    }
  }

 private:
  template <class F>
  static void run(const Host& host, int64_t blocks, const F& f) {
    host.run(host, blocks, [](const void* data, int64_t i) { (*static_cast<const F*>(data))(i); }, &f);
  }

  static int64_t position(const Sizes& a, int64_t step) { return a.reverse ? a.steps - 1 - step : step; }

  // Zoneout, and what of the cotangent of a new state goes past the cell.
  static INLINE Vec zoned(const Around& a, int s, int64_t at, int n, Vec s_new, Vec s_old) {
    if (a.draws[s]) return choose(drawn(a.draws[s] + at, n), s_old, s_new);
    return a.rates[s] ? a.rates[s] * s_old + (1.f - a.rates[s]) * s_new : s_new;
  }
  static INLINE Int drawn(const uint8_t* flags, int n) {
    int32_t found[WIDTH] = {};
    for (int j = 0; j < n; j++) found[j] = flags[j] ? -1 : 0;
    Int which;
    std::memcpy(&which, found, sizeof which);
    return which;
  }

  static void forward_rows(const Forward& a, const float* panels, int64_t first, int64_t end) {
    const int64_t H = a.H, rows = end - first, wide = padded(H);
    Numbers memory((C::S + 2) * rows * wide);
    float* now[C::S];
    for (int s = 0; s < C::S; s++) {
      now[s] = memory.at(s * rows * wide);
      for (int64_t b = 0; b < rows; b++) copy(a.state[s] + (first + b) * H, H, now[s] + b * wide);
    }
    float *next = memory.at(C::S * rows * wide), *dropped = memory.at((C::S + 1) * rows * wide);
    for (int64_t step = 0; step < a.steps; step++) {
      const int64_t t = position(a, step), at = t * a.B + first;
      for (int64_t b = 0; b < rows && a.reset; b++)
        for (int s = 0; s < C::S && a.reset[at + b]; s++)
          copy(a.reset_state[s] + (first + b) * H, H, now[s] + b * wide);
      const float* left = now[0];
      if (a.keep) {
        const float* keep = a.keep + (a.keep_each_step ? at : first) * H;
        for (int64_t b = 0; b < rows; b++)
          for (int64_t j = 0; j < H; j++) dropped[b * wide + j] = now[0][b * wide + j] * keep[b * H + j];
        left = dropped;
      }
      for (int64_t b = 0; b < rows && a.left; b++) {
        copy(left + b * wide, H, a.left + (at + b) * H);
        for (int s = 0; s < C::S; s++)
          if (a.before[s]) copy(now[s] + b * wide, H, a.before[s] + (at + b) * H);
      }
      for (int64_t g = 0; g < groups(H, TOGETHER); g++) forward_group(a, panels, g, at, rows, wide, left, now, next);
      float* old = now[0];
      now[0] = next;
      next = old;
    }
    for (int s = 0; s < C::S; s++)
      for (int64_t b = 0; b < rows; b++) copy(now[s] + b * wide, H, a.final[s] + (first + b) * H);
  }

  // One group of units of all rows: their products, and the equations.
  static void forward_group(const Forward& a, const float* panels, int64_t g, int64_t at, int64_t rows, int64_t wide,
                            const float* left, float* const* now, float* next) {
    const int64_t H = a.H;
    Vec start[N], vectors[TOGETHER][larger(C::P, 1)], bias[TOGETHER][C::X];
    for (int i = 0; i < TOGETHER; i++) {
      const int64_t unit = (g * TOGETHER + i) * WIDTH;
      const int n = static_cast<int>(larger(0, smaller(H - unit, WIDTH)));
      for (int r = 0; r < C::R; r++) start[i * C::R + r] = a.bias && n ? load(a.bias + r * H + unit, n) : Vec{};
      for (int p = 0; p < C::P; p++) vectors[i][p] = n ? load(a.vectors[p] + unit, n) : Vec{};
      for (int x = 0; x < C::X; x++) bias[i][x] = a.input_bias && n ? load(a.input_bias + x * H + unit, n) : Vec{};
    }
    for (int64_t b = 0; b < rows; b += ROWS) {
      const int count = static_cast<int>(smaller(ROWS, rows - b));
      Vec made[ROWS * N];
      product_of<ROWS, N>(count, left + b * wide, wide, panels + g * H * N * WIDTH, H, start, made);
      for (int m = 0; m < count; m++)
        for (int i = 0; i < TOGETHER; i++) {
          const int64_t unit = (g * TOGETHER + i) * WIDTH, here = (b + m) * wide + unit;
          if (unit >= H) break;
          step(a, static_cast<int>(smaller(WIDTH, H - unit)), at + b + m, unit, &made[(m * TOGETHER + i) * C::R],
               bias[i], vectors[i], now, next, here);
        }
    }
  }

  // n units of one row: `row` counts the rows of all steps.
  static INLINE void step(const Forward& a, int n, int64_t row, int64_t unit, const Vec* u, const Vec* bias, const Vec* p,
                          float* const* now, float* next, int64_t here) {
    const int64_t H = a.H, to = row * H + unit;
    const bool valid = !a.mask || a.mask[row];
    Vec x[C::X], s[C::S], s_new[C::S], k[C::K];
    for (int i = 0; i < C::X; i++) x[i] = load(a.x + (row * C::X + i) * H + unit, n) + bias[i];
    for (int i = 0; i < C::S; i++) s[i] = load(now[i] + here);
    C::forward(x, u, s, p, s_new, k);
    for (int i = 0; i < C::S; i++) {
      s_new[i] = valid ? zoned(a, i, to, n, s_new[i], s[i]) : s[i];
      store((i ? now[i] : next) + here, s_new[i], n);
      if (a.emit[i]) store(a.emit[i] + to, s_new[i], n);
    }
    for (int i = 0; i < C::K && a.kept; i++) store(a.kept + (row * C::K + i) * H + unit, k[i], n);
  }

  static void backward_rows(const Backward& a, const float* panels, int64_t first, int64_t end, float* sums) {
    const int64_t H = a.H, rows = end - first, wide = padded(H), deep = C::R * H;
    Numbers memory(C::S * rows * wide + rows * deep);
    float *ds[C::S], *du = memory.at(C::S * rows * wide);
    for (int s = 0; s < C::S; s++) {
      ds[s] = memory.at(s * rows * wide);
      for (int64_t b = 0; b < rows; b++) {
        copy(a.dfinal[s] + (first + b) * H, H, ds[s] + b * wide);
        if (a.dreset_state[s]) clear(a.dreset_state[s] + (first + b) * H, H);
      }
    }
    for (int64_t step = a.steps - 1; step >= 0; step--) {
      const int64_t t = position(a, step), at = t * a.B + first;
      for (int64_t b = 0; b < rows; b++)
        for (int64_t unit = 0; unit < H; unit += WIDTH)
          step_back(a, static_cast<int>(smaller(WIDTH, H - unit)), at + b, unit, ds, b * wide + unit,
                    du + b * deep + unit, sums + unit);
      const float* keep = a.keep ? a.keep + (a.keep_each_step ? at : first) * H : nullptr;
      for (int64_t g = 0; g < groups(H, BACK); g++) backward_group(H, panels, g, rows, wide, du, keep, ds[0]);
      for (int64_t b = 0; b < rows && a.reset; b++)
        for (int s = 0; s < C::S && a.reset[at + b]; s++) {
          float *from = ds[s] + b * wide, *to = a.dreset_state[s] + (first + b) * H;
          for (int64_t j = 0; j < H; j++) to[j] += from[j];
          clear(from, H);
        }
    }
    for (int s = 0; s < C::S; s++)
      for (int64_t b = 0; b < rows; b++) copy(ds[s] + b * wide, H, a.dstate[s] + (first + b) * H);
  }

  static INLINE void step_back(const Backward& a, int n, int64_t row, int64_t unit, float* const* ds_at, int64_t here,
                               float* du_at, float* sums) {
    const int64_t H = a.H, from = row * H + unit;
    Vec k[C::K], s[C::S] = {}, p[larger(C::P, 1)], ds[C::S], past[C::S] = {};
    Vec dx[C::X] = {}, du[C::R] = {}, ds_old[C::S], dp[larger(C::P, 1)] = {};
    for (int i = 0; i < C::S; i++) {
      ds[i] = load(ds_at[i] + here);
      if (a.demit[i]) ds[i] += load(a.demit[i] + from, n);
      ds_old[i] = ds[i];
    }
    if (!a.mask || a.mask[row]) {
      for (int i = 0; i < C::K; i++) k[i] = load(a.kept + (row * C::K + i) * H + unit, n);
      for (int i = 0; i < C::S; i++)
        if (C::BEFORE >> i & 1) s[i] = load((a.before[i] ? a.before[i] : a.left) + from, n);
      for (int i = 0; i < C::P; i++) p[i] = load(a.vectors[i] + unit, n);
      for (int i = 0; i < C::S; i++) {
        past[i] = zoned(a, i, from, n, Vec{}, ds[i]);
        ds[i] = zoned(a, i, from, n, ds[i], Vec{});
      }
      C::backward(k, s, p, ds, dx, du, ds_old, dp);
      for (int i = 0; i < C::S; i++) ds_old[i] += past[i];
    }
    for (int i = 0; i < C::S; i++) store(ds_at[i] + here, ds_old[i], n);
    for (int i = 0; i < C::X; i++) store(a.dx + (row * C::X + i) * H + unit, dx[i], n);
    for (int i = 0; i < C::R; i++) {
      Vec d = C::SAME ? dx[i] : du[i];
      store(du_at + i * H, d, n);
      if (!C::SAME) store(a.du + (row * C::R + i) * H + unit, d, n);
    }
    for (int i = 0; i < C::P; i++) add(sums + i * H, dp[i], n);
    for (int i = 0; i < C::X && a.dinput_bias; i++) add(sums + (C::P + i) * H, dx[i], n);
  }
  static INLINE void add(float* to, Vec v, int n) { store(to, load(to, n) + v, n); }

  // The cotangent of one group of units of the left operand, added to that of the first state.
  static void backward_group(int64_t H, const float* panels, int64_t g, int64_t rows, int64_t wide, const float* du,
                             const float* keep, float* ds) {
    const int64_t deep = C::R * H;
    const Vec start[BACK] = {};
    for (int64_t b = 0; b < rows; b += BACK_ROWS) {
      const int count = static_cast<int>(smaller(BACK_ROWS, rows - b));
      Vec made[BACK_ROWS * BACK];
      product_of<BACK_ROWS, BACK>(count, du + b * deep, deep, panels + g * deep * BACK * WIDTH, deep, start, made);
      for (int m = 0; m < count; m++)
        for (int i = 0; i < BACK; i++) {
          const int64_t unit = (g * BACK + i) * WIDTH;
          if (unit >= H) break;
          const int n = static_cast<int>(smaller(WIDTH, H - unit));
          float* to = ds + (b + m) * wide + unit;
          Vec factor = keep ? load(keep + (b + m) * H + unit, n) : splat(1.f);
          store(to, load(to, n) + factor * made[m * BACK + i], n);
        }
    }
  }
};

}  // namespace INSTRUCTIONS
