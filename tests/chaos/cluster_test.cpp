// A cluster under real faults: processes killed and frozen. Its links, etcd and disks are cluster_*.cpp's.

#include "tests/chaos/cluster_world.hpp"

#include <chrono>
#include <iostream>
#include <map>

namespace millrace::testing {

BOOST_AUTO_TEST_SUITE(cluster)

BOOST_AUTO_TEST_CASE(the_leader_is_killed_and_at_once_its_successor) {
  cluster_case c("leader killed");
  const auto first = c.leader();
  c.fault("leader " + test_cluster::name(first) + " killed", [&] { c.cluster().kill9(first); });
  const auto second = c.cluster().await_leader(cluster_load::pipeline, first);
  c.fault("its successor " + test_cluster::name(second) + " killed, the first one back", [&] {
    c.cluster().launch(first);
    c.cluster().kill9(second);
  });
  c.finish();
}

BOOST_AUTO_TEST_CASE(any_node_is_killed) {
  cluster_case c("any node killed");
  for (std::uint64_t round = 0; round < cluster_rounds(3); ++round) {
    const auto victim = static_cast<int>(c.random()() % 3);
    c.fault("node " + test_cluster::name(victim) + " killed", [&] { c.cluster().kill9(victim); });
    c.cluster().launch(victim);
    c.cluster().await_in_sync(cluster_load::pipeline);
  }
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_leader_that_was_frozen_for_longer_than_its_lease_does_no_harm) {
  cluster_case c("frozen leader");
  const auto old = c.leader();
  c.fault("leader " + test_cluster::name(old) + " frozen", [&] { c.cluster().freeze(old); });
  const auto before = c.cluster().status();
  c.fault("thawed", [&] { c.cluster().thaw(old); });
  c.finish();
}

BOOST_AUTO_TEST_CASE(all_nodes_are_killed_at_once_and_started_again) {
  cluster_case c("all killed");
  c.fault("all nodes killed and started", [&] {
    for (int i = 0; i < c.cluster().size(); ++i) c.cluster().kill9(i);
    for (int i = 0; i < c.cluster().size(); ++i) c.cluster().launch(i);
  });
  c.finish();
}

BOOST_AUTO_TEST_CASE(clocks_jump_and_nothing_else_does) {
  cluster_case c("clocks", cluster_case::needs::clocks);
  if (!c.runs()) return;
  constexpr seconds year{366 * 86400};
  std::map<int, seconds> ahead;
  const auto set = [&](int victim, seconds by) {
    c.fault("clock of " + std::string(victim == c.leader() ? "leader " : "follower ") + test_cluster::name(victim) + " " +
                std::to_string(by.count()) + " s ahead",
            [&] { c.cluster().set_clock(victim, by); });
    ahead[victim] = by;
  };
  set(c.leader(), seconds{40});
  set(c.follower(), seconds{-40});
  set(c.leader(), -year);
  set((c.leader() + 1) % c.cluster().size(), year);
  const auto old = c.leader();
  c.fault("leader " + test_cluster::name(old) + " killed", [&] { c.cluster().kill9(old); });
  c.cluster().launch(old);
  c.cluster().await_in_sync(cluster_load::pipeline);
  // All of them had something to say since: they did live in other years.
  for (const auto& [node, by] : ahead) {
    const auto today = std::chrono::floor<std::chrono::days>(std::chrono::system_clock::now() + by);
    const auto stamp = std::to_string(static_cast<int>(std::chrono::year_month_day{today}.year())) + "-";
    BOOST_TEST(c.cluster().node(node).log().find("\n" + stamp) != std::string::npos, "node " << test_cluster::name(node));
  }
  for (int i = 0; i < c.cluster().size(); ++i) c.cluster().set_clock(i, seconds{0});
  c.finish();
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
