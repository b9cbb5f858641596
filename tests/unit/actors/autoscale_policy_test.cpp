#include "actors/supervisor/autoscale_policy.hpp"

#include <boost/test/unit_test.hpp>

#include <vector>

using namespace millrace::actors::supervisor;
using namespace std::chrono_literals;

namespace {
struct trace {
  autoscale_policy policy;
  autoscale_policy::time_point now{};
  explicit trace(autoscale_bounds b) : policy(b) {}
  /// Looks ten times a second for `time` at a constant depth; gives the number of workers wanted at the end.
  std::uint32_t hold(std::chrono::milliseconds time, std::uint64_t depth) {
    for (auto passed = 0ms; passed < time; passed += 100ms) {
      now += 100ms;
      policy.look(now, depth);
    }
    return policy.current().workers;
  }
};
autoscale_bounds bounds(std::uint32_t min, std::uint32_t max, std::uint64_t target = 1000) {
  autoscale_bounds b;
  b.min = min;
  b.max = max;
  b.target_depth = target;
  return b;
}
} // namespace

BOOST_AUTO_TEST_SUITE(autoscale)

BOOST_AUTO_TEST_CASE(goes_up_at_once_as_far_as_the_depth_asks) {
  trace t(bounds(1, 8));
  BOOST_TEST(t.hold(100ms, 900) == 1u);
  BOOST_TEST(t.hold(100ms, 3500) == 4u);
}

BOOST_AUTO_TEST_CASE(depth_at_the_target_is_enough_and_one_more_is_not) {
  trace t(bounds(1, 8));
  BOOST_TEST(t.hold(100ms, 1000) == 1u);
  BOOST_TEST(t.hold(100ms, 1001) == 2u);
}

BOOST_AUTO_TEST_CASE(never_leaves_its_bounds) {
  trace t(bounds(2, 3));
  BOOST_TEST(t.hold(100ms, 0) == 2u);
  BOOST_TEST(t.hold(100ms, 1'000'000) == 3u);
  BOOST_TEST(t.hold(60s, 0) == 2u);
}

BOOST_AUTO_TEST_CASE(goes_down_one_at_a_time_after_a_calm_period) {
  trace t(bounds(1, 8));
  BOOST_TEST(t.hold(100ms, 4000) == 4u);
  BOOST_TEST(t.hold(4900ms, 0) == 4u);
  BOOST_TEST(t.hold(200ms, 0) == 3u);
  BOOST_TEST(t.hold(4800ms, 0) == 3u);
  BOOST_TEST(t.hold(300ms, 0) == 2u);
}

BOOST_AUTO_TEST_CASE(a_flow_in_waves_keeps_its_workers) {
  trace t(bounds(1, 4));
  for (int wave = 0; wave < 20; ++wave) {
    BOOST_TEST(t.hold(200ms, 4000) == 4u);
    BOOST_TEST(t.hold(3s, 0) == 4u);
  }
}

BOOST_AUTO_TEST_CASE(says_what_it_decided_and_why) {
  trace t(bounds(1, 8));
  t.hold(100ms, 2500);
  BOOST_TEST(t.policy.current().why == "depth 2500 passed 1 x 1000: up from 1 to 3");
  t.hold(6s, 0);
  BOOST_TEST(t.policy.current().why.find("down from 3 to 2") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(nonsense_bounds_are_made_sound) {
  trace t(bounds(0, 0, 0));
  BOOST_TEST(t.hold(1s, 100) == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
