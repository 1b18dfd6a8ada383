// A matrix memory, walked step by step, forwards and back. It is small: a thread takes it through some steps while it is in
// the nearest cache, and reads and writes but the rows of each step.
#pragma once

#include "calls.h"
#include "simd.h"
#include "threads.h"
#include "walk.h"

namespace INSTRUCTIONS {

class MatrixMemory {
 public:
  static void forward(const MemoryForward& a, const Host& host) {
    over_rows(a, host, [&](int64_t first, int64_t end) {
      Step step(a);
      const int64_t size = step.size();
      Room states((end - first) * size);
      for (int64_t r = first; r < end; r++) step.enter(a.start + r * a.K * a.V, states.at((r - first) * size));
      in_turns(a, 0, a.T, [&](int64_t t, int64_t turn_end) {
        for (int64_t r = first; r < end; r++) {
          float* s = states.at((r - first) * size);
          for (int64_t now = t; now < turn_end; now++) {
            step.read(now, r);
            step.advance(s, s);
            copy(step.y, a.V, a.y + (now * a.R + r) * a.V);
          }
        }
      });
      for (int64_t r = first; r < end; r++) step.leave(states.at((r - first) * size), a.final + r * a.K * a.V);
    });
  }

  // The way forwards has stored nothing: the memories at the beginning of each segment are computed again, then, segment
  // by segment from the last on, those at each step.
  static void backward(const MemoryBackward& a, const Host& host) {
    over_rows(a, host, [&](int64_t first, int64_t end) {
      Step step(a);
      const int64_t size = step.size(), wide = step.wide, rows = end - first, length = segment(a);
      const int64_t segments = (a.T + length - 1) / length;
      Room begins(larger(1, segments) * rows * size), states(length * size), d(rows * size), written(2 * length * wide);
      for (int64_t r = 0; r < rows; r++) {
        step.enter(a.start + (first + r) * a.K * a.V, begins.at(r * size));
        step.enter(a.dfinal + (first + r) * a.K * a.V, d.at(r * size));
      }
      for (int64_t i = 0; i + 1 < segments; i++)
        in_turns(a, i * length, (i + 1) * length, [&](int64_t t, int64_t turn_end) {
          for (int64_t r = 0; r < rows; r++) {
            float *begin = begins.at((i * rows + r) * size), *next = begins.at(((i + 1) * rows + r) * size);
            for (int64_t now = t; now < turn_end; now++) {
              step.read(now, first + r);
              step.advance(now == i * length ? begin : next, next);
            }
          }
        });
      for (int64_t i = segments - 1; i >= 0; i--)
        for (int64_t r = 0; r < rows; r++) {
          const float* begin = begins.at((i * rows + r) * size);
          const int64_t steps = smaller(length, a.T - i * length);
          auto before = [&](int64_t j) { return j ? states.at((j - 1) * size) : begin; };
          for (int64_t j = 0; j < steps; j++) {
            step.read(i * length + j, first + r);
            step.advance(before(j), states.at(j * size));
            copy(step.w, 2 * wide, written.at(2 * j * wide));
          }
          for (int64_t j = steps - 1; j >= 0; j--) {
            step.read(i * length + j, first + r);
            copy(written.at(2 * j * wide), 2 * wide, step.w);
            give(a, i * length + j, first + r, before(j), states.at(j * size), d.at(r * size), &step);
          }
        }
      for (int64_t r = 0; r < rows; r++) step.leave(d.at(r * size), a.dstart + (first + r) * a.K * a.V);
    });
  }

 private:
  static constexpr int64_t PAGE = 1024;  // numbers in a page of memory

  // Fetches n numbers that will be needed soon: the rows of one memory are far apart, and few for each step.
  static INLINE void expect(const float* p, int64_t n) {
    for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i);
  }

  // The length of a segment: the root of T makes the least of those that begin one and those within one.
  static int64_t segment(const Memory& a) {
    int64_t n = 8;
    while (n * n < a.T) n++;
    return n;
  }

  // f(t, end) for a few steps at a time, in which each memory has its turn: rows of one step are read side by side, while
  // those of one memory in many steps are all far apart.
  template <class F>
  static void in_turns(const Memory& a, int64_t begin, int64_t end, const F& f) {
    const int64_t turn = a.K * a.V > 4096 ? 8 : 4;
    for (int64_t t = begin; t < end; t += turn) f(t, smaller(end, t + turn));
  }

