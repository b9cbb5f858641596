// From payloads to rows: fields, keys, schema changes, envelopes, CSV.
#include "tests/unit/transform/support.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace::test;
using T = data_type;

namespace {
load_builder orders() { return load_builder{}.column("id", T::int64).column("qty", T::int64); }
field_spec from(std::string name, T type, std::string source) {
  field_spec f = field(std::move(name), type);
  f.from = std::move(source);
  return f;
}
std::string event(const std::string& op, const std::string& before, const std::string& after,
                  const std::string& source = R"({"schema":"public","table":"orders"})") {
  return R"({"op":")" + op + R"(","before":)" + before + R"(,"after":)" + after + R"(,"source":)" + source + "}";
}
} // namespace

BOOST_AUTO_TEST_SUITE(decode)

BOOST_AUTO_TEST_CASE(a_record_that_is_no_json_object_is_a_dead_letter) {
  BOOST_TEST(outcome(orders(),
                     batch_of({"{\"id\":1", "[1]", "7", "", "{\"id\":1}x", "{\"id\":1,\"qty\":\"\xff\"}", R"({"id":1,"qty":2})"},
                              storage::envelope::none, storage::payload_format::json, {}, false)) ==
             "failed parse at decode\nfailed parse at decode\nfailed parse at decode\nfailed parse at decode\nfailed parse at "
             "decode\nfailed parse at decode\n"
             "insert id=1 qty=2\n");
  BOOST_TEST(outcome(orders(), batch_of({R"({"id":1,"ignored":tru})"})) ==
             "failed parse at decode\n"); // what is skipped is validated, too
}

BOOST_AUTO_TEST_CASE(a_payload_above_the_limit_is_too_large) {
  transform_limits limits;
  limits.max_record_bytes = 20;
  BOOST_TEST(outcome(orders(), batch_of({R"({"id":1,"qty":22222})", R"({"id":1,"qty":222222})"}), limits) ==
             "insert id=1 qty=22222\nfailed too_large at decode\n");
}

BOOST_AUTO_TEST_CASE(missing_fields_take_defaults_and_null_stays_null) {
  field_spec qty = field("qty", T::decimal);
  qty.default_value = "1.50";
  BOOST_TEST(outcome(load_builder{}.column("id", T::int64).column(qty), batch_of({R"({"id":1})", R"({"id":2,"qty":null})"})) ==
             "insert id=1 qty='1.50'\ninsert id=2 qty=NULL\n");
}

BOOST_AUTO_TEST_CASE(required_refuses_missing_and_null) {
  field_spec qty = field("qty", T::int64);
  qty.required = true;
  BOOST_TEST(outcome(load_builder{}.column("id", T::int64).column(qty),
                     batch_of({R"({"id":1})", R"({"id":2,"qty":null})", R"({"id":3,"qty":1})"})) ==
             "failed schema at schema [qty] {\"id\":1}\nfailed schema at schema [qty] {\"id\":2}\ninsert id=3 qty=1\n");
}

BOOST_AUTO_TEST_CASE(of_duplicate_keys_the_last_counts) {
  BOOST_TEST(outcome(orders(), batch_of({R"({"id":1,"qty":"bad","qty":3})", R"({"id":2,"qty":3,"qty":"bad"})",
                                         R"({"id":3,"qty":3,"qty":null})"})) ==
             "insert id=1 qty=3\nfailed type at schema [qty] {\"id\":2}\ninsert id=3 qty=NULL\n");
}

BOOST_AUTO_TEST_CASE(fields_are_found_in_any_order_and_by_escaped_names) {
  BOOST_TEST(outcome(orders(), batch_of({R"({"id":1,"qty":2})", R"({"qty":3,"id":2})", R"({ "q\u0074y" : 4 , "id" : 3 })",
                                         R"({"x":{},"id":4,"y":[1],"qty":5})"})) ==
             "insert id=1 qty=2\ninsert id=2 qty=3\ninsert id=3 qty=4\ninsert id=4 qty=5\n");
}

BOOST_AUTO_TEST_CASE(from_is_a_name_or_a_pointer) {
  const load_builder load = load_builder{}
                                .column("id", T::int64)
                                .column(from("price", T::decimal, "p"))
                                .column(from("city", T::text, "/a/b~1c/1"))
                                .column(from("whole", T::json, "a"));
  BOOST_TEST(outcome(load, batch_of({R"({"id":1,"p":2.50,"a":{"b/c":["x","y"]}})", R"({"id":2,"a":{"b/c":["x"]}})",
                                     R"({"id":3,"a":7})"})) ==
             "insert id=1 price='2.50' city='y' whole='{\"b/c\":[\"x\",\"y\"]}'\ninsert id=2 price=NULL city=NULL "
             "whole='{\"b/c\":[\"x\"]}'\n"
             "insert id=3 price=NULL city=NULL whole='7'\n");
}

