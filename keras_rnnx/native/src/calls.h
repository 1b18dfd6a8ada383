// What a kernel is given: plain pointers. Arrays of steps are (T, B, H), or (T, B, n H) where n stand side by side; states
// are (B, H), flags (T, B) of one byte. With `batch_first` the arrays of steps are (B, T, H), but for what is drawn.
#pragma once

#include <cstdint>

constexpr int MOST = 16;  // arrays of one kind

struct Sizes {
  int64_t T, B, H;
  int64_t steps;  // of the T, those that are walked: the first ones
  bool reverse, batch_first;
};

// What both ways read. An array that is not there is null; one for each product or state has so many places.
struct Around : Sizes {
  const float* kernel[MOST];   // (H, n H), of n parts
  const float* bias[MOST];     // (n H), of the product
  const float* keep[MOST];     // factors of the left operand, (B, H), or (T, B, H) with keep_each_step
  const float* input_bias;     // (X H), added to x
  const float* vectors[MOST];  // (H)
  const uint8_t* mask;         // 0: the states stay
  const uint8_t* reset;        // 1: the states become reset_state first
  const uint8_t* cut;          // (T); 1: no gradient enters the steps before
  bool keep_each_step;
  const uint8_t* draws[MOST];  // of a state, (T, B, H); 1: the unit keeps its value
  float rates[MOST];           // of a state; where there are no draws, the share of the old value
};

// The way forwards of any step.
struct Entering : Around {
  const float* x;                      // (T, B, X H); null where they are made here, from
  const float *source, *input_kernel;  // (T, B, D) and (D, X H)
  int64_t D;
  const float *state[MOST], *reset_state[MOST];
  float *emit[MOST], *final[MOST];  // emit: null where it is not wanted
  float *before[MOST], *kept;       // null where they are not stored; kept: (T, B, K H)
};

// The way back of any step.
struct Returning : Around {
  const float *before[MOST], *kept, *demit[MOST], *dfinal[MOST];
  float* dx;  // (T, B, X H)
  float *dinput_bias, *dstate[MOST], *dvectors[MOST], *dreset_state[MOST];
};

struct Forward : Entering {
  float* left;  // of the product, or null
};

struct Backward : Returning {
  float* du;  // (T, B, R H); null where it is the same as dx
};

// A step as a program: see keras_rnnx/native/program.py, whose slots these are.
struct Code {
  struct Product {
    int64_t parts, state, left;  // state: -1 where the left operand is in the slot `left`
  };
  struct Stage {
    int64_t loads, instructions;   // how many
    const int64_t *load, *code;    // slots of arrays of steps that it reads; five numbers for each instruction
  };
  int64_t inputs, states, vectors, products, parts, kept;  // how many
  int64_t constants, temporaries, crossing;
  const float* constant;
  const int64_t* cross;  // for each temporary its place among those that cross from stage to stage, or -1
  Product product[MOST];
  Stage stage[MOST + 1];
  // Forwards: the slots of the new states and of what is kept. Back: those of the cotangents, -1 for zero.
  const int64_t *new_state, *keep, *dinput, *dpart, *dstate, *dvector;
};

struct ProgramForward : Entering {
  float* left[MOST];  // of a product, or null
};

struct ProgramBackward : Returning {
  float* du[MOST];  // of a product, (T, B, parts H); null where it is the same as dx
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

// A linear recurrence h_t = a_t h_{t-1} + b_t, of real numbers or of complex ones in two arrays. The arrays of steps are
// (T, C): every channel, a row's unit, is on its own.
struct Scan {
  int64_t T, C;
  bool same;  // a and its cotangent are (C), the same at all steps
  const float *a[2], *start[2];
};

struct ScanForward : Scan {
  const float* b[2];
  float* h[2];
};

struct ScanBackward : Scan {
  const float *h[2], *dh[2];
  const uint8_t* cut;  // (T); 1: no gradient enters the steps before
  float *da[2], *db[2], *dstart[2];
};

struct Scans {
  void (*forward)(const ScanForward&, const Host&);
  void (*backward)(const ScanBackward&, const Host&);
};

// A memory S (K, V) for each of R, head by head of each row: S_t = a_t S_{t-1} + k_t w_t^T, y_t = S_t^T q_t, where w_t is
// v_t, or by the delta rule beta_t (v_t - (a_t S_{t-1})^T k_t). Arrays of steps are (T, R), (T, R, K) and (T, R, V).
struct Memory {
  int64_t T, R, heads, K, V;
  const float *q, *k, *v;
  const float* a;         // (T, R), or (T, R, K) with by_key
  const float* beta;      // null without the delta rule
  const float* start;     // (R, K, V)
  const uint8_t* reset;   // (T, R / heads); 1: the memory is empty before the step
  bool by_key;
};

struct MemoryForward : Memory {
  float *y, *final;
};

struct MemoryBackward : Memory {
  const float *dy, *dfinal;
  const uint8_t* cut;  // (T); 1: no gradient enters the steps before
  float *dq, *dk, *dv, *da, *dbeta, *dstart;
};

// All kernels in one instruction set: the cells in the order of keras_rnnx/native/library.py, the scans of real and of
// complex numbers.
constexpr int CELLS = 4;
struct Kernels {
  const char* instructions;
  Cell cells[CELLS];
  Scans scans[2];
  void (*memory_forward)(const MemoryForward&, const Host&);
  void (*memory_backward)(const MemoryBackward&, const Host&);
  void (*program_forward)(const ProgramForward&, const Code&, const Host&);
  void (*program_backward)(const ProgramBackward&, const Code&, const Host&);
};
namespace avx512 { extern const Kernels kernels; }
namespace avx2 { extern const Kernels kernels; }
namespace plain { extern const Kernels kernels; }
