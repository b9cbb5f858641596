#include "actors/ingest/postgres/change_window.hpp"
#include "actors/ingest/postgres/setup.hpp"
#include "actors/ingest/postgres/snapshot_table.hpp"
#include "postgres_messages.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::actors::ingest::postgres;
using namespace postgres_test;

namespace {
key_hash key(const std::string& text) {
  const std::optional<std::string_view> values[] = {text};
  return hash_of(key_bytes(values));
}
xid_snapshot snapshot(const char* text) { return *xid_snapshot::parse(text); }
row_change read(const std::string& bytes) { // its cells point into a copy that stays
  static std::deque<std::string> kept;
  row_change c;
  BOOST_REQUIRE(read_change(kept.emplace_back(bytes), c));
  return c;
}
snapshot_table table_at(snapshot_table::phase at) {
  snapshot_table t;
  t.name = "public.t";
  t.window_key = {"id"};
  t.at = at;
  return t;
}
constexpr std::size_t first_column[] = {0};
} // namespace

BOOST_AUTO_TEST_SUITE(postgres_window)

BOOST_AUTO_TEST_CASE(a_snapshot_sees_what_had_ended_when_it_was_taken) {
  const auto s = snapshot("700:705:700,703");
  BOOST_TEST(s.sees({699}));
  BOOST_TEST(!s.sees({700}));
  BOOST_TEST(s.sees({701}));
  BOOST_TEST(!s.sees({703}));
  BOOST_TEST(!s.sees({705}));
  BOOST_TEST(s.all_later_see({699}));
  BOOST_TEST(!s.all_later_see({701}));
  BOOST_TEST(s.text() == "700:705:700,703");
  BOOST_TEST(snapshot("10:10:").sees({9}));
  for (const auto* bad : {"", "1", "1:2", "a:b:", "5:4:", "1:2:x"}) BOOST_TEST(!xid_snapshot::parse(bad).has_value(), bad);
}

BOOST_AUTO_TEST_CASE(numbers_that_wrapped_around_are_still_told_apart) {
  const auto s = snapshot("4294967290:4294967300:4294967295,4294967298"); // 2^32 - 6 to 2^32 + 4
  BOOST_TEST(s.sees({4294967289u}));
  BOOST_TEST(!s.sees({4294967295u}));
  BOOST_TEST(s.sees({0}));  // 2^32
  BOOST_TEST(!s.sees({2})); // 2^32 + 2
  BOOST_TEST(!s.sees({4}));
}

BOOST_AUTO_TEST_CASE(rows_that_something_unseen_has_changed_are_left_out) {
  change_window w;
  w.changed({10}, key("seen"), false);
  w.changed({20}, key("unseen"), false);
  const auto s = snapshot("15:18:");
  chunk_filter f(s, w);
  f.absorb();
  BOOST_TEST(!f.changed(key("seen")));
  BOOST_TEST(f.changed(key("unseen")));
  w.changed({21}, key("later"), false);
  BOOST_TEST(!f.changed(key("later")));
  f.absorb(); // more came while the rows waited
  BOOST_TEST(f.changed(key("later")));
  BOOST_TEST(!f.spoiled());
  BOOST_TEST(!f.truncated());
}

BOOST_AUTO_TEST_CASE(a_truncate_takes_the_rows_of_snapshots_that_did_not_see_it) {
  change_window w;
  w.truncated({20});
  const auto before = snapshot("20:21:20"), after = snapshot("21:21:");
  chunk_filter a(before, w), b(after, w);
  a.absorb();
  b.absorb();
  BOOST_TEST(a.truncated());
  BOOST_TEST(!b.truncated());
}

BOOST_AUTO_TEST_CASE(more_than_the_bound_spoils_chunks_instead_of_memory) {
  change_window w(3);
  for (int i = 0; i < 5; ++i) w.changed({20}, key(std::to_string(i)), false);
  BOOST_TEST(w.end() - w.begin() <= 3u);
  const auto before = snapshot("20:21:20"), after = snapshot("21:22:");
  chunk_filter a(before, w), b(after, w);
  a.absorb();
  b.absorb();
  BOOST_TEST(a.spoiled());
  BOOST_TEST(!b.spoiled());
}

