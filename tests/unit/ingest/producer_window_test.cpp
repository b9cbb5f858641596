#include "actors/ingest/http/producer_window.hpp"
#include "ingest_support.hpp"

#include <set>

using namespace millrace::actors;
using namespace millrace::actors::ingest::http;
using millrace::storage::state_entry;
using verdict = producer_window::verdict;
using tickets = std::vector<std::uint64_t>;

namespace {
/// The log's part: the newest value of each key, changed in the same write as the changes.
struct state_of_log {
  std::map<std::string, std::string> values;
  void apply(const std::vector<state_entry>& entries) {
    for (const auto& [key, value] : entries) {
      if (value.empty())
        values.erase(key);
      else
        values[key] = value;
    }
  }
  producer_window restart(producer_limits limits = {}) const {
    std::vector<state_entry> all;
    for (const auto& [key, value] : values) all.push_back({key, value});
    producer_window w{limits};
    BOOST_REQUIRE(w.restore(all));
    return w;
  }
};
} // namespace

BOOST_AUTO_TEST_SUITE(pushes_are_staged_once)

BOOST_AUTO_TEST_CASE(a_repeat_after_the_acknowledgement_is_told_restarts_or_not) {
  state_of_log log;
  producer_window w;
  const auto first = w.begin("p", 1, 10);
  BOOST_TEST((first.what == verdict::accepted));
  log.apply(first.state);
  BOOST_TEST(w.acknowledged("p", 1) == tickets{10});
  BOOST_TEST((w.begin("p", 1, 11).what == verdict::repeat));
  BOOST_TEST((w.begin("q", 1, 12).what == verdict::accepted)); // numbers belong to their producer
  auto again = log.restart();
  BOOST_TEST((again.begin("p", 1, 13).what == verdict::repeat));
  BOOST_TEST((again.begin("p", 2, 14).what == verdict::accepted));
}

BOOST_AUTO_TEST_CASE(a_repeat_of_a_push_in_flight_is_answered_with_it) {
  producer_window w;
  w.begin("p", 1, 10);
  BOOST_TEST((w.begin("p", 1, 11).what == verdict::in_flight));
  BOOST_TEST((w.begin("p", 1, 12).what == verdict::in_flight));
  BOOST_TEST(w.in_flight() == 1u);
  BOOST_TEST(w.acknowledged("p", 1) == (tickets{10, 11, 12}));
  BOOST_TEST(w.in_flight() == 0u);
  BOOST_TEST(w.acknowledged("p", 1).empty()); // told twice: nobody left to answer
}

BOOST_AUTO_TEST_CASE(a_failed_push_may_come_again) {
  producer_window w;
  w.begin("p", 1, 10);
  w.begin("p", 1, 11);
  BOOST_TEST(w.failed("p", 1) == (tickets{10, 11}));
  BOOST_TEST(w.producers() == 0u); // and does not count as a producer
  BOOST_TEST((w.begin("p", 1, 12).what == verdict::accepted));
}

BOOST_AUTO_TEST_CASE(of_two_pushes_in_flight_the_one_that_fails_is_not_staged_by_the_other) {
  state_of_log log;
  producer_window w;
  const auto one = w.begin("p", 1, 10), two = w.begin("p", 2, 11);
  w.failed("p", 1);
  log.apply(two.state);
  w.acknowledged("p", 2);
  auto again = log.restart();
  BOOST_TEST((again.begin("p", 2, 12).what == verdict::repeat));
  BOOST_TEST((again.begin("p", 1, 13).what == verdict::accepted));
}

BOOST_AUTO_TEST_CASE(lanes_go_when_they_are_not_needed_any_more) {
  state_of_log log;
  producer_window w;
  for (std::uint64_t s = 1; s <= 5; ++s) log.apply(w.begin("p", s, s).state);
  BOOST_TEST(log.values.size() == 5u);
  for (std::uint64_t s = 1; s <= 5; ++s) w.acknowledged("p", s);
  log.apply(w.begin("p", 6, 6).state);
  w.acknowledged("p", 6);
  BOOST_TEST(log.values.size() == 1u);
  auto again = log.restart();
  for (std::uint64_t s = 1; s <= 6; ++s) BOOST_TEST((again.begin("p", s, 0).what == verdict::repeat));
}

