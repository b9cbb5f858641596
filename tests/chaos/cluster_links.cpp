// A cluster whose network fails: hosts cut off, one direction lost, connections that are slow or reset.

#include "tests/chaos/cluster_world.hpp"

#include <poll.h>

#include <iostream>

namespace millrace::testing {

using way = host_network::way;

BOOST_AUTO_TEST_SUITE(cluster)

BOOST_AUTO_TEST_CASE(a_leader_without_peers_and_etcd_gives_way_though_it_reaches_the_databases) {
  cluster_case c("leader cut off", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto old = c.leader();
  c.fault("leader " + test_cluster::name(old) + " without peers and etcd", [&] {
    c.cluster().cut_peers(old);
    c.cluster().cut_etcd(old);
  });
  BOOST_TEST(c.cluster().leader(cluster_load::pipeline, old) != old);
  c.fault("healed", [&] { c.cluster().network().heal(old); });
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_leader_whose_host_is_unplugged_gives_way) {
  cluster_case c("leader unplugged", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto old = c.leader();
  c.fault("leader " + test_cluster::name(old) + " unplugged", [&] { c.cluster().unplug(old); });
  c.fault("plugged in", [&] { c.cluster().network().heal(old); });
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_follower_without_peers_and_etcd_does_not_stop_the_flow_for_longer_than_its_lease) {
  cluster_case c("follower cut off", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto victim = c.follower();
  c.fault("follower " + test_cluster::name(victim) + " without peers and etcd", [&] {
    c.cluster().cut_peers(victim);
    c.cluster().cut_etcd(victim);
  });
  c.finish();
}

BOOST_AUTO_TEST_CASE(packets_lost_in_one_direction) {
  cluster_case c("one way", cluster_case::needs::cuts);
  if (!c.runs()) return;
  for (const auto which : {way::in, way::out}) {
    const auto old = c.leader();
    c.fault("leader " + test_cluster::name(old) + (which == way::in ? " hears nothing" : " is not heard"), [&] {
      c.cluster().cut_peers(old, which);
      c.cluster().cut_etcd(old, which);
    });
    c.cluster().network().heal(old);
    c.cluster().await_in_sync(cluster_load::pipeline);
  }
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_leader_that_reaches_etcd_but_no_peer_gives_way) {
  cluster_case c("leader without peers", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto old = c.leader();
  c.fault("leader " + test_cluster::name(old) + " without peers", [&] { c.cluster().cut_peers(old); });
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_leader_that_hears_its_followers_and_is_not_heard_gives_way) {
  cluster_case c("leader not heard", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto old = c.leader();
  c.fault("leader " + test_cluster::name(old) + " is not heard by its peers", [&] { c.cluster().cut_links_out(old); });
  c.finish();
}

BOOST_AUTO_TEST_CASE(a_follower_that_reaches_etcd_but_no_peer_leaves_the_in_sync_set) {
  cluster_case c("follower without peers", cluster_case::needs::cuts);
  if (!c.runs()) return;
  const auto victim = c.follower();
  c.fault("follower " + test_cluster::name(victim) + " without peers", [&] { c.cluster().cut_peers(victim); });
  c.finish();
}

BOOST_AUTO_TEST_CASE(links_that_are_slow_and_reset_in_the_middle_of_a_frame_lose_nothing) {
  cluster_case c("bad links");
  auto& cluster = c.cluster();
  const auto resets = [&] {
    std::uint64_t n = 0;
    for (int i = 0; i < cluster.size(); ++i) n += cluster.proxy(i).resets();
    return n;
  };
  const auto reset_often = [&](std::uint64_t within) {
    for (int i = 0; i < cluster.size(); ++i) cluster.proxy(i).reset_within(within); // of connections made from now on
    for (int i = 0; i < cluster.size(); ++i) cluster.proxy(i).reset_all();
  };
  const auto reset_again = [&](std::uint64_t times) {
    const auto before = resets();
    eventually(
        "links are reset in the middle of frames", [&] { return resets() > before + times; }, seconds{60},
        [&] { return std::to_string(resets() - before) + " resets"; });
  };
  for (int i = 0; i < cluster.size(); ++i) cluster.proxy(i).delay(static_cast<int>(c.random()() % 40));
  // They still carry more than the load writes: what is late is late because of the nodes.
  for (std::uint64_t round = 0; round < cluster_rounds(3); ++round) c.fault("all links reset", [&] { reset_often(500000); });
  reset_again(20);
  c.fault("after " + std::to_string(resets()) + " resets", [] {});
  // And here less: the flow falls behind for as long as this lasts, and loses nothing.
  reset_often(200000);
  reset_again(20);
  c.finish();
}

BOOST_AUTO_TEST_CASE(an_answer_whose_link_breaks_comes_over_the_next_one) {
  cluster_case c("answers");
  auto& cluster = c.cluster();
  const auto asker = c.follower();
  auto& back = cluster.proxy(asker); // what is asked goes through the leader's, what is answered through this one
  back.delay(30);
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> asked{0}, answered{0};
  std::atomic<std::int64_t> longest_ms{0};
  {
    std::vector<std::jthread> operators;
    for (int i = 0; i < 4; ++i)
      operators.emplace_back([&] {
        while (!stop) {
          const auto since = test_clock::now();
          // An error at once is an answer as well: the question's own link may break too.
          const auto said =
              cluster.node(asker).cli({"dead-letters", "list", cluster_load::pipeline, "--limit", "1"}, seconds{90});
          const auto took = std::chrono::duration_cast<milliseconds>(test_clock::now() - since).count();
          ++asked, answered += said.status == 0;
          for (auto longest = longest_ms.load(); took > longest && !longest_ms.compare_exchange_weak(longest, took);) {
          }
        }
      });
    const auto before = back.resets();
    for (const auto until = test_clock::now() + seconds{8}; test_clock::now() < until;) {
      ::poll(nullptr, 0, 500 + static_cast<int>(c.random()() % 200));
      back.reset_all();
    }
    stop = true;
    back.delay(0);
    BOOST_TEST(back.resets() > before);
  }
  std::cerr << "answers: " << asked << " questions, " << answered << " answered, the longest after " << longest_ms << " ms\n";
  BOOST_TEST(answered > 0u);
  BOOST_TEST(longest_ms < 20000);
  c.finish();
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