BOOST_AUTO_TEST_CASE(what_every_later_snapshot_sees_is_forgotten) {
  change_window w;
  w.changed({10}, key("a"), false);
  w.changed({12}, key("b"), false);
  w.truncated({11});
  w.forget(snapshot("12:14:12"));
  BOOST_TEST(w.end() - w.begin() == 1u);
  BOOST_TEST(w.truncates().empty());
  const auto s = snapshot("12:14:12");
  chunk_filter f(s, w);
  f.absorb();
  BOOST_TEST(f.changed(key("b")));
  BOOST_TEST(!f.changed(key("a")));
}

BOOST_AUTO_TEST_CASE(a_row_is_owed_when_an_update_that_met_it_may_have_lacked_values) {
  auto t = table_at(snapshot_table::phase::chunks);
  t.note({5}, read(update_bytes(1, 0, {}, {"1", unchanged_cell})), first_column);
  t.note({5}, read(update_bytes(1, 0, {}, {"2", "whole"})), first_column);
  t.note({5}, read(update_bytes(1, 'K', {"3", null_cell}, {"4", unchanged_cell})), first_column);
  BOOST_TEST(t.debt.size() == 2u);
  BOOST_TEST(t.debt.contains(key("1")));
  BOOST_TEST(t.debt.contains(key("4")));
  const auto s = snapshot("5:6:5");
  chunk_filter f(s, t.window);
  f.absorb();
  for (const auto* k : {"1", "2", "3", "4"}) BOOST_TEST(f.changed(key(k)), k);
  BOOST_TEST(f.partly(key("1")));
  BOOST_TEST(!f.partly(key("2")));
  BOOST_TEST(!f.partly(key("3")));
  std::vector<millrace::storage::state_entry> state;
  t.collect(state);
  BOOST_REQUIRE_EQUAL(state.size(), 1u);
  auto again = table_at(snapshot_table::phase::chunks);
  BOOST_REQUIRE(again.load_debt(state[0].key, state[0].value));
  BOOST_TEST(again.debt.size() == 2u);
  again.forget_debt();
  std::vector<millrace::storage::state_entry> dropped;
  again.collect(dropped);
  BOOST_REQUIRE_EQUAL(dropped.size(), 1u);
  BOOST_TEST(dropped[0].key == state[0].key);
  BOOST_TEST(dropped[0].value == "");
}

BOOST_AUTO_TEST_CASE(while_debts_are_paid_only_rows_that_were_owed_make_new_ones) {
  auto t = table_at(snapshot_table::phase::chunks);
  t.note({5}, read(update_bytes(1, 0, {}, {"1", unchanged_cell})), first_column);
  t.at = snapshot_table::phase::mending;
  t.note({6}, read(update_bytes(1, 0, {}, {"9", unchanged_cell})), first_column);
  BOOST_TEST(!t.debt.contains(key("9")));
  t.note({6}, read(update_bytes(1, 'K', {"1", null_cell}, {"2", unchanged_cell})), first_column);
  BOOST_TEST(t.debt.contains(key("2"))); // the owed row goes by another key now
}

BOOST_AUTO_TEST_CASE(a_whole_change_pays_what_a_partial_one_owes) {
  change_window w;
  w.changed({20}, key("a"), true);
  w.changed({21}, key("a"), false);
  w.changed({22}, key("a"), true);
  const auto s = snapshot("20:20:");
  chunk_filter f(s, w);
  f.absorb();
  BOOST_TEST(f.changed(key("a")));
  BOOST_TEST(!f.partly(key("a")));
}

