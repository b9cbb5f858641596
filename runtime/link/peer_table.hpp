#pragma once
// Where any thread and the link's thread meet: the senders of all peers under one lock. Inside of runtime/link only.

#include "actors/cluster/transport.hpp"
#include "runtime/link/link_counters.hpp"
#include "runtime/link/link_options.hpp"
#include "runtime/link/link_sender.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace millrace::runtime::link {

/// Thread safe. The lock is held for bookkeeping only: never while something is encoded, written or called back.
class peer_table {
public:
  /// `wake` makes the link's thread call collect(); any thread.
  peer_table(const link_options& o, std::uint64_t run, std::function<void()> wake);

  // Any thread.
  /// `endpoint` is the address for libzmq.
  void set(const std::string& node, const std::string& address, const std::string& endpoint);
  void remove(const std::string& node);
  void send(const std::string& node, frame f, link_sender::done on_done);
  std::size_t credit(const std::string& node) const;
  std::vector<actors::cluster::peer_status> peers() const;
  link_counters counters() const;

  // The link's thread. A generation is one set(): what concerns an older one is ignored.
  struct change {
    std::string node;
    std::uint64_t generation = 0;
    std::string endpoint; ///< empty: removed
  };
  struct peer_orders {
    std::string node;
    std::uint64_t generation = 0;
    link_sender::orders what;
  };
  struct work {
    std::vector<change> changes; ///< first these
    std::vector<peer_orders> orders;
    std::vector<link_sender::completion> completions;
    std::optional<link_time> deadline; ///< collect() again by then
  };
  work collect(link_time now);
  void connected(const std::string& node, std::uint64_t generation, link_time now);
  void disconnected(const std::string& node, std::uint64_t generation, const std::string& reason);
  bool has_connection(const std::string& node, std::uint64_t generation);
  /// True if the session became ready by it.
  bool heard(const std::string& node, std::uint64_t generation, link_time now, const std::vector<result<link_header>>& headers);
  void wrote(const std::string& node, std::uint64_t generation, std::uint64_t bytes);
  void received(const std::map<std::string, std::uint64_t>& bytes_by_node);
  void publish(const link_counters& counters);
  /// From now on every send fails at once, on its caller's thread. Gives what must complete still.
  std::vector<link_sender::completion> close(const std::string& reason);

private:
  struct peer {
    std::uint64_t generation = 0;
    std::string address;
    link_sender sender;
    std::uint64_t sent_bytes = 0;
  };
  peer* find(const std::string& node, std::uint64_t generation);
  void wake(); ///< with the lock held

  link_identity self_;
  link_sender::timeouts timeouts_;
  std::function<void()> wake_;
  mutable std::mutex lock_;
  std::map<std::string, peer> peers_;
  std::map<std::string, std::uint64_t> received_bytes_; ///< by node
  std::vector<change> changes_;
  std::vector<link_sender::completion> completions_;
  link_counters counters_;
  std::uint64_t generation_ = 0, session_ = 0;
  bool awake_ = false; ///< the link's thread will call collect() anyway
  bool closed_ = false;
};

} // namespace millrace::runtime::link
