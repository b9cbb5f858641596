// A proxy between two links that resets connections in the middle of frames.

#include "tests/unit/link/link_support.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <list>
#include <set>

namespace millrace::testing {
namespace {

void make_reset(int fd) { // close() sends RST and throws the buffers away
  linger now{1, 0};
  (void)::setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/// Passes bytes between its port and another one, on a thread of its own; cut() resets every connection, hold() passes nothing
/// on.
class tcp_cutter {
public:
  explicit tcp_cutter(const std::string& to) {
    target_.sin_family = AF_INET;
    target_.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target_.sin_port = htons(static_cast<std::uint16_t>(std::stoi(to.substr(to.rfind(':') + 1))));
    listen_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in own = target_;
    own.sin_port = 0;
    socklen_t size = sizeof own;
    BOOST_REQUIRE(::bind(listen_, reinterpret_cast<sockaddr*>(&own), size) == 0);
    BOOST_REQUIRE(::listen(listen_, 16) == 0);
    BOOST_REQUIRE(::getsockname(listen_, reinterpret_cast<sockaddr*>(&own), &size) == 0);
    address_ = "127.0.0.1:" + std::to_string(ntohs(own.sin_port));
    thread_ = std::thread([this] { run(); });
  }
  ~tcp_cutter() {
    stop_ = true;
    thread_.join();
    ::close(listen_);
  }
  const std::string& address() const { return address_; }
  void cut() { cut_ = true; }
  void hold(bool on) { hold_ = on; }

private:
  struct pair {
    int a, b;
  };
  void run() {
    std::list<pair> pairs;
    auto end = [&](std::list<pair>::iterator at) {
      make_reset(at->a), make_reset(at->b);
      ::close(at->a), ::close(at->b);
      return pairs.erase(at);
    };
    while (!stop_) {
      if (cut_.exchange(false))
        while (!pairs.empty()) end(pairs.begin());
      std::vector<pollfd> all = {{listen_, POLLIN, 0}};
      if (!hold_)
        for (auto& p : pairs) all.push_back({p.a, POLLIN, 0}), all.push_back({p.b, POLLIN, 0});
      (void)::poll(all.data(), all.size(), 1);
      if (all[0].revents) {
        int a = ::accept4(listen_, nullptr, nullptr, SOCK_CLOEXEC), b = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)::connect(b, reinterpret_cast<sockaddr*>(&target_), sizeof target_);
        pairs.push_back({a, b});
      }
      if (hold_) continue;
      for (auto at = pairs.begin(); at != pairs.end();) at = pass(at->a, at->b) && pass(at->b, at->a) ? std::next(at) : end(at);
    }
    while (!pairs.empty()) end(pairs.begin());
  }
  static bool pass(int from, int to) {
    char room[65536];
    auto n = ::recv(from, room, sizeof room, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    for (ssize_t at = 0; at < n;) {
      auto sent = ::send(to, room + at, static_cast<std::size_t>(n - at), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      at += sent;
    }
    return n > 0;
  }
  sockaddr_in target_{};
  int listen_ = -1;
  std::string address_;
  std::atomic<bool> stop_{false}, cut_{false}, hold_{false};
  std::thread thread_;
};

} // namespace

BOOST_AUTO_TEST_SUITE(link_cuts)

BOOST_AUTO_TEST_CASE(resets_in_the_middle_reach_senders_and_nothing_arrives_twice) {
  std::mt19937_64 random(seed());
  key_ring keys({"a", "b"});
  auto o = options_of(keys, "a");
  o.reconnect_min = 10ms, o.reconnect_max = 50ms;
  test_node b(options_of(keys, "b")), a(o);
  tcp_cutter wire(b->address());
  a.connect("b", wire.address());
  std::size_t sent = 0;
  std::vector<std::string> payload = {std::string(300000, 'x'), std::string(40, 'y')};
  for (int round = 0; round < 30; ++round) {
    BOOST_REQUIRE(a.reaches("b"));
    auto received = b.took.received();
    for (int i = 0; i < 40; ++i) a.send("b", std::to_string(sent++), payload);
    auto some = random() % 30;
    BOOST_TEST(eventually([&] { return b.took.received() >= received + some || !a.status("b").connected; }));
    wire.cut();
    BOOST_REQUIRE(eventually([&] { return a.took.completed() == sent; }));
  }
  BOOST_TEST(a.took.delivered() > 0u);
  BOOST_TEST(a.took.failed() > 0u);
  BOOST_TEST_MESSAGE(a.took.delivered() << " delivered, " << a.took.failed() << " failed");
  std::set<std::string> seen;
  int last = -1;
  for (const auto& h : b.took.heads()) {
    BOOST_TEST(seen.insert(h).second, h << " arrived twice");
    auto number = std::stoi(h.substr(2));
    BOOST_TEST(number > last, h << " arrived after " << last);
    last = number;
  }
  for (const auto& [head, outcomes] : a.took.ended()) {
    BOOST_TEST(outcomes.size() == 1u);
    BOOST_TEST(outcomes.begin()->second == 1);
    if (outcomes.begin()->first == outcome::delivered) BOOST_TEST(seen.count("a:" + head) == 1u);
  }
}

BOOST_AUTO_TEST_CASE(a_host_that_falls_silent_is_noticed_within_two_seconds_or_so) {
  key_ring keys({"a", "b"});
  test_node b(options_of(keys, "b")), a(options_of(keys, "a"));
  tcp_cutter wire(b->address());
  a.connect("b", wire.address());
  BOOST_REQUIRE(a.reaches("b"));
  wire.hold(true);
  auto before = std::chrono::steady_clock::now();
  a.send("b", "into the void");
  BOOST_REQUIRE(eventually([&] { return a.took.failed() == 1; }));
  auto took = std::chrono::steady_clock::now() - before;
  BOOST_TEST(took < 4s); // 2 s by the heartbeats; a busy machine may take longer, but not the 5 s of the acknowledgements
  BOOST_TEST(!a.status("b").connected);
  wire.cut();
  wire.hold(false);
  BOOST_TEST(a.reaches("b"));
}

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
