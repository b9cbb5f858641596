#pragma once
// What the sockets of a link share: options, monitors, sending a frame without copying its parts. Inside of runtime/link only.

#include "actors/cluster/transport.hpp"
#include "runtime/link/link_options.hpp"

#include <zmq.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace millrace::runtime::link {

/// Heartbeats, timeouts and limits that both ends use. `max_part_bytes`: a larger message part ends the connection before it is
/// read.
void set_common(zmq::socket_t& socket, const link_options& o, std::uint64_t max_part_bytes);

/// libzmq's reports about one socket's connections. Owner: the link's thread.
class socket_monitor {
public:
  struct report {
    std::uint16_t event = 0; ///< ZMQ_EVENT_*
    std::uint32_t value = 0;
  };
  /// Throws zmq::error_t.
  socket_monitor(zmq::context_t& context, zmq::socket_t& socket, int events);
  /// Must come before the monitored socket's: libzmq's I/O thread, and with it every link, blocks for ever in a report that
  /// nobody can read any more, so reports are stopped first.
  ~socket_monitor();
  socket_monitor(const socket_monitor&) = delete;
  socket_monitor& operator=(const socket_monitor&) = delete;
  std::optional<report> next();
  void* handle() noexcept { return socket_.handle(); }

private:
  zmq::socket_t& monitored_;
  zmq::socket_t socket_;
};

/// A message part of these bytes; their memory is libzmq's too until the part is on the wire. Small ones are copied.
zmq::message_t to_part(storage::shared_bytes bytes);
zmq::message_t to_part(std::string bytes);
/// The bytes of a part that came. libzmq allocates each part that it decrypts by itself, so no other memory is held with it.
storage::shared_bytes from_part(zmq::message_t part);

} // namespace millrace::runtime::link