BOOST_AUTO_TEST_CASE(an_older_unknown_number_is_too_old_and_the_message_says_so) {
  producer_window w;
  w.begin("p", 30'000, 1);
  w.acknowledged("p", 30'000);
  const auto late = w.begin("p", 19'999, 2);
  BOOST_TEST((late.what == verdict::too_old));
  BOOST_TEST(late.message == "sequence 19999 is more than 10000 below 30000, the highest of producer p, and not known as staged");
  BOOST_TEST((w.begin("p", 20'000, 3).what == verdict::accepted));
}

BOOST_AUTO_TEST_CASE(everything_is_bounded) {
  producer_limits limits;
  limits.producers_max = 2;
  limits.lanes_max = 2;
  limits.waiting_max = 1;
  limits.producer_bytes_max = 4;
  producer_window w{limits};
  BOOST_TEST((w.begin("", 1, 0).what == verdict::bad_producer));
  BOOST_TEST((w.begin("12345", 1, 0).what == verdict::bad_producer));
  w.begin("a", 1, 1);
  w.begin("a", 2, 2);
  BOOST_TEST((w.begin("a", 3, 3).what == verdict::busy));
  BOOST_TEST((w.begin("a", 1, 4).what == verdict::in_flight));
  BOOST_TEST((w.begin("a", 1, 5).what == verdict::busy));
  w.begin("b", 1, 6);
  const auto third = w.begin("c", 1, 7);
  BOOST_TEST((third.what == verdict::too_many_producers));
  BOOST_TEST(third.message.find("knows 2 producers, the most it may") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(damaged_state_is_a_log_mismatch_that_names_the_key) {
  for (const auto& bad : {state_entry{"push/x/p", "1"}, state_entry{"push/0", "1"}, state_entry{"push/0/p", "\x80"}}) {
    producer_window w;
    const auto r = w.restore(std::vector{bad});
    BOOST_REQUIRE(!r);
    BOOST_TEST(is(r.error(), errc::log_mismatch));
    BOOST_TEST(r.error().message.find(bad.key) != std::string::npos);
  }
  producer_window w;
  BOOST_TEST(bool{w.restore(std::vector{state_entry{"file/1/2", "?"}})}); // not ours
}

BOOST_AUTO_TEST_CASE(a_producers_id_may_hold_any_bytes) {
  state_of_log log;
  producer_window w;
  log.apply(w.begin("a/0/b\n", 4, 1).state);
  w.acknowledged("a/0/b\n", 4);
  BOOST_TEST((log.restart().begin("a/0/b\n", 4, 2).what == verdict::repeat));
}

// The property that all of this is for: whatever fails, crashes and repeats, a number is staged at most once, and what was
// answered with 200 is staged.
BOOST_AUTO_TEST_CASE(whatever_fails_crashes_and_repeats_each_number_is_staged_at_most_once) {
  std::mt19937_64 random{ingest_test::seed()};
  for (int round = 0; round < 20; ++round) {
    struct flight {
      std::string producer;
      std::uint64_t sequence;
      std::vector<state_entry> state;
    };
    state_of_log log;
    auto w = log.restart();
    std::vector<flight> flights;
    std::map<std::string, std::set<std::uint64_t>> staged;
    std::map<std::string, std::uint64_t> next;
    const auto stage = [&](const flight& f) {
      log.apply(f.state);
      BOOST_TEST_REQUIRE(staged[f.producer].insert(f.sequence).second);
    };
    for (int step = 0; step < 1500; ++step) {
      if (random() % 100 == 0) { // crash: each append in flight had come through or not, in any order
        std::shuffle(flights.begin(), flights.end(), random);
        for (const auto& f : flights)
          if (random() % 2) stage(f);
        flights.clear();
        w = log.restart();
      } else if (!flights.empty() && random() % 2) {
        const auto at = flights.begin() + static_cast<std::ptrdiff_t>(random() % flights.size());
        const auto f = *at;
        flights.erase(at);
        if (random() % 4 == 0) {
          BOOST_TEST(!w.failed(f.producer, f.sequence).empty());
        } else {
          stage(f);
          BOOST_TEST(!w.acknowledged(f.producer, f.sequence).empty());
        }
      } else {
        const std::string producer(1, static_cast<char>('a' + random() % 3));
        auto& n = next[producer];
        n += random() % 200 == 0 ? random() % 11'000 : random() % 2;
        const auto sequence = n - std::min<std::uint64_t>(n, random() % 20);
        const bool flies = std::any_of(flights.begin(), flights.end(),
                                       [&](const flight& f) { return f.producer == producer && f.sequence == sequence; });
        auto a = w.begin(producer, sequence, static_cast<std::uint64_t>(step));
        switch (a.what) {
        case verdict::accepted:
          BOOST_TEST_REQUIRE(!flies);
          flights.push_back({producer, sequence, std::move(a.state)});
          break;
        case verdict::in_flight:
          BOOST_TEST_REQUIRE(flies);
          break;
        case verdict::repeat:
          BOOST_TEST_REQUIRE(staged[producer].contains(sequence));
          break;
        case verdict::too_old:
          BOOST_TEST_REQUIRE(*staged[producer].rbegin() - sequence > sequence_window::reach);
          break;
        default:
          break;
        }
      }
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
