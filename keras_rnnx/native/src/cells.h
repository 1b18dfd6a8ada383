// The cells: what happens between the products, for one vector of units. Nothing else in this folder knows an equation.
//
// A cell has
//   X  arrays that come from the inputs, x[]              R  parts of the recurrent product, u[], each H wide
//   S  states, s[], of which the first meets the kernel   P  vectors of weights, p[]
//   K  values that the way back needs, k[]                BEFORE  a bit for each old state that it needs too
//   SAME  whether the cotangents of u are those of x
// and forward(), which gives s_new and k, and backward(), which from the cotangents ds of s_new gives those of x, of u
// unless they are the same, of the old states apart from the product, and of p.
#pragma once

#include "simd.h"

namespace INSTRUCTIONS {

struct Tanh {
  static INLINE Vec of(Vec x) { return hyperbolic_tangent(x); }
  static INLINE Vec slope(Vec y) { return 1.f - y * y; }  // from the value
};

struct Relu {
  static INLINE Vec of(Vec x) { return choose(x < 0.f, Vec{}, x); }
  static INLINE Vec slope(Vec y) { return choose(y > 0.f, splat(1.f), Vec{}); }
};

INLINE Vec sigmoid_slope(Vec y) { return y * (1.f - y); }

template <class Activation>
struct Vanilla {
  static constexpr int X = 1, R = 1, S = 1, P = 0, K = 1, BEFORE = 0;
  static constexpr bool SAME = true;

  static INLINE void forward(const Vec* x, const Vec* u, const Vec*, const Vec*, Vec* s_new, Vec* k) {
    k[0] = s_new[0] = Activation::of(x[0] + u[0]);
  }
  static INLINE void backward(const Vec* k, const Vec*, const Vec*, const Vec* ds, Vec* dx, Vec*, Vec* ds_old, Vec*) {
    dx[0] = ds[0] * Activation::slope(k[0]);
    ds_old[0] = Vec{};
  }
};

// Gates i f g o; states h c.
struct Lstm {
  static constexpr int X = 4, R = 4, S = 2, P = 0, K = 4, BEFORE = 2;
  static constexpr bool SAME = true;

  static INLINE void forward(const Vec* x, const Vec* u, const Vec* s, const Vec*, Vec* s_new, Vec* k) {
    Vec i = k[0] = sigmoid(x[0] + u[0]), f = k[1] = sigmoid(x[1] + u[1]);
    Vec g = k[2] = hyperbolic_tangent(x[2] + u[2]), o = k[3] = sigmoid(x[3] + u[3]);
    s_new[1] = f * s[1] + i * g;
    s_new[0] = o * hyperbolic_tangent(s_new[1]);
  }
  static INLINE void backward(const Vec* k, const Vec* s, const Vec*, const Vec* ds, Vec* dx, Vec*, Vec* ds_old, Vec*) {
    Vec i = k[0], f = k[1], g = k[2], o = k[3], y = hyperbolic_tangent(f * s[1] + i * g);
    Vec dc = ds[1] + ds[0] * o * (1.f - y * y);
    dx[0] = dc * g * sigmoid_slope(i);
    dx[1] = dc * s[1] * sigmoid_slope(f);
    dx[2] = dc * i * (1.f - g * g);
    dx[3] = ds[0] * y * sigmoid_slope(o);
    ds_old[0] = Vec{};
    ds_old[1] = dc * f;
  }
};

// Gates z r n, the reset gate on the product; state h.
struct Gru {
  static constexpr int X = 3, R = 3, S = 1, P = 0, K = 4, BEFORE = 1;
  static constexpr bool SAME = false;

  static INLINE void forward(const Vec* x, const Vec* u, const Vec* s, const Vec*, Vec* s_new, Vec* k) {
    Vec z = k[0] = sigmoid(x[0] + u[0]), r = k[1] = sigmoid(x[1] + u[1]);
    Vec n = k[2] = hyperbolic_tangent(x[2] + r * u[2]);
    k[3] = u[2];
    s_new[0] = z * s[0] + (1.f - z) * n;
  }
  static INLINE void backward(const Vec* k, const Vec* s, const Vec*, const Vec* ds, Vec* dx, Vec* du, Vec* ds_old, Vec*) {
    Vec z = k[0], r = k[1], n = k[2];
    du[0] = dx[0] = ds[0] * (s[0] - n) * sigmoid_slope(z);
    dx[2] = ds[0] * (1.f - z) * (1.f - n * n);
    du[1] = dx[1] = dx[2] * k[3] * sigmoid_slope(r);
    du[2] = dx[2] * r;
    ds_old[0] = ds[0] * z;
  }
};

}  // namespace INSTRUCTIONS
