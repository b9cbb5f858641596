// The protocol's two state machines, without sockets: what each refuses, and a simulation of everything a network may do.

#include "runtime/link/link_receiver.hpp"
#include "tests/unit/link/link_support.hpp"

#include <optional>
#include <set>

namespace millrace::testing {
namespace {

const link_time start{std::chrono::hours(1)};

link_identity identity(const std::string& node, std::uint64_t run) { return {"test", node, run, 64 << 10, 16 << 10}; }

/// A sender that has greeted.
struct greeted_sender {
  link_sender sender{identity("a", 1), "b", {}};
  std::vector<outcome> outcomes;
  greeted_sender() {
    sender.connected(start, 1);
    sender.received(start, hello_reply{version_max, {}, {}, "b", 2, 1, 64 << 10, 16 << 10});
    (void)sender.take();
  }
  void send(std::size_t bytes = 10) {
    sender.send(start, make_frame(std::string(bytes, 'x')), [this](outcome o) { outcomes.push_back(o); });
  }
  link_sender::orders run() {
    auto o = sender.take();
    for (auto& c : o.completions) c.done(c.outcome);
    return o;
  }
};

} // namespace

BOOST_AUTO_TEST_SUITE(link_session)

BOOST_AUTO_TEST_CASE(nothing_is_sent_before_the_hello_is_answered) {
  link_sender s(identity("a", 1), "b", {});
  BOOST_TEST(s.credit() == 0u);
  s.connected(start, 1);
  auto first = s.take();
  BOOST_REQUIRE(first.wire.size() == 1u);
  BOOST_TEST(std::holds_alternative<hello>(first.wire[0].header));
  std::vector<outcome> ended;
  s.send(start, make_frame("x"), [&](outcome o) { ended.push_back(o); });
  auto next = s.take();
  BOOST_TEST(next.wire.empty());
  BOOST_REQUIRE(next.completions.size() == 1u);
  BOOST_TEST((next.completions[0].outcome == outcome::failed));
}

BOOST_AUTO_TEST_CASE(the_window_counts_bytes_and_frames_and_credit_tells_it) {
  greeted_sender a;
  auto credit = a.sender.credit();
  BOOST_TEST(credit == (64u << 10) - frame_overhead_bytes);
  for (int i = 0; i < 64; ++i) a.send(0); // only the frames' own cost: 1 KiB each
  BOOST_TEST(a.sender.credit() == 0u);
  BOOST_TEST(a.run().wire.size() == 64u);
  a.send(0);
  a.run();
  BOOST_TEST(a.outcomes.size() == 1u);
  a.sender.received(start, ack{1, 65, 64 << 10});
  BOOST_TEST(a.sender.credit() == credit);
  // A frame of exactly the credit is taken, if it is no larger than a frame may be.
  for (int i = 0; i < 3; ++i) a.send(16 << 10);
  a.send(a.sender.credit());
  BOOST_TEST(a.run().wire.size() == 4u);
  BOOST_TEST(a.sender.credit() == 0u);
}

BOOST_AUTO_TEST_CASE(the_receiver_may_shrink_the_window) {
  greeted_sender a;
  a.send();
  a.sender.received(start, ack{1, 2, 4 << 10});
  BOOST_TEST(a.sender.credit() == (4u << 10) - frame_overhead_bytes);
}

BOOST_AUTO_TEST_CASE(acknowledgements_complete_in_order_and_repeats_change_nothing) {
  greeted_sender a;
  for (int i = 0; i < 5; ++i) a.send();
  a.sender.received(start, ack{1, 4, 64 << 10});
  a.sender.received(start, ack{1, 4, 64 << 10});
  a.sender.received(start, ack{1, 2, 64 << 10});
  a.run();
  BOOST_TEST(a.outcomes.size() == 3u);
  a.sender.received(start, ack{9, 6, 64 << 10}); // of another session
  a.run();
  BOOST_TEST(a.outcomes.size() == 3u);
  a.sender.received(start, ack{1, 7, 64 << 10}); // of a frame that was never sent
  auto o = a.run();
  BOOST_TEST(o.close);
  BOOST_TEST(o.reason.find("the last one sent is 5") != std::string::npos);
  BOOST_TEST(std::count(a.outcomes.begin(), a.outcomes.end(), outcome::failed) == 2);
}

BOOST_AUTO_TEST_CASE(silence_ends_the_session_but_slow_progress_does_not) {
  greeted_sender a;
  for (int i = 0; i < 3; ++i) a.send();
  a.run();
  a.sender.tick(start + 4s);
  a.sender.received(start + 4s, ack{1, 2, 64 << 10});
  a.sender.tick(start + 8s);
  BOOST_TEST(a.sender.ready());
  BOOST_TEST((a.sender.deadline() == start + 9s));
  a.sender.tick(start + 9s);
  BOOST_TEST(!a.sender.ready());
  auto o = a.run();
  BOOST_TEST(o.close);
  BOOST_TEST(a.outcomes.size() == 3u);
  BOOST_TEST(!a.sender.deadline().has_value());
}

BOOST_AUTO_TEST_CASE(a_hello_without_an_answer_is_given_up) {
  link_sender s(identity("a", 1), "b", {});
  s.connected(start, 1);
  s.tick(start + 5s);
  auto o = s.take();
  BOOST_TEST(o.close);
  BOOST_TEST(o.wire.empty()); // the hello must not go into the next connection
}

BOOST_AUTO_TEST_CASE(the_first_frame_after_a_long_idle_time_has_its_whole_timeout) {
  greeted_sender a;
  a.sender.send(start + 1h, make_frame("x"), [](outcome) {});
  BOOST_TEST((a.sender.deadline() == start + 1h + 5s));
}

BOOST_AUTO_TEST_CASE(an_answer_of_another_node_or_version_ends_the_session) {
  for (auto reply : {hello_reply{version_max, {}, {}, "c", 2, 1, 1, 1}, hello_reply{version_max + 1, {}, {}, "b", 2, 1, 1, 1},
                     hello_reply{0, refusal::cluster, "why", "b", 2, 1, 1, 1}}) {
    link_sender s(identity("a", 1), "b", {});
    s.connected(start, 1);
    s.received(start, reply);
    BOOST_TEST(!s.ready());
    BOOST_TEST(s.take().close);
  }
}

namespace {

/// One direction between two nodes as the worst network has it: connections that break anywhere, processes that restart, and (a
/// bug below us, or an attacker inside of it) messages lost, repeated and swapped within a connection.
class simulation {
public:
  explicit simulation(std::uint64_t seed, bool hostile) : random_(seed), hostile_(hostile) {
    restart_sender(), restart_receiver();
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      now_ += milliseconds(random_() % 40);
      step();
      sender_->tick(now_);
      carry_out();
    }
    // The network heals: everything completes without further sends.
    hostile_ = false;
    for (int i = 0; i < 20000 && completed_ < sent_; ++i) {
      now_ += 10ms;
      if (connection_ == 0) connect();
      move(to_receiver_, true), move(to_sender_, false);
      sender_->tick(now_);
      carry_out();
    }
  }
  void check() const {
    BOOST_TEST(completed_ == sent_);
    for (const auto& [frame, times] : outcomes_) BOOST_TEST(times == 1, "frame " << frame << " completed " << times << " times");
    std::set<int> seen;
    for (auto f : taken_) BOOST_TEST(seen.insert(f).second, "frame " << f << " was delivered twice");
    for (auto f : delivered_) BOOST_TEST(seen.count(f) == 1u, "frame " << f << " was acknowledged but not delivered");
    BOOST_TEST(std::is_sorted(taken_.begin(), taken_.end()), "out of order");
  }
  std::size_t delivered() const { return delivered_.size(); }
  std::size_t failed() const { return completed_ - delivered_.size(); }

private:
  struct packet {
    std::uint64_t connection;
    link_header header;
    std::vector<std::size_t> sizes;
    int frame = -1;
  };

