#pragma once
// A child that is killed: this program again, running one case of a disabled suite.

#include "tests/unit/storage/storage_fixture.hpp"

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

namespace millrace::storage::test {

inline constexpr const char* child_folder = "MILLRACE_TEST_CRASH_FOLDER";
inline constexpr const char* child_pipe = "MILLRACE_TEST_CRASH_PIPE";

/// RocksDB's threads do not survive a fork, a new program has its own.
inline pid_t spawn_child(const std::string& test_case, const std::filesystem::path& folder, int pipe) {
  ::setenv(child_folder, folder.c_str(), 1);
  ::setenv(child_pipe, std::to_string(pipe).c_str(), 1);
  const auto run = "--run_test=" + test_case;
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl("/proc/self/exe", "unit_storage", run.c_str(), "--report_level=no", static_cast<char*>(nullptr));
    ::_exit(127);
  }
  ::unsetenv(child_folder);
  ::unsetenv(child_pipe);
  return pid;
}

} // namespace millrace::storage::test
