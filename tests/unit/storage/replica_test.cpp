// One partition as one of several replicas: what a follower takes, what a leader may do, what readers see.
#include "tests/unit/storage/replica_fixture.hpp"

using namespace millrace::storage;
using namespace millrace::storage::test;

BOOST_AUTO_TEST_SUITE(replica_log_suite)

BOOST_AUTO_TEST_CASE(a_new_replica_is_of_no_log_until_reset) {
  replica r(false);
  BOOST_TEST(r.copy->id().value == 0u);
  BOOST_TEST(r.copy->store() != 0u);
  must_fail(r.copy->begin_epoch({1}), errc::invalid, {"orders-1", "empty"});
  must_fail(r.copy->append_raw(std::vector<raw_entry>(1)), errc::invalid, {"reset"});
  const auto store = r.copy->store();
  r.reopen();
  BOOST_TEST(r.copy->store() == store);
  must(r.copy->reset(test_log, {0}));
  BOOST_TEST(r.copy->id().value == test_log.value);
  BOOST_TEST(r.copy->store() != store);
  must_fail(r.copy->reset({0}, {0}), errc::invalid);
  BOOST_TEST(!must(r.store->catalog().get("part/orders-1/0"))); // somebody else's record
}

BOOST_AUTO_TEST_CASE(a_follower_is_a_copy_byte_for_byte) {
  replica leader, follower;
  leader.lead(3);
  for (std::uint64_t i = 0; i < 40; ++i) {
    auto block = numbered(i * 50, 50);
    block.source_state = {{"file", std::to_string(i)}};
    leader.append(block);
    if (i % 7 == 0) follower.follow(leader, 1);
  }
  must(leader.log->append_quarantine("w", std::vector{test_letter(4), test_letter(9)}));
  follower.follow(leader, 5000);
  must_be_equal(leader, follower);
  for (int again = 0; again < 2; ++again) {
    BOOST_TEST((follower.copy->position().hash == leader.copy->position().hash));
    BOOST_TEST(follower.copy->position().last_epoch.value == 3u);
    BOOST_TEST(follower.copy->epochs().size() == 1u);
    BOOST_TEST(follower.log->info().changes == 2000u);
    BOOST_TEST(follower.log->info().bytes == leader.log->info().bytes);
    follower.reopen();
    leader.reopen(); // from the disk now
    must_be_equal(leader, follower);
  }
}

BOOST_AUTO_TEST_CASE(readers_see_nothing_at_or_above_the_high_watermark) {
  replica r;
  r.lead(1);
  std::vector<offset> ends;
  for (int i = 0; i < 6; ++i) {
    r.append(numbered(static_cast<std::uint64_t>(i) * 10, 10));
    ends.push_back(r.end());
  }
  BOOST_TEST(r.readable().value == 0u);
  must_fail(r.log->read({0}), errc::end_of_log, {"acknowledged up to 0"});
  auto cursor = r.log->scan({0});
  must_fail(cursor->next(), errc::end_of_log);
  for (const auto end : ends) {
    must(r.copy->advance({end.value - 1})); // inside of an entry: only what is before it
    BOOST_TEST(r.log->info().high_watermark.value < end.value - 1);
    must(r.copy->advance(end));
    BOOST_TEST(r.log->info().high_watermark.value == end.value);
    BOOST_TEST(r.readable().value == end.value);
    BOOST_TEST(must(r.log->seek_time(now() + std::chrono::hours(1))).value == end.value);
    BOOST_TEST(must(r.log->changes_below(end)) == end.value - 1);
    must_fail(r.log->read(end), errc::end_of_log);
    while (cursor->next()) {
    }
  }
  BOOST_TEST(r.log->info().next.value == ends.back().value);
  must(r.copy->advance({5})); // never lower
  must(r.copy->advance({1'000'000}));
  BOOST_TEST(r.copy->high_watermark().value == ends.back().value);
  must_fail(cursor->next(), errc::end_of_log);
}

