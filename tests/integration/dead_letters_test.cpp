// The operator's side of quarantine: list, show, repair, redrive, discard.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {
namespace {

struct letters_node : running_node {
  /// The broken spec reads the quantity from field `a`, the repaired one from `b`.
  std::string spec(const std::string& field, const std::string& policy) {
    return plain_spec("p", "in.ndjson",
                      "key: [id], schema: { id: { type: int64, required: true }, qty: { type: int64, from: " + field +
                          " } }, on_error: { action: quarantine, later_changes_of_key: " + policy + " }");
  }
  std::string id_of(std::size_t which) {
    const auto id = node.dead_letters("p").at(which).at("id");
    return id.is_string() ? id.get<std::string>() : id.dump();
  }
  std::string rows() {
    std::string text;
    for (const auto& row : sqlite_file(path("out.db")).rows("select id, qty from t order by id")) text += row + " ";
    return text;
  }
};

} // namespace

BOOST_FIXTURE_TEST_SUITE(dead_letters, letters_node)

BOOST_AUTO_TEST_CASE(after_the_spec_is_repaired_a_redrive_delivers_in_order) {
  write_file(
      path("in.ndjson"),
      "{\"id\":1,\"a\":\"x\",\"b\":6}\n{\"id\":2,\"a\":2,\"b\":2}\n{\"id\":1,\"a\":7,\"b\":7}\n{\"id\":1,\"a\":8,\"b\":8}\n");
  node.apply("p", spec("a", "hold"));
  node.caught_up("p");
  BOOST_TEST(rows() == "2|2 ");
  const auto open = node.dead_letters("p");
  BOOST_TEST_REQUIRE(open.size() == 3u);
  BOOST_TEST(open[0].at("reason") == "type");
  BOOST_TEST(open[1].at("reason") == "held");
  BOOST_TEST(open[2].at("reason") == "held");
  BOOST_TEST(open[0].at("state") == "quarantined");
  BOOST_TEST(open[0].at("error").at("column") == "qty", open[0].dump());

  // Redriven without a repair it fails again: an attempt more, nothing doubled, nothing delivered.
  node.must({"dead-letters", "redrive", "p", "--all"});
  node.until("p", "the first attempt failed again",
             [&](const json&) { return node.dead_letters("p").at(0).at("attempts") == 2; });
  node.caught_up("p");
  BOOST_TEST(node.dead_letters("p").size() == 3u);
  BOOST_TEST(rows() == "2|2 ");

  node.apply("p", spec("b", "hold")); // the field with good numbers
  node.must({"dead-letters", "redrive", "p", "--all"});
  node.until("p", "no dead letter is open", [](const json& s) { return in(s, "/loads/0/dead_letters/open") == 0; });
  BOOST_TEST(rows() == "1|8 2|2 ");                                    // the last change of key 1 came last
  BOOST_TEST(node.load("p", "l").at("dead_letters").at("total") == 3); // never falls
  BOOST_TEST(node.load("p", "l").at("delivered") == 4);
  BOOST_TEST(node.dead_letters("p", "", "redriven").size() == 3u);
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(discarding_the_cause_under_hold_releases_the_held_changes) {
  write_file(path("in.ndjson"), "{\"id\":1,\"a\":\"x\"}\n{\"id\":1,\"a\":7}\n{\"id\":1,\"a\":8}\n");
  node.apply("p", spec("a", "hold"));
  node.caught_up("p");
  BOOST_TEST(rows() == "");
  node.must({"dead-letters", "discard", "p", "--id", id_of(0)});
  node.until("p", "the held changes are delivered", [](const json& s) { return in(s, "/loads/0/delivered") == 2; });
  BOOST_TEST(rows() == "1|8 ");
  BOOST_TEST(node.dead_letters("p").size() == 0u);
  BOOST_TEST(node.dead_letters("p", "", "discarded").size() == 1u);
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(under_continue_a_superseded_change_is_redriven_only_by_force) {
  write_file(path("in.ndjson"),
             "{\"id\":1,\"a\":\"old\",\"b\":6}\n{\"id\":1,\"a\":7,\"b\":7}\n{\"id\":2,\"a\":\"alone\",\"b\":2}\n");
  node.apply("p", spec("a", "continue"));
  node.caught_up("p");
  BOOST_TEST(rows() == "1|7 ");
  node.apply("p", spec("b", "continue"));
  const auto first = id_of(0), second = id_of(1);
  const auto refused = node.cli({"dead-letters", "redrive", "p", "--id", first});
  BOOST_TEST(refused.status == 1);
  BOOST_TEST(refused.err.find("supersede") != std::string::npos, refused.err);
  node.must({"dead-letters", "redrive", "p", "--id", second});
  node.until("p", "one is open", [](const json& s) { return in(s, "/loads/0/dead_letters/open") == 1; });
  BOOST_TEST(rows() == "1|7 2|2 ");
  node.must({"dead-letters", "redrive", "p", "--id", first, "--force"});
  node.until("p", "none is open", [](const json& s) { return in(s, "/loads/0/dead_letters/open") == 0; });
  BOOST_TEST(rows() == "1|6 2|2 ");
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_CASE(halt_stops_the_load_names_the_offset_and_resume_tries_again) {
  write_file(path("in.ndjson"), "{\"id\":1,\"a\":1,\"b\":1}\n{\"id\":2,\"a\":\"x\",\"b\":2}\n{\"id\":3,\"a\":3,\"b\":3}\n");
  auto text = spec("a", "hold");
  text.replace(text.find("action: quarantine"), 18, "action: halt");
  node.apply("p", text);
  const auto status = node.until("p", "the load is failed", [](const json& s) { return in(s, "/loads/0/state") == "failed"; });
  BOOST_TEST(text_in(status, "/loads/0/reason").find("offset") != std::string::npos, status.dump());
  BOOST_TEST(rows() == "1|1 ");
  BOOST_TEST(node.dead_letters("p").size() == 0u);
  auto repaired = spec("b", "hold");
  repaired.replace(repaired.find("action: quarantine"), 18, "action: halt");
  node.apply("p", repaired);
  node.must({"pipeline", "resume", "p"});
  node.caught_up("p");
  BOOST_TEST(rows() == "1|1 2|2 3|3 ");
}

BOOST_AUTO_TEST_CASE(list_filters_and_show_gives_the_whole_letter) {
  write_file(path("in.ndjson"), "{\"id\":1,\"a\":\"x\"}\n{oops\n[1,2]\n{\"a\":1}\n\"text\"\n{\"id\":9,\"a\":true}\n");
  node.apply("p", spec("a", "hold"));
  node.caught_up("p");
  BOOST_TEST(node.dead_letters("p").size() == 6u);
  BOOST_TEST(node.ask({"dead-letters", "list", "p", "--reason", "parse"}).size() == 3u);
  BOOST_TEST(node.ask({"dead-letters", "list", "p", "--reason", "schema"}).size() == 1u);
  BOOST_TEST(node.ask({"dead-letters", "list", "p", "--reason", "type"}).size() == 2u); // a bool is no number
  BOOST_TEST(node.ask({"dead-letters", "list", "p", "--limit", "2"}).size() == 2u);
  const auto shown = node.ask({"dead-letters", "show", "p", "--id", id_of(1)});
  const auto& letter = shown.is_array() ? shown.at(0) : shown;
  BOOST_TEST(letter.at("payload") == "{oops");
  BOOST_TEST(letter.at("pipeline") == "p");
  BOOST_TEST(letter.at("load") == "l");
  BOOST_TEST(node.cli({"dead-letters", "show", "p", "--id", "no-such-id"}).status == 1);
  BOOST_TEST(node.must({"dead-letters", "list", "p"}).find("parse") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(they_survive_a_restart) {
  write_file(path("in.ndjson"), "{\"id\":1,\"a\":\"x\"}\n{\"id\":1,\"a\":2}\n{oops\n");
  node.apply("p", spec("a", "hold"));
  node.caught_up("p");
  const auto before = node.dead_letters("p");
  node.kill9();
  node.start();
  node.caught_up("p");
  BOOST_TEST(node.dead_letters("p") == before);
  BOOST_TEST(unaccounted(node, "p") == "");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
