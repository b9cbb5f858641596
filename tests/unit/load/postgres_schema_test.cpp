// Tables and columns: made, added, widened, left alone.

#include "postgres_support.hpp"

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {
const std::string columns_sql = "SELECT attname, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute WHERE attrelid = "
                                "'orders'::regclass AND attnum > 0 "
                                "AND NOT attisdropped ORDER BY attnum";
table_spec discovered(load_mode mode = load_mode::upsert) {
  auto out = table("orders", mode, {"id"});
  out.schema_change = schema_change_policy::add_columns;
  return out;
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_schema, postgres_fixture)

BOOST_AUTO_TEST_CASE(a_declared_table_is_made_at_the_claim_with_the_types_of_the_contract) {
  open({table("orders", load_mode::upsert, {"id"},
              {field("id", int64, true), field("b", boolean), field("f", float64), field("d", decimal), field("t", text, true),
               field("y", bytes), field("da", date), field("ts", timestamp), field("u", uuid), field("j", json)})});
  BOOST_TEST(query(columns_sql) == "id|bigint|t\nb|boolean|f\nf|double precision|f\nd|numeric|f\nt|text|t\ny|bytea|f\nda|date|f\n"
                                   "ts|timestamp with time zone|f\nu|uuid|f\nj|jsonb|f");
  const auto all = layout_of(0,
                             {{"id", int64},
                              {"b", boolean},
                              {"f", float64},
                              {"d", decimal},
                              {"t", text},
                              {"y", bytes},
                              {"da", date},
                              {"ts", timestamp},
                              {"u", uuid},
                              {"j", json}},
                             {0});
  const double infinity = std::numeric_limits<double>::infinity();
  for (const auto op : {false, true}) { // straight, then merged
    rows made(all, next);
    const auto put = [&](std::vector<cell> cells) { op ? made.update(std::move(cells)) : made.insert(std::move(cells)); };
    put({i(INT64_MIN), b(true), f(0.1), t("123456789012345678901234567890.123456789"), t("\b\t\n\v\f\r\\N\\"),
         cell::blob({"\0\xff\\x", 4}), t("2024-02-29"), t("2024-02-29T12:34:56.123456Z"),
         t("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), t("{\"k\":\"\\\\ \xc3\xa4\"}")});
    put({i(2), b(false), f(-infinity), t("NaN"), t(""), cell::blob({"", 0}), t("infinity"), t("-infinity"), null(), t("null")});
    put({i(3), null(), f(std::nan("")), null(), t("\\."), null(), t("0044-03-15 BC"), t("2024-01-01 00:00:00+02"), null(),
         null()});
    write(made.done());
    BOOST_TEST(
        query("SELECT id, b, f, d, t = E'\\b\\t\\n\\x0b\\f\\r\\\\N\\\\', y, da, ts AT TIME ZONE 'UTC', u, j->>'k' FROM orders "
              "ORDER BY id") ==
        "-9223372036854775808|t|0.1|123456789012345678901234567890.123456789|t|\\x00ff5c78|2024-02-29|2024-02-29 "
        "12:34:56.123456|a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|\\ \xc3\xa4\n2|f|-Infinity|NaN|f|\\x|infinity|-infinity|NULL|NULL\n"
        "3|NULL|NaN|NULL|f|NULL|0044-03-15 BC|2023-12-31 22:00:00|NULL|NULL");
    BOOST_TEST(query("SELECT t FROM orders WHERE id = 3") == "\\.");
  }
  BOOST_TEST(refused() == 0u);
}

BOOST_AUTO_TEST_CASE(a_discovered_table_has_the_source_s_types_where_this_database_knows_them) {
  query("CREATE TYPE mood AS ENUM ('sad', 'glad')");
  open({discovered()});
  write(rows(layout_of(0,
                       {{"id", int64, "integer"},
                        {"price", decimal, "numeric(10,2)"},
                        {"tags", text, "text[]"},
                        {"m", text, "mood"},
                        {"x", text, "shop.unknown"},
                        {"weird", text, "no such ) type"},
                        {"v", text, "character varying(5)"}},
                       {0}))
            .insert({i(1), t("12.50"), t("{a,\"b c\"}"), t("glad"), t("?"), t("!"), t("abc")})
            .done());
  BOOST_TEST(query(columns_sql) == "id|integer|t\nprice|numeric(10,2)|f\ntags|text[]|f\nm|mood|f\nx|text|f\nweird|text|f\n"
                                   "v|character varying(5)|f");
  BOOST_TEST(rows_of("SELECT * FROM orders") == "1|12.50|{a,\"b c\"}|glad|?|!|abc");
}

BOOST_AUTO_TEST_CASE(columns_come_with_the_layout_that_has_them_or_with_their_first_value) {
  open({discovered()});
  write(rows(layout_of(0, {{"id", int64}, {"a", text}}, {0})).insert({i(1), null()}).done());
  BOOST_TEST(query("SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0") == "id");
  write(rows(layout_of(0, {{"id", int64}, {"a", text}, {"n", int64, "integer"}}, {0}), next)
            .insert({i(2), null(), null()})
            .insert({i(3), b(true), null()})
            .insert({i(4), t("no bool"), null()})
            .done());
  BOOST_TEST(query(columns_sql) == "id|bigint|t\nn|integer|f\na|boolean|f");
  BOOST_TEST(rows_of("SELECT id, a FROM orders ORDER BY id") == "1|NULL 2|NULL 3|t");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].second.reason == "type");
}

