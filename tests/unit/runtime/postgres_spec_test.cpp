// What specs say about PostgreSQL: defaults, what is refused, and that no password is shown.
#include "actors/postgres/conninfo.hpp"
#include "runtime/config/postgres_parser.hpp"
#include "runtime/config/spec_parser.hpp"

#include "support.hpp"

#include <boost/test/unit_test.hpp>

using namespace millrace;
using namespace millrace::runtime::config;

namespace {
parsed_specs parse(const std::string& text, spec_options options = {}) {
  return parse_specs(text, "orders.yaml", "/specs", options);
}
std::string only(const parsed_specs& p) {
  BOOST_TEST_INFO(to_text(p.mistakes));
  BOOST_TEST(p.mistakes.size() == 1u);
  return p.mistakes.empty() ? "" : to_text(p.mistakes[0]);
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A spec whose source has `source` lines more and whose load has `load` lines more.
std::string spec(const std::string& source, const std::string& load = "", const std::string& destination = "") {
  return "pipeline: orders\nsource:\n  type: postgres\n  connection: \"host=db1 dbname=shop\"\n" + source +
         "loads:\n  - name: warehouse\n    destination: { type: postgres, connection: \"host=dw dbname=dw\"" + destination +
         " }\n" + load;
}
constexpr const char* two_tables = "  tables: [public.orders, customers]\n";
} // namespace

BOOST_AUTO_TEST_SUITE(postgres_spec)

BOOST_AUTO_TEST_CASE(the_smallest_spec_takes_tables_and_keys_from_the_source) {
  const auto p = parse(spec(two_tables));
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_REQUIRE(p.specs.size() == 1u);
  const auto& pg = p.specs[0]->source.postgres;
  BOOST_TEST(p.specs[0]->source.type == "postgres");
  BOOST_TEST(pg.connection == "host=db1 dbname=shop");
  BOOST_TEST(pg.slot == "millrace_orders");
  BOOST_TEST(pg.publication == "millrace_orders");
  BOOST_TEST(pg.tables == (std::vector<std::string>{"public.orders", "public.customers"}), boost::test_tools::per_element());
  BOOST_TEST((pg.snapshot == actors::snapshot_mode::initial));
  BOOST_TEST(pg.snapshot_workers == 2u);
  BOOST_TEST(pg.snapshot_rate == 0u);
  BOOST_TEST(pg.heartbeat.count() == 10000);
  const auto& load = p.specs[0]->loads[0];
  BOOST_TEST(load.destination.type == "postgres");
  BOOST_TEST(load.destination.connection == "host=dw dbname=dw");
  BOOST_REQUIRE(load.tables.size() == 2u);
  BOOST_TEST(load.tables[1].name == "public.customers");
  BOOST_TEST(load.tables[1].to == "customers");
  BOOST_TEST(load.tables[1].key_from_source);
  BOOST_TEST((load.tables[1].mode == actors::load_mode::upsert));
}

BOOST_AUTO_TEST_CASE(everything_that_can_be_said_is_read) {
  const auto p = parse(
      spec("  tables: [shop.Orders]\n  publication: pub\n  slot: slot_1\n  snapshot: never\n"
           "  snapshot_options: { workers: 4, rate: 50MiB, chunk_rows: 10000 }\n  heartbeat: 0\n  max_record_bytes: 256MiB\n",
           "    key: [id]\n", ", table: staging.orders"));
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_REQUIRE(p.specs.size() == 1u);
  const auto& source = p.specs[0]->source;
  BOOST_TEST(source.postgres.publication == "pub");
  BOOST_TEST(source.postgres.slot == "slot_1");
  BOOST_TEST((source.postgres.snapshot == actors::snapshot_mode::never));
  BOOST_TEST(source.postgres.snapshot_workers == 4u);
  BOOST_TEST(source.postgres.snapshot_rate == 50ull << 20);
  BOOST_TEST(source.postgres.snapshot_chunk_rows == 10000u);
  BOOST_TEST(source.postgres.heartbeat.count() == 0);
  BOOST_TEST(source.max_record_bytes == 256ull << 20);
  BOOST_TEST(p.specs[0]->loads[0].tables[0].name == "shop.Orders");
  BOOST_TEST(p.specs[0]->loads[0].tables[0].to == "staging.orders");
  BOOST_TEST(!p.specs[0]->loads[0].tables[0].key_from_source);
}

BOOST_AUTO_TEST_CASE(each_mistake_says_what_was_expected) {
  const struct {
    std::string text;
    const char* says;
  } cases[] = {
      {spec("  tables: []\n"), "source.tables is empty"},
      {spec("  tables: [orders, public.orders]\n"), "has 'public.orders' twice"},
      {spec("  tables: [shop.]\n"), "expected TABLE or SCHEMA.TABLE"},
      {spec("  tables: [" + std::string(64, 'a') + "]\n"), "a name has 64 bytes"},
      {spec("  tables: [orders]\n  slot: Bad-Name\n"), "expected 1 to 63 of the characters a-z, 0-9 and '_'"},
      {spec("  tables: [orders]\n  snapshot: sometimes\n"), "expected initial, never or only"},
      {spec("  tables: [orders]\n  snapshot_options: { worker: 3 }\n"), "did you mean 'workers'?"},
      {spec("  tables: [orders]\n  heartbeat: 5ms\n"), "expected at least 100ms"},
      {spec("  tables: [orders]\n  path: x\n"), "source.path is for a file source"},
      {spec("  tables: [orders]\n", "    tables: [public.order]\n"),
       "is 'public.order', which is not in source.tables; expected one of "
       "public.orders (did you mean 'public.orders'?)"},
      {spec(two_tables, "", ", table: both"), "is one table for the source's 2"},
      {spec("  tables: [a.orders, b.orders]\n"), "expected a table of its own for each"},
      {spec("  tables: [orders]\n", "    schema: { id: int64 }\n"), "has mode upsert and no key"},
      {spec("  tables: [orders]\n", "    key: [id]\n    schema: { id: int64, " + std::string(64, 'c') + ": text }\n"),
       "PostgreSQL takes 63"},
      {spec("  tables: [orders]\n", "", ", path: x.db"), "is for SQLite"},
      {spec("  tables: [orders]\n", "", ", table: _millrace_offsets"), "a reserved name"},
  };
  for (const auto& c : cases) {
    const auto found = only(parse(c.text));
    BOOST_TEST(contains(found, c.says), found);
  }
  BOOST_TEST(
      contains(only(parse("pipeline: a\nsource: { type: postgres, tables: [t] }\nloads:\n  - name: l\n    destination: { type: "
                          "postgres, connection: host=x }\n")),
               "key 'connection' is missing in source"));
  BOOST_TEST(
      contains(only(parse("pipeline: a\nsource: { type: file, path: x, tables: [t] }\nloads:\n  - name: l\n    key: [id]\n    "
                          "destination: { type: sqlite, path: x.db, table: t }\n")),
               "source.tables is for a database"));
}

BOOST_AUTO_TEST_CASE(names_that_differ_in_case_are_different_tables) {
  const auto p = parse(spec("  tables: [orders, Orders]\n"));
  BOOST_TEST(to_text(p.mistakes) == "");
}

BOOST_AUTO_TEST_CASE(two_loads_may_not_write_one_table) {
  const std::string second = "  - name: second\n    destination: { type: postgres, connection: \"host=dw dbname=dw\", schema: ";
  BOOST_TEST(
      contains(only(parse(spec("  tables: [orders]\n", second + "public }\n"))), "expected a table of its own for each load"));
  BOOST_TEST(to_text(parse(spec("  tables: [orders]\n", second + "other }\n")).mistakes) == "");
}

BOOST_AUTO_TEST_CASE(a_connection_string_is_checked_and_never_shown) {
  for (const std::string bad :
       {"host=db1 password=top secret", "host", "postgresql://user:topsecret@[bad/db", "hots=db1 password=topsecret"}) {
    const auto found = only(parse("pipeline: a\nsource: { type: postgres, tables: [t], connection: \"" + bad +
                                  "\" }\nloads:\n  - name: l\n    destination: { type: postgres, connection: host=x }\n"));
    BOOST_TEST(contains(found, "source.connection is no connection string"), found);
    BOOST_TEST(!contains(found, "secret"), found);
  }
  BOOST_TEST(actors::postgres::conninfo_mistake("hots=db1") == "found the option \"hots\", which libpq does not know");
  BOOST_TEST(actors::postgres::conninfo_mistake("host=a,b target_session_attrs=read-write") == "");
  BOOST_TEST(actors::postgres::conninfo_mistake("postgresql://u:p@h:5432/db?sslmode=require") == "");
}

BOOST_AUTO_TEST_CASE(references_stand_in_a_connection_string) {
  spec_options options;
  options.env = [](const std::string& name) -> std::optional<std::string> {
    return name == "PG" ? std::optional<std::string>("host=secret-host password='a b'") : std::nullopt;
  };
  const auto text = [](const std::string& connection) {
    return "pipeline: a\nsource: { type: postgres, tables: [t], connection: \"" + connection +
           "\" }\nloads:\n  - name: l\n    destination: { type: postgres, connection: host=x }\n";
  };
  const auto p = parse(text("${env:PG}"), options);
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_TEST(p.specs.at(0)->source.postgres.connection == "host=secret-host password='a b'");
  options.unset_is_warning = true;
  const auto unset = parse(text("${env:NOPE}"), options);
  BOOST_TEST(!has_errors(unset.mistakes));
  BOOST_TEST(contains(to_text(unset.mistakes), "NOPE is not set"));
}

BOOST_AUTO_TEST_CASE(a_shown_spec_has_no_password_and_is_refused_when_it_comes_back) {
  using actors::postgres::without_passwords;
  const std::string mask(actors::postgres::password_mask);
  BOOST_TEST(without_passwords("connection: \"host=a password=s3cret dbname=x\"") ==
             "connection: \"host=a password=" + mask + " dbname=x\"");
  BOOST_TEST(without_passwords("connection: \"host=a password = 'it\\'s x' dbname=x\"") ==
             "connection: \"host=a password = " + mask + " dbname=x\"");
  BOOST_TEST(without_passwords("c: 'host=a password=''a b'' dbname=x'") == "c: 'host=a password=" + mask + " dbname=x'");
  BOOST_TEST(without_passwords("c: postgresql://u:s3cret@h/db?sslpassword=more&x=1") ==
             "c: postgresql://u:" + mask + "@h/db?sslpassword=" + mask + "&x=1");
  BOOST_TEST(without_passwords("c: postgres://u:${env:P}@h/db password=${file:p} postgresql://u@h http://a:b@c") ==
             "c: postgres://u:${env:P}@h/db password=${file:p} postgresql://u@h http://a:b@c");
  BOOST_TEST(without_passwords("password") == "password");
  BOOST_TEST(without_passwords("password='") == "password=" + mask);
  const auto shown =
      without_passwords("pipeline: a\nsource: { type: postgres, tables: [t], connection: \"host=x password=s3cret\" }\nloads:\n"
                        "  - name: l\n    destination: { type: postgres, connection: host=x }\n");
  BOOST_TEST(contains(only(parse(shown)), "stands for a password"));
}

BOOST_AUTO_TEST_CASE(a_slot_s_default_name_is_one_that_postgresql_takes_and_belongs_to_one_pipeline) {
  BOOST_TEST(default_slot("orders_2") == "millrace_orders_2");
  const auto dotted = default_slot("a.b"), dashed = default_slot("a-b"), upper = default_slot("A_b");
  BOOST_TEST(dotted.starts_with("millrace_a_b_"));
  BOOST_TEST(dotted != dashed);
  BOOST_TEST(upper != default_slot("a_b"));
  BOOST_TEST(default_slot(std::string(64, 'x')).size() <= 63u);
  BOOST_TEST(default_slot(std::string(64, 'x')) != default_slot(std::string(63, 'x')));
}

BOOST_AUTO_TEST_SUITE_END()
