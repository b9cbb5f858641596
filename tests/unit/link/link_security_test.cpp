// Who is let in, and that those who are not disturb nobody.

#include "runtime/link/link_header.hpp"
#include "tests/unit/link/link_support.hpp"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.hpp>

namespace millrace::testing {
namespace {

int connect_raw(const std::string& address) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  BOOST_REQUIRE(fd >= 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))));
  BOOST_REQUIRE(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0);
  return fd;
}

/// True once the other end has closed.
bool closed_by_peer(int fd) {
  return eventually([&] {
    char room[256];
    auto n = ::recv(fd, room, sizeof room, MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
  });
}

/// A ZeroMQ client with a node's keys that says what the test wants it to.
class rogue {
public:
  rogue(const key_ring& keys, const std::string& own, const std::string& server, const std::string& address)
      : socket_(context_, zmq::socket_type::dealer) {
    auto mine = read_key_file(keys.key(own)).value(), theirs = read_key_file(keys.key(server)).value();
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::curve_serverkey, theirs.public_key);
    socket_.set(zmq::sockopt::curve_publickey, mine.public_key);
    socket_.set(zmq::sockopt::curve_secretkey, mine.secret_key);
    socket_.set(zmq::sockopt::heartbeat_ivl, 200);
    socket_.set(zmq::sockopt::heartbeat_timeout, 1000);
    socket_.set(zmq::sockopt::rcvtimeo, 20000);
    socket_.connect("tcp://" + address);
  }
  void say(const std::vector<std::string>& parts) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      (void)socket_.send(zmq::buffer(parts[i]), i + 1 < parts.size() ? zmq::send_flags::sndmore : zmq::send_flags::none);
  }
  void say(const link_header& h, std::vector<std::string> parts = {}) {
    parts.insert(parts.begin(), encode(h));
    say(parts);
  }
  link_header answer() {
    zmq::message_t m;
    BOOST_REQUIRE(socket_.recv(m));
    auto h = decode(m.to_string_view());
    BOOST_REQUIRE_MESSAGE(h, why(h));
    return h.value();
  }
  void greet(std::uint64_t session = 1, std::uint64_t run = 7) {
    say(hello{version_min, version_max, "test", "r", "a", run, session, 1 << 20, 1 << 20});
    auto reply = std::get<hello_reply>(answer());
    BOOST_REQUIRE(!reply.refusal);
    BOOST_TEST(reply.node == "a");
  }

private:
  zmq::context_t context_;
  zmq::socket_t socket_;
};

data one_frame(std::uint64_t sequence, std::uint32_t head = 1) { return {1, sequence, 1, head, {}}; }

} // namespace

BOOST_AUTO_TEST_SUITE(link_security)

BOOST_AUTO_TEST_CASE(a_key_that_is_in_no_line_is_refused_counted_and_logged) {
  key_ring keys({"a", "b"});
  auto stranger = keys.make("c");
  test_node a(options_of(keys, "a")); // its peers file does not name c
  auto o = options_of(keys, "c");
  o.peers_file = keys.folder() / "peers-of-c";
  write_file(o.peers_file, read_file(keys.peers()));
  test_node c(o);
  c.connect("a", a->address());
  BOOST_TEST(eventually([&] { return a->counters().of(refusal::unknown_key) >= 2; })); // it tries again
  BOOST_TEST(!c.status("a").connected);
  BOOST_TEST(eventually([&] { return c.status("a").last_error.find("key") != std::string::npos; }));
  BOOST_TEST(a.log.has("refused a connection from 127.0.0.1: its public key " + stranger.public_key + " is in no line"));
  c.send("a", "x");
  BOOST_TEST(eventually([&] { return c.took.failed() == 1; }));
  BOOST_TEST(a.took.received() == 0u);
  // It gets its line: no restart is needed.
  keys.write_peers({"a", "b", "c"});
  BOOST_TEST(c.reaches("a"));
}

