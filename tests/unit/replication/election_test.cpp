#include "replication_fixture.hpp"

namespace millrace::testing {
BOOST_AUTO_TEST_SUITE(replication_election)

BOOST_AUTO_TEST_CASE(nothing_is_said_or_believed_before_the_record_was_read_anew) {
  copy c("a", log_of("a", {1, 1}));
  c.machine->start({});
  c.drain();
  BOOST_TEST(c.reads == 1);
  c.record(record_of(1, "b", {"a", "b", "c"}, 5)); // a watch may tell of the past
  c.hear("b", rp::query{{2}, 7});
  BOOST_TEST(c.sent.empty());
  BOOST_TEST((c.machine->role() == rp::role::starting));
  c.record(record_of(3, "b", {"a", "b", "c"}, 9), true);
  BOOST_TEST(c.machine->epoch().value == 3);
  BOOST_TEST(c.storage.durable().seen.value == 3); // a lost tail may have taken the stored epoch with it
  BOOST_TEST(c.last<rp::attach>("b"));
}

BOOST_AUTO_TEST_CASE(a_fresh_partition_gets_its_first_set_from_the_stores_that_were_announced) {
  auto image = log_of("a", {});
  image.id = {};
  copy c("a", image);
  c.begin(record_of(0, "", {}, 3));
  BOOST_REQUIRE_EQUAL(c.announced.size(), 1u);
  BOOST_TEST((c.storage.durable().id == st::log_id{the_log}));
  c.machine->on_stores({{"a", {c.announced[0], {the_log}}}, {"b", {2, {the_log}}}});
  c.pass(rp::instant{1000});
  BOOST_TEST(c.proposals.empty()); // c may still come
  c.machine->on_stores({{"a", {c.announced[0], {the_log}}}, {"b", {2, {the_log}}}, {"c", {3, {the_log}}}});
  c.pass(rp::instant{50});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 1u);
  BOOST_TEST(c.proposals[0].record.isr.size() == 3u);
  BOOST_TEST(c.proposals[0].record.epoch.value == 0u);
  BOOST_TEST(c.proposals[0].record.mod_revision == 3u);
}

BOOST_AUTO_TEST_CASE(after_the_first_epoch_announced_stores_change_nothing) {
  copy c("a", log_of("a", {1}));
  c.begin(record_of(1, "b", {"b", "c"}, 3));
  c.machine->on_stores({{"a", {store_of("a"), {the_log}}}, {"b", {2, {the_log}}}, {"c", {3, {the_log}}}});
  c.pass(rp::instant{20000});
  BOOST_TEST(c.proposals.empty());
}

BOOST_AUTO_TEST_CASE(a_single_replica_elects_itself_and_acknowledges_what_it_has_synced) {
  copy c("a", log_of("a", {}));
  auto r = record_of(0, "", {"a"}, 3);
  r.replicas = {"a"};
  r.min_in_sync = 1;
  c.begin(r);
  c.pass(rp::instant{400});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 1u);
  BOOST_TEST(c.proposals[0].record.epoch.value == 1u);
  c.sync = false;
  c.answer(rp::replica::outcome::stored, 4);
  BOOST_TEST((c.machine->role() == rp::role::leader));
  BOOST_TEST(c.machine->end().value == 1u); // its marker
  BOOST_TEST(c.acknowledged.empty());
  c.synced();
  BOOST_REQUIRE(!c.acknowledged.empty());
  BOOST_TEST(c.acknowledged.back().value == 1u);
}

BOOST_AUTO_TEST_CASE(a_restarted_candidate_needs_a_second_opinion) {
  copy c("a", log_of("a", {1, 1}));
  c.begin(record_of(1, "b", {"a", "b", "c"}, 5), {"a", "c"});
  c.pass(rp::instant{1000});
  BOOST_TEST((c.machine->role() == rp::role::candidate));
  BOOST_TEST(c.proposals.empty());
  const auto* q = c.last<rp::query>("c");
  BOOST_REQUIRE(q);
  BOOST_TEST(q->target.value == 2u);
  c.hear("c", rp::report{{2}, q->nonce + 1, {1}, {2}}); // of another question
  BOOST_TEST(c.proposals.empty());
  c.hear("c", rp::report{{2}, q->nonce, {1}, {2}});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 1u);
  const auto& p = c.proposals[0];
  BOOST_TEST(p.record.epoch.value == 2u);
  BOOST_TEST(p.record.leader_node == "a");
  BOOST_TEST(p.record.leader_session == session_of("a"));
  BOOST_TEST((p.record.isr == record_of(1, "b", {"a", "b", "c"}, 5).isr));
  BOOST_TEST(p.record.mod_revision == 5u);
  BOOST_TEST((p.guards == std::vector<rp::session_guard>{{"a", session_of("a")}, {"b", 0}}));
}

