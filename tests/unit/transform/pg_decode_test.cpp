// PostgreSQL's changes into rows: keys, old rows, schemas, snapshots, what is malformed.
#include "tests/unit/transform/pg_support.hpp"

#include <boost/test/unit_test.hpp>
#include <cstdlib>
#include <iostream>
#include <random>

using namespace millrace::test;
using T = data_type;

namespace {
pg_test_table orders() {
  pg_test_table t;
  t.columns = {{"id", "integer", oid::int4, 1}, {"qty", "integer", oid::int4}, {"note", "text", oid::text}};
  return t;
}
field_spec from(std::string name, T type, std::string source) {
  field_spec f = field(std::move(name), type);
  f.from = std::move(source);
  return f;
}
/// Names, types and source types of a set's first layout: "id:int64(integer)* qty:int64(integer)"; * is the key.
std::string layout(const row_set& set) {
  std::string text;
  for (const column& c : set.layouts.at(0)->columns) {
    text += (text.empty() ? "" : " ") + c.name + ":" + (c.type ? to_string(*c.type) : "?");
    if (!c.source_type.empty()) text += "(" + c.source_type + ")";
    if (c.key) text += "*";
  }
  return text;
}
} // namespace

BOOST_AUTO_TEST_SUITE(pg_decode)

BOOST_AUTO_TEST_CASE(columns_types_and_key_come_from_the_source) {
  pg_test_table t = orders();
  t.columns.push_back({"price", "numeric(10,2)", oid::numeric});
  const auto set =
      run(from_source(), pgoutput(t, {pg_insert({"1", "2", "x", "3.50"}), pg_insert({"2", std::nullopt, "", "NaN"})}));
  BOOST_TEST(show(*set) == "insert id=1 qty=2 note='x' price='3.50'\ninsert id=2 qty=NULL note='' price='NaN'\n");
  BOOST_TEST(layout(*set) == "id:int64(integer)* qty:int64(integer) note:text(text) price:decimal(numeric(10,2))");
  BOOST_TEST(set->rows[0].time_us == commit_us);
  BOOST_TEST(!set->layouts[0]->partial_inserts);
}

BOOST_AUTO_TEST_CASE(a_copied_row_is_the_row_that_an_insert_gives) {
  const std::string line = "1\t2\ta\\tb\\\\c\\nd";
  BOOST_TEST(outcome(from_source(), pgcopy(orders(), {line, "2\t\\N\t\\N", "3\t4\t", "4\t5\t\\\\N"})) ==
             "insert id=1 qty=2 note='a\tb\\c\nd'\ninsert id=2 qty=NULL note=NULL\ninsert id=3 qty=4 note=''\ninsert id=4 qty=5 "
             "note='\\N'\n");
  const auto copied = run(from_source(), pgcopy(orders(), {line}));
  const auto streamed = run(from_source(), pgoutput(orders(), {pg_insert({"1", "2", "a\tb\\c\nd"})}));
  BOOST_TEST(show(*copied) == show(*streamed));
  BOOST_TEST(copied->rows[0].key_hash == streamed->rows[0].key_hash);
}

