#pragma once
// The program `millrace`: a node, and the command line of every other one.

namespace millrace::runtime::cli {

/// Exit statuses are a contract (interfaces.md).
enum class exit_status : int {
  done = 0,
  failed = 1,      ///< refused or failed; the reason is on standard error
  usage = 2,       ///< wrong usage or an invalid file
  unreachable = 3, ///< no node answers
  timed_out = 4,   ///< a --wait ran out of time
  storage = 70,    ///< the node's disk failed for good: it ends at once, a restart reads back what is there
};

int run(int argc, char** argv);

} // namespace millrace::runtime::cli
