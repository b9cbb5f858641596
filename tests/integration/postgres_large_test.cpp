// Values near the limits.

#include "tests/integration/support/postgres.hpp"

namespace millrace::testing {
namespace {
struct roomy_node : postgres_node {
  roomy_node() : postgres_node({.limits = "disk_reserve: 1MiB, record: 256MiB", .data = {}, .env = {}}) {}
};
} // namespace

BOOST_AUTO_TEST_SUITE(postgres_large)

BOOST_FIXTURE_TEST_CASE(a_value_of_200_mb_passes_where_it_is_allowed, roomy_node) {
  src("CREATE TABLE blobs(id int PRIMARY KEY, v text); ALTER TABLE blobs ALTER v SET STORAGE EXTERNAL");
  apply("[blobs]");
  node.until("p", "running", [](const json& s) { return s.at("state") == "running"; });
  src("INSERT INTO blobs SELECT 1, repeat(md5('x'), 6553600); INSERT INTO blobs VALUES (2, 'small')");
  equal("SELECT id, length(v), md5(v) FROM blobs ORDER BY id", seconds{120});
}

BOOST_FIXTURE_TEST_CASE(a_value_above_the_limit_is_a_dead_letter_with_its_payload_and_the_rest_flows, postgres_node) {
  src("CREATE TABLE blobs(id int PRIMARY KEY, v text); ALTER TABLE blobs ALTER v SET STORAGE EXTERNAL");
  apply("[blobs]");
  node.until("p", "running", [](const json& s) { return s.at("state") == "running"; });
  src("INSERT INTO blobs SELECT 1, repeat(md5('x'), 600000)"); // 19 MB, limit 16 MiB
  src("INSERT INTO blobs VALUES (2, 'small')");
  dst_becomes("SELECT id, v FROM blobs", "2|small");
  const auto letters = node.dead_letters("p");
  BOOST_TEST_REQUIRE(letters.size() == 1u);
  BOOST_TEST(letters[0].at("reason") == "too_large");
  const auto whole = node.ask({"dead-letters", "show", "p", "--id", letters[0].at("id").get<std::string>()});
  const auto& shown = whole.is_array() ? whole.at(0) : whole;
  const auto payload = shown.at("payload").is_string() ? shown.at("payload").get<std::string>().size()
                                                       : shown.at("payload").at("base64").get<std::string>().size() * 3 / 4;
  BOOST_TEST(payload > 19200000u);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
