#pragma once
// Prometheus' text format out of the node's samples (end of actors/node.hpp), with the process' own figures.

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace millrace::runtime::http {

/// What the HTTP server counts itself: requests by route and status.
using request_counts = std::map<std::pair<std::string, int>, std::uint64_t>;

inline constexpr const char* metrics_content_type = "text/plain; version=0.0.4; charset=utf-8";

/// Samples of one name become one family, whatever their order; a sample that is no valid one is left out and counted in
/// millrace_metrics_invalid_samples. Throws nlohmann's parse error if `samples` is no JSON.
std::string metrics_text(std::string_view samples, const request_counts& requests, unsigned open_connections);

} // namespace millrace::runtime::http
