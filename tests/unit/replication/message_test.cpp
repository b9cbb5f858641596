#include "replication_fixture.hpp"

#include <cstdlib>

namespace millrace::testing {
namespace {

using simulation::parse_entry;

rp::message data_message() {
  const auto image = log_of("a", {1, 1, 2});
  return {{"p", 3}, {2}, "a", 11, 12, rp::data{{0}, {2}, {0}, true, 5, 6, image.entries}};
}
st::result<rp::message> decoded(const rp::wire_message& w) { return rp::decode(w.head, w.parts, parse_entry); }

} // namespace
BOOST_AUTO_TEST_SUITE(replication_message)

BOOST_AUTO_TEST_CASE(every_kind_comes_back_as_it_was) {
  const std::vector<decltype(rp::message::body)> bodies = {rp::attach{{3}, {4}, 5},
                                                           rp::attach_reply{1, {2}, {3}, {4}, {5}},
                                                           rp::fetch{{9}, {1, 2}, {8}, 7, 6, true},
                                                           rp::query{{4}, 5},
                                                           rp::report{{1}, 2, {3}, {4}},
                                                           rp::stand{{7}},
                                                           rp::refuse{{8}}};
  for (const auto& body : bodies) {
    const rp::message m{{"pipeline", 2}, {7}, "node-1", 10, 11, body};
    const auto wire = rp::encode(m);
    const auto back = decoded(wire);
    BOOST_REQUIRE(back);
    BOOST_TEST(rp::kind_of(back.value()) == rp::kind_of(m));
    BOOST_TEST(rp::encode(back.value()).head == wire.head);
    BOOST_TEST((rp::partition_of(wire.head).value() == m.partition));
    BOOST_TEST(back.value().node == "node-1");
  }
}

BOOST_AUTO_TEST_CASE(entries_travel_beside_the_head_without_a_copy) {
  const auto m = data_message();
  const auto wire = rp::encode(m);
  BOOST_REQUIRE_EQUAL(wire.parts.size(), 3u);
  BOOST_TEST(wire.parts[1].get() == std::get<rp::data>(m.body).entries[1].value.get());
  const auto back = decoded(wire);
  BOOST_REQUIRE(back);
  BOOST_TEST((std::get<rp::data>(back.value().body).entries[2].hash == std::get<rp::data>(m.body).entries[2].hash));
}

BOOST_AUTO_TEST_CASE(entries_that_do_not_fit_the_head_or_each_other_are_refused) {
  auto wire = rp::encode(data_message());
  const auto refused = [&](const std::string& with) {
    const auto r = decoded(wire);
    BOOST_REQUIRE(!r);
    BOOST_TEST(r.error().is(st::errc::corrupt));
    BOOST_TEST(r.error().message.find(with) != std::string::npos, r.error().message);
  };
  const auto parts = wire.parts;
  wire.parts.pop_back();
  refused("announces 3 entries and has 2");
  wire.parts = {parts[0], parts[2], parts[1]};
  refused("must follow");
  wire.parts = {parts[0], nullptr, parts[2]};
  refused("without bytes");
  auto damaged = *parts[1];
  damaged[20] ^= 1;
  wire.parts = {parts[0], std::make_shared<std::string>(damaged), parts[2]};
  refused("hash");
  const auto other = make_entry({1}, 1, {1}, {4, 4}, 0, 1);
  wire.parts = {parts[0], other.value, parts[2]};
  refused("does not continue");
}

BOOST_AUTO_TEST_CASE(parts_of_a_message_that_carries_none_are_refused) {
  auto wire = rp::encode({{"p", 0}, {1}, "a", 1, 1, rp::stand{{2}}});
  wire.parts.push_back(std::make_shared<std::string>("x"));
  BOOST_TEST(!decoded(wire));
}

BOOST_AUTO_TEST_CASE(a_fetch_that_claims_more_synced_than_written_is_refused) {
  BOOST_TEST(!decoded(rp::encode({{"p", 0}, {1}, "a", 1, 1, rp::fetch{{3}, {}, {4}, 0, 0, false}})));
}

BOOST_AUTO_TEST_CASE(names_have_a_length) {
  BOOST_TEST(!decoded(rp::encode({{"", 0}, {1}, "a", 1, 1, rp::stand{{2}}})));
  BOOST_TEST(!decoded(rp::encode({{"p", 0}, {1}, std::string(300, 'n'), 1, 1, rp::stand{{2}}})));
}

BOOST_AUTO_TEST_CASE(a_head_that_is_cut_or_too_long_is_refused) {
  const auto wire = rp::encode(data_message());
  for (std::size_t n = 0; n < wire.head.size(); ++n) BOOST_TEST(!rp::decode(wire.head.substr(0, n), wire.parts, parse_entry));
  BOOST_TEST(!rp::decode(std::string(rp::head_bytes_max + 8, '\0'), {}, parse_entry));
  BOOST_TEST(!rp::decode(wire.head + std::string(8, '\0'), wire.parts, parse_entry));
}

BOOST_AUTO_TEST_CASE(random_damage_never_crashes) {
  const char* given = std::getenv("MILLRACE_SEED");
  const std::uint64_t seed = given ? std::strtoull(given, nullptr, 10) : 20240401;
  BOOST_TEST_MESSAGE("MILLRACE_SEED=" << seed);
  std::uint64_t state = seed;
  const auto next = [&] { return state = state * 6364136223846793005u + 1442695040888963407u, state >> 33; };
  const auto wire = rp::encode(data_message());
  copy c("b", log_of("b", {1}));
  c.begin(record_of(2, "a", {"a", "b", "c"}, 11));
  for (int i = 0; i < 20000; ++i) {
    auto head = wire.head;
    for (auto flips = 1 + next() % 4; flips > 0; --flips) head[next() % head.size()] = static_cast<char>(next());
    if (auto m = rp::decode(head, wire.parts, parse_entry))
      c.hear("a", std::move(m.value())); // what passes must be survived, too
    (void)rp::partition_of(head);
  }
}

BOOST_AUTO_TEST_CASE(a_message_for_another_partition_or_of_another_node_than_the_link_says_is_dropped) {
  copy c("c", log_of("c", {1}));
  c.begin(record_of(1, "a", {"a", "b", "c"}, 5), {"b", "c"});
  c.hear("b", rp::message{{"other", 0}, {2}, "b", 9, store_of("b"), rp::query{{2}, 8}});
  c.hear("a", rp::message{{"p", 0}, {2}, "b", 9, store_of("b"), rp::query{{2}, 8}});
  BOOST_TEST(c.machine->epoch().value == 1u);
}

BOOST_AUTO_TEST_SUITE_END()
} // namespace millrace::testing
