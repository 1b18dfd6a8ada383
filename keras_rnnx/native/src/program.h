// Any step, walked forwards and back: an interpreter runs its program on vectors of units, and between two stages of the
// code the rows meet the next kernel. What happens around a step is that of sequence.h.
#pragma once

#include "walk.h"

namespace INSTRUCTIONS {

constexpr int64_t CHUNK = 128;    // units that the interpreter takes at once: its slots stay in the nearest cache
constexpr int64_t FIELDS = 5;     // of an instruction

// The operations, numbered as in keras_rnnx/native/formulas.py.
INLINE Vec sign_of(Vec x) { return choose(x > 0.f, splat(1.f), choose(x < 0.f, splat(-1.f), x)); }
INLINE Vec truth(Int which) { return choose(which, splat(1.f), Vec{}); }
INLINE Vec greater(Vec x, Vec y) { return choose(y != y, y, most(x, y)); }
INLINE Vec lesser(Vec x, Vec y) { return choose(y != y, y, least(x, y)); }

inline void interpret(const int64_t* code, int64_t instructions, float* const* slots, int64_t n) {
  for (; instructions; instructions--, code += FIELDS) {
    float* to = slots[code[1]];
    const float* a = slots[code[2]];
    const float* b = code[3] < 0 ? a : slots[code[3]];
    const float* c = code[4] < 0 ? a : slots[code[4]];
#define UNARY(number, value)                        \
  case number:                                      \
    for (int64_t i = 0; i < n; i += WIDTH) {        \
      const Vec x = load(a + i);                    \
      store(to + i, value);                         \
    }                                               \
    break;
#define BINARY(number, value)                                 \
  case number:                                                \
    for (int64_t i = 0; i < n; i += WIDTH) {                  \
      const Vec x = load(a + i), y = load(b + i);             \
      store(to + i, value);                                   \
    }                                                         \
    break;
    switch (code[0]) {
      UNARY(0, -x)
      UNARY(1, magnitude(x))
      UNARY(2, sign_of(x))
      UNARY(3, power_of_e(x))
      UNARY(4, logarithm(x))
      UNARY(5, logarithm_of_one_plus(x))
      UNARY(6, hyperbolic_tangent(x))
      UNARY(7, sigmoid(x))
      UNARY(8, one_by_one(x, [](float v) { return __builtin_sqrtf(v); }))
      UNARY(9, downwards(x))
      UNARY(10, nearest(x))
      UNARY(11, one_by_one(x, [](float v) { return __builtin_sinf(v); }))
      UNARY(12, one_by_one(x, [](float v) { return __builtin_cosf(v); }))
      BINARY(13, x + y)
      BINARY(14, x - y)
      BINARY(15, x * y)
      BINARY(16, x / y)
      BINARY(17, greater(x, y))
      BINARY(18, lesser(x, y))
      BINARY(19, truth(x < y))
      BINARY(20, truth(x <= y))
      BINARY(21, truth(x == y))
      case 22:
        for (int64_t i = 0; i < n; i += WIDTH) store(to + i, choose(load(a + i) != 0.f, load(b + i), load(c + i)));
        break;
    }
#undef UNARY
#undef BINARY
  }
}

// Where the slots of one thread are: a base, how far apart rows are, and whether units follow each other or, in what is
// filled for each chunk, begin anew.
class Slots {
 public:
  explicit Slots(int64_t count) : base_(count), row_(count), moves_(count) {}

  void rows(int64_t slot, float* base, int64_t stride) { set(slot, base, stride, true); }  // for all rows and units
  void chunk(int64_t slot, float* base) { set(slot, base, 0, false); }

  // The addresses for one row, from one unit on.
  void at(int64_t row, int64_t unit, float** slots) const {
    for (int64_t i = 0; i < base_.count; i++) slots[i] = base_.p[i] + row * row_.p[i] + (moves_.p[i] ? unit : 0);
  }

 private:
  template <class T>
  struct Array {
    explicit Array(int64_t n) : count(n), p(new T[n]()) {}
    ~Array() { delete[] p; }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    const int64_t count;
    T* const p;
  };

  void set(int64_t slot, float* base, int64_t stride, bool moves) {
    base_.p[slot] = base, row_.p[slot] = stride, moves_.p[slot] = moves;
  }

  Array<float*> base_;
  Array<int64_t> row_;
  Array<bool> moves_;
};

template <int N>
struct Interpreted {
  static int64_t padded(int64_t H) { return larger((H + CHUNK - 1) / CHUNK * CHUNK, Panels<N>::padded(H)); }

