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

constexpr int64_t SPINS = 2000, MOST_WAITS = 1000;

// Waits a little, in a loop that waits.
INLINE void relax() {
#ifdef __SSE2__
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

INLINE int64_t read(const int64_t* n) { return __atomic_load_n(n, __ATOMIC_RELAXED); }
INLINE int64_t add(int64_t* n, int64_t i) { return __atomic_fetch_add(n, i, __ATOMIC_RELAXED); }

// Work in equal parts, before a walk: whoever comes takes the next one, and nobody goes on before all are done.
class Preparation {
 public:
  Preparation(int64_t numbers, const Host& host) : parts_(host.threads == 1 ? 1 : smaller(64, 1 + numbers / 16384)) {}

  template <class F>
  void work(const F& f) {
    for (int64_t i; (i = add(&next_, 1)) < parts_; __atomic_fetch_add(&done_, 1, __ATOMIC_RELEASE)) f(i, parts_);
    for (int64_t spins = 0; __atomic_load_n(&done_, __ATOMIC_ACQUIRE) < parts_; spins++)
      if (spins < SPINS) relax();
      else sched_yield();
  }

 private:
  const int64_t parts_;
  int64_t next_ = 0, done_ = 0;
};

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
    add(&idle_, 1);
    bool taken = false;
    for (int64_t spins = 0; !taken && (read(&count_) || read(&dividing_)) && spins < SPINS + MOST_WAITS; spins++) {
      if (read(&count_)) taken = took(mine);
      else if (spins < SPINS) relax();
      else sched_yield();
    }
    add(&idle_, -1);
    return taken;
  }

  // Notes that so many steps are done; whether the walk should stop there, because a thread is idle.
  bool asked(Stretch* mine, int64_t done) {
    mine->done = done;
    if (!mine->divides) return false;
    if (worth(*mine)) return read(&idle_) > read(&count_);
    mine->divides = false;
    add(&dividing_, -1);
    return false;
  }

  // Gives half of the rows away; whether something is left to walk.
  bool divide(Stretch* mine) {
    const bool divided = mine->divides, more = mine->done < steps_;
    if (more) {
      Stretch other = *mine;
      other.first = mine->end = mine->first + (mine->end - mine->first + least_) / (2 * least_) * least_;
      lock();
      waiting_[count_] = other;
      add(&count_, 1);
      unlock();
    }
    mine->divides = more && worth(*mine);
    add(&dividing_, mine->divides - divided);
    return more;
  }

 private:
  bool worth(const Stretch& s) const {
    return least_ > 1 && s.end - s.first >= 2 * least_ && row_ * (s.end - s.first) * (steps_ - s.done) > 1e7;
  }

  bool took(Stretch* mine) {
    lock();
    const bool any = count_;
    if (any) {
      *mine = waiting_[count_ - 1];
      mine->divides = worth(*mine);
      add(&dividing_, mine->divides);
      add(&count_, -1);
    }
    unlock();
    return any;
  }

  void lock() {
    for (int64_t spins = 0; __atomic_exchange_n(&locked_, true, __ATOMIC_ACQUIRE); spins++)
      if (spins < SPINS) relax();
      else sched_yield();
  }
  void unlock() { __atomic_store_n(&locked_, false, __ATOMIC_RELEASE); }

  const int64_t steps_, least_;
  const double row_;  // operations of a row and step
  Stretch* const waiting_;
  int64_t count_ = 0, dividing_ = 0, idle_ = 0;
  bool locked_ = false;
};

// Walks all rows, by threads of their own. prepare(part, parts) comes first; walk(stretch, stop) walks its rows until the end,
// or until stop(steps that are done), and returns how many are.
template <class Prepare, class Walk>
void share_rows(const Sizes& a, int64_t blocks, int64_t parts, const Host& host, int64_t numbers, const Prepare& prepare,
                const Walk& walk) {
  Preparation preparation(numbers, host);
  Stretches all(a, blocks, parts, host);
  spread(host, blocks, [&](int64_t) {
    preparation.work(prepare);
    for (Stretch mine; all.take(&mine);)
      do mine.done = walk(mine, [&](int64_t done) { return all.asked(&mine, done); });
      while (all.divide(&mine));
  });
}

// A walk in phases, each of which begins when the one before is done. The threads of a team take turns: whoever comes
// takes the next part, and a thread that never comes is not missed. Where the others are stopped so often that waiting
// for them is no gain, all but one leave.
template <class Walk>
class Team {
 public:
  template <class F>
  Team(int64_t members, const F& make) : walk(make()), team_(members) {}

  void work() {
    add(&members_.n, 1);
    for (const int64_t phases = walk.phases();;) {
      if (read(&waits_.n) > MOST_WAITS) {
        if (add(&members_.n, -1) > 1) return;
        add(&members_.n, 1);
      }
      const int64_t i = add(&next_.n, 1);
      if (i >= phases * team_) return;
      for (int64_t spins = 0; __atomic_load_n(&done_.n, __ATOMIC_ACQUIRE) < i / team_ * team_; spins++)
        if (spins < SPINS) relax();
        else add(&waits_.n, 1), sched_yield();
      walk.phase(i / team_, i % team_, team_);
      __atomic_fetch_add(&done_.n, 1, __ATOMIC_RELEASE);
    }
  }

  Walk walk;

 private:
  struct alignas(64) Count {
    int64_t n = 0;
  };
  const int64_t team_;
  Count next_, done_, members_, waits_;
};

// The same in phases, each stretch in a walk that make(stretch) begins: by threads of their own, or by teams.
template <class Prepare, class Make>
void walk_in_phases(const Sizes& a, const Threads& threads, int64_t parts, const Host& host, int64_t numbers,
                    const Prepare& prepare, const Make& make) {
  if (threads.team == 1)
    return share_rows(a, threads.blocks, parts, host, numbers, prepare, [&](const Stretch& rows, const auto& stop) {
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
  using Each = Team<decltype(make(Stretch{}))>;
  Preparation preparation(numbers, host);
  Each** teams = new Each*[threads.blocks];
  for (int64_t i = 0; i < threads.blocks; i++)
    teams[i] = new Each(threads.team, [&] {
      return make(Stretch{a.B * i / threads.blocks, a.B * (i + 1) / threads.blocks, 0, false});
    });
  spread(host, threads.blocks * threads.team, [&](int64_t i) {
    preparation.work(prepare);
    teams[i % threads.blocks]->work();
  });
  for (int64_t i = 0; i < threads.blocks; i++) {
    teams[i]->walk.finish(a.steps);
    delete teams[i];
  }
  delete[] teams;
}

}  // namespace INSTRUCTIONS
