// Two and more links over 127.0.0.1.

#include "tests/unit/link/link_support.hpp"

namespace millrace::testing {

BOOST_AUTO_TEST_SUITE(node_link_sockets)

BOOST_AUTO_TEST_CASE(frames_arrive_in_order_with_their_parts_and_are_acknowledged) {
  key_ring keys({"a", "b"});
  test_node b(options_of(keys, "b")), a(options_of(keys, "a"));
  a.connect("b", b->address());
  BOOST_REQUIRE(a.reaches("b"));
  BOOST_TEST(a->credit("b") > 60u << 20);
  std::vector<std::string> expected;
  for (int i = 0; i < 500; ++i) {
    a.send("b", std::to_string(i), {std::string(i, 'x'), "", std::string(2000, 'y')});
    expected.push_back("a:" + std::to_string(i));
  }
  BOOST_TEST(eventually([&] { return a.took.delivered() == 500; }));
  BOOST_TEST(b.took.heads() == expected, boost::test_tools::per_element());
  auto last = b.took.last();
  BOOST_REQUIRE(last.parts.size() == 3u);
  BOOST_TEST(*last.parts[0] == std::string(499, 'x'));
  BOOST_TEST(*last.parts[2] == std::string(2000, 'y'));
  BOOST_TEST(a.status("b").unacknowledged_bytes == 0u);
  BOOST_TEST(b.status("a").received_bytes == a.status("b").sent_bytes);
  BOOST_TEST(a->counters().frames_out == 500u);
}

BOOST_AUTO_TEST_CASE(both_directions_are_links_of_their_own) {
  key_ring keys({"a", "b"});
  test_node a(options_of(keys, "a")), b(options_of(keys, "b"));
  a.connect("b", b->address());
  b.connect("a", a->address());
  BOOST_REQUIRE(a.reaches("b"));
  BOOST_REQUIRE(b.reaches("a"));
  a.send("b", "ping");
  b.send("a", "pong");
  BOOST_TEST(eventually([&] { return a.took.received() == 1 && b.took.received() == 1; }));
}

BOOST_AUTO_TEST_CASE(the_largest_frame_passes_and_a_larger_one_is_refused_by_its_sender) {
  key_ring keys({"a", "b"});
  test_node b(options_of(keys, "b")), a(options_of(keys, "a"));
  a.connect("b", b->address());
  BOOST_REQUIRE(a.reaches("b"));
  const auto most = link_options().max_frame_bytes;
  std::string part(most - 4, 'p');
  a.send("b", "most", {part});
  BOOST_TEST(eventually([&] { return a.took.delivered() == 1; }));
  BOOST_TEST(*b.took.last().parts[0] == part);
  a.send("b", "more", {part + "x"});
  BOOST_TEST(eventually([&] { return a.took.failed() == 1; }));
  BOOST_TEST(a.status("b").last_error.find("at most " + std::to_string(most)) != std::string::npos);
  BOOST_TEST(a.status("b").connected);
}

BOOST_AUTO_TEST_CASE(a_full_window_refuses_at_once_and_opens_again) {
  key_ring keys({"a", "b"});
  auto small = options_of(keys, "a");
  small.window_bytes = 1 << 20;
  small.max_frame_bytes = 256 << 10;
  test_node b(options_of(keys, "b")), a(small);
  a.connect("b", b->address());
  BOOST_REQUIRE(a.reaches("b"));
  // Acknowledgements only come by the link's thread; 3 MiB at once cannot all fit.
  for (int i = 0; i < 12; ++i) a.send("b", std::to_string(i), {std::string(250 << 10, 'x')});
  BOOST_TEST(eventually([&] { return a.took.completed() == 12; }));
  BOOST_TEST(a.took.delivered() >= 4u);
  BOOST_TEST(b.took.received() == a.took.delivered());
  BOOST_TEST(a->credit("b") == (1u << 20) - frame_overhead_bytes);
}

BOOST_AUTO_TEST_CASE(an_unknown_peer_fails_at_once) {
  key_ring keys({"a", "b"});
  test_node a(options_of(keys, "a"));
  a.send("nobody", "x");
  BOOST_TEST(eventually([&] { return a.took.failed() == 1; }));
  BOOST_TEST(a->credit("nobody") == 0u);
  BOOST_TEST(!a->set_peer("a", "127.0.0.1:1"));
  BOOST_TEST(!a->set_peer("b", "127.0.0.1"));
  BOOST_TEST(!a->set_peer("b", "127.0.0.1:70000"));
}

BOOST_AUTO_TEST_CASE(a_peer_that_restarts_is_greeted_anew) {
  key_ring keys({"a", "b"});
  test_node a(options_of(keys, "a"));
  auto b = std::make_unique<test_node>(options_of(keys, "b"));
  auto address = (*b)->address();
  a.connect("b", address);
  BOOST_REQUIRE(a.reaches("b"));
  a.send("b", "1");
  BOOST_TEST(eventually([&] { return a.took.delivered() == 1; }));
  b.reset();
  BOOST_REQUIRE(eventually([&] { return !a.status("b").connected; }));
  a.send("b", "2");
  BOOST_TEST(eventually([&] { return a.took.failed() == 1; }));
  b = std::make_unique<test_node>(options_of(keys, "b", address));
  BOOST_REQUIRE(a.reaches("b"));
  a.send("b", "3");
  BOOST_TEST(eventually([&] { return a.took.delivered() == 2; }));
  BOOST_TEST(b->took.heads() == std::vector<std::string>{"a:3"}, boost::test_tools::per_element());
  BOOST_TEST(a.status("b").reconnects == 1u);
}

BOOST_AUTO_TEST_CASE(a_peer_that_says_hello_is_dialed_at_once) {
  key_ring keys({"a", "b"});
  auto b = std::make_unique<test_node>(options_of(keys, "b"));
  const auto address = (*b)->address();
  b.reset();
  auto patient = options_of(keys, "a");
  patient.reconnect_min = patient.reconnect_max = 10min; // its own next try is far beyond this test
  test_node a(patient);
  a.connect("b", address);
  BOOST_REQUIRE(eventually([&] { return a.status("b").last_error.find("cannot connect") != std::string::npos; }));
  b = std::make_unique<test_node>(options_of(keys, "b", address));
  b->connect("a", a->address());
  BOOST_TEST(a.reaches("b"));
}

BOOST_AUTO_TEST_CASE(a_sender_that_restarts_is_greeted_anew) {
  key_ring keys({"a", "b"});
  test_node b(options_of(keys, "b"));
  for (int i = 0; i < 3; ++i) {
    test_node a(options_of(keys, "a"));
    a.connect("b", b->address());
    BOOST_REQUIRE(a.reaches("b"));
    a.send("b", std::to_string(i));
    BOOST_TEST(eventually([&] { return a.took.delivered() == 1; }));
  }
  BOOST_TEST(b.took.received() == 3u);
}

BOOST_AUTO_TEST_CASE(peers_come_and_go_while_it_runs) {
  key_ring keys({"a", "b", "c"});
  test_node a(options_of(keys, "a")), b(options_of(keys, "b")), c(options_of(keys, "c"));
  a.connect("b", b->address());
  a.connect("c", c->address());
  BOOST_REQUIRE(a.reaches("b"));
  BOOST_REQUIRE(a.reaches("c"));
  a->remove_peer("b");
  BOOST_TEST(a->credit("b") == 0u);
  a.send("b", "gone");
  BOOST_TEST(eventually([&] { return a.took.failed() == 1; }));
  a.send("c", "here");
  BOOST_TEST(eventually([&] { return c.took.received() == 1; }));
  a.connect("b", b->address()); // the same process says hello again
  BOOST_REQUIRE(a.reaches("b"));
  a.send("b", "back");
  BOOST_TEST(eventually([&] { return b.took.received() == 1; }));
  BOOST_TEST(b->counters().of(refusal::replayed) == 0u);
}

BOOST_AUTO_TEST_CASE(stopping_completes_what_waits_and_later_sends) {
  key_ring keys({"a", "b"});
  test_node b(options_of(keys, "b")), a(options_of(keys, "a"));
  a.connect("b", b->address());
  BOOST_REQUIRE(a.reaches("b"));
  for (int i = 0; i < 200; ++i) a.send("b", std::to_string(i), {std::string(100000, 'x')});
  a->stop();
  BOOST_TEST(a.took.completed() == 200u);
  a.send("b", "late");
  BOOST_TEST(a.took.completed() == 201u);
  a->stop();
}

BOOST_AUTO_TEST_CASE(done_and_handlers_may_send) {
  key_ring keys({"a", "b"});
  test_node b(options_of(keys, "b")), a(options_of(keys, "a"));
  a.connect("b", b->address());
  BOOST_REQUIRE(a.reaches("b"));
  a->send("b", make_frame("first"), [&](outcome) { a.send("b", "second"); });
  BOOST_TEST(eventually([&] { return a.took.delivered() == 1; }));
  BOOST_TEST(b.took.received() == 2u);
}

BOOST_AUTO_TEST_CASE(a_start_that_fails_says_why) {
  key_ring keys({"a", "b"});
  auto fails = [&](link_options o, const std::string& words) {
    node_link link(o);
    auto r = link.start();
    BOOST_REQUIRE_MESSAGE(!r, "started without: " << words);
    BOOST_TEST(r.error().message.find(words) != std::string::npos, r.error().message << " lacks: " << words);
  };
  test_node b(options_of(keys, "b"));
  fails(options_of(keys, "a", b->address()), "cannot listen on " + b->address() + ": Address already in use");
  fails(options_of(keys, "a", "10.255.255.1:0"), "must be an address or an interface of this machine");
  fails(options_of(keys, "a", "7072"), "has no port");
  auto o = options_of(keys, "a");
  o.key_file = keys.folder() / "none.key";
  fails(o, "cannot read the link's key " + o.key_file.string() + ": No such file");
  std::filesystem::permissions(keys.key("a"), std::filesystem::perms(0640));
  fails(options_of(keys, "a"), "has mode 640: others than its owner may use it. Run: chmod 600");
  std::filesystem::permissions(keys.key("a"), std::filesystem::perms(0600));
  keys.write_peers({"a", "b"}, "c short\n");
  fails(options_of(keys, "a"), "peers:2: the key of 'c' is no public key");
  keys.write_peers({"b"}, "a" + read_file(keys.folder() / "b.pub").substr(1));
  fails(options_of(keys, "a"), "peers:3: node 'b' has the key of node 'a' in line 2");
  auto other = keys.make("c");
  keys.write_peers({"b"}, "a " + other.public_key + "\n");
  fails(options_of(keys, "a"), "gives node 'a' the key " + other.public_key);
  keys.write_peers({"a", "b"});
  o = options_of(keys, "a");
  o.window_bytes = 1 << 20;
  fails(o, "smaller than its largest frame");
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