  static void forward(const ProgramForward& a, const Code& code, const Host& host) {
    const int64_t H = a.H, width = code.inputs * H, size = Panels<N>::size(H, H), all = Panels<N>::groups(H);
    Room panels(code.parts * size), input_panels(Inputs::size(a, width));
    for (int64_t s = 0; s < code.states; s++) clear_rest(a, a.before[s], H);
    for (int64_t j = 0; j < code.products; j++) clear_rest(a, a.left[j], H);
    auto prepare = [&](int64_t part, int64_t parts) {
      Inputs::pack(a, width, part, parts, input_panels.at(0));
      for (int64_t j = 0, at = 0; j < code.products; j++)
        for (int64_t p = 0; p < code.product[j].parts; p++, at++)
          Panels<N>::pack(a.kernel[j] + p * H, H, H, code.product[j].parts * H, all * part / parts, all * (part + 1) / parts,
                          panels.at(at * size));
    };
    const int64_t each = larger(code.parts, 1);
    share_rows(a, threads_for(a, each, host).blocks, each, host, code.parts * size + Inputs::size(a, width), prepare,
               [&](const Stretch& rows, const auto& stop) {
                 return forward_rows(a, code, panels.at(0), input_panels.at(0), rows, stop);
               });
  }

  static void backward(const ProgramBackward& a, const Code& code, const Host& host) {
    const int64_t H = a.H, each = larger(code.parts, 1), blocks = threads_for(a, each, host).blocks;
    const int64_t size = Panels<N>::size(deepest(code) * H, H), all = Panels<N>::groups(H);
    Room panels(code.products * size);
    clear_rest(a, a.dx, code.inputs * H);
    for (int64_t j = 0; j < code.products; j++) clear_rest(a, a.du[j], code.product[j].parts * H);
    Sums sums(a, blocks, (code.vectors + code.inputs) * H);
    auto prepare = [&](int64_t part, int64_t parts) {
      for (int64_t j = 0; j < code.products; j++)
        Panels<N>::pack_transposed(a.kernel[j], code.product[j].parts * H, H, all * part / parts, all * (part + 1) / parts,
                                   panels.at(j * size));
    };
    share_rows(a, blocks, each, host, code.products * size, prepare, [&](const Stretch& rows, const auto& stop) {
      return backward_rows(a, code, panels.at(0), rows, &sums, stop);
    });
    sums.give(a, code.vectors, code.inputs);
  }

 private:
  static int64_t deepest(const Code& code) {
    int64_t most = 0;
    for (int64_t j = 0; j < code.products; j++) most = larger(most, code.product[j].parts);
    return most;
  }

  // Constants, vectors and temporaries, as both ways have them.
  static void place(const Around& a, const Code& code, int64_t first, float* constants, float* vectors, float* chunks,
                    float* crossing, int64_t rows, int64_t wide, Slots* slots) {
    for (int64_t i = 0; i < code.constants; i++) {
      for (int64_t j = 0; j < CHUNK; j++) constants[i * CHUNK + j] = code.constant[i];
      slots->chunk(i, constants + i * CHUNK);
    }
    for (int64_t i = 0; i < code.vectors; i++) {
      copy(a.vectors[i], a.H, vectors + i * wide);
      slots->rows(code.constants + i, vectors + i * wide, 0);
    }
    for (int64_t i = 0; i < code.temporaries; i++)
      if (code.cross[i] < 0) slots->chunk(first + i, chunks + i * CHUNK);
      else slots->rows(first + i, crossing + code.cross[i] * rows * wide, wide);
  }

