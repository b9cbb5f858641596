#include "replication_fixture.hpp"

namespace millrace::testing {
BOOST_AUTO_TEST_SUITE(replication_leading)

BOOST_AUTO_TEST_CASE(followers_get_entries_before_the_leaders_own_sync) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.sync = false;
  c.append();
  const auto* d = c.last<rp::data>("b");
  BOOST_REQUIRE(d);
  BOOST_TEST(d->entries.size() == 1u);
  BOOST_TEST(c.machine->durable().value == 2u);
}

BOOST_AUTO_TEST_CASE(acknowledged_is_what_every_member_has_synced) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  BOOST_TEST(c.acknowledged.empty()); // c has said nothing
  c.attach_follower("c", 2);
  BOOST_REQUIRE(!c.acknowledged.empty());
  BOOST_TEST(c.acknowledged.back().value == 2u);
  c.sync = false;
  c.append();
  c.fetched("b", 3);
  c.fetched("c", 3);
  BOOST_TEST(c.acknowledged.back().value == 2u); // not synced here
  c.synced();
  BOOST_TEST(c.acknowledged.back().value == 3u);
}

BOOST_AUTO_TEST_CASE(what_another_run_or_store_says_does_not_count) {
  auto c = leader_of("a", {1}, {"a", "b"});
  c.attach_follower("b", 1, 9);
  c.fetched("b", 2, 8); // sent before it restarted
  BOOST_TEST(c.acknowledged.back().value == 1u);
  BOOST_TEST(c.last<rp::refuse>("b"));
  c.hear("b", rp::message{{"p", 0}, {2}, "b", 9, 4711, rp::fetch{{2}, {}, {2}, 100, 1, false}});
  BOOST_TEST(c.acknowledged.back().value == 1u);
}

BOOST_AUTO_TEST_CASE(a_follower_whose_prefix_differs_must_compare_again) {
  auto c = leader_of("a", {1}, {"a", "b"});
  c.hear("b", rp::attach{{1}, {1}, 5});
  c.hear("b", rp::fetch{{1}, {1, 1}, {1}, 100, 1, false});
  BOOST_TEST(c.last<rp::refuse>("b"));
  BOOST_TEST(!c.machine->followers().front().attached);
}

BOOST_AUTO_TEST_CASE(a_member_that_is_gone_counts_until_the_smaller_set_is_stored) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.members({"a", "b"}, 2000);
  for (int i = 0; i < 30; ++i) {
    c.pass(rp::instant{50});
    c.fetched("b", c.machine->end().value);
  }
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u); // after the claim
  BOOST_TEST(c.proposals[1].record.isr.size() == 2u);
  BOOST_TEST(c.acknowledged.empty());
  c.answer(rp::replica::outcome::stored, 12);
  BOOST_REQUIRE(!c.acknowledged.empty());
}

BOOST_AUTO_TEST_CASE(the_set_never_gets_smaller_than_its_minimum) {
  auto c = leader_of("a", {1}, {"a", "b"});
  c.members({"a"}, 2000);
  c.pass(rp::instant{30000});
  BOOST_TEST(c.proposals.size() == 1u);
  BOOST_TEST(c.acknowledged.empty());
  BOOST_TEST(c.alarmed(rp::alarm_kind::under_replicated));
}

BOOST_AUTO_TEST_CASE(a_silent_member_leaves_soon_and_a_slow_one_that_moves_does_not) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.attach_follower("c", 2);
  for (int i = 0; i < 300; ++i) {
    c.append();
    c.fetched("b", c.machine->end().value - 1); // never quite at the end
    c.pass(rp::instant{50});
    if (c.proposals.size() > 1) break;
  }
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(c.now.count() > 2500); // five times fetch_wait
  BOOST_TEST(c.now.count() < 5000);
  BOOST_TEST(!c.proposals[1].record.in_sync("c"));
  BOOST_TEST(c.proposals[1].record.in_sync("b"));
}

