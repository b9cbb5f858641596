#pragma once
// The node's own log: lines on standard error, for people or for programs.

#include "actors/node.hpp"

#include <string>

namespace millrace::runtime {

/// Levels: trace, debug, info, warn, error, critical. A line feed inside of a line is shown as " | " (text) or escaped (json):
/// one event is one line. Thread safe; the sink may be called until the process ends.
actors::log_sink make_node_log(const std::string& level, bool json, const std::string& node);

} // namespace millrace::runtime