  // f(first, end) for some memories at a time, by all threads: as many as have their keys in one page, which is then read
  // but once from far away, unless there are too few for all threads.
  template <class F>
  static void over_rows(const Memory& a, const Host& host, const F& f) {
    const bool small = 6.0 * a.T * a.R * a.K * a.V < 1e6;
    const int64_t fewest = small ? 1 : smaller(a.R, 4 * host.threads), pages = (a.R * a.K + PAGE - 1) / PAGE;
    const int64_t blocks = small ? 1 : smaller(a.R, larger(fewest, pages));
    spread(host, blocks, [&](int64_t i) { f(a.R * i / blocks, a.R * (i + 1) / blocks); });
  }

  // One step of one memory: the numbers that it reads, with zeros behind them up to whole groups of keys and whole vectors
  // of values, and those that it makes.
  struct Step {
    static constexpr int64_t GROUP = 4;  // keys

    explicit Step(const Memory& a)
        : a(a), keys((a.K + GROUP - 1) / GROUP * GROUP), wide((a.V + WIDTH - 1) / WIDTH * WIDTH),
          room_(6 * (keys + WIDTH) + 6 * wide), nothing_(keys * wide) {
      float *at = room_.at(0), **of_values[] = {&v, &w, &missed, &y, &dy, &dv}, **of_keys[] = {&q, &k, &decay, &dq, &dk, &da};
      for (float** place : of_values) *place = at, at += wide;
      for (float** place : of_keys) *place = at, at += keys + WIDTH;
    }

    int64_t size() const { return keys * wide; }  // of a memory

    void enter(const float* from, float* s) const {
      clear(s, size());
      for (int64_t i = 0; i < a.K; i++) copy(from + i * a.V, a.V, s + i * wide);
    }
    void leave(const float* s, float* to) const {
      for (int64_t i = 0; i < a.K; i++) copy(s + i * wide, a.V, to + i * a.V);
    }

    void read(int64_t t, int64_t r) {
      const int64_t at = t * a.R + r, ahead = 4 * a.R + at;
      expect(a.q + ahead * a.K, a.K), expect(a.k + ahead * a.K, a.K), expect(a.v + ahead * a.V, a.V);
      copy(a.q + at * a.K, a.K, q);
      copy(a.k + at * a.K, a.K, k);
      copy(a.v + at * a.V, a.V, v);
      for (int64_t i = 0; i < a.K; i++) decay[i] = a.a[a.by_key ? at * a.K + i : at];
      beta = a.beta ? a.beta[at] : 1.f;
      empty = a.reset && a.reset[at / a.heads];
    }

    // The memory before the step, as it finds it.
    const float* found(const float* s) { return empty ? nothing_.at(0) : s; }

    void advance(const float* old, float* s) {
      old = found(old);
      int64_t c = 0;
      for (; c + 2 * WIDTH <= wide; c += 2 * WIDTH) columns<2>(old, s, c);
      for (; c < wide; c += WIDTH) columns<1>(old, s, c);
    }

