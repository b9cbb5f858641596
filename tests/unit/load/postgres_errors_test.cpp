// What is wrong with a change is said of that change; what is wrong with the server or a table is the call's error.

#include "postgres_support.hpp"

#include <chrono>
#include <random>
#include <set>

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {
const std::vector<field_spec> fields = {field("id", int64, true), field("name", text), field("qty", int64)};
transform::table_layout_ptr shape(std::uint32_t number = 0) {
  return layout_of(number, {{"id", int64}, {"name", text}, {"qty", int64}}, {0});
}
std::vector<table_spec> orders() { return {table("orders", load_mode::upsert, {"id"}, fields)}; }

/// Keeps later changes of a rejected key back, as the writer does.
struct holding final : load::row_gate {
  std::set<std::uint64_t> keys;
  std::vector<std::uint32_t> refused, held;
  bool admit(const transform::row_set&, const transform::row& r) override {
    if (!keys.contains(r.key_hash) && !(r.before_key_hash && keys.contains(r.before_key_hash))) return true;
    held.push_back(r.change);
    keys.insert(r.key_hash);
    return false;
  }
  bool rejected(const transform::row_set&, const transform::row& r, load::row_error) override {
    refused.push_back(r.change);
    keys.insert(r.key_hash);
    if (r.before_key_hash) keys.insert(r.before_key_hash);
    return true;
  }
};
} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_errors, postgres_fixture)

BOOST_AUTO_TEST_CASE(a_constraint_failure_takes_its_change_alone_and_says_what_the_server_said) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name varchar(4) NOT NULL, qty smallint CONSTRAINT positive CHECK (qty > 0))");
  open(orders());
  rows all(shape());
  for (std::int64_t id = 0; id < 3000; ++id) {
    if (id == 100)
      all.insert({i(id), t("a"), i(-1)});
    else if (id == 1500)
      all.insert({i(id), null(), i(1)});
    else if (id == 2000)
      all.insert({i(id), t("too long"), i(1)});
    else if (id == 2999)
      all.insert({i(id), t("a"), i(70000)});
    else
      all.insert({i(id), t("ok"), i(1)});
  }
  write(all.done());
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "2996");
  BOOST_REQUIRE_EQUAL(refused(), 4u);
  BOOST_TEST(seen.refused[0].first == 100u);
  BOOST_TEST(seen.refused[0].second.reason == "constraint");
  BOOST_TEST(seen.refused[0].second.constraint == "positive");
  BOOST_TEST(seen.refused[0].second.sqlstate == "23514");
  BOOST_TEST(seen.refused[1].first == 1500u);
  BOOST_TEST(seen.refused[1].second.constraint == "NOT NULL");
  BOOST_TEST(seen.refused[1].second.column == "name");
  BOOST_TEST(seen.refused[2].first == 2000u);
  BOOST_TEST(seen.refused[2].second.reason == "type");
  BOOST_TEST(seen.refused[2].second.column == "name");
  BOOST_TEST(seen.refused[3].first == 2999u);
  BOOST_TEST(seen.refused[3].second.column == "qty");
}

BOOST_AUTO_TEST_CASE(a_text_that_is_no_value_of_the_column_and_a_nul_byte_are_type_errors) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name date, qty jsonb)");
  open({table("orders", load_mode::upsert, {"id"}, {field("id", int64, true), field("name", text), field("qty", json)})});
  const std::string nul("a\0b", 3);
  write(rows(layout_of(0, {{"id", int64}, {"name", text}, {"qty", json}}, {0}))
            .insert({i(1), t("yesterday-ish"), null()})
            .insert({i(2), t("2024-02-30"), null()})
            .insert({i(3), t("2024-02-29"), t("{\"a\":1}")})
            .insert({i(4), t("2024-02-29T10:00:00Z"), null()})
            .insert({i(5), null(), t("{")})
            .insert({i(6), null(), t("\"\\u0000\"")})
            .insert({i(7), null(), t(nul)})
            .done());
  BOOST_TEST(rows_of("SELECT id, name, qty FROM orders") == "3|2024-02-29|{\"a\": 1}");
  BOOST_REQUIRE_EQUAL(refused(), 6u);
  for (const auto& [change, why] : seen.refused) BOOST_TEST(why.reason == "type");
}

BOOST_AUTO_TEST_CASE(later_changes_of_a_rejected_key_are_asked_again_and_those_of_the_keys_they_lead_to) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint CHECK (qty > 0))");
  auto& d = open(orders());
  holding gate;
  const auto set = rows(shape())
                       .insert({i(1), t("a"), i(-1)})
                       .insert({i(2), t("b"), i(1)})
                       .move({i(1)}, {i(3), t("a"), i(5)})
                       .insert({i(4), t("d"), i(1)})
                       .update({i(3), t("later"), i(7)})
                       .done();
  MUST(d.begin());
  MUST(d.apply(set, 0, set->rows.size(), gate));
  MUST(d.flush(gate));
  MUST(d.commit({{5}, 0}));
  BOOST_TEST(gate.refused == std::vector<std::uint32_t>{0}, boost::test_tools::per_element());
  BOOST_TEST(gate.held == (std::vector<std::uint32_t>{2, 4}), boost::test_tools::per_element());
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "2 4");
}

