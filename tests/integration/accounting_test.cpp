// A stream of inserts, updates, deletes and poison against a model that takes one change at a time.

#include "tests/integration/support/fixture.hpp"

namespace millrace::testing {

BOOST_FIXTURE_TEST_SUITE(accounting, running_node)

namespace {
void stream_ends_as_the_model(running_node& at, bool hold, double poison, std::int64_t keys, std::size_t changes) {
  order_stream orders({.seed = test_seed(), .keys = keys, .poison = poison, .hold = hold});
  const auto input = at.path("orders.ndjson"), database = at.path("out.db");
  write_file(input, orders.next(changes));
  sqlite_file(database).execute(order_table());
  at.node.apply("orders",
                order_spec("orders", input, database, false,
                           std::string("{ action: quarantine, later_changes_of_key: ") + (hold ? "hold }" : "continue }")));
  at.node.caught_up("orders");
  check_against(orders.expected(), at.node, "orders", database);
}
} // namespace

BOOST_AUTO_TEST_CASE(with_hold_later_changes_of_a_quarantined_key_wait) {
  stream_ends_as_the_model(*this, true, 0.01, 2000, 50000);
}
BOOST_AUTO_TEST_CASE(with_continue_later_changes_of_a_quarantined_key_go_on) {
  stream_ends_as_the_model(*this, false, 0.01, 2000, 50000);
}
BOOST_AUTO_TEST_CASE(half_of_all_changes_may_be_poison) { stream_ends_as_the_model(*this, false, 0.5, 500, 20000); }
BOOST_AUTO_TEST_CASE(few_keys_keep_their_order) { stream_ends_as_the_model(*this, false, 0.02, 5, 20000); }
BOOST_AUTO_TEST_CASE(a_clean_stream_has_no_dead_letters) { stream_ends_as_the_model(*this, true, 0, 2000, 50000); }

BOOST_AUTO_TEST_CASE(the_log_holds_every_change_as_it_arrived) {
  order_stream orders({.seed = test_seed(), .keys = 100, .poison = 0.05});
  const auto lines = orders.next(3000);
  write_file(path("orders.ndjson"), lines);
  sqlite_file(path("out.db")).execute(order_table());
  node.apply("orders", order_spec("orders", path("orders.ndjson"), path("out.db"), false));
  node.caught_up("orders");
  std::string payloads;
  std::uint64_t last = 0;
  bool first = true;
  const auto text = node.must({"log", "read", "orders", "--from", "start", "--limit", "100000", "-o", "json"});
  for (std::size_t at = 0; at < text.size();) {
    const auto end = text.find('\n', at);
    const auto change = json::parse(text.substr(at, end - at));
    BOOST_TEST_REQUIRE((first || change.at("offset").get<std::uint64_t>() > last), "offsets must rise");
    first = false;
    last = change.at("offset").get<std::uint64_t>();
    if (change.at("payload").is_string() && !change.at("payload").get<std::string>().empty())
      payloads += change.at("payload").get<std::string>() + "\n";
    at = end + 1;
  }
  BOOST_TEST((payloads == lines), "the payloads of `log read` differ from the file's lines");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
