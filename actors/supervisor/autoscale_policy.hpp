#pragma once
// How many transform workers a load should have. Pure: told the time and the mailbox depth.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>

namespace millrace::actors::supervisor {

struct autoscale_bounds {
  std::uint32_t min = 1, max = 1;
  std::uint64_t target_depth = 10000;   ///< changes that wait, a worker
  std::chrono::milliseconds calm{5000}; ///< how long fewer must have been enough before one is retired
};

struct autoscale_decision {
  std::uint32_t workers = 1; ///< how many there should be
  std::string why;           ///< of the last change, for people
};

/// Up at once when depth per worker passes the target, as far as the depth asks; down one at a time, and only after a calm
/// period in which one worker fewer would have been enough: a flow that comes in waves keeps its workers.
class autoscale_policy {
public:
  using time_point = std::chrono::steady_clock::time_point;
  explicit autoscale_policy(autoscale_bounds bounds) : bounds_(bounds) {
    if (bounds_.target_depth == 0) bounds_.target_depth = 1;
    if (bounds_.min == 0) bounds_.min = 1;
    if (bounds_.max < bounds_.min) bounds_.max = bounds_.min;
    decision_.workers = bounds_.min;
    decision_.why = "started with the minimum";
  }

  const autoscale_decision& look(time_point now, std::uint64_t depth) {
    const auto wanted =
        std::clamp<std::uint64_t>((depth + bounds_.target_depth - 1) / bounds_.target_depth, bounds_.min, bounds_.max);
    if (wanted > decision_.workers) {
      decision_.why = "depth " + std::to_string(depth) + " passed " + std::to_string(decision_.workers) + " x " +
                      std::to_string(bounds_.target_depth) + ": up from " + std::to_string(decision_.workers) + " to " +
                      std::to_string(wanted);
      decision_.workers = static_cast<std::uint32_t>(wanted);
      calm_since_ = now;
    } else if (wanted == decision_.workers) {
      calm_since_ = now;
    } else if (now - calm_since_ >= bounds_.calm) {
      decision_.why = "depth " + std::to_string(depth) + " calm for " + std::to_string(bounds_.calm.count() / 1000) +
                      " s: down from " + std::to_string(decision_.workers) + " to " + std::to_string(decision_.workers - 1);
      --decision_.workers;
      calm_since_ = now;
    }
    return decision_;
  }
  const autoscale_decision& current() const { return decision_; }
  const autoscale_bounds& bounds() const { return bounds_; }

private:
  autoscale_bounds bounds_;
  autoscale_decision decision_;
  time_point calm_since_{};
};

} // namespace millrace::actors::supervisor