BOOST_AUTO_TEST_CASE(a_leader_that_hears_nobody_gives_way_to_members_whose_sessions_live) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.attach_follower("c", 2);
  c.append();
  for (int i = 0; i < 100 && c.proposals.size() < 2; ++i) c.pass(rp::instant{50});
  BOOST_REQUIRE_GE(c.proposals.size(), 2u);
  BOOST_TEST(c.proposals.back().record.leader_node == "");
  BOOST_TEST(c.proposals.back().record.isr.size() == 2u); // the next one need not wait for it
  BOOST_TEST(!c.proposals.back().record.in_sync("a"));
}

BOOST_AUTO_TEST_CASE(a_member_without_room_leaves_at_the_next_entry_and_is_sent_nothing) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.attach_follower("c", 2);
  c.fetched("c", 2, 9, 2, true);
  c.pass(rp::instant{200});
  BOOST_TEST(c.proposals.size() == 1u); // it has everything: nothing waits for it
  c.sent.clear();
  c.append();
  BOOST_TEST(c.last<rp::data>("b"));
  BOOST_TEST(!c.last<rp::data>("c"));
  c.fetched("b", 3);
  c.pass(rp::instant{50});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(!c.proposals[1].record.in_sync("c"));
  c.answer(rp::replica::outcome::stored, 12);
  BOOST_TEST(c.acknowledged.back().value == 3u);
  // Its heartbeats go on, and it is not taken back in before there is room.
  c.pass(rp::instant{1000});
  BOOST_TEST(c.last<rp::data>("c"));
  c.fetched("c", 2, 9, 3, true);
  c.pass(rp::instant{200});
  BOOST_TEST(c.proposals.size() == 2u);
  c.fetched("c", 2, 9, 4);
  BOOST_TEST(c.last<rp::data>("c")->entries.size() == 1u);
  c.fetched("c", 3, 9, 4);
  c.pass(rp::instant{50});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 3u);
  BOOST_TEST(c.proposals[2].record.in_sync("c"));
}

BOOST_AUTO_TEST_CASE(a_leader_without_room_hands_over_to_who_has_some_and_stays_if_nobody_has) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.attach_follower("c", 2);
  c.fetched("b", 2, 9, 2, true);
  c.fetched("c", 2, 9, 2, true);
  c.machine->no_room();
  c.pass(rp::instant{200});
  BOOST_TEST(c.proposals.size() == 1u);
  BOOST_TEST(!c.alarmed(rp::alarm_kind::handover));
  c.fetched("c", 2, 9, 3);
  c.pass(rp::instant{50});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(c.proposals[1].record.leader_node == "");
  c.answer(rp::replica::outcome::stored, 12);
  c.pass(rp::instant{5000}); // it lets others go first
  BOOST_TEST((c.machine->role() == rp::role::follower));
}

BOOST_AUTO_TEST_CASE(a_leader_that_is_not_heard_gives_way_but_not_for_a_single_complaint) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.attach_follower("c", 2);
  const auto hear_both = [&](std::uint64_t round, bool unheard) {
    for (const auto* n : {"b", "c"}) c.fetched(n, 2, 9, round, false, unheard);
  };
  hear_both(2, true);
  c.pass(rp::instant{1000});
  hear_both(2, false); // a lost message; what was said since has come
  c.pass(rp::instant{1000});
  BOOST_TEST(c.proposals.size() == 1u);
  c.append();
  hear_both(3, true);
  for (int i = 0; i < 31 && c.proposals.size() < 2; ++i) {
    c.pass(rp::instant{50});
    if (i % 10 == 9) hear_both(static_cast<std::uint64_t>(4 + i), true);
  }
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(c.proposals.back().record.leader_node == "");
}

