// Finding bad ones by ranges: every good one is in once, every bad one is named, at a bounded cost.

#include "actors/load/bulk/isolation.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <random>
#include <set>
#include <vector>

using namespace millrace::actors::load::bulk;

namespace {
struct outcome {
  std::vector<std::size_t> in, bad;
  std::size_t tried = 0; ///< how many were sent in all
  bool whole = false;
};
outcome run(std::size_t n, const std::set<std::size_t>& bad, bool names_it, std::size_t stop_at = ~std::size_t{0}) {
  outcome out;
  out.whole = apply_isolated(
      n,
      [&](std::size_t first, std::size_t end, std::optional<std::size_t>& hint) {
        BOOST_REQUIRE(first < end);
        BOOST_REQUIRE(end <= n);
        out.tried += end - first;
        if (end > stop_at) return attempt::stop;
        const auto found = bad.lower_bound(first);
        if (found == bad.end() || *found >= end) {
          for (auto i = first; i < end; ++i) out.in.push_back(i);
          return attempt::done;
        }
        if (names_it) hint = *found;
        return attempt::failed;
      },
      [&](std::size_t i) {
        out.bad.push_back(i);
        return true;
      });
  return out;
}
} // namespace

BOOST_AUTO_TEST_SUITE(bulk_isolation)

BOOST_AUTO_TEST_CASE(every_one_is_in_once_in_order_or_rejected) {
  const char* set = std::getenv("MILLRACE_SEED");
  const auto seed = set ? std::strtoull(set, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << seed);
  std::mt19937_64 random(seed);
  for (int round = 0; round < 2000; ++round) {
    const std::size_t n = random() % 300;
    std::set<std::size_t> bad;
    const auto chance = random() % 30 + 1;
    for (std::size_t i = 0; i < n; ++i)
      if (random() % chance == 0) bad.insert(i);
    const auto out = run(n, bad, round % 2);
    BOOST_REQUIRE(out.whole);
    BOOST_REQUIRE_EQUAL(out.in.size() + bad.size(), n);
    BOOST_REQUIRE(std::is_sorted(out.in.begin(), out.in.end()));
    BOOST_REQUIRE(std::vector<std::size_t>(bad.begin(), bad.end()) == out.bad);
  }
}

BOOST_AUTO_TEST_CASE(good_ones_are_not_done_again_one_by_one) {
  const auto one = run(100000, {70000}, false);
  BOOST_TEST(one.tried < 400000u);
  const auto named = run(100000, {70000}, true);
  BOOST_TEST(named.tried < 210000u);
  std::set<std::size_t> many;
  for (std::size_t i = 50; i < 100000; i += 100) many.insert(i);
  BOOST_TEST(run(100000, many, false).tried < 2000000u);
  BOOST_TEST(run(100000, many, true).tried < 800000u);
}

BOOST_AUTO_TEST_CASE(all_bad_and_none_at_all) {
  std::set<std::size_t> all;
  for (std::size_t i = 0; i < 64; ++i) all.insert(i);
  BOOST_TEST(run(64, all, false).bad.size() == 64u);
  BOOST_TEST(run(0, {}, false).whole);
  BOOST_TEST(run(10, {}, false).tried == 10u);
}

BOOST_AUTO_TEST_CASE(trouble_stops) {
  const auto out = run(100, {3}, false, 60);
  BOOST_TEST(!out.whole);
  BOOST_TEST(out.bad.empty());
}

BOOST_AUTO_TEST_SUITE_END()
