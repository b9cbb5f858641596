#pragma once
// Alerts over HTTP: the bodies of interfaces.md and Alertmanager, and a POST that says whether to try again.

#include "actors/dead_letter/alert_grouping.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace millrace::actors::dead_letter {

/// {"pipeline", "load", "reason", "count", "first_time", "last_time", "sample": {dead letter}, "node"}
std::string webhook_body(const alert& what, const std::string& node);
/// POST /api/v2/alerts of Alertmanager; it takes the alert for resolved at `ends`, unless it comes again before.
std::string alertmanager_body(const alert& what, const std::string& node, storage::timestamp ends);
/// "http://host:9093/" -> "http://host:9093/api/v2/alerts"
std::string alertmanager_url(const std::string& base);

struct post_outcome {
  bool delivered = false;
  bool retry = false; ///< network, timeout, 408, 425, 429, 5xx. False: the receiver will never take it; tell the operator.
  int status = 0;     ///< HTTP; 0: no answer
  std::chrono::seconds retry_after{0}; ///< what the receiver asked for, at most an hour
  std::string message; ///< why not, with the receiver's first words; names the host only, as paths and queries hold tokens
};

/// Owner: one detached actor; not thread safe, but any number of objects may live on any threads. Keeps its connection.
class webhook {
public:
  webhook();
  ~webhook();
  webhook(const webhook&) = delete;
  webhook& operator=(const webhook&) = delete;
  /// Blocks for `timeout` at most. Only http and https; redirects are not followed (a POST would not survive them).
  post_outcome post(const std::string& url, const std::string& json, std::chrono::milliseconds timeout);

private:
  struct handle;
  std::unique_ptr<handle> handle_;
};

} // namespace millrace::actors::dead_letter
