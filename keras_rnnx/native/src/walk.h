// What a walk over a sequence consists of, whatever its step is: memory, products of rows, flags and inputs.
#pragma once

#include <new>

#include "calls.h"
#include "simd.h"
#include "threads.h"

namespace INSTRUCTIONS {

INLINE void copy(const float* from, int64_t n, float* to) { std::memcpy(to, from, sizeof(float) * n); }
INLINE void clear(float* p, int64_t n) { std::memset(p, 0, sizeof(float) * n); }

// Memory for n numbers.
class Room {
 public:
  explicit Room(int64_t n) : p_(static_cast<float*>(::operator new(sizeof(float) * (n + 1), std::align_val_t(64)))) {}
  ~Room() { ::operator delete(p_, std::align_val_t(64)); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  float* at(int64_t i) { return p_ + i; }

 private:
  float* p_;
};

struct Zeros : Room {
  explicit Zeros(int64_t n) : Room(n) { clear(at(0), n); }
};

// As many rows as the registers hold sums of N vectors for.
constexpr int rows_of(int N) { return static_cast<int>(larger(1, smaller(8, (REGISTERS - N - 1) / N))); }

// out[M][N] = start[N] + rows[M][depth] panel[depth, N]
template <int M, int N>
INLINE void product(const float* const* rows, const float* panel, int64_t depth, const Vec* start, Vec* out) {
  const float* left[M];
  Vec sums[M][N];
#pragma GCC unroll 16
  for (int m = 0; m < M; m++) {
    left[m] = rows[m];
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) sums[m][n] = start[n];
  }
  for (int64_t k = 0; k < depth; k++) {
    Vec row[N];
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) row[n] = load(panel + (k * N + n) * WIDTH);
#pragma GCC unroll 16
    for (int m = 0; m < M; m++) {
      Vec factor = splat(left[m][k]);
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
inline void product_of(int count, const float* const* rows, const float* panel, int64_t depth, const Vec* start, Vec* out) {
  if constexpr (M > 1)
    if (count < M) return product_of<M - 1, N>(count, rows, panel, depth, start, out);
  product<M, N>(rows, panel, depth, start, out);
}

// Rows of an array, one after the other.
struct Rows {
  const float* first;
  int64_t stride;
  INLINE void operator()(int64_t b, int count, const float** rows) const {
    for (int m = 0; m < count; m++) rows[m] = first + (b + m) * stride;
  }
};

// Kernels packed so many vectors of columns at a time, (columns in groups, depth, vectors, WIDTH), and their products.
template <int N>
struct Panels {
  static constexpr int ROWS = rows_of(N);
  static constexpr int64_t UNITS = N * WIDTH;  // columns of a group

  static int64_t groups(int64_t columns) { return (columns + UNITS - 1) / UNITS; }
  static int64_t padded(int64_t columns) { return groups(columns) * UNITS; }
  static int64_t size(int64_t depth, int64_t columns) { return depth * padded(columns); }

  // The groups from g to end, of a matrix (depth, columns) whose rows are so far apart.
  static void pack(const float* from, int64_t depth, int64_t columns, int64_t row, int64_t g, int64_t end, float* panels) {
    for (; g < end; g++) {
      const int64_t c = g * UNITS, some = smaller(UNITS, columns - c);
      float* to = panels + c * depth;
      for (int64_t k = 0; k < depth; k++, to += UNITS) {
        copy(from + k * row + c, some, to);
        clear(to + some, UNITS - some);
      }
    }
  }

  // The same, of the transpose of a matrix (columns, depth). A few columns of a few rows stay in the nearest cache.
  static void pack_transposed(const float* from, int64_t depth, int64_t columns, int64_t g, int64_t end, float* panels) {
    for (; g < end; g++)
      for (int64_t k = 0; k < depth; k += WIDTH)
        for (int64_t c = g * UNITS; c < (g + 1) * UNITS; c++) {
          float* to = panels + (g * depth + k) * UNITS + c % UNITS;
          for (int64_t i = 0; i < smaller(WIDTH, depth - k); i++) to[i * UNITS] = c < columns ? from[c * depth + k + i] : 0.f;
        }
  }

  // to(row, column, vector) for what the product of `count` rows has in the groups from g to end.
  template <class Left, class F>
  static void multiply(const Left& left, int64_t count, const float* panels, int64_t depth, int64_t columns,
                       const float* bias, int64_t g, int64_t end, const F& to) {
    for (; g < end; g++) {
      Vec start[N], made[ROWS * N];
      for (int i = 0; i < N; i++) {
        const int64_t at = (g * N + i) * WIDTH;
        start[i] = bias && at < columns ? load(bias + at, static_cast<int>(smaller(WIDTH, columns - at))) : Vec{};
      }
      for (int64_t b = 0; b < count; b += ROWS) {
        const int some = static_cast<int>(smaller(ROWS, count - b));
        const float* rows[ROWS] = {};
        left(b, some, rows);
        product_of<ROWS, N>(some, rows, panels + g * depth * N * WIDTH, depth, start, made);
        for (int m = 0; m < some; m++)
          for (int i = 0; i < N && (g * N + i) * WIDTH < columns; i++) to(b + m, (g * N + i) * WIDTH, made[m * N + i]);
      }
    }
  }
};

// ---- what happens around a step ----

// Where the rows of a step are, for those rows of the batch that begin with `first`.
struct Position {
  INLINE Position(const Sizes& a, int64_t step, int64_t first) {
    t = a.reverse ? a.steps - 1 - step : step;
    flag = t * a.B + first;
    row = a.batch_first ? first * a.T + t : flag;
    apart = a.batch_first ? a.T : 1;
  }
  INLINE int64_t of(int64_t b) const { return row + b * apart; }  // in arrays of steps

  int64_t t;
  int64_t flag;        // of the first in what is drawn and in flags; the others follow
  int64_t row, apart;  // of the first in arrays of steps, and from one to the next
};

// Zeros, n for each row, at the steps that are not walked.
inline void clear_rest(const Sizes& a, float* p, int64_t n) {
  if (!p || a.steps == a.T) return;
  if (!a.batch_first) return clear(p + a.steps * a.B * n, (a.T - a.steps) * a.B * n);
  for (int64_t b = 0; b < a.B; b++) clear(p + (b * a.T + a.steps) * n, (a.T - a.steps) * n);
}

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

// The states of some rows where a walk of them begins. One that stopped before has left them where the final ones belong.
INLINE const float* state_of(const Entering& a, int64_t s, const Stretch& rows) {
  return (rows.done ? a.final[s] : a.state[s]) + rows.first * a.H;
}

// The same on the way back; what goes to the states at resets begins at zero.
INLINE const float* cotangent_of(const Returning& a, int64_t s, const Stretch& rows) {
  if (rows.done) return a.dstate[s] + rows.first * a.H;
  if (a.dreset_state[s]) clear(a.dreset_state[s] + rows.first * a.H, (rows.end - rows.first) * a.H);
  return a.dfinal[s] + rows.first * a.H;
}

// What is summed over rows, `width` numbers of each: over every few rows first, see Stretches::least.
class Sums {
 public:
  Sums(const Sizes& a, int64_t blocks, int64_t width)
      : width_(width), least_(Stretches::least(a, blocks)), count_((a.B + least_ - 1) / least_), parts_(count_ * width) {}
  float* of(int64_t row) { return parts_.at(row / least_ * width_); }
  void total(int64_t from, int64_t n, float* to) {
    clear(to, n);
    for (int64_t i = 0; i < count_; i++)
      for (int64_t j = 0; j < n; j++) to[j] += *parts_.at(i * width_ + from + j);
  }
  // Of each vector, and of the bias of the inputs, H numbers each.
  void give(const Returning& a, int64_t vectors, int64_t inputs) {
    for (int64_t p = 0; p < vectors; p++) total(p * a.H, a.H, a.dvectors[p]);
    if (a.dinput_bias) total(vectors * a.H, inputs * a.H, a.dinput_bias);
  }

 private:
  const int64_t width_, least_, count_;
  Zeros parts_;
};

// At a reset, the cotangents of n units of the states from `unit` on go to reset_state; at a cut they end. of(s, b): where
// those of a row are.
template <class Of>
void end_back(const Returning& a, const Position& at, int64_t first, int64_t rows, int64_t states, int64_t unit, int64_t n,
              const Of& of) {
  const bool cut = a.cut && a.cut[at.t];
  for (int64_t b = 0; b < rows && (cut || a.reset); b++)
    for (int64_t s = 0; s < states; s++) {
      float* ds = of(s, b) + unit;
      if (a.reset && a.reset[at.flag + b]) {
        float* to = a.dreset_state[s] + (first + b) * a.H + unit;
        for (int64_t j = 0; j < n; j++) to[j] += ds[j];
        clear(ds, n);
      }
      if (cut) clear(ds, n);
    }
}

// The factors of the left operand of a product at some rows of all steps, or null.
INLINE const float* keep_of(const Around& a, int product, int64_t row, int64_t first) {
  return a.keep[product] ? a.keep[product] + (a.keep_each_step ? row : first) * a.H : nullptr;
}

// The inputs of every step for some rows of the batch: as they are given, or projected a few steps at a time, which are
// then read while they are in the cache.
class Inputs {
 public:
  using Packed = Panels<4>;

  // Panels of the input kernel, packed once a call; empty where the inputs are given.
  static int64_t size(const Entering& a, int64_t width) { return a.x ? 0 : Packed::size(a.D, width); }
  static void pack(const Entering& a, int64_t width, int64_t part, int64_t parts, float* to) {
    const int64_t groups = Packed::groups(width);
    if (!a.x) Packed::pack(a.input_kernel, a.D, width, width, groups * part / parts, groups * (part + 1) / parts, to);
  }

  Inputs(const Entering& a, int64_t width, const float* panels, const Stretch& rows)
      : a_(a), width_(width), panels_(panels), first_(rows.first), begin_(rows.done), rows_(rows.end - rows.first),
        steps_(a.x ? 0 : larger(1, 48 / larger(1, rows_))), stride_(a.x ? width * Position(a, 0, 0).apart : Packed::padded(width)),
        made_(steps_ * rows_ * Packed::padded(width)) {}

  bool given() const { return a_.x; }
  int64_t steps() const { return larger(1, steps_); }  // that are made at once
  int64_t stride() const { return stride_; }           // between rows

  // Makes those of the steps from `step` on; the caller may share the work.
  void make(int64_t step, int64_t part, int64_t parts) {
    const int64_t groups = Packed::groups(width_), count = smaller(steps_, a_.steps - step);
    auto source = [&](int64_t row, int some, const float** rows) {
      int64_t t = step + row / rows_, b = row % rows_;
      for (int m = 0; m < some; m++) {
        const Position at(a_, t, first_);
        rows[m] = a_.source + at.of(b) * a_.D;
        if (++b == rows_) b = 0, t++;
      }
    };
    Packed::multiply(source, count * rows_, panels_, a_.D, width_, a_.input_bias, groups * part / parts,
                     groups * (part + 1) / parts,
                     [&](int64_t row, int64_t column, Vec v) { store(made_.at(row * stride_ + column), v); });
  }

  const float* of(int64_t step) {
    return a_.x ? a_.x + Position(a_, step, first_).row * width_ : made_.at((step - begin_) % steps_ * rows_ * stride_);
  }

 private:
  const Entering& a_;
  const int64_t width_;
  const float* panels_;
  const int64_t first_, begin_, rows_, steps_, stride_;
  Room made_;
};

}  // namespace INSTRUCTIONS