BOOST_AUTO_TEST_CASE(members_that_are_cut_off_one_after_the_other_are_not_removed_but_the_leader_is) {
  for (const bool deaf : {true, false}) {
    auto c = leader_of("a", {1}, {"a", "b", "c"});
    c.attach_follower("b", 2);
    c.attach_follower("c", 2);
    c.append();
    // c first, b 450 ms later: what only one of them misses is not yet this node's.
    for (int i = 0; i < 120 && c.proposals.size() < 2; ++i) {
      const auto round = static_cast<std::uint64_t>(2 + i);
      if (i < 9) c.fetched("b", 2);
      if (deaf && i % 10 == 0) c.fetched("c", 2, 9, round, false, true);
      if (deaf && i >= 9 && i % 10 == 9) c.fetched("b", 2, 9, round, false, true);
      c.pass(rp::instant{50});
    }
    BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
    BOOST_TEST(c.proposals[1].record.leader_node == "", (deaf ? "deaf" : "silent"));
    BOOST_TEST(c.proposals[1].record.isr.size() == 2u);
    BOOST_TEST(!c.proposals[1].record.in_sync("a"));
    BOOST_TEST(c.now.count() < 4000);
  }
}

BOOST_AUTO_TEST_CASE(a_member_that_hears_nothing_leaves_soon) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  c.attach_follower("c", 2);
  for (int i = 0; i < 300 && c.proposals.size() < 2; ++i) {
    c.append();
    c.fetched("b", c.machine->end().value);
    if (i % 10 == 0) c.fetched("c", 2, 9, static_cast<std::uint64_t>(2 + i), false, true);
    c.pass(rp::instant{50});
  }
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(!c.proposals[1].record.in_sync("c"));
  BOOST_TEST(c.now.count() < 3000);
}

BOOST_AUTO_TEST_CASE(a_member_being_added_counts_from_the_moment_of_the_proposal) {
  auto c = leader_of("a", {1}, {"a", "b"});
  c.attach_follower("b", 2);
  c.attach_follower("c", 2);
  c.pass(rp::instant{50});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST((c.proposals[1].record.isr.back() == st::isr_member{"c", store_of("c")}));
  const auto before = c.acknowledged.back();
  c.append();
  c.fetched("b", 3);
  BOOST_TEST(c.acknowledged.back().value == before.value);
  c.fetched("c", 3);
  BOOST_TEST(c.acknowledged.back().value == 3u);
}

BOOST_AUTO_TEST_CASE(a_replica_below_the_epochs_start_is_not_added) {
  auto c = leader_of("a", {1, 1}, {"a", "b"});
  c.attach_follower("b", 1);
  c.attach_follower("c", 1); // the epoch starts at 2
  c.pass(rp::instant{100});
  BOOST_TEST(c.proposals.size() == 1u);
  c.fetched("c", 2);
  c.pass(rp::instant{50});
  BOOST_TEST(c.proposals.size() == 2u);
}

BOOST_AUTO_TEST_CASE(a_replaced_storage_is_swapped_when_it_is_refilled) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("b", 2);
  const auto say = [&](auto body) { c.hear("c", rp::message{{"p", 0}, {2}, "c", 9, 4711, body}); };
  const auto hash = c.storage.cache().entries.back().hash;
  say(rp::attach{{}, {}, 5});
  say(rp::fetch{{}, {}, {}, 1 << 20, 1, true});
  c.pass(rp::instant{50});
  BOOST_TEST(c.proposals.size() == 1u);
  say(rp::fetch{{2}, hash, {2}, 1 << 20, 1, false});
  BOOST_TEST(c.acknowledged.empty()); // listed under a storage that is gone
  c.pass(rp::instant{50});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(c.proposals[1].record.in_sync("c")->store == 4711u);
  c.answer(rp::replica::outcome::stored, 12);
  BOOST_TEST(!c.acknowledged.empty());
}

