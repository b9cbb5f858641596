#pragma once
// The DEALER of one session with one peer. Inside of runtime/link only.

#include "runtime/link/curve_keys.hpp"
#include "runtime/link/link_sender.hpp"
#include "runtime/link/link_sockets.hpp"

#include <deque>
#include <functional>
#include <vector>

namespace millrace::runtime::link {

/// One socket a session: closing it is what forgets all that waits for a peer, in libzmq's queues as well. libzmq's own
/// reconnecting only serves until there is a connection; what is sent into a later one would be data without a hello. Owner: the
/// link's thread. Constructor throws zmq::error_t.
class outgoing_socket {
public:
  struct heard {
    bool connected = false;    ///< the handshake is done: say hello
    bool disconnected = false; ///< the connection is gone: drop this object
    std::string reason;
    std::vector<result<link_header>> headers;
  };
  outgoing_socket(zmq::context_t& context, const link_options& o, const curve_pair& self, const std::string& peer_key,
                  const std::string& endpoint);

  void push(std::vector<link_sender::outgoing> frames);
  /// Writes what libzmq takes now; gives the bytes of frames written.
  std::uint64_t flush();
  bool wants_to_write() const noexcept { return !queue_.empty(); }
  heard listen();
  void* handle() noexcept { return socket_.handle(); }
  void* monitor() noexcept { return monitor_.handle(); }

private:
  zmq::socket_t socket_;
  socket_monitor monitor_;                  ///< behind the socket, so that it goes first
  std::deque<link_sender::outgoing> queue_; ///< bounded by the sender's window
};

} // namespace millrace::runtime::link
