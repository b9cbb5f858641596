#pragma once
// The sending end of a one-way link: window, sequence numbers, acknowledgements, and the promise that each send completes once.

#include "actors/cluster/transport.hpp"
#include "runtime/link/link_session.hpp"

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace millrace::runtime::link {

using actors::cluster::frame;
using actors::cluster::transport;

/// Owner: node_link, which guards it with its lock. Not thread safe. A call only notes what is to be done; take() gives it out.
class link_sender {
public:
  using done = std::function<void(transport::outcome)>;
  struct timeouts {
    milliseconds ack{5000};   ///< without progress while something is unacknowledged
    milliseconds hello{5000}; ///< from connected() to the reply
  };
  struct outgoing {
    link_header header;
    frame body; ///< of data; else empty
  };
  struct completion {
    link_sender::done done;
    transport::outcome outcome = transport::outcome::failed;
  };
  /// What is to be done, in this order: close the connection and forget what waits for it; write `wire`; call `completions`.
  struct orders {
    bool close = false; ///< the session is over; answer with disconnected(), then connected() once there is a new connection
    std::string reason; ///< why, if `close`
    std::vector<outgoing> wire;
    std::vector<completion> completions;
  };

  link_sender(link_identity self, std::string peer, timeouts t);

  /// `session`: larger than that of any hello before it, of this process to this peer.
  void connected(link_time now, std::uint64_t session);
  void disconnected(const std::string& reason);
  void send(link_time now, frame f, link_sender::done on_done);
  /// A header that the peer sent back; `malformed` if it could not be read.
  void received(link_time now, const link_header& h);
  void malformed(const std::string& what);
  /// Ends what has waited too long. Call it at deadline().
  void tick(link_time now);
  std::optional<link_time> deadline() const;

  orders take();
  bool idle() const noexcept { return !orders_.close && orders_.wire.empty() && orders_.completions.empty(); }

  /// A frame of at most this many bytes, and of at most max_frame_bytes, would be taken now.
  std::size_t credit() const noexcept;
  bool has_connection() const noexcept { return state_ != state::apart; } ///< greeted or being greeted
  bool ready() const noexcept { return state_ == state::ready; }
  std::uint64_t session() const noexcept { return session_; }
  std::uint64_t unacknowledged_bytes() const noexcept { return window_used_; }
  std::uint64_t acknowledged_bytes() const noexcept { return acknowledged_bytes_; }
  std::uint64_t delivered() const noexcept { return delivered_; }
  std::uint64_t failed() const noexcept { return failed_; }
  std::uint64_t sessions() const noexcept { return sessions_; } ///< greeted; the first one included
  const std::string& last_error() const noexcept { return last_error_; }

private:
  enum class state : std::uint8_t { apart, greeting, ready };
  struct waiting {
    std::uint64_t cost = 0;
    link_time sent;
    link_sender::done done;
  };
  void refuse(link_sender::done on_done, std::string why);
  void end_session(const std::string& why, bool close);
  void accept(link_time now, const hello_reply& reply);
  void accept(link_time now, const ack& a);

  link_identity self_;
  std::string peer_;
  timeouts timeouts_;
  state state_ = state::apart;
  std::uint64_t session_ = 0;  ///< of the last hello
  std::uint64_t sequence_ = 0; ///< of the last frame of this session
  std::uint64_t window_ = 0;   ///< what both ends agreed to; acks move it
  std::uint64_t window_used_ = 0, max_frame_ = 0;
  std::deque<waiting> unacknowledged_; ///< sequences (sequence_ - size, sequence_]
  link_time progress_;                 ///< of connected() or the last ack that moved
  orders orders_;
  std::uint64_t acknowledged_bytes_ = 0, delivered_ = 0, failed_ = 0, sessions_ = 0;
  std::string last_error_;
};

/// Head and parts.
std::uint64_t bytes_of(const frame& f) noexcept;

} // namespace millrace::runtime::link
