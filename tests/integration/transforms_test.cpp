// Schema changes, expressions and Lua through the whole node; the steps themselves have their unit tests.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {
namespace {

struct transform_node : running_node {
  void through(const std::string& rest, const std::string& lines) {
    write_file(path("in.ndjson"), lines);
    node.apply("p", "pipeline: p\nsource: { type: file, path: in.ndjson }\nloads:\n  - name: l\n    destination: { type: sqlite, "
                    "path: out.db, table: t }\n" +
                        rest);
    node.caught_up("p");
    BOOST_TEST(unaccounted(node, "p") == "");
  }
  std::vector<std::string> rows(const std::string& sql) { return sqlite_file(path("out.db")).rows(sql); }
  std::string reasons() {
    std::string text;
    for (const auto& letter : node.dead_letters("p")) text += letter.at("reason").get<std::string>() + " ";
    return text;
  }
};

void same(const std::vector<std::string>& found, const std::vector<std::string>& expected) {
  BOOST_TEST(found == expected, boost::test_tools::per_element());
}

const std::string two = "{\"id\":1,\"a\":\"x\"}\n{\"id\":2,\"a\":\"y\",\"b\":5}\n";

} // namespace

BOOST_FIXTURE_TEST_SUITE(transforms, transform_node)

BOOST_AUTO_TEST_CASE(without_a_schema_the_table_grows_with_the_changes) {
  through("    key: [id]\n", two + "{\"id\":3,\"c\":1.5,\"d\":{\"e\":true}}\n");
  same(rows("select id, a, b, c, d from t order by id"),
       {"1|x|NULL|NULL|NULL", "2|y|5|NULL|NULL", "3|NULL|NULL|1.5|{\"e\":true}"});
}

BOOST_AUTO_TEST_CASE(a_new_field_is_ignored_added_or_quarantined_as_the_spec_says) {
  const std::string schema = "    key: [id]\n    schema: { id: { type: int64 }, a: { type: text } }\n";
  through(schema, two); // ignore is the default beside a schema
  same(rows("select * from t order by id"), {"1|x", "2|y"});
  for (const std::string policy : {"add_columns", "quarantine"}) {
    node.must({"pipeline", "delete", "p"});
    sqlite_file(path("out.db")).execute("drop table t");
    through(schema + "    schema_change: " + policy + "\n", two);
    if (policy == "add_columns")
      same(rows("select id, a, b from t order by id"), {"1|x|NULL", "2|y|5"});
    else
      same(rows("select * from t order by id"), {"1|x"});
    BOOST_TEST(reasons() == (policy == "quarantine" ? "schema " : ""));
  }
}

BOOST_AUTO_TEST_CASE(steps_follow_one_another) {
  through("    key: [id]\n    schema: { id: { type: int64 }, price: { type: decimal }, qty: { type: int64 }, email: { type: text "
          "}, note: { type: text } }\n"
          "    transform:\n      - where: \"qty > 0\"\n      - set: { total: \"decimal_mul(price, qty)\", city: \"payload ->> "
          "'$.address.city'\" }\n"
          "      - rename: { note: remark }\n      - mask: { email: sha256 }\n      - drop: [qty]\n",
          R"({"id":1,"price":0.10,"qty":3,"email":"a@b.c","note":"n","address":{"city":"Ulm"}})"
          "\n"
          R"({"id":2,"price":1,"qty":0})"
          "\n");
  same(rows("select id, price, total, city, remark, length(email) from t"), {"1|0.10|0.30|Ulm|n|64"});
  BOOST_TEST(node.load("p", "l").at("filtered") == 1);
}

BOOST_AUTO_TEST_CASE(lua_changes_splits_skips_and_fails) {
  through("    mode: append\n    schema: { id: { type: int64 }, n: { type: int64 } }\n    transform:\n      - lua: |\n"
          "          function transform(change, meta)\n"
          "            if change.id == 2 then return nil end\n"
          "            if change.id == 3 then error('three is refused') end\n"
          "            if change.id == 4 then while true do end end\n"
          "            if change.id == 5 then local a, b = {id = 50}, {id = 51}; return {a, b} end\n"
          "            change.n = change.id + 9007199254740992\n"
          "            return change\n          end\n",
          "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n{\"id\":5}\n");
  same(rows("select id, n from t order by id"), {"1|9007199254740993", "50|NULL", "51|NULL"});
  BOOST_TEST(reasons() == "transform transform ");
  BOOST_TEST(node.dead_letters("p").at(0).at("error").at("message").get<std::string>().find("three is refused") !=
             std::string::npos);
  BOOST_TEST(node.load("p", "l").at("filtered") == 1);
  BOOST_TEST(node.load("p", "l").at("delivered") == 2); // changes, not rows
}

BOOST_AUTO_TEST_CASE(a_script_cannot_reach_the_machine) {
  for (const std::string reach :
       {"io.open('/etc/passwd')", "os.execute('true')", "load('return 1')()", "require('io')", "dofile('/etc/passwd')"}) {
    through("    mode: append\n    schema: { id: { type: int64 } }\n    transform:\n      - lua: \"function transform(c) " +
                reach + " return c end\"\n",
            "{\"id\":1}\n");
    BOOST_TEST(reasons() == "transform ", reach);
    node.must({"pipeline", "delete", "p"});
  }
}

BOOST_AUTO_TEST_CASE(the_same_rows_at_any_number_of_workers) {
  order_stream orders({.seed = test_seed(), .keys = 300, .poison = 0.02});
  write_file(path("orders.ndjson"), orders.next(20000));
  std::vector<std::string> first;
  for (const std::string workers : {"{ min: 1, max: 1 }", "{ min: 4, max: 8 }"}) {
    std::filesystem::remove(path("out.db"));
    std::filesystem::remove(path("out.db-wal"));
    std::filesystem::remove(path("out.db-shm"));
    sqlite_file(path("out.db")).execute(order_table());
    node.apply("orders", order_spec("orders", "orders.ndjson", "out.db", false, "{ action: quarantine }",
                                    "    workers: " + workers + "\n"));
    node.caught_up("orders");
    check_against(orders.expected(), node, "orders", path("out.db"));
    node.must({"pipeline", "delete", "orders"});
  }
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
