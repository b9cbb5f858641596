#pragma once
// One `millrace node`: store, actors, admin RPC, HTTP and signals, from start to exit status.

#include "runtime/config/node_config.hpp"

namespace millrace::runtime {

/// Runs until SIGTERM or SIGINT (0 after a drain), or until the store fails for good (70). A second signal, 300 ms
/// or more after the first, ends it at once (128 + signal). What cannot start is a critical log line and 1. Whatever
/// hangs, the process is gone 4.7 s after the signal or that line. Call it before any other thread exists: it blocks signals.
int run_node(const config::node_config& config);

} // namespace millrace::runtime