    // The same of N vectors of columns. Four keys at a time have sums of their own, or each would wait for the one before.
    template <int N>
    INLINE void columns(const float* old, float* s, int64_t c) {
      const float *q = this->q, *k = this->k, *decay = this->decay;
      const int64_t keys = this->keys, wide = this->wide;
      Vec made[N], sums[GROUP][N] = {};
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) made[n] = load(v + c + n * WIDTH);
      if (a.beta) {
        for (int64_t i = 0; i < keys; i += GROUP)
#pragma GCC unroll 16
          for (int j = 0; j < GROUP; j++)
#pragma GCC unroll 16
            for (int n = 0; n < N; n++)
              sums[j][n] += decay[i + j] * k[i + j] * load(old + (i + j) * wide + c + n * WIDTH);
#pragma GCC unroll 16
        for (int n = 0; n < N; n++) {
          made[n] -= (sums[0][n] + sums[1][n]) + (sums[2][n] + sums[3][n]);
          store(missed + c + n * WIDTH, made[n]);
          made[n] *= beta;
#pragma GCC unroll 16
          for (int j = 0; j < GROUP; j++) sums[j][n] = Vec{};
        }
      }
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) store(w + c + n * WIDTH, made[n]);
      for (int64_t i = 0; i < keys; i += GROUP)
#pragma GCC unroll 16
        for (int j = 0; j < GROUP; j++)
#pragma GCC unroll 16
          for (int n = 0; n < N; n++) {
            const int64_t at = (i + j) * wide + c + n * WIDTH;
            const Vec now = decay[i + j] * load(old + at) + k[i + j] * made[n];
            store(s + at, now);
            sums[j][n] += q[i + j] * now;
          }
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) store(y + c + n * WIDTH, (sums[0][n] + sums[1][n]) + (sums[2][n] + sums[3][n]));
    }

    const Memory& a;
    const int64_t keys, wide;
    float *v, *w, *missed, *y, *dy, *dv;  // side by side
    float *q, *k, *decay, *dq, *dk, *da;
    float beta, dbeta;
    bool empty;

   private:
    Zeros room_, nothing_;
  };

  // The way back of one step: what its rows get, and the cotangent d of the memory after it becomes that of the one before.
  static void give(const MemoryBackward& a, int64_t t, int64_t r, const float* old, const float* s, float* d, Step* step) {
    const int64_t at = t * a.R + r;
    old = step->found(old);
    copy(a.dy + at * a.V, a.V, step->dy);
    retreat_columns(d, step);
    if (a.beta) retreat_keys<true>(old, s, d, step);
    else retreat_keys<false>(old, s, d, step);
    copy(step->dq, a.K, a.dq + at * a.K);
    copy(step->dk, a.K, a.dk + at * a.K);
    copy(step->dv, a.V, a.dv + at * a.V);
    if (a.beta) a.dbeta[at] = step->dbeta;
    if (a.by_key) copy(step->da, a.K, a.da + at * a.K);
    else {
      float sum = 0.f;
      for (int64_t i = 0; i < a.K; i++) sum += step->da[i];
      a.da[at] = sum;
    }
    if (step->empty || (a.cut && a.cut[t])) clear(d, step->size());
  }

  // d += q dy^T; dw = d^T k, and what it is to v and beta.
  static void retreat_columns(float* d, Step* step) {
    const int64_t wide = step->wide, keys = step->keys;
    const float *q = step->q, *k = step->k;
    Vec dbeta{};
    for (int64_t c = 0; c < wide; c += WIDTH) {
      Vec sums[Step::GROUP] = {}, dy = load(step->dy + c);
      for (int64_t i = 0; i < keys; i += Step::GROUP)
#pragma GCC unroll 16
        for (int j = 0; j < Step::GROUP; j++) {
          const Vec now = load(d + (i + j) * wide + c) + q[i + j] * dy;
          store(d + (i + j) * wide + c, now);
          sums[j] += k[i + j] * now;
        }
      const Vec dw = (sums[0] + sums[1]) + (sums[2] + sums[3]);
      dbeta += dw * load(step->missed + c);
      store(step->dv + c, step->beta * dw);
    }
    step->dbeta = total(dbeta);
  }

  // What q, k and the decay of each key get are sums over the values.
  template <bool DELTA>
  static void retreat_keys(const float* old, const float* s, float* d, Step* step) {
    const int64_t wide = step->wide, keys = step->keys;
    const float *of_dy = step->dy, *of_w = step->w, *of_dv = step->dv;
    for (int64_t i = 0; i < keys; i += WIDTH) {
      Vec dq[WIDTH] = {}, dk[WIDTH] = {}, da[WIDTH] = {}, dr[WIDTH] = {};
      for (int64_t j = 0; j < smaller(WIDTH, keys - i); j++) {
        const float decay = step->decay[i + j], k = step->k[i + j];
        Vec of_q{}, of_k{}, of_a{}, of_r{};
        for (int64_t c = 0; c < wide; c += WIDTH) {
          const int64_t at = (i + j) * wide + c;
          const Vec now = load(d + at), before = load(old + at), dv = load(of_dv + c);
          of_q += load(s + at) * load(of_dy + c);
          of_k += now * load(of_w + c);
          of_a += now * before;
          if (DELTA) of_r -= before * dv;
          store(d + at, decay * (DELTA ? now - k * dv : now));
        }
        dq[j] = of_q, dk[j] = of_k, da[j] = of_a, dr[j] = of_r;
      }
      store(step->dq + i, sums_of(dq));
      Vec to_k = sums_of(dk), to_a = sums_of(da);
      if (DELTA) {
        const Vec to_r = sums_of(dr);
        to_k += load(step->decay + i) * to_r;
        to_a += load(step->k + i) * to_r;
      }
      store(step->dk + i, to_k);
      store(step->da + i, to_a);
    }
  }

  template <int HALF = WIDTH / 2>
  static INLINE float total(Vec v) {
    if constexpr (HALF == 0) return v[0];
    else return total<HALF / 2>(v + exchanged<HALF>(v));
  }

  // The sum of all lanes of each of WIDTH vectors, one in each lane.
  template <int HALF = WIDTH / 2>
  static INLINE Vec sums_of(Vec* v) {
    if constexpr (HALF == 0) return v[0];
    else {
      Int upper;
#pragma GCC unroll 16
      for (int l = 0; l < WIDTH; l++) upper[l] = l & HALF ? -1 : 0;
#pragma GCC unroll 16
      for (int j = 0; j < HALF; j++)
        v[j] = choose(upper, v[j + HALF], v[j]) + exchanged<HALF>(choose(upper, v[j], v[j + HALF]));
      return sums_of<HALF / 2>(v);
    }
  }
};

}  // namespace INSTRUCTIONS
