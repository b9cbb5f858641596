// Exactly once: progress beside the rows, claims, fences (replication.md, section 11), and servers that end in between.

#include "postgres_support.hpp"

#include <chrono>
#include <random>
#include <thread>

using namespace millrace::test;
using enum millrace::actors::data_type;
using millrace::testing::postgres_server;

namespace {
const std::vector<field_spec> fields = {field("id", int64, true), field("name", text)};
transform::table_layout_ptr shape(std::uint32_t table = 0) { return layout_of(table, {{"id", int64}, {"name", text}}, {0}); }
std::vector<table_spec> orders() { return {table("orders", load_mode::upsert, {"id"}, fields)}; }
constexpr std::uint64_t log_a = 0xfedcba9876543210, log_b = 7;
} // namespace

BOOST_FIXTURE_TEST_SUITE(postgres_progress, postgres_fixture)

BOOST_AUTO_TEST_CASE(a_first_claim_starts_at_zero_and_a_later_one_where_the_commit_ended) {
  auto d = make(orders());
  auto claimed = d->claim(who());
  MUST(claimed);
  BOOST_TEST(claimed.value().next.value == 0u);
  BOOST_TEST(claimed.value().created);
  MUST(d->begin());
  MUST(d->apply(rows(shape()).insert({i(1), t("a")}).done(), 0, 1, seen));
  MUST(d->flush(seen));
  MUST(d->commit({{41}, 3}));
  d = make(orders());
  claimed = d->claim(who(log_a, 2));
  MUST(claimed);
  BOOST_TEST(claimed.value().next.value == 41u);
  BOOST_TEST(claimed.value().filtered == 3u);
  BOOST_TEST(!claimed.value().created);
  BOOST_TEST(
      rows_of("SELECT pipeline, load, partition, log_id, epoch, next_offset, filtered, ddl_intent FROM _millrace_offsets") ==
      "shop|warehouse|0|fedcba9876543210|2|41|3|NULL");
}

BOOST_AUTO_TEST_CASE(nothing_is_visible_before_the_commit_and_nothing_stays_after_a_rollback) {
  auto& d = open(orders());
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  MUST(d.begin());
  MUST(d.apply(set, 0, 1, seen));
  MUST(d.flush(seen));
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "0");
  d.rollback();
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "0");
  write(set);
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(an_older_epoch_cannot_claim_and_a_newer_claim_fences_the_older_writer_s_open_transaction) {
  auto old = make(orders()), newer = make(orders());
  MUST(old->claim(who(log_a, 5)));
  MUST(old->begin());
  MUST(old->apply(rows(shape()).insert({i(1), t("old")}).done(), 0, 1, seen));
  MUST(old->flush(seen));
  MUST(newer->claim(who(log_a, 6)));
  FAILS(old->commit({{1}, 0}), errc::fenced, "epoch 5");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "0");
  FAILS(old->claim(who(log_a, 5)), errc::fenced, "epoch 6");
  MUST(newer->begin());
  MUST(newer->commit({{1}, 0}));
}

BOOST_AUTO_TEST_CASE(a_writer_that_stands_still_in_its_transaction_does_not_hold_its_successor_up) {
  auto paused = make(orders()), successor = make(orders());
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  MUST(paused->claim(who(log_a, 5)));
  MUST(paused->begin());
  MUST(paused->commit({{1}, 0})); // the table is there
  MUST(paused->begin());
  MUST(paused->apply(set, 0, 1, seen));
  MUST(paused->flush(seen)); // holds the lock of a key from now on
  const auto standing = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'millrace %' AND state = 'idle in "
                        "transaction' AND state_change < clock_timestamp() - interval '1.1 seconds'";
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (rows_of(standing) == "0" && std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  BOOST_REQUIRE(rows_of(standing) != "0");
  MUST(successor->claim(who(log_a, 6)));
  MUST(successor->begin());
  MUST(successor->apply(set, 0, 1, seen));
  MUST(successor->flush(seen));
  MUST(successor->commit({{2}, 0}));
  BOOST_TEST(!paused->commit({{2}, 0}));
  FAILS(paused->claim(who(log_a, 5)), errc::fenced, "epoch 6");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(a_second_writer_of_the_same_epoch_fences_the_first) {
  auto zombie = make(orders()), restarted = make(orders());
  MUST(zombie->claim(who()));
  MUST(restarted->claim(who()));
  MUST(zombie->begin());
  MUST(restarted->begin());
  MUST(restarted->commit({{10}, 0}));
  FAILS(zombie->commit({{10}, 0}), errc::fenced, "offset 0");
  MUST(zombie->claim(who()));
  MUST(restarted->begin());
  MUST(restarted->commit({{20}, 0}));
  FAILS(zombie->begin(), errc::fenced, "offset 20", "expected offset 10");
}

BOOST_AUTO_TEST_CASE(another_log_is_refused_until_it_is_known_as_retired) {
  {
    auto d = make(orders());
    MUST(d->claim(who(log_a, 5)));
    MUST(d->begin());
    MUST(d->commit({{12}, 1}));
  }
  auto d = make(orders());
  FAILS(d->claim(who(log_b, 1)), errc::log_mismatch, "fedcba9876543210", "0000000000000007", "offset 12");
  auto request = who(log_b, 1);
  request.retired = {{3}, {log_a}};
  const auto claimed = d->claim(request);
  MUST(claimed);
  BOOST_TEST(claimed.value().next.value == 0u);
  BOOST_TEST(claimed.value().created);
  BOOST_TEST(rows_of("SELECT log_id, epoch, next_offset, filtered FROM _millrace_offsets") == "0000000000000007|1|0|0");
}

BOOST_AUTO_TEST_CASE(an_edited_or_lost_progress_row_stops_the_writer) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a")}).done());
  query("UPDATE _millrace_offsets SET next_offset = 0");
  FAILS(d.begin(), errc::fenced, "offset 0", "expected offset 1");
  FAILS(d.claim(who()), errc::log_mismatch, "offset 1 was committed");
  query("DELETE FROM _millrace_offsets");
  FAILS(d.claim(who()), errc::log_mismatch, "its row is gone");
  query("INSERT INTO _millrace_offsets VALUES('shop', 'warehouse', 0, 'fedcba9876543210', 1, -5, 0, NULL)");
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
  BOOST_TEST(rows_of("SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM audit), (SELECT next_offset FROM "
                     "_millrace_offsets)") == "0|0|0");
  next = 0;
  write(rows(shape()).insert({i(1), t("b")}).done());
  const auto again = d.claim(who());
  MUST(again);
  BOOST_TEST(again.value().next.value == 1u);
}

BOOST_AUTO_TEST_CASE(a_rewind_of_a_fenced_writer_changes_nothing) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a")}).done());
  auto newer = make(orders());
  MUST(newer->claim(who(log_a, 2)));
  FAILS(d.rewind({{0}, 0}, true), errc::fenced, "epoch 2");
  BOOST_TEST(rows_of("SELECT count(*) FROM orders") == "1");
}