BOOST_AUTO_TEST_CASE(appends_are_fenced_unless_this_replica_leads) {
  replica r;
  const auto batch = must(encode(numbered(0, 1), codec::none));
  const auto letter = test_letter(0);
  const auto refused = [&] {
    must_fail(r.log->append({&batch, 1}), errc::fenced, {"does not lead"});
    must_fail(r.log->append_quarantine("w", {&letter, 1}), errc::fenced);
    must_fail(r.log->append_redrive("w", {}, false), errc::fenced);
    must_fail(r.log->append_discard("w", {}), errc::fenced);
    must_fail(r.log->append_rewind("w", {0}, false), errc::fenced);
    must_fail(r.log->append_outcomes("w", {0}, {}), errc::fenced);
    must_fail(r.log->append_rewound("w"), errc::fenced);
    must_fail(r.log->trim({}, {0}, now(), false), errc::fenced);
  };
  refused();
  r.lead(5);
  must(r.log->append({&batch, 1}));
  must_fail(r.copy->truncate({1}, {6}), errc::invalid, {"leader"});
  must_fail(r.copy->reset(test_log, {0}), errc::invalid, {"leader"});
  const auto entries = r.entries();
  must_fail(r.copy->append_raw(entries), errc::invalid, {"leader"});
  r.copy->end_epoch();
  refused();
  must_fail(r.copy->begin_epoch({5}), errc::invalid, {"epoch 5"}); // never one that was led before
  must(r.copy->see_epoch({9}));
  must_fail(r.copy->begin_epoch({8}), errc::fenced, {"epoch 9"});
  r.reopen();
  BOOST_TEST(r.copy->seen_epoch().value == 9u);
  refused();
  must(r.copy->begin_epoch({9}));
  BOOST_TEST(r.log->info().epoch.value == 9u);
  BOOST_TEST(r.copy->epochs().size() == 2u);
  BOOST_TEST(r.copy->epochs()[1].first.value == 2u);
}

BOOST_AUTO_TEST_CASE(what_does_not_continue_the_log_is_refused_and_changes_nothing) {
  replica leader, other, follower;
  leader.lead(2);
  other.lead(2);
  for (int i = 0; i < 4; ++i) {
    leader.append(numbered(i, 1));
    other.append(numbered(i + 10, 1));
  }
  const auto good = leader.entries(), strange = other.entries();
  const auto one = [](const raw_entry& e) { return std::vector{e}; };
  must_fail(follower.copy->append_raw(one(good[0])), errc::conflict, {"has not seen"});
  must(follower.copy->see_epoch({2}));
  must_fail(follower.copy->append_raw(one(good[1])), errc::conflict, {"the log ends at 0"});
  must(follower.copy->append_raw(one(good[0])));
  must_fail(follower.copy->append_raw(one(strange[1])), errc::conflict, {"another entry"});
  must_fail(follower.copy->append_raw(one(good[0])), errc::conflict);
  must_fail(follower.copy->append_raw(std::vector{good[1], good[2], good[2]}), errc::conflict); // all or none
  auto damaged = good[1];
  std::string bytes(*damaged.value);
  bytes.back() ^= 1;
  damaged.value = std::make_shared<const std::string>(bytes);
  must_fail(follower.copy->append_raw(one(damaged)), errc::corrupt, {"offset 1", "hash"});
  must_fail(parse_raw(damaged.value), errc::corrupt);
  damaged = good[1];
  damaged.epoch = {1};
  must_fail(follower.copy->append_raw(one(damaged)), errc::corrupt);
  BOOST_TEST(follower.end().value == 1u);
  must(follower.copy->append_raw(std::span(good).subspan(1)));
  must_be_equal(leader, follower);
}

BOOST_AUTO_TEST_CASE(raw_entries_are_read_from_any_base_and_bounded) {
  replica r;
  r.lead(1);
  for (std::uint64_t i = 0; i < 20; ++i) r.append(numbered(i * 100, 100));
  for (int again = 0; again < 2; ++again) { // from memory, then from the disk
    const auto all = must(r.copy->read_raw({0}, 1u << 20));
    BOOST_REQUIRE_EQUAL(all.size(), 21u);
    BOOST_TEST(must(r.copy->read_raw({0}, 0)).size() == 1u);
    BOOST_TEST(must(r.copy->read_raw({1}, all[2].value->size())).size() == 2u);
    must_fail(r.copy->read_raw({50}, 100), errc::invalid, {"one begins at 1"});
    must_fail(r.copy->read_raw(r.end(), 100), errc::end_of_log);
    r.reopen();
  }
}

