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

BOOST_AUTO_TEST_CASE(a_large_entry_travels_beside_the_head_without_a_copy) {
  rp::data d{{0}, {2}, {0}, true, 5, 6, {}};
  d.entries = log_of("a", {1, 1, 2}).entries;
  auto& large = d.entries[1];
  large.value = std::make_shared<const std::string>(100'000, 'x');
  const auto wire = rp::encode({{"p", 3}, {2}, "a", 11, 12, d});
  BOOST_REQUIRE_EQUAL(wire.parts.size(), 3u);
  BOOST_TEST(static_cast<const void*>(wire.parts[1]->data()) == static_cast<const void*>(large.value->data()));
}

BOOST_AUTO_TEST_CASE(many_small_entries_share_parts_and_come_back) {
  // A link takes 1,024 parts and a head of 4 KiB.
  const auto image = log_of("a", std::vector<std::uint64_t>(60'000, 1));
  const rp::message m{{"p", 3}, {2}, "a", 11, 12, rp::data{{0}, {2}, {0}, true, 5, 6, image.entries}};
  const auto wire = rp::encode(m);
  BOOST_TEST(wire.parts.size() < 1024u);
  BOOST_TEST(wire.head.size() <= rp::head_bytes_max);
  const auto back = decoded(wire);
  BOOST_REQUIRE(back);
  const auto& entries = std::get<rp::data>(back.value().body).entries;
  BOOST_REQUIRE_EQUAL(entries.size(), image.entries.size());
  for (std::size_t i = 0; i < entries.size(); i += 997) BOOST_TEST((entries[i].hash == image.entries[i].hash));
}

BOOST_AUTO_TEST_CASE(a_shared_part_that_does_not_hold_what_is_announced_is_refused) {
  const auto wire = rp::encode(data_message());
  BOOST_REQUIRE_EQUAL(wire.parts.size(), 1u);
  const auto with = [&](std::string part) {
    auto w = wire;
    w.parts = {std::make_shared<const std::string>(std::move(part))};
    return static_cast<bool>(decoded(w));
  };
  const std::string part(*wire.parts[0]);
  BOOST_TEST(with(part));
  for (std::size_t n = 0; n < part.size(); ++n) BOOST_TEST(!with(part.substr(0, n)));
  BOOST_TEST(!with(part + std::string(4, '\0')));
  BOOST_TEST(!with(part + std::string("\xff\xff\xff\xff", 4)));
  auto twice = wire;
  twice.parts.push_back(twice.parts[0]);
  BOOST_TEST(!decoded(twice));
}

BOOST_AUTO_TEST_CASE(entries_that_do_not_fit_the_head_or_each_other_are_refused) {
  const auto m = data_message();
  std::vector<std::string> values;
  for (const auto& e : std::get<rp::data>(m.body).entries) values.emplace_back(*e.value);
  const auto refused = [&](const std::vector<std::string>& entries, const std::string& with) {
    auto wire = rp::encode(m);
    std::string part;
    for (const auto& e : entries) {
      const auto n = static_cast<std::uint32_t>(e.size());
      for (int shift = 0; shift < 32; shift += 8) part.push_back(static_cast<char>(n >> shift & 0xff));
      part += e;
    }
    wire.parts = {std::make_shared<const std::string>(part)};
    const auto r = decoded(wire);
    BOOST_REQUIRE(!r);
    BOOST_TEST(r.error().is(st::errc::corrupt));
    BOOST_TEST(r.error().message.find(with) != std::string::npos, r.error().message);
  };
  refused({values[0], values[1]}, "announces 3 entries in part 0 and has 2");
  refused({values[0], values[2], values[1]}, "must follow");
  auto damaged = values[1];
  damaged[20] ^= 1;
  refused({values[0], damaged, values[2]}, "hash");
  refused({values[0], std::string(*make_entry({1}, 1, {1}, {4, 4}, 0, 1).value), values[2]}, "does not continue");
  auto wire = rp::encode(m);
  wire.parts = {st::shared_bytes()};
  BOOST_TEST(!decoded(wire));
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
