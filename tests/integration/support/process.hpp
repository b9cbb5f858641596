#pragma once
// Child processes: started, signalled, waited for with a deadline. A child dies with the test that started it.

#include "tests/integration/support/eventually.hpp"

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <sys/types.h>
#include <utility>
#include <vector>

namespace millrace::testing {

struct spawn_options {
  std::vector<std::string> argv = {};                        ///< argv[0] is a path
  std::vector<std::pair<std::string, std::string>> env = {}; ///< added to the test's own
  std::filesystem::path directory = {};                      ///< empty: the test's
  std::filesystem::path output = {};                         ///< both streams are appended here; empty: kept, see run()
};

/// Owner: the thread that started it (the kernel kills the child when that thread ends).
class child {
public:
  static child start(const spawn_options& options);
  child(child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), status_(other.status_) {}
  child& operator=(child&&) = delete;
  ~child();

  pid_t pid() const noexcept { return pid_; }
  bool running() { return !wait_for(milliseconds{0}).has_value(); }
  void signal(int number);
  /// The exit status, or 128 + the signal that ended it; nothing if it still runs after `limit`.
  std::optional<int> wait_for(milliseconds limit);
  /// Largest resident set so far (VmHWM), in bytes; 0 once it has ended.
  std::uint64_t peak_memory() const;

private:
  explicit child(pid_t pid) : pid_(pid) {}
  pid_t pid_;
  std::optional<int> status_;
};

struct run_result {
  int status = -1;
  std::string out, err;
};
/// Runs to its end. Throws if it takes longer than `limit`.
run_result run(const spawn_options& options, milliseconds limit = seconds{60});

} // namespace millrace::testing