BOOST_AUTO_TEST_CASE(every_type_has_its_cell) {
  const struct {
    std::uint32_t type;
    const char* value;
    const char* cell;
  } cases[] = {{oid::boolean, "t", "true"},
               {oid::boolean, "f", "false"},
               {oid::int8, "-9223372036854775808", "-9223372036854775808"},
               {oid::oid, "4294967295", "4294967295"},
               {oid::float4, "0.1", "0.10000000000000001"},
               {oid::float8, "5e-324", "4.9406564584124654e-324"},
               {oid::float8, "1.7976931348623157e+308", "1.7976931348623157e+308"},
               {oid::float8, "NaN", "nan"},
               {oid::float8, "-Infinity", "-inf"},
               {oid::float8, "-0", "-0.0"},
               {oid::numeric, "-Infinity", "'-Infinity'"},
               {oid::numeric, "12345678901234567890.123456789000", "'12345678901234567890.123456789000'"},
               {oid::bytea, "\\x00ff41", "x'00ff41'"},
               {oid::bytea, "\\x", "x''"},
               {oid::json, "{\"a\" : 1}", "'{\"a\" : 1}'"},
               {oid::uuid, "123e4567-e89b-12d3-a456-426614174000", "'123e4567-e89b-12d3-a456-426614174000'"},
               {oid::date, "2024-02-29", "'2024-02-29'"},
               {oid::date, "0044-03-15 BC", "'0044-03-15 BC'"},
               {oid::date, "infinity", "'infinity'"},
               {oid::timestamp, "2024-01-01 12:00:00.5", "'2024-01-01T12:00:00.500000Z'"},
               {oid::timestamp, "2024-01-01 12:00:00", "'2024-01-01T12:00:00Z'"},
               {oid::timestamp, "10000-01-01 00:00:00", "'10000-01-01 00:00:00'"},
               {oid::timestamp, "0044-03-15 12:00:00 BC", "'0044-03-15 12:00:00 BC'"},
               {oid::timestamptz, "2024-01-01 12:00:00.123456+00", "'2024-01-01T12:00:00.123456Z'"},
               {oid::timestamptz, "2024-01-01 12:00:00+05:30", "'2024-01-01T06:30:00Z'"},
               {oid::timestamptz, "-infinity", "'-infinity'"},
               {oid::int4_array, "{1,NULL,3}", "'{1,NULL,3}'"}};
  for (const auto& c : cases) {
    pg_test_table t;
    t.columns = {{"id", "integer", oid::int4, 1}, {"v", "type", c.type}};
    BOOST_TEST(outcome(from_source(), pgoutput(t, {pg_insert({"1", c.value})})) == std::string("insert id=1 v=") + c.cell + "\n");
  }
  pg_test_table domain;
  domain.columns = {{"id", "integer", oid::int4, 1}, {"v", "shop.amount", 99999, 0, {}, oid::int4}};
  const auto set = run(from_source(), pgoutput(domain, {pg_insert({"1", "7"})}));
  BOOST_TEST(show(*set) == "insert id=1 v=7\n");
  BOOST_TEST(layout(*set) == "id:int64(integer)* v:int64(shop.amount)");
}

BOOST_AUTO_TEST_CASE(updates_and_deletes_find_their_row) {
  BOOST_TEST(outcome(from_source(), pgoutput(orders(), {pg_update({"1", "5", "x"}),
                                                        pg_update('K', {"1", std::nullopt, std::nullopt}, {"9", "5", "x"}),
                                                        pg_delete('K', {"9", std::nullopt, std::nullopt}), pg_truncate()})) ==
             "update id=1 qty=5 note='x'\nupdate(id=1) id=9 qty=5 note='x'\ndelete id=9\ntruncate\n");
  pg_test_table full = orders();
  full.identity = "full";
  BOOST_TEST(outcome(from_source(),
                     pgoutput(full, {pg_update('O', {"1", "2", "old"}, {"1", "5", "x"}),
                                     pg_update('O', {"1", "2", "old"}, {"9", "5", "x"}), pg_delete('O', {"9", "5", "x"})})) ==
             "update id=1 qty=5 note='x'\nupdate(id=1) id=9 qty=5 note='x'\ndelete id=9\n");
}

BOOST_AUTO_TEST_CASE(a_large_value_that_was_left_alone_is_missing_unless_the_old_row_has_it) {
  BOOST_TEST(
      outcome(from_source(), pgoutput(orders(), {pg_update({"1", "5", unchanged}),
                                                 pg_update('K', {"1", std::nullopt, std::nullopt}, {"9", "5", unchanged})})) ==
      "update id=1 qty=5 note=MISSING\nupdate(id=1) id=9 qty=5 note=MISSING\n");
  pg_test_table full = orders();
  full.identity = "full";
  BOOST_TEST(outcome(from_source(), pgoutput(full, {pg_update('O', {"1", "2", "old"}, {"1", "5", unchanged}),
                                                    pg_update('O', {"1", "2", std::nullopt}, {"1", "5", unchanged})})) ==
             "update id=1 qty=5 note='old'\nupdate id=1 qty=5 note=NULL\n");
}

