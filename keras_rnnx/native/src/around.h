// What the calls of all cells take: sizes, flags, and the arguments around a step.
#pragma once

#include "host.h"

enum Flag { BIAS = 1, MASK = 2, RESET = 4, KEEP = 8, KEEP_EACH_STEP = 16, DRAWS = 32, SAVE = 64, REVERSE = 128, LENGTH = 256,
            INPUT_BIAS = 512, PROJECTS = 1024, BATCH_FIRST = 2048, CUT = 4096 };

// The sizes of an argument, or none where it is no array of so many axes.
inline bool sized(const ffi::RemainingArgs& given, size_t which, size_t axes, const int64_t** found) {
  auto buffer = given.get<ffi::AnyBuffer>(which);
  if (buffer.has_error() || buffer.value().dimensions().size() != axes) return false;
  *found = buffer.value().dimensions().begin();
  return true;
}

// T, B and H, from the first argument, an array of steps in which so many stand side by side.
inline bool sizes_of(const ffi::RemainingArgs& given, int64_t beside, int64_t flags, Sizes* sizes) {
  const int64_t* found;
  if (!sized(given, 0, 3, &found)) return false;
  sizes->reverse = flags & REVERSE, sizes->batch_first = flags & BATCH_FIRST;
  sizes->T = sizes->steps = found[sizes->batch_first], sizes->B = found[!sizes->batch_first], sizes->H = found[2] / beside;
  return true;
}

// The shape of an array of steps with so many numbers in each row.
inline Shape of_steps(const Sizes& a, int64_t n) { return a.batch_first ? Shape{a.B, a.T, n} : Shape{a.T, a.B, n}; }

// The same on the way forwards, whose inputs of so many arrays may have to be projected: from the second argument.
inline bool sizes_of(const ffi::RemainingArgs& given, int64_t beside, int64_t flags, Entering* a) {
  const int64_t* kernel;
  if (!sizes_of(given, beside, flags, static_cast<Sizes*>(a))) return false;
  if (!(flags & PROJECTS)) return true;
  if (!sized(given, 1, 2, &kernel)) return false;
  a->D = kernel[0], a->H = kernel[1] / beside;
  return true;
}

inline void take_inputs(int64_t beside, int64_t flags, Args& args, Entering* a) {
  if (flags & PROJECTS) {
    a->source = args.numbers("x", of_steps(*a, a->D));
    a->input_kernel = args.numbers("input kernel", {a->D, beside * a->H});
  } else {
    a->x = args.numbers("x", of_steps(*a, beside * a->H));
  }
}

// How many arrays of a kind a call has.
struct Counts {
  int64_t inputs = 0, states = 0, vectors = 0, products = 0;
  int64_t parts[MOST] = {};
  bool bias[MOST] = {};
};

inline void take_around(const Counts& count, int64_t flags, ffi::Span<const float> rates, Args& args, Around* a) {
  const Around& n = *a;
  for (int64_t j = 0; j < count.products; j++) {
    a->kernel[j] = args.numbers("kernel", {n.H, count.parts[j] * n.H});
    if (count.bias[j]) a->bias[j] = args.numbers("bias", {count.parts[j] * n.H});
  }
  if (flags & INPUT_BIAS) a->input_bias = args.numbers("input bias", {count.inputs * n.H});
  for (int64_t i = 0; i < count.vectors; i++) a->vectors[i] = args.numbers("vector", {n.H});
  if (flags & MASK) a->mask = args.flags("mask", {n.T, n.B});
  if (flags & RESET) a->reset = args.flags("reset", {n.T, n.B});
  if (flags & CUT) a->cut = args.flags("cut", {n.T});
  a->keep_each_step = flags & KEEP_EACH_STEP;
  for (int64_t j = 0; j < count.products && flags & (KEEP | KEEP_EACH_STEP); j++)
    a->keep[j] = args.numbers("keep", a->keep_each_step ? Shape{n.T, n.B, n.H} : Shape{n.B, n.H});
  for (int64_t i = 0; i < count.states; i++) {
    a->rates[i] = static_cast<size_t>(i) < rates.size() ? rates.begin()[i] : 0.f;
    if (flags & DRAWS && a->rates[i]) a->draws[i] = args.flags("zoneout", {n.T, n.B, n.H});
  }
  if (flags & LENGTH) {
    const int32_t* length = args.take<int32_t>("length", {}, ffi::S32);
    if (length) a->steps = std::clamp<int64_t>(*length, 0, n.T);
  }
}
