// Fuzz target: bytes as a hostile or broken peer sends them, through the parser into both state machines.
// The input is a script: an operation byte, then its bytes. What must hold is checked; what must not crash is ASan's and UBSan's.

#include "runtime/link/link_header.hpp"
#include "runtime/link/link_receiver.hpp"
#include "runtime/link/link_sender.hpp"
#include "tests/fuzz/link_frame_script.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>

namespace {

using namespace millrace::runtime::link;

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "link_frame_fuzz: does not hold: %s\n", what);
  std::abort();
}

class world {
public:
  void run(script_reader in) {
    sender_.connected(now_, ++session_);
    carry_out();
    while (!in.empty()) step(in);
    sender_.disconnected("the end");
    carry_out();
    must(sender_.unacknowledged_bytes() == 0, "nothing is unacknowledged after the end");
    for (auto [number, times] : completed_) must(times == 1, "each send completes exactly once");
    must(completed_.size() == sent_, "each send completes");
  }

private:
  void step(script_reader& in) {
    auto op = in.byte();
    switch (op % 8) {
    case 0:
    case 1:
      return to_receiver(in.bytes(), in, op);
    case 2:
    case 3:
      return to_sender(in.bytes());
    case 4:
      ++sent_;
      sender_.send(now_, {actors_channel, std::string(in.byte(), 'x'), {}},
                   [this, n = sent_](transport::outcome) { ++completed_[n]; });
      break;
    case 5:
      now_ += milliseconds(in.byte() * 50);
      sender_.tick(now_);
      break;
    case 6:
      sender_.disconnected("cut");
      carry_out();
      sender_.connected(now_, ++session_);
      break;
    case 7:
      connection_ = in.byte() % 3;
      if (op & 8) (void)receiver_.forget("a");
    }
    carry_out();
  }

  void to_receiver(std::string_view bytes, script_reader& in, std::uint8_t op) {
    std::vector<std::size_t> sizes(op / 8 % 8);
    for (auto& s : sizes) s = in.byte() * (op & 64 ? 100u : 1u);
    auto connection = std::to_string(connection_);
    auto header = decode(bytes);
    if (header) must(decode(encode(header.value())).value() == header.value(), "what was read is written as it was");
    if (!header) must(!header.error().message.empty(), "an error has words");
    if (header && std::holds_alternative<data>(header.value()) && (op & 128)) { // as its header says, so that some pass
      const auto& d = std::get<data>(header.value());
      sizes.assign(1, d.head_bytes);
      sizes.insert(sizes.end(), d.part_bytes.begin(), d.part_bytes.end());
    }
    auto had = receiver_.has_session("a");
    auto v = header ? receiver_.received(connection, "a", header.value(), sizes) : receiver_.malformed(connection, "a", "?");
    must(receiver_.sessions() <= 1, "one session a node");
    must(!(v.deliver && (v.close || v.bad || v.refusal)), "nothing bad is delivered");
    must(!v.close || v.refusal || v.bad, "a connection ends for a reason");
    if (v.answer && std::holds_alternative<hello_reply>(*v.answer) && !v.refusal) last_ = 0;
    if (v.deliver) {
      const auto& d = std::get<data>(header.value());
      must(had, "only a session delivers");
      must(d.sequence == last_ + 1, "sequences are delivered in order, each once");
      last_ = d.sequence;
      std::uint64_t total = 0;
      for (auto s : sizes) total += s;
      must(total <= identity().max_frame_bytes, "no frame above the limit");
      receiver_.taken("a");
      for (auto& a : receiver_.acks()) must(a.what.next == last_ + 1, "an acknowledgement names what was taken");
    }
  }

  void to_sender(std::string_view bytes) {
    if (auto header = decode(bytes))
      sender_.received(now_, header.value());
    else
      sender_.malformed(header.error().message);
    carry_out();
  }

  void carry_out() {
    auto o = sender_.take();
    if (o.close) sender_.connected(now_, ++session_);
    for (auto& c : o.completions) c.done(c.outcome);
    must(sender_.credit() <= identity().window_bytes, "credit is at most the window");
    must(sender_.unacknowledged_bytes() <= identity().window_bytes, "the window bounds what waits");
  }

  static link_identity identity(std::string node = "b") { return {"c", std::move(node), 5, 16 << 10, 8 << 10}; }
  static constexpr auto actors_channel = millrace::actors::cluster::channel::replication;

  link_time now_{};
  link_sender sender_{identity("s"), "b", {}};
  link_receiver receiver_{identity(), {1, 2}};
  std::uint64_t session_ = 0, last_ = 0;
  int connection_ = 0;
  std::size_t sent_ = 0;
  std::map<std::size_t, int> completed_;
};

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  if (size > 64 * 1024) return 0;
  world().run(script_reader({reinterpret_cast<const char*>(bytes), size}));
  return 0;
}