  void step() {
    auto dice = random_() % 1000;
    if (dice < 8) return cut("cut");
    if (dice < 12) return restart_receiver();
    if (dice < 14) return restart_sender();
    if (dice < 300) return send();
    if (dice < 340 && connection_ == 0) return connect();
    if (dice < 344) { // the sender's notice of a lost connection comes late: libzmq has made another one meanwhile
      to_receiver_.clear(), to_sender_.clear();
      connection_ = ++connections_;
      return;
    }
    if (hostile_ && dice < 360) return tamper(dice % 2 ? to_receiver_ : to_sender_);
    move(to_receiver_, true);
    move(to_sender_, false);
  }
  void connect() {
    connection_ = ++connections_;
    sender_->connected(now_, ++session_);
  }
  void cut(const std::string& why) {
    connection_ = 0;
    to_receiver_.clear(), to_sender_.clear(); // TCP's buffers; ours are the sender's orders
    sender_->disconnected(why);
  }
  void restart_receiver() {
    receiver_.emplace(identity("b", ++runs_), std::set<std::uint8_t>{1});
    if (sender_) cut("restart");
  }
  void restart_sender() {
    if (sender_) {
      cut("restart"), carry_out();
    }
    sender_.emplace(identity("a", ++runs_), "b", link_sender::timeouts{500ms, 500ms});
    session_ = 0;
  }
  void send() {
    auto number = static_cast<int>(sent_++);
    sender_->send(now_, make_frame(std::to_string(number), {std::string(random_() % 12000, 'x')}), [this, number](outcome o) {
      ++outcomes_[number];
      ++completed_;
      if (o == outcome::delivered) delivered_.push_back(number);
    });
  }
  void carry_out() {
    auto o = sender_->take();
    if (o.close) {
      connection_ = 0;
      to_receiver_.clear(), to_sender_.clear();
    }
    for (auto& w : o.wire) {
      packet p{connection_, w.header, {}, -1};
      if (std::holds_alternative<data>(w.header)) {
        p.sizes.push_back(w.body.head.size());
        for (const auto& part : w.body.parts) p.sizes.push_back(part->size());
        p.frame = std::stoi(w.body.head);
      }
      if (connection_ != 0) to_receiver_.push_back(std::move(p));
    }
    for (auto& c : o.completions) c.done(c.outcome);
  }
  void tamper(std::deque<packet>& with) {
    if (with.empty()) return;
    auto i = random_() % with.size();
    switch (random_() % 3) {
    case 0:
      with.erase(with.begin() + static_cast<long>(i));
      break;
    case 1: {
      auto again = with[i];
      with.push_back(again);
      break;
    }
    default:
      std::swap(with[i], with[random_() % with.size()]);
    }
  }
  void move(std::deque<packet>& from, bool to_receiver) {
    if (from.empty()) return;
    auto p = from.front();
    from.pop_front();
    if (!to_receiver) return sender_->received(now_, encoded(p.header));
    auto name = std::to_string(p.connection);
    auto v = receiver_->received(name, "a", encoded(p.header), p.sizes);
    if (v.deliver) {
      taken_.push_back(p.frame);
      receiver_->taken("a");
    }
    if (v.answer) to_sender_.push_back({p.connection, *v.answer, {}, -1});
    if (v.close && random_() % 2) cut("closed by the receiver"); // or its words come first
    if (random_() % 3 == 0)
      for (auto& a : receiver_->acks()) to_sender_.push_back({p.connection, a.what, {}, -1});
    else if (from.empty())
      for (auto& a : receiver_->acks()) to_sender_.push_back({p.connection, a.what, {}, -1});
  }
  static link_header encoded(const link_header& h) {
    auto back = decode(encode(h));
    BOOST_REQUIRE(back);
    BOOST_REQUIRE((back.value() == h));
    return back.value();
  }

