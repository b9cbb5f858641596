// where, set, rename, drop, mask.
#include "tests/unit/transform/support.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::test;
using T = data_type;
using K = step_kind;

namespace {
load_builder orders() { return load_builder{}.column("id", T::int64).column("qty", T::int64).column("price", T::decimal); }
const auto three = [] {
  return batch_of({R"({"id":1,"qty":2,"price":9.90})", R"({"id":2,"qty":0,"price":1})", R"({"id":3,"price":"5"})"});
};
std::string compile_error(const load_builder& load) {
  const auto errors = errors_of(load.load);
  return errors.empty() ? "compiles" : errors[0].message;
}
} // namespace

BOOST_AUTO_TEST_SUITE(steps)

BOOST_AUTO_TEST_CASE(where_keeps_rows_that_are_true_and_null_is_not) {
  BOOST_TEST(outcome(orders().where("qty > 0"), three()) == "insert id=1 qty=2 price='9.90'\nfiltered\nfiltered\n");
  BOOST_TEST(outcome(orders().where("price > 4.5"), three()) ==
             "insert id=1 qty=2 price='9.90'\nfiltered\ninsert id=3 qty=NULL price='5'\n");
}

BOOST_AUTO_TEST_CASE(where_follows_postgresqls_row_filters) {
  const auto events = debezium(
      {R"({"op":"u","before":{"id":1},"after":{"id":1,"qty":0}})", R"({"op":"u","before":{"id":1},"after":{"id":2,"qty":0}})",
       R"({"op":"d","before":{"id":3,"qty":0}})", R"({"op":"t"})", R"({"op":"u","before":{"id":4},"after":{"id":5,"qty":1}})"});
  BOOST_TEST(outcome(orders().where("qty > 0"), events) ==
             "delete id=1\ndelete id=1\ndelete id=3\ntruncate\nupdate(id=4) id=5 qty=1 price=NULL\n");
  BOOST_TEST(outcome(orders().where("qty > 0").mode(load_mode::append), events) ==
             "filtered\nfiltered\nfiltered\nfiltered\nupdate id=5 qty=1 price=NULL\n");
}

BOOST_AUTO_TEST_CASE(set_sees_the_values_before_it) {
  BOOST_TEST(outcome(orders().set({{"qty", "qty + 1"}, {"old", "qty"}}).set({{"newer", "qty"}}),
                     batch_of({R"({"id":1,"qty":2})"})) == "insert id=1 qty=3 price=NULL old=2 newer=3\n");
}

BOOST_AUTO_TEST_CASE(untouched_decimals_stay_exact_and_functions_are) {
  BOOST_TEST(outcome(orders().set({{"copy", "price"},
                                   {"f", "qty * price"},
                                   {"sum", "decimal_add(price, '0.2')"},
                                   {"diff", "decimal_sub(price, 0.3)"},
                                   {"product", "decimal_mul(price, '9007199254740993')"},
                                   {"order_", "decimal_cmp(price, '0.10')"},
                                   {"none", "decimal_add(price, null)"}}),
                     batch_of({R"({"id":1,"qty":3,"price":0.1})"})) ==
             "insert id=1 qty=3 price='0.1' copy='0.1' f=0.30000000000000004 sum='0.3' diff='-0.2' product='900719925474099.3' "
             "order_=0 none=NULL\n");
}

BOOST_AUTO_TEST_CASE(the_schema_has_the_last_word_on_assigned_values) {
  BOOST_TEST(outcome(orders().set({{"qty", "price"}}), three()) ==
             "failed type at schema [qty] {\"id\":1}\ninsert id=2 qty=1 price='1'\ninsert id=3 qty=5 price='5'\n");
  field_spec flag = field("flag", T::boolean);
  flag.required = true;
  BOOST_TEST(outcome(orders().column(flag).set({{"flag", "qty > 0"}}), three()) ==
             "insert id=1 qty=2 price='9.90' flag=true\ninsert id=2 qty=0 price='1' flag=false\nfailed schema at schema [flag] "
             "{\"id\":3}\n");
}