BOOST_AUTO_TEST_CASE(the_hook_is_given_what_is_about_to_be_written) {
  replica leader, follower;
  must(follower.copy->see_epoch({1}));
  std::vector<raw_entry> sent;
  leader.copy->before_write([&](std::span<const raw_entry> entries) {
    BOOST_TEST(entries.front().base.value == leader.end().value); // not written yet
    sent.insert(sent.end(), entries.begin(), entries.end());
  });
  leader.lead(1);
  leader.append(numbered(0, 5));
  must(leader.log->append_quarantine("w", std::vector{test_letter(1)}));
  leader.append_state("file", "1");
  must(follower.copy->append_raw(sent));
  must_be_equal(leader, follower);
}

BOOST_AUTO_TEST_CASE(state_and_letters_follow_the_high_watermark) {
  replica leader, follower;
  leader.lead(1);
  auto block = numbered(0, 10);
  block.source_state = {{"file", "10"}};
  const auto nothing = leader.visible();
  leader.append(block);
  const auto data = leader.end();
  leader.append_state("file", "20");
  const auto at = must(leader.log->append_quarantine("w", std::vector{test_letter(3, "parse", 1), test_letter(4, "type", 1)}));
  follower.follow(leader);
  for (auto* r : {&leader, &follower}) {
    BOOST_TEST(r->visible() == nothing);
    must(r->copy->advance(data));
    BOOST_TEST((must(r->log->source_state()) == std::vector<state_entry>{{"file", "10"}}));
    BOOST_TEST(r->letters->counts("w").open == 0u);
    must(r->copy->advance(at));
    BOOST_TEST((must(r->log->source_state()) == std::vector<state_entry>{{"file", "20"}}));
    BOOST_TEST(r->letters->counts("w").open == 0u);
    r->acknowledge();
    BOOST_TEST(r->letters->counts("w").open == 2u);
    BOOST_TEST(must(r->letters->find("w", {4}))->payload == test_letter(4).payload);
    const auto visible = r->visible();
    r->reopen();
    BOOST_TEST(r->visible() == visible);
    BOOST_TEST(r->log->info().changes == 10u); // a position is no change
  }
  BOOST_TEST(leader.visible() == follower.visible());
}

BOOST_AUTO_TEST_CASE(state_before_changes_travels_with_them_and_offsets_stay_dense) {
  replica r;
  r.lead(1);
  change_block state;
  state.source_state = {{"a", "1"}, {"b", "1"}};
  auto changes = numbered(0, 5);
  changes.source_state = {{"a", "2"}};
  const std::vector<staged_batch_ptr> group{must(encode(numbered(0, 3), codec::none)), must(encode(state, codec::none)),
                                            must(encode(changes, codec::zstd)), must(encode(state, codec::none))};
  BOOST_TEST(must(r.log->append(group)).value == 1u);
  BOOST_TEST(r.end().value == 1u + 3 + 5 + 1);
  must(r.copy->advance({9}));
  BOOST_TEST((must(r.log->source_state()) == std::vector<state_entry>{{"a", "2"}, {"b", "1"}}));
  BOOST_TEST(must(r.log->read({4}))->payload(0) == number_text(0));
  r.acknowledge();
  BOOST_TEST((must(r.log->source_state()) == std::vector<state_entry>{{"a", "1"}, {"b", "1"}}));
  BOOST_TEST((must(r.log->read({9}))->kind() == batch_kind::position));
}

