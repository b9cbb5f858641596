#pragma once
// Three nodes on hosts of their own (namespaces), etcd and PostgreSQL that all of them reach, and what can be done to them.

#include "tests/integration/support/host_network.hpp"
#include "tests/integration/support/link_proxy.hpp"
#include "tests/integration/support/test_node.hpp"
#include "tests/integration/support/tmpfs.hpp"
#include "tests/support/etcd_server.hpp"
#include "tests/support/postgres_server.hpp"

#include <memory>

namespace millrace::testing {

struct cluster_options {
  int nodes = 3;
  int etcd_members = 1;
  seconds lease{3};
  bool proxies = false;          ///< each node's link is reached through a proxy
  bool clocks = false;           ///< each node has a clock of its own that can be set, except in builds with sanitizers
  std::size_t small_disk_mb = 0; ///< not 0: the last node's data lies on a tmpfs of this size
  std::uint64_t seed = 1;
  std::string limits = "disk_reserve: 16MiB";
};

/// Owner: one test, one thread. Where namespaces are not permitted all nodes share 127.0.0.1 and network().available() is false.
class test_cluster {
public:
  explicit test_cluster(cluster_options options);
  ~test_cluster();

  /// Starts all nodes and waits until they know each other.
  void start();
  int size() const { return static_cast<int>(nodes_.size()); }
  test_node& node(int i) { return *nodes_[static_cast<std::size_t>(i)]; }
  static std::string name(int i) { return std::string(1, static_cast<char>('a' + i)); }
  host_network& network() noexcept { return network_; }
  etcd_server& etcd() noexcept { return etcd_; }
  postgres_server& postgres() noexcept { return postgres_; }
  link_proxy& proxy(int i) { return *proxies_[static_cast<std::size_t>(i)]; }
  tmpfs& small_disk() { return *small_disk_; }
  seconds lease() const noexcept { return options_.lease; }

  void kill9(int i);
  void freeze(int i);
  void thaw(int i);
  void launch(int i);
  /// Without its process: its data is gone.
  void wipe(int i);
  void cut_peers(int i, host_network::way way = host_network::way::both);
  /// Its own connections only: it still hears what the others send, and its answers are lost. Needs proxies.
  void cut_links_out(int i);
  void cut_etcd(int i, host_network::way way = host_network::way::both);
  void unplug(int i) { network_.unplug(i); }
  bool has_clocks() const;
  /// The node's wall clock is from now on so far from the true time; what only goes on (CLOCK_MONOTONIC) is not touched.
  void set_clock(int i, seconds ahead);
  /// Everything runs and reaches everything again.
  void heal();

  /// `cluster status` of node `i`, or of the first that answers; null if none does within its time.
  json status(int i = -1);
  /// What the first node that answers says: -1 if nobody leads. `except` is not asked.
  int leader(const std::string& pipeline, int except = -1);
  /// Waits for a leader other than `not_this`.
  int await_leader(const std::string& pipeline, int not_this = -1, seconds limit = seconds{30});
  /// Waits until every node says that all are alive and that the pipeline has all replicas in sync.
  void await_in_sync(const std::string& pipeline, seconds limit = seconds{60});
  /// One command at the first node that can do it.
  json ask(const std::vector<std::string>& words, milliseconds limit = seconds{60});
  /// The last lines of all nodes' logs, for a failure.
  std::string logs(std::size_t bytes = 6000);

private:
  std::filesystem::path clock_file(int i) const { return dir_ / ("clock-" + name(i)); }
  bool usable(int i) { return node(i).running() && !frozen_[static_cast<std::size_t>(i)]; }
  std::optional<json> asked(int i, std::vector<std::string> words, milliseconds limit);
  cluster_options options_;
  temp_dir dir_;
  host_network network_;
  etcd_server etcd_;
  postgres_server postgres_;
  std::unique_ptr<tmpfs> small_disk_;
  std::vector<std::unique_ptr<link_proxy>> proxies_;
  std::vector<std::unique_ptr<test_node>> nodes_;
  std::vector<bool> frozen_;
  std::vector<int> link_ports_;
};

} // namespace millrace::testing
