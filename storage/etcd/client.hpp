#pragma once
// Questions to a cluster of etcd: which endpoint, whose token, how often, and what a refusal means.

#include "storage/etcd/http.hpp"
#include "storage/etcd/json.hpp"

#include <atomic>

namespace millrace::storage::etcd {

/// Thread safe. Stays with the endpoint that answered last: one that is cut off, stopped or in a minority is left after its
/// first timeout.
class client {
public:
  explicit client(const etcd_options& options);

  /// Asks until an endpoint answers: each at least once, and again while etcd elects a leader, for one request_timeout at most
  /// (two, if a try of a write may have been done).
  /// Errors: what etcd refused, or unavailable.
  struct call_options {
    std::chrono::milliseconds timeout{0}; ///< for one endpoint; 0: request_timeout
    bool linear = false;                  ///< the answer's revision is etcd's newest, and is checked against what we have seen
    /// For what writes: set, and never cleared, when a try that was not answered may have been done. Then a failure to reach etcd
    /// is unknown_outcome, and any other error is that of a repeat.
    bool* maybe_done = nullptr;
  };
  result<json> ask(const char* path, const json& body, call_options o);
  result<json> ask(const char* path, const json& body) { return ask(path, body, call_options{}); }

  // ---- For the watches' streams
  std::string endpoint() const;                                    ///< that a question would go to now
  void avoid(const std::string& endpoint, const std::string& why); ///< it did not answer: begin with the next one
  result<std::string> token();                                     ///< empty without a user; asks if there is none
  void forget_token(const std::string& token);                     ///< etcd refused it
  /// Errors: corrupt: another cluster than before, or `floor` (seen before the question) is newer than `revision`.
  result<void> check_history(const json& header, std::uint64_t floor, bool linear);

  std::uint64_t newest() const { return newest_; } ///< revision seen in any answer
  etcd_status status() const;
  void count_watch_restart() { ++watch_restarts_; }
  void say(const std::string& line) const;

private:
  struct refusal {
    enum class kind : std::uint8_t { none, token, retry, final } what = kind::none;
    failure why;
  };
  static refusal understand(const http_answer& answer, json& parsed);
  void failed(const std::string& endpoint, const std::string& why);
  void answered(const std::string& endpoint);

  const etcd_options& options_;
  http_client http_;
  mutable std::mutex mutex_;
  std::size_t current_ = 0;
  std::string token_;
  std::string last_error_, answering_;
  bool reachable_ = false;
  std::string cluster_; ///< id of the cluster that answered first
  std::atomic<std::uint64_t> newest_{0}, questions_{0}, failures_{0}, watch_restarts_{0};
};

} // namespace millrace::storage::etcd
