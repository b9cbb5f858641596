#pragma once
// The admin RPC from a program's side, one call at a time: what the command line uses.

#include "actors/node.hpp"
#include "runtime/config/spec_parser.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace millrace::runtime::admin {

/// Owner: one thread, with no other KJ loop on it.
class admin_client {
public:
  virtual ~admin_client() = default;
  /// `server` is the socket's path, also as unix:PATH. Logs in. Errors: unavailable (nobody answers), refused (the token).
  static actors::result<std::unique_ptr<admin_client>> connect(const std::string& server, const std::string& token,
                                                               std::chrono::milliseconds timeout = std::chrono::seconds{30});
  /// Any call but apply, metrics and ready. A connection that broke or a node that does not answer within the timeout gives
  /// the code `unreachable`; the client is then of no more use.
  virtual actors::admin_reply call(const actors::admin_call& what) = 0;
  virtual actors::admin_reply apply(const std::vector<config::spec_file>& files) = 0;
};

} // namespace millrace::runtime::admin
