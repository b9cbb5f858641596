#include "actors/ingest/postgres/transaction_framer.hpp"
#include "postgres_messages.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace;
using namespace millrace::actors::ingest::postgres;
using namespace postgres_test;
using storage::change_block;

namespace {

table_schema_ptr schema_of(std::uint32_t id) {
  table_schema t;
  t.id = id;
  t.schema = "public";
  t.name = "t" + std::to_string(id);
  t.columns.resize(1);
  t.columns[0].name = "id";
  return std::make_shared<const table_schema>(t);
}

struct stream {
  transaction_framer framer{"slot", {1000, 2000}};
  table_schema_ptr table = schema_of(1);
  std::vector<change_block> blocks;

  void begin(std::uint64_t commit, std::uint32_t xid = 1) {
    BOOST_REQUIRE(framer.begin({{commit}, 1000 + static_cast<std::int64_t>(commit), {xid}}).has_value());
  }
  void change(std::size_t bytes, char fill = 'x') { BOOST_REQUIRE(framer.change(std::string(bytes, fill), table).has_value()); }
  void commit(std::uint64_t at) { BOOST_REQUIRE(framer.commit({{at}, {at + 10}}).has_value()); }
  void transaction(std::uint64_t commit_at, std::size_t changes, std::size_t bytes = 10) {
    begin(commit_at, static_cast<std::uint32_t>(commit_at));
    for (std::size_t i = 0; i < changes; ++i) change(bytes, static_cast<char>('a' + i % 26));
    commit(commit_at);
  }
  void take() {
    while (auto b = framer.take()) blocks.push_back(std::move(*b));
  }
  std::optional<stream_position> position() const {
    for (const auto& s : blocks.back().source_state)
      if (s.key == position_key) return decode_position(s.value);
    return std::nullopt;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_framer, stream)

BOOST_AUTO_TEST_CASE(small_transactions_share_a_block_and_keep_their_bounds) {
  transaction(100, 2);
  transaction(200, 0); // nothing of it is ours
  transaction(300, 1);
  framer.cut();
  take();
  BOOST_REQUIRE_EQUAL(blocks.size(), 1u);
  const auto& b = blocks[0];
  BOOST_TEST(b.starts.size() == 3u);
  BOOST_TEST(!b.open_end);
  BOOST_REQUIRE_EQUAL(b.transactions.size(), 2u);
  BOOST_TEST(b.transactions[1].first_change == 2u);
  BOOST_TEST(b.transactions[1].position == 300u);
  BOOST_TEST(b.transactions[1].time_us == 1300);
  BOOST_TEST((*position() == stream_position{{300}, {310}, {}}));
}

BOOST_AUTO_TEST_CASE(a_large_transaction_is_cut_only_when_more_of_it_comes) {
  begin(100);
  for (int i = 0; i < 20; ++i) change(100); // exactly full
  take();
  BOOST_TEST(blocks.empty());
  commit(100);
  framer.cut();
  take();
  BOOST_REQUIRE_EQUAL(blocks.size(), 1u);
  BOOST_TEST(!blocks[0].open_end); // an open end with nothing behind it would hide the transaction until the next one
  begin(200);
  for (int i = 0; i < 21; ++i) change(100);
  take();
  BOOST_REQUIRE_EQUAL(blocks.size(), 2u);
  BOOST_TEST(blocks[1].open_end);
  BOOST_TEST(position()->commit.value == 100u);
  BOOST_REQUIRE(position()->open);
  BOOST_TEST(position()->open->changes == 20u);
  BOOST_TEST(!framer.between());
  commit(200);
  framer.cut();
  take();
  BOOST_REQUIRE_EQUAL(blocks.size(), 3u);
  BOOST_TEST(blocks[2].transactions[0].first_index == 20u);
  BOOST_TEST(!blocks[2].open_end);
  BOOST_TEST(!position()->open);
}

BOOST_AUTO_TEST_CASE(what_the_log_has_is_dropped_when_it_comes_again) {
  transaction(100, 3);
  transaction(200, 3);
  framer.cut();
  take();
  framer.restart(*position());
  transaction(100, 3);
  transaction(200, 3);
  transaction(300, 1);
  BOOST_TEST(framer.take_repeats() == 2u);
  framer.cut();
  take();
  BOOST_REQUIRE_EQUAL(blocks.size(), 2u);
  BOOST_TEST(blocks[1].starts.size() == 1u);
  BOOST_TEST(blocks[1].transactions[0].position == 300u);
}

BOOST_AUTO_TEST_CASE(a_restart_inside_of_a_transaction_goes_on_at_the_change_that_is_missing) {
  for (int restart_after = 1; restart_after < 4; ++restart_after) {
    stream s;
    s.begin(500, 7);
    for (int i = 0; i < 100; ++i) s.change(100, static_cast<char>('a' + i % 26));
    s.take();
    BOOST_REQUIRE_GE(s.blocks.size(), 4u);
    s.blocks.resize(static_cast<std::size_t>(restart_after)); // the rest never reached the log
    s.framer.restart(*s.position());
    BOOST_TEST(!s.framer.between());
    s.begin(500, 7);
    for (int i = 0; i < 100; ++i) s.change(100, static_cast<char>('a' + i % 26));
    s.commit(500);
    s.framer.cut();
    s.take();
    std::string all;
    std::uint64_t next = 0;
    for (const auto& b : s.blocks) {
      BOOST_REQUIRE_EQUAL(b.transactions.size(), 1u);
      BOOST_TEST(b.transactions[0].first_index == next);
      next += b.starts.size();
      all += b.payloads;
    }
    BOOST_TEST(next == 100u);
    BOOST_TEST(all.size() == 10000u);
    BOOST_TEST(all[9999] == 'a' + 99 % 26);
    BOOST_TEST(!s.blocks.back().open_end);
  }
}

BOOST_AUTO_TEST_CASE(a_transaction_that_is_another_one_after_the_restart_is_refused_by_name) {
  begin(500, 7);
  for (int i = 0; i < 30; ++i) change(100);
  take();
  const auto at = *position();
  const auto refused = [](const actors::result<void>& r) {
    return !r && is(r.error(), actors::errc::log_mismatch) && r.error().message.starts_with("transaction_changed");
  };
  framer.restart(at); // other changes
  begin(500, 7);
  for (std::uint64_t i = 1; i < at.open->changes; ++i) change(100);
  BOOST_TEST(refused(framer.change(std::string(100, 'y'), table)));
  framer.restart(at); // fewer
  begin(500, 7);
  change(100);
  BOOST_TEST(refused(framer.commit({{500}, {510}})));
  framer.restart(at); // gone
  BOOST_TEST(refused(framer.begin({{600}, 0, {8}})));
}

BOOST_AUTO_TEST_CASE(another_version_of_a_table_ends_the_block) {
  begin(100);
  change(10);
  table = schema_of(2);
  change(10); // another table does not
  table = schema_of(1);
  change(10);
  commit(100);
  framer.cut();
  take();
  BOOST_REQUIRE_EQUAL(blocks.size(), 2u);
  BOOST_TEST(blocks[0].starts.size() == 2u);
  BOOST_TEST(blocks[0].open_end);
  BOOST_TEST(blocks[1].transactions[0].first_index == 2u);
}

BOOST_AUTO_TEST_CASE(a_position_without_changes_is_noted_only_between_transactions) {
  framer.reached({50});
  framer.note();
  take();
  BOOST_REQUIRE_EQUAL(blocks.size(), 1u);
  BOOST_TEST(blocks[0].starts.empty());
  BOOST_TEST(position()->end.value == 50u);
  framer.note();
  take();
  BOOST_TEST(blocks.size() == 1u); // nothing moved
  begin(100);
  change(10);
  framer.reached({90});
  framer.note();
  take();
  BOOST_TEST(blocks.size() == 1u);
  BOOST_TEST(framer.position().end.value == 50u); // the transaction may have begun before 90
}

BOOST_AUTO_TEST_CASE(a_protocol_that_is_broken_is_refused) {
  BOOST_TEST(!framer.change("x", table).has_value());
  BOOST_TEST(!framer.commit({{1}, {2}}).has_value());
  begin(100);
  BOOST_TEST(!framer.begin({{200}, 0, {2}}).has_value());
  BOOST_TEST(!framer.commit({{101}, {102}}).has_value());
}

BOOST_AUTO_TEST_CASE(positions_and_identities_survive_their_text) {
  const stream_position open{
      {0x100000000}, {0x1F00000000000001}, open_transaction{{0x1F00000000000010}, {4000000000}, 12345678901, 0xffffffffffffffff}};
  BOOST_TEST((*decode_position(encode(open)) == open));
  const stream_position plain{{1}, {2}, {}};
  BOOST_TEST((*decode_position(encode(plain)) == plain));
  for (const auto* bad : {"", "2 0/1 0/2", "1 0/1", "1 0/1 x", "1 0/1 0/2 0/3", "1 0/1 0/2 0/3 5 6", "1 0/1 0/2 0/3 5 6 7 8",
                          "1 0/1 0/2 0/3 5000000000 6 7"})
    BOOST_TEST(!decode_position(bad), bad);
  const source_identity id{"7300000000000000001", 3, "millrace_orders"};
  BOOST_TEST((*decode_identity(encode(id)) == id));
  BOOST_TEST(!decode_identity("1 73 3"));
}

BOOST_AUTO_TEST_SUITE_END()
