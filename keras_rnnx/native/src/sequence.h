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
  static constexpr int64_t UNITS = TOGETHER * WIDTH;  // of a group
  using Back = Panels<4>;

  static int64_t groups(int64_t H) { return (H + UNITS - 1) / UNITS; }
  static int64_t padded(int64_t H) { return Back::padded(H); }  // whole groups of both ways

  // For each group of blocks of units: (H, TOGETHER, R, WIDTH)
  static void pack(const float* kernel, int64_t H, float* panels) {
    for (int64_t g = 0; g < groups(H); g++)
      for (int64_t k = 0; k < H; k++)
        for (int n = 0; n < N; n++, panels += WIDTH) {
          const int64_t unit = g * UNITS + n / C::R * WIDTH;
          const float* from = kernel + k * C::R * H + n % C::R * H + unit;
          if (unit < H) copy(from, smaller(WIDTH, H - unit), panels);
        }
  }

  static void forward(const Forward& a, const Host& host) {
    const int64_t width = C::X * a.H;
    Numbers panels(groups(a.H) * a.H * N * WIDTH), input_panels(Inputs::size(a, width));
    pack(a.kernel[0], a.H, panels.at(0));
    Inputs::pack(a, width, input_panels.at(0));
    clear_rest(a, a.left, a.H);
    for (int s = 0; s < C::S; s++) clear_rest(a, a.before[s], a.H);
    const Threads threads = threads_for(a, C::R, host);
    spread(host, threads.blocks, [&](int64_t i) {
      There walk(a, panels.at(0), input_panels.at(0), a.B * i / threads.blocks, a.B * (i + 1) / threads.blocks);
      together(host, threads.team, walk);
      walk.finish();
    });
  }

  static void backward(const Backward& a, const Host& host) {
    Numbers panels(Back::size(C::R * a.H, a.H));
    Back::pack_transposed(a.kernel[0], C::R * a.H, a.H, panels.at(0));
    const int64_t width = (C::P + C::X) * a.H;
    clear_rest(a, a.dx, C::X * a.H);
    clear_rest(a, a.du, C::R * a.H);
    const Threads threads = threads_for(a, C::R, host);
    Numbers sums(threads.blocks * width);  // of what the vectors and the bias of x get, for each block of rows
    spread(host, threads.blocks, [&](int64_t i) {
      Return walk(a, panels.at(0), a.B * i / threads.blocks, a.B * (i + 1) / threads.blocks, sums.at(i * width));
      together(host, threads.team, walk);
      walk.finish();
    });
    for (int p = 0; p < C::P + C::X; p++) {
      float* total = p < C::P ? a.dvectors[p] : a.dinput_bias ? a.dinput_bias + (p - C::P) * a.H : nullptr;
      for (int64_t j = 0; j < a.H && total; j++) {
        total[j] = 0;
        for (int64_t i = 0; i < threads.blocks; i++) total[j] += *sums.at(i * width + p * a.H + j);
      }
    }
  }

 private:
  // The way forwards of some rows. Phases: the inputs of some steps, where they are made here; then for each of these
  // steps what comes before the product, if anything does, and the step itself.
  class There {
   public:
    There(const Forward& a, const float* panels, const float* input_panels, int64_t first, int64_t end)
        : a_(a), panels_(panels), first_(first), rows_(end - first), wide_(padded(a.H)),
          inputs_(a, C::X * a.H, input_panels, first, end - first), memory_((C::S + 2) * rows_ * wide_) {
      prepares_ = a.reset || a.keep[0] || a.left;
      for (int s = 0; s < C::S; s++) {
        prepares_ = prepares_ || a.before[s];
        for (int64_t b = 0; b < rows_; b++) copy(a.state[s] + (first + b) * a.H, a.H, now(s, 0) + b * wide_);
      }
      each_ = 1 + prepares_;
      period_ = inputs_.steps() * each_ + !inputs_.given();
    }

    int64_t phases() const { return (a_.steps + inputs_.steps() - 1) / inputs_.steps() * period_; }

    void phase(int64_t i, int64_t part, int64_t parts) {
      const int64_t begin = i / period_ * inputs_.steps();
      i %= period_;
      if (!inputs_.given() && !i--) return inputs_.make(begin, part, parts);
      const int64_t step = begin + i / each_, all = groups(a_.H);
      if (step >= a_.steps) return;
      if (i % each_ < prepares_) return prepare(step, all * part / parts * UNITS, smaller(a_.H, all * (part + 1) / parts * UNITS));
      for (int64_t g = all * part / parts; g < all * (part + 1) / parts; g++) group(step, g);
    }

    void finish() {
      for (int s = 0; s < C::S; s++)
        for (int64_t b = 0; b < rows_; b++) copy(now(s, a_.steps) + b * wide_, a_.H, a_.final[s] + (first_ + b) * a_.H);
    }

   private:
    // A state as a step finds it. The first, which all units read, has two places in turn.
    float* now(int s, int64_t step) { return memory_.at((s ? s + 1 : step % 2) * rows_ * wide_); }

    // Resets, the left operand with its factors, and what is stored, for the units from `unit` to `end`.
    void prepare(int64_t step, int64_t unit, int64_t end) {
      const int64_t H = a_.H, count = end - unit;
      const Position at(a_, step, first_);
      float *dropped = memory_.at((C::S + 1) * rows_ * wide_), *h = now(0, step);
      const float* keep = keep_of(a_, 0, at.flag, first_);
      for (int64_t b = 0; b < rows_; b++) {
        const int64_t row = at.of(b);
        for (int s = 0; s < C::S && a_.reset && a_.reset[at.flag + b]; s++)
          copy(a_.reset_state[s] + (first_ + b) * H + unit, count, now(s, step) + b * wide_ + unit);
        for (int64_t j = unit; j < end && keep; j++) dropped[b * wide_ + j] = h[b * wide_ + j] * keep[b * H + j];
        if (a_.left) copy((keep ? dropped : h) + b * wide_ + unit, count, a_.left + row * H + unit);
        for (int s = 0; s < C::S; s++)
          if (a_.before[s]) copy(now(s, step) + b * wide_ + unit, count, a_.before[s] + row * H + unit);
      }
    }

    // One group of units of all rows: their products, and the equations. What the units need is in local places, as the
    // compiler must think that a store may change the others.
    void group(int64_t step, int64_t g) {
      const int64_t H = a_.H, stride = inputs_.stride(), wide = wide_;
      const Position at(a_, step, first_);
      const float *x = inputs_.of(step) + g * UNITS, *left = a_.keep[0] ? memory_.at((C::S + 1) * rows_ * wide_) : now(0, step);
      const bool given = inputs_.given();
      Vec start[N], vectors[TOGETHER][larger(C::P, 1)], bias[TOGETHER][C::X];
      for (int i = 0; i < TOGETHER; i++) {
        const int64_t unit = g * UNITS + i * WIDTH;
        const int n = static_cast<int>(larger(0, smaller(H - unit, WIDTH)));
        const bool biased = n && a_.input_bias && given;  // what is made here has its bias
        for (int r = 0; r < C::R; r++) start[i * C::R + r] = a_.bias[0] && n ? load(a_.bias[0] + r * H + unit, n) : Vec{};
        for (int p = 0; p < C::P; p++) vectors[i][p] = n ? load(a_.vectors[p] + unit, n) : Vec{};
        for (int j = 0; j < C::X; j++) bias[i][j] = biased ? load(a_.input_bias + j * H + unit, n) : Vec{};
      }
      Places places;
      for (int s = 0; s < C::S; s++) {
        places.old[s] = now(s, step) + g * UNITS, places.next[s] = now(s, step + 1) + g * UNITS;
        places.emit[s] = a_.emit[s] ? a_.emit[s] + at.row * H + g * UNITS : nullptr;
      }
      places.kept = a_.kept ? a_.kept + at.row * C::K * H + g * UNITS : nullptr;
      const uint8_t* mask = a_.mask ? a_.mask + at.flag : nullptr;
      const int64_t rows = rows_, units = smaller(UNITS, H - g * UNITS);
      for (int64_t b = 0; b < rows; b += ROWS) {
        const int count = static_cast<int>(smaller(ROWS, rows - b));
        for (int m = 0; m < count && given; m++)  // they come from far away, while the products are made
          for (int j = 0; j < C::X; j++) __builtin_prefetch(x + (b + m) * stride + j * H);
        const float* lefts[ROWS] = {};
        Vec made[ROWS * N];
        Rows{left, wide}(b, count, lefts);
        product_of<ROWS, N>(count, lefts, panels_ + g * H * N * WIDTH, H, start, made);
        for (int m = 0; m < count; m++) {
          const bool valid = !mask || mask[b + m];
          for (int i = 0; i < TOGETHER && i * WIDTH < units; i++) {
            const Vec* u = &made[(m * TOGETHER + i) * C::R];
            const float* from = x + (b + m) * stride + i * WIDTH;
            const int64_t unit = i * WIDTH, n = units - unit, here = (b + m) * wide + unit, row = (b + m) * at.apart;
            const int64_t draw = (at.flag + b + m) * H + g * UNITS + unit;
            if (n >= WIDTH) one(places, WIDTH, valid, H, draw, row, here, unit, from, u, bias[i], vectors[i]);
            else one(places, static_cast<int>(n), valid, H, draw, row, here, unit, from, u, bias[i], vectors[i]);
          }
        }
      }
    }

    struct Places {
      const float* old[C::S];
      float *next[C::S], *emit[C::S], *kept;
    };

    // The n units of one row from `unit` on; `draw` is their place in what is drawn, `here` that in states.
    INLINE void one(const Places& places, int n, bool valid, int64_t H, int64_t draw, int64_t row, int64_t here, int64_t unit,
                    const float* from, const Vec* u, const Vec* bias, const Vec* p) {
      Vec x[C::X], s[C::S], s_new[C::S], k[C::K];
      for (int i = 0; i < C::X; i++) x[i] = load(from + i * H, n) + bias[i];
      for (int i = 0; i < C::S; i++) s[i] = load(places.old[i] + here);
      C::forward(x, u, s, p, s_new, k);
      for (int i = 0; i < C::S; i++) {
        s_new[i] = valid ? zoned(a_, i, draw, n, s_new[i], s[i]) : s[i];
        store(places.next[i] + here, s_new[i], n);
        if (places.emit[i]) store(places.emit[i] + row * H + unit, s_new[i], n);
      }
      for (int i = 0; i < C::K && places.kept; i++) store(places.kept + (row * C::K + i) * H + unit, k[i], n);
    }

    const Forward& a_;
    const float* panels_;
    const int64_t first_, rows_, wide_;
    Inputs inputs_;
    Numbers memory_;  // the two places of the first state, the other states, the left operand
    bool prepares_;
    int64_t each_, period_;
  };

  // The way back of some rows. Phases: for each step the equations, then what they leave to the old state.
  class Return {
   public:
    Return(const Backward& a, const float* panels, int64_t first, int64_t end, float* sums)
        : a_(a), panels_(panels), first_(first), rows_(end - first), wide_(padded(a.H)), deep_(C::R * a.H), sums_(sums),
          memory_(rows_ * (C::S * wide_ + deep_)) {
      for (int s = 0; s < C::S; s++)
        for (int64_t b = 0; b < rows_; b++) {
          copy(a.dfinal[s] + (first + b) * a.H, a.H, ds(s) + b * wide_);
          if (a.dreset_state[s]) clear(a.dreset_state[s] + (first + b) * a.H, a.H);
        }
    }

    int64_t phases() const { return 2 * a_.steps; }

    void phase(int64_t i, int64_t part, int64_t parts) {
      const Position at(a_, a_.steps - 1 - i / 2, first_);
      const int64_t all = Back::groups(a_.H), g = all * part / parts, end = all * (part + 1) / parts;
      const int64_t unit = g * Back::UNITS, last = smaller(a_.H, end * Back::UNITS);
      if (i % 2 == 0) {
        for (int64_t b = 0; b < rows_; b++)
          for (int64_t j = unit; j < last; j += WIDTH) units(static_cast<int>(smaller(WIDTH, a_.H - j)), at, b, j);
        return;
      }
      const float* keep = keep_of(a_, 0, at.flag, first_);
      Back::multiply(Rows{du(), deep_}, rows_, panels_, deep_, a_.H, nullptr, g, end, [&](int64_t b, int64_t j, Vec v) {
        const int n = static_cast<int>(smaller(WIDTH, a_.H - j));
        if (keep) v *= load(keep + b * a_.H + j, n);
        add(ds(0) + b * wide_ + j, v, n);
      });
      for (int64_t b = 0; b < rows_ && a_.reset; b++)
        for (int s = 0; s < C::S && a_.reset[at.flag + b]; s++) {
          float *from = ds(s) + b * wide_, *to = a_.dreset_state[s] + (first_ + b) * a_.H;
          for (int64_t j = unit; j < last; j++) to[j] += from[j];
          clear(from + unit, last - unit);
        }
      for (int64_t b = 0; b < rows_ && a_.cut && a_.cut[at.t]; b++)
        for (int s = 0; s < C::S; s++) clear(ds(s) + b * wide_ + unit, last - unit);
    }

    void finish() {
      for (int s = 0; s < C::S; s++)
        for (int64_t b = 0; b < rows_; b++) copy(ds(s) + b * wide_, a_.H, a_.dstate[s] + (first_ + b) * a_.H);
    }

   private:
    float* ds(int s) { return memory_.at(s * rows_ * wide_); }
    float* du() { return memory_.at(C::S * rows_ * wide_); }

    INLINE void units(int n, const Position& at, int64_t b, int64_t unit) {
      const int64_t H = a_.H, row = at.of(b), from = row * H + unit, here = b * wide_ + unit;
      const int64_t draw = (at.flag + b) * H + unit;
      Vec k[C::K], s[C::S] = {}, p[larger(C::P, 1)], ds_new[C::S], past[C::S] = {};
      Vec dx[C::X] = {}, du_made[C::R] = {}, ds_old[C::S], dp[larger(C::P, 1)] = {};
      for (int i = 0; i < C::S; i++) {
        ds_new[i] = load(ds(i) + here);
        if (a_.demit[i]) ds_new[i] += load(a_.demit[i] + from, n);
        ds_old[i] = ds_new[i];
      }
      if (!a_.mask || a_.mask[at.flag + b]) {
        for (int i = 0; i < C::K; i++) k[i] = load(a_.kept + (row * C::K + i) * H + unit, n);
        for (int i = 0; i < C::S; i++)
          if (C::BEFORE >> i & 1) s[i] = load(a_.before[i] + from, n);
        for (int i = 0; i < C::P; i++) p[i] = load(a_.vectors[i] + unit, n);
        for (int i = 0; i < C::S; i++) {
          past[i] = zoned(a_, i, draw, n, Vec{}, ds_new[i]);
          ds_new[i] = zoned(a_, i, draw, n, ds_new[i], Vec{});
        }
        C::backward(k, s, p, ds_new, dx, du_made, ds_old, dp);
        for (int i = 0; i < C::S; i++) ds_old[i] += past[i];
      }
      for (int i = 0; i < C::S; i++) store(ds(i) + here, ds_old[i], n);
      for (int i = 0; i < C::X; i++) store(a_.dx + (row * C::X + i) * H + unit, dx[i], n);
      for (int i = 0; i < C::R; i++) {
        Vec d = C::SAME ? dx[i] : du_made[i];
        store(du() + b * deep_ + i * H + unit, d, n);
        if (!C::SAME) store(a_.du + (row * C::R + i) * H + unit, d, n);
      }
      for (int i = 0; i < C::P; i++) add(sums_ + i * H + unit, dp[i], n);
      for (int i = 0; i < C::X && a_.dinput_bias; i++) add(sums_ + (C::P + i) * H + unit, dx[i], n);
    }

    const Backward& a_;
    const float* panels_;
    const int64_t first_, rows_, wide_, deep_;
    float* sums_;
    Numbers memory_;  // the cotangents of the states, and of the products
  };
};

}  // namespace INSTRUCTIONS
