// kill -9 at random moments: what was acknowledged is there, in whole appends, and the chain holds.
#include "tests/unit/storage/crash_child.hpp"

using namespace millrace::storage;
using namespace millrace::storage::test;

namespace {
constexpr std::uint32_t per_append = 60; // in two batches, with one dead letter every fourth append
} // namespace

BOOST_AUTO_TEST_SUITE(crash_child, *boost::unit_test::disabled())

BOOST_AUTO_TEST_CASE(appends_until_killed) {
  const char* folder = std::getenv(child_folder);
  const char* pipe = std::getenv(child_pipe);
  if (folder == nullptr || pipe == nullptr) return; // only ever run by the case below
  const int out = std::atoi(pipe);
  store_options options;
  options.directory = folder;
  options.memory_bytes = 8u << 20; // flushes and moves happen, too
  auto store = must(node_store::open(options));
  auto log = must(store->open_log("orders-1", 0, {}));
  for (std::uint64_t n = log->info().changes;; n += per_append) {
    auto first = numbered(n, 20), second = numbered(n + 20, per_append - 20);
    first.context = std::string(20'000, 'c');
    second.source_state = {{"file", std::to_string(n + per_append)}};
    const std::vector<staged_batch_ptr> group{must(encode(first, codec::none)), must(encode(second, codec::lz4))};
    const auto at = must(log->append(group));
    if (n % (4 * per_append) == 0) {
      dead_letter letter;
      letter.offset = at;
      letter.reason = "parse";
      letter.payload = number_text(n);
      must(log->append_quarantine("w", {&letter, 1}));
    }
    const std::uint64_t acknowledged = n + per_append;
    if (::write(out, &acknowledged, sizeof acknowledged) != sizeof acknowledged) ::_exit(1);
  }
}

BOOST_AUTO_TEST_SUITE_END()

BOOST_FIXTURE_TEST_SUITE(crash, store_fixture)

BOOST_AUTO_TEST_CASE(everything_acknowledged_survives_kill_9) {
  std::mt19937_64 random(seed());
  std::uint64_t acknowledged = 0, kills_during_appends = 0;
  for (int kill = 0; kill < 20; ++kill) {
    int ends[2];
    BOOST_REQUIRE(::pipe(ends) == 0);
    const pid_t child = spawn_child("crash_child/appends_until_killed", folder.path, ends[1]);
    BOOST_REQUIRE(child > 0);
    ::close(ends[1]);
    // A random number of acknowledgements, then a random moment inside of the next append.
    const auto wanted = random() % 60;
    std::uint64_t value = 0, count = 0;
    while (count < wanted && ::read(ends[0], &value, sizeof value) == sizeof value) {
      acknowledged = value;
      ++count;
    }
    BOOST_REQUIRE_EQUAL(count, wanted);
    ::usleep(static_cast<useconds_t>(random() % 20'000));
    ::kill(child, SIGKILL);
    while (::read(ends[0], &value, sizeof value) == sizeof value) acknowledged = value; // said before it died
    ::close(ends[0]);
    int status = 0;
    ::waitpid(child, &status, 0);
    BOOST_REQUIRE_MESSAGE(WIFSIGNALED(status), "the child ended by itself with status " << status);

    open();
    const auto changes = log->info().changes;
    BOOST_REQUIRE_GE(changes, acknowledged);
    BOOST_REQUIRE_EQUAL(changes % per_append, 0u);
    BOOST_REQUIRE_LE(changes, acknowledged + per_append);
    kills_during_appends += changes > acknowledged;
    const auto all = read_all(); // verifies density and the chain of hashes
    BOOST_REQUIRE_EQUAL(all.size(), changes);
    for (std::uint64_t i = 0; i < all.size(); ++i) BOOST_REQUIRE_EQUAL(all[i].second, number_text(i));
    const auto state = must(log->source_state());
    BOOST_REQUIRE((changes == 0 ? state.empty() : state.at(0).value == std::to_string(changes)));
    // The letters' rows, their counts and the log's decisions are one write.
    std::uint64_t decisions = 0, letters = 0;
    auto cursor = log->scan({0});
    for (auto entry = cursor->next(); entry; entry = cursor->next()) decisions += entry.value()->kind() == batch_kind::quarantine;
    auto table = must(store->dead_letters("orders-1", 0));
    must(table->scan("w", {0}, log->info().next, true, [&](const dead_letter& l) {
      BOOST_REQUIRE_EQUAL(l.payload,
                          must(log->read(l.offset))
                              ->payload(static_cast<std::uint32_t>(l.offset.value - must(log->read(l.offset))->base().value)));
      return ++letters, true;
    }));
    BOOST_REQUIRE_EQUAL(letters, decisions);
    BOOST_REQUIRE_EQUAL(table->counts("w").open, decisions);
    acknowledged = changes;
    table.reset();
    cursor.reset();
    close();
  }
  BOOST_TEST_MESSAGE(kills_during_appends << " kills fell between a synced append and its acknowledgement");
}

BOOST_AUTO_TEST_SUITE_END()
