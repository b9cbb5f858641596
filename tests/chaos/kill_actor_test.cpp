// Actors are killed one after another, at random, while changes flow and the node never stops: the end is that of an undisturbed
// run.

#include "tests/chaos/workload.hpp"

#include <iostream>

namespace millrace::testing {
namespace {

std::string text_of(const json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

} // namespace

BOOST_AUTO_TEST_SUITE(kill_actor)

BOOST_AUTO_TEST_CASE(the_end_equals_that_of_an_undisturbed_run) {
  const auto kills = setting("MILLRACE_CHAOS_ACTOR_KILLS", 60), changes = setting("MILLRACE_CHAOS_CHANGES", 200000);
  const auto keys = static_cast<std::int64_t>(setting("MILLRACE_CHAOS_KEYS", changes / 10));
  const auto seed = test_seed();
  std::mt19937_64 random(seed ^ 0xbf58476d1ce4e5b9ull);
  temp_dir dir;
  const auto input = (dir / "orders.ndjson").string();
  order_stream orders({.seed = seed, .keys = keys, .poison = 0.01});
  write_file(input, "");

  chaos_run disturbed(dir / "a", input);
  disturbed.node().start();
  const auto pid = disturbed.node().process().pid();
  disturbed.apply();
  disturbed.node().until("orders", "it runs", [](const json& s) { return s.at("state") == "running"; });
  // An empty file is looked at once a second: the first change is not to be counted as a recovery.
  append_file(input, orders.next(1));
  eventually(
      "the first change arrives", [&] { return disturbed.progress() > 0; }, seconds{60},
      [&] { return disturbed.node().status("orders").dump(2) + disturbed.node().log(); });
  std::map<std::string, int> killed;
  std::map<std::string, double> worst;
  std::vector<double> recovery; // from the command's answer to a commit of changes that were fed after it
  for (std::uint64_t round = 0; round < kills; ++round) {
    append_file(input, orders.next(changes / (kills + 1)));
    ::poll(nullptr, 0, static_cast<int>(random() % 30)); // somewhere in the chunk: the fault's moment, not a wait
    auto actors = disturbed.node().ask({"actors", "orders"});
    const auto victim = actors.at(random() % actors.size());
    // Between the listing and the kill a worker may have retired: that is no failure of the node.
    if (disturbed.node().cli({"actors", "kill", text_of(victim.at("id"))}).status != 0) continue;
    const auto at_kill = disturbed.progress();
    const auto start = test_clock::now();
    ++killed[victim.at("role").get<std::string>()];
    append_file(input, orders.next(1));
    eventually(
        "changes move again after a " + victim.at("role").get<std::string>() + " was killed",
        [&] { return disturbed.progress() > at_kill; }, seconds{60},
        [&] { return disturbed.node().status("orders").dump(2) + disturbed.node().log(); });
    recovery.push_back(std::chrono::duration<double, std::milli>(test_clock::now() - start).count());
    auto& slowest = worst[victim.at("role").get<std::string>()];
    slowest = std::max(slowest, recovery.back());
    // An intensity limit stops what fails again and again; an operator who kills on purpose waits until it is well.
    disturbed.node().until(
        "orders", "it runs", [](const json& s) { return s.at("state") == "running"; }, seconds{60});
  }
  append_file(input, orders.next(changes - orders.made()));
  disturbed.finish(changes);
  const auto peak = disturbed.node().process().peak_memory();
  std::string roles;
  std::uint64_t total = 0;
  for (const auto& [role, count] : killed)
    roles += " " + role + " " + std::to_string(count) + " (max " + std::to_string(static_cast<int>(worst[role])) + " ms)",
        total += static_cast<std::uint64_t>(count);
  std::cerr << "actors killed " << total << ":" << roles << "; changes moving again: " << percentiles(recovery, "ms")
            << "; max RSS " << (peak >> 20) << " MiB\n";
  BOOST_TEST((disturbed.node().running() && disturbed.node().process().pid() == pid), "the node stopped");

  chaos_run undisturbed(dir / "b", input);
  undisturbed.node().start();
  undisturbed.apply();
  undisturbed.finish(changes);

  check_equal(disturbed.state(), undisturbed.state());
  check_audit(disturbed);
  check_against(orders.expected(), disturbed.node(), "orders", disturbed.database());
  BOOST_TEST(total > kills * 3 / 4, "too few actors could be killed: the run proves little");
  BOOST_TEST((peak >> 20) < 400u);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
