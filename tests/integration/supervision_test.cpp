// The supervision tree: what is killed comes back, and says that it did. The many kills are in tests/chaos.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {
namespace {

struct tree_node : running_node {
  json of_role(const std::string& role) {
    json found = json::array();
    for (const auto& actor : node.ask({"actors", "p"}))
      if (actor.at("role") == role) found.push_back(actor);
    return found;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(supervision, tree_node)

BOOST_AUTO_TEST_CASE(each_killed_actor_comes_back_and_nothing_is_lost_or_doubled) {
  order_stream orders({.seed = test_seed(), .keys = 300, .poison = 0.01});
  write_file(path("orders.ndjson"), orders.next(1000));
  sqlite_file(path("out.db")).execute(order_table());
  node.apply("p", order_spec("p", "orders.ndjson", "out.db", true));
  node.until("p", "it flows", [](const json& s) { return s.at("ingested") == 1000; });
  std::set<std::string> roles;
  for (const auto& actor : node.ask({"actors", "p"})) {
    for (const auto* key : {"id", "role", "pipeline", "load", "state", "node", "mailbox_depth", "restarts", "last_error"})
      BOOST_TEST(actor.contains(key), "an actor has no `" << key << "`: " << actor.dump());
    roles.insert(actor.at("role").get<std::string>());
  }
  BOOST_TEST(roles.size() >= 5u); // ingest, stage, dispatcher, worker, writer at least
  std::uint64_t total = 1000;
  for (const auto& role : roles) {
    const auto victims = of_role(role);
    BOOST_TEST_REQUIRE(!victims.empty(), "no " << role << " any more");
    const auto id = victims[0].at("id").is_string() ? victims[0].at("id").get<std::string>() : victims[0].at("id").dump();
    const auto killed = node.cli({"actors", "kill", id});
    BOOST_TEST(killed.status == 0, role << ": " << killed.err);
    append_file(path("orders.ndjson"), orders.next(500));
    total += 500;
    node.until("p", "it flows again after its " + role + " was killed", [=](const json& s) { return s.at("ingested") == total; });
    node.caught_up("p");
    const auto again = of_role(role);
    BOOST_TEST(!again.empty(), role << " did not come back");
  }
  check_against(orders.expected(), node, "p", path("out.db"));
  BOOST_TEST(node.metric("millrace_actor_restarts_total").has_value());
  BOOST_TEST(node.metric("millrace_recovery_seconds_count").value_or(0) > 0);
}

BOOST_AUTO_TEST_CASE(workers_come_with_depth_and_the_tree_says_why) {
  node.terminate();
  std::string lines;
  for (int i = 0; i < 300000; ++i) lines += R"({"id":)" + std::to_string(i) + "}\n";
  write_file(path("in.ndjson"), lines);
  node.start();
  node.apply("p", "pipeline: p\nsource: { type: file, path: in.ndjson }\nloads:\n  - name: l\n    destination: { type: sqlite, "
                  "path: out.db, table: t }\n"
                  "    mode: append\n    schema: { id: { type: int64 } }\n    workers: { min: 1, max: 3, target_depth: 1000 }\n  "
                  "  transform:\n"
                  "      - lua: \"function transform(c) local x = 0 for i = 1, 300 do x = x + i % 7 end c.id = c.id + x * 0 "
                  "return c end\"\n");
  node.until("p", "a worker more", [](const json& s) { return in(s, "/loads/0/workers") > 1; });
  node.caught_up("p");
  node.until(
      "p", "one worker again after a calm time", [](const json& s) { return in(s, "/loads/0/workers") == 1; }, seconds{120});
  BOOST_TEST(sqlite_file(path("out.db")).value("select count(*), count(distinct id) from t") == "300000|300000");
}

BOOST_AUTO_TEST_CASE(killing_what_does_not_exist_is_refused) {
  BOOST_TEST(node.cli({"actors", "kill", "no-such-actor"}).status == 1);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