BOOST_AUTO_TEST_CASE(a_report_of_a_storage_that_is_not_listed_does_not_count) {
  copy c("a", log_of("a", {1, 1}));
  c.begin(record_of(1, "b", {"a", "b", "c"}, 5), {"a", "c"});
  c.pass(rp::instant{400});
  const auto* q = c.last<rp::query>("c");
  BOOST_REQUIRE(q);
  c.hear("c", rp::message{{"p", 0}, {2}, "c", 9, 4711, rp::report{{2}, q->nonce, {1}, {2}}});
  BOOST_TEST(c.proposals.empty());
}

BOOST_AUTO_TEST_CASE(one_that_is_ahead_is_asked_to_stand_instead) {
  copy c("a", log_of("a", {1, 1}));
  c.begin(record_of(1, "b", {"a", "b", "c"}, 5), {"a", "c"});
  c.pass(rp::instant{400});
  const auto nonce = c.last<rp::query>("c")->nonce;
  c.hear("c", rp::report{{2}, nonce, {1}, {3}});
  BOOST_TEST(c.proposals.empty());
  BOOST_TEST(c.last<rp::stand>("c"));
  BOOST_TEST((c.machine->role() == rp::role::follower));
}

BOOST_AUTO_TEST_CASE(a_verified_follower_claims_once_somebody_answers_and_soon_if_nobody_does) {
  auto leader = leader_of("a", {1}, {"a", "b", "c"});
  const auto standing = [&] {
    copy f("b", log_of("b", {1}));
    f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
    exchange({&leader, &f});
    BOOST_TEST(f.machine->attached());
    BOOST_TEST(f.machine->verified());
    BOOST_TEST(f.machine->end().value == 2u);
    f.members({"b", "c"}, 2000);
    f.pass(rp::instant{350});
    BOOST_TEST((f.machine->role() == rp::role::candidate));
    BOOST_TEST(f.proposals.empty());
    return f;
  };
  auto answered = standing();
  const auto* q = answered.last<rp::query>("c");
  BOOST_REQUIRE(q);
  // Even by one with a longer log: what it has more was not acknowledged.
  answered.hear("c", rp::report{q->target, q->nonce, {2}, {5}});
  BOOST_REQUIRE_EQUAL(answered.proposals.size(), 1u);
  BOOST_TEST(answered.proposals[0].record.epoch.value == 3u);
  auto alone = standing();
  alone.pass(rp::instant{700});
  BOOST_REQUIRE_EQUAL(alone.proposals.size(), 1u);
  BOOST_TEST(alone.proposals[0].record.epoch.value == 3u);
}

BOOST_AUTO_TEST_CASE(a_session_that_is_newer_than_the_list_of_members_is_not_taken_for_ended) {
  copy c("a", log_of("a", {1, 1}));
  c.machine->start({});
  c.machine->on_members({{"a", session_of("a")}}, 3, session_of("a")); // b's session began later
  c.record(record_of(1, "b", {"a", "b", "c"}, 500), true);
  c.pass(rp::instant{1000});
  BOOST_TEST((c.machine->role() == rp::role::follower));
}