BOOST_AUTO_TEST_CASE(a_server_with_another_key_than_expected_is_not_talked_to) {
  key_ring keys({"a", "b"});
  test_node b(options_of(keys, "b"));
  auto o = options_of(keys, "a");
  o.peers_file = keys.folder() / "peers-of-a";
  auto wrong = keys.make("x");
  write_file(o.peers_file, "b " + wrong.public_key + "\n");
  test_node a(o);
  a.connect("b", b->address());
  BOOST_TEST(eventually([&] { return b->counters().of(refusal::handshake) >= 1; }));
  BOOST_TEST(eventually([&] { return a.status("b").last_error.find("handshake failed") != std::string::npos; }));
  BOOST_TEST(!a.status("b").connected);
  BOOST_TEST(b.log.has("ended before they were authenticated"));
}

BOOST_AUTO_TEST_CASE(the_null_mechanism_is_refused) {
  key_ring keys({"a", "b"});
  test_node a(options_of(keys, "a"));
  zmq::context_t context;
  zmq::socket_t plain(context, zmq::socket_type::dealer);
  plain.set(zmq::sockopt::linger, 0);
  plain.connect("tcp://" + a->address());
  (void)plain.send(zmq::str_buffer("hello?"), zmq::send_flags::dontwait);
  BOOST_TEST(eventually([&] { return a->counters().of(refusal::handshake) >= 1; }));
  BOOST_TEST(a.took.received() == 0u);
}

BOOST_AUTO_TEST_CASE(another_cluster_is_refused_with_words_for_both) {
  key_ring keys({"a", "b"});
  test_node a(options_of(keys, "a"));
  auto o = options_of(keys, "b");
  o.cluster_id = "other";
  test_node b(o);
  b.connect("a", a->address());
  BOOST_TEST(eventually([&] { return b.status("a").last_error.find("belongs to cluster 'other'") != std::string::npos; }));
  BOOST_TEST(eventually([&] { return a->counters().of(refusal::cluster) >= 1u; }));
  BOOST_TEST(a.log.has("cluster.id must be the same"));
}

BOOST_AUTO_TEST_CASE(a_hello_of_a_node_that_the_key_does_not_belong_to_is_refused) {
  key_ring keys({"a", "r", "b"});
  test_node a(options_of(keys, "a"));
  rogue r(keys, "r", "a", a->address());
  r.say(hello{version_min, version_max, "test", "b", "a", 7, 1, 1 << 20, 1 << 20});
  BOOST_TEST((std::get<hello_reply>(r.answer()).refusal == refusal::node));
  BOOST_TEST(eventually([&] { return a->counters().of(refusal::node) == 1u; }));
  BOOST_TEST(a.log.has("the hello names node 'b', but the peers file gives its key to 'r'"));
}

BOOST_AUTO_TEST_CASE(other_wrong_hellos_are_refused_by_reason) {
  key_ring keys({"a", "r"});
  test_node a(options_of(keys, "a"));
  std::map<refusal, std::uint64_t> expected;
  auto refused = [&](hello h, refusal reason) {
    rogue r(keys, "r", "a", a->address());
    r.say(h);
    BOOST_TEST((std::get<hello_reply>(r.answer()).refusal == reason), name(reason));
    ++expected[reason];
    BOOST_TEST(eventually([&] { return a->counters().of(reason) == expected[reason]; }), name(reason));
  };
  refused({version_min, version_max, "test", "r", "x", 7, 1, 0, 0}, refusal::target);
  refused({version_max + 1, version_max + 2, "test", "r", "a", 7, 1, 0, 0}, refusal::version);
  refused({version_min, version_max, "test", "r", "a", 7, 0, 0, 0}, refusal::replayed);
  rogue(keys, "r", "a", a->address()).greet(5);
  refused({version_min, version_max, "test", "r", "a", 7, 4, 0, 0}, refusal::replayed);
}

