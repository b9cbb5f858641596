// kill -9 of the node at random moments while changes flow: the end is that of an undisturbed run.
//
//   feeder (this test) --appends--> orders.ndjson --follow--> node, killed and started again --> rows, dead letters, audit
//                                        `------------------> another node, never disturbed --> the same
//
// MILLRACE_CHAOS_KILLS, MILLRACE_CHAOS_CHANGES and MILLRACE_SEED choose how many, how much and which.

#include "tests/chaos/workload.hpp"

#include <iostream>

namespace millrace::testing {

BOOST_AUTO_TEST_SUITE(kill_node)

BOOST_AUTO_TEST_CASE(the_end_equals_that_of_an_undisturbed_run) {
  const auto kills = setting("MILLRACE_CHAOS_KILLS", 12), changes = setting("MILLRACE_CHAOS_CHANGES", 200000);
  const auto keys = static_cast<std::int64_t>(setting("MILLRACE_CHAOS_KEYS", changes / 10));
  const auto seed = test_seed();
  std::mt19937_64 random(seed ^ 0x9e3779b97f4a7c15ull);
  temp_dir dir;
  const auto input = (dir / "orders.ndjson").string();
  order_stream orders({.seed = seed, .keys = keys, .poison = 0.01});
  write_file(input, "");

  chaos_run disturbed(dir / "a", input);
  disturbed.node().start();
  disturbed.apply();
  std::vector<double> recovery; // from exec of the new process to the first commit at the destination
  std::uint64_t peak = 0, killed_while_flowing = 0;
  for (std::uint64_t round = 0; round < kills; ++round) {
    const auto before = disturbed.progress();
    append_file(input, orders.next(changes / (kills + 1)));
    // Two of three kills come while the chunk flows, the others at any time, the node's start included. A random time is the
    // fault itself, not a wait.
    if (random() % 3 != 0)
      eventually(
          "changes flow", [&] { return disturbed.progress() > before; }, seconds{60}, [&] { return disturbed.node().log(); });
    ::poll(nullptr, 0, static_cast<int>(random() % 200));
    peak = std::max(peak, disturbed.node().process().peak_memory());
    disturbed.node().kill9();
    const auto at_kill = disturbed.progress();
    killed_while_flowing += at_kill > before;
    const auto start = test_clock::now();
    disturbed.node().launch();
    if (random() % 4 == 0) { // again at once, in the middle of recovery
      ::poll(nullptr, 0, static_cast<int>(random() % 150));
      disturbed.node().kill9();
      disturbed.node().launch();
      continue;
    }
    if (random() % 2 == 0) continue; // the next chunk comes while it starts
    eventually(
        "changes move again", [&] { return disturbed.progress() > at_kill; }, seconds{60},
        [&] { return disturbed.node().log(); });
    recovery.push_back(std::chrono::duration<double, std::milli>(test_clock::now() - start).count());
  }
  append_file(input, orders.next(changes - orders.made()));
  disturbed.node().wait_ready(seconds{60});
  disturbed.finish(changes);
  peak = std::max(peak, disturbed.node().process().peak_memory());
  std::cerr << "kills " << kills << " (" << killed_while_flowing << " of them after changes of their round had arrived), changes "
            << changes << "; node start to changes moving: " << percentiles(recovery, "ms") << "; max RSS " << (peak >> 20)
            << " MiB\n";

  chaos_run undisturbed(dir / "b", input);
  undisturbed.node().start();
  undisturbed.apply();
  undisturbed.finish(changes);

  check_equal(disturbed.state(), undisturbed.state());
  check_audit(disturbed);
  check_against(orders.expected(), disturbed.node(), "orders", disturbed.database());
  BOOST_TEST(killed_while_flowing > kills / 2, "too few kills came while changes were flowing: the run proves little");
  BOOST_TEST((peak >> 20) < 400u);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