BOOST_AUTO_TEST_CASE(the_key_is_the_load_s_then_the_primary_key_then_the_identity_s_index) {
  pg_test_table t;
  t.columns = {{"a", "integer", oid::int4, 2}, {"b", "integer", oid::int4, 1}, {"c", "integer", oid::int4}};
  const auto composed = run(from_source(), pgoutput(t, {pg_insert({"1", "2", "3"})}));
  BOOST_TEST(composed->layouts[0]->key == (std::vector<std::uint32_t>{1, 0}), boost::test_tools::per_element()); // its own order
  t.columns = {{"a", "integer", oid::int4}, {"b", "integer", oid::int4, 0, true}};
  t.identity = "index";
  BOOST_TEST(layout(*run(from_source(), pgoutput(t, {pg_insert({"1", "2"})}))) == "a:int64(integer) b:int64(integer)*");
  load_builder own = from_source().key({"a"});
  own.table().key_from_source = false;
  BOOST_TEST(layout(*run(own, pgoutput(t, {pg_insert({"1", "2"})}))) == "a:int64(integer)* b:int64(integer)");
}

BOOST_AUTO_TEST_CASE(a_table_without_key_is_refused_change_by_change_but_can_be_appended) {
  pg_test_table t;
  t.identity = "full";
  t.columns = {{"a", "integer", oid::int4}};
  const auto batch = pgoutput(t, {pg_insert({"1"}), pg_update('O', {"1"}, {"2"}), pg_delete('O', {"2"}), pg_truncate()});
  BOOST_TEST(outcome(from_source(), batch) ==
             "failed schema at schema\nfailed schema at schema\nfailed schema at schema\ntruncate\n");
  BOOST_TEST(message_of(from_source(), batch).starts_with("table has no key: "));
  BOOST_TEST(outcome(from_source().mode(load_mode::append), batch) == "insert a=1\nupdate a=2\nfiltered\nfiltered\n");
}

BOOST_AUTO_TEST_CASE(a_key_that_the_source_does_not_tell_with_updates_is_refused) {
  // Without the old value an update of `code` would leave the row under its old code.
  pg_test_table t = orders();
  load_builder load = from_source().key({"note"});
  load.table().key_from_source = false;
  const auto batch =
      pgoutput(t, {pg_insert({"1", "2", "x"}), pg_update({"1", "2", "y"}), pg_delete('K', {"1", std::nullopt, std::nullopt})});
  BOOST_TEST(outcome(load, batch) ==
             "insert id=1 qty=2 note='x'\nfailed schema at schema [note] {\"note\":\"y\"}\nfailed schema at "
             "schema [note]\n");
  BOOST_TEST(message_of(load, batch).find("REPLICA IDENTITY FULL") != std::string::npos);
  t.identity = "full";
  BOOST_TEST(outcome(load, pgoutput(t, {pg_update('O', {"1", "2", "x"}, {"1", "2", "y"}), pg_delete('O', {"1", "2", "y"})})) ==
             "update(note='x') id=1 qty=2 note='y'\ndelete note='y'\n");
}

BOOST_AUTO_TEST_CASE(changes_of_other_tables_are_filtered_and_names_count_with_and_without_schema) {
  pg_test_table other = orders();
  other.id = 16500;
  other.schema = "Shop";
  other.name = "Straße.x";
  const auto both = std::make_shared<fake_batch>(
      pg_block({pg_insert({"1", "2", "x"}), pg_insert({"5", "6", "y"}, 16500), pg_insert({"2", "3", "z"})},
               context_of({orders(), other})));
  BOOST_TEST(outcome(from_source(), both) == "insert id=1 qty=2 note='x'\nfiltered\ninsert id=2 qty=3 note='z'\n");
  BOOST_TEST(outcome(from_source("orders"), both) == "insert id=1 qty=2 note='x'\nfiltered\ninsert id=2 qty=3 note='z'\n");
  BOOST_TEST(outcome(from_source("Shop.Straße.x"), both) == "filtered\ninsert id=5 qty=6 note='y'\nfiltered\n");
  load_builder two = from_source();
  two.load.tables.push_back(two.table());
  two.load.tables[1].name = "Shop.Straße.x";
  const auto set = run(two, both);
  BOOST_TEST(show(*set) == "insert id=1 qty=2 note='x'\ninsert id=5 qty=6 note='y'\ninsert id=2 qty=3 note='z'\n");
  BOOST_TEST(set->layout_of(set->rows[1]).table == 1u);
}

