#include "tests/unit/storage/storage_fixture.hpp"

using namespace millrace::storage;
using namespace millrace::storage::test;

namespace {

dead_letter letter_at(std::uint64_t at, std::string reason = "parse", std::uint64_t key = 0) {
  dead_letter l;
  l.offset = {at};
  l.source_position = "in/test.ndjson:" + std::to_string(at * 10);
  l.transaction = "t1";
  l.table = "public.orders";
  l.key = "{\"id\":1}";
  l.key_hash = key;
  l.op = "insert";
  l.payload = std::string("raw \0 bytes ", 12) + std::to_string(at);
  l.reason = std::move(reason);
  l.message = "no JSON";
  l.sqlstate = "23505";
  l.constraint = "c";
  l.column = "id";
  l.step = "schema";
  l.node = "a";
  l.revision = 3;
  l.first_time = l.last_time = timestamp{std::chrono::microseconds{1000 + at}};
  l.format = payload_format::csv;
  l.envelope = envelope::debezium;
  l.context = "id,name";
  l.origin = "in/test.ndjson";
  l.arrival = timestamp{std::chrono::microseconds{5}};
  return l;
}

struct letters_fixture : store_fixture {
  std::shared_ptr<dead_letter_table> table;
  letters_fixture() {
    open();
    must(append(numbered(0, 100)));
    table = must(store->dead_letters("orders-1", 0));
  }
  void reopen_all() {
    table.reset();
    reopen();
    table = must(store->dead_letters("orders-1", 0));
  }
  void quarantine(const std::vector<dead_letter>& letters) { must(log->append_quarantine("w", letters)); }
  void check_counts(std::uint64_t open, std::uint64_t discarded, std::uint64_t redriven, std::uint64_t total) {
    for (int again = 0; again < 2; ++again) { // from memory, and from the row after a restart
      const auto c = table->counts("w");
      BOOST_TEST(c.open == open);
      BOOST_TEST(c.discarded == discarded);
      BOOST_TEST(c.redriven == redriven);
      BOOST_TEST(c.total == total);
      std::uint64_t by_reason = 0;
      for (const auto& [reason, n] : table->totals_by_reason("w")) by_reason += n;
      BOOST_TEST(by_reason == open);
      reopen_all();
    }
  }
  std::vector<std::uint64_t> key(std::uint64_t hash) {
    std::vector<std::uint64_t> at;
    for (const auto o : must(table->open_of_key("w", hash))) at.push_back(o.value);
    return at;
  }
  outcome outcome_of(std::uint64_t at, dead_letter_state state, std::string reason = "parse", std::uint64_t key = 0) {
    outcome o{letter_at(at, std::move(reason), key)};
    o.letter.state = state;
    o.letter.payload.clear();
    return o;
  }
};
using numbers = std::vector<std::uint64_t>;

} // namespace

BOOST_FIXTURE_TEST_SUITE(dead_letters, letters_fixture)

