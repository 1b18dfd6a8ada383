// A sequence, walked forwards and back. Each thread owns rows of the batch for the whole sequence, so none waits for
// another; the kernel is packed once a call into panels that are read in order.
#pragma once

#include "cells.h"
#include "walk.h"

namespace INSTRUCTIONS {

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

  static void forward(const Forward& a, const Host& host) {
    Numbers panels(groups(a.H, TOGETHER) * a.H * N * WIDTH);
    pack(a.kernel[0], a.H, panels.at(0));
    const int64_t blocks = blocks_of(a, C::R, host), walked = a.steps * a.B * a.H, rest = (a.T - a.steps) * a.B * a.H;
    if (a.left) clear(a.left + walked, rest);
    for (int s = 0; s < C::S; s++)
      if (a.before[s]) clear(a.before[s] + walked, rest);
    auto rows = [&](int64_t i) { forward_rows(a, panels.at(0), a.B * i / blocks, a.B * (i + 1) / blocks); };
    spread(host, blocks, rows);
  }

  static void backward(const Backward& a, const Host& host) {
    Numbers panels(groups(a.H, BACK) * C::R * a.H * BACK * WIDTH);
    pack_back(a.kernel[0], a.H, panels.at(0));
    const int64_t blocks = blocks_of(a, C::R, host), walked = a.steps * a.B * a.H, rest = (a.T - a.steps) * a.B * a.H;
    clear(a.dx + C::X * walked, C::X * rest);
    if (!C::SAME) clear(a.du + C::R * walked, C::R * rest);
    Numbers sums(blocks * (C::P + C::X) * a.H);  // of what the vectors and the bias of x get, for each thread
    auto rows = [&](int64_t i) {
      backward_rows(a, panels.at(0), a.B * i / blocks, a.B * (i + 1) / blocks, sums.at(i * (C::P + C::X) * a.H));
    };
    spread(host, blocks, rows);
    for (int p = 0; p < C::P + C::X; p++) {
      float* total = p < C::P ? a.dvectors[p] : a.dinput_bias ? a.dinput_bias + (p - C::P) * a.H : nullptr;
      for (int64_t j = 0; j < a.H && total; j++) {
        total[j] = 0;
        for (int64_t i = 0; i < blocks; i++) total[j] += *sums.at((i * (C::P + C::X) + p) * a.H + j);
      }
    }
  }

 private:
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
      if (const float* keep = keep_of(a, 0, at, first)) {
        for (int64_t b = 0; b < rows; b++)
          for (int64_t j = 0; j < H; j++) dropped[b * wide + j] = now[0][b * wide + j] * keep[b * H + j];
        left = dropped;
      }
      for (int64_t b = 0; b < rows; b++) {
        if (a.left) copy(left + b * wide, H, a.left + (at + b) * H);
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
      for (int r = 0; r < C::R; r++) start[i * C::R + r] = a.bias[0] && n ? load(a.bias[0] + r * H + unit, n) : Vec{};
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
      const float* keep = keep_of(a, 0, at, first);
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
        if (C::BEFORE >> i & 1) s[i] = load(a.before[i] + from, n);
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
