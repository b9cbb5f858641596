// Reading the log again: rewinds, several loads on one log, offsets and times.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {
namespace {

std::string numbers(int first, int end) {
  std::string lines;
  for (int i = first; i < end; ++i) lines += R"({"id":)" + std::to_string(i) + R"(,"v":)" + std::to_string(i * 10) + "}\n";
  return lines;
}
const std::string columns = "schema: { id: { type: int64, required: true }, v: { type: int64 } }";

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> found;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    if (end > at) found.push_back(json::parse(text.substr(at, end - at)));
    at = end + 1;
  }
  return found;
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(replay, running_node)

BOOST_AUTO_TEST_CASE(a_rewind_of_an_upsert_load_mends_its_table_and_doubles_nothing) {
  write_file(path("in.ndjson"), numbers(0, 5000) + "{broken\n");
  node.apply("p", plain_spec("p", "in.ndjson", "key: [id], " + columns));
  node.caught_up("p");
  {
    sqlite_file db(path("out.db"));
    db.execute("delete from t where id % 2 = 0; update t set v = -1");
  }
  const auto before = node.load("p", "l");
  node.must({"load", "rewind", "p/l", "--to", "start"});
  node.caught_up("p");
  sqlite_file db(path("out.db"));
  BOOST_TEST(db.value("select count(*), sum(v = id * 10) from t") == "5000|5000");
  const auto after = node.load("p", "l");
  BOOST_TEST(after.at("delivered") == before.at("delivered"));
  BOOST_TEST(after.at("dead_letters") == before.at("dead_letters")); // replaced, not doubled
  BOOST_TEST(node.dead_letters("p").size() == 1u);
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(append_and_history_refuse_a_rewind_without_truncate) {
  write_file(path("in.ndjson"), numbers(0, 1000));
  node.apply("a", plain_spec("a", "in.ndjson", "mode: append, " + columns, false, "appended"));
  node.apply("h", plain_spec("h", "in.ndjson", "mode: history, key: [id], " + columns, false, "versions"));
  for (const std::string name : {"a", "h"}) {
    node.caught_up(name);
    const auto refused = node.cli({"load", "rewind", name + "/l", "--to", "start"});
    BOOST_TEST(refused.status == 1);
    BOOST_TEST(refused.err.find("--truncate") != std::string::npos, refused.err);
    node.must({"load", "rewind", name + "/l", "--to", "start", "--truncate"});
    node.caught_up(name);
    BOOST_TEST(unaccounted(node, name) == "");
  }
  sqlite_file db(path("out.db"));
  BOOST_TEST(db.number("select count(*) from appended") == 1000);
  BOOST_TEST(db.value("select count(*), sum(current) from versions") == "1000|1000");
}

BOOST_AUTO_TEST_CASE(a_rewind_beyond_the_end_or_of_nothing_is_refused) {
  write_file(path("in.ndjson"), numbers(0, 10));
  node.apply("p", plain_spec("p", "in.ndjson", "key: [id], " + columns));
  node.caught_up("p");
  for (const std::string to : {"1000000", "nonsense"}) {
    const auto refused = node.cli({"load", "rewind", "p/l", "--to", to});
    BOOST_TEST((refused.status == 1 || refused.status == 2), "--to " << to << ": " << refused.status);
    BOOST_TEST(!refused.err.empty());
  }
  BOOST_TEST(node.cli({"load", "rewind", "p/none", "--to", "start"}).status == 1);
  BOOST_TEST(node.cli({"load", "rewind", "none/l", "--to", "start"}).status == 1);
}

BOOST_AUTO_TEST_CASE(several_loads_read_one_log_each_at_its_own_offset) {
  write_file(path("in.ndjson"), numbers(0, 2000));
  const std::string destination = "destination: { type: sqlite, path: out.db, table: ";
  const auto spec = [&](bool third) {
    return "pipeline: p\nsource: { type: file, path: in.ndjson, follow: true }\nloads:\n  - { name: one, " + destination +
           "one }, key: [id], " + columns + " }\n  - name: two\n    " + destination + "two }\n    mode: append\n    " + columns +
           "\n    transform: [ { where: \"id < 100\" } ]\n" +
           (third ? "  - { name: three, " + destination + "three }, mode: history, key: [id], " + columns + " }\n" : "");
  };
  node.apply("p", spec(false));
  node.caught_up("p");
  node.must({"load", "rewind", "p/one", "--to", "start"});
  node.apply("p", spec(true)); // a load that comes later reads the log from its start
  append_file(path("in.ndjson"), numbers(2000, 2500));
  node.until("p", "2500 ingested", [](const json& s) { return s.at("ingested") == 2500; });
  node.caught_up("p");
  sqlite_file db(path("out.db"));
  BOOST_TEST(db.value("select (select count(*) from one), (select count(*) from two), (select count(*) from three)") ==
             "2500|100|2500");
  BOOST_TEST(node.load("p", "two").at("filtered") == 2400);
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(the_log_is_read_from_any_offset_or_time) {
  write_file(path("in.ndjson"), numbers(0, 500));
  node.apply("p", plain_spec("p", "in.ndjson", "key: [id], " + columns, true));
  node.until("p", "500 ingested", [](const json& s) { return s.at("ingested") == 500; });
  node.caught_up("p");
  const auto all = lines_of(node.must({"log", "read", "p", "--from", "start", "--limit", "1000", "-o", "json"}));
  BOOST_TEST_REQUIRE(all.size() == 500u);
  for (const auto* key : {"partition", "offset", "time", "op", "table", "key", "position", "transaction", "payload"})
    BOOST_TEST(all.front().contains(key), "`log read` has no `" << key << "`: " << all.front().dump());
  const auto middle =
      lines_of(node.must({"log", "read", "p", "--from", all[250].at("offset").dump(), "--limit", "3", "-o", "json"}));
  BOOST_TEST_REQUIRE(middle.size() == 3u);
  BOOST_TEST(middle[0].at("payload") == all[250].at("payload"));

  const auto info = node.ask({"log", "info", "p"});
  BOOST_TEST(info.at(0).at("next_offset").get<std::uint64_t>() > all.back().at("offset").get<std::uint64_t>());
  const auto end = lines_of(node.must({"log", "read", "p", "--from", "end", "--limit", "3", "-o", "json"}));
  BOOST_TEST(end.empty());

  // A moment between two arrivals: everything staged before it is left out.
  const auto earlier = all.back().at("time").get<std::string>();
  std::string now;
  eventually("the clock has moved past the newest change", [&] {
    const auto seconds_now = std::time(nullptr);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&seconds_now));
    now = text;
    return now.substr(0, 19) > earlier.substr(0, 19); // whole seconds
  });
  append_file(path("in.ndjson"), numbers(500, 510));
  node.until("p", "510 ingested", [](const json& s) { return s.at("ingested") == 510; });
  const auto late = lines_of(node.must({"log", "read", "p", "--from", now, "--limit", "1000", "-o", "json"}));
  BOOST_TEST_REQUIRE(!late.empty());
  BOOST_TEST(late.size() == 10u);
  BOOST_TEST(late.front().at("payload") == R"({"id":500,"v":5000})");

  node.caught_up("p");
  sqlite_file db(path("out.db"));
  db.execute("delete from t");
  node.must({"load", "rewind", "p/l", "--to", now});
  node.caught_up("p");
  BOOST_TEST(db.value("select min(id), max(id), count(*) from t") == "500|509|10");
}

BOOST_AUTO_TEST_CASE(values_survive_exactly_end_to_end) {
  write_file(
      path("in.ndjson"),
      R"({"id":9007199254740993,"d":0.30000000000000004,"big":12345678901234567890.123456789,"t":"2024-02-29T12:00:00.123456+02:00",)"
      R"("u":"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11","b":true,"x":"aGk=","day":"2024-02-29","j":{"a":[1,2]}})"
      "\n");
  node.apply(
      "p", plain_spec(
               "p", "in.ndjson",
               "key: [id], schema: { id: { type: int64 }, d: { type: decimal }, big: { type: decimal }, t: { type: timestamp }, "
               "u: { type: uuid }, b: { type: bool }, x: { type: bytes }, day: { type: date }, deep: { type: int64, from: /j/a/1 "
               "} }"));
  node.caught_up("p");
  BOOST_TEST(node.dead_letters("p").dump() == "[]");
  BOOST_TEST(sqlite_file(path("out.db")).value("select id, d, big, t, u, b, cast(x as text), typeof(x), day, deep from t") ==
             "9007199254740993|0.30000000000000004|12345678901234567890.123456789|2024-02-29T10:00:00.123456Z|"
             "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11|1|hi|blob|2024-02-29|2");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