BOOST_AUTO_TEST_CASE(unknown_fields_follow_the_policy) {
  const auto batch = batch_of({R"({"id":1,"qty":2})", R"({"id":2,"new":"x"})", R"({"id":3,"qty":1})"});
  BOOST_TEST(outcome(orders(), batch) == "insert id=1 qty=2\ninsert id=2 qty=NULL\ninsert id=3 qty=1\n");
  BOOST_TEST(outcome(orders().policy(schema_change_policy::quarantine), batch) ==
             "insert id=1 qty=2\nfailed schema at schema [new] {\"id\":2}\ninsert id=3 qty=1\n");
  BOOST_TEST(outcome(orders().policy(schema_change_policy::add_columns), batch) ==
             "insert id=1 qty=2 new=NULL\ninsert id=2 qty=NULL new='x'\ninsert id=3 qty=1 new=NULL\n");
}

BOOST_AUTO_TEST_CASE(without_a_schema_columns_and_types_come_from_the_changes) {
  const auto set =
      run(load_builder{}, batch_of({R"({"id":1,"n":null,"b":true})",
                                    R"({"id":9223372036854775808,"f":0.1,"d":0.10000000000000000001,"o":{"a":1}})"}));
  BOOST_TEST(show(*set) ==
             "insert id=1 n=NULL b=true f=NULL d=NULL o=NULL\n"
             "insert id='9223372036854775808' n=NULL b=NULL f=0.10000000000000001 d='0.10000000000000000001' o='{\"a\":1}'\n");
  const auto& columns = set->layouts[0]->columns;
  BOOST_TEST((columns[0].type == T::int64 && !columns[1].type && columns[2].type == T::boolean && columns[3].type == T::float64 &&
              columns[4].type == T::decimal && columns[5].type == T::json));
  BOOST_TEST(columns[0].key);
}

BOOST_AUTO_TEST_CASE(a_change_without_its_key_is_a_dead_letter_unless_it_is_appended) {
  BOOST_TEST(outcome(orders(), batch_of({R"({"qty":2})", R"({"id":null})"})) ==
             "failed schema at schema [id]\nfailed schema at schema [id]\n");
  BOOST_TEST(outcome(orders().mode(load_mode::append), batch_of({R"({"qty":2})"})) == "insert id=NULL qty=2\n");
}

BOOST_AUTO_TEST_CASE(the_hash_of_a_key_is_the_same_for_good_and_bad_changes) {
  const auto set =
      run(orders(), batch_of({R"({"id":1,"qty":2})", R"({"id":"1","qty":"x"})", R"({"id":2,"qty":2})", R"({"id":"x","qty":2})"}));
  BOOST_REQUIRE((set->rows.size() == 2 && set->failures.size() == 2));
  BOOST_TEST(set->rows[0].key_hash != 0);
  BOOST_TEST(set->rows[0].key_hash == set->failures[0].key_hash);
  BOOST_TEST(set->rows[0].key_hash != set->rows[1].key_hash);
  BOOST_TEST(set->failures[1].key_hash == 0);
  BOOST_TEST(set->failures[1].key == "");
  BOOST_TEST(key_json(*set, set->rows[0]) == "{\"id\":1}");
}

BOOST_AUTO_TEST_CASE(rows_under_a_schema_share_one_layout_for_life) {
  const auto t = make(orders().load);
  const auto a = batch_of({R"({"id":1})"}), b = batch_of({R"({"qty":2,"id":1})", "{"});
  BOOST_TEST((t->run(a, 0, 1)->layouts[0] == t->run(b, 0, 2)->layouts[0]));
}

BOOST_AUTO_TEST_CASE(a_part_of_a_batch_gives_the_same_rows_as_the_whole) {
  std::vector<std::string> payloads;
  for (int i = 0; i < 50; ++i) payloads.push_back("{\"id\":" + std::to_string(i) + ",\"c" + std::to_string(i % 7) + "\":1}");
  const auto batch = batch_of(payloads);
  const auto t = make(load_builder{}.set({{"x", "c3 + 1"}}).load);
  const auto part = t->run(batch, 20, 30);
  BOOST_TEST(part->rows.size() == 10u);
  BOOST_TEST(part->rows[0].change == 20u);
}

