// Tables: made, evolved, taken over; names of every kind; values that a column would change.

#include "support.hpp"

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {
std::unique_ptr<load::destination> fresh(const std::string& path, std::vector<table_spec> tables) {
  auto made = load::make_destination(load_of(path, std::move(tables)));
  MUST(made);
  return std::move(made).value();
}
transform::table_layout_ptr untyped(std::vector<std::string> names, std::vector<std::uint32_t> key = {0}) {
  std::vector<column_of> columns;
  for (auto& n : names) columns.push_back({n, std::nullopt});
  return layout_of(0, std::move(columns), std::move(key));
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(sqlite_schema, load_fixture)

BOOST_AUTO_TEST_CASE(a_declared_table_is_made_at_the_claim_with_the_types_of_the_contract) {
  open({table("films", load_mode::upsert, {"id"},
              {field("id", int64), field("seen", boolean), field("score", float64), field("cost", decimal, true),
               field("title", text), field("poster", bytes), field("day", date), field("at", timestamp), field("ref", uuid),
               field("doc", json)})});
  BOOST_TEST(rows_of("SELECT name, type, \"notnull\", pk FROM pragma_table_info('films')") ==
             "id|INTEGER|1|1 seen|INTEGER|0|0 score|REAL|0|0 cost|TEXT|1|0 title|TEXT|0|0 poster|BLOB|0|0 day|TEXT|0|0 "
             "at|TEXT|0|0 ref|TEXT|0|0 doc|TEXT|0|0");
  const auto shape = layout_of(0,
                               {{"id", int64},
                                {"seen", boolean},
                                {"score", float64},
                                {"cost", decimal},
                                {"title", text},
                                {"poster", bytes},
                                {"day", date},
                                {"at", timestamp},
                                {"ref", uuid},
                                {"doc", json}},
                               {0});
  write(rows(shape)
            .insert({i(9007199254740993), b(true), f(0.5), t("0.10"), t("caf\xc3\xa9"), cell::blob(std::string_view("\0\xff", 2)),
                     t("2024-02-29"), t("2024-02-29T01:02:03.000004Z"), t("00000000-0000-0000-0000-000000000001"),
                     t("{\"a\": [1]}")})
            .done());
  BOOST_TEST(rows_of("SELECT id, seen, score, cost, title, hex(poster), day, at, ref, doc ->> '$.a[0]' FROM films") ==
             "9007199254740993|1|0.5|0.10|caf\xc3\xa9|00FF|2024-02-29|2024-02-29T01:02:03.000004Z|00000000-0000-0000-0000-"
             "000000000001|1");
}

BOOST_AUTO_TEST_CASE(steps_that_rename_and_drop_are_seen_before_the_first_row) {
  auto spec = table("t", load_mode::upsert, {"key"}, {field("id", int64), field("secret", text), field("name", text)});
  spec.transform = {{step_kind::rename, "", {{"id", "key"}}, {}, {}}, {step_kind::drop, "", {}, {"secret"}, {}}};
  open({spec});
  BOOST_TEST(rows_of("SELECT name FROM pragma_table_info('t')") == "key name");
}

BOOST_AUTO_TEST_CASE(a_column_that_the_schema_gained_is_added_to_the_table_with_its_rows_kept) {
  open({table("t", load_mode::upsert, {"id"}, {field("id", int64)})});
  write(rows(layout_of(0, {{"id", int64}}, {0})).insert({i(1)}).done());
  open({table("t", load_mode::upsert, {"id"}, {field("id", int64), field("email", text, true)})});
  write(rows(layout_of(0, {{"id", int64}, {"email", text}}, {0})).insert({i(2), t("a@b")}).done());
  BOOST_TEST(rows_of("SELECT * FROM t ORDER BY id") == "1|NULL 2|a@b");
}

BOOST_AUTO_TEST_CASE(without_a_schema_the_rows_make_the_table_and_a_column_comes_with_its_first_value) {
  open({table("t", load_mode::upsert, {"id"})});
  BOOST_TEST(rows_of("SELECT count(*) FROM sqlite_schema WHERE name = 't'") == "0");
  const auto shape = untyped({"id", "a", "b", "c"});
  write(rows(shape).remove({i(1), null(), null(), null()}).truncate().insert({i(1), null(), t("x"), null()}).done());
  BOOST_TEST(rows_of("SELECT name, type FROM pragma_table_info('t')") == "id|INTEGER b|TEXT");
  write(rows(shape).insert({i(2), f(1.5), t("y"), null()}).insert({i(3), f(2), null(), b(true)}).done());
  BOOST_TEST(rows_of("SELECT name, type FROM pragma_table_info('t')") == "id|INTEGER b|TEXT a|REAL c|INTEGER");
  BOOST_TEST(rows_of("SELECT id, a, b, c FROM t ORDER BY id") == "1|NULL|x|NULL 2|1.5|y|NULL 3|2.0|NULL|1");
  BOOST_TEST(seen.refused.empty());
}

BOOST_AUTO_TEST_CASE(a_column_that_a_rolled_back_transaction_made_is_made_again) {
  auto& d = open({table("t", load_mode::upsert, {"id"})});
  const auto shape = untyped({"id", "a"});
  const auto set = rows(shape).insert({i(1), t("x")}).done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 1, seen));
  d.rollback();
  BOOST_TEST(rows_of("SELECT count(*) FROM sqlite_schema WHERE name = 't'") == "0");
  write(set);
  BOOST_TEST(rows_of("SELECT * FROM t") == "1|x");
}

