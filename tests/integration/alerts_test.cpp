// Alerts: grouped, retried, with a sample.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {
namespace {

std::string spec(const std::string& url, const std::string& wait) {
  return "pipeline: p\nsource: { type: file, path: in.ndjson, follow: true }\nloads:\n  - { name: l, destination: { type: "
         "sqlite, path: out.db, table: t }, key: [id], "
         "schema: { id: { type: int64, required: true }, qty: { type: int64 } } }\nalerts:\n  - { type: webhook, url: \"" +
         url + "\", group_wait: " + wait + ", repeat: 1h }\n";
}
std::string bad(int first, int end) {
  std::string text;
  for (int i = first; i < end; ++i) text += R"({"id":)" + std::to_string(i) + ",\"qty\":\"x\"}\n";
  return text;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(alerts, running_node)

BOOST_AUTO_TEST_CASE(a_thousand_failures_of_one_cause_are_one_alert_with_a_count_and_a_sample) {
  webhook_server hook;
  write_file(path("in.ndjson"), bad(0, 1000) + "{oops\n");
  node.apply("p", spec(hook.url(), "2s"));
  eventually(
      "two causes, two alerts", [&] { return hook.bodies().size() >= 2; }, seconds{30}, [&] { return node.log(); });
  std::map<std::string, json> by_reason;
  for (const auto& body : hook.bodies()) by_reason[json::parse(body).at("reason").get<std::string>()] = json::parse(body);
  BOOST_TEST(hook.bodies().size() == 2u);
  BOOST_TEST(by_reason.size() == 2u);
  const auto& alert = by_reason["type"];
  for (const auto* key : {"pipeline", "load", "reason", "count", "first_time", "last_time", "sample", "node"})
    BOOST_TEST(alert.contains(key), "an alert has no `" << key << "`: " << alert.dump());
  BOOST_TEST(alert.at("count") == 1000);
  BOOST_TEST(alert.at("pipeline") == "p");
  BOOST_TEST(alert.at("node") == "t");
  BOOST_TEST(alert.at("sample").at("payload").get<std::string>().find("\"qty\":\"x\"") != std::string::npos);
  BOOST_TEST(by_reason["parse"].at("count") == 1);
}

BOOST_AUTO_TEST_CASE(an_alert_that_is_refused_comes_again_until_it_is_taken) {
  webhook_server hook;
  hook.answer_with(503);
  write_file(path("in.ndjson"), bad(0, 3));
  node.apply("p", spec(hook.url(), "100ms"));
  eventually("it is tried at least twice", [&] { return hook.requests() >= 2; });
  BOOST_TEST(hook.bodies().size() == 0u);
  hook.answer_with(200);
  eventually("it is taken", [&] { return !hook.bodies().empty(); });
  BOOST_TEST(json::parse(hook.bodies().front()).at("count") == 3);
}

BOOST_AUTO_TEST_CASE(an_unreachable_webhook_does_not_hold_the_pipeline_up) {
  write_file(path("in.ndjson"), bad(0, 10) + "{\"id\":100,\"qty\":1}\n");
  node.apply("p", spec("http://127.0.0.1:9/nobody", "100ms"));
  node.until("p", "it is through", [](const json& s) { return s.at("ingested") == 11; });
  node.caught_up("p");
  BOOST_TEST(node.load("p", "l").at("delivered") == 1);
  eventually("the log says so", [&] { return node.log().find("127.0.0.1:9") != std::string::npos; });
  BOOST_TEST(node.terminate().first == 0);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
