// A sequence, walked forwards and back. Each thread walks rows of its own, so none waits for another at a step; the kernel
// is packed once a call into panels that are read in order.
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

  // The groups from g to end, (H, TOGETHER, R, WIDTH) each.
  static void pack(const float* kernel, int64_t H, int64_t g, int64_t end, float* panels) {
    float* to = panels + g * H * N * WIDTH;
    for (; g < end; g++)
      for (int64_t k = 0; k < H; k++)
        for (int n = 0; n < N; n++, to += WIDTH) {
          const int64_t unit = g * UNITS + n / C::R * WIDTH, some = larger(0, smaller(WIDTH, H - unit));
          copy(kernel + k * C::R * H + n % C::R * H + (some ? unit : 0), some, to);
          clear(to + some, WIDTH - some);
        }
  }

  static void forward(const Forward& a, const Host& host) {
    const int64_t width = C::X * a.H, size = groups(a.H) * a.H * N * WIDTH;
    Room panels(size), input_panels(Inputs::size(a, width));
    clear_rest(a, a.left, a.H);
    for (int s = 0; s < C::S; s++) clear_rest(a, a.before[s], a.H);
    auto prepare = [&](int64_t part, int64_t parts) {
      pack(a.kernel[0], a.H, groups(a.H) * part / parts, groups(a.H) * (part + 1) / parts, panels.at(0));
      Inputs::pack(a, width, part, parts, input_panels.at(0));
    };
    walk_in_phases(a, threads_for(a, C::R, host), C::R, host, size + Inputs::size(a, width), prepare,
                   [&](const Stretch& rows) { return There(a, panels.at(0), input_panels.at(0), rows); });
  }

  static void backward(const Backward& a, const Host& host) {
    const int64_t deep = C::R * a.H, all = Back::groups(a.H);
    Room panels(Back::size(deep, a.H));
    clear_rest(a, a.dx, C::X * a.H);
    clear_rest(a, a.du, deep);
    const Threads threads = threads_for(a, C::R, host);
    Sums sums(a, threads.blocks, (C::P + C::X) * a.H);
    auto prepare = [&](int64_t part, int64_t parts) {
      Back::pack_transposed(a.kernel[0], deep, a.H, all * part / parts, all * (part + 1) / parts, panels.at(0));
    };
    walk_in_phases(a, threads, C::R, host, Back::size(deep, a.H), prepare,
                   [&](const Stretch& rows) { return Return(a, panels.at(0), rows, &sums); });
    sums.give(a, C::P, C::X);
  }

 private:
  // The way forwards of some rows. Phases: the inputs of some steps, where they are made here; then for each of these
  // steps what comes before the product, if anything does, and the step itself.
  class There {
   public:
    There(const Forward& a, const float* panels, const float* input_panels, const Stretch& rows)
        : a_(a), panels_(panels), first_(rows.first), begin_(rows.done), rows_(rows.end - rows.first), wide_(padded(a.H)),
          inputs_(a, C::X * a.H, input_panels, rows), memory_((C::S + 2) * rows_ * wide_) {
      prepares_ = a.reset || a.keep[0] || a.left;
      for (int s = 0; s < C::S; s++) {
        prepares_ = prepares_ || a.before[s];
        const float* from = state_of(a, s, rows);
        for (int64_t b = 0; b < rows_; b++) copy(from + b * a.H, a.H, now(s, begin_) + b * wide_);
      }
      each_ = 1 + prepares_;
      period_ = inputs_.steps() * each_ + !inputs_.given();
    }

    int64_t phases() const { return (a_.steps - begin_ + steps() - 1) / steps() * period_; }
    int64_t period() const { return period_; }          // phases, after which a walk can stop
    int64_t steps() const { return inputs_.steps(); }  // that are done then

    void phase(int64_t i, int64_t part, int64_t parts) {
      const int64_t begin = begin_ + i / period_ * steps();
      i %= period_;
      if (!inputs_.given() && !i--) return inputs_.make(begin, part, parts);
      const int64_t step = begin + i / each_, all = groups(a_.H);
      if (step >= a_.steps) return;
      if (i % each_ < prepares_) return prepare(step, all * part / parts * UNITS, smaller(a_.H, all * (part + 1) / parts * UNITS));
      for (int64_t g = all * part / parts; g < all * (part + 1) / parts; g++) group(step, g);
    }

    void finish(int64_t done) {
      for (int s = 0; s < C::S; s++)
        for (int64_t b = 0; b < rows_; b++) copy(now(s, done) + b * wide_, a_.H, a_.final[s] + (first_ + b) * a_.H);
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
    const int64_t first_, begin_, rows_, wide_;
    Inputs inputs_;
    Zeros memory_;  // the two places of the first state, the other states, the left operand
    bool prepares_;
    int64_t each_, period_;
  };

  // The way back of some rows. Phases: for each step the equations, then what they leave to the old state.
  class Return {
   public:
    Return(const Backward& a, const float* panels, const Stretch& rows, Sums* sums)
        : a_(a), panels_(panels), first_(rows.first), begin_(rows.done), rows_(rows.end - rows.first), wide_(padded(a.H)),
          deep_(C::R * a.H), sums_(sums), memory_(rows_ * (C::S * wide_ + deep_)) {
      for (int s = 0; s < C::S; s++) {
        const float* from = cotangent_of(a, s, rows);
        for (int64_t b = 0; b < rows_; b++) copy(from + b * a.H, a.H, ds(s) + b * wide_);
      }
    }

    int64_t phases() const { return 2 * (a_.steps - begin_); }
    int64_t period() const { return 2; }
    int64_t steps() const { return 1; }

    void phase(int64_t i, int64_t part, int64_t parts) {
      const Position at(a_, a_.steps - 1 - begin_ - i / 2, first_);
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
      end_back(a_, at, first_, rows_, C::S, unit, last - unit, [&](int64_t s, int64_t b) { return ds(s) + b * wide_; });
    }

    void finish(int64_t) {
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
      float* sums = sums_->of(first_ + b) + unit;
      for (int i = 0; i < C::P; i++) add(sums + i * H, dp[i], n);
      for (int i = 0; i < C::X && a_.dinput_bias; i++) add(sums + (C::P + i) * H, dx[i], n);
    }

    const Backward& a_;
    const float* panels_;
    const int64_t first_, begin_, rows_, wide_, deep_;
    Sums* sums_;
    Zeros memory_;  // the cotangents of the states, and of the products
  };
};

}  // namespace INSTRUCTIONS