BOOST_AUTO_TEST_CASE(a_quarantine_stores_the_decision_and_every_field) {
  const auto sent = letter_at(7, "schema", 99);
  const auto at = must(log->append_quarantine("w", {&sent, 1}));
  for (int again = 0; again < 2; ++again) {
    const auto entry = must(log->read(at));
    BOOST_TEST((entry->kind() == batch_kind::quarantine));
    BOOST_TEST(entry->control().load == "w");
    BOOST_REQUIRE_EQUAL(entry->control().offsets.size(), 1u);
    BOOST_TEST(entry->control().offsets[0].value == 7u);
    BOOST_TEST(entry->control().reasons[0] == "schema");
    const auto l = must(table->find("w", {7}));
    BOOST_REQUIRE(l);
    BOOST_TEST(l->payload == sent.payload);
    BOOST_TEST(l->source_position == sent.source_position);
    BOOST_TEST(l->transaction == sent.transaction);
    BOOST_TEST(l->table == sent.table);
    BOOST_TEST(l->key == sent.key);
    BOOST_TEST(l->key_hash == 99u);
    BOOST_TEST(l->op == "insert");
    BOOST_TEST(l->reason == "schema");
    BOOST_TEST(l->message == sent.message);
    BOOST_TEST(l->sqlstate == "23505");
    BOOST_TEST(l->constraint == "c");
    BOOST_TEST(l->column == "id");
    BOOST_TEST(l->step == "schema");
    BOOST_TEST(l->node == "a");
    BOOST_TEST(l->revision == 3u);
    BOOST_TEST(l->attempts == 1u);
    BOOST_TEST((l->first_time == sent.first_time && l->last_time == sent.last_time && l->arrival == sent.arrival));
    BOOST_TEST((l->format == payload_format::csv && l->envelope == envelope::debezium));
    BOOST_TEST(l->context == "id,name");
    BOOST_TEST(l->origin == sent.origin);
    BOOST_TEST((l->state == dead_letter_state::quarantined));
    reopen_all();
  }
  BOOST_TEST(!must(table->find("w", {8})));
  BOOST_TEST(!must(table->find("v", {7})));
  must_fail(log->append_quarantine("w", std::vector{letter_at(5000)}), errc::invalid, {"5000"});
}

BOOST_AUTO_TEST_CASE(an_open_letter_is_left_alone_by_a_repeat) {
  quarantine({letter_at(3), letter_at(5)});
  const auto next = log->info().next;
  BOOST_TEST(must(log->append_quarantine("w", std::vector{letter_at(3, "schema")})).value == next.value - 1);
  BOOST_TEST(log->info().next.value == next.value);
  const auto at = must(log->append_quarantine("w", std::vector{letter_at(3, "schema"), letter_at(4)}));
  BOOST_TEST(must(log->read(at))->control().offsets.size() == 1u);
  BOOST_TEST(must(table->find("w", {3}))->reason == "parse");
  check_counts(3, 0, 0, 3);
}

BOOST_AUTO_TEST_CASE(outcomes_below_the_commit_come_true_and_the_others_are_forgotten) {
  quarantine({letter_at(1, "parse", 11), letter_at(2, "parse", 11), letter_at(3, "held", 12), letter_at(4)});
  BOOST_TEST((key(11) == numbers{1, 2}));
  must(table->prepare(
      "w", {200},
      std::vector{outcome_of(1, dead_letter_state::redriven), outcome_of(2, dead_letter_state::quarantined, "type", 11)}));
  must(table->prepare("w", {201}, std::vector{outcome_of(4, dead_letter_state::discarded)}));
  check_counts(4, 0, 0, 4); // nothing has happened yet, restarts or not
  must(table->settle("w", {201}));
  check_counts(3, 0, 1, 4);
  BOOST_TEST((key(11) == numbers{2}));
  const auto again = must(table->find("w", {2}));
  BOOST_TEST(again->reason == "type");
  BOOST_TEST(again->attempts == 2u);
  BOOST_TEST(again->payload == letter_at(2).payload); // kept
  BOOST_TEST((must(table->find("w", {4}))->state == dead_letter_state::quarantined));
  must(table->settle("w", {500})); // 201 was forgotten: that commit did not happen
  check_counts(3, 0, 1, 4);
}

BOOST_AUTO_TEST_CASE(preparing_again_replaces_and_settling_again_changes_nothing) {
  quarantine({letter_at(1), letter_at(2)});
  must(table->prepare("w", {200},
                      std::vector{outcome_of(1, dead_letter_state::discarded), outcome_of(2, dead_letter_state::discarded)}));
  must(table->prepare("w", {200}, std::vector{outcome_of(1, dead_letter_state::discarded)}));
  reopen_all();
  must(table->settle("w", {300}));
  must(table->settle("w", {300}));
  check_counts(1, 1, 0, 2);
}

