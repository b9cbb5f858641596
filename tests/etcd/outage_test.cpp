// etcd that is gone, hangs, has an election, forgets, refuses.
#include "storage/catalog_mirror.hpp"
#include "tests/etcd/etcd_fixture.hpp"
#include "tests/etcd/http_proxy.hpp"
#include "tests/unit/storage/seen_changes.hpp"

using namespace millrace::storage;
using namespace millrace::storage::test;
using namespace std::chrono_literals;
using millrace::testing::etcd_server;
using millrace::testing::http_proxy;

namespace {

using clock_type = std::chrono::steady_clock;
int port_of(const std::string& endpoint) { return std::atoi(endpoint.c_str() + endpoint.rfind(':') + 1); }

/// A commit that is repeated while etcd is away, as callers do it.
std::uint64_t insist(catalog& c, const std::string& key, const std::string& value) {
  for (const auto deadline = clock_type::now() + 30s; clock_type::now() < deadline;) {
    auto done = c.commit({}, {{key, value, 0}});
    if (done) return done.value();
    BOOST_REQUIRE_MESSAGE((done.error().is(errc::unavailable) || done.error().is(errc::unknown_outcome)), done.error().message);
    std::this_thread::sleep_for(20ms);
  }
  BOOST_FAIL("etcd does not come back");
  return 0;
}

} // namespace

BOOST_AUTO_TEST_SUITE(outage)

BOOST_AUTO_TEST_CASE(nobody_there_is_said_at_once_with_every_endpoint_and_it_recovers) {
  etcd_server server;
  auto o = options_for(server);
  o.endpoints.push_back("http://127.0.0.1:1");
  const auto c = must(etcd_catalog::open(o));
  must(c->commit({}, {{"a", "1", 0}}));
  server.kill9_all();
  const auto began = clock_type::now();
  must_fail(c->get("a"), errc::unavailable, {server.endpoint(), "http://127.0.0.1:1"});
  must_fail(c->commit({}, {{"a", "2", 0}}), errc::unavailable, {server.endpoint()});
  must_fail(c->grant_lease(1s), errc::unavailable);
  must_fail(c->keep_alive(1), errc::unavailable);
  BOOST_TEST((clock_type::now() - began < 1s));
  BOOST_TEST(!c->status().reachable);
  server.start_all();
  BOOST_TEST(must(c->get("a"))->value == "1");
  BOOST_TEST(c->status().reachable);
}

BOOST_AUTO_TEST_CASE(a_watch_over_a_restart_misses_nothing) {
  etcd_server server;
  const auto c = must(etcd_catalog::open(options_for(server)));
  seen_changes seen;
  const auto watch = must(c->watch("p/", must(c->revision()), seen.watcher(), {}));
  for (int i = 0; i < 30; ++i) {
    insist(*c, "p/" + std::to_string(i), "");
    if (i % 10 == 5) {
      server.kill9(0);
      server.start(0);
    }
  }
  BOOST_REQUIRE(eventually([&] { return seen.size() >= 30; }));
  std::lock_guard lock(seen.mutex);
  BOOST_REQUIRE_EQUAL(seen.list.size(), 30u);
  for (int i = 0; i < 30; ++i) BOOST_TEST(seen.list[static_cast<std::size_t>(i)] == "p/" + std::to_string(i) + "=");
}

BOOST_AUTO_TEST_CASE(a_cluster_goes_on_when_its_leader_is_killed_or_hangs) {
  etcd_server::options members;
  members.members = 3;
  etcd_server server(members);
  auto o = options_for(server);
  o.request_timeout = 1s;
  const auto c = must(etcd_catalog::open(o));
  seen_changes seen;
  const auto watch = must(c->watch("p/", must(c->revision()), seen.watcher(), {}));
  const auto lease = must(c->grant_lease(20s));
  must(c->commit({}, {{"node/a", "", lease}}));
  int n = 0;
  const auto some = [&] {
    for (int i = 0; i < 10; ++i) insist(*c, "p/" + std::to_string(n++), "");
  };
  some();
  auto leader = server.leader();
  server.kill9(leader);
  some();
  must(c->keep_alive(lease));
  server.start(leader);
  leader = server.leader();
  server.freeze(leader); // it takes connections and never answers
  some();
  BOOST_REQUIRE(eventually([&] { return c->keep_alive(lease).has_value(); }));
  BOOST_REQUIRE(eventually([&] { return seen.size() >= 30; }));
  server.thaw(leader);
  some();
  BOOST_REQUIRE(eventually([&] { return seen.size() >= 40; }));
  std::lock_guard lock(seen.mutex);
  BOOST_REQUIRE_EQUAL(seen.list.size(), 40u);
  for (int i = 0; i < 40; ++i) BOOST_TEST(seen.list[static_cast<std::size_t>(i)] == "p/" + std::to_string(i) + "=");
}

