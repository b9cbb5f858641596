#pragma once
// The admin RPC on a Unix socket: Cap'n Proto on KJ's loop, on a thread of its own.

#include "actors/node.hpp"
#include "runtime/config/spec_parser.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace millrace::runtime::admin {

struct admin_server_options {
  std::string socket;                        ///< path of the socket file, at most 107 bytes
  config::spec_options specs;                ///< how applied specs are read
  unsigned connections_max = 64;             ///< further ones are closed at once
  std::size_t message_bytes_max = 16u << 20; ///< of one request; also how much one connection may have under way
  std::chrono::milliseconds idle{600'000};   ///< a connection without bytes and without a call under way ends after it
  actors::log_sink log;
};

/// Owner: the main thread; `node` must outlive it. The socket file is removed at the end.
class admin_server {
public:
  virtual ~admin_server() = default;
  /// Errors: refused, with the socket's path and the reason.
  static actors::result<std::unique_ptr<admin_server>> start(actors::node& node, const admin_server_options& options);
};

} // namespace millrace::runtime::admin