BOOST_AUTO_TEST_CASE(a_rewind_replaces_letters_and_they_come_back_with_one_more_attempt) {
  quarantine({letter_at(1, "parse", 5), letter_at(20, "parse", 5), letter_at(30), letter_at(40)});
  must(table->prepare("w", {200},
                      std::vector{outcome_of(30, dead_letter_state::redriven), outcome_of(40, dead_letter_state::discarded)}));
  must(table->settle("w", {300}));
  const auto at = must(log->append_rewind("w", {20}, true));
  const auto entry = must(log->read(at));
  BOOST_TEST((entry->kind() == batch_kind::rewind));
  BOOST_TEST(entry->control().to.value == 20u);
  BOOST_TEST(entry->control().flag);
  check_counts(1, 0, 0, 4);
  BOOST_TEST((key(5) == numbers{1}));
  BOOST_TEST((must(table->find("w", {40}))->state == dead_letter_state::replaced));
  const auto pending = must(table->rewind_of("w"));
  BOOST_REQUIRE(pending);
  BOOST_TEST(pending->to.value == 20u);
  BOOST_TEST(pending->truncate);
  must(table->clear_rewind("w"));
  reopen_all();
  BOOST_TEST(!must(table->rewind_of("w")));
  auto back = letter_at(20, "schema", 5);
  back.first_time = back.last_time = timestamp{std::chrono::microseconds{9'999'999}};
  quarantine({back});
  BOOST_TEST((must(table->find("w", {20}))->first_time == letter_at(20).first_time));
  BOOST_TEST((must(table->find("w", {20}))->last_time == back.last_time));
  check_counts(2, 0, 0, 4); // the same change: not counted twice
  BOOST_TEST(must(table->find("w", {20}))->attempts == 2u);
  BOOST_TEST((key(5) == numbers{1, 20}));
  must_fail(log->append_rewind("w", {100'000}, false), errc::invalid, {"100000"});
}

BOOST_AUTO_TEST_CASE(a_key_changing_update_is_found_by_both_keys) {
  auto l = letter_at(9, "constraint", 100);
  l.before_key_hash = 200;
  quarantine({l});
  BOOST_TEST((key(100) == numbers{9}));
  BOOST_TEST((key(200) == numbers{9}));
  BOOST_TEST(key(300).empty());
  BOOST_TEST(key(0).empty());
}

BOOST_AUTO_TEST_CASE(a_superseded_letter_remembers_the_first_later_change) {
  quarantine({letter_at(1)});
  must(table->supersede("w", {1}, {50}));
  must(table->supersede("w", {1}, {60}));
  reopen_all();
  BOOST_TEST(must(table->find("w", {1}))->superseded_by == 51u);
  must_fail(table->supersede("w", {2}, {60}), errc::not_found, {"offset 2"});
}

BOOST_AUTO_TEST_CASE(loads_are_apart) {
  quarantine({letter_at(1)});
  must(log->append_quarantine("w2", std::vector{letter_at(1), letter_at(2)}));
  BOOST_TEST(table->counts("w").open == 1u);
  BOOST_TEST(table->counts("w2").open == 2u);
  BOOST_TEST(table->counts("none").total == 0u);
  reopen_all();
  BOOST_TEST(table->counts("w2").open == 2u);
  must_fail(log->append_quarantine("", std::vector{letter_at(3)}), errc::invalid);
}

BOOST_AUTO_TEST_CASE(redrive_and_discard_orders_are_in_the_log) {
  const std::vector<offset> which{{1}, {2}};
  const auto redrive = must(log->append_redrive("w", which, true));
  const auto discard = must(log->append_discard("w", which));
  reopen_all();
  BOOST_TEST((must(log->read(redrive))->kind() == batch_kind::redrive));
  BOOST_TEST(must(log->read(redrive))->control().flag);
  BOOST_TEST((must(log->read(redrive))->control().offsets == which));
  BOOST_TEST((must(log->read(discard))->kind() == batch_kind::discard));
}

BOOST_AUTO_TEST_CASE(a_hundred_thousand_letters_are_scanned_and_counted_fast) {
  must(append(numbered(0, 101'000)));
  std::vector<dead_letter> letters;
  for (std::uint64_t i = 0; i < 100'000; ++i) letters.push_back(letter_at(200 + i, i % 2 == 0 ? "parse" : "type", i + 1));
  quarantine(letters);
  reopen_all();
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t seen = 0;
  must(table->scan("w", {0}, {~std::uint64_t{0}}, false, [&](const dead_letter& l) {
    BOOST_REQUIRE_EQUAL(l.offset.value, 200 + seen);
    BOOST_REQUIRE(l.payload.empty());
    return ++seen < 60'000;
  }));
  BOOST_TEST(seen == 60'000u);
  BOOST_TEST(must(table->counts_below("w", {50'200})).open == 50'000u);
  BOOST_TEST(must(table->counts_below("w", {1'000'000})).total == 100'000u);
  seen = 0;
  must(table->scan("w", {300}, {310}, true,
                   [&](const dead_letter& l) { return seen += l.payload == letter_at(l.offset.value).payload, true; }));
  BOOST_TEST(seen == 10u);
  BOOST_TEST(table->totals_by_reason("w").size() == 2u);
  const auto took = std::chrono::steady_clock::now() - begin;
  BOOST_TEST_MESSAGE("scan and counts: " << std::chrono::duration_cast<std::chrono::milliseconds>(took).count() << " ms");
}

BOOST_AUTO_TEST_CASE(filtered_changes_are_counted_at_any_offset) {
  const std::uint8_t odd[] = {0xaa, 0x02}; // offsets 1, 3, 5, 7 and 9 after the first
  must(table->note_filtered("w", {10}, {20}, 0, odd));
  must(table->note_filtered("w", {20}, {40}, 5, {}));
  must(table->note_filtered("w", {40}, {50}, 5, odd));
  for (int again = 0; again < 2; ++again) {
    BOOST_TEST(must(table->filtered_below("w", {0})) == 0u);
    BOOST_TEST(must(table->filtered_below("w", {10})) == 0u);
    BOOST_TEST(must(table->filtered_below("w", {12})) == 1u);
    BOOST_TEST(must(table->filtered_below("w", {19})) == 4u);
    BOOST_TEST(must(table->filtered_below("w", {20})) == 5u);
    BOOST_TEST(must(table->filtered_below("w", {40})) == 5u);
    BOOST_TEST(must(table->filtered_below("w", {50})) == 10u);
    BOOST_TEST(must(table->filtered_below("w", {90})) == 10u);
    reopen_all();
  }
}

BOOST_AUTO_TEST_CASE(a_replay_with_other_ranges_replaces_what_was_noted) {
  const std::uint8_t all[] = {0xff, 0x03};
  for (std::uint64_t i = 0; i < 5; ++i) must(table->note_filtered("w", {i * 10}, {i * 10 + 10}, i * 10, all));
  reopen_all();
  BOOST_TEST(must(table->filtered_below("w", {50})) == 50u);
  must(table->note_filtered("w", {15}, {32}, 15, {})); // rewound to 15: now nothing is filtered
  BOOST_TEST(must(table->filtered_below("w", {15})) == 15u);
  BOOST_TEST(must(table->filtered_below("w", {25})) == 15u);
  BOOST_TEST(must(table->filtered_below("w", {32})) == 15u);
  must(table->note_filtered("w", {32}, {50}, 15, {}));
  BOOST_TEST(must(table->filtered_below("w", {50})) == 15u);
  const std::uint8_t too_many[] = {0, 0, 0};
  must_fail(table->note_filtered("w", {50}, {60}, 15, too_many), errc::invalid);
}

BOOST_AUTO_TEST_SUITE_END()