BOOST_AUTO_TEST_CASE(calls_out_of_order_are_answered_and_harmless) {
  auto d = make(orders());
  FAILS(d->begin(), errc::unavailable, "not claimed");
  const auto set = rows(shape()).insert({i(1), t("a")}).done();
  FAILS(d->apply(set, 0, 1, seen), errc::invalid, "outside");
  FAILS(d->commit({{1}, 0}), errc::invalid, "outside");
  FAILS(d->flush(seen), errc::invalid, "outside");
  d->rollback();
  MUST(d->claim(who()));
  MUST(d->begin());
  FAILS(d->begin(), errc::invalid, "inside");
  MUST(d->apply(set, 0, 1, seen));
  FAILS(d->commit({{1}, 0}), errc::invalid, "before flush");
  FAILS(d->claim(who(log_a, UINT64_MAX)), errc::invalid, "epoch");
}

BOOST_AUTO_TEST_CASE(an_unknown_outcome_is_resolved_by_the_next_claim) {
  auto& d = open(orders());
  write(rows(shape()).insert({i(1), t("a")}).done());
  for (const auto mode : {postgres_server::stop_mode::immediate, postgres_server::stop_mode::fast}) {
    MUST(d.begin());
    MUST(d.apply(rows(shape(), next).insert({i(2), t("b")}).done(), 0, 1, seen));
    MUST(d.flush(seen));
    server().stop(mode);
    FAILS(d.commit({{next + 1}, 0}), errc::unavailable);
    FAILS(d.begin(), errc::unavailable);
    FAILS(d.claim(who()), errc::unavailable, "127.0.0.1"); // nobody answers
    server().start();
    const auto claimed = d.claim(who());
    MUST(claimed);
    BOOST_TEST(claimed.value().next.value == next);
    BOOST_TEST(rows_of("SELECT id FROM orders") == "1");
  }
  write(rows(shape(), next).insert({i(2), t("b")}).done());
  BOOST_TEST(rows_of("SELECT id FROM orders ORDER BY id") == "1 2");
}

BOOST_AUTO_TEST_CASE(servers_killed_at_random_lose_and_double_nothing) {
  const auto* given = std::getenv("MILLRACE_SEED");
  const auto seed = given ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << seed);
  std::mt19937_64 random(seed);
  const auto tables =
      std::vector<table_spec>{table("orders", load_mode::upsert, {"id"}, fields), table("audit", load_mode::append, {}, fields)};
  auto& d = open(tables);
  const auto second = layout_of(1, {{"id", int64}, {"name", text}}, {});
  for (int kills = 0; kills < 6;) {
    const std::uint64_t n = random() % 400 + 1;
    rows all(shape(), next);
    for (std::uint64_t k = 0; k < n; ++k) all.insert({i(static_cast<std::int64_t>((next + k) % 500)), t("x")});
    all.use(second);
    for (std::uint64_t k = 0; k < n; ++k) all.insert({i(static_cast<std::int64_t>(next + k)), t("x")});
    const auto set = all.done();
    const auto kill_at = random() % 8;
    bool ok = true;
    const auto maybe = [&](unsigned step) {
      if (kill_at != step) return;
      ++kills;
      server().kill9();
      server().start();
    };
    const auto step = [&](auto&& r) { ok = ok && r.has_value(); };
    step(d.begin());
    maybe(0);
    if (ok) step(d.apply(set, 0, set->rows.size(), seen));
    maybe(1);
    if (ok) step(d.flush(seen));
    maybe(2);
    if (ok) step(d.commit({{next + n}, 0}));
    maybe(3);
    if (ok) {
      next += n;
      continue;
    }
    const auto claimed = d.claim(who());
    MUST(claimed);
    BOOST_TEST((claimed.value().next.value == next || claimed.value().next.value == next + n));
    next = claimed.value().next.value;
  }
  if (!d.begin()) {
    const auto claimed = d.claim(who());
    MUST(claimed);
    next = claimed.value().next.value;
  }
  d.rollback();
  BOOST_TEST(query("SELECT count(*), count(DISTINCT id), coalesce(max(id), -1) + 1 FROM audit") ==
             std::to_string(next) + "|" + std::to_string(next) + "|" + std::to_string(next));
  BOOST_TEST(query("SELECT next_offset FROM _millrace_offsets") == std::to_string(next));
}

BOOST_AUTO_TEST_SUITE_END()