BOOST_AUTO_TEST_CASE(a_table_made_anew_in_a_block_keeps_its_columns_apart) {
  pg_test_table anew = orders();
  anew.id = 16999;
  anew.columns[1].type_id = oid::text;
  anew.columns[1].type = "text";
  const auto batch = std::make_shared<fake_batch>(
      pg_block({pg_insert({"1", "2", "x"}), pg_insert({"1", "two", "y"}, 16999), pg_insert({"3", "4", "z"})},
               context_of({orders(), anew})));
  const auto t = make(from_source().load);
  for (int again = 0; again < 2; ++again) { // what one run leaves must not show in the next
    const auto set = t->run(batch, 0, batch->count());
    BOOST_TEST(show(*set) == "insert id=1 qty=2 note='x'\ninsert id=1 qty='two' note='y'\ninsert id=3 qty=4 note='z'\n");
    BOOST_TEST(set->layout_of(set->rows[1]).columns[1].source_type == "text");
  }
}

BOOST_AUTO_TEST_CASE(columns_come_and_go_with_the_source_s_schema) {
  const auto t = make(from_source().load);
  const auto rows = [&](const pg_test_table& table, pg_test_tuple row) {
    const auto batch = pgoutput(table, {pg_insert(std::move(row))});
    const auto set = t->run(batch, 0, 1);
    return show(*set) + layout(*set);
  };
  pg_test_table table = orders();
  BOOST_TEST(rows(table, {"1", "2", "x"}) == "insert id=1 qty=2 note='x'\nid:int64(integer)* qty:int64(integer) note:text(text)");
  table.columns.push_back({"extra", "date", oid::date});
  BOOST_TEST(
      rows(table, {"1", "2", "x", "2024-01-01"}) ==
      "insert id=1 qty=2 note='x' extra='2024-01-01'\nid:int64(integer)* qty:int64(integer) note:text(text) extra:date(date)");
  table.columns[1] = {"quantity", "numeric", oid::numeric}; // renamed and retyped
  table.columns.erase(table.columns.begin() + 2);           // dropped
  BOOST_TEST(rows(table, {"1", "2.5", std::nullopt}) ==
             "insert id=1 quantity='2.5' extra=NULL\nid:int64(integer)* quantity:decimal(numeric) extra:date(date)");
  table.columns[0].key = 0;
  table.columns[1].key = 1; // another primary key
  BOOST_TEST(rows(table, {"1", "2.5", std::nullopt}) ==
             "insert id=1 quantity='2.5' extra=NULL\nid:int64(integer) quantity:decimal(numeric)* extra:date(date)");
}

BOOST_AUTO_TEST_CASE(equal_schemas_share_their_layout) {
  const auto t = make(from_source().load);
  const auto a = pgoutput(orders(), {pg_insert({"1", "2", "x"})}), b = pgoutput(orders(), {pg_insert({"2", "3", "y"})});
  BOOST_TEST(t->run(a, 0, 1)->layouts[0] == t->run(b, 0, 1)->layouts[0]);
}

BOOST_AUTO_TEST_CASE(a_snapshot_under_way_lets_partial_rows_in) {
  pg_test_table t = orders();
  t.snapshotting = true;
  BOOST_TEST(run(from_source(), pgoutput(t, {pg_update({"1", "2", unchanged})}))->layouts[0]->partial_inserts);
}

