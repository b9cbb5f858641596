// Membership and controller on a real etcd: what the embedded catalog cannot show.
#include "tests/etcd/etcd_fixture.hpp"
#include "tests/unit/actors/cluster/cluster_fixture.hpp"

using namespace millrace::actors::cluster;
using namespace millrace::actors::cluster::test;
using millrace::storage::test::options_for;
using millrace::testing::etcd_server;

BOOST_AUTO_TEST_SUITE(cluster_on_etcd)

BOOST_AUTO_TEST_CASE(nodes_come_back_after_etcd_was_away_for_longer_than_a_lease) {
  etcd_server server;
  auto o = options_for(server);
  o.request_timeout = 500ms;
  const auto c = must(millrace::storage::etcd_catalog::open(o));
  cluster_fixture f(*c);
  for (const char* n : {"a", "b", "c"}) f.start(n, {2s, 0, ""});
  f.pipeline("orders", "4");
  BOOST_REQUIRE(f.all_parts(4, cluster_fixture::whole));
  const auto session = f.nodes["a"]->membership().session();
  server.kill9(0);
  BOOST_REQUIRE(eventually([&] {
    return f.nodes["a"]->membership().status().state == membership_status::state::unreachable &&
           f.nodes["a"]->membership().status().since_alive > 2500ms;
  }));
  BOOST_TEST(f.nodes["a"]->membership().session() == session); // it goes on with what it leads
  server.start(0);
  BOOST_REQUIRE(eventually([&] { return f.nodes["a"]->membership().status().state == membership_status::state::member; }));
  BOOST_REQUIRE(f.all_parts(4, [&](const auto& r) { // led by sessions that are alive
    const auto leader = must(c->get("node/" + r.leader_node));
    return cluster_fixture::whole(r) && leader && leader->create_revision == r.leader_session;
  }));
  server.freeze(0); // its leases all expire when it wakes up
  BOOST_REQUIRE(eventually([&] { return f.nodes["a"]->membership().status().since_alive > 3s; }));
  server.thaw(0);
  BOOST_REQUIRE(f.all_parts(4, [&](const auto& r) {
    const auto leader = c->get("node/" + r.leader_node);
    return cluster_fixture::whole(r) && leader && leader.value() && leader.value()->create_revision == r.leader_session;
  }));
}

BOOST_AUTO_TEST_SUITE_END()
