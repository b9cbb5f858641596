// What each mode does with inserts, updates, deletes, truncates and moves (interfaces.md, "Changes").

#include "postgres_support.hpp"

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {
const std::vector<field_spec> fields = {field("id", int64, true), field("name", text), field("qty", int64)};
transform::table_layout_ptr shape(std::vector<std::uint32_t> key = {0}) {
  return layout_of(0, {{"id", int64}, {"name", text}, {"qty", int64}}, std::move(key));
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_modes, postgres_fixture)

BOOST_AUTO_TEST_CASE(upsert_keeps_the_last_row_of_each_key) {
  open({table("orders", load_mode::upsert, {"id"}, fields)});
  write(rows(shape())
            .insert({i(1), t("a"), i(5)})
            .insert({i(2), t("b"), null()})
            .update({i(1), t("c"), i(6)})
            .remove({i(2), null(), null()})
            .insert({i(3), t(""), i(0)})
            .done());
  BOOST_TEST(rows_of("SELECT id, name, qty, pg_typeof(qty) FROM orders ORDER BY id") == "1|c|6|bigint 3||0|bigint");
  BOOST_TEST(seen.refused.empty());
  write(rows(shape()).truncate().insert({i(9), t("z"), i(1)}).done());
  BOOST_TEST(rows_of("SELECT id FROM orders") == "9");
}

BOOST_AUTO_TEST_CASE(repeating_the_same_rows_changes_nothing) {
  open({table("orders", load_mode::upsert, {"id"}, fields)});
  const auto set = rows(shape()).insert({i(1), t("a"), i(5)}).update({i(1), t("b"), i(6)}).remove({i(7), null(), null()}).done();
  write(set);
  const auto once = rows_of("SELECT * FROM orders");
  write(set);
  BOOST_TEST(rows_of("SELECT * FROM orders") == once);
}

BOOST_AUTO_TEST_CASE(an_update_that_changes_the_key_moves_the_row_and_keeps_what_it_did_not_carry) {
  open({table("orders", load_mode::upsert, {"id"}, fields)});
  write(rows(shape()).insert({i(1), t("toast"), i(5)}).insert({i(2), t("old"), i(7)}).done());
  write(rows(shape()).move({i(1)}, {i(10), missing(), i(6)}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "2|old|7 10|toast|6");
  // Onto a row that is there: it goes.
  write(rows(shape()).move({i(10)}, {i(2), missing(), i(8)}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "2|toast|8");
  // From a row that is not there: the new one is made, whatever stands at its key.
  write(rows(shape())
            .move({i(77)}, {i(3), t("n"), i(1)})
            .move({i(78)}, {i(2), t("m"), i(2)})
            .move({i(3)}, {i(3), t("same"), i(3)})
            .done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "2|m|2 3|same|3");
  BOOST_TEST(seen.refused.empty());
}

BOOST_AUTO_TEST_CASE(a_missing_cell_keeps_the_value_even_of_a_required_column) {
  auto strict = fields;
  strict[1].required = true;
  open({table("orders", load_mode::upsert, {"id"}, strict)});
  write(rows(shape()).insert({i(1), t("kept"), i(5)}).done());
  write(rows(shape()).update({i(1), missing(), i(6)}).update({i(1), missing(), missing()}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders") == "1|kept|6");
  write(rows(shape()).update({i(2), missing(), i(6)}).done()); // no row that could give the name
  BOOST_REQUIRE_EQUAL(seen.refused.size(), 1u);
  BOOST_TEST(seen.refused[0].second.reason == "constraint");
  BOOST_TEST(seen.refused[0].second.message.find("is not there") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(composite_keys_work_in_every_order_of_columns) {
  open({table("orders", load_mode::upsert, {"name", "id"}, fields)});
  const auto by_two = shape({1, 0});
  write(rows(by_two)
            .insert({i(1), t("a"), i(1)})
            .insert({i(2), t("a"), i(2)})
            .insert({i(1), t("b"), i(3)})
            .update({i(1), t("a"), i(9)})
            .remove({i(2), t("a"), null()})
            .done());
  write(rows(by_two).move({t("b"), i(1)}, {i(5), t("c"), missing()}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY name, id") == "1|a|9 5|c|3");
}

BOOST_AUTO_TEST_CASE(append_writes_every_row_and_has_no_key) {
  open({table("audit", load_mode::append, {}, fields)});
  write(rows(shape({})).insert({i(1), t("a"), i(1)}).insert({i(1), t("a"), i(1)}).update({i(1), t("b"), missing()}).done());
  BOOST_TEST(rows_of("SELECT * FROM audit ORDER BY id, name, qty") == "1|a|1 1|a|1 1|b|NULL");
}

BOOST_AUTO_TEST_CASE(soft_delete_marks_and_an_insert_revives) {
  open({table("orders", load_mode::soft_delete, {"id"}, fields)});
  write(rows(shape())
            .insert({i(1), t("a"), i(1)})
            .insert({i(2), t("b"), i(2)})
            .remove({i(1), null(), null()})
            .remove({i(5), null(), null()})
            .done());
  BOOST_TEST(rows_of("SELECT id, name, qty, _deleted FROM orders ORDER BY id") == "1|a|1|t 2|b|2|f");
  write(rows(shape()).insert({i(1), t("c"), i(3)}).done());
  BOOST_TEST(rows_of("SELECT id, name, _deleted FROM orders ORDER BY id") == "1|c|f 2|b|f");
  write(rows(shape()).truncate().done());
  BOOST_TEST(rows_of("SELECT id, name, _deleted FROM orders ORDER BY id") == "1|c|t 2|b|t");
  write(rows(shape()).move({i(2)}, {i(4), missing(), i(9)}).update({i(1), missing(), missing()}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "1|c|3|f 4|b|9|f");
}

BOOST_AUTO_TEST_CASE(history_keeps_every_version_with_its_times_and_offset) {
  open({table("orders", load_mode::history, {"id"}, fields)});
  constexpr std::int64_t second = 1000000, start = 1700000000 * second;
  write(rows(shape(), 0, start).insert({i(1), t("a"), i(1)}).insert({i(2), t("b"), i(2)}).done());
  write(rows(shape(), 2, start + second).update({i(1), missing(), i(5)}).remove({i(2), null(), null()}).done());
  write(rows(shape(), 4, start + 2 * second + 5).move({i(1)}, {i(7), missing(), missing()}).done());
  BOOST_TEST(rows_of("SELECT id, name, qty, to_char(valid_from, 'HH24:MI:SS.US'), to_char(valid_to, 'HH24:MI:SS.US'), current, "
                     "_offset FROM orders ORDER BY _offset") ==
             "1|a|1|22:13:20.000000|22:13:21.000000|f|0 2|b|2|22:13:20.000000|22:13:21.000000|f|1 "
             "1|a|5|22:13:21.000000|22:13:22.000005|f|2 7|a|5|22:13:22.000005|NULL|t|4");
  write(rows(shape(), 5, start + 3 * second).truncate().done());
  BOOST_TEST(rows_of("SELECT count(*), count(*) FILTER (WHERE current) FROM orders") == "4|0");
}

BOOST_AUTO_TEST_CASE(history_takes_the_last_of_several_rows_that_one_change_made_of_a_key) {
  open({table("orders", load_mode::history, {"id"}, fields)});
  write(rows(shape()).insert({i(1), t("a"), i(1)}).insert({i(1), t("b"), i(2)}).same_change().done());
  BOOST_TEST(rows_of("SELECT id, name, current, valid_to FROM orders") == "1|b|t|NULL");
  BOOST_TEST(seen.refused.empty());
}

BOOST_AUTO_TEST_CASE(history_never_leaves_two_current_versions) {
  open({table("orders", load_mode::history, {"id"}, fields)});
  write(rows(shape(), 10)
            .insert({i(1), t("a"), i(1)})
            .update({i(1), t("b"), i(1)})
            .remove({i(1), null(), null()})
            .insert({i(1), t("c"), i(1)})
            .done());
  write(rows(shape(), 3).update({i(1), t("redriven"), i(1)}).done()); // a redrive comes with its own, older offset
  write(rows(shape(), 20).update({i(1), t("d"), i(1)}).done());
  BOOST_TEST(rows_of("SELECT name FROM orders WHERE current") == "d");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "5");
}

BOOST_AUTO_TEST_CASE(tables_of_a_load_share_the_transaction_and_each_has_its_mode) {
  auto& d = open({table("orders", load_mode::upsert, {"id"}, fields), table("events", load_mode::append, {}, fields)});
  const auto second = layout_of(1, {{"id", int64}, {"name", text}, {"qty", int64}}, {});
  const auto set =
      rows(shape()).insert({i(1), t("a"), i(1)}).use(second).insert({i(1), t("x"), i(1)}).insert({i(1), t("y"), i(1)}).done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 3, seen));
  BOOST_TEST(rows_of("SELECT count(*) FROM orders UNION ALL SELECT count(*) FROM events") == "0 0");
  MUST(d.flush(seen));
  MUST(d.commit({{3}, 0}));
  BOOST_TEST(rows_of("SELECT count(*) FROM orders UNION ALL SELECT count(*) FROM events") == "1 2");
}

BOOST_AUTO_TEST_CASE(the_gate_is_asked_once_a_change_and_its_no_skips_all_rows_of_it) {
  open({table("orders", load_mode::upsert, {"id"}, fields)});
  seen.held = {1};
  const auto set = rows(shape())
                       .insert({i(1), t("a"), i(1)})
                       .insert({i(2), t("b"), i(1)})
                       .insert({i(3), t("b"), i(1)})
                       .same_change()
                       .insert({i(4), t("c"), i(1)})
                       .done();
  write(set);
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 4");
  BOOST_TEST(seen.asked == (std::vector<std::uint32_t>{0, 1, 2}), boost::test_tools::per_element());
  BOOST_TEST(rows_of("SELECT next_offset FROM _millrace_offsets") == "3");
}

BOOST_AUTO_TEST_CASE(only_the_rows_of_the_range_are_applied) {
  auto& d = open({table("orders", load_mode::upsert, {"id"}, fields)});
  const auto set = rows(shape()).insert({i(1), t("a"), i(1)}).insert({i(2), t("b"), i(1)}).insert({i(3), t("c"), i(1)}).done();
  MUST(d.begin());
  MUST(d.apply(set, 1, 2, seen));
  MUST(d.flush(seen));
  MUST(d.commit({{2}, 0}));
  BOOST_TEST(rows_of("SELECT id FROM orders") == "2");
}

BOOST_AUTO_TEST_SUITE_END()