BOOST_AUTO_TEST_CASE(a_member_without_a_majority_is_never_believed) {
  etcd_server::options members;
  members.members = 3;
  etcd_server server(members);
  auto o = options_for(server);
  o.request_timeout = 1s;
  const auto c = must(etcd_catalog::open(o));
  must(c->commit({}, {{"a", "1", 0}}));
  server.freeze(1);
  server.freeze(2);
  const auto read = c->get("a");
  BOOST_REQUIRE(!read);
  BOOST_TEST(read.error().is(errc::unavailable), read.error().message);
  server.thaw(1);
  BOOST_REQUIRE(eventually([&] { return c->get("a").has_value(); }));
  server.thaw(2);
}

BOOST_AUTO_TEST_CASE(a_watch_that_dies_silently_is_noticed) {
  auto& server = shared_etcd();
  http_proxy proxy(port_of(server.endpoint()));
  auto o = options_for(server);
  const auto direct = must(etcd_catalog::open(o));
  o.endpoints = {proxy.endpoint()};
  o.request_timeout = 500ms;
  o.watch_check = 200ms;
  const auto c = must(etcd_catalog::open(o));
  seen_changes seen;
  const auto watch = must(c->watch("p/", must(c->revision()), seen.watcher(), {}));
  must(direct->commit({}, {{"p/0", "", 0}}));
  BOOST_REQUIRE(eventually([&] { return seen.size() == 1; }));
  proxy.go_silent();
  for (int i = 1; i < 20; ++i) must(direct->commit({}, {{"p/" + std::to_string(i), "", 0}}));
  must(direct->commit({}, {{"p/0", std::nullopt, 0}}));
  proxy.speak();
  BOOST_REQUIRE(eventually([&] { return seen.size() == 21; }));
  BOOST_TEST(c->status().watch_restarts > 0u);
}

BOOST_AUTO_TEST_CASE(a_watch_past_which_etcd_compacted_says_so_and_a_mirror_takes_all_in_again) {
  etcd_server server;
  const auto c = must(etcd_catalog::open(options_for(server)));
  must(c->commit({}, {{"p/0", "", 0}}));
  http_proxy proxy(port_of(server.endpoint()));
  auto o = options_for(server);
  o.prefix = "/millrace/compacted";
  const auto direct = must(etcd_catalog::open(o));
  o.endpoints = {proxy.endpoint()};
  o.watch_check = 200ms;
  o.request_timeout = 500ms;
  const auto behind = must(etcd_catalog::open(o));
  const auto old = must(direct->revision());
  std::atomic<int> trimmed{0};
  seen_changes seen;
  const auto watch = must(behind->watch("p/", old, seen.watcher(), [&] { ++trimmed; }));
  catalog_mirror mirror(*behind, "p/");
  must(direct->commit({}, {{"p/a", "1", 0}}));
  BOOST_REQUIRE(eventually([&] { return seen.size() == 1 && mirror.get("p/a"); }));
  proxy.go_silent();
  for (int i = 0; i < 10; ++i) must(direct->commit({}, {{"p/b", std::to_string(i), 0}}));
  const auto created = must(direct->get("p/b"))->create_revision;
  must(direct->commit({}, {{"p/a", std::nullopt, 0}}));
  server.compact();
  proxy.speak();
  BOOST_REQUIRE(eventually([&] { return trimmed == 1; }));
  BOOST_REQUIRE(eventually([&] { return !mirror.get("p/a") && mirror.get("p/b"); }));
  BOOST_TEST(mirror.get("p/b")->value == "9");
  BOOST_TEST(mirror.get("p/b")->create_revision == created);
  must(direct->commit({}, {{"p/c", "", 0}}));
  BOOST_REQUIRE(eventually([&] { return mirror.get("p/c").has_value(); }));
  BOOST_TEST(seen.size() == 1u); // nothing after the gap
  must_fail(direct->watch("p/", old, seen.watcher(), {}), errc::trimmed);
}

