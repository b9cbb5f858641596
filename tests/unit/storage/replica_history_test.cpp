// The index of dead letters and the source's state are a function of the acknowledged entries: whatever a replica wrote and
// truncated on the way, wherever it was killed, it ends as one that only ever saw the final log.
#include "tests/unit/storage/crash_child.hpp"
#include "tests/unit/storage/replica_fixture.hpp"

#include <set>

using namespace millrace::storage;
using namespace millrace::storage::test;

namespace {

constexpr std::uint64_t settled_to_the_end = ~std::uint64_t{0};

/// One random thing that a leader's pipeline does. Loads wait for the watermark before they go on, as the real ones do.
void act(replica& r, std::mt19937_64& random) {
  const std::string load = random() % 3 == 0 ? "v" : "w";
  const auto known = r.copy->high_watermark().value;
  const auto somewhere = [&] { return offset{random() % (known + 1)}; };
  switch (random() % 12) {
  case 0:
  case 1: {
    auto block = numbered(random() % 1000, 1 + static_cast<std::uint32_t>(random() % 6));
    if (random() % 2 == 0) block.source_state = {{"file" + std::to_string(random() % 3), std::to_string(random() % 100)}};
    r.append(block);
    break;
  }
  case 2:
    r.append_state("file" + std::to_string(random() % 3), random() % 4 == 0 ? "" : std::to_string(random() % 100));
    break;
  case 3:
  case 4:
  case 5: {
    std::vector<dead_letter> letters;
    std::set<std::uint64_t> which;
    for (auto n = 1 + random() % 4; n > 0 && known > 0; --n) which.insert(random() % known);
    for (const auto at : which) letters.push_back(test_letter(at, random() % 2 == 0 ? "parse" : "type", random() % 4));
    if (!letters.empty()) must(r.log->append_quarantine(load, letters));
    break;
  }
  case 6:
  case 7:
  case 8: {
    const auto letters = std::vector<offset>{somewhere(), somewhere()};
    const auto at =
        random() % 2 == 0 ? must(r.log->append_redrive(load, letters, false)) : must(r.log->append_discard(load, letters));
    r.acknowledge();
    std::vector<outcome> outcomes;
    for (const auto o : letters) {
      const auto stored = must(r.letters->find(load, o));
      if (!stored || stored->state != dead_letter_state::quarantined) continue;
      outcomes.push_back(test_outcome(o.value, static_cast<dead_letter_state>(random() % 3), "schema", random() % 4));
    }
    if (outcomes.size() == 2 && outcomes[0].letter.offset == outcomes[1].letter.offset) outcomes.pop_back();
    must(r.log->append_outcomes(load, at, outcomes));
    if (random() % 4 == 0) break; // the destination's commit fails
    r.acknowledge();
    must(r.letters->settle(load, {at.value + 1}));
    break;
  }
  case 9:
    must(r.log->append_rewind(load, somewhere(), random() % 2 == 0));
    if (random() % 2 == 0) must(r.log->append_rewound(load));
    break;
  default:
    r.acknowledge();
  }
}

void advance_in_steps(replica& r, offset to, std::mt19937_64& random) {
  for (auto at = r.copy->high_watermark().value; at < to.value; at += 1 + random() % 12) must(r.copy->advance({at}));
  must(r.copy->advance(to));
}

} // namespace

BOOST_AUTO_TEST_SUITE(replica_history)

BOOST_AUTO_TEST_CASE(a_truncation_at_any_entry_leaves_nothing_behind) {
  std::mt19937_64 random(seed());
  replica first, second, follower, reference;
  std::uint64_t epoch = 1;
  first.lead(epoch);
  for (int i = 0; i < 60; ++i) act(first, random);
  first.acknowledge();
  first.copy->end_epoch();
  const auto old_log = first.entries();
  BOOST_REQUIRE_GE(old_log.size(), 20u);
  for (std::size_t cut = 1; cut < old_log.size(); ++cut) {
    const auto at = old_log[cut].base;
    second.copy->end_epoch();
    for (auto* r : {&second, &follower, &reference}) {
      must(r->copy->reset(test_log, {0}));
      must(r->copy->see_epoch({epoch}));
    }
    must(second.copy->append_raw(std::span(old_log).first(cut)));
    second.acknowledge();
    second.lead(++epoch);
    for (int i = 0; i < 12; ++i) act(second, random);

    must(follower.copy->append_raw(old_log));
    advance_in_steps(follower, {random() % (at.value + 1)}, random);
    if (random() % 4 == 0) follower.reopen();
    must(follower.copy->truncate(at, {epoch}));
    if (random() % 4 == 0) follower.reopen();
    follower.follow(second, 1 + random() % 4000);
    advance_in_steps(follower, follower.end(), random);
    must_be_equal(second, follower);
    BOOST_REQUIRE_EQUAL(follower.readable().value, second.end().value);

    reference.follow(second);
    reference.acknowledge();
    second.acknowledge();
    BOOST_REQUIRE_EQUAL(follower.visible(), reference.visible());
    const auto visible = follower.visible();
    follower.reopen();
    BOOST_REQUIRE_EQUAL(follower.visible(), visible);
    // What each has prepared comes true by the same rule; the leader did so at each commit.
    for (auto* r : {&second, &follower, &reference})
      for (const auto* load : {"w", "v"}) must(r->letters->settle(load, {settled_to_the_end}));
    BOOST_REQUIRE_EQUAL(follower.visible(), reference.visible());
    BOOST_REQUIRE_EQUAL(follower.visible(), second.visible());
  }
}

