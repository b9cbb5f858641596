#include "tests/unit/actors/cluster/cluster_fixture.hpp"

using namespace millrace::actors::cluster;
using namespace millrace::actors::cluster::test;
using millrace::storage::errc;
using millrace::storage::partition_record;

namespace {
struct embedded : millrace::storage::test::store_fixture {
  embedded() { must(try_open()); }
};
struct fixture : embedded, cluster_fixture {
  fixture() : cluster_fixture(store->catalog()) {}
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(controller, fixture)

BOOST_AUTO_TEST_CASE(a_new_pipeline_gets_records_stores_a_first_in_sync_set_and_leaders) {
  for (const char* n : {"a", "b", "c"}) start(n);
  pipeline("orders", "6");
  BOOST_REQUIRE(all_parts(6, whole));
  std::set<std::uint64_t> logs;
  std::map<std::string, int> leads;
  for (const auto& r : parts()) {
    logs.insert(r.log_id.value);
    ++leads[r.leader_node];
    BOOST_TEST(r.min_in_sync == 2u);
    BOOST_TEST(r.epoch.value >= 1u);
  }
  BOOST_TEST(logs.size() == 6u);
  BOOST_TEST(!logs.contains(0));
  BOOST_TEST(!controller().empty());
}

BOOST_AUTO_TEST_CASE(a_partition_begins_without_the_node_that_did_not_make_its_store_in_time) {
  cluster_view view;
  view.pipelines = {{"p", "p-1", 1, pipeline_shape{1, 3, 2, ""}}};
  partition_record r;
  r.log_id = {7};
  r.replicas = {"a", "b", "c"};
  r.min_in_sync = 2;
  r.mod_revision = 9;
  const millrace::storage::partition_name name{"p-1", 0};
  view.parts[name] = r;
  for (const char* n : {"a", "b", "c"}) view.members.push_back({n, true, 1, {}, false, false});
  const auto begun = [&](std::chrono::milliseconds waited) -> std::size_t {
    view_times times;
    times.waited[name] = waited;
    for (const auto& d : decide(view, times, {}, [] { return 1; }).decisions)
      return must(millrace::storage::decode_partition_record("k", *d.writes.at(0).value, 0)).isr.size();
    return 0;
  };
  BOOST_TEST(begun(1h) == 0u);
  view.stores[name]["a"] = {{1, {7}}, 3};
  BOOST_TEST(begun(1h) == 0u); // one is less than min_in_sync
  view.stores[name]["b"] = {{2, {6}}, 4};
  BOOST_TEST(begun(1h) == 0u); // made for another log
  view.stores[name]["b"] = {{2, {7}}, 4};
  BOOST_TEST(begun(0ms) == 0u); // c may be about to come
  BOOST_TEST(begun(1h) == 2u);
  view.stores[name]["c"] = {{3, {7}}, 5};
  BOOST_TEST(begun(0ms) == 3u);
  view.parts[name].isr = {{"a", 1}, {"b", 2}, {"c", 3}};
  BOOST_TEST(begun(1h) == 0u); // nothing to do
  view.stores[name]["b"] = {{22, {7}}, 6};
  BOOST_TEST(begun(1h) == 3u); // its disk was replaced before anything was appended
  view.parts[name].epoch = {1};
  BOOST_TEST(begun(1h) == 0u); // from then on it is the leader's
}

BOOST_AUTO_TEST_CASE(when_the_controller_goes_another_one_takes_over_and_a_deleted_pipelines_records_go) {
  for (const char* n : {"a", "b", "c", "d"}) start(n);
  pipeline("orders", "2");
  pipeline("items", "3");
  BOOST_REQUIRE(all_parts(5, whole));
  const auto first = controller();
  BOOST_REQUIRE(!first.empty());
  nodes.erase(first);
  BOOST_REQUIRE(eventually([&] { return !controller().empty() && controller() != first; }));
  must(catalog.commit({}, {{"pipeline/items", std::nullopt, 0}}));
  BOOST_REQUIRE(all_parts(2, [&](const auto& r) { return r.leader_node != first && !r.leader_node.empty(); }));
  BOOST_REQUIRE(eventually([&] { return must(catalog.list("store/items-1/")).empty(); }));
}

BOOST_AUTO_TEST_CASE(a_drained_node_leads_nothing_until_it_is_undrained) {
  for (const char* n : {"a", "b", "c"}) start(n);
  pipeline("orders", "6");
  BOOST_REQUIRE(all_parts(6, whole));
  must(drain_node(catalog, "b"));
  BOOST_REQUIRE(all_parts(6, [](const auto& r) { return whole(r) && r.leader_node != "b"; }));
  must(undrain_node(catalog, "b"));
  BOOST_REQUIRE(eventually([&] {
    const auto p = parts();
    return std::count_if(p.begin(), p.end(), [](const auto& r) { return r.leader_node == "b"; }) == 2;
  }));
  must_fail(drain_node(catalog, "x"), errc::not_found, {"a, b, c"});
}

BOOST_AUTO_TEST_CASE(a_node_gone_for_good_is_replaced_and_forgotten) {
  for (const char* n : {"a", "b", "c"}) start(n);
  pipeline("orders", "4");
  BOOST_REQUIRE(all_parts(4, whole));
  must_fail(replace_node(catalog, "b", "d"), errc::conflict, {"running"});
  nodes.erase("b");
  BOOST_REQUIRE(eventually([&] { return !must(catalog.get("node/b")); }));
  must_fail(replace_node(catalog, "b", "d"), errc::not_found, {"d"});
  start("d");
  must(nodes["d"]->membership().wait_joined(10s));
  must(replace_node(catalog, "b", "d"));
  BOOST_REQUIRE(all_parts(4, [](const auto& r) { return whole(r) && !r.wants("b") && r.wants("d") && !r.in_sync("b"); }));
  BOOST_REQUIRE(eventually([&] { return !must(catalog.get("host/b")) && !must(catalog.get("leave/b")); }));
}

BOOST_AUTO_TEST_CASE(decommissioning_moves_everything_away_with_copies_never_below_the_minimum) {
  for (const char* n : {"a", "b", "c", "d"}) start(n);
  pipeline("orders", "5");
  BOOST_REQUIRE(all_parts(5, whole));
  must(decommission_node(catalog, "a"));
  BOOST_REQUIRE(all_parts(5, [](const auto& r) {
    BOOST_REQUIRE(r.isr.size() >= 2);
    return whole(r) && !r.wants("a") && !r.in_sync("a");
  }));
  BOOST_TEST(must(catalog.get("host/a")).has_value()); // it is running: it stays known
  nodes.erase("a");
  BOOST_REQUIRE(eventually([&] { return !must(catalog.get("host/a")); }));
}

BOOST_AUTO_TEST_CASE(a_broken_spec_and_a_damaged_record_change_nothing) {
  for (const char* n : {"a", "b", "c"}) start(n);
  pipeline("orders", "2");
  BOOST_REQUIRE(all_parts(2, whole));
  pipeline("orders", "broken");
  must(catalog.commit({}, {{"part/x/0", "garbage", 0}}));
  pipeline("items", "1");
  BOOST_REQUIRE(eventually([&] {
    return std::any_of(nodes.begin(), nodes.end(), [](const auto& n) {
      const auto s = n.second->controller().status();
      return s.active && !s.shortages.empty() && s.shortages[0].find("part/x/0") != std::string::npos;
    });
  }));
  BOOST_TEST(must(catalog.list("part/")).size() == 3u);
  must(catalog.commit({}, {{"part/x/0", std::nullopt, 0}}));
  BOOST_REQUIRE(all_parts(3, whole));
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(membership_suite, fixture)

BOOST_AUTO_TEST_CASE(members_are_seen_with_sessions_and_labels_and_dead_ones_stay_known) {
  start("a", {600ms, 0, "rack-1"});
  start("b", {600ms, 0, "rack-2"});
  const auto session = must(nodes["a"]->membership().wait_joined(10s));
  BOOST_TEST(must(catalog.get("node/a"))->create_revision == session);
  auto& b = nodes["b"]->membership();
  BOOST_REQUIRE(eventually([&] { return b.members().size() == 2 && b.members()[0].alive; }));
  BOOST_TEST(b.members()[0].session == session);
  BOOST_TEST(b.members()[0].record.labels.at("zone") == "rack-1");
  BOOST_TEST(b.members()[0].record.link_address == "a:7072");
  nodes.erase("a"); // gives its lease back
  BOOST_REQUIRE(eventually([&] { return b.members().size() == 2 && !b.members()[0].alive; }));
  BOOST_TEST(b.members()[0].record.labels.at("zone") == "rack-1");
}

BOOST_AUTO_TEST_CASE(a_session_outlives_many_leases_and_a_lost_one_is_followed_by_a_new_one) {
  std::atomic<std::uint64_t> last{0};
  std::atomic<int> begun{0};
  millrace::storage::catalog_mirror mirror(catalog, "");
  membership_options o;
  o.node = "a";
  o.lease = 300ms;
  o.on_session = [&](std::uint64_t s) { last = s, ++begun; };
  millrace::actors::cluster::membership m(catalog, mirror, o);
  const auto first = must(m.wait_joined(10s));
  BOOST_REQUIRE(eventually([&] { return m.status().since_alive < 100ms && must(catalog.revision()) >= first; }));
  const auto lease = m.lease();
  const auto until = std::chrono::steady_clock::now() + 1200ms;
  BOOST_REQUIRE(eventually([&] { return std::chrono::steady_clock::now() > until; }));
  BOOST_TEST(m.session() == first);
  BOOST_TEST(begun == 1);
  must(catalog.revoke(lease)); // as if it had not been kept alive
  BOOST_REQUIRE(eventually([&] { return begun == 2; }));
  BOOST_TEST(last > first);
  BOOST_TEST(must(catalog.get("node/a"))->create_revision == last.load());
  must(catalog.commit({}, {{"node/a", std::nullopt, 0}})); // somebody deletes it
  BOOST_REQUIRE(eventually([&] { return begun == 3; }));
}

BOOST_AUTO_TEST_CASE(a_second_node_of_the_same_id_is_refused_while_the_first_lives) {
  start("a", {300ms, 1, ""});
  const auto session = must(nodes["a"]->membership().wait_joined(10s));
  millrace::storage::catalog_mirror mirror(catalog, "");
  membership_options o;
  o.node = "a";
  o.lease = 300ms;
  o.record.data_id = 2;
  millrace::actors::cluster::membership second(catalog, mirror, o);
  must_fail(second.wait_joined(20s), errc::conflict, {"'a'", "host-a", "a:7072", "node:"});
  BOOST_TEST(must(catalog.get("node/a"))->create_revision == session);
  nodes.erase("a"); // and gets in when it is gone
  BOOST_REQUIRE(eventually([&] { return second.session() > session; }));
}

BOOST_AUTO_TEST_CASE(a_process_on_the_same_data_takes_over_at_once) {
  // What a killed process leaves: a key under a lease that lasts.
  node_record dead;
  dead.process = 1;
  dead.data_id = 77;
  const auto lease = must(catalog.grant_lease(1h));
  const auto old = must(catalog.commit({}, {{"node/a", encode_node_record(dead), lease}}));
  start("a", {600ms, 77, ""});
  BOOST_TEST(must(nodes["a"]->membership().wait_joined(5s)) > old);
}

BOOST_AUTO_TEST_SUITE_END()