BOOST_AUTO_TEST_CASE(a_column_of_a_rolled_back_transaction_is_made_again) {
  auto& d = open({discovered()});
  write(rows(layout_of(0, {{"id", int64}}, {0})).insert({i(1)}).done());
  const auto wide = rows(layout_of(0, {{"id", int64}, {"a", text}}, {0}), next).insert({i(2), t("x")}).done();
  MUST(d.begin());
  MUST(d.apply(wide, 0, 1, seen));
  MUST(d.flush(seen));
  d.rollback();
  write(wide);
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "1|NULL 2|x");
}

BOOST_AUTO_TEST_CASE(policies_ignore_and_quarantine_leave_the_table_alone) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY)");
  auto spec = discovered();
  spec.schema_change = schema_change_policy::ignore;
  open({spec});
  const auto wide = layout_of(0, {{"id", int64, "bigint"}, {"a", text, "text"}}, {0});
  write(rows(wide).insert({i(1), t("x")}).done());
  spec.schema_change = schema_change_policy::quarantine;
  open({spec});
  write(rows(wide, next).insert({i(2), t("x")}).insert({i(3), null()}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "1 3");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].second.reason == "schema");
}

BOOST_AUTO_TEST_CASE(a_type_that_the_source_widened_is_widened_and_no_value_is_rounded) {
  open({discovered()});
  write(rows(layout_of(0, {{"id", int64, "integer"}, {"v", text, "character varying(3)"}, {"p", decimal, "numeric(4,1)"}}, {0}))
            .insert({i(1), t("abc"), t("1.5")})
            .done());
  write(rows(layout_of(0, {{"id", int64, "bigint"}, {"v", text, "text"}, {"p", decimal, "numeric(6,3)"}}, {0}), next)
            .insert({i(5000000000), t("abcdef"), t("999.125")})
            .done());
  BOOST_TEST(query(columns_sql) == "id|bigint|t\nv|text|f\np|numeric(6,3)|f");
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "1|abc|1.500 5000000000|abcdef|999.125");
  // Narrower again: the table stays as it is, values that do not fit are refused by themselves.
  write(rows(layout_of(0, {{"id", int64, "integer"}, {"v", text, "text"}, {"p", decimal, "numeric"}}, {0}), next)
            .insert({i(2), t("x"), t("1.0000")})
            .done());
  BOOST_TEST(query(columns_sql) == "id|bigint|t\nv|text|f\np|numeric|f");
  query("ALTER TABLE orders ALTER COLUMN p TYPE numeric(6,2)");
  write(rows(layout_of(0, {{"id", int64}, {"v", text}, {"p", decimal}}, {0}), next)
            .insert({i(3), t("x"), t("1.2300")})
            .insert({i(4), t("x"), t("1.2345")})
            .done());
  BOOST_TEST(rows_of("SELECT id, p FROM orders WHERE id IN (3, 4)") == "3|1.23");
  BOOST_TEST(refused() == 1u);
}

BOOST_AUTO_TEST_CASE(generated_and_identity_columns_domains_and_collations_of_a_user_s_table_work) {
  query("CREATE DOMAIN positive AS integer NOT NULL CHECK (VALUE > 0);"
        "CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);"
        "CREATE TABLE orders(id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, qty positive, double bigint GENERATED ALWAYS AS "
        "(qty * "
        "2) STORED, name text COLLATE ci)");
  open({discovered()});
  const auto shape = layout_of(0, {{"id", int64}, {"qty", int64}, {"double", int64}, {"name", text}}, {0});
  write(rows(shape).insert({i(10), i(1), i(99), t("a")}).insert({i(11), i(-1), i(99), t("b")}).done());
  write(rows(shape, next)
            .update({i(10), i(4), i(99), t("c")})
            .update({i(12), i(5), null(), t("d")})
            .remove({i(11), null(), null(), null()})
            .done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "10|4|8|c 12|5|10|d");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].second.sqlstate == "23514");
  query("CREATE TABLE words(w text COLLATE ci PRIMARY KEY, n bigint)");
  auto words = table("words", load_mode::upsert, {"w"});
  words.schema_change = schema_change_policy::add_columns;
  open({words});
  write(rows(layout_of(0, {{"w", text}, {"n", int64}}, {0}), next)
            .insert({t("A"), i(1)})
            .insert({t("b"), i(2)})
            .update({t("a"), i(3)})
            .remove({t("B"), null()})
            .done());
  BOOST_TEST(rows_of("SELECT lower(w), n FROM words") == "a|3");
}