BOOST_AUTO_TEST_CASE(halting_is_exact_under_isolation) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint CHECK (qty > 0))");
  auto& d = open(orders());
  seen.go_on = false;
  const auto set = rows(shape()).insert({i(1), t("a"), i(1)}).insert({i(2), t("b"), i(-1)}).insert({i(3), t("c"), i(1)}).done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 3, seen));
  FAILS(d.flush(seen), errc::halted, "offset 1");
  d.rollback();
  d.set_isolation(true);
  MUST(d.claim(who()));
  MUST(d.begin());
  FAILS(d.apply(set, 0, 3, seen), errc::halted, "offset 1");
  MUST(d.flush(seen));
  MUST(d.commit({{1}, 0}));
  BOOST_TEST(rows_of("SELECT id FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(a_change_of_several_rows_is_in_whole_or_not_at_all) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint CHECK (qty > 0))");
  open(orders());
  write(rows(shape())
            .insert({i(1), t("a"), i(1)})
            .insert({i(2), t("b"), i(1)})
            .insert({i(3), t("c"), i(-1)})
            .same_change()
            .insert({i(4), t("d"), i(1)})
            .done());
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 4");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].first == 1u);
}

BOOST_AUTO_TEST_CASE(tables_are_written_in_the_order_of_their_foreign_keys) {
  query("CREATE TABLE customers(id bigint PRIMARY KEY, name text, qty bigint);"
        "CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint REFERENCES customers)");
  open({table("orders", load_mode::upsert, {"id"}, fields), table("customers", load_mode::upsert, {"id"}, fields)});
  rows first(shape(1));
  for (std::int64_t id = 1; id <= 200; ++id) first.insert({i(id), t("c"), null()});
  first.use(shape(0));
  for (std::int64_t id = 1; id <= 200; ++id) first.insert({i(id), t("o"), i(id)});
  write(first.done());
  rows second(shape(0), next);
  for (std::int64_t id = 1; id <= 100; ++id) second.remove({i(id), null(), null()});
  second.use(shape(1));
  for (std::int64_t id = 1; id <= 100; ++id) second.remove({i(id), null(), null()});
  write(second.done());
  BOOST_TEST(rows_of("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM customers)") == "100|100");
  BOOST_TEST(refused() == 0u);
  write(rows(shape(0), next).insert({i(900), t("no such customer"), i(12345)}).insert({i(901), t("x"), i(150)}).done());
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].second.sqlstate == "23503");
  write(rows(shape(1), next).truncate().done()); // the orders still refer to it: one foreign key violation, nothing half done
  BOOST_TEST(refused() == 2u);
  write(rows(shape(0), next).truncate().use(shape(1)).truncate().done());
  BOOST_TEST(rows_of("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM customers)") == "0|0");
  BOOST_TEST(refused() == 2u);
}

BOOST_AUTO_TEST_CASE(a_deferred_foreign_key_refuses_the_commit_and_isolation_finds_the_change) {
  query("CREATE TABLE customers(id bigint PRIMARY KEY);"
        "INSERT INTO customers VALUES (1), (2);"
        "CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint REFERENCES customers DEFERRABLE INITIALLY IMMEDIATE)");
  auto& d = open(orders());
  const auto set = rows(shape()).insert({i(1), t("a"), i(1)}).insert({i(2), t("b"), i(99)}).insert({i(3), t("c"), i(2)}).done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 3, seen));
  MUST(d.flush(seen));
  FAILS(d.commit({{3}, 0}), errc::refused, "orders_qty_fkey");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "0");
  d.set_isolation(true);
  MUST(d.claim(who()));
  MUST(d.begin());
  MUST(d.apply(set, 0, 3, seen));
  MUST(d.flush(seen));
  MUST(d.commit({{3}, 0}));
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 3");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].first == 1u);
  BOOST_TEST(seen.refused[0].second.constraint == "orders_qty_fkey");
}

BOOST_AUTO_TEST_CASE(a_second_unique_index_is_obeyed_in_the_source_s_order) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text UNIQUE, qty bigint)");
  open(orders());
  write(rows(shape()).insert({i(1), t("a"), i(1)}).insert({i(2), t("b"), i(1)}).done());
  write(rows(shape(), next)
            .update({i(1), t("free"), i(1)})
            .update({i(2), t("a"), i(1)})
            .update({i(1), t("b"), i(1)})
            .remove({i(2), null(), null()})
            .insert({i(3), t("a"), i(1)})
            .insert({i(4), t("b"), i(1)})
            .done());
  BOOST_TEST(rows_of("SELECT id, name FROM orders ORDER BY id") == "1|b 3|a");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].first == 5u);
  BOOST_TEST(seen.refused[0].second.constraint == "orders_name_key");
}

