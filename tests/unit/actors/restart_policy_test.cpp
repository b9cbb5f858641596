#include "actors/supervisor/restart_policy.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::actors::supervisor;
using namespace std::chrono_literals;

BOOST_AUTO_TEST_SUITE(restart)

namespace {
const restart_policy::time_point start{};
}

BOOST_AUTO_TEST_CASE(the_first_restart_is_at_once) {
  restart_policy p;
  BOOST_TEST((p.failed(start, 5, 0.5) == 0ms));
}

BOOST_AUTO_TEST_CASE(fruitless_failures_wait_longer_each_time_with_jitter_below_the_bound) {
  restart_limits limits;
  limits.failures_max = 100;
  restart_policy low(limits), high(limits);
  low.failed(start, 5, 0);
  high.failed(start, 5, 1);
  std::chrono::milliseconds last{-1};
  for (int i = 0; i < 12; ++i) {
    const auto l = low.failed(start + 1ms * i, 5, 0);
    const auto h = high.failed(start + 1ms * i, 5, 1);
    BOOST_REQUIRE(l.has_value());
    BOOST_TEST((*l >= last));
    BOOST_TEST((*h <= limits.delay_max));
    BOOST_TEST((*l * 2 <= *h + 1ms));
    last = *l;
  }
  BOOST_TEST((last == limits.delay_max / 2));
}

BOOST_AUTO_TEST_CASE(too_many_fruitless_failures_in_the_window_give_up) {
  restart_limits limits;
  limits.failures_max = 3;
  restart_policy p(limits);
  for (int i = 0; i < 3; ++i) BOOST_TEST(p.failed(start + 1s * i, 5, 0).has_value());
  BOOST_TEST(!p.failed(start + 3s, 5, 0).has_value());
}

BOOST_AUTO_TEST_CASE(failures_spread_over_more_than_the_window_do_not_give_up) {
  restart_limits limits;
  limits.failures_max = 3;
  limits.window = 10s;
  restart_policy p(limits);
  for (int i = 0; i < 100; ++i) BOOST_TEST((p.failed(start + 11s * i, 5, 0) == 0ms));
}

BOOST_AUTO_TEST_CASE(an_actor_that_makes_progress_is_restarted_at_once_however_often_it_is_killed) {
  restart_policy p;
  for (std::uint64_t i = 0; i < 500; ++i) BOOST_TEST((p.failed(start + 10ms * i, i, 0.9) == 0ms));
}

BOOST_AUTO_TEST_CASE(reset_forgets) {
  restart_limits limits;
  limits.failures_max = 1;
  restart_policy p(limits);
  p.failed(start, 5, 0);
  BOOST_TEST(!p.failed(start, 5, 0).has_value());
  p.reset();
  BOOST_TEST((p.failed(start, 5, 0) == 0ms));
}

BOOST_AUTO_TEST_SUITE_END()