BOOST_AUTO_TEST_CASE(the_schema_may_change_under_us_between_transactions) {
  open({table("t", load_mode::upsert, {"id"}, {field("id", int64), field("a", text)})});
  const auto shape = layout_of(0, {{"id", int64}, {"a", text}}, {0});
  write(rows(shape).insert({i(1), t("x")}).done());
  other(path).run("ALTER TABLE t DROP COLUMN a");
  write(rows(shape).insert({i(2), t("y")}).done());
  BOOST_TEST(rows_of("SELECT * FROM t ORDER BY id") == "1|NULL 2|y");
  other(path).run("DROP TABLE t");
  write(rows(shape).insert({i(3), t("z")}).done());
  BOOST_TEST(rows_of("SELECT * FROM t ORDER BY id") == "3|z");
}

BOOST_AUTO_TEST_CASE(names_may_be_reserved_quoted_or_of_any_script) {
  open({table("select \"from\"", load_mode::upsert, {"order"},
              {field("order", text), field("Größe 'x'", int64), field("日本", text), field("a;b--", text)})});
  const auto shape = layout_of(0, {{"order", text}, {"Größe 'x'", int64}, {"日本", text}, {"a;b--", text}}, {0});
  write(rows(shape).insert({t("k"), i(1), t("v"), t("w")}).update({t("k"), missing(), t("u"), missing()}).done());
  write(rows(shape).move({t("k")}, {t("l"), missing(), missing(), t("n")}).done());
  BOOST_TEST(rows_of("SELECT * FROM \"select \"\"from\"\"\"") == "l|1|u|n");
}

