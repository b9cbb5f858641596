#pragma once
// When a failed actor starts again. Pure: told the time.

#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

namespace millrace::actors::supervisor {

struct restart_limits {
  std::chrono::milliseconds delay_min{20}, delay_max{5000};
  std::uint32_t failures_max = 10; ///< fruitless failures within the window: then the actor is `failed`
  std::chrono::milliseconds window{60000};
};

/// At once the first time, then with exponential backoff and jitter; too many failures in the window give up. Only fruitless
/// failures count: an actor that made durable progress since it last started is doing its work, however often it is killed,
/// and must not be slowed down or given up for it; one that dies at the same place again and again is.
class restart_policy {
public:
  using time_point = std::chrono::steady_clock::time_point;
  explicit restart_policy(restart_limits limits = {}) : limits_(limits) {}

  /// `progress` is any number that grows with durable work (a committed offset); `jitter` in [0, 1). None: give up.
  std::optional<std::chrono::milliseconds> failed(time_point now, std::uint64_t progress, double jitter) {
    if (!last_progress_ || progress > *last_progress_) {
      streak_ = 0;
      failures_.clear();
    }
    last_progress_ = progress;
    while (!failures_.empty() && now - failures_.front() > limits_.window) failures_.pop_front();
    if (failures_.empty()) streak_ = 0;
    failures_.push_back(now);
    if (failures_.size() > limits_.failures_max) return std::nullopt;
    if (streak_++ == 0) return std::chrono::milliseconds{0};
    const auto exponent = streak_ - 2 < 16 ? streak_ - 2 : 16u;
    auto delay = limits_.delay_min * (1u << exponent);
    if (delay > limits_.delay_max) delay = limits_.delay_max;
    return std::chrono::milliseconds{static_cast<std::int64_t>(static_cast<double>(delay.count()) * (0.5 + jitter / 2))};
  }
  void reset() {
    streak_ = 0;
    failures_.clear();
    last_progress_.reset();
  }

private:
  restart_limits limits_;
  std::deque<time_point> failures_;
  std::uint32_t streak_ = 0;
  std::optional<std::uint64_t> last_progress_;
};

} // namespace millrace::actors::supervisor