BOOST_AUTO_TEST_CASE(csv_tells_null_from_empty_and_counts_cells) {
  const load_builder load = load_builder{}.column("id", T::int64).column("name", T::text).column("extra", T::json);
  BOOST_TEST(outcome(load, csv("id,name,extra", {"1,,", "2,\"\",\"{\"\"a\"\":1}\"", "3,\"a\"\"b,\nc\",[]", "4,x", "5,x,[],y",
                                                 "6,a\"b,", "7,\"x\"y,", "8,x,{bad"})) ==
             "insert id=1 name=NULL extra=NULL\ninsert id=2 name='' extra='{\"a\":1}'\ninsert id=3 name='a\"b,\nc' extra='[]'\n"
             "failed parse at decode\nfailed parse at decode\nfailed parse at decode\nfailed parse at decode\nfailed type at "
             "schema [extra] {\"id\":8}\n");
  BOOST_TEST(outcome(load_builder{}, csv("id,v", {"1,2.50"})) == "insert id='1' v='2.50'\n");
  BOOST_TEST(outcome(load_builder{}, csv("", {"1,2.50"})) == "failed parse at decode\n");
}

BOOST_AUTO_TEST_CASE(debezium_events_are_the_four_operations) {
  const std::string row = R"({"id":1,"qty":5})";
  BOOST_TEST(outcome(orders(), debezium({event("c", "null", row), event("r", "null", row), event("u", row, R"({"id":1,"qty":6})"),
                                         event("d", row, "null"), event("t", "null", "null"), event("m", "null", "null"), "null",
                                         R"({"schema":{},"payload":)" + event("c", "null", row) + "}", R"({"payload":null})"})) ==
             "insert id=1 qty=5\ninsert id=1 qty=5\nupdate id=1 qty=6\ndelete id=1\ntruncate\nfiltered\nfiltered\ninsert id=1 "
             "qty=5\nfiltered\n");
}

BOOST_AUTO_TEST_CASE(what_is_no_envelope_is_a_parse_failure) {
  for (const char* bad : {"{}", "{\"op\":\"c\"}", "{\"op\":\"x\",\"after\":{}}", "{\"op\":1}", "{\"op\":\"d\",\"before\":null}",
                          "{\"op\":\"u\",\"after\":[]}", "7", "", "{\"payload\":7}", "nul"})
    BOOST_TEST(outcome(orders(), debezium({bad})) == "failed parse at decode\n", bad);
}

BOOST_AUTO_TEST_CASE(an_update_that_changes_the_key_carries_the_key_before) {
  const auto set =
      run(orders(), debezium({event("u", R"({"id":1})", R"({"id":2,"qty":5})"), event("u", "null", R"({"id":3,"qty":5})"),
                              event("u", R"({"id":"4","qty":"bad"})", R"({"id":4,"qty":5})")}));
  BOOST_TEST(show(*set) == "update(id=1) id=2 qty=5\nupdate id=3 qty=5\nupdate id=4 qty=5\n");
  BOOST_TEST(set->rows[0].before_key_hash != 0);
  BOOST_TEST(set->rows[1].before_key_hash == 0);
}

BOOST_AUTO_TEST_CASE(a_delete_needs_only_its_key) {
  BOOST_TEST(outcome(orders(), debezium({event("d", R"({"id":1})", "null"), event("d", R"({"id":2,"qty":"bad"})", "null"),
                                         event("d", R"({"qty":1})", "null"), event("d", R"({"id":"x"})", "null")})) ==
             "delete id=1\ndelete id=2\nfailed schema at schema [id]\nfailed type at schema [id]\n");
}

BOOST_AUTO_TEST_CASE(append_takes_inserts_and_updates_only) {
  const std::string row = R"({"id":1,"qty":5})";
  BOOST_TEST(outcome(orders().mode(load_mode::append), debezium({event("c", "null", row), event("u", R"({"id":2})", row),
                                                                 event("d", row, "null"), event("t", "null", "null")})) ==
             "insert id=1 qty=5\nupdate id=1 qty=5\nfiltered\nfiltered\n");
}

BOOST_AUTO_TEST_CASE(a_value_that_debezium_did_not_send_stays_as_it_is) {
  const auto load = [] { return load_builder{}.column("id", T::int64).column("body", T::text); };
  const auto batch = debezium({event("u", "null", R"({"id":1,"body":"__debezium_unavailable_value"})"),
                               event("c", "null", R"({"id":1,"body":"__debezium_unavailable_value"})")});
  BOOST_TEST(outcome(load().set({{"n", "id + 1"}}), batch) == "update id=1 body=MISSING n=2\ninsert id=1 body=NULL n=2\n");
}

