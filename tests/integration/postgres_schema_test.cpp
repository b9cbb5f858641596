// Changes of the source's schema under each policy, in order with the data.

#include "tests/integration/support/postgres.hpp"

namespace millrace::testing {

BOOST_FIXTURE_TEST_SUITE(postgres_schema, postgres_node)

BOOST_AUTO_TEST_CASE(add_columns_follows_added_dropped_renamed_and_retyped_columns) {
  src("CREATE TABLE t(id int PRIMARY KEY, a int, b text); INSERT INTO t VALUES (1, 10, 'one')");
  apply("[t]");
  equal("SELECT * FROM t");
  src("ALTER TABLE t ADD c numeric(10,2) DEFAULT 1.50");
  src("INSERT INTO t VALUES (2, 20, 'two', 2.25)");
  dst_becomes("SELECT id, a, b, c FROM t ORDER BY id", "1|10|one|NULL\n2|20|two|2.25"); // a default fills no row that was there
  src("ALTER TABLE t DROP a");
  src("INSERT INTO t VALUES (3, 'three', 3)");
  dst_becomes("SELECT id, a, b, c FROM t ORDER BY id", "1|10|one|NULL\n2|20|two|2.25\n3|NULL|three|3.00");
  src("ALTER TABLE t RENAME b TO beta");
  src("INSERT INTO t VALUES (4, 'four', 4)");
  dst_becomes("SELECT id, b, beta FROM t WHERE id > 2 ORDER BY id", "3|three|NULL\n4|NULL|four");
  // All in one transaction with data on both sides of it.
  src("BEGIN; INSERT INTO t VALUES (5, 'five', 5); ALTER TABLE t ADD d timestamptz; INSERT INTO t VALUES (6, 'six', 6, "
      "'2024-01-01 00:00:00+00'); COMMIT");
  dst_becomes("SELECT id, beta, d AT TIME ZONE 'UTC' FROM t WHERE id > 4 ORDER BY id", "5|five|NULL\n6|six|2024-01-01 00:00:00");
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 0);
}

BOOST_AUTO_TEST_CASE(ignore_leaves_new_columns_out) {
  src("CREATE TABLE t(id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 10)");
  apply("[t]", "", "schema_change: ignore");
  equal("SELECT * FROM t");
  src("ALTER TABLE t ADD b text");
  src("INSERT INTO t VALUES (2, 20, 'x')");
  dst_becomes("SELECT * FROM t ORDER BY id", "1|10\n2|20");
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 0);
}

BOOST_AUTO_TEST_CASE(quarantine_holds_what_the_table_has_no_place_for_until_it_is_mended) {
  src("CREATE TABLE t(id int PRIMARY KEY, a int); INSERT INTO t VALUES (1, 10)");
  apply("[t]", "", "schema_change: quarantine");
  equal("SELECT * FROM t");
  src("ALTER TABLE t ADD b text");
  src("INSERT INTO t VALUES (2, 20, 'x')");
  node.until("p", "the change is in quarantine", [](const json& s) { return in(s, "/loads/0/dead_letters/open") == 1; });
  BOOST_TEST(dst("SELECT * FROM t") == "1|10");
  apply("[t]", "", "schema_change: add_columns");
  node.must({"dead-letters", "redrive", "p", "--all"});
  dst_becomes("SELECT id, a, b FROM t ORDER BY id", "1|10|NULL\n2|20|x");
}

BOOST_AUTO_TEST_CASE(an_explicit_schema_takes_what_it_names_whatever_comes) {
  src("CREATE TABLE t(id int PRIMARY KEY, price numeric, doc jsonb); INSERT INTO t VALUES (1, 2.50, '{\"a\": {\"b\": 7}}')");
  apply("[t]", "", "key: [id], schema: { id: int64, total: { type: decimal, from: price }, b: { type: int64, from: /doc/a/b } }");
  dst_becomes("SELECT id, total, b FROM t", "1|2.50|7");
  src("ALTER TABLE t ADD extra text; INSERT INTO t VALUES (2, 3, '{}', 'x')");
  dst_becomes("SELECT id, total, b FROM t ORDER BY id", "1|2.50|7\n2|3|NULL");
  src("UPDATE t SET price = 'NaN' WHERE id = 2");
  dst_becomes("SELECT total FROM t WHERE id = 2", "NaN");
}

BOOST_AUTO_TEST_CASE(steps_work_on_the_source_s_columns) {
  src("CREATE TABLE t(id int PRIMARY KEY, qty int, price numeric, email text);"
      "INSERT INTO t VALUES (1, 2, 1.5, 'a@b'), (2, 0, 9.5, 'c@d')");
  apply("[t]", "",
        "transform: [ { where: \"qty > 0\" }, { set: { total: \"decimal_mul(qty, price)\" } }, { mask: { email: redact } }, { "
        "drop: [price] } ]");
  dst_becomes("SELECT id, qty, email, total FROM t ORDER BY id", "1|2|***|3.0");
  src("UPDATE t SET qty = 1 WHERE id = 2; UPDATE t SET qty = 0 WHERE id = 1");
  dst_becomes("SELECT id, qty, email, total FROM t ORDER BY id", "2|1|***|9.5");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
