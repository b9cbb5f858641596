#include "actors/ingest/http/body_splitter.hpp"
#include "ingest_support.hpp"

using namespace millrace::actors::ingest::http;
using namespace ingest_test;
using millrace::storage::envelope;

namespace {
const std::vector<state_entry> some_state{{"push/0/p", "value"}};
}

BOOST_AUTO_TEST_SUITE(a_pushed_body)

BOOST_AUTO_TEST_CASE(of_usual_size_is_one_block_with_its_bytes_untouched) {
  const auto blocks = split_body("\xEF\xBB\xBF{\"a\":1}\r\n\n{\"a\":2}", envelope::debezium, origin_of("p", 7, true), some_state);
  BOOST_REQUIRE_EQUAL(blocks.size(), 1u);
  BOOST_TEST(records(blocks[0]) == (strings{"{\"a\":1}", "{\"a\":2}"}));
  BOOST_TEST(blocks[0].origin == "p/7");
  BOOST_TEST((blocks[0].envelope == envelope::debezium));
  BOOST_TEST((blocks[0].source_state == some_state));
  BOOST_TEST(changes_in(blocks) == 2u);
}

BOOST_AUTO_TEST_CASE(without_records_only_moves_the_state) {
  for (const char* body : {"", "\n\r\n", "\xEF\xBB\xBF"}) {
    const auto named = split_body(body, envelope::none, "p/1", some_state);
    BOOST_REQUIRE_EQUAL(named.size(), 1u);
    BOOST_TEST(named[0].starts.empty());
    BOOST_TEST((named[0].source_state == some_state));
    BOOST_TEST(split_body(body, envelope::none, origin_of("", 0, false), {}).empty());
  }
}

BOOST_AUTO_TEST_CASE(of_any_size_gives_blocks_of_bounded_size_that_together_are_its_records) {
  std::mt19937_64 random{seed()};
  for (int round = 0; round < 500; ++round) {
    std::string body(random() % 2000, ' ');
    for (char& c : body) c = "ab\n\r "[random() % 5];
    const std::size_t limit = 1 + random() % 300;
    const auto blocks = split_body(body, envelope::none, "http", some_state, limit);
    strings all;
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      const auto& b = blocks[i];
      const auto mine = records(b);
      BOOST_TEST((b.payloads.size() <= limit || b.starts.size() == 1));
      BOOST_TEST(body.compare(b.origin_position, b.payloads.size(), b.payloads) == 0);
      BOOST_TEST(b.source_state.empty() == (i + 1 != blocks.size())); // state only with the last: all or nothing
      all.insert(all.end(), mine.begin(), mine.end());
    }
    BOOST_TEST_REQUIRE(all == naive_lines(body, true));
    BOOST_TEST(changes_in(blocks) == all.size());
  }
}

BOOST_AUTO_TEST_SUITE_END()