BOOST_AUTO_TEST_CASE(an_explicit_schema_takes_columns_by_name_and_converts_them) {
  pg_test_table t = orders();
  t.columns.push_back({"doc", "jsonb", oid::jsonb});
  t.columns.push_back({"seen", "timestamp with time zone", oid::timestamptz});
  t.columns.push_back({"ok", "boolean", oid::boolean});
  t.columns.push_back({"raw", "bytea", oid::bytea});
  load_builder load = from_source();
  load.key({"no"});
  load.table().key_from_source = false;
  load.column(from("no", T::int64, "id"))
      .column(from("amount", T::decimal, "qty"))
      .column(from("city", T::text, "/doc/address/city"));
  load.column(from("doc", T::json, "doc"))
      .column(from("day", T::timestamp, "seen"))
      .column("ok", T::boolean)
      .column("raw", T::bytes);
  load.column(from("raw_text", T::text, "raw")).column(from("absent", T::text, "nowhere"));
  load.table().schema.back().default_value = "none";
  const auto set = run(
      load, pgoutput(t, {pg_insert({"1", "2", "x", R"({"address": {"city": "Köln"}})", "2024-01-01 12:00:00+00", "t", "\\x41"}),
                         pg_insert({"2", std::nullopt, "x", std::nullopt, "infinity", std::nullopt, std::nullopt})}));
  BOOST_TEST(show(*set) ==
             "insert no=1 amount='2' city='Köln' doc='{\"address\": {\"city\": \"Köln\"}}' day='2024-01-01T12:00:00Z' "
             "ok=true raw=x'41' raw_text='\\x41' absent='none'\n"
             "insert no=2 amount=NULL city=NULL doc=NULL day='infinity' ok=NULL raw=NULL raw_text=NULL absent='none'\n");
  BOOST_TEST(layout(*set) ==
             "no:int64* amount:decimal city:text doc:json day:timestamp ok:bool raw:bytes raw_text:text absent:text");
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_an_explicit_schema_is_refused_by_column) {
  load_builder load = from_source();
  load.key({"id"}).column("id", T::int64).column("note", T::int64);
  load.table().key_from_source = false;
  BOOST_TEST(outcome(load, pgoutput(orders(), {pg_insert({"1", "2", "seven"}), pg_insert({"2", "2", "7"}),
                                               pg_update({"2", "2", unchanged})})) ==
             "failed type at schema [note] {\"id\":1}\ninsert id=2 note=7\nupdate id=2 note=MISSING\n");
  load_builder pointer = from_source();
  pointer.key({"id"}).column("id", T::int64).column(from("x", T::text, "/note/x"));
  pointer.table().key_from_source = false;
  BOOST_TEST(outcome(pointer, pgoutput(orders(), {pg_insert({"1", "2", "no json"}), pg_insert({"2", "2", "{\"x\":5}"})})) ==
             "failed type at schema [x] {\"id\":1}\ninsert id=2 x='5'\n");
}

BOOST_AUTO_TEST_CASE(columns_that_an_explicit_schema_does_not_name_follow_the_policy) {
  const auto load = [](schema_change_policy p) {
    load_builder b = from_source();
    b.key({"id"}).column("id", T::int64).policy(p);
    b.table().key_from_source = false;
    return b;
  };
  const auto batch = pgoutput(orders(), {pg_insert({"1", "2", "x"}), pg_delete('K', {"1", std::nullopt, std::nullopt})});
  BOOST_TEST(outcome(load(schema_change_policy::ignore), batch) == "insert id=1\ndelete id=1\n");
  BOOST_TEST(outcome(load(schema_change_policy::add_columns), batch) == "insert id=1 qty=2 note='x'\ndelete id=1\n");
  BOOST_TEST(outcome(load(schema_change_policy::quarantine), batch) == "failed schema at schema [qty] {\"id\":1}\ndelete id=1\n");
}

BOOST_AUTO_TEST_CASE(steps_know_the_source_s_types) {
  pg_test_table t = orders();
  t.columns.push_back({"price", "numeric", oid::numeric});
  // As text '9.5' would be above '10'; a number it is not.
  BOOST_TEST(outcome(from_source().where("price > 10"),
                     pgoutput(t, {pg_insert({"1", "2", "x", "9.5"}), pg_insert({"2", "2", "x", "10.5"})})) ==
             "filtered\ninsert id=2 qty=2 note='x' price='10.5'\n");
  const auto set = run(from_source()
                           .set({{"total", "qty * 2"}, {"note", "upper(note)"}})
                           .assign(step_kind::rename, {{"id", "no"}})
                           .drop({"price"}),
                       pgoutput(t, {pg_insert({"1", "2", "x", "1"}),
                                    pg_update('K', {"1", std::nullopt, std::nullopt, std::nullopt}, {"3", "2", "x", "1"}),
                                    pg_delete('K', {"3", std::nullopt, std::nullopt, std::nullopt})}));
  BOOST_TEST(show(*set) == "insert no=1 qty=2 note='X' total=4\nupdate(no=1) no=3 qty=2 note='X' total=4\ndelete no=3\n");
  BOOST_TEST(layout(*set) == "no:int64(integer)* qty:int64(integer) note:? total:?");
}

