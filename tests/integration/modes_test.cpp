// What each mode makes of inserts, updates, deletes and truncates.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {
namespace {

std::string row(int id, const std::string& name) { return R"({"id":)" + std::to_string(id) + R"(,"name":")" + name + "\"}"; }
std::string change(const std::string& op, const std::string& before, const std::string& after, const std::string& more = "") {
  return R"({"op":")" + op + R"(","before":)" + before + R"(,"after":)" + after +
         R"(,"source":{"schema":"public","table":"t"},"ts_ms":1700000000000)" + more + "}\n";
}
const std::string story = change("c", "null", row(1, "a")) + change("r", "null", row(2, "b")) +
                          change("u", "null", row(1, "a2")) + change("d", R"({"id":2})", "null") +
                          change("u", R"({"id":1})", row(3, "a3")) + "null\n" + change("c", "null", row(4, "d"));

struct mode_node : running_node {
  /// Runs `lines` through a load of the mode; gives status of the load.
  json through(const std::string& mode, const std::string& lines) {
    write_file(path("in.ndjson"), lines);
    node.apply("p", "pipeline: p\nsource: { type: file, path: in.ndjson, envelope: debezium }\nloads:\n"
                    "  - { name: l, destination: { type: sqlite, path: out.db, table: t }, mode: " +
                        mode + (mode == "append" ? "" : ", key: [id]") +
                        ", schema: { id: { type: int64, required: true }, name: { type: text } } }\n");
    node.caught_up("p");
    BOOST_TEST(unaccounted(node, "p") == "");
    return node.load("p", "l");
  }
  std::vector<std::string> rows(const std::string& sql) { return sqlite_file(path("out.db")).rows(sql); }
};

void same(const std::vector<std::string>& found, const std::vector<std::string>& expected) {
  BOOST_TEST(found == expected, boost::test_tools::per_element());
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(modes, mode_node)

BOOST_AUTO_TEST_CASE(upsert_keeps_one_row_a_key_and_moves_it_when_the_key_changes) {
  const auto load = through("upsert", story);
  same(rows("select id, name from t order by id"), {"3|a3", "4|d"});
  BOOST_TEST(load.at("delivered") == 6);
  BOOST_TEST(load.at("filtered") == 1); // the tombstone
}

BOOST_AUTO_TEST_CASE(append_writes_every_insert_and_update_and_filters_deletes_and_truncates) {
  const auto load = through("append", story + change("t", "null", "null"));
  same(rows("select id, name from t order by rowid"), {"1|a", "2|b", "1|a2", "3|a3", "4|d"});
  BOOST_TEST(load.at("delivered") == 5);
  BOOST_TEST(load.at("filtered") == 3);
}

BOOST_AUTO_TEST_CASE(soft_delete_marks_rows_with_their_last_values_and_an_insert_revives) {
  through("soft_delete", story + change("c", "null", row(2, "again")) + change("d", R"({"id":4})", "null"));
  same(rows("select id, name, _deleted from t where id in (2, 3, 4) order by id"), {"2|again|0", "3|a3|0", "4|d|1"});
}

BOOST_AUTO_TEST_CASE(history_keeps_every_version_and_says_which_is_current) {
  through("history", change("c", "null", row(1, "a")) + change("u", "null", row(1, "a2")) + change("c", "null", row(2, "b")) +
                         change("d", R"({"id":2})", "null"));
  same(rows("select id, name, current, valid_to is null from t order by _offset"), {"1|a|0|0", "1|a2|1|1", "2|b|0|0"});
  same(rows("select count(distinct _offset), count(*) from t"), {"3|3"});
}

BOOST_AUTO_TEST_CASE(a_truncate_empties_marks_or_closes) {
  const auto lines = change("c", "null", row(1, "a")) + change("c", "null", row(2, "b")) + change("t", "null", "null") +
                     change("c", "null", row(3, "c"));
  through("upsert", lines);
  same(rows("select id from t"), {"3"});
  node.must({"pipeline", "delete", "p"});
  sqlite_file(path("out.db")).execute("drop table t");
  through("soft_delete", lines);
  same(rows("select id, _deleted from t order by id"), {"1|1", "2|1", "3|0"});
  node.must({"pipeline", "delete", "p"});
  sqlite_file(path("out.db")).execute("drop table t");
  through("history", lines);
  same(rows("select id, current from t order by id"), {"1|0", "2|0", "3|1"});
}

BOOST_AUTO_TEST_CASE(a_where_never_filters_a_delete_and_an_update_that_no_longer_passes_deletes_its_row) {
  write_file(path("in.ndjson"), change("c", "null", row(1, "keep")) + change("c", "null", row(2, "keep")) +
                                    change("c", "null", row(3, "no")) + change("u", "null", row(1, "no")) +
                                    change("d", R"({"id":2})", "null"));
  node.apply("p", "pipeline: p\nsource: { type: file, path: in.ndjson, envelope: debezium }\nloads:\n"
                  "  - name: l\n    destination: { type: sqlite, path: out.db, table: t }\n    key: [id]\n"
                  "    schema: { id: { type: int64, required: true }, name: { type: text } }\n    transform: [ { where: \"name = "
                  "'keep'\" } ]\n");
  node.caught_up("p");
  same(rows("select id from t"), {});
  BOOST_TEST(node.load("p", "l").at("filtered") == 1);
  BOOST_TEST(node.load("p", "l").at("delivered") == 4);
}

BOOST_AUTO_TEST_CASE(tables_of_one_source_go_to_tables_of_their_own_and_others_are_filtered) {
  const auto of = [](const std::string& table, int id) {
    return R"({"op":"c","before":null,"after":{"id":)" + std::to_string(id) + R"(},"source":{"schema":"public","table":")" +
           table + R"("},"ts_ms":1})" + "\n";
  };
  write_file(path("in.ndjson"), of("a", 1) + of("b", 2) + of("c", 3) + of("a", 4));
  node.apply("p",
             "pipeline: p\nsource: { type: file, path: in.ndjson, envelope: debezium }\nloads:\n"
             "  - name: l\n    destination: { type: sqlite, path: out.db }\n    tables:\n"
             "      - { name: public.a, to: first, mode: upsert, key: [id] }\n      - { name: b, to: second, mode: append }\n");
  node.caught_up("p");
  same(rows("select id from first order by id"), {"1", "4"});
  same(rows("select id from second"), {"2"});
  BOOST_TEST(node.load("p", "l").at("filtered") == 1);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