BOOST_AUTO_TEST_CASE(names_may_be_qualified_quoted_or_of_any_script) {
  auto odd = table("sch\xc3\xb6n.Sel\"ect Me", load_mode::upsert, {"\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87"});
  odd.schema_change = schema_change_policy::add_columns;
  auto quoted = table("\"a.b\".\"c\"", load_mode::upsert, {"id"}, {field("id", int64, true)});
  open({odd, quoted});
  write(rows(layout_of(0, {{"\xd0\xba\xd0\xbb\xd1\x8e\xd1\x87", int64}, {"from \"x\"", text}}, {0}))
            .insert({i(1), t("a")})
            .update({i(1), t("b")})
            .done());
  BOOST_TEST(rows_of("SELECT * FROM \"sch\xc3\xb6n\".\"Sel\"\"ect Me\"") == "1|b");
  BOOST_TEST(rows_of("SELECT count(*) FROM \"a.b\".c") == "0");
}

BOOST_AUTO_TEST_CASE(names_that_postgresql_cannot_have_reject_the_change_that_brings_a_value_for_them) {
  open({discovered()});
  const std::string longest(63, 'x'), longer(64, 'x');
  write(rows(layout_of(0, {{"id", int64}, {longest, text}, {longer, text}}, {0}))
            .insert({i(1), t("fits"), null()})
            .insert({i(2), t("a"), t("b")})
            .done());
  BOOST_TEST(rows_of("SELECT * FROM orders") == "1|fits");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].second.message.find("63") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_table_that_cannot_serve_the_mode_is_refused_with_what_it_needs) {
  query(
      "CREATE TABLE orders(id bigint, name text); CREATE VIEW seen AS SELECT 1 AS id; CREATE TABLE hist(id bigint PRIMARY KEY)");
  FAILS(make({discovered()})->claim(who()), errc::refused, "CREATE UNIQUE INDEX", "orders");
  query("CREATE UNIQUE INDEX ON orders(id) WHERE id > 0");
  FAILS(make({discovered()})->claim(who()), errc::refused, "not partial");
  FAILS(make({table("seen", load_mode::append, {})})->claim(who()), errc::refused, "a view");
  FAILS(make({table("hist", load_mode::history, {"id"})})->claim(who()), errc::refused, "valid_from", "history");
  auto two = discovered(load_mode::append);
  FAILS(make({discovered(), two})->claim(who()), errc::refused, "different modes");
  query("CREATE UNIQUE INDEX ON orders(id)");
  MUST(make({discovered()})->claim(who()));
  MUST(make({discovered(load_mode::soft_delete)})->claim(who()));
  BOOST_TEST(rows_of("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = '_deleted'") == "1");
}

BOOST_AUTO_TEST_CASE(two_source_tables_may_flow_into_one) {
  auto first = discovered(), second = discovered();
  open({first, second});
  const auto a = layout_of(0, {{"id", int64}, {"a", int64, "bigint"}}, {0});
  const auto c = layout_of(1, {{"id", int64}, {"c", int64, "bigint"}}, {0});
  write(rows(a)
            .insert({i(1), i(1)})
            .insert({i(2), i(1)})
            .use(c)
            .update({i(1), i(2)})
            .remove({i(2), null()})
            .use(a)
            .update({i(1), i(3)})
            .done());
  BOOST_TEST(rows_of("SELECT id, a, c FROM orders") == "1|3|2");
}

BOOST_AUTO_TEST_CASE(partitioned_tables_take_rows_through_the_root) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF orders FOR VALUES FROM (0) TO (100); CREATE TABLE high PARTITION OF orders FOR VALUES "
        "FROM (100) TO (200)");
  open({discovered()});
  const auto shape = layout_of(0, {{"id", int64}, {"name", text}}, {0});
  write(rows(shape).insert({i(1), t("a")}).insert({i(150), t("b")}).insert({i(500), t("nowhere")}).done());
  write(rows(shape, next).move({i(1)}, {i(160), missing()}).update({i(150), t("c")}).done());
  BOOST_TEST(rows_of("SELECT tableoid::regclass, id, name FROM orders ORDER BY id") == "high|150|c high|160|a");
  BOOST_TEST(refused() == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
