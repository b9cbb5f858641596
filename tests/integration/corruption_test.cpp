// A damaged block of the log: said with partition and offset, and nobody else's problem.

#include "tests/integration/support/fixture.hpp"

#include <fstream>

namespace millrace::testing {
namespace {

std::string lines(int first, int end) {
  const std::string pad(300, '.'); // more than is kept in memory, so that some of it comes into table files
  std::string text;
  for (int i = first; i < end; ++i)
    text += R"({"id":)" + std::to_string(i) + R"(,"mark":"MARK-)" + std::to_string(i) + "-" + pad + "\"}\n";
  return text;
}
std::string spec(const std::string& name) {
  return "pipeline: " + name + "\nsource: { type: file, path: " + name +
         ".ndjson, follow: true }\nlog: { compression: none }\nloads:\n" +
         "  - { name: l, destination: { type: sqlite, path: " + name +
         ".db, table: t }, key: [id], schema: { id: { type: int64, required: true } } }\n";
}

/// Flips one byte of the stored text `mark`; gives the file, or nothing if no table file has it.
std::string damage(const std::filesystem::path& data, const std::string& mark) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data)) {
    if (entry.path().extension() != ".sst") continue;
    const auto at = read_file(entry.path()).find(mark);
    if (at == std::string::npos) continue;
    std::fstream file(entry.path(), std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.put('X');
    return entry.path().string();
  }
  return {};
}

} // namespace

BOOST_FIXTURE_TEST_SUITE(corruption, running_node)

BOOST_AUTO_TEST_CASE(a_damaged_block_names_partition_and_offset_and_other_pipelines_go_on) {
  constexpr int count = 200000;
  write_file(path("bad.ndjson"), lines(0, count));
  write_file(path("good.ndjson"), R"({"id":1})"
                                  "\n");
  node.apply("bad", spec("bad"));
  node.apply("good", spec("good"));
  for (const auto* name : {"bad", "good"})
    node.until(name, "something is ingested",
               [&](const json& s) { return s.at("ingested") == (s.at("pipeline") == "bad" ? count : 1); });
  node.caught_up("bad");
  node.caught_up("good");
  std::string damaged;
  for (int tries = 0; tries < 3 && damaged.empty(); ++tries) {
    node.terminate();
    damaged = damage(node.data(), "MARK-" + std::to_string(count / 8) + "-");
    node.start();
  }
  BOOST_TEST_REQUIRE(!damaged.empty(), "the text was found in no table file");

  const auto read = node.cli({"log", "read", "bad", "--from", "start", "--limit", std::to_string(count)});
  BOOST_TEST(read.status == 1);
  BOOST_TEST(read.err.find("partition 0") != std::string::npos, read.err.substr(0, 2000));
  BOOST_TEST(read.err.find("offset") != std::string::npos, read.err.substr(0, 2000));

  sqlite_file(path("bad.db")).execute("delete from t");
  node.must({"load", "rewind", "bad/l", "--to", "start"});
  const auto status =
      node.until("bad", "the load says that it failed", [](const json& s) { return in(s, "/loads/0/state") == "failed"; });
  const auto reason = text_in(status, "/loads/0/reason");
  BOOST_TEST(reason.find("partition 0") != std::string::npos, status.dump());
  BOOST_TEST(reason.find("offset") != std::string::npos, status.dump());
  BOOST_TEST(sqlite_file(path("bad.db")).number("select count(*) from t") <= count / 8);

  append_file(path("good.ndjson"), R"({"id":2})"
                                   "\n");
  node.until("good", "the other pipeline goes on", [](const json& s) { return in(s, "/loads/0/delivered") == 2; });
  BOOST_TEST(node.running());
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