BOOST_AUTO_TEST_CASE(an_error_at_one_row_fails_that_row_and_names_its_expression) {
  const auto set = run(orders().set({{"a", "qty"}, {"b", "json(price)"}, {"c", "abs(qty)"}}),
                       batch_of({R"({"id":1,"price":"1"})", R"({"id":2,"qty":-9223372036854775808,"price":"2"})",
                                 R"({"id":3,"qty":4,"price":3})"}));
  BOOST_TEST(show(*set) == "insert id=1 qty=NULL price='1' a=NULL b='1' c=NULL\nfailed transform at transform[1] set c [c] "
                           "{\"id\":2}\ninsert id=3 qty=4 price='3' a=4 b='3' c=4\n");
  BOOST_TEST(set->failures[0].message == "integer overflow");
  BOOST_TEST(
      outcome(orders().where("abs(qty) > 0"), batch_of({R"({"id":1,"qty":-9223372036854775808})", R"({"id":2,"qty":1})"})) ==
      "failed transform at transform[1] where {\"id\":1}\ninsert id=2 qty=1 price=NULL\n");
}

BOOST_AUTO_TEST_CASE(the_change_itself_is_there_beside_its_columns) {
  BOOST_TEST(
      outcome(orders().set({{"a", "payload ->> '$.x.y'"}, {"b", "op"}, {"c", "\"offset\""}, {"d", "ts"}, {"e", "table_name"}}),
              batch_of({R"({"id":1,"x":{"y":"z"}})"})) ==
      "insert id=1 qty=NULL price=NULL a='z' b='insert' c=100 d='2023-11-14T22:13:20.123456Z' e=''\n");
  BOOST_TEST(outcome(load_builder{}.column("id", T::int64).column("op", T::text).set({{"x", "op"}}),
                     batch_of({R"({"id":1,"op":"mine"})"})) == "insert id=1 op='mine' x='mine'\n");
}

BOOST_AUTO_TEST_CASE(expressions_may_read_json_but_not_go_on_for_ever) {
  BOOST_TEST(outcome(orders().where("exists (select 1 from json_each(payload, '$.tags') where value = 'x')"),
                     batch_of({R"({"id":1,"tags":["x"]})", R"({"id":2,"tags":[]})"})) ==
             "insert id=1 qty=NULL price=NULL\nfiltered\n");
  transform_limits limits;
  limits.sql_progress_ops = 100'000;
  std::string list = "[0";
  for (int i = 1; i < 400; ++i) list += ",0";
  const std::string slow =
      "(select count(*) from json_each(payload, '$.a') x, json_each(payload, '$.a') y, json_each(payload, '$.a') z) >= 0";
  BOOST_TEST(outcome(orders().where(slow), batch_of({"{\"id\":1,\"a\":" + list + "]}", "{\"id\":2}"}), limits) ==
             "failed transform at transform[1] where {\"id\":1}\ninsert id=2 qty=NULL price=NULL\n");
}

BOOST_AUTO_TEST_CASE(now_is_the_time_of_the_log) {
  BOOST_TEST(outcome(orders().set({{"t", "datetime('now')"}}), batch_of({R"({"id":1})"})) ==
             "insert id=1 qty=NULL price=NULL t='2023-11-14 22:13:20'\n");
}

BOOST_AUTO_TEST_CASE(only_single_harmless_expressions_compile) {
  for (const char* bad : {"1) from change --",
                          "1; drop table x",
                          "1, 2",
                          "1) or (2",
                          "1 /*",
                          "",
                          "  ",
                          "'open",
                          "sum(qty) > 1",
                          "(select sum(qty))",
                          "row_number() over ()",
                          "random() > 0",
                          "randomblob(1)",
                          "(select count(*) from sqlite_master)",
                          "(select 1 from pragma_table_info('x'))",
                          "load_extension('x')",
                          "?1",
                          ":a",
                          "nothing",
                          "\"qti\"",
                          "change.nothing",
                          "(select qty from \"millrace change 1\")",
                          "(with recursive a(x) as (select 1 union all select x from a) select count(*) from a)",
                          "writefile('/tmp/x', 1)",
                          "qty >",
                          "1 as x",
                          "select 1"})
    BOOST_TEST(compile_error(orders().where(bad)) != "compiles", bad);
  for (const char* good : {"1 -- a remark", "(qty) > (1)", "change.qty > 0", "\"qty\" > 0", "QTY > 0",
                           "case when qty > 0 then 1 end", "price like '1%'", "(select max(value) from json_each('[1]')) = 1"})
    BOOST_TEST(compile_error(orders().where(good)) == "compiles", good << ": " << compile_error(orders().where(good)));
}

BOOST_AUTO_TEST_CASE(a_step_that_does_not_compile_is_told_with_its_place) {
  const auto errors = errors_of(orders().where("qti > 0").set({{"x", "qty +"}}).load);
  BOOST_REQUIRE(errors.size() == 2u);
  BOOST_TEST(errors[0].where.line == 10);
  BOOST_TEST(errors[0].message == "where: no such column: qti, in: qti > 0");
  BOOST_TEST(errors[1].where.line == 11);
}

