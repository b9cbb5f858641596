// No space left: on the log's file system, on the destination's. Wait, say so, go on alone; lose nothing.

#include "tests/integration/support/fixture.hpp"
#include "tests/integration/support/tmpfs.hpp"

namespace millrace::testing {
namespace {

std::string lines(int first, int end, std::size_t padding) {
  std::string text;
  std::uint64_t noise = 88172645463325252ull; // does not compress away
  for (int i = first; i < end; ++i) {
    std::string pad;
    while (pad.size() < padding) {
      noise ^= noise << 13, noise ^= noise >> 7, noise ^= noise << 17;
      pad += std::to_string(noise);
    }
    text += R"({"id":)" + std::to_string(i) + R"(,"pad":")" + pad + "\"}\n";
  }
  return text;
}
const std::string appended = "mode: append, schema: { id: { type: int64 }, pad: { type: text } }";

/// True if the case cannot run here, which is said.
bool not_mounted(const tmpfs& disk) {
  if (disk.mounted()) return false;
  BOOST_TEST_MESSAGE("NOT RUN: mounting a tmpfs needs root");
  std::cerr << "NOT RUN: mounting a tmpfs needs root\n";
  return true;
}

bool says_space(std::string text) {
  for (const auto* words : {"space", "full", "reserve"})
    if (text.find(words) != std::string::npos) return true;
  return false;
}

} // namespace

BOOST_AUTO_TEST_SUITE(full_disk)

BOOST_AUTO_TEST_CASE(a_full_log_disk_stops_intake_and_goes_on_when_there_is_room) {
  temp_dir dir;
  tmpfs disk(dir / "log", 200);
  if (not_mounted(disk)) return;
  test_node node(dir / "n", {.limits = "disk_reserve: 16MiB", .data = dir / "log" / "data", .env = {}});
  node.start();
  write_file(dir / "n/in.ndjson", lines(0, 60000, 600));
  disk.fill(70 << 20); // room for about 20 MiB of log: the reserve is never below 48 MiB
  auto spec = plain_spec("p", "in.ndjson", appended, true);
  spec.insert(spec.find("loads:"), "log: { compression: none }\n");
  node.apply("p", spec);
  const auto waiting = node.until(
      "p", "it waits for space", [](const json& s) { return s.at("state") == "waiting"; }, seconds{60});
  BOOST_TEST(says_space(waiting.at("reason").get<std::string>()), waiting.dump());
  BOOST_TEST(waiting.at("ingested").get<int>() > 0);
  BOOST_TEST(waiting.at("ingested").get<int>() < 60000);
  BOOST_TEST(says_space(node.log()));
  BOOST_TEST(http_get(node.http("/readyz")).status == 503);
  BOOST_TEST(http_get(node.http("/healthz")).status == 200);
  BOOST_TEST(node.running());

  // A restart on the full disk keeps what was acknowledged, and waits again.
  const auto staged = waiting.at("ingested").get<std::uint64_t>();
  node.kill9();
  node.start();
  const auto again = node.until(
      "p", "it waits again", [](const json& s) { return s.at("state") == "waiting"; }, seconds{60});
  BOOST_TEST(again.at("ingested").get<std::uint64_t>() >= staged, again.dump());

  disk.make_room();
  node.until(
      "p", "all is ingested", [](const json& s) { return s.at("ingested") == 60000; }, seconds{60});
  node.caught_up("p");
  BOOST_TEST(sqlite_file(dir / "n/out.db").value("select count(*), count(distinct id) from t") == "60000|60000");
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(a_log_disk_without_a_single_free_byte_does_not_end_the_node) {
  temp_dir dir;
  tmpfs disk(dir / "log", 200);
  if (not_mounted(disk)) return;
  test_node node(dir / "n", {.limits = "disk_reserve: 16MiB", .data = dir / "log" / "data", .env = {}});
  node.start();
  write_file(dir / "n/in.ndjson", lines(0, 1000, 600));
  node.apply("p", plain_spec("p", "in.ndjson", appended, true));
  node.until("p", "1000 ingested", [](const json& s) { return s.at("ingested") == 1000; });
  node.caught_up("p");
  disk.fill(0);
  append_file(dir / "n/in.ndjson", lines(1000, 5000, 600));
  node.until("p", "it waits for space", [](const json& s) { return s.at("state") == "waiting"; });
  BOOST_TEST(node.running());
  disk.make_room();
  node.until("p", "5000 ingested", [](const json& s) { return s.at("ingested") == 5000; });
  node.caught_up("p");
  BOOST_TEST(sqlite_file(dir / "n/out.db").value("select count(*), count(distinct id) from t") == "5000|5000");
}

BOOST_AUTO_TEST_CASE(a_full_destination_is_waited_for_and_makes_no_dead_letters) {
  temp_dir dir;
  tmpfs disk(dir / "out", 48);
  if (not_mounted(disk)) return;
  test_node node(dir / "n");
  node.start();
  write_file(dir / "n/in.ndjson", lines(0, 20000, 600));
  disk.fill(6 << 20);
  auto spec = plain_spec("p", "in.ndjson", appended, true);
  spec.replace(spec.find("out.db"), 6, "\"" + (dir / "out" / "out.db").string() + "\"");
  node.apply("p", spec);
  const auto waiting = node.until(
      "p", "the load waits for space", [](const json& s) { return in(s, "/loads/0/state") == "waiting"; }, seconds{60});
  BOOST_TEST(says_space(text_in(waiting, "/loads/0/reason")), waiting.dump());
  BOOST_TEST(in(waiting, "/loads/0/dead_letters/total") == 0);
  node.until("p", "all is ingested all the same", [](const json& s) { return s.at("ingested") == 20000; });
  BOOST_TEST(node.metric("millrace_load_lag_changes").value_or(0) > 0);
  BOOST_TEST(http_get(node.http("/readyz")).status == 503);
  BOOST_TEST(says_space(node.log()));
  disk.make_room();
  node.caught_up("p");
  BOOST_TEST(sqlite_file(dir / "out/out.db").value("select count(*), count(distinct id) from t") == "20000|20000");
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 0);
  BOOST_TEST(unaccounted(node, "p") == "");
  node.terminate(); // before its disk goes
}

BOOST_AUTO_TEST_CASE(a_locked_destination_is_waited_for) {
  temp_dir dir;
  test_node node(dir / "n");
  node.start();
  write_file(dir / "n/in.ndjson", lines(0, 10, 10));
  node.apply("p", plain_spec("p", "in.ndjson", appended, true));
  node.until("p", "10 ingested", [](const json& s) { return s.at("ingested") == 10; });
  node.caught_up("p");
  {
    sqlite_file other(dir / "n/out.db");
    other.execute("begin immediate");
    append_file(dir / "n/in.ndjson", lines(10, 20, 10));
    const auto waiting =
        node.until("p", "the load waits for the lock", [](const json& s) { return in(s, "/loads/0/state") == "waiting"; });
    BOOST_TEST(text_in(waiting, "/loads/0/reason").find("lock") != std::string::npos, waiting.dump());
    other.execute("rollback");
  }
  node.caught_up("p");
  BOOST_TEST(sqlite_file(dir / "n/out.db").value("select count(*), count(distinct id) from t") == "20|20");
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 0);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
