// The command line: exit statuses, messages, JSON for scripts.

#include "tests/integration/support/fixture.hpp"

#include <regex>

namespace millrace::testing {

BOOST_FIXTURE_TEST_SUITE(commands, running_node)

BOOST_AUTO_TEST_CASE(ten_mistakes_in_a_spec_are_ten_messages_with_file_line_and_column) {
  write_file(path("broken.yaml"), "pipeline: broken\n"
                                  "source: { type: fil, path: in.ndjson }\n"                    // 1: no such source
                                  "log: { compresion: zstd, retention: { time: 7 parsecs } }\n" // 2, 3: unknown key, bad unit
                                  "loads:\n"
                                  "  - name: a\n"
                                  "    destination: { type: sqlite, path: out.db, table: t }\n"
                                  "    mode: upsrt\n"                             // 4: no such mode
                                  "    key: [nokey]\n"                            // 5: not in the schema
                                  "    schema: { id: { type: integer } }\n"       // 6: no such type
                                  "    transform: [ { wher: \"1\" } ]\n"          // 7: no such step
                                  "    on_error: { action: explode }\n"           // 8: no such action
                                  "  - name: a\n"                                 // 9: named twice
                                  "    destination: { type: sqlite, table: t }\n" // 10: no path
                                  "    mode: append\n");
  const auto result =
      run({.argv = {binary(), "pipeline", "validate", path("broken.yaml")}, .env = {}, .directory = {}, .output = {}});
  BOOST_TEST(result.status == 2);
  const std::regex message(R"(broken\.yaml:[0-9]+:[0-9]+: .+)");
  int messages = 0;
  for (std::sregex_iterator at(result.err.begin(), result.err.end(), message), end; at != end; ++at) ++messages;
  BOOST_TEST(messages == 10, result.err);
  BOOST_TEST(result.err.find("compression") != std::string::npos, "no did-you-mean in: " << result.err);

  const auto applied = node.cli({"pipeline", "apply", path("broken.yaml")});
  BOOST_TEST(applied.status == 2);
  BOOST_TEST(node.ask({"pipeline", "list"}).size() == 0u);
}

BOOST_AUTO_TEST_CASE(apply_of_several_files_is_all_or_none) {
  write_file(path("good.yaml"), plain_spec("good", "in.ndjson", "mode: append"));
  write_file(path("bad.yaml"), plain_spec("bad", "in.ndjson", "mode: apend"));
  BOOST_TEST(node.cli({"pipeline", "apply", "good.yaml", "bad.yaml"}).status == 2);
  BOOST_TEST(node.ask({"pipeline", "list"}).size() == 0u);
}

BOOST_AUTO_TEST_CASE(each_outcome_has_its_exit_status) {
  write_file(path("in.ndjson"), "{\"id\":1}\n");
  node.apply("p", plain_spec("p", "in.ndjson", "mode: append"));
  BOOST_TEST(node.cli({"pipeline", "status", "p", "--wait", "caught-up", "--timeout", "30s"}).status == 0);
  BOOST_TEST(node.cli({"pipeline", "status", "none"}).status == 1);
  BOOST_TEST(node.cli({"pipeline", "pause", "none"}).status == 1);
  BOOST_TEST(node.cli({"pipeline", "frobnicate"}).status == 2);
  BOOST_TEST(node.cli({"pipeline", "status"}).status == 2);
  BOOST_TEST(node.cli({"pipeline", "status", "p", "--no-such-flag"}).status == 2);
  BOOST_TEST(node.cli({"pipeline", "validate", "missing.yaml"}).status == 2);
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"--no-such-flag"}, {"pipeline", "--no-such-flag"}, {"pipeline", "status", "--no-such-flag"}})
    BOOST_TEST(node.cli(words).err.find("unknown option '--no-such-flag'") != std::string::npos);
  BOOST_TEST(run({.argv = {binary(), "pipeline", "list", "--server", path("no.sock")}, .env = {}, .directory = {}, .output = {}})
                 .status == 3);
  node.must({"pipeline", "pause", "p"});
  const auto late = node.cli({"pipeline", "status", "p", "--wait", "running", "--timeout", "1s"});
  BOOST_TEST(late.status == 4, late.out << late.err);
}

