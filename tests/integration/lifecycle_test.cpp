// Start, stop, pause, delete; who may talk to the node.

#include "tests/integration/support/fixture.hpp"

#include <csignal>
#include <sys/stat.h>

namespace millrace::testing {
namespace {

std::string lines(int first, int end) {
  std::string text;
  for (int i = first; i < end; ++i) text += R"({"id":)" + std::to_string(i) + "}\n";
  return text;
}
const std::string appended = "mode: append, schema: { id: { type: int64 } }";

} // namespace

BOOST_FIXTURE_TEST_SUITE(lifecycle, running_node)

BOOST_AUTO_TEST_CASE(sigterm_in_full_flow_drains_and_ends_with_0_in_under_5_seconds) {
  write_file(path("in.ndjson"), lines(0, 400000));
  node.apply("p", plain_spec("p", "in.ndjson", appended));
  const auto flowing = node.until("p", "changes flow", [](const json& s) { return s.at("ingested") > 0; });
  const auto [status, took] = node.terminate();
  BOOST_TEST(status == 0);
  BOOST_TEST(took.count() < 5000);
  node.start();
  BOOST_TEST(node.status("p").at("ingested").get<std::uint64_t>() >= flowing.at("ingested").get<std::uint64_t>());
  node.caught_up("p");
  BOOST_TEST(sqlite_file(path("out.db")).value("select count(*), count(distinct id) from t") == "400000|400000");
}

BOOST_AUTO_TEST_CASE(sigint_ends_it_like_sigterm) {
  node.process().signal(SIGINT);
  BOOST_TEST(node.process().wait_for(seconds{5}).value_or(-1) == 0);
}

BOOST_AUTO_TEST_CASE(what_is_acknowledged_before_sigterm_is_there_afterwards) {
  node.apply(
      "p",
      "pipeline: p\nsource: { type: http }\nloads:\n"
      "  - { name: l, destination: { type: sqlite, path: out.db, table: t }, mode: append, schema: { id: { type: int64 } } }\n");
  eventually("the source takes changes",
             [&] { return http_post(node.http("/v1/pipelines/p/changes"), "{\"id\":0}\n").status == 200; });
  int acknowledged = 1;
  const auto url = node.http("/v1/pipelines/p/changes");
  node.process().signal(SIGTERM);
  while (http_post(url, "{\"id\":" + std::to_string(acknowledged) + "}\n").status == 200) ++acknowledged;
  BOOST_TEST(node.process().wait_for(seconds{5}).value_or(-1) == 0);
  node.start();
  node.caught_up("p");
  const auto rows = sqlite_file(path("out.db")).number("select count(distinct id) from t");
  BOOST_TEST(rows >= acknowledged); // one more may be in whose answer was lost
  BOOST_TEST(rows <= acknowledged + 1);
}

BOOST_AUTO_TEST_CASE(a_paused_pipeline_stands_still_and_stays_paused_over_a_restart) {
  write_file(path("in.ndjson"), lines(0, 100));
  node.apply("p", plain_spec("p", "in.ndjson", appended, true));
  node.until("p", "100 ingested", [](const json& s) { return s.at("ingested") == 100; });
  node.caught_up("p");
  node.must({"pipeline", "pause", "p"});
  node.until("p", "it is paused", [](const json& s) { return s.at("state") == "paused"; });
  append_file(path("in.ndjson"), lines(100, 200));
  node.terminate();
  node.start();
  BOOST_TEST(node.status("p").at("state") == "paused");
  node.apply("q", plain_spec("q", "in.ndjson", appended, true, "other")); // shows that time has passed for a running one
  node.until("q", "200 ingested", [](const json& s) { return s.at("ingested") == 200; });
  BOOST_TEST(node.status("p").at("ingested") == 100);
  node.must({"pipeline", "resume", "p"});
  node.until("p", "200 ingested", [](const json& s) { return s.at("ingested") == 200; });
  node.caught_up("p");
  BOOST_TEST(sqlite_file(path("out.db")).value("select count(*), count(distinct id) from t") == "200|200");
}

BOOST_AUTO_TEST_CASE(after_delete_the_same_name_is_a_new_pipeline_that_delivers_everything) {
  write_file(path("in.ndjson"), lines(0, 1000) + "{oops\n");
  for (int round = 1; round <= 3; ++round) {
    node.apply("p", plain_spec("p", "in.ndjson", appended));
    node.caught_up("p");
    BOOST_TEST(sqlite_file(path("out.db")).number("select count(*) from t") == 1000 * round); // the destination is kept
    BOOST_TEST(node.status("p").at("ingested") == 1001);
    BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 1);
    BOOST_TEST(unaccounted(node, "p") == "");
    node.must({"pipeline", "delete", "p"});
    BOOST_TEST(node.cli({"pipeline", "status", "p"}).status == 1);
    if (round == 2) {
      node.kill9();
      node.start();
      BOOST_TEST(node.ask({"pipeline", "list"}).size() == 0u);
    }
  }
}

