#pragma once
// A cluster on 127.0.0.1 for tests of what operators do: an etcd and nodes named a, b, c. Nothing is broken here; tests/chaos
// does.

#include "tests/integration/support/test_node.hpp"
#include "tests/support/etcd_server.hpp"

#include <memory>

namespace millrace::testing {

/// Owner: one test, one thread.
class loopback_cluster {
public:
  /// `advertised`: nodes tell each other where their HTTP servers are, though it is loopback.
  explicit loopback_cluster(int nodes, bool advertised = true);

  /// Starts all nodes and waits until each knows that all are alive and reaches them.
  void start();
  void start(int i);
  test_node& node(int i) { return *nodes_.at(static_cast<std::size_t>(i)); }
  test_node& node(const std::string& name) { return node(name.at(0) - 'a'); }
  static std::string name(int i) { return std::string(1, static_cast<char>('a' + i)); }
  int http_port(int i) const { return ports_.at(static_cast<std::size_t>(i)).http; }

  json status(int at = 0) { return node(at).ask({"cluster", "status"}); }
  /// The pipeline's, the node's row of `cluster status`; empty if there is none.
  json partition(const std::string& pipeline, int at = 0);
  json node_row(const std::string& node, int at = 0);
  /// Waits until all copies are in sync and somebody leads; gives the leader.
  std::string led(const std::string& pipeline, std::size_t copies, seconds limit = seconds{60});
  /// Any node but this one.
  test_node& other_than(const std::string& name) { return node(name == "a" ? "b" : "a"); }
  etcd_server& etcd() noexcept { return etcd_; }
  std::string logs();

private:
  struct ports {
    int http = 0, link = 0;
  };
  temp_dir dir_;
  etcd_server etcd_;
  std::vector<ports> ports_;
  std::vector<std::unique_ptr<test_node>> nodes_;
};

} // namespace millrace::testing
