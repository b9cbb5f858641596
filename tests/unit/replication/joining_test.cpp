#include "replication_fixture.hpp"

namespace millrace::testing {
BOOST_AUTO_TEST_SUITE(replication_joining)

BOOST_AUTO_TEST_CASE(an_acknowledged_entry_above_an_old_high_watermark_is_kept) { // KIP-101
  auto leader = leader_of("a", {1, 1, 1}, {"a", "b", "c"});
  copy f("b", log_of("b", {1, 1, 1}, 1));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  const auto before = f.storage.cache().entries[2].hash;
  exchange({&leader, &f});
  BOOST_TEST(f.machine->attached());
  BOOST_TEST((f.storage.durable().entries[2].hash == before));
  BOOST_TEST(f.machine->end().value == 4u);
}

BOOST_AUTO_TEST_CASE(entries_of_epochs_that_the_leader_never_had_are_dropped_epoch_by_epoch) { // KIP-279
  auto leader = leader_of("a", {1, 1, 3, 3}, {"a", "b", "c"});
  copy f("b", log_of("b", {1, 1, 1, 2, 2, 2}));
  f.begin(record_of(4, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  BOOST_TEST(f.machine->attached());
  BOOST_REQUIRE_EQUAL(f.storage.durable().entries.size(), leader.storage.durable().entries.size());
  BOOST_TEST((f.storage.durable().entries.back().hash == leader.storage.durable().entries.back().hash));
}

BOOST_AUTO_TEST_CASE(what_was_acknowledged_is_never_truncated) {
  auto leader = leader_of("a", {1, 3}, {"a", "b", "c"});
  copy f("b", log_of("b", {1, 2, 2}, 3));
  f.begin(record_of(4, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  BOOST_TEST((f.machine->role() == rp::role::halted));
  BOOST_TEST(f.alarmed(rp::alarm_kind::unsafe));
  BOOST_TEST(f.storage.durable().entries.size() == 3u);
}

BOOST_AUTO_TEST_CASE(an_answer_to_an_older_question_cuts_nothing) {
  copy f("b", log_of("b", {1, 1, 1}));
  f.begin(record_of(1, "a", {"a", "b", "c"}, 11));
  const auto nonce = f.last<rp::attach>("a")->nonce;
  f.hear("a", rp::attach_reply{nonce + 2, {1}, {1}, {}, {}});
  BOOST_TEST(f.machine->end().value == 3u);
  BOOST_TEST(!f.machine->attached());
  f.hear("a", rp::attach_reply{nonce, {1}, {2}, {}, {}});
  BOOST_TEST(f.machine->end().value == 2u);
}

BOOST_AUTO_TEST_CASE(a_copy_behind_the_leaders_log_begins_anew_as_another_store) {
  auto leader = leader_of("a", {1, 1, 1, 1}, {"a", "b", "c"});
  leader.storage.write(leader.storage.written(), disk::trim{{3}});
  leader.machine->trimmed({3});
  copy f("b", log_of("b", {1, 1}));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  BOOST_TEST(f.storage.durable().store != store_of("b"));
  BOOST_TEST(f.storage.durable().start.value == 3u);
  BOOST_TEST(f.machine->attached());
  BOOST_TEST(f.machine->end().value == leader.machine->end().value);
  BOOST_REQUIRE(!f.announced.empty());
  BOOST_TEST(f.announced.back() == f.storage.durable().store);
}

BOOST_AUTO_TEST_CASE(only_what_is_synced_is_reported_as_durable) {
  auto leader = leader_of("a", {1}, {"a", "b", "c"});
  copy f("b", log_of("b", {1}));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  f.sync = false;
  leader.append();
  exchange({&leader, &f});
  BOOST_TEST(f.machine->end().value == 3u);
  BOOST_TEST(f.machine->durable().value == 2u);
  f.machine->tick(f.now += rp::instant{1000});
  f.machine->tick(f.now += rp::instant{1000});
  f.drain();
  const auto* fetch = f.last<rp::fetch>("a");
  BOOST_REQUIRE(fetch);
  BOOST_TEST(fetch->from.value == 3u);
  BOOST_TEST(fetch->durable.value == 2u);
  f.synced();
  BOOST_TEST(f.last<rp::fetch>("a")->durable.value == 3u);
}

BOOST_AUTO_TEST_CASE(entries_that_were_lost_on_the_way_are_asked_for_again) {
  auto leader = leader_of("a", {1}, {"a", "b", "c"});
  copy f("b", log_of("b", {1}));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  leader.append();
  leader.sent.clear(); // lost
  leader.append();
  exchange({&leader, &f});
  BOOST_TEST(f.machine->end().value == leader.machine->end().value);
}

BOOST_AUTO_TEST_CASE(a_lost_fetch_is_made_good_by_the_leaders_heartbeat) {
  auto leader = leader_of("a", {1}, {"a", "b"});
  copy f("b", log_of("b", {1}));
  f.begin(record_of(2, "a", {"a", "b"}, 11));
  exchange({&leader, &f});
  leader.append();
  for (auto& s : std::exchange(leader.sent, {})) f.hear("a", s.what);
  f.sent.clear(); // lost: the leader does not know that the follower is durable
  BOOST_TEST(leader.machine->high_watermark().value == 2u);
  leader.pass(rp::instant{600});
  exchange({&leader, &f});
  BOOST_TEST(leader.machine->high_watermark().value == 3u);
}

BOOST_AUTO_TEST_CASE(entries_that_the_disk_had_no_room_for_are_asked_for_again_once_there_is) {
  auto leader = leader_of("a", {1, 1}, {"a", "b", "c"});
  copy f("b", log_of("b", {1, 1}));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  const auto end = f.machine->end();
  leader.append();
  for (auto& s : std::exchange(leader.sent, {})) {
    if (s.to != "b" || !std::holds_alternative<rp::data>(s.what.body)) continue;
    f.machine->on_message("a", s.what);
    for (auto& a : f.machine->take_actions()) BOOST_TEST(!std::holds_alternative<rp::actions::send>(a)); // the append is refused
    f.machine->no_room();
    f.drain();
  }
  BOOST_TEST(f.machine->end().value == end.value);
  const auto* said = f.last<rp::fetch>("a");
  BOOST_REQUIRE(said);
  BOOST_TEST(said->full);
  BOOST_TEST(said->credit == 0u);
  BOOST_TEST((said->from == end && said->durable == end));
  exchange({&leader, &f});
  leader.pass(rp::instant{1000}); // heartbeats, no entries
  exchange({&leader, &f});
  BOOST_TEST(f.machine->end().value == end.value);
  BOOST_TEST(f.machine->attached());
  f.machine->room();
  f.drain();
  exchange({&leader, &f});
  BOOST_TEST(f.machine->end().value == leader.machine->end().value);
  BOOST_TEST((f.storage.durable().entries.back().hash == leader.storage.durable().entries.back().hash));
}

BOOST_AUTO_TEST_CASE(a_follower_that_hears_nothing_says_so_until_it_does) {
  auto leader = leader_of("a", {1, 1}, {"a", "b", "c"});
  copy f("b", log_of("b", {1, 1}));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  f.pass(rp::instant{1400});
  BOOST_TEST(f.sent.empty());
  f.pass(rp::instant{200});
  BOOST_REQUIRE(f.last<rp::fetch>("a"));
  BOOST_TEST(f.last<rp::fetch>("a")->unheard);
  exchange({&leader, &f});
  leader.pass(rp::instant{500});
  exchange({&leader, &f});
  leader.append();
  for (auto& s : std::exchange(leader.sent, {}))
    if (s.to == "b") f.hear("a", s.what);
  BOOST_REQUIRE(f.last<rp::fetch>("a"));
  BOOST_TEST(!f.last<rp::fetch>("a")->unheard);
}

BOOST_AUTO_TEST_CASE(a_leader_that_takes_a_follower_for_what_it_was_is_put_right) {
  auto leader = leader_of("a", {1, 1}, {"a", "b", "c"});
  copy f("b", log_of("b", {1, 1}));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  std::vector<rp::actions::send> old;
  for (const auto& s : f.sent) old.push_back(s);
  exchange({&leader, &f});
  leader.append();
  for (auto& s : std::exchange(leader.sent, {}))
    if (s.to == "b") f.hear("a", s.what);
  old.push_back({"a",
                 {{"p", 0},
                  {2},
                  "b",
                  f.machine->run(),
                  store_of("b"),
                  rp::fetch{{2}, f.storage.cache().entries[1].hash, {2}, 1 << 20, 1, false}}});
  exchange({&leader, &f});
  for (auto& s : old) leader.hear("b", s.what); // its first words again: they come late
  exchange({&leader, &f});
  BOOST_TEST(f.machine->end().value == leader.machine->end().value);
  BOOST_TEST(leader.machine->followers().at(0).durable.value == leader.machine->end().value);
}

BOOST_AUTO_TEST_CASE(data_that_does_not_continue_the_log_is_not_taken) {
  auto leader = leader_of("a", {1}, {"a", "b", "c"});
  copy f("b", log_of("b", {1}));
  f.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  exchange({&leader, &f});
  const auto end = f.machine->end();
  rp::data d{end, {}, {}, false, f.machine->run(), 1, {make_entry(end, 1, {2}, {1, 2}, 0, 9)}};
  f.hear("a", d);
  BOOST_TEST(f.machine->end().value == end.value);
  BOOST_TEST(!f.machine->attached());
}

BOOST_AUTO_TEST_CASE(verified_meant_for_an_earlier_run_is_ignored) {
  copy f("b", log_of("b", {1}));
  f.begin(record_of(1, "a", {"a", "b", "c"}, 11));
  f.hear("a", rp::attach_reply{f.last<rp::attach>("a")->nonce, {1}, {1}, {}, {}});
  BOOST_REQUIRE(f.machine->attached());
  f.hear("a", rp::data{{1}, {1}, {}, true, f.machine->run() + 1, 1, {}});
  BOOST_TEST(!f.machine->verified());
  f.hear("a", rp::data{{1}, {1}, {}, true, f.machine->run(), 1, {}});
  BOOST_TEST(f.machine->verified());
}

BOOST_AUTO_TEST_SUITE_END()
} // namespace millrace::testing