BOOST_AUTO_TEST_CASE(pipelines_and_revisions_survive_a_restart) {
  write_file(path("in.ndjson"), lines(0, 10));
  node.apply("p", plain_spec("p", "in.ndjson", appended));
  const auto again = node.must({"pipeline", "apply", "p.yaml"});
  BOOST_TEST(again.find("unchanged") != std::string::npos, again);
  node.apply("p", plain_spec("p", "in.ndjson", appended + ", on_error: { action: halt }"));
  node.caught_up("p");
  const auto before = node.ask({"pipeline", "show", "p"});
  node.kill9();
  node.start();
  BOOST_TEST(node.ask({"pipeline", "show", "p"}) == before);
  BOOST_TEST(node.status("p").at("revision") == 2);
  node.caught_up("p");
  BOOST_TEST(sqlite_file(path("out.db")).number("select count(*) from t") == 10);
}

BOOST_AUTO_TEST_CASE(a_second_node_on_the_same_folder_is_refused_and_harms_nothing) {
  auto second = child::start({.argv = {binary(), "node", "--config", node.config().string()},
                              .env = {},
                              .directory = node.directory(),
                              .output = path("second.log")});
  const auto status = second.wait_for(seconds{20});
  BOOST_TEST_REQUIRE(status.has_value());
  BOOST_TEST(*status != 0);
  BOOST_TEST(read_file(path("second.log")).find(node.data().string()) != std::string::npos, read_file(path("second.log")));
  BOOST_TEST(node.cli({"pipeline", "list"}).status == 0); // its socket is still there
}

BOOST_AUTO_TEST_CASE(a_port_in_use_ends_the_node_with_a_clear_message) {
  write_file(path("in.ndjson"), lines(0, 10));
  node.apply("p", plain_spec("p", "in.ndjson", appended, true));
  node.caught_up("p");
  node.terminate();
  webhook_server taken;
  auto config = read_file(node.config());
  config.replace(config.find("127.0.0.1:0"), 11, "127.0.0.1:" + std::to_string(taken.port()));
  write_file(path("taken.yaml"), config);
  // Many times: the pipeline's actors are anywhere in their start when the node has to end again.
  for (int i = 0; i < 20; ++i) {
    auto second = child::start({.argv = {binary(), "node", "--config", path("taken.yaml")},
                                .env = {},
                                .directory = node.directory(),
                                .output = path("second.log")});
    const auto status = second.wait_for(seconds{20});
    const auto said = read_file(path("second.log"));
    BOOST_TEST_REQUIRE(status.has_value(), "start " << i << " neither runs nor ends: " << said);
    BOOST_TEST_REQUIRE(*status == 1);
    BOOST_TEST_REQUIRE(said.find("http.listen") != std::string::npos, said);
    BOOST_TEST_REQUIRE(said.find("put away") == std::string::npos, said); // it ended by itself, not at its deadline
    BOOST_TEST_REQUIRE(said.find(std::to_string(taken.port())) != std::string::npos, said);
  }
}

BOOST_AUTO_TEST_CASE(only_its_owner_may_use_the_admin_socket) {
  struct stat info {};
  BOOST_TEST_REQUIRE(::stat(node.socket().c_str(), &info) == 0);
  BOOST_TEST((info.st_mode & 0777) == 0600);
}

BOOST_AUTO_TEST_CASE(a_stale_socket_of_a_killed_node_is_taken_over) {
  node.kill9();
  BOOST_TEST(std::filesystem::exists(node.socket()));
  BOOST_TEST(node.cli({"pipeline", "list"}).status == 3);
  node.start();
  BOOST_TEST(node.cli({"pipeline", "list"}).status == 0);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