BOOST_AUTO_TEST_CASE(a_step_that_reads_a_value_that_was_not_sent_fails_the_change) {
  // Taken for NULL it would write a wrong value, or delete the row.
  const auto load = [] { return load_builder{}.column("id", T::int64).column("body", T::text); };
  const auto batch = debezium({event("u", "null", R"({"id":1,"body":"__debezium_unavailable_value"})"),
                               event("c", "null", R"({"id":1,"body":"__debezium_unavailable_value"})")});
  BOOST_TEST(outcome(load().set({{"n", "length(body)"}}), batch) ==
             "failed transform at transform[1] set n [n] {\"id\":1}\ninsert id=1 body=NULL n=NULL\n");
  BOOST_TEST(outcome(load().where("id > 5 or body is not null"), batch) ==
             "failed transform at transform[1] where {\"id\":1}\nfiltered\n");
  BOOST_TEST(outcome(load().lua("function transform(c) if c.body == nil then return nil end return c end"), batch) ==
             "failed transform at transform[1] lua {\"id\":1}\nfiltered\n");
  // A copy of what the script could see does not take the rest away.
  BOOST_TEST(outcome(load().lua("function transform(c) local r = {} for k, v in pairs(c) do r[k] = v end return r end"), batch) ==
             "update id=1 body=MISSING\ninsert id=1 body=NULL\n");
  BOOST_TEST(message_of(load().set({{"n", "length(body)"}}), batch).find("\"body\" is not known") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(tables_match_with_and_without_their_schema) {
  load_builder load = orders();
  load.table().name = "public.orders";
  load.load.tables.push_back(load.table());
  load.load.tables[1].name = "orders";
  load.load.tables[1].schema.pop_back();
  const std::string row = R"({"id":1,"qty":5})";
  const auto set = run(load, debezium({event("c", "null", row), event("c", "null", row, R"({"schema":"other","table":"orders"})"),
                                       event("c", "null", row, R"({"table":"items"})"),
                                       event("c", "null", row, R"({"db":"public","table":"orders"})")}));
  BOOST_TEST(show(*set) == "insert id=1 qty=5\ninsert id=1\nfiltered\ninsert id=1 qty=5\n");
  BOOST_TEST(set->layout_of(set->rows[0]).table == 0u);
  BOOST_TEST(set->layout_of(set->rows[1]).table == 1u);
}

BOOST_AUTO_TEST_CASE(a_rows_time_is_the_sources_commit_else_the_arrival) {
  const auto set =
      run(orders(),
          debezium({event("c", "null", R"({"id":1})", R"({"table":"t","ts_ms":1000})"), event("c", "null", R"({"id":1})")}));
  BOOST_TEST(set->rows[0].time_us == 1'000'000);
  BOOST_TEST(set->rows[1].time_us == 1'700'000'000'123'456);
}

BOOST_AUTO_TEST_CASE(a_default_or_format_that_makes_no_sense_does_not_compile) {
  field_spec qty = field("qty", T::int64);
  qty.default_value = "many";
  qty.where = {5, 3};
  field_spec day = field("day", T::date);
  day.format = "%Y-%Q";
  const auto errors = errors_of(load_builder{}.column("id", T::int64).column(qty).column(day).load);
  BOOST_REQUIRE(errors.size() == 2u);
  BOOST_TEST(errors[0].where.line == 5);
  BOOST_TEST(errors[0].message == "default of qty: found text \"many\", expected int64: a number");
  BOOST_TEST(errors[1].message == "format of day: found %Q, expected a strptime directive that is known");
}

BOOST_AUTO_TEST_CASE(a_summary_tells_operation_table_and_transaction) {
  const auto d = debezium({event("u", "null", R"({"id":1})", R"({"schema":"public","table":"orders","txId":77})"), "{"});
  const auto s = summarize(*d, 0);
  BOOST_TEST((s.op == storage::operation::update && s.table == "public.orders" && s.transaction == "77"));
  BOOST_TEST((summarize(*d, 1).op == storage::operation::insert));
  BOOST_TEST((summarize(*batch_of({"{\"op\":\"d\"}"}), 0).op == storage::operation::insert));
}

BOOST_AUTO_TEST_SUITE_END()
