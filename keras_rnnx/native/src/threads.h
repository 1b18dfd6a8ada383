// Threads, and how they share a walk over a sequence.
#pragma once

#include <sched.h>

#include "calls.h"
#include "simd.h"

namespace INSTRUCTIONS {

template <class F>
void spread(const Host& host, int64_t blocks, const F& f) {
  host.run(host, blocks, [](const void* data, int64_t i) { (*static_cast<const F*>(data))(i); }, &f);
}

// f(i, end) over n things, of so many numbers each, by all threads where there are enough to share.
template <class F>
void shared(const Host& host, int64_t n, int64_t numbers, const F& f) {
  constexpr int64_t ENOUGH = 1 << 14;
  const int64_t parts = host.threads == 1 ? 1 : larger(1, smaller(n, n * numbers / ENOUGH));
  spread(host, parts, [&](int64_t i) { f(n * i / parts, n * (i + 1) / parts); });
}

constexpr int64_t SPINS = 2000, MOST_WAITS = 1000;

// Waits a little, in a loop that waits.
INLINE void relax() {
#ifdef __SSE2__
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// How many threads there are for a walk: so many own rows of the batch, and each of them has so many, itself counted, to
// share the units with.
struct Threads {
  int64_t blocks, team;
};

INLINE Threads threads_for(const Sizes& a, int64_t parts, const Host& host) {
  const double step = 2.0 * a.B * a.H * parts * a.H;  // operations
  if (step * a.steps < 1e6) return {1, 1};
  const int64_t blocks = larger(1, smaller(host.threads, a.B));
  const int64_t most = smaller(host.threads / blocks, static_cast<int64_t>(step / blocks / 5e4));
  return {blocks, larger(1, most)};
}

// Some rows of the batch, for which so many steps are done.
struct Stretch {
  int64_t first, end, done;
  bool divides;  // whether half of the rows could be given away
};

// The rows of the batch that threads walk, a stretch of rows each. A thread that has none left gets half of those of another
// one at the step which that is at: so one that comes late, or is slow, or is stopped, holds the others up but for a moment.
class Stretches {
 public:
  // As many rows as one thread walks in any case. What is summed over rows is summed over each so many first, as the
  // order must not depend on who walks them.
  static int64_t least(const Sizes& a, int64_t blocks) { return a.B >= 8 * blocks ? 4 : 1; }

  Stretches(const Sizes& a, int64_t blocks, int64_t parts, const Host& host)
      : steps_(a.steps), least_(least(a, blocks)), row_(2.0 * a.H * parts * a.H), waiting_(new Stretch[blocks + host.threads]) {
    const int64_t n = (a.B + least_ - 1) / least_;
    for (int64_t i = blocks - 1; i >= 0; i--)  // the last is taken first
      waiting_[count_++] = {n * i / blocks * least_, smaller(a.B, n * (i + 1) / blocks * least_), 0, false};
  }
  ~Stretches() { delete[] waiting_; }
  Stretches(const Stretches&) = delete;
  Stretches& operator=(const Stretches&) = delete;

  // Waits until there is one, as long as another thread has something to give.
  bool take(Stretch* mine) {
    __atomic_fetch_add(&idle_, 1, __ATOMIC_RELAXED);
    bool taken = false, more = true;
    for (int64_t spins = 0; !taken && more && spins < SPINS + MOST_WAITS; spins++) {
      lock();
      taken = count_, more = dividing_;
      if (taken) {
        __atomic_store_n(&count_, count_ - 1, __ATOMIC_RELAXED);
        *mine = waiting_[count_];
        mine->divides = worth(*mine), dividing_ += mine->divides;
      }
      unlock();
      if (spins < SPINS) relax();
      else sched_yield();
    }
    __atomic_fetch_sub(&idle_, 1, __ATOMIC_RELAXED);
    return taken;
  }

  // Notes that so many steps are done; whether the walk should stop there, because a thread is idle.
  bool asked(Stretch* mine, int64_t done) {
    mine->done = done;
    if (!mine->divides) return false;
    if (worth(*mine)) return __atomic_load_n(&idle_, __ATOMIC_RELAXED) > __atomic_load_n(&count_, __ATOMIC_RELAXED);
    lock();
    mine->divides = false, dividing_--;
    unlock();
    return false;
  }

  // Gives half of the rows away; whether something is left to walk.
  bool divide(Stretch* mine) {
    lock();
    dividing_ -= mine->divides;
    if (mine->done < steps_) {
      Stretch& other = waiting_[count_] = *mine;
      other.first = mine->end = mine->first + (mine->end - mine->first + least_) / (2 * least_) * least_;
      __atomic_store_n(&count_, count_ + 1, __ATOMIC_RELAXED);
      mine->divides = worth(*mine), dividing_ += mine->divides;
    }
    unlock();
    return mine->done < steps_;
  }

 private:
  bool worth(const Stretch& s) const {
    return least_ > 1 && s.end - s.first >= 2 * least_ && row_ * (s.end - s.first) * (steps_ - s.done) > 1e7;
  }

  void lock() {
    while (__atomic_exchange_n(&locked_, true, __ATOMIC_ACQUIRE)) sched_yield();
  }
  void unlock() { __atomic_store_n(&locked_, false, __ATOMIC_RELEASE); }

  const int64_t steps_, least_;
  const double row_;  // operations of a row and step
  Stretch* const waiting_;
  int64_t count_ = 0, dividing_ = 0, idle_ = 0;
  bool locked_ = false;
};

// walk(stretch, stop) walks its rows until the end, or until stop(steps that are done), and returns how many are.
template <class F>
void share_rows(const Sizes& a, int64_t blocks, int64_t parts, const Host& host, const F& walk) {
  Stretches all(a, blocks, parts, host);
  spread(host, blocks, [&](int64_t) {
    for (Stretch mine; all.take(&mine);)
      do mine.done = walk(mine, [&](int64_t done) { return all.asked(&mine, done); });
      while (all.divide(&mine));
  });
}

// A walk in phases, each of which begins when the one before is done. The threads of a team take turns: whoever comes
// takes the next part, and a thread that never comes is not missed. Where the others are stopped so often that waiting
// for them is no gain, all but one leave.
template <class Walk>
void together(const Host& host, int64_t team, Walk& walk) {
  const int64_t phases = walk.phases();
  struct alignas(64) Count {
    int64_t n = 0;
  } next, done, members, waits;
  spread(host, team, [&](int64_t) {
    __atomic_fetch_add(&members.n, 1, __ATOMIC_RELAXED);
    for (;;) {
      if (__atomic_load_n(&waits.n, __ATOMIC_RELAXED) > MOST_WAITS) {
        if (__atomic_fetch_sub(&members.n, 1, __ATOMIC_RELAXED) > 1) return;
        __atomic_fetch_add(&members.n, 1, __ATOMIC_RELAXED);
      }
      const int64_t i = __atomic_fetch_add(&next.n, 1, __ATOMIC_RELAXED);
      if (i >= phases * team) return;
      for (int64_t spins = 0; __atomic_load_n(&done.n, __ATOMIC_ACQUIRE) < i / team * team; spins++)
        if (spins < SPINS) relax();
        else __atomic_fetch_add(&waits.n, 1, __ATOMIC_RELAXED), sched_yield();
      walk.phase(i / team, i % team, team);
      __atomic_fetch_add(&done.n, 1, __ATOMIC_RELEASE);
    }
  });
}

// All rows, each stretch of them in a walk that make(stretch) begins: by threads of their own, or by teams.
template <class F>
void walk_in_phases(const Sizes& a, const Threads& threads, int64_t parts, const Host& host, const F& make) {
  if (threads.team > 1)
    return spread(host, threads.blocks, [&](int64_t i) {
      auto walk = make(Stretch{a.B * i / threads.blocks, a.B * (i + 1) / threads.blocks, 0, false});
      together(host, threads.team, walk);
      walk.finish(a.steps);
    });
  share_rows(a, threads.blocks, parts, host, [&](const Stretch& rows, const auto& stop) {
    auto walk = make(rows);
    const int64_t phases = walk.phases(), period = walk.period();
    int64_t done = rows.done;
    for (int64_t i = 0; i < phases; i += period) {
      for (int64_t k = i; k < i + period; k++) walk.phase(k, 0, 1);
      done = smaller(a.steps, done + walk.steps());
      if (stop(done)) break;
    }
    walk.finish(done);
    return done;
  });
}

}  // namespace INSTRUCTIONS
