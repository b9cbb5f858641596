#pragma once
// The link's thread: all sockets, and what comes through them. Inside of runtime/link only.

#include "runtime/link/incoming_socket.hpp"
#include "runtime/link/link_receiver.hpp"
#include "runtime/link/log_limiter.hpp"
#include "runtime/link/outgoing_socket.hpp"
#include "runtime/link/peer_table.hpp"
#include "runtime/link/peers_file.hpp"
#include "runtime/link/zap_handler.hpp"

#include <atomic>
#include <list>
#include <map>
#include <memory>
#include <string>

namespace millrace::runtime::link {

using handlers = std::map<std::uint8_t, transport::handler>;

/// Built on the caller's thread, so that start() can tell what is wrong; then only the link's thread touches it, until it has
/// joined. Constructor throws zmq::error_t.
class link_loop {
public:
  link_loop(const link_options& o, curve_pair self, peers_file file, peer_keys keys, handlers on_frame, peer_table& table,
            std::uint64_t run, int wake_fd, const std::string& endpoint);
  /// Until stop is set and wake_fd written.
  void run(const std::atomic<bool>& stop);
  const std::string& address() const noexcept { return incoming_.address(); }

private:
  struct dialer {
    std::uint64_t generation = 0;
    std::string endpoint;
    std::unique_ptr<outgoing_socket> socket;
    link_time dial_at;
    milliseconds backoff{0};
  };
  void carry_out(peer_table::work& w, link_time now);
  void dial(const std::string& node, dialer& d, link_time now);
  void hang_up(dialer& d, link_time now);
  void dial_again(const std::string& node, link_time now);
  void listen(const std::string& node, dialer& d, link_time now);
  void poll(link_time until);
  void take_frames(link_time now);
  std::uint64_t take_message(incoming_socket::message& m, link_time now);
  void deliver(const std::string& node, const data& d, std::vector<zmq::message_t>& parts);
  void refuse(const incoming_socket::message& m, const link_receiver::verdict& v, link_time now);
  void write_acks();
  void close_condemned(link_time now);
  void look_at_peers_file(link_time now);
  void use(peer_keys keys, link_time now);
  void complete(std::vector<link_sender::completion>& all);
  link_time next_event(const peer_table::work& w, link_time now) const;

  const link_options& options_;
  curve_pair self_;
  peers_file file_;
  peer_keys keys_;
  handlers handlers_;
  peer_table& table_;
  int wake_fd_;
  log_limiter log_;
  link_receiver receiver_;
  link_counters counters_;
  zmq::context_t context_;
  zap_handler zap_; ///< before any socket that asks it
  incoming_socket incoming_;
  std::map<std::string, dialer> dialers_;
  /// Connections that were told why they end; cut off a moment later, so that the words have left.
  struct condemned {
    std::string connection;
    link_time at;
  };
  std::list<condemned> condemned_;
  link_time reload_at_;
  link_time turn_at_;                ///< when it last began to wait for something to do
  std::optional<link_time> ack_at_;  ///< frames were taken that are not acknowledged yet
  std::uint64_t unacknowledged_ = 0; ///< their bytes, of all peers
  bool readable_ = false;            ///< the ROUTER had more than one turn takes
};

} // namespace millrace::runtime::link