BOOST_AUTO_TEST_CASE(errors_are_json_on_standard_error_when_json_is_asked_for) {
  const auto result = node.cli({"pipeline", "status", "none", "-o", "json"});
  BOOST_TEST(result.status == 1);
  BOOST_TEST(result.out == "");
  const auto error = json::parse(result.err).at("error");
  BOOST_TEST(error.at("code") == "not_found");
  BOOST_TEST(error.at("message").get<std::string>().find("none") != std::string::npos);
  BOOST_TEST(error.contains("detail"));
}

BOOST_AUTO_TEST_CASE(tables_off_a_terminal_are_plain) {
  write_file(path("in.ndjson"), "{\"id\":1}\n");
  node.apply("p", plain_spec("p", "in.ndjson", "mode: append"));
  node.caught_up("p");
  for (const std::vector<std::string>& words : {std::vector<std::string>{"pipeline", "list"},
                                                {"pipeline", "status", "p"},
                                                {"actors"},
                                                {"actors", "p"},
                                                {"cluster", "status"},
                                                {"log", "info", "p"}}) {
    const auto text = node.must(words);
    BOOST_TEST(!text.empty());
    BOOST_TEST(text.find('\x1b') == std::string::npos, text);
  }
}

BOOST_AUTO_TEST_CASE(the_environment_names_the_server) {
  const auto result = run({.argv = {binary(), "pipeline", "list"},
                           .env = {{"MILLRACE_SERVER", node.socket().string()}},
                           .directory = {},
                           .output = {}});
  BOOST_TEST(result.status == 0, result.err);
}

BOOST_AUTO_TEST_CASE(dry_run_needs_no_node_and_writes_nothing) {
  write_file(path("in.ndjson"), "{\"id\":1,\"qty\":2}\n{\"id\":2,\"qty\":\"x\"}\n{\"id\":3,\"qty\":0}\n");
  write_file(path("p.yaml"), "pipeline: p\nsource: { type: file, path: in.ndjson }\nloads:\n  - name: l\n    destination: { "
                             "type: sqlite, path: dry.db, table: t }\n"
                             "    key: [id]\n    schema: { id: { type: int64 }, qty: { type: int64 } }\n"
                             "    transform: [ { where: \"qty > 0\" }, { set: { twice: \"qty * 2\" } } ]\n");
  const auto result =
      run({.argv = {binary(), "pipeline", "dry-run", path("p.yaml")}, .env = {}, .directory = node.directory(), .output = {}});
  BOOST_TEST(result.status == 0, result.err);
  const auto end = result.out.find('\n');
  BOOST_TEST_REQUIRE(end != std::string::npos, result.out << result.err);
  const auto row = json::parse(result.out.substr(0, end));
  BOOST_TEST(row.at("twice") == 4);
  const auto rest = json::parse(result.out.substr(end + 1));
  BOOST_TEST(rest.at("dead_letter").at("reason") == "type");
  BOOST_TEST(!std::filesystem::exists(path("dry.db")));
}

BOOST_AUTO_TEST_CASE(an_unset_reference_is_a_warning_to_validate_and_an_error_to_the_node) {
  write_file(path("p.yaml"), "pipeline: p\nsource: { type: http, token: \"${env:MILLRACE_TEST_UNSET}\" }\nloads:\n"
                             "  - { name: l, destination: { type: sqlite, path: out.db, table: t }, mode: append }\n");
  const auto valid = node.cli({"pipeline", "validate", "p.yaml"});
  BOOST_TEST(valid.status == 0);
  BOOST_TEST((valid.out + valid.err).find("MILLRACE_TEST_UNSET") != std::string::npos);
  const auto applied = node.cli({"pipeline", "apply", "p.yaml"});
  BOOST_TEST((applied.status == 1 || applied.status == 2));
  BOOST_TEST(applied.err.find("MILLRACE_TEST_UNSET") != std::string::npos, applied.err);
}

BOOST_AUTO_TEST_CASE(a_node_configurations_mistakes_are_reported_like_a_specs) {
  write_file(path("bad-node.yaml"), "node: x\ndata_dri: /tmp/x\nlimits: { memory: lots }\n");
  const auto result =
      run({.argv = {binary(), "node", "--config", path("bad-node.yaml")}, .env = {}, .directory = {}, .output = {}});
  BOOST_TEST(result.status == 2);
  BOOST_TEST(result.err.find("bad-node.yaml:2:1:") != std::string::npos, result.err);
  BOOST_TEST(result.err.find("bad-node.yaml:3:") != std::string::npos, result.err);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