BOOST_AUTO_TEST_CASE(a_member_that_reported_takes_nothing_of_the_old_epoch_any_more) {
  copy c("c", log_of("c", {1}));
  c.begin(record_of(1, "a", {"a", "b", "c"}, 5), {"b", "c"});
  c.hear("b", rp::query{{2}, 8}, 9, 2);
  const auto* r = c.last<rp::report>("b");
  BOOST_REQUIRE(r);
  BOOST_TEST(r->nonce == 8u);
  BOOST_TEST(r->end.value == 1u);
  BOOST_TEST(c.storage.durable().seen.value == 2u);
  c.hear("a", rp::data{{1}, {1}, {}, true, c.machine->run(), 1, {}}, 9, 1);
  const auto* refused = c.last<rp::refuse>("a");
  BOOST_REQUIRE(refused);
  BOOST_TEST(refused->seen.value == 2u);
}

BOOST_AUTO_TEST_CASE(a_report_waits_until_epoch_and_log_are_synced) {
  copy c("c", log_of("c", {1}));
  c.begin(record_of(1, "a", {"a", "b", "c"}, 5), {"b", "c"});
  c.sync = false;
  c.hear("b", rp::query{{2}, 8}, 9, 2);
  BOOST_TEST(!c.last<rp::report>("b"));
  c.synced();
  BOOST_TEST(c.last<rp::report>("b"));
}

BOOST_AUTO_TEST_CASE(a_query_of_an_election_that_is_over_is_refused) {
  copy c("c", log_of("c", {1}));
  c.begin(record_of(3, "a", {"a", "b", "c"}, 5));
  c.hear("b", rp::query{{3}, 8}, 9, 3);
  BOOST_TEST(!c.last<rp::report>("b"));
  BOOST_TEST(c.last<rp::refuse>("b"));
}

BOOST_AUTO_TEST_CASE(a_restarted_leader_does_not_go_on_but_gives_its_epoch_up) {
  copy c("a", log_of("a", {1, 1}));
  c.begin(record_of(1, "a", {"a", "b", "c"}, 5));
  BOOST_TEST((c.machine->role() == rp::role::follower));
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 1u);
  BOOST_TEST(c.proposals[0].record.leader_node.empty());
  BOOST_TEST(c.proposals[0].record.epoch.value == 1u);
}

BOOST_AUTO_TEST_CASE(an_unknown_outcome_is_repeated_until_it_is_definite) {
  copy c("a", log_of("a", {1, 1}));
  c.begin(record_of(1, "", {"a", "b", "c"}, 5));
  c.pass(rp::instant{400});
  c.hear("c", rp::report{{2}, c.last<rp::query>("c")->nonce, {1}, {2}});
  BOOST_REQUIRE_EQUAL(c.proposals.size(), 1u);
  c.answer(rp::replica::outcome::unknown);
  BOOST_TEST((c.machine->role() == rp::role::candidate));
  c.pass(rp::instant{400});
  BOOST_REQUIRE_GT(c.proposals.size(), 1u);
  BOOST_TEST(c.proposals.back().id == c.proposals.front().id);
  BOOST_TEST((c.proposals.back().record == c.proposals.front().record));
  // The first attempt was stored: the repetition conflicts, and the record tells.
  c.answer(rp::replica::outcome::conflict);
  BOOST_TEST((c.machine->role() == rp::role::candidate));
  auto won = c.proposals.front().record;
  won.mod_revision = 6;
  c.record(won, true);
  BOOST_TEST((c.machine->role() == rp::role::leader));
}

BOOST_AUTO_TEST_CASE(a_copy_with_less_than_its_own_high_watermark_neither_stands_nor_reports) {
  copy c("a", log_of("a", {1, 1}, 5));
  c.begin(record_of(1, "", {"a", "b", "c"}, 5));
  c.pass(rp::instant{2000});
  BOOST_TEST(c.alarmed(rp::alarm_kind::damaged));
  BOOST_TEST(c.proposals.empty());
  c.hear("b", rp::query{{2}, 8}, 9, 2);
  BOOST_TEST(!c.last<rp::report>("b"));
}

BOOST_AUTO_TEST_CASE(an_election_without_reports_alarms) {
  copy c("a", log_of("a", {1, 1}));
  c.begin(record_of(1, "b", {"a", "b"}, 5), {"a"});
  c.pass(rp::instant{8000});
  BOOST_TEST(c.proposals.empty());
  BOOST_TEST(c.alarmed(rp::alarm_kind::election_stuck));
}

BOOST_AUTO_TEST_SUITE_END()
} // namespace millrace::testing