BOOST_AUTO_TEST_CASE(kill_9_leaves_what_the_stored_watermark_says) {
  std::mt19937_64 random(seed());
  replica killed(false), reference;
  killed.close();
  std::uint64_t behind = 0;
  for (int kill = 0; kill < 15; ++kill) {
    int ends[2];
    BOOST_REQUIRE(::pipe(ends) == 0);
    const pid_t child = spawn_child("crash_child_replica/leads_until_killed", killed.folder.path, ends[1]);
    BOOST_REQUIRE(child > 0);
    ::close(ends[1]);
    const auto wanted = random() % 40;
    std::uint64_t value = 0, synced = 0;
    for (std::uint64_t count = 0; count < wanted && ::read(ends[0], &value, sizeof value) == sizeof value; ++count)
      synced = value;
    ::usleep(static_cast<useconds_t>(random() % 20'000));
    ::kill(child, SIGKILL);
    while (::read(ends[0], &value, sizeof value) == sizeof value) synced = value;
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    BOOST_REQUIRE_MESSAGE(WIFSIGNALED(status), "the child ended by itself with status " << status);

    killed.open();
    BOOST_REQUIRE_GE(killed.end().value, synced);
    BOOST_REQUIRE_LE(killed.copy->high_watermark().value, killed.end().value);
    behind += killed.copy->high_watermark() < killed.end();
    if (killed.copy->id().value != 0) {
      must(reference.copy->reset(test_log, {0}));
      must(reference.copy->see_epoch(killed.copy->seen_epoch()));
      reference.follow(killed, 64u << 10);
      must(reference.copy->advance(killed.copy->high_watermark()));
      BOOST_REQUIRE_EQUAL(killed.visible(), reference.visible());
      BOOST_REQUIRE_EQUAL(killed.readable().value, killed.copy->high_watermark().value);
      killed.acknowledge(); // known again
      reference.acknowledge();
      BOOST_REQUIRE_EQUAL(killed.visible(), reference.visible());
    }
    killed.close();
  }
  BOOST_TEST_MESSAGE(behind << " kills left entries above the stored watermark");
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_AUTO_TEST_SUITE(crash_child_replica, *boost::unit_test::disabled())

BOOST_AUTO_TEST_CASE(leads_until_killed) {
  const char* folder = std::getenv(child_folder);
  const char* pipe = std::getenv(child_pipe);
  if (folder == nullptr || pipe == nullptr) return;
  const int out = std::atoi(pipe);
  replica r(false);
  r.close();
  r.options.directory = folder;
  r.options.memory_bytes = 8u << 20;
  r.open();
  if (r.copy->id().value == 0) must(r.copy->reset(test_log, {0}));
  std::mt19937_64 random(std::random_device{}());
  r.lead(std::max(r.copy->seen_epoch().value, r.copy->position().last_epoch.value) + 1);
  for (;;) {
    // Not settled: that is local, and the other copy is made of entries.
    const auto load = "w";
    const auto known = r.copy->high_watermark().value;
    switch (random() % 5) {
    case 0:
      if (known > 0) must(r.log->append_quarantine(load, std::vector{test_letter(random() % known)}));
      break;
    case 1:
      must(r.log->append_rewind(load, {known - std::min<std::uint64_t>(known, random() % 50)}, false));
      break;
    case 2:
      must(r.copy->advance({known + random() % 100}));
      break;
    default: {
      auto block = numbered(random() % 1000, 20);
      block.context = std::string(20'000, 'c');
      block.source_state = {{"file", std::to_string(random())}};
      r.append(block);
    }
    }
    const auto synced = r.end().value;
    if (::write(out, &synced, sizeof synced) != sizeof synced) ::_exit(1);
  }
}

BOOST_AUTO_TEST_SUITE_END()
