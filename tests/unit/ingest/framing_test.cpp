#include "actors/ingest/framing.hpp"
#include "ingest_support.hpp"

using namespace millrace::actors::ingest;
using namespace ingest_test;

namespace {

struct framed {
  strings records;
  std::size_t used = 0;
};

framed split(payload_format format, std::string_view data, bool at_end) {
  change_block b;
  b.payloads = std::string{data};
  framed f;
  f.used = frame(format, data, byte_order_mark(data), at_end, {b.starts, b.lengths});
  f.records = records(b);
  return f;
}
framed lines(std::string_view data, bool at_end = false) { return split(payload_format::json, data, at_end); }
framed csv(std::string_view data, bool at_end = false) { return split(payload_format::csv, data, at_end); }

} // namespace

BOOST_AUTO_TEST_SUITE(framing)

BOOST_AUTO_TEST_CASE(lines_end_at_lf_and_one_cr_before_it_is_dropped) {
  BOOST_TEST(lines("a\nb\r\nc\r\r\n").records == (strings{"a", "b", "c\r"}));
  BOOST_TEST(lines("a\rb\n").records == strings{"a\rb"});
}

BOOST_AUTO_TEST_CASE(blank_lines_and_a_leading_byte_order_mark_are_not_counted) {
  BOOST_TEST(lines("\xEF\xBB\xBF\n\r\n  \t\na\n\n").records == strings{"a"});
  BOOST_TEST(lines("a\n\xEF\xBB\xBF"
                   "b\n")
                 .records == (strings{"a", "\xEF\xBB\xBF"
                                           "b"})); // only a leading one
}

BOOST_AUTO_TEST_CASE(the_last_line_without_lf_counts_only_at_the_end) {
  BOOST_TEST(lines("a\nbc").records == strings{"a"});
  BOOST_TEST(lines("a\nbc").used == 2u);
  BOOST_TEST(lines("a\nbc", true).records == (strings{"a", "bc"}));
  BOOST_TEST(lines("a\nbc", true).used == 4u);
  BOOST_TEST(lines("a\n  ", true).records == strings{"a"});
  BOOST_TEST(lines("", true).records.empty());
}

BOOST_AUTO_TEST_CASE(trailing_blank_lines_are_used_up) { BOOST_TEST(lines("a\n\n\r\n").used == 5u); }

BOOST_AUTO_TEST_CASE(quoted_csv_cells_hold_line_ends_commas_and_doubled_quotes) {
  BOOST_TEST(csv("a,\"b\nc\",d\r\n\"x\"\"\n\"\"y\",2\n").records == (strings{"a,\"b\nc\",d", "\"x\"\"\n\"\"y\",2"}));
  BOOST_TEST(csv("\"\n\n\"\n").records == strings{"\"\n\n\""}); // blank lines inside of a cell
  BOOST_TEST(csv("\"\",\"\"\n").records == strings{"\"\",\"\""});
}

BOOST_AUTO_TEST_CASE(a_stray_quote_inside_an_unquoted_csv_cell_spoils_no_other_record) {
  BOOST_TEST(csv("5\" disk,1\n3\" disk,2\nx,6\"\ny,7\n").records == (strings{"5\" disk,1", "3\" disk,2", "x,6\"", "y,7"}));
}

BOOST_AUTO_TEST_CASE(an_open_csv_quote_waits_and_is_a_record_at_the_end) {
  BOOST_TEST(csv("a\n\"b\nc\n").records == strings{"a"});
  BOOST_TEST(csv("a\n\"b\nc\n").used == 2u);
  BOOST_TEST(csv("a\n\"b\nc\n", true).records == (strings{"a", "\"b\nc\n"}));
  // The quote that is the last byte may turn out to be doubled.
  BOOST_TEST(csv("\"b\"").used == 0u);
}

BOOST_AUTO_TEST_CASE(only_empty_csv_lines_are_no_records) {
  BOOST_TEST(csv("\n\r\n \n,\n").records == (strings{" ", ","}));
  BOOST_TEST(csv("a\n\r", true).records == strings{"a"});
}

BOOST_AUTO_TEST_CASE(the_first_csv_record_is_found_behind_mark_and_empty_lines) {
  const std::string_view data = "\xEF\xBB\xBF\r\nid,\"a\nb\"\r\n1,2\n";
  const auto header = first_csv_record(data, byte_order_mark(data), false);
  BOOST_TEST(header.text == "id,\"a\nb\"");
  BOOST_TEST(data.substr(header.end) == "1,2\n");
  BOOST_TEST(first_csv_record("id,x", 0, false).end == first_record::npos);
  BOOST_TEST(first_csv_record("id,x", 0, true).text == "id,x");
  BOOST_TEST(first_csv_record("", 0, true).end == first_record::npos);
}

BOOST_AUTO_TEST_CASE(random_bytes_split_at_any_place_give_what_a_naive_splitter_gives) {
  std::mt19937_64 random{seed()};
  const std::string_view alphabets[] = {"ab\n\r \t", "a,\"\n\r", "abcdefghijklmnopqrstuvwxyz0123456789{}:,\n", "\n\"a"};
  for (int round = 0; round < 4000; ++round) {
    const auto alphabet = alphabets[random() % std::size(alphabets)];
    std::string data(random() % 300, ' ');
    for (char& c : data) c = alphabet[random() % alphabet.size()];
    if (random() % 4 == 0) data.insert(0, "\xEF\xBB\xBF");
    for (const auto format : {payload_format::json, payload_format::csv}) {
      const bool is_csv = format == payload_format::csv;
      const auto expected = is_csv ? naive_csv(data, true) : naive_lines(data, true);
      BOOST_TEST_REQUIRE(split(format, data, true).records == expected);
      // In pieces: what is not used of one comes again with the next.
      strings got;
      for (std::size_t begin = 0, end = 0; end < data.size();) {
        end = std::min(data.size(), end + 1 + random() % 80);
        const std::string_view piece = std::string_view{data}.substr(begin, end - begin);
        change_block b;
        b.payloads = std::string{piece};
        if (begin == 0 && end < 3 && end < data.size()) continue; // a mark may be cut in two: a reader asks for more first
        const std::size_t from = begin == 0 ? byte_order_mark(piece) : 0;
        const auto used = frame(format, piece, from, end == data.size(), {b.starts, b.lengths});
        for (auto& r : records(b)) got.push_back(r);
        begin += used;
      }
      BOOST_TEST_REQUIRE(got == expected);
    }
  }
}

BOOST_AUTO_TEST_SUITE_END()