BOOST_AUTO_TEST_CASE(without_a_schema_a_column_that_no_change_has_is_null) {
  BOOST_TEST(outcome(load_builder{}.where("a is null or a > 1").set({{"x", "coalesce(a, 'none')"}}),
                     batch_of({R"({"id":1})", R"({"id":2,"a":1})", R"({"id":3,"a":2})"})) ==
             "insert id=1 a=NULL x='none'\nfiltered\ninsert id=3 a=2 x=2\n");
}

BOOST_AUTO_TEST_CASE(rename_and_drop_change_columns_for_later_steps) {
  BOOST_TEST(outcome(orders().assign(K::rename, {{"qty", "n"}, {"price", "qty"}}).set({{"x", "n + qty"}}).drop({"qty"}),
                     three()) == "insert id=1 n=2 x=11.9\ninsert id=2 n=0 x=1\ninsert id=3 n=NULL x=NULL\n");
  BOOST_TEST(outcome(load_builder{}.assign(K::rename, {{"a", "b"}}),
                     batch_of({R"({"id":1,"a":1})", R"({"id":2,"b":2})", R"({"id":3,"a":1,"b":2})"})) ==
             "insert id=1 b=1\ninsert id=2 b=2\nfailed transform at transform[1] rename [b] {\"id\":3}\n");
  BOOST_TEST(compile_error(orders().assign(K::rename, {{"nothing", "n"}})) ==
             "rename: found the column \"nothing\", expected one of: id, qty, price");
  BOOST_TEST(compile_error(orders().assign(K::rename, {{"qty", "price"}})) == "rename qty: there is already a column \"price\"");
  BOOST_TEST(compile_error(orders().drop({"nothing"})) != "compiles");
  BOOST_TEST(compile_error(orders().drop({"id"})) == "the key's column \"id\" is not there after the last step");
}

BOOST_AUTO_TEST_CASE(steps_on_the_key_hold_for_deletes_and_keys_before) {
  const auto events = debezium(
      {R"({"op":"c","after":{"no":1}})", R"({"op":"u","before":{"no":1},"after":{"no":2}})", R"({"op":"d","before":{"no":2}})"});
  const auto set = run(load_builder{}.column("no", T::text).assign(K::rename, {{"no", "id"}}).set({{"id", "'k' || id"}}), events);
  BOOST_TEST(show(*set) == "insert id='k1'\nupdate(id='k1') id='k2'\ndelete id='k2'\n");
  BOOST_TEST(set->rows[0].key_hash == set->rows[1].before_key_hash);
  BOOST_TEST(set->rows[1].key_hash == set->rows[2].key_hash);
  const auto masked = run(load_builder{}.column("id", T::text).assign(K::mask, {{"id", "sha256"}}),
                          debezium({R"({"op":"c","after":{"id":"a"}})", R"({"op":"d","before":{"id":"a"}})"}));
  BOOST_TEST(show(masked->cells_of(masked->rows[0])[0]) == show(masked->cells_of(masked->rows[1])[0]));
}

BOOST_AUTO_TEST_CASE(set_does_not_fail_a_delete_for_what_it_does_not_carry) {
  BOOST_TEST(outcome(orders().set({{"x", "json(coalesce(qty, '{'))"}}), debezium({R"({"op":"d","before":{"id":1}})"})) ==
             "delete id=1\n");
}

BOOST_AUTO_TEST_CASE(mask_hides_values_but_not_nulls) {
  const load_builder load = load_builder{}
                                .column("id", T::int64)
                                .column("a", T::text)
                                .column("b", T::text)
                                .column("c", T::int64)
                                .assign(K::mask, {{"a", "sha256"}, {"b", "redact"}, {"c", "null"}});
  BOOST_TEST(outcome(load, batch_of({R"({"id":1,"a":"abc","b":"x","c":7})", R"({"id":2})"})) ==
             "insert id=1 a='ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad' b='***' c=NULL\ninsert id=2 "
             "a=NULL b=NULL c=NULL\n");
  BOOST_TEST(compile_error(orders().assign(K::mask, {{"qty", "sha256"}})) ==
             "mask qty: sha256 gives text, the schema declares int64: declare it as text");
  BOOST_TEST(compile_error(orders().assign(K::mask, {{"qty", "rot13"}})) ==
             "mask qty: found the method \"rot13\", expected sha256, redact or null");
}

BOOST_AUTO_TEST_SUITE_END()
