#pragma once
// What runtime gives the actors to reach other nodes. An actor knows a node's id, never an address or a socket.

#include "storage/shared_bytes.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::cluster {

enum class channel : std::uint8_t { replication = 1, admin = 2 };

/// A message to another node. `head` is small (a Cap'n Proto message of the channel's own schema); `parts` are large and shared:
/// they are sent and received without a copy.
struct frame {
  cluster::channel channel = channel::replication;
  std::string head;
  std::vector<storage::shared_bytes> parts;
};

struct peer_status {
  std::string node, address;
  bool connected = false; ///< a hello was exchanged and heartbeats come
  std::uint64_t sent_bytes = 0, received_bytes = 0, unacknowledged_bytes = 0, reconnects = 0;
  std::string last_error;
};

/// Frames of one channel from one node arrive in order, each at most once. A frame is delivered or its sender is told; after a
/// failure it may have arrived or not. Thread safe.
class transport {
public:
  virtual ~transport() = default;
  enum class outcome : std::uint8_t {
    delivered, ///< the peer's handler has taken it
    failed,    ///< the link broke, the peer is unknown, or its window is full and the frame was refused
  };
  /// `done` is called exactly once, on a thread of the transport; it must not block.
  virtual void send(const std::string& node, frame f, std::function<void(outcome)> done) = 0;
  /// Bytes that send() would take for this node now without refusing: its credit. 0 if it is not connected.
  virtual std::size_t credit(const std::string& node) const = 0;
  /// One handler a channel, set before the transport starts; called on a thread of the transport, must not block.
  using handler = std::function<void(const std::string& from, frame f)>;
  virtual void receive(cluster::channel c, handler on_frame) = 0;
  virtual std::vector<peer_status> peers() const = 0;
};

} // namespace millrace::actors::cluster
