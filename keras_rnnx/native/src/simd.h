// Vectors of the width that this translation unit is compiled for, in the vector extension of GCC and Clang.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX2__
#include <immintrin.h>
#endif

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

constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

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

// v with lanes exchanged that are HALF apart.
template <int HALF>
INLINE Vec exchanged(Vec v) {
#ifdef __clang__
  Vec to;
  for (int l = 0; l < WIDTH; l++) to[l] = v[l ^ HALF];
  return to;
#else
  Int from;
  for (int l = 0; l < WIDTH; l++) from[l] = l ^ HALF;
  return __builtin_shuffle(v, from);
#endif
}

// NaN in a stays: so x86 has it in one instruction, if the compiler is told.
#if defined(__AVX512F__)
INLINE Vec least(Vec a, Vec b) { return (Vec)_mm512_min_ps((__m512)b, (__m512)a); }
INLINE Vec most(Vec a, Vec b) { return (Vec)_mm512_max_ps((__m512)b, (__m512)a); }
#elif defined(__AVX2__)
INLINE Vec least(Vec a, Vec b) { return (Vec)_mm256_min_ps((__m256)b, (__m256)a); }
INLINE Vec most(Vec a, Vec b) { return (Vec)_mm256_max_ps((__m256)b, (__m256)a); }
#else
INLINE Vec least(Vec a, Vec b) { return choose(b < a, b, a); }
INLINE Vec most(Vec a, Vec b) { return choose(b > a, b, a); }
#endif
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

// A quotient of polynomials in x^2, within 3e-7 of the value, and exact near zero; from 9.02 on tanh rounds to 1.
INLINE Vec hyperbolic_tangent(Vec x) {
  const Vec one = splat(1.f);
  x = least(most(x, splat(-9.02f)), splat(9.02f));
  Vec z = x * x, p = splat(1.33192612e-8f), q = splat(7.76205525e-7f);
  p = p * z + 2.05835713e-5f;
  p = p * z + 3.49404174e-3f;
  p = p * z + 0.133797228f;
  p = p * z + 1.f;
  q = q * z + 3.28310503e-4f;
  q = q * z + 2.58710943e-2f;
  q = q * z + 0.467130423f;
  q = q * z + 1.f;
  return least(most(x * p / q, -one), one);
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