BOOST_AUTO_TEST_CASE(another_etcd_in_its_place_is_refused) {
  etcd_server server;
  const auto c = must(etcd_catalog::open(options_for(server)));
  must(c->commit({}, {{"a", "1", 0}}));
  must(c->commit({}, {{"a", "2", 0}}));
  server.kill9(0);
  server.wipe(0);
  server.start(0);
  (void)server.leader();
  // The same configuration gives the same cluster id: only its revision tells.
  must_fail(c->get("a"), errc::corrupt, {"lost"});
  must_fail(c->commit({{"a", 0}}, {{"a", "3", 0}}), errc::corrupt);
}

BOOST_AUTO_TEST_CASE(a_lease_that_ended_while_etcd_was_paused_is_gone) {
  etcd_server server;
  auto o = options_for(server);
  o.request_timeout = 300ms;
  const auto c = must(etcd_catalog::open(o));
  const auto lease = must(c->grant_lease(2s));
  must(c->commit({}, {{"node/a", "", lease}}));
  must(c->keep_alive(lease));
  server.freeze(0);
  for (const auto until = clock_type::now() + 3s; clock_type::now() < until;) {
    const auto kept = c->keep_alive(lease);
    BOOST_REQUIRE(!kept);
    BOOST_TEST(kept.error().is(errc::unavailable), kept.error().message);
  }
  server.thaw(0);
  BOOST_REQUIRE(eventually([&] {
    const auto there = c->get("node/a");
    return there && !there.value();
  }));
  must_fail(c->keep_alive(lease), errc::not_found);
  must_fail(c->revoke(lease), errc::not_found);
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(secured)

BOOST_AUTO_TEST_CASE(tls_and_a_user_whose_token_expires) {
  etcd_server::options guarded;
  guarded.tls = true;
  guarded.password = "secret";
  guarded.token_ttl_seconds = 1;
  guarded.user_prefix = "/millrace/";
  etcd_server server(guarded);
  auto o = options_for(server);
  o.ca = server.ca();
  o.user = "millrace";
  o.password = "secret";
  const auto c = must(etcd_catalog::open(o));
  seen_changes seen;
  const auto watch = must(c->watch("p/", must(c->revision()), seen.watcher(), {}));
  // Two catalogs and no watch in one of them: nothing but its own commits uses its token, which then expires.
  const auto idle = must(etcd_catalog::open(o));
  int n = 0;
  for (int lives = 0; lives < 3; ++lives) {
    must(c->commit({}, {{"p/" + std::to_string(n++), "", 0}}));
    must(idle->commit({}, {{"q", std::to_string(n), 0}}));
    const auto expired = clock_type::now() + 2500ms; // etcd looks every second for tokens to drop
    BOOST_REQUIRE(eventually([&] { return clock_type::now() > expired; }));
  }
  BOOST_REQUIRE(eventually([&] { return seen.size() == static_cast<std::size_t>(n); }));
  server.kill9(0); // tokens are in its memory
  server.start(0);
  BOOST_REQUIRE(eventually([&] { return c->commit({}, {{"p/last", "", 0}}).has_value(); }));
  BOOST_REQUIRE(eventually([&] { return seen.size() >= static_cast<std::size_t>(n) + 1; }));

  auto wrong = o;
  wrong.password = "guess";
  must_fail(must(etcd_catalog::open(wrong))->get("a"), errc::invalid, {"millrace"});
  auto elsewhere = o;
  elsewhere.prefix = "/other";
  must_fail(must(etcd_catalog::open(elsewhere))->get("a"), errc::invalid, {"permission denied"});
  auto stranger = o;
  stranger.ca.clear(); // the system's CAs do not know this one
  must_fail(must(etcd_catalog::open(stranger))->get("a"), errc::unavailable, {server.endpoint()});
}

BOOST_AUTO_TEST_CASE(a_wrong_configuration_is_said_before_anything_is_asked) {
  etcd_options o;
  o.prefix = "/millrace/x";
  must_fail(etcd_catalog::open(o), errc::invalid, {"endpoint"});
  o.endpoints = {"127.0.0.1:2379"};
  must_fail(etcd_catalog::open(o), errc::invalid, {"127.0.0.1:2379", "http://HOST:PORT"});
  o.endpoints = {"https://127.0.0.1:2379"};
  o.ca = "/nowhere/ca.pem";
  must_fail(etcd_catalog::open(o), errc::invalid, {"/nowhere/ca.pem"});
  o.ca.clear();
  o.cert = "/etc/hostname";
  must_fail(etcd_catalog::open(o), errc::invalid, {"both"});
}

BOOST_AUTO_TEST_SUITE_END()
