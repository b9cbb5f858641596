#include "actors/ingest/http/sequence_window.hpp"
#include "ingest_support.hpp"

#include <limits>
#include <set>

using millrace::actors::ingest::http::sequence_window;
using standing = sequence_window::standing;

namespace {
/// The same promises over a plain set of everything ever staged.
struct naive_window {
  std::set<std::uint64_t> staged;
  standing of(std::uint64_t s) const {
    if (staged.empty() || s > *staged.rbegin()) return standing::fresh;
    const auto highest = *staged.rbegin();
    if (highest - s <= sequence_window::reach) return staged.contains(s) ? standing::staged : standing::fresh;
    for (auto n = highest - sequence_window::reach - 1;; --n) {
      if (!staged.contains(n)) return standing::too_old;
      if (n == s) return standing::staged;
    }
  }
  void add(std::uint64_t s) { staged.insert(s); }
};

sequence_window round_trip(const sequence_window& w) {
  const auto bytes = w.encode();
  BOOST_TEST(bytes.size() <= 1300u);
  const auto back = sequence_window::decode(bytes);
  BOOST_REQUIRE(back);
  BOOST_TEST_REQUIRE((*back == w));
  return *back;
}
} // namespace

BOOST_AUTO_TEST_SUITE(a_sequence_window)

BOOST_AUTO_TEST_CASE(knows_what_was_staged_in_any_order) {
  sequence_window w;
  for (const std::uint64_t s : {7u, 3u, 5u}) {
    BOOST_TEST((w.of(s) == standing::fresh));
    w.add(s);
  }
  for (const std::uint64_t s : {3u, 5u, 7u}) BOOST_TEST((w.of(s) == standing::staged));
  for (const std::uint64_t s : {0u, 4u, 6u, 8u}) BOOST_TEST((w.of(s) == standing::fresh));
}

BOOST_AUTO_TEST_CASE(takes_numbers_within_ten_thousand_of_the_highest_and_no_older_unknown_ones) {
  sequence_window w;
  w.add(20'000);
  BOOST_TEST((w.of(10'000) == standing::fresh));
  BOOST_TEST((w.of(9'999) == standing::too_old));
  w.add(10'000);
  BOOST_TEST((w.of(10'000) == standing::staged));
  w.add(20'001);
  BOOST_TEST((w.of(10'000) == standing::staged)); // just below, and the run below reaches it
  w.add(20'002);
  BOOST_TEST((w.of(10'000) == standing::too_old)); // 10,001 is missing between
}

BOOST_AUTO_TEST_CASE(knows_every_repeat_of_a_producer_that_counts_without_gaps_in_a_few_bytes) {
  sequence_window w;
  for (std::uint64_t s = 1; s <= 50'000; ++s) w.add(s);
  BOOST_TEST((w.of(1) == standing::staged));
  BOOST_TEST((w.of(25'000) == standing::staged));
  BOOST_TEST((w.of(0) == standing::too_old));
  BOOST_TEST(w.encode().size() < 12u);
}

BOOST_AUTO_TEST_CASE(works_at_both_ends_of_the_numbers) {
  constexpr auto last = std::numeric_limits<std::uint64_t>::max();
  sequence_window w;
  w.add(0);
  BOOST_TEST((w.of(0) == standing::staged));
  w.add(last);
  BOOST_TEST((w.of(last) == standing::staged));
  BOOST_TEST((w.of(last - 1) == standing::fresh));
  BOOST_TEST((w.of(0) == standing::too_old));
  round_trip(w);
}

BOOST_AUTO_TEST_CASE(refuses_bytes_that_it_did_not_write) {
  for (const char* bad : {"\x01", "\x01\x02", "\x01\x02x", "x", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F\x01r"})
    BOOST_TEST(!sequence_window::decode(bad));
  BOOST_TEST(!sequence_window::decode(std::string_view{"\x05\x00r\xFF\x7F", 5})); // a run longer than the window
  BOOST_TEST(!sequence_window::decode(std::string_view{"\x05\x00"
                                                       "bshort",
                                                       8}));
  BOOST_TEST(sequence_window::decode("")->empty());
}

BOOST_AUTO_TEST_CASE(is_what_a_plain_set_says) {
  std::mt19937_64 random{ingest_test::seed()};
  for (int round = 0; round < 12; ++round) {
    sequence_window w;
    naive_window naive;
    std::uint64_t next = random() % 30'000;
    const auto jump = 1 + random() % (round % 3 == 0 ? 3 : round % 3 == 1 ? 50 : 9000);
    for (int step = 0; step < 3000; ++step) {
      std::uint64_t s = next;
      if (random() % 3 == 0)
        s -= std::min<std::uint64_t>(s, random() % 12'000); // late
      else
        next += random() % 10 == 0 ? 1 + random() % jump : 1;
      BOOST_TEST_REQUIRE((w.of(s) == naive.of(s)));
      if (naive.of(s) != standing::fresh) continue;
      w.add(s);
      naive.add(s);
      if (step % 100 == 0) w = round_trip(w);
    }
    for (int probe = 0; probe < 2000; ++probe) {
      const auto s = random() % (next + 10);
      BOOST_TEST_REQUIRE((w.of(s) == naive.of(s)));
    }
  }
}

BOOST_AUTO_TEST_CASE(merged_with_another_knows_what_both_knew) {
  std::mt19937_64 random{ingest_test::seed()};
  for (int round = 0; round < 40; ++round) {
    sequence_window a, b;
    std::set<std::uint64_t> all;
    const auto base = random() % 40'000;
    for (int i = 0; i < 500; ++i) {
      const auto s = base + random() % (round % 2 ? 25'000 : 2'000);
      auto& side = random() % 2 ? a : b;
      if (side.of(s) != standing::fresh) continue;
      side.add(s);
      all.insert(s);
    }
    auto ab = a, ba = b;
    ab.merge(b);
    ba.merge(a);
    BOOST_TEST_REQUIRE((ab == ba));
    const auto highest = *all.rbegin();
    for (auto s = base; s <= highest; ++s)
      if (highest - s <= sequence_window::reach) BOOST_TEST_REQUIRE(((ab.of(s) == standing::staged) == all.contains(s)));
  }
}

BOOST_AUTO_TEST_SUITE_END()
