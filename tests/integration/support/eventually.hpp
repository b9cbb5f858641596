#pragma once
// Waiting for a condition with a deadline: the only kind of waiting in these tests.

#include <chrono>
#include <functional>
#include <poll.h>
#include <stdexcept>
#include <string>

namespace millrace::testing {

using std::chrono::milliseconds;
using std::chrono::seconds;
using test_clock = std::chrono::steady_clock;

inline bool becomes(const std::function<bool()>& condition, milliseconds limit, milliseconds between = milliseconds{10}) {
  const auto deadline = test_clock::now() + limit;
  for (;;) {
    if (condition()) return true;
    if (test_clock::now() >= deadline) return false;
    ::poll(nullptr, 0, static_cast<int>(between.count()));
  }
}

/// Throws, naming `what`, if the condition does not become true in time. `context` is asked for more to say only then.
inline void eventually(const std::string& what, const std::function<bool()>& condition, milliseconds limit = seconds{30},
                       const std::function<std::string()>& context = {}) {
  if (becomes(condition, limit)) return;
  throw std::runtime_error("not within " + std::to_string(limit.count()) + " ms: " + what +
                           (context ? "\n" + context() : std::string()));
}

} // namespace millrace::testing
