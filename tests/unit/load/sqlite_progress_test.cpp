// Exactly once: progress beside the rows, claims, fences (replication.md, section 11), and what kill -9 leaves.

#include "support.hpp"

#include <csignal>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace millrace::test;
using enum millrace::actors::data_type;

namespace {
const std::vector<field_spec> fields = {field("id", int64, true), field("name", text)};
transform::table_layout_ptr shape() { return layout_of(0, {{"id", int64}, {"name", text}}, {0}); }
std::vector<table_spec> orders() { return {table("orders", load_mode::upsert, {"id"}, fields)}; }
constexpr std::uint64_t log_a = 0xfedcba9876543210, log_b = 7;

bool write_word(int fd) { return write(fd, "x", 1) == 1; }

std::unique_ptr<load::destination> fresh(const std::string& path) {
  auto made = load::make_destination(load_of(path, orders()));
  MUST(made);
  return std::move(made).value();
}
} // namespace

BOOST_FIXTURE_TEST_SUITE(sqlite_progress, load_fixture)

BOOST_AUTO_TEST_CASE(a_first_claim_starts_at_zero_and_a_later_one_where_the_commit_ended) {
  auto d = fresh(path);
  auto claimed = d->claim(who());
  MUST(claimed);
  BOOST_TEST(claimed.value().next.value == 0u);
  BOOST_TEST(claimed.value().created);
  MUST(d->begin());
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  MUST(d->apply(set, 0, 1, seen));
  MUST(d->commit({{41}, 3}));
  d.reset();
  d = fresh(path);
  claimed = d->claim(who(log_a, 2));
  MUST(claimed);
  BOOST_TEST(claimed.value().next.value == 41u);
  BOOST_TEST(claimed.value().filtered == 3u);
  BOOST_TEST(!claimed.value().created);
  BOOST_TEST(
      rows_of("SELECT pipeline, load, partition, log_id, epoch, next_offset, filtered, ddl_intent FROM _millrace_offsets") ==
      "shop|warehouse|0|fedcba9876543210|2|41|3|NULL");
}

BOOST_AUTO_TEST_CASE(rolled_back_rows_and_progress_vanish_together) {
  auto& d = open(orders());
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 1, seen));
  d.rollback();
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "0");
  write(set);
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(an_older_epoch_cannot_claim_and_a_newer_claim_fences_the_older_writer) {
  auto old = fresh(path), newer = fresh(path);
  MUST(old->claim(who(log_a, 5)));
  MUST(old->begin());
  const auto set = rows(shape()).insert({i(1), t("old")}).done();
  MUST(old->apply(set, 0, 1, seen));
  // Both loads of one process share the connection, so the claim waits for the open transaction, and says so.
  FAILS(newer->claim(who(log_a, 6)), errc::unavailable, "another load of this node");
  old->rollback();
  MUST(newer->claim(who(log_a, 6)));
  FAILS(old->begin(), errc::fenced, "epoch 6", "epoch 5");
  FAILS(old->claim(who(log_a, 5)), errc::fenced, "epoch 6");
  MUST(newer->begin());
  MUST(newer->commit({{1}, 0}));
}

BOOST_AUTO_TEST_CASE(a_second_writer_of_the_same_epoch_fences_the_first_at_its_next_transaction) {
  auto zombie = fresh(path), restarted = fresh(path);
  MUST(zombie->claim(who()));
  MUST(restarted->claim(who()));
  MUST(restarted->begin());
  MUST(restarted->commit({{10}, 0}));
  FAILS(zombie->begin(), errc::fenced, "offset 10", "expected offset 0");
}

BOOST_AUTO_TEST_CASE(another_process_fences_us) {
  // The child must not inherit an open connection: it waits for the word before it opens, we fork before we open.
  int word[2];
  BOOST_REQUIRE(pipe(word) == 0);
  const pid_t child = fork();
  if (child == 0) {
    char c = 0;
    if (read(word[0], &c, 1) != 1) _exit(3);
    auto made = load::make_destination(load_of(path, orders()));
    _exit(made && made.value()->claim(who(log_a, 9)) ? 0 : 1);
  }
  {
    auto& d = open(orders(), 8);
    write(rows(shape()).insert({i(1), t("a")}).done());
    BOOST_REQUIRE(write_word(word[1]));
    int status = -1;
    BOOST_REQUIRE(waitpid(child, &status, 0) == child);
    BOOST_TEST(status == 0);
    FAILS(d.begin(), errc::fenced, "epoch 9");
  }
  close(word[0]);
  close(word[1]);
}

