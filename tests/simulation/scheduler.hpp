#pragma once
// Virtual time: events in the order of their time, and of their making where that is equal. One seed, one run.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <algorithm>

namespace millrace::simulation {

/// Microseconds since the run began.
using sim_time = std::uint64_t;

class random_source {
public:
  explicit random_source(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : next() % n; }
  std::uint64_t between(std::uint64_t low, std::uint64_t high) { return low + below(high - low + 1); }
  bool chance(unsigned percent) { return below(100) < percent; }
  bool per_mille(unsigned n) { return below(1000) < n; }

private:
  std::uint64_t state_;
};

class scheduler {
public:
  sim_time now() const { return now_; }
  std::uint64_t steps() const { return steps_; }
  void after(sim_time delay, std::function<void()> what) {
    heap_.push_back({now_ + delay, ++made_, std::move(what)});
    std::push_heap(heap_.begin(), heap_.end(), later);
  }
  /// Runs the next event; false if there is none.
  bool step() {
    if (heap_.empty()) return false;
    std::pop_heap(heap_.begin(), heap_.end(), later);
    auto next = std::move(heap_.back());
    heap_.pop_back();
    now_ = next.time;
    ++steps_;
    next.what();
    return true;
  }

private:
  struct event {
    sim_time time;
    std::uint64_t number;
    std::function<void()> what;
  };
  static bool later(const event& a, const event& b) { return a.time != b.time ? a.time > b.time : a.number > b.number; }
  std::vector<event> heap_;
  sim_time now_ = 0;
  std::uint64_t made_ = 0, steps_ = 0;
};

/// A promise was broken. The text says which, where, and what was found.
struct broken {
  std::string text;
};

} // namespace millrace::simulation