BOOST_AUTO_TEST_CASE(a_bad_frame_ends_its_session_and_disturbs_no_other) {
  key_ring keys({"a", "r", "b"});
  test_node a(options_of(keys, "a")), b(options_of(keys, "b"));
  b.connect("a", a->address());
  BOOST_REQUIRE(b.reaches("a"));
  std::uint64_t run = 100;
  std::size_t sent = 0;
  auto dropped = [&](bad_frame reason, const std::function<void(rogue&)>& misdeed, bool greeted = true) {
    rogue r(keys, "r", "a", a->address());
    if (greeted) r.greet(1, ++run);
    misdeed(r);
    auto bye = std::get<goodbye>(r.answer());
    BOOST_TEST(!bye.reason.empty());
    BOOST_TEST(eventually([&] { return a->counters().of(reason) == 1u; }), name(reason) << ": " << bye.reason);
    b.send("a", std::to_string(++sent));
    BOOST_TEST(eventually([&] { return b.took.delivered() == sent; }));
  };
  dropped(bad_frame::malformed, [](rogue& r) { r.say(std::vector<std::string>{"no header of ours"}); });
  dropped(
      bad_frame::before_hello, [](rogue& r) { r.say(one_frame(1), {"x"}); }, false);
  dropped(bad_frame::stale_session, [](rogue& r) { r.say(data{9, 1, 1, 1, {}}, {"x"}); });
  dropped(bad_frame::gap, [](rogue& r) { r.say(one_frame(2), {"x"}); });
  dropped(bad_frame::sizes, [](rogue& r) { r.say(one_frame(1, 2), {"x"}); });
  dropped(bad_frame::unexpected, [](rogue& r) { r.say(ack{1, 1, 1}); });
  dropped(bad_frame::too_large, [](rogue& r) {
    std::string half(5 << 20, 'x');
    r.say(data{1, 1, 1, 1, {5 << 20, 5 << 20}}, {"x", half, half});
  });
  dropped(bad_frame::duplicate, [](rogue& r) {
    r.say(one_frame(1), {"x"});
    BOOST_TEST(std::get<ack>(r.answer()).next == 2u);
    r.say(one_frame(1), {"x"});
  });
  BOOST_TEST(b.status("a").reconnects == 0u);
  BOOST_TEST(a.took.heads().size() == sent + 1); // one of r's came before its duplicate
}