BOOST_AUTO_TEST_CASE(another_log_is_refused_until_it_is_known_as_retired) {
  {
    auto d = fresh(path);
    MUST(d->claim(who(log_a, 5)));
    MUST(d->begin());
    MUST(d->commit({{12}, 1}));
  }
  auto d = fresh(path);
  FAILS(d->claim(who(log_b, 1)), errc::log_mismatch, "fedcba9876543210", "0000000000000007", "offset 12");
  auto request = who(log_b, 1);
  request.retired = {{3}, {log_a}};
  const auto claimed = d->claim(request);
  MUST(claimed);
  BOOST_TEST(claimed.value().next.value == 0u);
  BOOST_TEST(claimed.value().created);
  BOOST_TEST(rows_of("SELECT log_id, epoch, next_offset, filtered FROM _millrace_offsets") == "0000000000000007|1|0|0");
}

BOOST_AUTO_TEST_CASE(loads_and_partitions_have_rows_of_their_own) {
  auto first = fresh(path), second = fresh(path);
  auto other_load = who();
  other_load.load = "mart";
  MUST(first->claim(who()));
  MUST(second->claim(other_load));
  MUST(first->begin());
  MUST(first->commit({{5}, 0}));
  MUST(second->begin());
  MUST(second->commit({{9}, 0}));
  BOOST_TEST(rows_of("SELECT load, next_offset FROM _millrace_offsets ORDER BY load") == "mart|9 warehouse|5");
}

BOOST_AUTO_TEST_CASE(two_loads_on_threads_write_one_file_in_turns) {
  constexpr int rounds = 60;
  std::string wrong[2];
  const auto work = [&](int me) {
    auto made = load::make_destination(load_of(path, {table(me ? "left" : "right", load_mode::upsert, {"id"}, fields)}));
    auto request = who();
    request.load = me ? "left" : "right";
    auto& d = *made.value();
    gate mine;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    bool claimed = false;
    for (std::uint64_t n = 0; n < rounds && std::chrono::steady_clock::now() < deadline;) {
      if (!claimed) {
        auto ok = d.claim(request);
        if (!ok && !is(ok.error(), errc::unavailable)) return void(wrong[me] = ok.error().message);
        claimed = ok.has_value();
        continue;
      }
      const auto set = rows(shape()).insert({i(static_cast<std::int64_t>(n)), t("x")}).done();
      auto ok = d.begin();
      if (ok) ok = d.apply(set, 0, 1, mine);
      if (ok) ok = d.commit({{n + 1}, 0});
      if (ok)
        ++n;
      else if (is(ok.error(), errc::unavailable))
        claimed = false;
      else
        return void(wrong[me] = ok.error().message);
    }
  };
  std::thread a(work, 0), b(work, 1);
  a.join();
  b.join();
  BOOST_TEST(wrong[0] == "");
  BOOST_TEST(wrong[1] == "");
  BOOST_TEST(rows_of("SELECT (SELECT count(*) FROM left), (SELECT count(*) FROM right)") == "60|60");
  BOOST_TEST(rows_of("PRAGMA integrity_check") == "ok");
}

BOOST_AUTO_TEST_CASE(an_edited_or_lost_progress_row_stops_the_writer) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a")}).done());
  other(path).run("UPDATE _millrace_offsets SET next_offset = 0");
  FAILS(d.begin(), errc::fenced, "offset 0", "expected offset 1");
  FAILS(d.claim(who()), errc::log_mismatch, "offset 1 was committed");
  other(path).run("DELETE FROM _millrace_offsets");
  FAILS(d.claim(who()), errc::log_mismatch, "its row is gone");
  other(path).run("INSERT INTO _millrace_offsets VALUES('shop', 'warehouse', 0, 'fedcba9876543210', 1, 'x', 0, NULL)");
  FAILS(d.claim(who()), errc::log_mismatch, "was edited");
}