  template <class Stop>
  static int64_t forward_rows(const ProgramForward& a, const Code& code, const float* panels, const float* input_panels,
                           const Stretch& which, const Stop& stop) {
    const int64_t first = which.first, rows = which.end - first, H = a.H, wide = padded(H), all = rows * wide, S = code.states;
    Inputs made(a, code.inputs * H, input_panels, which);
    const int64_t inputs = code.constants + code.vectors, states = inputs + code.inputs, parts = states + S;
    const int64_t temporaries = parts + code.parts;
    Zeros memory((S + code.parts + 1 + code.crossing) * all);
    Zeros more((code.constants + code.inputs + code.temporaries) * CHUNK + code.vectors * wide);
    float *now = memory.at(0), *u = memory.at(S * all), *left = memory.at((S + code.parts) * all);
    Slots slots(temporaries + code.temporaries);
    float* x = more.at(code.constants * CHUNK);
    place(a, code, temporaries, more.at(0), more.at((code.constants + code.inputs + code.temporaries) * CHUNK),
          more.at((code.constants + code.inputs) * CHUNK), left + all, rows, wide, &slots);
    for (int64_t i = 0; i < code.inputs; i++) slots.chunk(inputs + i, x + i * CHUNK);
    for (int64_t s = 0; s < S; s++) {
      slots.rows(states + s, now + s * all, wide);
      for (int64_t b = 0; b < rows; b++) copy(state_of(a, s, which) + b * H, H, now + s * all + b * wide);
    }
    for (int64_t i = 0; i < code.parts; i++) slots.rows(parts + i, u + i * all, wide);
    Places places(temporaries + code.temporaries);
    int64_t step = which.done;
    for (; step < a.steps; step++) {
      const Position at(a, step, first);
      if ((step - which.done) % made.steps() == 0) {
        if (step > which.done && stop(step)) break;
        if (!made.given()) made.make(step, 0, 1);
      }
      const float *read = made.of(step), *bias = made.given() ? a.input_bias : nullptr;
      for (int64_t b = 0; b < rows; b++)
        for (int64_t s = 0; s < S; s++) {
          float* state = now + s * all + b * wide;
          if (a.reset && a.reset[at.flag + b]) copy(a.reset_state[s] + (first + b) * H, H, state);
          if (a.before[s]) copy(state, H, a.before[s] + at.of(b) * H);
        }
      for (int64_t j = 0, part = 0; j <= code.products; j++) {
        const Code::Stage& stage = code.stage[j];
        const bool last = j == code.products, computed = !last && code.product[j].state < 0;
        for (int64_t b = 0; b < rows && (last || computed || stage.instructions); b++)
          for (int64_t unit = 0; unit < H; unit += CHUNK) {
            const int64_t n = smaller(CHUNK, H - unit);
            slots.at(b, unit, places.p);
            for (int64_t i = 0; i < stage.loads; i++) {
              const int64_t input = stage.load[i] - inputs, from = b * made.stride() + input * H + unit;
              float* to = x + input * CHUNK;
              for (int64_t k = 0; k < n; k++) to[k] = read[from + k] + (bias ? bias[input * H + unit + k] : 0.f);
            }
            interpret(stage.code, stage.instructions, places.p, n);
            if (computed) copy(places.p[code.product[j].left], n, left + b * wide + unit);
            if (last) finish(a, code, places.p, at, b, unit, n, now + b * wide + unit, all);
          }
        if (last) break;
        multiplied(a, j, computed ? left : now + code.product[j].state * all, left, at, first, rows, wide);
        const float* operand = computed || a.keep[j] ? left : now + code.product[j].state * all;
        for (int64_t p = 0; p < code.product[j].parts; p++, part++)
          Panels<N>::multiply(Rows{operand, wide}, rows, panels + part * Panels<N>::size(H, H), H, H,
                              a.bias[j] ? a.bias[j] + p * H : nullptr, 0, Panels<N>::groups(H),
                              [&](int64_t b, int64_t unit, Vec v) { store(u + part * all + b * wide + unit, v); });
      }
    }
    for (int64_t s = 0; s < S; s++)
      for (int64_t b = 0; b < rows; b++) copy(now + s * all + b * wide, H, a.final[s] + (first + b) * H);
    return step;
  }

  struct Places {
    explicit Places(int64_t n) : p(new float*[n]) {}
    ~Places() { delete[] p; }
    Places(const Places&) = delete;
    Places& operator=(const Places&) = delete;
    float** const p;
  };

  // The left operand of a product with its factors, and stored for the way back.
  static void multiplied(const ProgramForward& a, int64_t j, const float* from, float* to, const Position& at,
                         int64_t first, int64_t rows, int64_t wide) {
    const float* keep = keep_of(a, static_cast<int>(j), at.flag, first);
    for (int64_t b = 0; b < rows; b++) {
      for (int64_t k = 0; k < a.H && keep; k++) to[b * wide + k] = from[b * wide + k] * keep[b * a.H + k];
      if (!a.left[j]) continue;
      if (a.mask && !a.mask[at.flag + b]) clear(a.left[j] + at.of(b) * a.H, a.H);  // what is there may be NaN
      else copy((keep ? to : from) + b * wide, a.H, a.left[j] + at.of(b) * a.H);
    }
  }

