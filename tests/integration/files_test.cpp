// The file source: CSV, following, rotation, truncation, long lines, globs.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {
namespace {

std::string lines(int first, int end) {
  std::string text;
  for (int i = first; i < end; ++i) text += R"({"id":)" + std::to_string(i) + "}\n";
  return text;
}
const std::string by_id = "key: [id], schema: { id: { type: int64, required: true } }";

struct file_node : running_node {
  void ingested(std::uint64_t count) {
    node.until("p", std::to_string(count) + " ingested", [=](const json& s) { return s.at("ingested") == count; });
    node.caught_up("p");
  }
  std::string value(const std::string& sql) { return sqlite_file(path("out.db")).value(sql); }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(files, file_node)

BOOST_AUTO_TEST_CASE(csv_is_rfc_4180_and_a_wrong_number_of_cells_is_a_dead_letter) {
  write_file(
      path("in.csv"),
      "\xef\xbb\xbfid,name,note\r\n1,plain,\r\n2,\"quoted, \"\"twice\"\"\",\"\"\r\n3,\"two\nlines\",x\r\n4,short\r\n5,last,y");
  node.apply(
      "p",
      "pipeline: p\nsource: { type: file, path: in.csv, format: csv }\nloads:\n  - { name: l, destination: { type: sqlite, path: "
      "out.db, "
      "table: t }, key: [id], schema: { id: { type: int64, required: true }, name: { type: text }, note: { type: text } } }\n");
  node.caught_up("p");
  const auto rows = sqlite_file(path("out.db")).rows("select id, name, note from t order by id");
  const std::vector<std::string> expected = {"1|plain|NULL", "2|quoted, \"twice\"|", "3|two\nlines|x", "5|last|y"};
  BOOST_TEST(rows == expected, boost::test_tools::per_element());
  const auto letters = node.dead_letters("p");
  BOOST_TEST_REQUIRE(letters.size() == 1u);
  BOOST_TEST(letters[0].at("reason") == "parse");
  BOOST_TEST(letters[0].at("payload") == "4,short");
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(a_followed_file_is_read_as_it_grows_and_a_half_line_waits) {
  write_file(path("in.ndjson"), lines(0, 10) + "{\"id\":");
  node.apply("p", plain_spec("p", "in.ndjson", by_id, true));
  ingested(10);
  append_file(path("in.ndjson"), "10}\n" + lines(11, 20));
  ingested(20);
  node.kill9();
  append_file(path("in.ndjson"), lines(20, 30));
  node.start();
  ingested(30);
  BOOST_TEST(value("select count(*), max(id) from t") == "30|29");
  BOOST_TEST(node.dead_letters("p").size() == 0u);
}

BOOST_AUTO_TEST_CASE(a_file_read_once_ends_with_its_last_line_with_or_without_newline) {
  write_file(path("in.ndjson"), "\xef\xbb\xbf{\"id\":1}\r\n\n\r\n{\"id\":2}");
  node.apply("p", plain_spec("p", "in.ndjson", by_id));
  node.caught_up("p");
  BOOST_TEST(node.status("p").at("ingested") == 2);
  BOOST_TEST(value("select count(*) from t") == "2");
}

BOOST_AUTO_TEST_CASE(rotation_loses_and_repeats_nothing) {
  std::filesystem::create_directory(path("in"));
  write_file(path("in/app.log"), lines(0, 1000));
  node.apply(
      "p",
      "pipeline: p\nsource: { type: file, path: \"in/app.log*\", follow: true }\nloads:\n"
      "  - { name: l, destination: { type: sqlite, path: out.db, table: t }, mode: append, schema: { id: { type: int64 } } }\n");
  ingested(1000);
  append_file(path("in/app.log"), lines(1000, 1500)); // its end is unread when it is renamed
  std::filesystem::rename(path("in/app.log"), path("in/app.log.1"));
  write_file(path("in/app.log"), lines(1500, 2000));
  ingested(2000);
  std::filesystem::rename(path("in/app.log.1"), path("in/app.log.2"));
  std::filesystem::rename(path("in/app.log"), path("in/app.log.1"));
  write_file(path("in/app.log"), lines(2000, 2100));
  ingested(2100);
  BOOST_TEST(value("select count(*), count(distinct id) from t") == "2100|2100");
}

BOOST_AUTO_TEST_CASE(a_truncated_file_is_read_from_its_new_beginning) {
  write_file(path("in.ndjson"), lines(0, 100));
  node.apply("p", plain_spec("p", "in.ndjson", by_id, true));
  ingested(100);
  write_file(path("in.ndjson"), lines(100, 110)); // the same inode, smaller than the position
  ingested(110);
  BOOST_TEST(value("select count(*), max(id) from t") == "110|109");
}

BOOST_AUTO_TEST_CASE(a_line_above_max_record_bytes_is_a_dead_letter_with_its_whole_payload) {
  const std::string large = "{\"id\":2,\"x\":\"" + std::string(3 << 20, 'x') + "\"}";
  write_file(path("in.ndjson"), "{\"id\":1}\n" + large + "\n{\"id\":3}\n");
  node.apply("p", "pipeline: p\nsource: { type: file, path: in.ndjson, max_record_bytes: 1MiB }\nloads:\n"
                  "  - { name: l, destination: { type: sqlite, path: out.db, table: t }, " +
                      by_id + " }\n");
  node.caught_up("p");
  BOOST_TEST(value("select count(*) from t") == "2");
  const auto letters = node.dead_letters("p");
  BOOST_TEST_REQUIRE(letters.size() == 1u);
  BOOST_TEST(letters[0].at("reason") == "too_large");
  const auto shown =
      node.ask({"dead-letters", "show", "p", "--id",
                letters[0].at("id").is_string() ? letters[0].at("id").get<std::string>() : letters[0].at("id").dump()});
  BOOST_TEST(((shown.is_array() ? shown.at(0) : shown).at("payload") == large), "the payload is not whole");
}

BOOST_AUTO_TEST_CASE(a_missing_file_is_waited_for_and_said) {
  node.apply("p", plain_spec("p", "later.ndjson", by_id, true));
  const auto status = node.until("p", "it waits for the file", [](const json& s) { return s.at("state") == "waiting"; });
  BOOST_TEST(status.at("reason").get<std::string>().find("later.ndjson") != std::string::npos, status.dump());
  write_file(path("later.ndjson"), lines(0, 5));
  ingested(5);
  node.until("p", "it runs", [](const json& s) { return s.at("state") == "running"; });
}

BOOST_AUTO_TEST_CASE(a_glob_takes_all_files_and_each_once) {
  std::filesystem::create_directory(path("in"));
  for (int i = 0; i < 20; ++i) write_file(path("in/" + std::to_string(i) + ".ndjson"), lines(i * 100, i * 100 + 100));
  std::filesystem::create_directory(path("in/folder.ndjson"));
  node.apply("p", plain_spec("p", "in/*.ndjson", "mode: append, schema: { id: { type: int64 } }"));
  node.caught_up("p");
  BOOST_TEST(value("select count(*), count(distinct id) from t") == "2000|2000");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
