#pragma once
// The catalog of a cluster: etcd v3, through its JSON gateway.
//
//   get, snapshot, commit, leases ──POST──> an endpoint; the next one when it does not answer
//   watches: one thread, one stream each, each at its own revision <── progress thread: "is etcd further than this stream?"
//
// Keys are kept as PREFIX/KEY; PREFIX/.txn/ is ours (see transaction.hpp).

#include "storage/catalog.hpp"

namespace millrace::storage {

struct etcd_options {
  std::vector<std::string> endpoints;              ///< "http://HOST:PORT" or "https://HOST:PORT"
  std::string ca, cert, key;                       ///< PEM files for https; empty: the system's CAs, no client certificate
  std::string user, password;                      ///< empty: etcd without authentication
  std::chrono::milliseconds request_timeout{2000}; ///< for one question to one endpoint; a call asks each endpoint at least once
  std::chrono::milliseconds watch_check{2000};     ///< how often a silent watch is compared with etcd's revision
  std::string prefix;                              ///< "/millrace/CLUSTER"; all keys lie below it
  /// One line when an endpoint is lost or found, and for what an operator must know. Any thread; must not block.
  std::function<void(const std::string& line)> log;
};

/// For status and metrics.
struct etcd_status {
  bool reachable = false; ///< the last question was answered
  std::string endpoint;   ///< that answered last
  std::string last_error; ///< of the last question that was not
  std::uint64_t questions = 0, failures = 0, watch_restarts = 0;
};

/// Thread safe. A call blocks its thread for at most `request_timeout` for each endpoint, plus twice that.
/// Errors beyond catalog's: corrupt if etcd is another cluster or older than what this process has already seen (its data was
/// lost or restored): nothing may be written then; an operator must decide. invalid: refused for good (permission, size), with
/// etcd's words.
class etcd_catalog : public catalog {
public:
  /// Asks nothing of etcd: a node starts without it. Errors: invalid: no endpoint, or one that is no URL; a file that is not
  /// there.
  static result<std::shared_ptr<etcd_catalog>> open(etcd_options options);
  virtual etcd_status status() const = 0;
};

} // namespace millrace::storage
