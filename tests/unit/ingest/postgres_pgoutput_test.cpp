#include "actors/ingest/postgres/bytes.hpp"
#include "actors/ingest/postgres/pgoutput.hpp"
#include "postgres_messages.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::actors::ingest::postgres;
using namespace postgres_test;

BOOST_AUTO_TEST_SUITE(postgres_pgoutput)

BOOST_AUTO_TEST_CASE(each_message_is_read_as_the_documentation_lays_it_out) {
  const auto b = read_begin(begin_bytes(0x1122334455667788, 7, 5'000'000));
  BOOST_REQUIRE(b);
  BOOST_TEST(b->commit.value == 0x1122334455667788u);
  BOOST_TEST(b->id.value == 7u);
  BOOST_TEST(b->time_us == postgres_epoch_us + 5'000'000);
  const auto c = read_commit(commit_bytes(100, 140));
  BOOST_REQUIRE(c);
  BOOST_TEST(c->commit.value == 100u);
  BOOST_TEST(c->end.value == 140u);
  const auto r = read_relation(relation_bytes(42, "public", "t", 'i', {{"id", true, 23}, {"näme", false, 25}}));
  BOOST_REQUIRE(r);
  BOOST_TEST(r->id == 42u);
  BOOST_TEST(r->identity == 'i');
  BOOST_REQUIRE_EQUAL(r->columns.size(), 2u);
  BOOST_TEST(r->columns[0].identity);
  BOOST_TEST(r->columns[1].name == "näme");
  BOOST_TEST(r->columns[1].type == 25u);
  BOOST_TEST(r->columns[1].modifier == -1);
  BOOST_TEST(read_relation(relation_bytes(42, "", "pg_class", 'd', {}))->schema == "pg_catalog");
  const auto t = read_truncate(truncate_of(42, 3));
  BOOST_REQUIRE(t);
  BOOST_TEST(t->options == 3);
  BOOST_TEST(t->relations == std::vector<std::uint32_t>{42});
}

BOOST_AUTO_TEST_CASE(a_change_gives_its_old_and_new_cells) {
  row_change c;
  const auto update = update_bytes(9, 'K', {"1", null_cell}, {"2", unchanged_cell}); // the cells point into it
  BOOST_REQUIRE(read_change(update, c));
  BOOST_TEST(c.kind == 'U');
  BOOST_TEST(c.relation == 9u);
  BOOST_TEST(c.old_kind == 'K');
  BOOST_TEST(c.before[0].text == "1");
  BOOST_TEST((c.before[1].k == tuple_cell::kind::null));
  BOOST_TEST(c.after[0].text == "2");
  BOOST_TEST((c.after[1].k == tuple_cell::kind::unchanged));
  const auto insert = insert_bytes(9, {"", "x"}), remove = delete_bytes(9, 'O', {"1", "x"});
  BOOST_REQUIRE(read_change(insert, c));
  BOOST_TEST(c.before.empty());
  BOOST_TEST((c.after[0].k == tuple_cell::kind::text));
  BOOST_REQUIRE(read_change(remove, c));
  BOOST_TEST(c.after.empty());
  BOOST_TEST(c.before.size() == 2u);
}

BOOST_AUTO_TEST_CASE(no_prefix_of_a_message_and_nothing_behind_it_is_taken) {
  row_change c;
  const auto begin = begin_bytes(1, 2, 3), commit = commit_bytes(1, 2), truncate = truncate_of(1, 0);
  const auto relation = relation_bytes(1, "s", "t", 'd', {{"a", true, 23}});
  const auto update = update_bytes(1, 'O', {"1", "b"}, {"2", unchanged_cell});
  for (std::size_t n = 0; n < begin.size(); ++n) BOOST_TEST(!read_begin(begin.substr(0, n)));
  for (std::size_t n = 0; n < commit.size(); ++n) BOOST_TEST(!read_commit(commit.substr(0, n)));
  for (std::size_t n = 0; n < truncate.size(); ++n) BOOST_TEST(!read_truncate(truncate.substr(0, n)));
  for (std::size_t n = 0; n < relation.size(); ++n) BOOST_TEST(!read_relation(relation.substr(0, n)));
  for (std::size_t n = 0; n < update.size(); ++n) BOOST_TEST(!read_change(update.substr(0, n), c));
  BOOST_TEST(!read_begin(begin + 'x'));
  BOOST_TEST(!read_commit(commit + 'x'));
  BOOST_TEST(!read_truncate(truncate + 'x'));
  BOOST_TEST(!read_relation(relation + 'x'));
  BOOST_TEST(!read_change(update + 'x', c));
}

BOOST_AUTO_TEST_CASE(lengths_that_lie_are_refused_and_not_followed) {
  row_change c;
  auto insert = insert_bytes(1, {"abc"});
  insert[insert.size() - 4] = 0x7f; // the cell's length, its last byte
  BOOST_TEST(!read_change(insert, c));
  insert = insert_bytes(1, {"abc"});
  insert[6] = 0x7f; // the number of columns
  BOOST_TEST(!read_change(insert, c));
  auto truncate = truncate_of(1, 0);
  truncate[1] = 0x7f; // the number of relations
  BOOST_TEST(!read_truncate(truncate));
}

BOOST_AUTO_TEST_SUITE_END()
