#include "runtime/link/link_sender.hpp"

#include <algorithm>
#include <utility>

namespace millrace::runtime::link {

std::uint64_t bytes_of(const frame& f) noexcept {
  std::uint64_t total = f.head.size();
  for (const auto& part : f.parts) total += part ? part->size() : 0;
  return total;
}

link_sender::link_sender(link_identity self, std::string peer, timeouts t)
    : self_(std::move(self)), peer_(std::move(peer)), timeouts_(t) {}

void link_sender::connected(link_time now, std::uint64_t session) {
  if (state_ != state::apart) end_session("the connection was made anew", false);
  state_ = state::greeting;
  progress_ = now;
  session_ = session;
  orders_.wire.push_back({hello{version_min, version_max, self_.cluster, self_.node, peer_, self_.run, session_,
                                self_.window_bytes, self_.max_frame_bytes},
                          {}});
}

void link_sender::disconnected(const std::string& reason) {
  if (state_ == state::apart) {
    if (!reason.empty()) last_error_ = reason;
    return;
  }
  end_session(reason, false);
}

void link_sender::send(link_time now, frame f, link_sender::done on_done) {
  if (state_ != state::ready) return refuse(std::move(on_done), {}); // the state's own last_error says why
  auto bytes = bytes_of(f);
  if (bytes > max_frame_ || f.parts.size() > max_parts)
    return refuse(std::move(on_done), "a frame of " + std::to_string(bytes) + " bytes in " + std::to_string(f.parts.size()) +
                                          " parts was refused: at most " + std::to_string(max_frame_) + " bytes in " +
                                          std::to_string(max_parts) + " parts go over this link");
  auto cost = bytes + frame_overhead_bytes;
  if (cost > window_ || window_used_ > window_ - cost) return refuse(std::move(on_done), {});

  data header{session_, ++sequence_, static_cast<std::uint8_t>(f.channel), static_cast<std::uint32_t>(f.head.size()), {}};
  header.part_bytes.reserve(f.parts.size());
  for (const auto& part : f.parts) header.part_bytes.push_back(part ? static_cast<std::uint32_t>(part->size()) : 0);
  window_used_ += cost;
  unacknowledged_.push_back({cost, now, std::move(on_done)});
  orders_.wire.push_back({std::move(header), std::move(f)});
}

void link_sender::received(link_time now, const link_header& h) {
  if (state_ == state::apart) return; // of a connection that is being closed
  if (const auto* reply = std::get_if<hello_reply>(&h)) return accept(now, *reply);
  if (const auto* a = std::get_if<ack>(&h)) return accept(now, *a);
  if (const auto* bye = std::get_if<goodbye>(&h)) {
    if (bye->session == 0 || bye->session == session_)
      end_session("node '" + peer_ + "' ended the session: " + (bye->reason.empty() ? "no reason given" : bye->reason), true);
    return;
  }
  malformed("a message that only senders send");
}

void link_sender::malformed(const std::string& what) {
  if (state_ != state::apart) end_session("node '" + peer_ + "' sent " + what, true);
}

void link_sender::accept(link_time now, const hello_reply& reply) {
  if (reply.session != session_) return; // the answer to an earlier hello
  if (state_ != state::greeting) return malformed("a second answer to one hello");
  if (reply.refusal)
    return end_session("node '" + peer_ + "' refused the hello (" + std::string(name(*reply.refusal)) + "): " + reply.reason,
                       true);
  if (reply.node != peer_)
    return end_session(
        "node '" + reply.node + "' answered where '" + peer_ + "' was expected; are two names swapped in the peers file?", true);
  if (reply.version < version_min || reply.version > version_max)
    return malformed("version " + std::to_string(reply.version) + " of the protocol, which it was not offered");
  state_ = state::ready;
  progress_ = now;
  ++sessions_;
  sequence_ = 0;
  window_ = std::min(self_.window_bytes, reply.window_bytes);
  max_frame_ = std::min(self_.max_frame_bytes, reply.max_frame_bytes);
  last_error_.clear();
}

void link_sender::accept(link_time now, const ack& a) {
  if (a.session != session_) return; // late, of a session that is over; its frames have completed
  if (state_ != state::ready) return malformed("an acknowledgement before its hello's answer");
  auto first = sequence_ - unacknowledged_.size() + 1;
  if (a.next > sequence_ + 1)
    return malformed("an acknowledgement of sequence " + std::to_string(a.next - 1) + "; the last one sent is " +
                     std::to_string(sequence_));
  window_ = std::min(self_.window_bytes, a.credit_bytes);
  if (a.next <= first) return; // repeated
  progress_ = now;
  for (; first < a.next; ++first) {
    auto& w = unacknowledged_.front();
    window_used_ -= w.cost;
    acknowledged_bytes_ += w.cost - frame_overhead_bytes;
    ++delivered_;
    orders_.completions.push_back({std::move(w.done), transport::outcome::delivered});
    unacknowledged_.pop_front();
  }
}

std::optional<link_time> link_sender::deadline() const {
  if (state_ == state::greeting) return progress_ + timeouts_.hello;
  if (state_ == state::ready && !unacknowledged_.empty())
    return std::max(progress_, unacknowledged_.front().sent) + timeouts_.ack;
  return std::nullopt;
}

void link_sender::tick(link_time now) {
  auto at = deadline();
  if (!at || now < *at) return;
  if (state_ == state::greeting)
    return end_session("node '" + peer_ + "' did not answer the hello within " + std::to_string(timeouts_.hello.count()) + " ms",
                       true);
  end_session("node '" + peer_ + "' acknowledged nothing for " + std::to_string(timeouts_.ack.count()) + " ms, " +
                  std::to_string(unacknowledged_.size()) + " frames wait",
              true);
}

void link_sender::refuse(link_sender::done on_done, std::string why) {
  if (!why.empty()) last_error_ = std::move(why);
  ++failed_;
  orders_.completions.push_back({std::move(on_done), transport::outcome::failed});
}

void link_sender::end_session(const std::string& why, bool close) {
  state_ = state::apart;
  last_error_ = why;
  orders_.wire.clear(); // of this session: a new one begins with connected(), which comes after these orders are carried out
  if (close) {
    orders_.close = true;
    orders_.reason = why;
  }
  for (auto& w : unacknowledged_) {
    ++failed_;
    orders_.completions.push_back({std::move(w.done), transport::outcome::failed});
  }
  unacknowledged_.clear();
  window_used_ = 0;
  sequence_ = 0;
}

link_sender::orders link_sender::take() { return std::exchange(orders_, {}); }

std::size_t link_sender::credit() const noexcept {
  if (state_ != state::ready || window_used_ + frame_overhead_bytes > window_) return 0;
  return window_ - window_used_ - frame_overhead_bytes;
}

} // namespace millrace::runtime::link