BOOST_AUTO_TEST_CASE(what_triggers_raise_is_the_row_s_error) {
  query("CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint);"
        "CREATE FUNCTION check_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.qty = 13 THEN RAISE EXCEPTION 'no 13'; "
        "END IF; "
        "IF NEW.qty = 14 THEN RAISE EXCEPTION 'no 14' USING ERRCODE = 'MR014'; END IF; NEW.name := upper(NEW.name); RETURN NEW; "
        "END "
        "$$; CREATE TRIGGER t BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION check_it()");
  open(orders());
  write(rows(shape()).insert({i(1), t("a"), i(13)}).insert({i(2), t("b"), i(14)}).insert({i(3), t("c"), i(15)}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders") == "3|C|15");
  BOOST_REQUIRE_EQUAL(refused(), 2u);
  BOOST_TEST(seen.refused[0].second.message.find("no 13") != std::string::npos);
  BOOST_TEST(seen.refused[1].second.sqlstate == "MR014");
}

BOOST_AUTO_TEST_CASE(a_value_too_large_for_an_index_is_the_row_s_error) {
  open({table("orders", load_mode::upsert, {"name"}, {field("name", text, true)})});
  std::mt19937 random(7); // nothing that compression could make small
  std::string big;
  for (int k = 0; k < 20000; ++k) big += static_cast<char>('!' + random() % 90);
  write(rows(layout_of(0, {{"name", text}}, {0})).insert({t("small")}).insert({t(big)}).done());
  BOOST_TEST(rows_of("SELECT name FROM orders") == "small");
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].second.sqlstate == "54000");
}

BOOST_AUTO_TEST_CASE(a_lock_of_somebody_else_is_unavailable_and_passes) {
  auto& d = open(orders());
  millrace::testing::postgres_client other(server().conninfo(database));
  other.query("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
  const auto set = rows(shape()).insert({i(1), t("a"), i(1)}).done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 1, seen));
  const auto started = std::chrono::steady_clock::now();
  FAILS(d.flush(seen), errc::unavailable, "waiting", "orders");
  BOOST_TEST((std::chrono::steady_clock::now() - started < std::chrono::seconds(20)));
  other.query("COMMIT");
  MUST(d.claim(who()));
  write(set);
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(a_deadlock_is_unavailable) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a"), i(1)}).insert({i(2), t("a"), i(1)}).done());
  millrace::testing::postgres_client other(server().conninfo(database));
  MUST(d.begin());
  MUST(d.apply(rows(shape(), next).update({i(1), t("b"), i(1)}).done(), 0, 1, seen));
  MUST(d.flush(seen));
  other.query("SET deadlock_timeout = '100s'; BEGIN; UPDATE orders SET qty = 5 WHERE id = 2");
  BOOST_REQUIRE(PQsendQuery(other.get(), "UPDATE orders SET qty = 5 WHERE id = 1"));
  MUST(d.apply(rows(shape(), next + 1).update({i(2), t("b"), i(1)}).done(), 0, 1, seen));
  FAILS(d.flush(seen), errc::unavailable, "deadlock");
  while (auto* r = PQgetResult(other.get())) PQclear(r);
  other.query("COMMIT");
  MUST(d.claim(who()));
  write(rows(shape(), next).update({i(1), t("b"), i(1)}).update({i(2), t("b"), i(1)}).done());
  BOOST_TEST(rows_of("SELECT id, name FROM orders ORDER BY id") == "1|b 2|b");
}

BOOST_AUTO_TEST_CASE(a_role_needs_the_rights_to_write_rows_and_is_told_what_is_missing) {
  query("CREATE ROLE loader_" + database + " LOGIN; CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint)");
  user = "loader_" + database;
  auto d = make(orders());
  FAILS(d->claim(who()), errc::refused, "GRANT USAGE, CREATE ON SCHEMA", user);
  query("GRANT CREATE ON SCHEMA public TO " + user);
  FAILS(d->claim(who()), errc::refused, "GRANT INSERT, SELECT, UPDATE, DELETE ON", user);
  query("GRANT INSERT, SELECT, UPDATE, DELETE ON orders TO " + user);
  open(orders());
  write(rows(shape()).insert({i(1), t("a"), i(1)}).update({i(2), t("b"), i(1)}).remove({i(1), null(), null()}).done());
  BOOST_TEST(rows_of("SELECT id FROM orders") == "2");
  write(rows(shape(), next).truncate().insert({i(7), t("a"), i(1)}).done()); // without TRUNCATE's right
  BOOST_TEST(rows_of("SELECT id FROM orders") == "7");
  query("ALTER TABLE orders ENABLE ROW LEVEL SECURITY");
  FAILS(make(orders())->claim(who()), errc::refused, "row level security");
}

