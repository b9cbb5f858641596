#pragma once
// The ROUTER that all peers connect to. Inside of runtime/link only.

#include "runtime/link/curve_keys.hpp"
#include "runtime/link/link_header.hpp"
#include "runtime/link/link_sockets.hpp"

#include <deque>
#include <functional>
#include <string>
#include <vector>

namespace millrace::runtime::link {

/// Owner: the link's thread. Constructor throws zmq::error_t (EADDRINUSE, EACCES, ENODEV, ...).
///
/// Routing ids are those that libzmq makes: a peer that restarts gets another one and never waits for its old connection to be
/// found dead, and none can take the place of another by choosing its id. HANDOVER is on for our own use alone, see close().
class incoming_socket {
public:
  struct message {
    std::string connection, node, key; ///< routing id; what ZAP said when it connected
    std::vector<zmq::message_t> parts; ///< the header and what stands behind it
  };
  incoming_socket(zmq::context_t& context, const link_options& o, const curve_pair& self, const std::string& endpoint);

  bool receive(message& into);
  enum class written : std::uint8_t { yes, later, gone };
  written write(const std::string& connection, const link_header& h);
  /// Cuts the connection off: nothing more of it is read, its memory in libzmq is freed, and heartbeats that are no longer
  /// answered end its TCP connection. libzmq 4.3 has no call for this; a socket of our own that takes over the routing id does
  /// it.
  void close(const std::string& connection);
  /// Connections that ended before they were authenticated, since the last call.
  std::uint64_t failed_handshakes();

  const std::string& address() const noexcept { return address_; } ///< "IP:PORT", with the port that was taken
  void* handle() noexcept { return socket_.handle(); }
  void* monitor() noexcept { return monitor_.handle(); }

private:
  zmq::context_t& context_;
  zmq::socket_t socket_;
  socket_monitor monitor_; ///< behind the socket, so that it goes first
  std::string address_, own_endpoint_;
};

} // namespace millrace::runtime::link
