#include "runtime/config/spec_parser.hpp"

#include "support.hpp"

#include <boost/test/unit_test.hpp>

#include <fstream>

using namespace millrace;
using namespace millrace::runtime::config;

namespace {

parsed_specs parse(const std::string& text, spec_options options = {}) {
  return parse_specs(text, "orders.yaml", "/specs", options);
}

/// "line:column" of each mistake, in order.
std::vector<std::string> places(const parsed_specs& p) {
  std::vector<std::string> out;
  for (const auto& m : p.mistakes) out.push_back(std::to_string(m.at.line) + ":" + std::to_string(m.at.column));
  return out;
}

/// The only mistake's text.
std::string only(const parsed_specs& p) {
  BOOST_TEST_INFO(to_text(p.mistakes));
  BOOST_TEST(p.mistakes.size() == 1u);
  return p.mistakes.empty() ? "" : to_text(p.mistakes[0]);
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

constexpr const char* head = "pipeline: orders\nsource: { type: file, path: \"in/*.ndjson\" }\nloads:\n";

std::string with_load(const std::string& lines) {
  return std::string(head) + "  - name: warehouse\n    destination: { type: sqlite, path: shop.db, table: orders }\n" + lines;
}

} // namespace

BOOST_AUTO_TEST_SUITE(spec_parser)

BOOST_AUTO_TEST_CASE(the_smallest_spec_gets_every_default) {
  auto p = parse(with_load("    key: [id]\n"));
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_REQUIRE(p.specs.size() == 1u);
  const auto& s = *p.specs[0];
  BOOST_TEST(s.name == "orders");
  BOOST_TEST(s.source.path == "/specs/in/*.ndjson");
  BOOST_TEST(s.source.follow == false);
  BOOST_TEST(s.source.max_record_bytes == 16u << 20);
  BOOST_TEST((s.log.compression == storage::codec::zstd));
  BOOST_TEST(s.log.partitions == 1u);
  BOOST_TEST(s.log.retention.time.count() == 0);
  BOOST_REQUIRE(s.loads.size() == 1u);
  const auto& l = s.loads[0];
  BOOST_TEST(l.destination.path == "/specs/shop.db");
  BOOST_REQUIRE(l.tables.size() == 1u);
  BOOST_TEST(l.tables[0].name == "");
  BOOST_TEST(l.tables[0].to == "orders");
  BOOST_TEST((l.tables[0].mode == actors::load_mode::upsert));
  BOOST_TEST((l.tables[0].schema_change == actors::schema_change_policy::add_columns));
  BOOST_TEST((l.on_error == actors::error_action::quarantine));
  BOOST_TEST(l.hold_later_changes);
  BOOST_TEST(l.workers.min == 1u);
  BOOST_TEST(l.workers.max == 0u);
  BOOST_TEST(l.workers.target_depth == 10000u);
}

BOOST_AUTO_TEST_CASE(everything_that_can_be_said_is_read) {
  auto p = parse(R"(pipeline: shop
source: { type: file, path: /data/in.csv, format: csv, follow: true, max_record_bytes: 64KiB }
log: { partitions: 1, replicas: 1, min_in_sync: 1, compression: lz4, retention: { time: 7d, size: 50GiB, force: true } }
loads:
  - name: warehouse
    tables:
      - public.orders
      - { name: public.customers, to: people, mode: history, key: [no], schema: { no: { type: int64, from: /id } }, transform: [] }
    destination: { type: sqlite, path: /data/shop.db }
    mode: soft_delete
    key: [id]
    schema:
      id: { type: int64, required: true }
      total: { type: decimal, from: price, default: "0.00" }
      at: { type: date, format: '%d/%m/%Y' }
    schema_change: quarantine
    transform:
      - where: "total > 0"
      - set: { twice: "total * 2" }
      - drop: [twice]
    workers: { min: 2, max: 3, target_depth: 50 }
    on_error: { action: halt, later_changes_of_key: continue }
alerts:
  - { type: webhook, url: "https://hooks.example/x", group_wait: 500ms, repeat: 2h }
  - { type: log }
)");
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_REQUIRE(p.specs.size() == 1u);
  const auto& s = *p.specs[0];
  BOOST_TEST((s.source.format == storage::payload_format::csv));
  BOOST_TEST(s.source.follow);
  BOOST_TEST(s.source.max_record_bytes == 65536u);
  BOOST_TEST((s.log.compression == storage::codec::lz4));
  BOOST_TEST(s.log.retention.time.count() == 7 * 86400);
  BOOST_TEST(s.log.retention.bytes == 50ull << 30);
  BOOST_TEST(s.log.retention_force);
  const auto& l = s.loads[0];
  BOOST_REQUIRE(l.tables.size() == 2u);
  BOOST_TEST(l.tables[0].name == "public.orders");
  BOOST_TEST(l.tables[0].to == "orders");
  BOOST_TEST((l.tables[0].mode == actors::load_mode::soft_delete));
  BOOST_TEST(l.tables[0].transform.size() == 3u);
  BOOST_TEST(l.tables[0].transform[0].at.line == 18);
  BOOST_TEST(l.tables[0].schema[1].default_value.value() == "0.00");
  BOOST_TEST(l.tables[0].schema[2].format == "%d/%m/%Y");
  BOOST_TEST((l.tables[0].schema_change == actors::schema_change_policy::quarantine));
  BOOST_TEST(l.tables[1].to == "people");
  BOOST_TEST((l.tables[1].mode == actors::load_mode::history));
  BOOST_TEST(l.tables[1].key.front() == "no");
  BOOST_TEST(l.tables[1].schema[0].from == "/id");
  BOOST_TEST((l.on_error == actors::error_action::halt));
  BOOST_TEST(!l.hold_later_changes);
  BOOST_TEST(l.workers.max == 3u);
  BOOST_TEST(s.alerts.size() == 2u);
  BOOST_TEST(s.alerts[0].group_wait.count() == 500);
}

BOOST_AUTO_TEST_CASE(ten_different_mistakes_give_ten_messages_with_their_places) {
  auto p = parse(R"(pipeline: "or ders"
source: { type: file, path: in.ndjson, folow: true }
log:
  compression: zst
  retention: { time: 7 days }
loads:
  - name: warehouse
    destination: { type: sqlite, path: shop.db, table: orders }
    mode: upsrt
    key: [idd]
    schema:
      id: { type: int46 }
      id: { type: text }
    transform:
      - where: "id >"
      - wher: "id > 1"
alerts:
  - { type: webhook }
)");
  BOOST_TEST_INFO(to_text(p.mistakes));
  std::vector<std::string> expected{"1:11", "2:40", "4:16", "5:22", "9:11", "10:11", "12:19", "13:7", "15:16", "16:9", "18:5"};
  BOOST_TEST(places(p) == expected, boost::test_tools::per_element());
  BOOST_TEST(p.specs.empty());
  auto text = to_text(p.mistakes);
  BOOST_TEST(contains(text, "orders.yaml:2:40: unknown key 'folow' in source"));
  BOOST_TEST(contains(text, "did you mean 'follow'?"));
  BOOST_TEST(contains(text, "expected none, lz4 or zstd (did you mean 'zstd'?)"));
  BOOST_TEST(contains(text, "did you mean 'upsert'?"));
  BOOST_TEST(contains(text, "key column 'idd' is not in its schema"));
  BOOST_TEST(contains(text, "duplicate key 'id'; it is already set in line 12"));
  BOOST_TEST(contains(text, "unknown step 'wher'"));
  BOOST_TEST(contains(text, "key 'url' is missing in alerts[0]"));
}

BOOST_AUTO_TEST_CASE(broken_yaml_is_one_message_with_its_place) {
  auto p = parse("pipeline: orders\nsource: { type: file\nloads: []\n");
  BOOST_TEST(contains(only(p), "no valid YAML"));
  BOOST_TEST(p.mistakes[0].at.line >= 2);
  BOOST_TEST(p.specs.empty());
}

BOOST_AUTO_TEST_CASE(missing_keys_are_named) {
  auto text = to_text(parse("pipeline: orders\n").mistakes);
  BOOST_TEST(contains(text, "key 'source' is missing"));
  BOOST_TEST(contains(text, "key 'loads' is missing"));
  BOOST_TEST(contains(only(parse("")), "expected"));
  BOOST_TEST(contains(only(parse("[1, 2]")), "is a list; expected a mapping"));
}

BOOST_AUTO_TEST_CASE(what_this_version_has_not_is_said_so) {
  auto spec = [](const std::string& source, const std::string& log, const std::string& destination) {
    return "pipeline: o\nsource: " + source + "\nlog: " + log + "\nloads: [{ name: w, mode: append, destination: " + destination +
           " }]\n";
  };
  auto file = "{ type: file, path: x }", sqlite = "{ type: sqlite, path: x.db, table: t }";
  BOOST_TEST(contains(only(parse(spec("{ type: mariadb, connection: x }", "{}", sqlite))), "not available in this version"));
  BOOST_TEST(
      contains(only(parse(spec(file, "{}", "{ type: mariadb, connection: x, table: t }"))), "not available in this version"));
  BOOST_TEST(!contains(only(parse(spec("{ type: mysql, path: x }", "{}", sqlite))), "mariadb")); // nor is it offered
  BOOST_TEST(!contains(only(parse(spec(file, "{}", "{ type: mysql, path: x, table: t }"))), "mariadb"));
  BOOST_TEST(contains(only(parse(spec(file, "{ replicas: 2, min_in_sync: 3 }", sqlite))), "expected at most as many"));
  BOOST_TEST(contains(only(parse(spec(file, "{ replicas: 3, min_in_sync: 1 }", sqlite))), "expected at least 2"));
  BOOST_TEST(contains(only(parse(spec(file, "{ partitions: 4 }", sqlite))), "log.partitions is 4; expected 1"));
}

BOOST_AUTO_TEST_CASE(every_mode_but_append_needs_a_key) {
  for (const char* mode : {"upsert", "soft_delete", "history"})
    BOOST_TEST(contains(only(parse(with_load(std::string("    mode: ") + mode + "\n"))), "and no key"), mode);
  BOOST_TEST(to_text(parse(with_load("    mode: append\n")).mistakes) == "");
  BOOST_TEST(contains(only(parse(with_load("    mode: apend\n"))), "'apend'")); // it may have meant the one that needs none
}

BOOST_AUTO_TEST_CASE(columns_of_the_mode_clash_with_the_schema) {
  BOOST_TEST(contains(only(parse(with_load("    mode: soft_delete\n    key: [id]\n    schema: { id: int64, _deleted: bool }\n"))),
                      "'_deleted' clashes"));
  BOOST_TEST(contains(only(parse(with_load("    mode: history\n    key: [id]\n    schema: { id: int64, Current: bool }\n"))),
                      "'Current' clashes"));
  BOOST_TEST(to_text(parse(with_load("    mode: upsert\n    key: [id]\n    schema: { id: int64, current: bool }\n")).mistakes) ==
             "");
}

BOOST_AUTO_TEST_CASE(names_of_loads_and_tables_are_taken_once) {
  auto two = with_load("    key: [id]\n") +
             "  - { name: warehouse, mode: append, destination: { type: sqlite, path: other.db, table: orders } }\n";
  BOOST_TEST(contains(only(parse(two)), "load 'warehouse' is defined in line 4 already"));
  auto same_table = with_load("    key: [id]\n") +
                    "  - { name: second, mode: append, destination: { type: sqlite, path: ./shop.db, table: ORDERS } }\n";
  BOOST_TEST(contains(only(parse(same_table)), "writes table 'ORDERS', as load 'warehouse' does"));
  auto tables = std::string(head) +
                "  - name: w\n    mode: append\n    tables: [a.x, b.x, a.x]\n    destination: { type: sqlite, path: s.db }\n";
  BOOST_TEST(parse(tables).mistakes.size() == 2u);
}

BOOST_AUTO_TEST_CASE(columns_that_differ_in_case_only_are_the_same_column) {
  BOOST_TEST(contains(only(parse(with_load("    key: [id]\n    schema: { id: int64, ID: text }\n"))),
                      "differ in more than upper and lower case"));
}

BOOST_AUTO_TEST_CASE(a_default_must_fit_its_type) {
  BOOST_TEST(contains(only(parse(with_load("    key: [id]\n    schema: { id: { type: int64, default: x7 } }\n"))), "x7"));
  BOOST_TEST(contains(only(parse(with_load("    key: [id]\n    schema: { id: { type: int64, format: '%d' } }\n"))),
                      "is for date and timestamp"));
}

BOOST_AUTO_TEST_CASE(expressions_that_do_not_compile_are_placed_at_their_step) {
  auto p = parse(with_load("    key: [id]\n    schema: { id: int64 }\n    transform:\n      - where: \"id > 1\"\n      - set: { "
                           "x: \"nosuch(id)\" }\n      - lua: \"function\"\n"));
  BOOST_TEST_INFO(to_text(p.mistakes));
  BOOST_REQUIRE(p.mistakes.size() == 2u);
  BOOST_TEST(p.mistakes[0].at.line == 10);
  BOOST_TEST(p.mistakes[1].at.line == 11);
}

BOOST_AUTO_TEST_CASE(a_reference_is_resolved_and_its_value_never_shown) {
  spec_options options;
  options.env = [](const std::string& name) {
    return name == "TOKEN" ? std::optional<std::string>("hunter2hunter2") : std::nullopt;
  };
  auto http = [](const std::string& token) {
    return "pipeline: o\nsource: { type: http, token: \"" + token +
           "\" }\nloads: [{ name: w, mode: append, destination: { type: sqlite, path: x.db, table: t } }]\n";
  };
  auto good = parse(http("${env:TOKEN}"), options);
  BOOST_TEST(to_text(good.mistakes) == "");
  BOOST_TEST(good.specs.at(0)->source.token == "hunter2hunter2");
  BOOST_TEST(!contains(good.specs.at(0)->text, "hunter2"));
  BOOST_TEST(contains(only(parse(http("${env:NOPE}"), options)), "2:30: source.token: environment variable NOPE is not set"));
  options.unset_is_warning = true;
  auto warned = parse(http("${env:NOPE}"), options);
  BOOST_TEST(contains(only(warned), "warning: "));
  BOOST_TEST(warned.specs.size() == 1u);
  // A value in the wrong place: the message shows the reference.
  auto wrong = parse("pipeline: ${env:TOKEN} x\nsource: { type: file, path: x }\nloads: [{ name: w, mode: \"${env:TOKEN}\", "
                     "destination: { type: sqlite, path: x.db, table: t } }]\n",
                     options);
  BOOST_TEST(wrong.mistakes.size() >= 2u);
  BOOST_TEST(!contains(to_text(wrong.mistakes), "hunter2"));
}

BOOST_AUTO_TEST_CASE(aliases_are_values_but_no_bomb) {
  auto p = parse("pipeline: o\nsource: { type: file, path: x }\nloads:\n  - { name: a, mode: append, destination: &d { type: "
                 "sqlite, path: x.db, table: t } }\n"
                 "  - { name: b, mode: append, destination: *d }\n");
  BOOST_TEST(contains(only(p), "writes table 't'")); // the alias was read as what it names
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c <= 'k'; ++c) {
    std::string before(1, static_cast<char>(c - 1));
    bomb += std::string(1, c) + ": &" + c + " [";
    for (int i = 0; i < 10; ++i) bomb += (i ? ",*" : "*") + before;
    bomb += "]\n";
  }
  BOOST_TEST(contains(only(parse(bomb)), "aliases expand to more than 100000 values"));
  BOOST_TEST(contains(to_text(parse("a: &a [*a]\n").mistakes), "an alias inside of what it names"));
}

