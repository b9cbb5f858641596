// cluster-configs/three-nodes/run does what it says, twice, and leaves nothing running; the configurations beside it are valid.

#include "tests/integration/support/test_node.hpp"

#include <boost/test/unit_test.hpp>

#include <unistd.h>

namespace millrace::testing {
namespace {

const std::string configs = std::string(MILLRACE_SOURCE_DIR) + "/cluster-configs";

struct trial {
  ~trial() { (void)script({"stop"}); }
  run_result script(std::vector<std::string> words = {}) {
    words.insert(words.begin(), configs + "/three-nodes/run");
    return run({.argv = std::move(words),
                .env = {{"MILLRACE_BINARY", binary()},
                        {"MILLRACE_CLUSTER_HOME", (dir.path() / "t").string()},
                        {"MILLRACE_CLUSTER_ROWS", "500"}}},
               seconds{300});
  }
  temp_dir dir;
};

} // namespace

BOOST_AUTO_TEST_SUITE(three_nodes)

BOOST_AUTO_TEST_CASE(the_tour_survives_a_killed_leader_twice_and_stops_all_that_it_started) {
  trial t;
  if (::geteuid() == 0)
    std::filesystem::permissions(t.dir.path(), std::filesystem::perms(0755)); // PostgreSQL runs as its own user
  for (int round = 0; round < 2; ++round) {
    const auto r = t.script();
    BOOST_TEST_REQUIRE(r.status == 0, "round " << round << "\n" << r.out << r.err);
    for (const auto* part : {" killed", "rows arrive after", "hands over 1 pipeline", "rows of the source compared: equal"})
      BOOST_TEST(r.out.find(part) != std::string::npos, part << " is missing in\n" << r.out);
    if (round == 1) BOOST_TEST(r.out.find("already running") != std::string::npos);
  }
  BOOST_TEST(t.script({"stop"}).status == 0);
  const auto left = run({.argv = {"/usr/bin/pgrep", "-f", (t.dir.path() / "t").string()}});
  BOOST_TEST(left.out == "", "still running: " << left.out);
}

BOOST_AUTO_TEST_CASE(the_unit_is_one_that_systemd_takes) {
  if (::access("/usr/bin/systemd-analyze", X_OK) != 0) {
    BOOST_TEST_MESSAGE("NOT RUN: no systemd-analyze");
    return;
  }
  temp_dir dir;
  auto unit = read_file(configs + "/systemd/millrace.service");
  const std::string installed = "/usr/bin/millrace ";
  BOOST_TEST_REQUIRE(unit.find(installed) != std::string::npos);
  unit.replace(unit.find(installed), installed.size(), "/bin/true ");
  write_file(dir / "millrace.service", unit);
  const auto r = run({.argv = {"/usr/bin/systemd-analyze", "verify", (dir / "millrace.service").string()}});
  BOOST_TEST(r.status == 0, r.err);
  BOOST_TEST(r.err == "");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