  std::mt19937_64 random_;
  bool hostile_;
  link_time now_ = start;
  std::optional<link_sender> sender_;
  std::optional<link_receiver> receiver_;
  std::uint64_t connection_ = 0, connections_ = 0, session_ = 0, runs_ = 0;
  std::deque<packet> to_receiver_, to_sender_;
  std::size_t sent_ = 0, completed_ = 0;
  std::map<int, int> outcomes_;
  std::vector<int> taken_, delivered_;
};

void simulate(bool hostile) {
  std::size_t delivered = 0, failed = 0;
  for (std::uint64_t i = 0; i < 400; ++i) {
    BOOST_TEST_CONTEXT("MILLRACE_SEED=" << seed() << " round " << i) {
      simulation s(seed() * 1000 + i, hostile);
      s.run(3000);
      s.check();
      delivered += s.delivered(), failed += s.failed();
    }
  }
  BOOST_TEST_MESSAGE(delivered << " delivered, " << failed << " failed");
  BOOST_TEST(delivered > 1000u);
  BOOST_TEST(failed > 1000u);
}

} // namespace

BOOST_AUTO_TEST_CASE(broken_connections_and_restarts_lose_repeat_and_reorder_nothing) { simulate(false); }

BOOST_AUTO_TEST_CASE(messages_lost_repeated_or_swapped_below_end_the_session_and_no_more) { simulate(true); }

BOOST_AUTO_TEST_SUITE_END()

} // namespace millrace::testing