BOOST_AUTO_TEST_CASE(large_letters_are_cut_into_entries_of_one_write) {
  replica leader, follower;
  leader.lead(1);
  leader.append(numbered(0, 100));
  std::vector<dead_letter> letters;
  for (std::uint64_t i = 0; i < 10; ++i) {
    letters.push_back(test_letter(10 + i));
    letters.back().payload.assign(1'500'000, static_cast<char>('a' + i));
  }
  const auto begin = leader.end();
  const auto last = must(leader.log->append_quarantine("w", letters));
  BOOST_TEST(last.value == leader.end().value - 1);
  BOOST_TEST(leader.end().value - begin.value == 5u);
  leader.reopen(); // above the watermark: applied later, from the disk
  follower.follow(leader);
  for (auto* r : {&leader, &follower}) {
    r->acknowledge();
    BOOST_TEST(r->letters->counts("w").open == 10u);
    BOOST_TEST((must(r->letters->find("w", {17}))->payload == letters[7].payload));
  }
}

BOOST_AUTO_TEST_CASE(the_index_is_not_written_past_the_log) {
  replica r;
  r.lead(1);
  r.append(numbered(0, 5));
  must_fail(r.letters->prepare("w", {1}, std::vector{test_outcome(1, dead_letter_state::redriven)}), errc::invalid,
            {"append_outcomes"});
  must_fail(r.letters->clear_rewind("w"), errc::invalid, {"append_rewound"});
}

BOOST_AUTO_TEST_CASE(an_older_outcome_does_not_touch_a_letter_that_came_back) {
  replica leader, follower;
  leader.lead(1);
  leader.append(numbered(0, 20));
  must(leader.log->append_quarantine("w", std::vector{test_letter(5)}));
  const auto order = must(leader.log->append_redrive("w", std::vector<offset>{{5}}, false));
  leader.acknowledge();
  must(leader.log->append_outcomes("w", order, std::vector{test_outcome(5, dead_letter_state::redriven)}));
  leader.acknowledge();
  must(leader.letters->settle("w", {order.value + 1})); // the destination passed the order; a follower is not told
  must(leader.log->append_rewind("w", {0}, false));
  must(leader.log->append_rewound("w"));
  leader.acknowledge();
  must(leader.log->append_quarantine("w", std::vector{test_letter(5, "type")}));
  leader.acknowledge();
  follower.follow(leader);
  follower.acknowledge();
  BOOST_TEST(follower.visible() == leader.visible());
  must(follower.letters->settle("w", follower.end())); // it leads now, and claims
  BOOST_TEST((must(follower.letters->find("w", {5}))->state == dead_letter_state::quarantined));
  BOOST_TEST(follower.visible() == leader.visible());
}

BOOST_AUTO_TEST_CASE(a_truncated_tail_is_gone_for_every_reader_and_after_a_restart) {
  replica leader, newer, follower;
  leader.lead(1);
  for (std::uint64_t i = 0; i < 6; ++i) leader.append(numbered(i * 10, 10));
  newer.follow(leader);
  follower.follow(leader);
  follower.acknowledge();
  newer.acknowledge();
  auto cursor = follower.log->scan({41});
  must(cursor->next());
  cursor.reset();
  leader.append(numbered(900, 10)); // only on the old leader and on the follower
  leader.append(numbered(910, 10));
  follower.follow(leader);
  newer.lead(2);
  newer.append(numbered(60, 7));
  const auto common = newer.copy->epochs().at(1).first;
  must_fail(follower.copy->truncate({common.value + 3}, {2}), errc::invalid, {"inside"});
  must_fail(follower.copy->truncate({common.value - 10}, {2}), errc::invalid, {"high watermark"});
  must_fail(follower.copy->truncate({common.value + 500}, {2}), errc::invalid);
  must(follower.copy->truncate(common, {2}));
  BOOST_TEST(follower.end().value == common.value);
  follower.reopen();
  BOOST_TEST(follower.end().value == common.value);
  BOOST_TEST(follower.copy->seen_epoch().value == 2u);
  follower.follow(newer);
  must_be_equal(newer, follower);
  follower.acknowledge();
  BOOST_TEST(must(follower.log->read({common.value + 1}))->payload(0) == number_text(60));
  BOOST_TEST(follower.readable().value == newer.end().value);
  // The deposed leader: its cursor has an iterator from before the truncation.
  leader.copy->end_epoch();
  must(leader.copy->advance(common));
  auto stale = leader.log->scan({1});
  while (stale->next()) {
  }
  must(leader.copy->truncate(common, {2}));
  leader.follow(newer);
  leader.acknowledge();
  BOOST_TEST((must(stale->next())->kind() == batch_kind::epoch_marker));
  BOOST_TEST(must(stale->next())->payload(0) == number_text(60));
}

