#pragma once
// The transport between nodes: one ROUTER that peers connect to, one DEALER to each peer, CURVE, on one thread.
//
//   any thread ── send() ──> link_sender of the peer (under a lock) ──┐
//                                                                     ├─ the link's thread ── DEALER ═══ TCP, CURVE ═══> the
//                                                                     peer's ROUTER
//   handlers, done <──────── link_receiver <── ROUTER <───────────────┘
//
// Each direction between two nodes is a link of its own, with its own connection, session and sequence numbers.

#include "actors/cluster/transport.hpp"
#include "runtime/link/link_counters.hpp"
#include "runtime/link/link_options.hpp"
#include "storage/result.hpp"

#include <memory>
#include <string>

namespace millrace::runtime::link {

/// Thread safe. Handlers and `done` run on the link's thread; they may call send(), and must not call stop().
/// After stop() a send fails at once, on the caller's thread.
class node_link final : public actors::cluster::transport {
public:
  explicit node_link(link_options o);
  ~node_link() override; ///< stop()

  /// Listens and starts the thread. Call receive() before. Errors, for the operator: invalid (options, key file or its mode,
  /// lines of the peers file); io_failed (files, or the address cannot be listened on).
  storage::result<void> start();
  /// Says goodbye, fails what is unacknowledged, joins. Idempotent.
  void stop();

  /// Connects to `node` at "HOST:PORT", and again until remove_peer(); another address replaces the one before. A node without a
  /// line in the peers file is dialled when it gets one. Errors: invalid for an address or for this node itself.
  storage::result<void> set_peer(const std::string& node, const std::string& address);
  /// What is unacknowledged fails. What the node sends to us is still taken: only the peers file shuts it out.
  void remove_peer(const std::string& node);

  void send(const std::string& node, actors::cluster::frame f, std::function<void(outcome)> done) override;
  std::size_t credit(const std::string& node) const override;
  void receive(actors::cluster::channel c, handler on_frame) override;
  /// Those of set_peer(), and those that only send to us (without an address).
  std::vector<actors::cluster::peer_status> peers() const override;

  link_counters counters() const;
  /// "IP:PORT" as it is listened on, with the port that was taken.
  std::string address() const;

private:
  class impl;
  std::unique_ptr<impl> impl_;
};

} // namespace millrace::runtime::link
