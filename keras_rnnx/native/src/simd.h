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
  if (n >= WIDTH) std::memcpy(&v, p, sizeof v);
  else std::memcpy(&v, p, sizeof(float) * n);
  return v;
}

INLINE void store(float* p, Vec v, int n = WIDTH) {
  if (n >= WIDTH) std::memcpy(p, &v, sizeof v);
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

// e^x of all sizes: infinity and zero where it is.
INLINE Vec power_of_e(Vec x) {
  Vec root = exponential(0.5f * x);
  return root * root;
}

// log x within 2 ulp: x = 2^e m with m near 1, and a polynomial of m - 1.
INLINE Vec logarithm(Vec x) {
  const float infinity = __builtin_inff();
  Int bits = (Int)x, e = (bits >> 23) - 126;
  Vec m = (Vec)((bits & 0x007fffff) | 0x3f000000);
  Int small = m < 0.707106781f;
  e += small;
  m = choose(small, m + m, m) - 1.f;
  Vec z = m * m, p = splat(7.0376836292e-2f), f = __builtin_convertvector(e, Vec);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  Vec y = m * z * p - f * 2.12194440e-4f - 0.5f * z;
  y = m + y + f * 0.693359375f;
  y = choose(x == 0.f, splat(-infinity), choose(x < 0.f, splat(__builtin_nanf("")), y));
  return choose((x == infinity) | (x != x), x, y);
}

INLINE Vec logarithm_of_one_plus(Vec x) {
  Vec u = 1.f + x, d = u - 1.f;
  Vec y = logarithm(u) * (x / d);  // undoes the rounding of 1 + x
  return choose(d == 0.f, x, choose(u == __builtin_inff(), u, y));
}

INLINE Vec nearest(Vec x) {
  const float shift = 8388608.f;  // 2^23: from there on every number is an integer
  Vec a = magnitude(x), r = (a + shift) - shift;
  r = (Vec)((Int)r | ((Int)x & (int32_t)0x80000000));
  return choose(a < shift, r, x);
}

INLINE Vec downwards(Vec x) {
  Vec r = nearest(x);
  return choose(r > x, r - 1.f, r);
}

template <class F>
INLINE Vec one_by_one(Vec x, const F& f) {
  float each[WIDTH];
  std::memcpy(each, &x, sizeof x);
  for (int i = 0; i < WIDTH; i++) each[i] = f(each[i]);
  std::memcpy(&x, each, sizeof x);
  return x;
}

}  // namespace INSTRUCTIONS