BOOST_AUTO_TEST_CASE(a_filter_turns_an_update_that_leaves_into_a_delete_of_the_old_key) {
  BOOST_TEST(outcome(from_source().where("qty > 0"),
                     pgoutput(orders(),
                              {pg_update({"1", "0", "x"}), pg_update('K', {"1", std::nullopt, std::nullopt}, {"9", "0", "x"}),
                               pg_delete('K', {"9", std::nullopt, std::nullopt})})) == "delete id=1\ndelete id=1\ndelete id=9\n");
}

BOOST_AUTO_TEST_CASE(a_step_that_makes_the_key_may_not_read_what_the_old_row_does_not_have) {
  const auto batch = pgoutput(orders(), {pg_insert({"1", "2", "x"}), pg_delete('K', {"1", std::nullopt, std::nullopt})});
  BOOST_TEST(outcome(from_source().set({{"id", "id + 100"}}), batch) == "insert id=101 qty=2 note='x'\ndelete id=101\n");
  BOOST_TEST(outcome(from_source().set({{"id", "coalesce(qty, 0)"}}), batch) ==
             "insert id=2 qty=2 note='x'\nfailed transform at transform[1] set id [id] {\"id\":1}\n");
}

BOOST_AUTO_TEST_CASE(a_change_above_the_limit_is_too_large) {
  transform_limits limits;
  limits.max_record_bytes = 60;
  BOOST_TEST(outcome(from_source(), pgoutput(orders(), {pg_insert({"1", "2", std::string(60, 'x')}), pg_insert({"1", "2", "x"})}),
                     limits) == "failed too_large at decode\ninsert id=1 qty=2 note='x'\n");
}

BOOST_AUTO_TEST_CASE(a_malformed_change_is_a_dead_letter_and_nothing_else) {
  std::string binary = pg_insert({"1", "2", "x"});
  binary[8] = 'b';
  std::string two = pg_truncate();
  two[4] = 2;
  const std::vector<std::string> bad = {"",
                                        "I",
                                        "X....",
                                        pg_insert({"1", "2"}),
                                        pg_insert({"1", "2", "x", "y"}),
                                        pg_insert({"1", "2", "x"}) + "y",
                                        pg_insert({"1", "2", unchanged}),
                                        pg_insert({"1", "2", "x"}, 4711),
                                        pg_update('K', {"1"}, {"1", "2", "x"}),
                                        pg_message('D', 16400, {{'N', {"1", "2", "x"}}}),
                                        pg_insert({"1", "2", "\xff"}),
                                        binary,
                                        two};
  std::string expected;
  for (std::size_t i = 0; i < bad.size(); ++i) expected += "failed parse at decode\n";
  auto messages = bad;
  messages.push_back(pg_insert({"1", "2", "x"}));
  const auto set = run(from_source(), pgoutput(orders(), messages));
  BOOST_TEST(show(*set) == expected + "insert id=1 qty=2 note='x'\n");
  BOOST_TEST(set->failures[7].message.find("relation 4711") != std::string::npos);
  const std::string good = pg_update('K', {"1", std::nullopt, std::nullopt}, {"9", "5", "x"});
  for (std::size_t n = 0; n < good.size(); ++n) // cut anywhere
    BOOST_TEST(outcome(from_source(), pgoutput(orders(), {good.substr(0, n)})) == "failed parse at decode\n");
  BOOST_TEST(outcome(from_source(), pgcopy(orders(), {"1\t2", "1\t2\t3\t4", "1\t2\t3\\", "1\t2\t\\q", "1\t2\t\xff", ""})) ==
             "failed parse at decode\nfailed parse at decode\nfailed parse at decode\nfailed parse at decode\nfailed parse at "
             "decode\nfailed parse at decode\n");
  BOOST_TEST(outcome(from_source(), pgoutput(orders(), {pg_insert({"one", "2", "x"})})) == "failed type at schema [id]\n");
}

