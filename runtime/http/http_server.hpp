#pragma once
// /metrics, /healthz, /readyz and the push source, by kj-http on a loop thread of its own: slow HTTP clients never delay the
// admin RPC.

#include "actors/node.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace millrace::runtime::http {

struct http_server_options {
  std::string listen = "127.0.0.1:7071";       ///< HOST:PORT; port 0 takes a free one
  std::uint64_t body_bytes_max = 64u << 20;    ///< a longer body is answered 413, before it is read where its length is known
  std::uint64_t bodies_bytes_max = 128u << 20; ///< all bodies in memory together; above it 429
  unsigned connections_max = 512;              ///< further ones are closed at once
  std::chrono::milliseconds header_timeout{10'000};
  std::chrono::milliseconds keep_alive{30'000}; ///< between requests of a connection
  std::chrono::milliseconds body_grace{20'000}; ///< a body may be this late behind body_rate
  std::uint64_t body_rate_min = 64u << 10;      ///< bytes a second; slower bodies are answered 408
  std::chrono::milliseconds write_timeout{30'000};
  std::chrono::milliseconds health_timeout{2'000}; ///< the node answers within it or is not well
  actors::log_sink log;
};

/// Owner: the main thread; `node` must outlive it.
class http_server {
public:
  virtual ~http_server() = default;
  /// Errors: refused, with the address and the reason.
  static actors::result<std::unique_ptr<http_server>> start(actors::node& node, const http_server_options& options);
  virtual std::uint16_t port() const = 0;
};

} // namespace millrace::runtime::http