  // The new states of n units of a row, which take the place of the old ones.
  static void finish(const ProgramForward& a, const Code& code, float* const* places, const Position& where, int64_t b,
                     int64_t unit, int64_t n, float* now, int64_t all) {
    const int64_t row = where.of(b);
    const bool valid = !a.mask || a.mask[where.flag + b];
    for (int64_t k = 0; k < code.kept && a.kept; k++)
      copy(places[code.keep[k]], n, a.kept + (row * code.kept + k) * a.H + unit);
    for (int64_t i = 0; i < n; i += WIDTH) {
      const int count = static_cast<int>(smaller(WIDTH, n - i));
      const int64_t at = row * a.H + unit + i, draw = (where.flag + b) * a.H + unit + i;
      Vec s_new[MOST];
      for (int64_t s = 0; s < code.states; s++) {
        const Vec old = load(now + s * all + i);
        s_new[s] = valid ? zoned(a, static_cast<int>(s), draw, count, load(places[code.new_state[s]] + i), old) : old;
      }
      for (int64_t s = 0; s < code.states; s++) {
        store(now + s * all + i, s_new[s], count);
        if (a.emit[s]) store(a.emit[s] + at, s_new[s], count);
      }
    }
  }

  template <class Stop>
  static int64_t backward_rows(const ProgramBackward& a, const Code& code, const float* panels, const Stretch& which, Sums* sums,
                            const Stop& stop) {
    const int64_t first = which.first, rows = which.end - first, S = code.states, J = code.products;
    const int64_t H = a.H, wide = padded(H), all = rows * wide;
    const int64_t states = code.constants + code.vectors, kept = states + S, dnew = kept + code.kept, dleft = dnew + S;
    const int64_t temporaries = dleft + J, deep = deepest(code) * H;
    Zeros memory((2 * S + J + code.crossing) * all + rows * deep);
    Zeros more((code.constants + S + code.kept + code.temporaries) * CHUNK + code.vectors * wide);
    float *ds = memory.at(0), *passed = memory.at(S * all), *dlefts = memory.at(2 * S * all);
    float* du = memory.at((2 * S + J + code.crossing) * all);
    float* loaded = more.at(code.constants * CHUNK);
    Slots slots(temporaries + code.temporaries);
    place(a, code, temporaries, more.at(0), more.at((code.constants + S + code.kept + code.temporaries) * CHUNK),
          more.at((code.constants + S + code.kept) * CHUNK), dlefts + J * all, rows, wide, &slots);
    for (int64_t i = 0; i < S + code.kept; i++) slots.chunk(states + i, loaded + i * CHUNK);
    for (int64_t j = 0; j < J; j++) slots.rows(dleft + j, dlefts + j * all, wide);
    for (int64_t s = 0; s < S; s++) {
      slots.rows(dnew + s, ds + s * all, wide);
      const float* from = cotangent_of(a, s, which);
      for (int64_t b = 0; b < rows; b++) copy(from + b * H, H, ds + s * all + b * wide);
    }
    Places places(temporaries + code.temporaries);
    int64_t done = which.done;
    for (bool stopped = false; done < a.steps && !stopped; stopped = stop(++done)) {
      const Position at(a, a.steps - 1 - done, first);
      for (int64_t b = 0; b < rows; b++) begin_back(a, code, at, b, ds + b * wide, passed + b * wide, all);
      for (int64_t i = 0, part = code.parts; i <= J; i++) {
        const Code::Stage& stage = code.stage[i];
        const int64_t j = J - 1 - i, parts = j < 0 ? 0 : code.product[j].parts;
        part -= parts;
        for (int64_t b = 0; b < rows; b++) {
          const int64_t row = at.of(b);
          const bool valid = !a.mask || a.mask[at.flag + b];
          for (int64_t unit = 0; unit < H; unit += CHUNK) {
            const int64_t n = smaller(CHUNK, H - unit);
            slots.at(b, unit, places.p);
            for (int64_t k = 0; k < stage.loads && valid; k++) {
              const int64_t slot = stage.load[k] - states;
              const float* from = slot < S ? a.before[slot] + row * H : a.kept + (row * code.kept + slot - S) * H;
              copy(from + unit, n, loaded + slot * CHUNK);
            }
            if (valid) interpret(stage.code, stage.instructions, places.p, n);
            for (int64_t p = 0; p < parts; p++) {
              float* to = du + b * deep + p * H + unit;
              give(valid ? code.dpart[part + p] : -1, places.p, n, to);
              if (a.du[j]) copy(to, n, a.du[j] + (row * parts + p) * H + unit);
            }
            if (j < 0) finish_back(a, code, places.p, row, unit, n, valid, ds + b * wide + unit, passed + b * wide + unit, all,
                                   sums->of(first + b));
          }
        }
        if (j >= 0) multiplied_back(a, code, j, panels, at, first, rows, wide, du, deep, passed, dlefts + j * all);
      }
      end_back(a, at, first, rows, S, 0, H, [&](int64_t s, int64_t b) { return ds + s * all + b * wide; });
    }
    for (int64_t s = 0; s < S; s++)
      for (int64_t b = 0; b < rows; b++) copy(ds + s * all + b * wide, H, a.dstate[s] + (first + b) * H);
    return done;
  }