BOOST_AUTO_TEST_CASE(a_member_that_comes_back_with_less_than_was_acknowledged_alarms) {
  auto c = leader_of("a", {1}, {"a", "b"});
  c.attach_follower("b", 2);
  BOOST_REQUIRE(!c.acknowledged.empty());
  c.attach_follower("b", 1, 10);
  BOOST_TEST(c.alarmed(rp::alarm_kind::data_lost));
  c.append();
  BOOST_TEST(c.acknowledged.back().value == 2u);
}

BOOST_AUTO_TEST_CASE(a_refusal_or_a_newer_record_ends_a_leadership) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.hear("b", rp::refuse{{5}}, 9, 5);
  BOOST_TEST((c.machine->role() == rp::role::follower));
  BOOST_TEST(!c.leading);
  BOOST_TEST(!c.machine->may_append());
  auto d = leader_of("a", {1}, {"a", "b", "c"});
  d.record(record_of(3, "b", {"a", "b", "c"}, 20));
  BOOST_TEST((d.machine->role() == rp::role::follower));
  BOOST_TEST(d.last<rp::attach>("b"));
}

BOOST_AUTO_TEST_CASE(a_deposed_leader_cannot_acknowledge_by_removing_its_successor) {
  auto c = leader_of("a", {1}, {"a", "b", "c"});
  c.attach_follower("c", 2);
  c.members({"a", "c"}, 2000);
  for (int i = 0; i < 30; ++i) {
    c.pass(rp::instant{50});
    c.fetched("c", 2);
  }
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  c.answer(rp::replica::outcome::conflict);
  BOOST_TEST(c.acknowledged.empty());
  c.record(record_of(3, "b", {"a", "b", "c"}, 12), true);
  BOOST_TEST((c.machine->role() == rp::role::follower));
}

BOOST_AUTO_TEST_CASE(a_change_by_the_controller_does_not_end_a_leadership) {
  auto c = leader_of("a", {1}, {"a", "b"});
  auto r = *c.machine->record();
  r.replicas = {"a", "b", "d"};
  r.mod_revision = 30;
  c.record(r);
  BOOST_TEST((c.machine->role() == rp::role::leader));
}

BOOST_AUTO_TEST_CASE(resigning_hands_over_and_stands_again_only_if_no_other_does) {
  auto c = leader_of("a", {1}, {"a", "b"});
  c.attach_follower("b", 2);
  c.machine->resign();
  c.drain();
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(c.proposals[1].record.leader_node.empty());
  BOOST_TEST(c.proposals[1].record.isr.size() == 2u);
  c.answer(rp::replica::outcome::stored, 12);
  BOOST_TEST((c.machine->role() == rp::role::follower));
  c.pass(rp::instant{1000}); // several times what the others wait at most
  BOOST_TEST(c.proposals.size() == 2u);
  c.pass(rp::instant{2000});
  BOOST_TEST(c.proposals.size() == 3u);
}

BOOST_AUTO_TEST_CASE(resigning_to_nobody_is_refused_with_an_alarm) {
  auto c = leader_of("a", {1}, {"a", "b"});
  c.members({"a"}, 2000);
  c.machine->resign();
  c.drain();
  BOOST_TEST((c.machine->role() == rp::role::leader));
  BOOST_TEST(c.alarmed(rp::alarm_kind::handover));
}

BOOST_AUTO_TEST_CASE(a_leader_that_never_heard_the_set_gives_way_to_a_member_that_lives) {
  auto c = leader_of("a", {1, 1}, {"a", "b"});
  c.attach_follower("c", 1); // one outside of the set does not help
  for (int i = 0; i < 100 && c.proposals.size() < 2; ++i) c.pass(rp::instant{50});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 2u);
  BOOST_TEST(c.proposals[1].record.leader_node == "");
  BOOST_TEST(c.proposals[1].record.isr.size() == 2u); // its minimum
}