BOOST_AUTO_TEST_CASE(an_iterator_from_before_a_truncation_is_not_asked_again) {
  replica leader, newer;
  leader.lead(1);
  for (std::uint64_t i = 0; i < 4; ++i) leader.append(numbered(i * 10, 10));
  newer.follow(leader);
  leader.append(numbered(900, 10));
  leader.copy->end_epoch();
  leader.reopen(); // readers go to the disk
  must(leader.copy->advance(newer.end()));
  auto cursor = leader.log->scan({0});
  for (int i = 0; i < 5; ++i) must(cursor->next()); // its iterator is on the last acknowledged entry and knows the next one
  newer.lead(2);
  must(leader.copy->truncate(newer.copy->epochs().back().first, {2}));
  leader.follow(newer);
  leader.acknowledge();
  BOOST_TEST((must(cursor->next())->kind() == batch_kind::epoch_marker));
}

BOOST_AUTO_TEST_CASE(reset_empties_and_goes_on_in_the_middle_of_another_copy) {
  replica leader, follower;
  leader.lead(1);
  for (std::uint64_t i = 0; i < 5; ++i) leader.append(numbered(i * 10, 10));
  must(leader.log->append_quarantine("w", std::vector{test_letter(3)}));
  leader.append_state("file", "9");
  follower.follow(leader);
  follower.acknowledge();
  BOOST_TEST(follower.letters->counts("w").open == 1u);
  const auto store = follower.copy->store();
  must(follower.copy->reset({78}, {31}));
  for (int again = 0; again < 2; ++again) {
    BOOST_TEST(follower.copy->id().value == 78u);
    BOOST_TEST(follower.copy->store() != store);
    BOOST_TEST(follower.copy->start().value == 31u);
    BOOST_TEST(follower.end().value == 31u);
    BOOST_TEST(follower.copy->seen_epoch().value == 1u);
    BOOST_TEST(follower.copy->epochs().empty());
    BOOST_TEST(follower.letters->counts("w").total == 0u);
    BOOST_TEST(must(follower.log->source_state()).empty());
    must_fail(follower.copy->read_raw({30}, 1), errc::trimmed);
    must_fail(follower.copy->begin_epoch({4}), errc::invalid, {"empty"});
    follower.reopen();
  }
  follower.follow(leader);
  for (int again = 0; again < 2; ++again) {
    BOOST_TEST(follower.entries().size() == 4u);
    BOOST_TEST((follower.copy->position().hash == leader.copy->position().hash));
    BOOST_TEST(follower.copy->epochs().at(0).first.value == 31u);
    BOOST_TEST(follower.log->info().changes == 50u);
    follower.reopen();
  }
  // Back to the beginning of this copy, which then knows no hash to check the next entry by.
  must(follower.copy->truncate({31}, {1}));
  follower.reopen();
  follower.follow(leader);
  follower.acknowledge();
  BOOST_TEST(must(follower.log->changes_below({41})) == 40u);
  BOOST_TEST(follower.readable().value == leader.end().value);
}

BOOST_AUTO_TEST_CASE(a_single_nodes_log_and_a_replica_are_not_taken_for_each_other) {
  store_fixture single;
  single.open();
  must_fail(single.store->open_replica("orders-1", 0, {}), errc::conflict);
  single.close();
  must(single.try_open());
  must_fail(single.store->open_replica("orders-1", 0, {}), errc::invalid, {"single node"});
  must_fail(single.store->reject_replica("orders-1", 0), errc::invalid, {"only copy"});
  replica r;
  must_fail(r.store->open_log("orders-1", 0, {}), errc::conflict);
  r.close();
  r.open_store();
  must_fail(r.store->open_log("orders-1", 0, {}), errc::invalid, {"member of its cluster"});
}