BOOST_AUTO_TEST_CASE(a_key_is_the_same_from_a_change_and_from_a_line_of_copy) {
  const std::string values[] = {"a\tb\\c\nd", "", "ümlaut"};
  const auto change = read(insert_bytes(1, {values[0], "other", values[1], null_cell, values[2]}));
  const std::size_t columns[] = {0, 2, 3, 4};
  const auto a = key_of(change.after, columns);
  const auto b = key_of_line("a\\tb\\\\c\\nd\tother\t\t\\N\tümlaut", columns);
  BOOST_REQUIRE(a);
  BOOST_REQUIRE(b);
  BOOST_TEST(*a == *b);
  const auto back = key_values(*a);
  BOOST_REQUIRE(back);
  BOOST_TEST(*(*back)[0] == values[0]);
  BOOST_TEST(!(*back)[2]);
  BOOST_TEST(!key_of_line("only\tthree\tcells", columns));
  BOOST_TEST(!key_values(std::string("\0\0\0\5abc", 7)).has_value());
  const std::size_t beyond[] = {9};
  BOOST_TEST(!key_of(change.after, beyond));
}

BOOST_AUTO_TEST_CASE(two_keys_that_join_to_the_same_text_differ) {
  const std::optional<std::string_view> a[] = {"ab", "c"}, b[] = {"a", "bc"};
  BOOST_TEST(key_bytes(a) != key_bytes(b));
}

BOOST_AUTO_TEST_CASE(a_plan_gives_each_chunk_once_and_knows_after_a_restart_which_are_done) {
  leaf_table l1, l2;
  l1.oid = 1, l1.filenode = 11, l1.blocks = 10, l1.bytes_per_block = 8192;
  l2.oid = 2, l2.filenode = 22, l2.blocks = 3, l2.bytes_per_block = 8192;
  snapshot_plan p({l1, l2}, 0, 4 * 8192, true);
  BOOST_TEST(p.chunks() == 4u); // 4 + 4 + 2 blocks, 3 blocks
  BOOST_TEST(p.at(2).first_block == 8u);
  BOOST_TEST(p.at(2).end_block == 10u);
  BOOST_TEST(p.at(3).of.oid == 2u);
  const auto a = *p.give(), b = *p.give(), c = *p.give();
  p.done(b);
  p.take_back(a);
  p.done(c);
  auto again = snapshot_plan::parse(p.text());
  BOOST_REQUIRE(again);
  BOOST_TEST(*again->give() == a);
  BOOST_TEST(*again->give() == 3u);
  BOOST_TEST(!again->give());
  again->done(a);
  BOOST_TEST(!again->complete());
  again->done(3);
  BOOST_TEST(again->complete());
  for (const auto* bad : {"", "x - 1:2:3:4", "1 y 1:2:3:4", "0 - 1:2:3", "9 - 1:2:3:4"})
    BOOST_TEST(!snapshot_plan::parse(bad).has_value(), bad);
}

BOOST_AUTO_TEST_CASE(a_table_survives_its_text_at_every_phase) {
  for (const auto at : {snapshot_table::phase::pending, snapshot_table::phase::chunks, snapshot_table::phase::mending,
                        snapshot_table::phase::done}) {
    auto t = table_at(at);
    leaf_table l;
    l.blocks = 100;
    t.rows = 12345;
    t.plan = snapshot_plan({l}, 0, 8192, true);
    t.plan.done(0);
    auto again = table_at(snapshot_table::phase::done);
    BOOST_REQUIRE(again.load(t.state().value));
    BOOST_TEST((again.at == at));
    BOOST_TEST(again.state().value == t.state().value);
    BOOST_TEST(again.fits_key());
    again.window_key = {"other"};
    BOOST_TEST(again.fits_key() == (at == snapshot_table::phase::pending || at == snapshot_table::phase::done));
  }
  auto copying = table_at(snapshot_table::phase::copying), again = table_at(snapshot_table::phase::done);
  BOOST_REQUIRE(again.load(copying.state().value));
  BOOST_TEST(again.truncate_first); // its rows so far would be doubled
}

BOOST_AUTO_TEST_CASE(a_timeline_ends_where_its_history_says) {
  const auto* history = "1\t0/3000000\tno recovery target specified\n2\t0/5000158\tbefore\n";
  BOOST_TEST(end_of_timeline(history, 1)->value == 0x3000000u);
  BOOST_TEST(end_of_timeline(history, 2)->value == 0x5000158u);
  BOOST_TEST(!end_of_timeline(history, 3));
}

BOOST_AUTO_TEST_SUITE_END()
