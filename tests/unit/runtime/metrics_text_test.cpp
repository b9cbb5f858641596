#include "runtime/http/metrics_text.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::runtime::http;

namespace {
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
} // namespace

BOOST_AUTO_TEST_SUITE(metrics)

BOOST_AUTO_TEST_CASE(samples_of_a_name_become_one_family) {
  auto text = metrics_text(R"([{"name":"m_total","type":"counter","help":"H.","labels":{"a":"1"},"value":3},
    {"name":"g","type":"gauge","help":"","labels":{},"value":9007199254740991},
    {"name":"m_total","type":"counter","help":"H.","labels":{"a":"q\"\\\n"},"value":4}])",
                           {}, 0);
  BOOST_TEST(contains(text, "# TYPE m_total counter\nm_total{a=\"1\"} 3\nm_total{a=\"q\\\"\\\\\\n\"} 4\n"));
  BOOST_TEST(contains(text, "g 9007199254740991\n"));
  BOOST_TEST(contains(text, "millrace_metrics_invalid_samples 0\n"));
}

BOOST_AUTO_TEST_CASE(a_histogram_ends_at_infinity) {
  auto text = metrics_text(
      R"([{"name":"h_seconds","type":"histogram","help":"","labels":{},"buckets":[[0.1,2],[1,5]],"sum":3.5,"count":6}])", {}, 0);
  BOOST_TEST(contains(text, "h_seconds_bucket{le=\"0.1\"} 2"));
  BOOST_TEST(contains(text, "h_seconds_bucket{le=\"+Inf\"} 6"));
  BOOST_TEST(contains(text, "h_seconds_sum 3.5"));
}

BOOST_AUTO_TEST_CASE(bad_samples_are_counted_and_hide_nothing) {
  auto text = metrics_text(
      R"([{"name":"bad name","type":"gauge","value":1},{"name":"x","type":"odd","value":1},{"name":"y","type":"gauge"},
    {"name":"ok","type":"gauge","value":1},{"name":"ok","type":"counter","value":1}])",
      {}, 0);
  BOOST_TEST(contains(text, "ok 1\n"));
  BOOST_TEST(contains(text, "millrace_metrics_invalid_samples 4\n"));
}

BOOST_AUTO_TEST_CASE(the_process_itself_is_in_it) {
  auto text = metrics_text("[]", {{{"/metrics", 200}, 7}}, 3);
  for (const char* name : {"process_resident_memory_bytes ", "process_open_fds ", "process_cpu_seconds_total ",
                           "process_threads ", "process_start_time_seconds "})
    BOOST_TEST(contains(text, name), name);
  BOOST_TEST(contains(text, "millrace_http_requests_total{route=\"/metrics\",status=\"200\"} 7"));
  BOOST_TEST(contains(text, "millrace_http_connections 3"));
}

BOOST_AUTO_TEST_SUITE_END()