BOOST_AUTO_TEST_CASE(a_file_may_hold_several_specs) {
  auto one = with_load("    key: [id]\n");
  auto p = parse("# first\n" + one + "---\n" + std::string(one).replace(10, 6, "second"));
  BOOST_TEST(to_text(p.mistakes) == "");
  BOOST_REQUIRE(p.specs.size() == 2u);
  BOOST_TEST(p.specs[1]->name == "second");
  BOOST_TEST(p.specs[0]->text.starts_with("# first\n"));
  BOOST_TEST(!contains(p.specs[0]->text, "second"));
  BOOST_TEST(!contains(p.specs[1]->text, "# first"));
  // What is stored is one document and reads the same again.
  auto again = stored_spec_parser({})(p.specs[1]->text, "orders.yaml", "/specs");
  BOOST_REQUIRE(again);
  BOOST_TEST(again.value()->name == "second");
  BOOST_TEST(contains(only(parse(one + "---\n" + one)), "pipeline 'orders' is defined at orders.yaml:1 already"));
}

BOOST_AUTO_TEST_CASE(any_broken_input_is_refused_without_a_crash) {
  auto spec = with_load("    key: [id]\n    schema: { id: int64 }\n    transform: [{ where: \"id > 1\" }]\n");
  for (std::size_t cut = 0; cut < spec.size(); cut += 3)
    BOOST_TEST(parse(spec.substr(0, cut)).mistakes.size() + parse(spec.substr(0, cut)).specs.size() > 0u);
  for (const char* text : {"\0\xff\xfe", "? [a]\n: b\n", "!!binary x", "%YAML 9.9\n---\na", "a: !<tag:x> b", "- - - - -",
                           "{{{{{{", "a: *none", "key: |\n\tx", "<<: {a: b}"})
    BOOST_TEST(has_errors(parse(text).mistakes), text);
  BOOST_TEST(has_errors(parse(std::string(5u << 20, 'x')).mistakes));
  BOOST_TEST(has_errors(parse(std::string(100'000, '[')).mistakes));
}

BOOST_AUTO_TEST_SUITE_END()
