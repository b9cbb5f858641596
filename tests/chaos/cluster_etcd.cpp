// A cluster whose etcd is away: elections and changes of the in-sync set wait for it, what runs goes on.

#include "tests/chaos/cluster_world.hpp"

#include <iostream>

namespace millrace::testing {
namespace {

/// The flow must not have stood still for longer than `limit` while etcd could not be asked for twice the lease.
void expect_flow_without_etcd(cluster_case& c, const std::string& what, const std::function<void()>& act, milliseconds limit) {
  const auto since = test_clock::now();
  act();
  const auto until = since + 2 * c.cluster().lease() + seconds{1};
  eventually("twice the lease has passed", [&] { return test_clock::now() >= until; });
  const auto stall = c.load().longest_stall(since);
  std::cerr << what << ": longest stall " << stall.count() << " ms\n";
  BOOST_TEST(stall.count() <= limit.count(), what << ": the flow stood still for " << stall.count() << " ms\n"
                                                  << c.cluster().logs());
}

} // namespace

BOOST_AUTO_TEST_SUITE(cluster)

BOOST_AUTO_TEST_CASE(the_flow_goes_on_while_all_of_etcd_is_gone_and_after_it_is_back) {
  cluster_case c("etcd gone");
  auto& etcd = c.cluster().etcd();
  expect_flow_without_etcd(
      c, "etcd killed", [&] { etcd.kill9_all(); }, milliseconds{1500});
  c.fault("etcd back", [&] { etcd.start_all(); });
  c.cluster().await_in_sync(cluster_load::pipeline);
  expect_flow_without_etcd(
      c, "etcd frozen",
      [&] {
        for (int i = 0; i < etcd.members(); ++i) etcd.freeze(i);
      },
      milliseconds{1500});
  c.fault("etcd thawed", [&] {
    for (int i = 0; i < etcd.members(); ++i) etcd.thaw(i);
  });
  c.finish();
}

BOOST_AUTO_TEST_CASE(the_leader_of_etcd_is_killed) {
  cluster_case c("etcd's leader killed");
  auto& etcd = c.cluster().etcd();
  const auto victim = etcd.leader();
  expect_flow_without_etcd(
      c, "etcd's leader killed", [&] { etcd.kill9(victim); }, 3 * (c.cluster().lease() + seconds{2}));
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_leader_without_etcd_loses_at_most_one_election) {
  cluster_case c("leader without etcd", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto old = c.leader();
  expect_flow_without_etcd(
      c, "leader " + test_cluster::name(old) + " without etcd", [&] { c.cluster().cut_etcd(old); },
      3 * (c.cluster().lease() + seconds{2}));
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_follower_without_etcd_is_not_missed) {
  cluster_case c("follower without etcd", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto victim = c.follower();
  expect_flow_without_etcd(
      c, "follower " + test_cluster::name(victim) + " without etcd", [&] { c.cluster().cut_etcd(victim); }, milliseconds{1500});
  c.finish();
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