BOOST_AUTO_TEST_CASE(many_small_parts_are_refused_without_keeping_them) {
  key_ring keys({"a", "r"});
  test_node a(options_of(keys, "a"));
  rogue r(keys, "r", "a", a->address());
  r.greet();
  r.say(one_frame(1), std::vector<std::string>(50000, "x"));
  BOOST_TEST(std::get<goodbye>(r.answer()).reason.find("parts") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_message_part_above_the_limit_ends_the_connection_before_it_is_read) {
  key_ring keys({"a", "r"});
  test_node a(options_of(keys, "a"));
  rogue r(keys, "r", "a", a->address());
  r.greet(1, 1);
  r.say(data{1, 1, 1, 9u << 20, {}}, {std::string(9 << 20, 'x')});
  // libzmq drops it; the client connects again, and is a stranger until it says hello.
  r.greet(2, 1);
  BOOST_TEST(a.took.received() == 0u);
}

BOOST_AUTO_TEST_CASE(a_peer_that_goes_on_after_a_goodbye_is_cut_off) {
  key_ring keys({"a", "r"});
  test_node a(options_of(keys, "a"));
  rogue r(keys, "r", "a", a->address());
  r.greet();
  for (int i = 0; i < 50; ++i) r.say(std::vector<std::string>{"garbage"});
  (void)r.answer();
  // The cut connection answers no heartbeat, the client makes another one, and that one works.
  BOOST_TEST(eventually([&] {
    r.say(hello{version_min, version_max, "test", "r", "a", 8, 1, 1 << 20, 1 << 20});
    return a->counters().sessions_in >= 2;
  }));
  BOOST_TEST(a->counters().of(bad_frame::malformed) < 50u);
}

BOOST_AUTO_TEST_CASE(a_revoked_key_is_cut_off_and_its_sends_fail) {
  key_ring keys({"a", "b", "c"});
  test_node a(options_of(keys, "a"));
  auto of_b = options_of(keys, "b");
  of_b.peers_file = keys.folder() / "peers-of-b"; // b itself does not see its revocation
  write_file(of_b.peers_file, read_file(keys.peers()));
  test_node b(of_b), c(options_of(keys, "c"));
  a.connect("b", b->address());
  b.connect("a", a->address());
  c.connect("a", a->address());
  BOOST_REQUIRE(a.reaches("b"));
  BOOST_REQUIRE(b.reaches("a"));
  BOOST_REQUIRE(c.reaches("a"));
  keys.write_peers({"a", "c"});
  BOOST_TEST(eventually([&] { return a->counters().of(refusal::revoked) >= 1; }));
  BOOST_TEST(eventually([&] { return !a.status("b").connected; }));
  auto before = a.took.received();
  b.send("a", "after");
  BOOST_TEST(eventually([&] { return b.took.failed() == 1; }));
  BOOST_TEST(eventually([&] { return !b.status("a").connected; }));
  BOOST_TEST(eventually([&] { return a->counters().of(refusal::unknown_key) >= 1; }));
  BOOST_TEST(a.took.received() == before);
  c.send("a", "still here");
  BOOST_TEST(eventually([&] { return c.took.delivered() == 1; }));
  BOOST_TEST(c.status("a").reconnects == 0u);
}

BOOST_AUTO_TEST_CASE(a_peers_file_that_was_broken_leaves_the_one_before_in_force) {
  key_ring keys({"a", "b"});
  test_node a(options_of(keys, "a")), b(options_of(keys, "b"));
  b.connect("a", a->address());
  BOOST_REQUIRE(b.reaches("a"));
  keys.write_peers({}, "what is this\n");
  BOOST_TEST(eventually([&] { return a.log.has("stay valid") && a.log.has("peers:2: expected NAME KEY"); }));
  b.send("a", "x");
  BOOST_TEST(eventually([&] { return b.took.delivered() == 1; }));
}

BOOST_AUTO_TEST_CASE(garbage_and_half_handshakes_are_dropped_and_disturb_nobody) {
  key_ring keys({"a", "b"});
  auto o = options_of(keys, "a");
  o.handshake_timeout = 300ms;
  test_node a(o), b(options_of(keys, "b"));
  b.connect("a", a->address());
  BOOST_REQUIRE(b.reaches("a"));
  std::mt19937_64 random(seed());
  const std::string greeting =
      std::string("\xff\0\0\0\0\0\0\0\x01\x7f\x03\0", 12) + "CURVE" + std::string(15, '\0') + std::string(32, '\0');
  std::vector<int> open;
  for (int i = 0; i < 60; ++i) {
    int fd = connect_raw(a->address());
    std::string bytes = i % 3 == 0 ? "" : i % 3 == 1 ? greeting.substr(0, i % greeting.size()) : "";
    if (i % 3 == 2)
      for (int n = 0; n < 300; ++n) bytes += static_cast<char>(random());
    if (i % 6 == 4) bytes = greeting + std::string("\x04\xff\xff\xff\xff\xff\xff\xff\xff", 9); // a command of 2^64 bytes
    (void)!::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    open.push_back(fd);
    b.send("a", std::to_string(i));
  }
  for (int fd : open) {
    BOOST_TEST(closed_by_peer(fd));
    ::close(fd);
  }
  BOOST_TEST(eventually([&] { return b.took.delivered() == 60; }));
  BOOST_TEST(b.status("a").reconnects == 0u);
  BOOST_TEST(a->counters().of(refusal::handshake) > 0u);
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
