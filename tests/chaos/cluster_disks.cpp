// A cluster whose disks fail: emptied, full.

#include "tests/chaos/cluster_world.hpp"

#include <iostream>

namespace millrace::testing {

BOOST_AUTO_TEST_SUITE(cluster)

BOOST_AUTO_TEST_CASE(a_node_whose_disk_was_replaced_is_refilled_and_can_lead) {
  cluster_case c("disk replaced");
  const auto victim = c.leader();
  c.fault("leader " + test_cluster::name(victim) + " and its disk gone", [&] { c.cluster().kill9(victim); });
  c.cluster().wipe(victim);
  c.cluster().launch(victim);
  c.cluster().await_in_sync(cluster_load::pipeline);
  // It holds everything: the two others one after the other, so that it has to take part in both elections.
  for (int i = 0; i < c.cluster().size(); ++i) {
    if (i == victim) continue;
    c.fault("node " + test_cluster::name(i) + " killed", [&] { c.cluster().kill9(i); });
    c.cluster().launch(i);
    c.cluster().await_in_sync(cluster_load::pipeline);
  }
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_node_whose_disk_is_full_comes_back_when_there_is_room) {
  cluster_case c("disk full");
  const auto small = c.cluster().size() - 1;
  if (!c.cluster().small_disk().mounted()) {
    std::cerr << "NOT RUN: disk full: no tmpfs can be mounted here\n";
    return c.finish();
  }
  std::cerr << "disk full: node " << test_cluster::name(small) << (c.leader() == small ? " leads" : " follows") << "\n";
  c.fault("the disk of node " + test_cluster::name(small) + " is full", [&] { c.cluster().small_disk().fill(); });
  c.fault("there is room again", [&] { c.cluster().small_disk().make_room(); });
  c.finish();
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