BOOST_AUTO_TEST_CASE(intake_stops_when_too_much_is_unacknowledged) {
  rp::limits l;
  l.unacknowledged_bytes = 3 * sizeof(simulation::entry_text);
  auto c = leader_of("a", {1}, {"a", "b"}, l);
  c.attach_follower("b", 2);
  BOOST_TEST(c.machine->may_append());
  for (int i = 0; i < 3; ++i) c.append();
  BOOST_TEST(!c.machine->may_append());
  c.fetched("b", 4);
  BOOST_TEST(c.machine->may_append());
}

BOOST_AUTO_TEST_CASE(no_more_is_sent_than_the_followers_credit_and_few_messages_at_a_time) {
  auto c = leader_of("a", std::vector<std::uint64_t>(20, 1), {"a", "b"});
  const auto entry = sizeof(simulation::entry_text);
  c.hear("b", rp::attach{{}, {}, 5});
  c.sent.clear();
  c.hear("b", rp::fetch{{}, {}, {}, 2 * entry, 1, true});
  std::size_t got = 0;
  for (const auto& s : c.sent)
    if (const auto* d = std::get_if<rp::data>(&s.what.body)) got += d->entries.size();
  BOOST_TEST(got <= 3u);
  BOOST_TEST(got > 0u);
}

BOOST_AUTO_TEST_CASE(messages_get_smaller_while_they_are_lost_and_larger_again_when_they_come) {
  auto c = leader_of("a", std::vector<std::uint64_t>(40'000, 1), {"a", "b"});
  c.attach_follower("b", 0);
  const auto largest = [&] {
    std::size_t bytes = 0;
    for (const auto& s : std::exchange(c.sent, {}))
      if (const auto* d = std::get_if<rp::data>(&s.what.body)) {
        std::size_t n = 0;
        for (const auto& e : d->entries) n += e.value->size();
        bytes = std::max(bytes, n);
      }
    return bytes;
  };
  const auto whole = largest();
  BOOST_TEST(whole > (64u << 10));
  std::uint64_t round = 1;
  for (int i = 0; i < 10; ++i) c.fetched("b", 0, 9, ++round);
  c.sent.clear();
  c.fetched("b", 0, 9, ++round);
  const auto small = largest();
  BOOST_TEST(small <= (16u << 10));
  BOOST_TEST(small > (8u << 10));
  std::size_t grown = 0;
  for (std::uint64_t end = 0; end < 20'000 && grown < whole / 4;) {
    end += 1000;
    c.fetched("b", end, 9, round);
    grown = std::max(grown, largest());
  }
  BOOST_TEST(grown >= whole / 4); // as the credit of what is in flight allows
}

BOOST_AUTO_TEST_CASE(catching_up_from_the_disk_is_throttled) {
  rp::limits l;
  l.catch_up_bytes_per_second = 40 * sizeof(simulation::entry_text);
  l.message_bytes = 4 * sizeof(simulation::entry_text);
  l.recent_bytes = 1;
  auto c = leader_of("a", std::vector<std::uint64_t>(200, 1), {"a", "b"}, l);
  c.hear("b", rp::attach{{}, {}, 5});
  c.hear("b", rp::fetch{{}, {}, {}, 1 << 20, 1, true});
  std::uint64_t end = 0;
  const auto a_second = [&] {
    for (int i = 0; i < 20; ++i) {
      for (auto& s : std::exchange(c.sent, {}))
        if (const auto* d = std::get_if<rp::data>(&s.what.body); d && !d->entries.empty()) end = d->entries.back().end().value;
      if (end > 0) c.fetched("b", end);
      c.pass(rp::instant{50});
    }
  };
  c.append();
  a_second();
  BOOST_TEST(end > 20u);
  BOOST_TEST(end < 70u); // one second at 40 a second, and what a quarter of a second saved up
  a_second();            // nobody appends any more
  BOOST_TEST(end > 120u);
}

BOOST_AUTO_TEST_SUITE_END()
} // namespace millrace::testing
