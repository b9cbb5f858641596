// Metrics, health, readiness: they say what is so.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {

BOOST_FIXTURE_TEST_SUITE(health, running_node)

BOOST_AUTO_TEST_CASE(an_idle_node_is_alive_and_ready) {
  BOOST_TEST(http_get(node.http("/healthz")).status == 200);
  eventually("it is ready", [&] { return http_get(node.http("/readyz")).status == 200; });
}

BOOST_AUTO_TEST_CASE(the_metrics_are_the_statuss_numbers) {
  write_file(path("in.ndjson"),
             "{\"id\":1,\"qty\":1}\n{\"id\":2,\"qty\":\"x\"}\n{oops\n{\"id\":3,\"qty\":0}\n{\"id\":4,\"qty\":4}\n");
  node.apply(
      "p",
      "pipeline: p\nsource: { type: file, path: in.ndjson, follow: true }\nloads:\n  - name: l\n    destination: { type: sqlite, "
      "path: out.db, table: t }\n"
      "    key: [id]\n    schema: { id: { type: int64 }, qty: { type: int64 } }\n    transform: [ { where: \"qty > 0\" } ]\n");
  node.until("p", "5 ingested", [](const json& s) { return s.at("ingested") == 5; });
  node.caught_up("p");
  const std::string pipeline = "pipeline=\"p\"";
  BOOST_TEST(node.metric("millrace_ingested_changes_total", pipeline).value_or(-1) == 5);
  BOOST_TEST(node.metric("millrace_delivered_changes_total", pipeline).value_or(-1) == 2);
  BOOST_TEST(node.metric("millrace_dead_letters_open", pipeline).value_or(-1) == 2);
  BOOST_TEST(node.metric("millrace_dead_letters_total", "reason=\"parse\"").value_or(-1) == 1);
  BOOST_TEST(node.metric("millrace_dead_letters_total", "reason=\"type\"").value_or(-1) == 1);
  BOOST_TEST(node.metric("millrace_load_lag_changes", pipeline).value_or(-1) == 0);
  for (const auto* name :
       {"millrace_staged_bytes_total", "millrace_log_next_offset", "millrace_log_high_watermark",
        "millrace_load_committed_offset", "millrace_load_lag_seconds", "millrace_mailbox_depth", "millrace_workers",
        "millrace_source_lag_bytes", "millrace_batch_seconds_count", "process_resident_memory_bytes"})
    BOOST_TEST(node.metric(name).has_value(), "/metrics has no " << name);
  const auto answer = http_get(node.http("/metrics"));
  BOOST_TEST(answer.headers.at("content-type").find("text/plain") != std::string::npos);
  BOOST_TEST(answer.body.find("# TYPE millrace_ingested_changes_total counter") != std::string::npos);
  BOOST_TEST(answer.body.find("# HELP millrace_ingested_changes_total ") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_pipeline_that_cannot_move_makes_the_node_not_ready_and_says_why) {
  eventually("it is ready", [&] { return http_get(node.http("/readyz")).status == 200; });
  write_file(path("in.ndjson"), "{\"id\":1}\n");
  node.apply("p", plain_spec("p", "in.ndjson", "mode: append", true));
  node.until("p", "1 ingested", [](const json& s) { return s.at("ingested") == 1; });
  node.caught_up("p");
  {
    sqlite_file other(path("out.db"));
    other.execute("begin immediate");
    append_file(path("in.ndjson"), "{\"id\":2}\n");
    http_answer answer;
    eventually("it is not ready", [&] { return (answer = http_get(node.http("/readyz"))).status == 503; });
    BOOST_TEST(answer.body.find('p') != std::string::npos, answer.body);
    BOOST_TEST(http_get(node.http("/healthz")).status == 200);
    other.execute("rollback");
  }
  eventually("it is ready again", [&] { return http_get(node.http("/readyz")).status == 200; });
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
