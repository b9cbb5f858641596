#include "actors/dead_letter/alert_grouping.hpp"

#include <algorithm>
#include <boost/test/unit_test.hpp>

using namespace millrace;
using namespace millrace::actors::dead_letter;
using namespace std::chrono_literals;

namespace {
const alert_grouping::time_point start{1h};
alert failed(std::uint64_t count = 1, std::string reason = "parse", std::int64_t at = 1, std::string sample = "{}",
             std::string load = "warehouse") {
  const storage::timestamp when{std::chrono::microseconds(at)};
  return {"orders", std::move(load), std::move(reason), count, when, when, std::move(sample)};
}
} // namespace

BOOST_AUTO_TEST_SUITE(alert_grouping_)

BOOST_AUTO_TEST_CASE(a_thousand_failures_of_one_cause_are_one_alert_with_a_count_and_the_first_sample) {
  alert_grouping g({5s, 1h});
  for (int n = 0; n < 1000; ++n)
    g.add(failed(1, "parse", 100 + n, "{\"n\":" + std::to_string(n) + "}"), start + std::chrono::milliseconds(n));
  BOOST_TEST(g.due(start + 4999ms).empty());
  BOOST_TEST((g.next_due() == start + 5s));
  const auto out = g.due(start + 5s);
  BOOST_REQUIRE_EQUAL(out.size(), 1u);
  BOOST_TEST(out[0].count == 1000u);
  BOOST_TEST(out[0].sample == "{\"n\":0}");
  BOOST_TEST(out[0].first_time.time_since_epoch().count() == 100);
  BOOST_TEST(out[0].last_time.time_since_epoch().count() == 1099);
  BOOST_TEST(g.due(start + 2h).empty());
}

BOOST_AUTO_TEST_CASE(further_failures_wait_for_the_repeat_and_only_they_are_counted) {
  alert_grouping g({5s, 1h});
  g.add(failed(3), start);
  BOOST_REQUIRE_EQUAL(g.due(start + 5s).size(), 1u);
  g.add(failed(7), start + 6s);
  BOOST_TEST(g.due(start + 59min).empty());
  const auto out = g.due(start + 5s + 1h);
  BOOST_REQUIRE_EQUAL(out.size(), 1u);
  BOOST_TEST(out[0].count == 7u);
}

BOOST_AUTO_TEST_CASE(a_cause_that_rested_for_a_repeat_is_new_again) {
  alert_grouping g({5s, 1h});
  g.add(failed(), start);
  BOOST_REQUIRE_EQUAL(g.due(start + 5s).size(), 1u);
  g.add(failed(), start + 3h);
  BOOST_TEST(g.due(start + 3h).empty());
  BOOST_TEST(g.due(start + 3h + 5s).size() == 1u);
}

BOOST_AUTO_TEST_CASE(causes_and_loads_are_told_apart) {
  alert_grouping g({5s, 1h});
  g.add(failed(1, "parse"), start);
  g.add(failed(1, "schema"), start);
  g.add(failed(1, "parse", 1, "{}", "mart"), start);
  g.add(failed(0, "type"), start);
  BOOST_TEST(g.due(start + 5s).size() == 3u);
}

BOOST_AUTO_TEST_CASE(an_alert_that_is_given_back_is_counted_again_with_what_came_since) {
  alert_grouping g({5s, 1h});
  g.add(failed(10, "parse", 5, "\"old\""), start);
  auto out = g.due(start + 5s);
  BOOST_REQUIRE_EQUAL(out.size(), 1u);
  g.add(failed(2, "parse", 9, "\"new\""), start + 6s);
  g.give_back(out[0], start + 20s);
  BOOST_TEST(g.due(start + 19s).empty());
  out = g.due(start + 20s);
  BOOST_REQUIRE_EQUAL(out.size(), 1u);
  BOOST_TEST(out[0].count == 12u);
  BOOST_TEST(out[0].sample == "\"old\"");
}

BOOST_AUTO_TEST_CASE(the_number_of_groups_is_bounded_and_no_failure_goes_uncounted) {
  alert_grouping g({5s, 1h, 10});
  std::uint64_t told = 0;
  for (int n = 0; n < 100; ++n) g.add(failed(1, "reason " + std::to_string(n)), start);
  BOOST_TEST(g.groups() <= 11u);
  const auto out = g.due(start + 5s);
  for (const auto& a : out) told += a.count;
  BOOST_TEST(told == 100u);
  BOOST_TEST(
      std::any_of(out.begin(), out.end(), [](const auto& a) { return a.reason == "other" && a.load.empty() && a.count == 90; }));
  g.add(failed(1, "later"), start + 2h); // the old ones are idle by now
  BOOST_TEST(g.due(start + 2h + 5s).front().reason == "later");
}

BOOST_AUTO_TEST_CASE(a_huge_sample_is_left_out_not_the_alert) {
  alert_grouping g({5s, 1h, 10, 100});
  g.add(failed(1, "too_large", 1, std::string(101, 'x')), start);
  const auto out = g.due(start + 5s);
  BOOST_REQUIRE_EQUAL(out.size(), 1u);
  BOOST_TEST(out[0].sample == "");
}

BOOST_AUTO_TEST_SUITE_END()