BOOST_AUTO_TEST_CASE(a_table_that_somebody_alters_is_looked_at_again) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a"), i(1)}).update({i(1), t("b"), i(2)}).done());
  query("ALTER TABLE orders ALTER COLUMN qty TYPE numeric(5,1), ADD COLUMN own text DEFAULT 'x'");
  write(rows(shape(), next).insert({i(2), t("a"), i(1)}).update({i(1), t("c"), i(3)}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "1|c|3.0|x 2|a|1.0|x");
  query("ALTER TABLE orders DROP COLUMN qty");
  write(rows(shape(), next).insert({i(3), t("a"), i(1)}).update({i(1), t("d"), i(4)}).done());
  BOOST_TEST(rows_of("SELECT id, name, qty FROM orders ORDER BY id") == "1|d|4 2|a|NULL 3|a|1");
  query("ALTER TABLE orders DROP CONSTRAINT orders_pkey");
  FAILS(d.begin(), errc::refused, "CREATE UNIQUE INDEX", "\"id\"");
  query("CREATE UNIQUE INDEX ON orders(id)");
  MUST(d.claim(who()));
  write(rows(shape(), next).update({i(1), t("e"), i(5)}).done());
  BOOST_TEST(rows_of("SELECT name FROM orders WHERE id = 1") == "e");
}

BOOST_AUTO_TEST_CASE(an_update_without_its_row_is_rejected_unless_a_snapshot_will_bring_it) {
  auto& d = open(orders());
  write(rows(shape()).update({i(1), missing(), i(5)}).insert({i(2), t("b"), i(1)}).done());
  BOOST_REQUIRE_EQUAL(refused(), 1u);
  BOOST_TEST(seen.refused[0].second.message.find("row to update is not there") != std::string::npos);
  BOOST_TEST(seen.refused[0].second.message.find("name") != std::string::npos);
  auto copying = std::make_shared<transform::table_layout>(*shape());
  copying->partial_inserts = true;
  write(rows(copying, next).update({i(3), missing(), i(5)}).move({i(77)}, {i(4), missing(), i(6)}).done());
  BOOST_TEST(rows_of("SELECT * FROM orders ORDER BY id") == "2|b|1 3|NULL|5 4|NULL|6");
  BOOST_TEST(refused() == 1u);
  static_cast<void>(d);
}

BOOST_AUTO_TEST_CASE(a_truncate_needs_no_key_and_works_beside_deferred_checks) {
  query("CREATE TABLE customers(id bigint PRIMARY KEY); INSERT INTO customers VALUES (1);"
        "CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint REFERENCES customers DEFERRABLE)");
  open(orders());
  write(rows(shape())
            .insert({i(1), t("a"), i(1)})
            .use(layout_of(0, {}, {}))
            .truncate()
            .use(shape())
            .insert({i(2), t("b"), i(1)})
            .done());
  BOOST_TEST(rows_of("SELECT id FROM orders") == "2");
  BOOST_TEST(refused() == 0u);
}

BOOST_AUTO_TEST_CASE(a_division_by_zero_in_a_commit_s_trigger_is_not_taken_for_a_fence) {
  query(
      "CREATE TABLE orders(id bigint PRIMARY KEY, name text, qty bigint);"
      "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM 1 / NEW.qty; RETURN NEW; END $$;"
      "CREATE CONSTRAINT TRIGGER late AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late()");
  auto& d = open(orders());
  MUST(d.begin());
  MUST(d.apply(rows(shape()).insert({i(1), t("a"), i(0)}).done(), 0, 1, seen));
  MUST(d.flush(seen));
  FAILS(d.commit({{1}, 0}), errc::refused, "division by zero");
}

BOOST_AUTO_TEST_CASE(only_a_connection_that_libpq_understands_is_taken_and_no_secret_is_told) {
  auto spec = load_of("", orders());
  spec.destination = {};
  spec.destination.type = "postgres";
  FAILS(load::make_destination(spec), errc::invalid, "connection");
  spec.destination.connection = "host=a pasword=hush";
  const auto bad = load::make_destination(spec);
  FAILS(bad, errc::invalid, "libpq");
  BOOST_TEST(bad.error().message.find("hush") == std::string::npos);
  spec.destination.connection = "postgresql://me:hush@db1:5433/dw?connect_timeout=1";
  auto d = load::make_destination(spec);
  MUST(d);
  BOOST_TEST(d.value()->name() == "postgres db1:5433/dw");
}

BOOST_AUTO_TEST_SUITE_END()
