#pragma once
// Answers libzmq's question "may this key connect?" (ZAP, https://rfc.zeromq.org/spec/27/). Inside of runtime/link only.

#include "runtime/link/peers_file.hpp"

#include <zmq.hpp>

#include <functional>
#include <string>

namespace millrace::runtime::link {

inline constexpr const char* zap_domain = "millrace-link";
/// Property of every message of a connection that we let in: the key it proved to have. With it a revoked key is seen at the next
/// message; the ZAP user id is the node that the key belonged to when it connected.
inline constexpr const char* key_property = "X-Millrace-Key";

/// Owner: the link's thread. Must exist before the first socket with CURVE binds: without a handler libzmq lets everybody in.
class zap_handler {
public:
  /// Called for each key that is refused, with the peer's IP address.
  using refused = std::function<void(const std::string& address, const std::string& why)>;
  /// Throws zmq::error_t.
  zap_handler(zmq::context_t& context, refused on_refused);
  void* handle() noexcept { return socket_.handle(); }
  /// Answers at most a bounded number of questions, so that a storm of connections leaves room for frames.
  void answer(const peer_keys& allowed);

private:
  bool answer_one(const peer_keys& allowed);
  zmq::socket_t socket_;
  refused on_refused_;
};

} // namespace millrace::runtime::link
