// A linear recurrence, walked forwards and back. Memory is all it waits for, so that each number is read and written
// once: a thread takes a block of channels through all steps, and what one step hands to the next is in its cache.
#pragma once

#include "calls.h"
#include "simd.h"

namespace INSTRUCTIONS {

template <int PARTS>
struct LinearScan {
  static constexpr int64_t FEWEST = 64, MOST = 2048;  // channels of a block
  static constexpr int64_t SMALL = 1 << 15;           // numbers that one thread walks before another has begun

  struct Number {
    Vec part[PARTS];
  };

  static void forward(const ScanForward& a, const Host& host) {
    over_blocks(a, host, [&](int64_t first, int64_t end) { walk(a, first, end); });
  }

  static void backward(const ScanBackward& a, const Host& host) {
    over_blocks(a, host, [&](int64_t first, int64_t end) { walk_back(a, first, end); });
  }

 private:
  template <class F>
  static void over_blocks(const Scan& a, const Host& host, const F& f) {
    const int64_t vectors = (a.C + WIDTH - 1) / WIDTH, fewest = FEWEST / WIDTH, most = MOST / WIDTH;
    const int64_t threads = a.T * a.C * PARTS < SMALL ? 1 : host.threads;
    int64_t blocks = (vectors + most - 1) / most;
    if (blocks < threads) blocks = threads;
    if (blocks > vectors / fewest) blocks = vectors / fewest;
    if (blocks < 1) blocks = 1;
    auto block = [&](int64_t i) { f(vectors * i / blocks * WIDTH, vectors * (i + 1) / blocks * WIDTH); };
    using Block = decltype(block);
    host.run(host, blocks, [](const void* data, int64_t i) { (*static_cast<const Block*>(data))(i); }, &block);
  }

  // f(at, n, slot) for all vectors of a block: n channels from `at`. The last vector of all is moved to where it is
  // whole, over channels of the one before it, which get the same values twice.
  template <class F>
  static INLINE void each(const Scan& a, int64_t first, int64_t end, const F& f) {
    const int64_t last = a.C - WIDTH;
    if (last < 0) return f(0, static_cast<int>(a.C), 0);
    for (int64_t at = first; at < end; at += WIDTH) f(at < last ? at : last, WIDTH, (at - first) / WIDTH);
  }

  static void walk(const ScanForward& a, int64_t first, int64_t end) {
    for (int64_t t = 0; t < a.T; t++) {
      const int64_t row = t * a.C, row_of_a = a.same ? 0 : row;
      each(a, first, end, [&](int64_t at, int n, int64_t) __attribute__((always_inline)) {
        const Number before = t ? number(a.h, row - a.C + at, n) : number(a.start, at, n);
        const Number b = number(a.b, row + at, n);
        store_number(a.h, row + at, plus_product(b, number(a.a, row_of_a + at, n), before), n);
      });
    }
  }

  // g_t = dh_t + conj(a_{t+1}) g_{t+1}, db_t = g_t, da_t = g_t conj(h_{t-1}), dstart = conj(a_0) g_0
  static void walk_back(const ScanBackward& a, int64_t first, int64_t end) {
    Number sums[MOST / WIDTH + 1] = {};
    for (int64_t t = a.T - 1; t >= 0; t--) {
      const int64_t row = t * a.C, next = row + a.C;
      const bool passes = t + 1 < a.T && !(a.cut && a.cut[t + 1]);
      each(a, first, end, [&](int64_t at, int n, int64_t slot) __attribute__((always_inline)) {
        Number g = number(a.dh, row + at, n);
        if (passes)
          g = plus_product(g, conjugate(number(a.a, (a.same ? 0 : next) + at, n)), number(a.db, next + at, n));
        store_number(a.db, row + at, g, n);
        const Number before = t ? number(a.h, row - a.C + at, n) : number(a.start, at, n);
        if (a.same) sums[slot] = plus_product(sums[slot], conjugate(before), g);
        else store_number(a.da, row + at, plus_product({}, conjugate(before), g), n);
      });
    }
    each(a, first, end, [&](int64_t at, int n, int64_t slot) __attribute__((always_inline)) {
      Number d{};
      if (a.T && !(a.cut && a.cut[0])) d = plus_product(d, conjugate(number(a.a, at, n)), number(a.db, at, n));
      store_number(a.dstart, at, d, n);
      if (a.same) store_number(a.da, at, sums[slot], n);
    });
  }

  template <class Arrays>
  static INLINE Number number(const Arrays& from, int64_t at, int n) {
    Number x;
    for (int i = 0; i < PARTS; i++) x.part[i] = load(from[i] + at, n);
    return x;
  }

  static INLINE void store_number(float* const* to, int64_t at, const Number& x, int n) {
    for (int i = 0; i < PARTS; i++) store(to[i] + at, x.part[i], n);
  }

  static INLINE Number conjugate(Number x) {
    if constexpr (PARTS == 2) x.part[1] = -x.part[1];
    return x;
  }

  // c + x y
  static INLINE Number plus_product(const Number& c, const Number& x, const Number& y) {
    if constexpr (PARTS == 1) return {{c.part[0] + x.part[0] * y.part[0]}};
    else return {{c.part[0] + x.part[0] * y.part[0] - x.part[1] * y.part[1],
                  c.part[1] + x.part[0] * y.part[1] + x.part[1] * y.part[0]}};
  }
};

}  // namespace INSTRUCTIONS