BOOST_AUTO_TEST_CASE(rewind_moves_progress_and_truncate_empties_the_tables_with_it) {
  auto& d = open({table("orders", load_mode::upsert, {"id"}, fields), table("audit", load_mode::append, {}, fields),
                  table("never", load_mode::upsert, {"k"})});
  const auto second = layout_of(1, {{"id", int64}, {"name", text}}, {});
  write(rows(shape()).insert({i(1), t("a")}).use(second).insert({i(1), t("a")}).done());
  MUST(d.rewind({{1}, 0}, false));
  BOOST_TEST(rows_of("SELECT next_offset FROM _millrace_offsets") == "1");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
  MUST(d.rewind({{0}, 0}, true));
  BOOST_TEST(
      rows_of(
          "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM audit), (SELECT next_offset FROM _millrace_offsets)") ==
      "0|0|0");
  next = 0;
  write(rows(shape()).insert({i(1), t("b")}).done());
  const auto again = d.claim(who());
  MUST(again);
  BOOST_TEST(again.value().next.value == 1u);
}

BOOST_AUTO_TEST_CASE(a_rewind_of_a_fenced_writer_changes_nothing) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a")}).done());
  auto newer = fresh(path);
  MUST(newer->claim(who(log_a, 2)));
  FAILS(d.rewind({{0}, 0}, true), errc::fenced, "epoch 2");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(calls_out_of_order_are_answered_and_harmless) {
  auto d = fresh(path);
  FAILS(d->begin(), errc::unavailable, "not claimed");
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  FAILS(d->apply(set, 0, 1, seen), errc::invalid, "outside");
  FAILS(d->commit({{1}, 0}), errc::invalid, "outside");
  d->rollback();
  MUST(d->claim(who()));
  MUST(d->begin());
  FAILS(d->begin(), errc::invalid, "inside");
  d->rollback();
  FAILS(d->claim(who(log_a, UINT64_MAX)), errc::invalid, "epoch");
}

BOOST_AUTO_TEST_CASE(kill_9_leaves_whole_transactions_and_a_sound_file) {
  const auto* given = std::getenv("MILLRACE_SEED");
  const unsigned seed = given ? static_cast<unsigned>(std::strtoul(given, nullptr, 10)) : static_cast<unsigned>(getpid());
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << seed);
  std::srand(seed);
  constexpr std::uint64_t in_transaction = 50;
  std::uint64_t last = 0;
  for (int round = 0; round < 12; ++round) {
    const pid_t child = fork();
    if (child == 0) {
      auto made = load::make_destination(
          load_of(path, {table("orders", load_mode::upsert, {"id"}, fields), table("audit", load_mode::append, {}, fields)}));
      auto& d = *made.value();
      gate mine;
      const auto claimed = d.claim(who(log_a, static_cast<std::uint64_t>(round) + 1));
      if (!claimed) _exit(1);
      const auto second = layout_of(1, {{"id", int64}, {"name", text}}, {});
      for (auto n = claimed.value().next.value;; n += in_transaction) {
        rows all(shape(), n);
        for (std::uint64_t k = 0; k < in_transaction; ++k)
          all.insert({i(static_cast<std::int64_t>((n + k) % 1000)), t("some text that fills pages")});
        all.use(second);
        for (std::uint64_t k = 0; k < in_transaction; ++k) all.insert({i(static_cast<std::int64_t>(n + k)), t("x")});
        const auto set = all.done();
        if (!d.begin() || !d.apply(set, 0, set->rows.size(), mine) || !d.commit({{n + in_transaction}, 0})) _exit(2);
      }
    }
    // Let it get somewhere, at least one commit further, then kill it at a moment of no choice.
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    const auto committed = [&]() -> std::uint64_t {
      try {
        const auto text = look(path, "SELECT next_offset FROM _millrace_offsets");
        return text.empty() ? 0 : std::stoull(text);
      } catch (const std::exception&) {
        return 0;
      }
    };
    while (committed() <= last && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
    std::this_thread::sleep_for(std::chrono::microseconds(std::rand() % 20000)); // the moment itself, not a wait for anything
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    BOOST_REQUIRE(WIFSIGNALED(status));
    BOOST_REQUIRE_EQUAL(rows_of("PRAGMA integrity_check"), "ok");
    const auto now = committed();
    BOOST_TEST(now > last);
    BOOST_TEST(now % in_transaction == 0u);
    BOOST_TEST(rows_of("SELECT count(*), count(DISTINCT id), max(id) + 1 FROM audit") ==
               std::to_string(now) + "|" + std::to_string(now) + "|" + std::to_string(now));
    last = now;
  }
}

BOOST_AUTO_TEST_SUITE_END()