BOOST_AUTO_TEST_CASE(a_context_that_cannot_be_read_fails_every_change) {
  for (const std::string& context : {std::string(), std::string("abc"), std::string(16, '\xff'), std::string(8, '\0')}) {
    const auto batch = std::make_shared<fake_batch>(pg_block({pg_insert({"1", "2", "x"})}, context));
    BOOST_TEST(outcome(from_source(), batch) == "failed parse at decode\n");
  }
}

BOOST_AUTO_TEST_CASE(random_bytes_never_crash_and_every_change_is_accounted_for) {
  const char* given = std::getenv("MILLRACE_SEED");
  const auto seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  BOOST_TEST_CONTEXT("MILLRACE_SEED=" << seed) {
    std::mt19937_64 random(seed);
    const std::vector<std::string> good = {pg_insert({"1", "2", "x"}), pg_update({"1", "5", unchanged}),
                                           pg_update('K', {"1", std::nullopt, std::nullopt}, {"9", "5", "ü"}),
                                           pg_delete('K', {"9", std::nullopt, std::nullopt}), pg_truncate()};
    const std::string context = context_of({orders()});
    load_builder load = from_source().where("qty > 1").set({{"total", "qty * 2"}});
    const auto t = make(load.load);
    for (int round = 0; round < 2000; ++round) {
      std::vector<std::string> messages;
      for (int i = 0; i < 8; ++i) {
        std::string m = good[random() % good.size()];
        for (auto n = random() % 4; n > 0 && !m.empty(); --n) {
          const auto at = random() % m.size();
          if (random() % 4 == 0)
            m.resize(at);
          else
            m[at] = static_cast<char>(random());
        }
        messages.push_back(std::move(m));
      }
      std::string words = context;
      if (round % 4 == 0) words[random() % words.size()] = static_cast<char>(random());
      const auto format = round % 3 ? storage::payload_format::pgoutput : storage::payload_format::pgcopy;
      const auto batch = std::make_shared<fake_batch>(pg_block(messages, words, format));
      const auto set = t->run(batch, 0, batch->count());
      BOOST_TEST(show(*set).find("LISTS") == std::string::npos);
      for (std::uint32_t i = 0; i < batch->count(); ++i) {
        summarize(*batch, i);
        readable(*batch, i);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(people_are_shown_the_change_as_json) {
  pg_test_table t = orders();
  t.columns.push_back({"price", "numeric", oid::numeric});
  const auto batch = pgoutput(t, {pg_insert({"1", "2", "say \"hi\"", "1.50"}), pg_update({"1", std::nullopt, unchanged, "NaN"}),
                                  pg_update('K', {"1", std::nullopt, std::nullopt, std::nullopt}, {"9", "2", "x", "1"}),
                                  pg_delete('K', {"9", std::nullopt, std::nullopt, std::nullopt}), pg_truncate()});
  BOOST_TEST(readable(*batch, 0) == R"({"new":{"id":1,"qty":2,"note":"say \"hi\"","price":"1.50"}})");
  BOOST_TEST(readable(*batch, 1) == R"({"new":{"id":1,"qty":null,"price":"NaN"},"unchanged":["note"]})");
  BOOST_TEST(readable(*batch, 2) == R"({"new":{"id":9,"qty":2,"note":"x","price":"1"},"old":{"id":1}})");
  BOOST_TEST(readable(*batch, 3) == R"({"old":{"id":9}})");
  BOOST_TEST(readable(*batch, 4) == "{}");
  const auto s = summarize(*batch, 3);
  BOOST_TEST((s.op == storage::operation::remove));
  BOOST_TEST(s.table == "public.orders");
  BOOST_TEST(s.key == R"({"id":9})");
  BOOST_TEST(s.transaction == "771");
  BOOST_TEST(summarize(*batch, 2).key == R"({"id":9})");
  BOOST_TEST(summarize(*batch, 4).key == "");
}

BOOST_AUTO_TEST_SUITE_END()
