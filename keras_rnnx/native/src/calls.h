// What a kernel is given: plain pointers. Arrays of steps are (T, B, H), or (T, B, n H) where n stand side by side;
// states are (B, H), flags (T, B) of one byte.
#pragma once

#include <cstdint>

constexpr int MOST = 8;  // arrays of one kind

struct Sizes {
  int64_t T, B, H;
  int64_t steps;  // of the T, those that are walked: the first ones
  bool reverse;
};

// What both ways read. An array that is not there is null.
struct Around {
  const float* kernel;         // (H, R H)
  const float* bias;           // (R H), of the product
  const float* input_bias;     // (X H), added to x
  const float* vectors[MOST];  // (H)
  const uint8_t* mask;         // 0: the states stay
  const uint8_t* reset;        // 1: the states become reset_state first
  const float* keep;           // factors of the left operand, (B, H), or (T, B, H) with keep_each_step
  bool keep_each_step;
  const uint8_t* draws[MOST];  // of a state, (T, B, H); 1: the unit keeps its value
  float rates[MOST];           // of a state; where there are no draws, the share of the old value
};

struct Forward : Sizes, Around {
  const float *x, *state[MOST], *reset_state[MOST];  // x: (T, B, X H)
  float *emit[MOST], *final[MOST];                   // emit: null where it is not wanted
  float *left, *before[MOST], *kept;                 // null where nothing is kept; kept: (T, B, K H)
};

struct Backward : Sizes, Around {
  const float *left, *before[MOST], *kept, *demit[MOST], *dfinal[MOST];
  float *dx, *du;  // (T, B, X H) and (T, B, R H); du: null where it is the same as dx
  float *dinput_bias, *dstate[MOST], *dvectors[MOST], *dreset_state[MOST];
};

// Threads of the host: run() calls f(data, 0), ..., f(data, blocks - 1), perhaps at once, and returns after the last.
struct Host {
  int64_t threads;
  void (*run)(const Host&, int64_t blocks, void (*f)(const void* data, int64_t block), const void* data);
};

struct Cell {
  int X, R, S, P, K, BEFORE;
  bool SAME;
  void (*forward)(const Forward&, const Host&);
  void (*backward)(const Backward&, const Host&);
};

// The cells in the order of keras_rnnx/native/library.py, in each instruction set that was compiled.
constexpr int CELLS = 4;
namespace avx512 { extern const Cell cells[CELLS]; }
namespace avx2 { extern const Cell cells[CELLS]; }
namespace plain { extern const Cell cells[CELLS]; }