BOOST_AUTO_TEST_CASE(trim_to_keeps_the_newest_acknowledged_entry) {
  replica leader;
  leader.close();
  leader.options.memory_bytes = 8u << 20;
  leader.open();
  leader.lead(1);
  std::mt19937_64 random(5);
  for (int i = 0; i < 80; ++i) {
    leader.append(noise(random, 128u << 10));
    if (i == 70) leader.acknowledge();
  }
  const auto acknowledged = leader.copy->high_watermark();
  leader.copy->end_epoch();
  BOOST_REQUIRE(eventually([&] { return must(leader.copy->trim_to(leader.end())).value > 16; }));
  const auto start = leader.copy->start();
  BOOST_TEST(start.value < acknowledged.value);
  must_fail(leader.log->read({0}), errc::trimmed);
  must_fail(leader.copy->read_raw({0}, 1), errc::trimmed);
  leader.reopen();
  BOOST_TEST(leader.copy->start().value == start.value);
  BOOST_TEST(leader.copy->high_watermark().value >= start.value);
  must(leader.copy->truncate(acknowledged, {2}));
  leader.reopen();
  leader.lead(3);
  leader.acknowledge();
  BOOST_TEST(leader.readable().value == acknowledged.value + 1);
}

BOOST_AUTO_TEST_CASE(what_retention_drops_is_said_again_for_replicas_that_begin_later) {
  replica leader, late, early;
  leader.close();
  leader.options.memory_bytes = 8u << 20;
  leader.open();
  leader.lead(1);
  leader.append(numbered(0, 10));
  leader.append_state("old", "1");
  leader.append_state("gone", "1");
  leader.append_state("gone", "");
  must(leader.log->append_quarantine("w", std::vector{test_letter(2, "parse", 1), test_letter(3), test_letter(4)}));
  leader.acknowledge();
  const auto order = must(leader.log->append_redrive("w", std::vector<offset>{{3}}, false));
  leader.acknowledge();
  std::mt19937_64 random(5);
  for (int i = 0; i < 60; ++i) leader.append(noise(random, 128u << 10));
  leader.append_state("old", "2");
  leader.acknowledge();
  // Its outcome lies above the new start, the letter below.
  must(leader.log->append_outcomes("w", order, std::vector{test_outcome(3, dead_letter_state::redriven)}));
  leader.acknowledge();
  must(leader.letters->settle("w", {order.value + 1}));
  leader.append_state("old", "3"); // not acknowledged when the trim comes
  const retention_policy small{.bytes = 1u << 20};
  const auto end = leader.end();
  BOOST_REQUIRE(eventually([&] {
    BOOST_REQUIRE_EQUAL(must(leader.log->trim(small, leader.copy->high_watermark(), now(), false)).value, 0u);
    return leader.end() > end;
  }));
  BOOST_TEST(must(leader.log->trim(small, leader.copy->high_watermark(), now(), false)).value == 0u); // not acknowledged yet
  early.follow(leader);
  leader.acknowledge();
  early.acknowledge();
  const auto start = must(leader.log->trim(small, leader.copy->high_watermark(), now(), false));
  // Whatever files are there by now: what was carried and acknowledged goes, and a later call carries more.
  BOOST_TEST(start.value > order.value);
  must(late.copy->reset(test_log, start));
  late.follow(leader);
  late.acknowledge();
  BOOST_TEST(late.visible() == leader.visible());
  BOOST_TEST(early.visible() == leader.visible());
  BOOST_TEST(must(late.letters->find("w", {3}))->payload == test_letter(3).payload);
  BOOST_TEST(late.letters->counts("w").redriven == 1u);
  BOOST_TEST((must(late.log->source_state()) == std::vector<state_entry>{{"old", "3"}}));
}

BOOST_AUTO_TEST_SUITE_END()