BOOST_AUTO_TEST_CASE(names_that_sqlite_cannot_have_reject_the_change_that_brings_a_value_for_them) {
  open({table("t", load_mode::soft_delete, {"id"})});
  const auto shape = untyped({"id", "Name", "name", std::string("a\0b", 3), "_DELETED"});
  write(rows(shape)
            .insert({i(1), t("x"), null(), null(), null()})
            .insert({i(2), t("x"), t("y"), null(), null()})
            .insert({i(3), null(), null(), t("z"), null()})
            .insert({i(4), null(), null(), null(), i(1)})
            .insert({i(5), null(), null(), null(), null()})
            .done());
  BOOST_TEST(rows_of("SELECT id FROM t ORDER BY id") == "1 5");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 3u);
  BOOST_TEST(seen.refused[0].second.message.find("differ in case only") != std::string::npos);
  BOOST_TEST(seen.refused[2].second.message.find("soft_delete") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(more_columns_than_sqlite_allows_reject_the_change_not_the_load) {
  open({table("t", load_mode::upsert, {"id"})});
  std::vector<std::string> names = {"id"};
  std::vector<cell> cells = {i(1)};
  for (int n = 0; n < 1998; ++n) {
    names.push_back("c" + std::to_string(n));
    cells.push_back(i(n));
  }
  write(rows(untyped(names)).insert(cells).done());
  for (int n = 0; n < 3; ++n) {
    names.push_back("more" + std::to_string(n));
    cells.push_back(null());
  }
  auto wide = cells;
  wide.front() = i(2);
  wide[1999] = wide[2000] = wide[2001] = i(7);
  auto narrow = cells;
  narrow.front() = i(3);
  write(rows(untyped(names)).insert(wide).insert(narrow).done());
  BOOST_TEST(rows_of("SELECT id FROM t ORDER BY id") == "1 3");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 1u);
  BOOST_TEST(seen.refused[0].second.message.find("too many columns") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_user_s_table_is_used_as_it_is) {
  other(path).run(
      "CREATE TABLE t(name VARCHAR(20), id INT, extra TEXT DEFAULT 'd', need TEXT NOT NULL DEFAULT 'n', twice INT AS (id * 2));"
      "CREATE UNIQUE INDEX t_key ON t(id)");
  open({table("t", load_mode::upsert, {"id"}, {field("id", int64), field("name", text)})});
  const auto shape = layout_of(0, {{"id", int64}, {"name", text}}, {0});
  write(rows(shape).insert({i(1), t("a")}).insert({i(1), t("b")}).done());
  BOOST_TEST(rows_of("SELECT id, name, extra, need, twice FROM t") == "1|b|d|n|2");
}

BOOST_AUTO_TEST_CASE(a_table_that_cannot_serve_the_mode_is_refused_with_what_it_needs) {
  other(path).run("CREATE TABLE bare(id INT, name TEXT); CREATE TABLE typed(id INTEGER PRIMARY KEY, name REAL, made INT AS "
                  "(id)); CREATE VIEW seen AS SELECT 1 AS id;"
                  "CREATE TABLE other(k INTEGER PRIMARY KEY)");
  const std::vector<field_spec> fields = {field("id", int64), field("name", text)};
  FAILS(fresh(path, {table("bare", load_mode::upsert, {"id"}, fields)})->claim(who()), errc::refused,
        "CREATE UNIQUE INDEX \"bare_key\" ON \"bare\"(\"id\")");
  FAILS(fresh(path, {table("typed", load_mode::upsert, {"id"}, fields)})->claim(who()), errc::refused, "\"name\"", "REAL",
        "text");
  FAILS(fresh(path, {table("typed", load_mode::upsert, {"id"}, {field("id", int64), field("made", int64)})})->claim(who()),
        errc::refused, "generated");
  FAILS(fresh(path, {table("seen", load_mode::upsert, {"id"}, fields)})->claim(who()), errc::refused, "view");
  FAILS(fresh(path, {table("other", load_mode::upsert, {"id"})})->claim(who()), errc::refused, "no column \"id\"");
  FAILS(fresh(path, {table("bare", load_mode::history, {"id"}, fields)})->claim(who()), errc::refused, "valid_from");
  FAILS(fresh(path, {table("_millrace_offsets", load_mode::append, {}, fields)})->claim(who()), errc::refused,
        "_millrace_offsets");
  FAILS(fresh(path, {table("sqlite_x", load_mode::append, {}, fields)})->claim(who()), errc::refused, "sqlite_");
  // A refused claim leaves nothing behind.
  BOOST_TEST(rows_of("SELECT count(*) FROM sqlite_schema WHERE name = '_millrace_offsets'") == "0");
}

BOOST_AUTO_TEST_CASE(a_value_that_the_column_would_change_is_rejected_as_type) {
  open({table("t", load_mode::upsert, {"id"})});
  const auto shape = untyped({"id", "n", "r", "s"});
  write(rows(shape).insert({i(1), i(5), f(0.5), t("text")}).done());
  write(rows(shape)
            .insert({i(2), t("12"), null(), null()})                                     // would become the number 12
            .insert({i(3), t("abc"), null(), null()})                                    // would be text in an INTEGER column
            .insert({i(4), f(1.5), null(), null()})                                      // no integer
            .insert({i(5), f(3.0), i(7), null()})                                        // both exact
            .insert({i(6), null(), i(9007199254740993), null()})                         // a float would round it
            .insert({i(7), null(), null(), i(5)})                                        // would become the text 5
            .insert({t("8"), null(), null(), null()})                                    // a text key in a table of integer keys
            .insert({i(9), null(), f(std::numeric_limits<double>::quiet_NaN()), null()}) // SQLite stores NULL for it
            .done());
  BOOST_TEST(rows_of("SELECT id FROM t ORDER BY id") == "1 5");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 7u);
  for (const auto& [change, why] : seen.refused) BOOST_TEST(why.reason == "type", why.message);
  BOOST_TEST(seen.refused[0].second.column == "n");
  BOOST_TEST(seen.refused[0].second.message.find("'12'") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(decimals_and_texts_survive_a_user_s_numeric_columns_or_are_rejected) {
  other(path).run("CREATE TABLE t(id INTEGER PRIMARY KEY, price DECIMAL(10,2), name STRING)");
  open({table("t", load_mode::upsert, {"id"}, {field("id", int64), field("price", decimal), field("name", text)})});
  const auto shape = layout_of(0, {{"id", int64}, {"price", decimal}, {"name", text}}, {0});
  write(rows(shape)
            .insert({i(1), t("19.99"), t("abc")})
            .insert({i(2), t("12345678901234567890.12"), null()})
            .insert({i(3), null(), t("007")})
            .done());
  BOOST_TEST(rows_of("SELECT * FROM t") == "1|19.99|abc");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 2u);
  BOOST_TEST(seen.refused[0].second.column == "price");
  BOOST_TEST(seen.refused[1].second.column == "name");
}

BOOST_AUTO_TEST_CASE(layouts_that_come_anew_with_every_batch_are_served_and_not_kept) {
  open({table("t", load_mode::upsert, {"id"})});
  for (int n = 0; n < 200; ++n) write(rows(untyped({"id", "v"})).insert({i(n), i(n)}).done());
  BOOST_TEST(rows_of("SELECT count(*), sum(v) FROM t") == "200|19900");
}

BOOST_AUTO_TEST_CASE(dynamic_append_waits_for_a_row_that_says_what_columns_there_are) {
  open({table("t", load_mode::append, {})});
  const auto shape = untyped({"a"}, {});
  write(rows(shape).insert({null()}).insert({i(1)}).insert({null()}).done());
  BOOST_TEST(rows_of("SELECT * FROM t ORDER BY rowid") == "1 NULL");
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 1u);
}

BOOST_AUTO_TEST_SUITE_END()
