// Vectors of the width that this translation unit is compiled for, in the vector extension of GCC and Clang.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
#define WIDTH 16
#define REGISTERS 32
#elif defined(__AVX2__)
#define WIDTH 8
#define REGISTERS 16
#elif defined(__aarch64__)
#define WIDTH 4
#define REGISTERS 32
#else
#define WIDTH 4
#define REGISTERS 16
#endif

// Whatever is compiled more than once has a namespace of its own, or the linker would keep any one of the versions. For
// the same reason no template of the standard library is used here.
#define INLINE inline __attribute__((always_inline))

namespace INSTRUCTIONS {

typedef float Vec __attribute__((vector_size(4 * WIDTH)));
typedef int32_t Int __attribute__((vector_size(4 * WIDTH)));

INLINE Vec splat(float x) { return x - Vec{}; }

// The first n numbers at p; zeros behind them.
INLINE Vec load(const float* p, int n = WIDTH) {
  Vec v{};
  if (n == WIDTH) std::memcpy(&v, p, sizeof v);
  else std::memcpy(&v, p, sizeof(float) * n);
  return v;
}

INLINE void store(float* p, Vec v, int n = WIDTH) {
  if (n == WIDTH) std::memcpy(p, &v, sizeof v);
  else std::memcpy(p, &v, sizeof(float) * n);
}

INLINE Vec choose(Int which, Vec a, Vec b) { return which ? a : b; }
INLINE Vec least(Vec a, Vec b) { return choose(b < a, b, a); }  // NaN in a stays
INLINE Vec most(Vec a, Vec b) { return choose(b > a, b, a); }
INLINE Vec magnitude(Vec x) { return (Vec)((Int)x & 0x7fffffff); }

// e^x within 2 ulp for |x| <= 87, where it is bounded. x = n log 2 + r, and 2^n is made in the exponent's bits.
INLINE Vec exponential(Vec x) {
  const float shift = 12582912.f;  // 1.5 * 2^23: the low bits of x + shift are the integer nearest to x
  x = least(most(x, splat(-87.f)), splat(87.f));
  Vec shifted = x * 1.44269504f + shift, n = shifted - shift;
  Vec r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec p = splat(0.00139411f);
  p = p * r + 0.00836318f;
  p = p * r + 0.04166638f;
  p = p * r + 0.16666577f;
  p = p * r + 0.5f;
  Vec power = (Vec)(((Int)shifted << 23) + (127 << 23));
  return (p * (r * r) + (r + 1.f)) * power;
}

INLINE Vec sigmoid(Vec x) { return 1.f / (1.f + exponential(-x)); }

// Near zero an odd polynomial, so that small values keep all their digits; elsewhere by e^(2 |x|).
INLINE Vec hyperbolic_tangent(Vec x) {
  Vec a = magnitude(x), z = x * x;
  Vec p = splat(-0.00611319f);
  p = p * z + 0.02101008f;
  p = p * z - 0.05385407f;
  p = p * z + 0.13332795f;
  p = p * z - 0.33333329f;
  Vec small = x + x * (z * p);
  Vec large = 1.f - 2.f / (exponential(2.f * a) + 1.f);
  large = (Vec)((Int)large | ((Int)x & (int32_t)0x80000000));
  return choose(a < 0.625f, small, large);
}

}  // namespace INSTRUCTIONS
