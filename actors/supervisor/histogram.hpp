#pragma once
#include <array>
#include <cstdint>

namespace millrace::actors::supervisor {

/// Seconds, in buckets that fit both a batch (milliseconds) and a recovery (seconds).
struct histogram {
  static constexpr std::array<double, 12> bounds{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10};
  std::array<std::uint64_t, bounds.size() + 1> counts{};
  double sum = 0;
  std::uint64_t count = 0;
  void add(double seconds) {
    std::size_t i = 0;
    while (i < bounds.size() && seconds > bounds[i]) ++i;
    ++counts[i];
    sum += seconds;
    ++count;
  }
};

} // namespace millrace::actors::supervisor