  static INLINE void give(int64_t slot, float* const* places, int64_t n, float* to) {
    if (slot < 0) clear(to, n);
    else copy(places[slot], n, to);
  }

  // The cotangents of one row's new states, of which a part goes past the cell: all of it where the step is masked.
  static void begin_back(const ProgramBackward& a, const Code& code, const Position& where, int64_t b, float* ds,
                         float* passed, int64_t all) {
    const bool valid = !a.mask || a.mask[where.flag + b];
    for (int64_t s = 0; s < code.states; s++)
      for (int64_t i = 0; i < a.H; i += WIDTH) {
        const int n = static_cast<int>(smaller(WIDTH, a.H - i));
        const int64_t draw = (where.flag + b) * a.H + i;
        Vec d = load(ds + s * all + i);
        if (a.demit[s]) d += load(a.demit[s] + where.of(b) * a.H + i, n);
        store(passed + s * all + i, valid ? zoned(a, static_cast<int>(s), draw, n, Vec{}, d) : d, n);
        store(ds + s * all + i, valid ? zoned(a, static_cast<int>(s), draw, n, d, Vec{}) : Vec{}, n);
      }
  }

  // What inputs, old states and vectors get at n units of one row.
  static void finish_back(const ProgramBackward& a, const Code& code, float* const* places, int64_t row, int64_t unit,
                          int64_t n, bool valid, float* ds, const float* passed, int64_t all, float* sums) {
    for (int64_t i = 0; i < code.inputs; i++) {
      float* to = a.dx + (row * code.inputs + i) * a.H + unit;
      give(valid ? code.dinput[i] : -1, places, n, to);
      float* sum = sums + (code.vectors + i) * a.H + unit;
      for (int64_t k = 0; k < n && a.dinput_bias; k++) sum[k] += to[k];
    }
    for (int64_t p = 0; p < code.vectors && valid; p++) {
      float* sum = sums + p * a.H + unit;
      for (int64_t k = 0; k < n && code.dvector[p] >= 0; k++) sum[k] += places[code.dvector[p]][k];
    }
    for (int64_t i = 0; i < n; i += WIDTH) {
      const int count = static_cast<int>(smaller(WIDTH, n - i));
      Vec d[MOST];
      for (int64_t s = 0; s < code.states; s++) {
        d[s] = load(passed + s * all + i);
        if (valid && code.dstate[s] >= 0) d[s] += load(places[code.dstate[s]] + i);
      }
      for (int64_t s = 0; s < code.states; s++) store(ds + s * all + i, d[s], count);
    }
  }

  // The cotangent of a product's left operand: to the old state that it is, or to the stages that follow.
  static void multiplied_back(const ProgramBackward& a, const Code& code, int64_t j, const float* panels, const Position& at,
                              int64_t first, int64_t rows, int64_t wide, const float* du, int64_t deep, float* passed,
                              float* dleft) {
    const int64_t state = code.product[j].state, H = a.H;
    const float* keep = keep_of(a, static_cast<int>(j), at.flag, first);
    float* total = state < 0 ? dleft : passed + state * rows * wide;
    Panels<N>::multiply(Rows{du, deep}, rows, panels + j * Panels<N>::size(deep, H), code.product[j].parts * H, H, nullptr,
                        0, Panels<N>::groups(H),
                        [&](int64_t b, int64_t unit, Vec v) {
                          const int n = static_cast<int>(smaller(WIDTH, H - unit));
                          if (keep) v *= load(keep + b * H + unit, n);
                          float* to = total + b * wide + unit;
                          store(to, state < 0 ? v : load(to, n) + v, n);
                        });
  }
};

// Few units are walked in narrow panels, which would be mostly empty else.
inline void program_forward(const ProgramForward& a, const Code& code, const Host& host) {
  if (a.H <= WIDTH) Interpreted<1>::forward(a, code, host);
  else if (a.H <= 2 * WIDTH) Interpreted<2>::forward(a, code, host);
  else Interpreted<4>::forward(a, code, host);
}

inline void program_backward(const ProgramBackward& a, const Code& code, const Host& host) {
  if (a.H <= WIDTH) Interpreted<1>::backward(a, code, host);
  else if (a.H <= 2 * WIDTH) Interpreted<2>::backward(a, code, host);
  else Interpreted<4>::backward(a, code, host);
}

}  // namespace INSTRUCTIONS
