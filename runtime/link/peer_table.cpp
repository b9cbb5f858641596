#include "runtime/link/peer_table.hpp"

#include <algorithm>
#include <utility>

namespace millrace::runtime::link {

peer_table::peer_table(const link_options& o, std::uint64_t run, std::function<void()> wake)
    : self_{o.cluster_id, o.node, run, o.window_bytes, o.max_frame_bytes}, timeouts_{o.ack_timeout, o.hello_timeout},
      wake_(std::move(wake)) {}

void peer_table::wake() {
  if (!std::exchange(awake_, true)) wake_();
}

peer_table::peer* peer_table::find(const std::string& node, std::uint64_t generation) {
  auto at = peers_.find(node);
  return at != peers_.end() && at->second.generation == generation ? &at->second : nullptr;
}

void peer_table::set(const std::string& node, const std::string& address, const std::string& endpoint) {
  std::lock_guard hold(lock_);
  auto at = peers_.find(node);
  if (at == peers_.end()) {
    at = peers_.emplace(node, peer{0, {}, link_sender(self_, node, timeouts_)}).first;
  } else if (at->second.address == address) {
    return;
  } else {
    at->second.sender.disconnected("its address changed from " + at->second.address + " to " + address);
  }
  at->second.address = address;
  at->second.generation = ++generation_;
  changes_.push_back({node, generation_, endpoint});
  wake();
}

void peer_table::remove(const std::string& node) {
  std::lock_guard hold(lock_);
  auto at = peers_.find(node);
  if (at == peers_.end()) return;
  at->second.sender.disconnected("the node was removed");
  auto last = at->second.sender.take();
  std::move(last.completions.begin(), last.completions.end(), std::back_inserter(completions_));
  peers_.erase(at);
  changes_.push_back({node, 0, {}});
  wake();
}

void peer_table::send(const std::string& node, frame f, link_sender::done on_done) {
  {
    std::lock_guard hold(lock_);
    if (!closed_) {
      if (auto at = peers_.find(node); at != peers_.end())
        at->second.sender.send(std::chrono::steady_clock::now(), std::move(f), std::move(on_done));
      else
        completions_.push_back({std::move(on_done), transport::outcome::failed});
      wake();
      return;
    }
  }
  on_done(transport::outcome::failed); // there is no thread of ours any more
}

std::size_t peer_table::credit(const std::string& node) const {
  std::lock_guard hold(lock_);
  auto at = peers_.find(node);
  return closed_ || at == peers_.end() ? 0 : at->second.sender.credit();
}

std::vector<actors::cluster::peer_status> peer_table::peers() const {
  std::lock_guard hold(lock_);
  std::map<std::string, actors::cluster::peer_status> all;
  for (const auto& [node, bytes] : received_bytes_) {
    all[node].node = node;
    all[node].received_bytes = bytes;
  }
  for (const auto& [node, p] : peers_) {
    auto& s = all[node];
    s.node = node;
    s.address = p.address;
    s.connected = p.sender.ready();
    s.sent_bytes = p.sent_bytes;
    s.unacknowledged_bytes = p.sender.unacknowledged_bytes();
    s.reconnects = p.sender.sessions() ? p.sender.sessions() - 1 : 0;
    s.last_error = p.sender.last_error();
  }
  std::vector<actors::cluster::peer_status> out;
  for (auto& [node, s] : all) out.push_back(std::move(s));
  return out;
}

link_counters peer_table::counters() const {
  std::lock_guard hold(lock_);
  return counters_;
}

peer_table::work peer_table::collect(link_time now) {
  std::lock_guard hold(lock_);
  awake_ = false;
  work w;
  w.changes = std::exchange(changes_, {});
  w.completions = std::exchange(completions_, {});
  for (auto& [node, p] : peers_) {
    p.sender.tick(now);
    if (!p.sender.idle()) w.orders.push_back({node, p.generation, p.sender.take()});
    if (auto at = p.sender.deadline(); at && (!w.deadline || *at < *w.deadline)) w.deadline = at;
  }
  return w;
}

void peer_table::connected(const std::string& node, std::uint64_t generation, link_time now) {
  std::lock_guard hold(lock_);
  if (auto* p = find(node, generation)) p->sender.connected(now, ++session_);
}

bool peer_table::has_connection(const std::string& node, std::uint64_t generation) {
  std::lock_guard hold(lock_);
  auto* p = find(node, generation);
  return p && p->sender.has_connection();
}

void peer_table::disconnected(const std::string& node, std::uint64_t generation, const std::string& reason) {
  std::lock_guard hold(lock_);
  if (auto* p = find(node, generation)) p->sender.disconnected(reason);
}

bool peer_table::heard(const std::string& node, std::uint64_t generation, link_time now,
                       const std::vector<result<link_header>>& headers) {
  std::lock_guard hold(lock_);
  auto* p = find(node, generation);
  if (!p) return false;
  auto before = p->sender.sessions();
  for (const auto& h : headers) {
    if (h)
      p->sender.received(now, h.value());
    else
      p->sender.malformed(h.error().message);
  }
  return p->sender.sessions() != before;
}

void peer_table::wrote(const std::string& node, std::uint64_t generation, std::uint64_t bytes) {
  std::lock_guard hold(lock_);
  if (auto* p = find(node, generation)) p->sent_bytes += bytes;
}

void peer_table::received(const std::map<std::string, std::uint64_t>& bytes_by_node) {
  std::lock_guard hold(lock_);
  for (const auto& [node, bytes] : bytes_by_node) received_bytes_[node] += bytes;
}

void peer_table::publish(const link_counters& counters) {
  std::lock_guard hold(lock_);
  counters_ = counters;
}

std::vector<link_sender::completion> peer_table::close(const std::string& reason) {
  std::lock_guard hold(lock_);
  closed_ = true;
  auto out = std::exchange(completions_, {});
  for (auto& [node, p] : peers_) {
    p.sender.disconnected(reason);
    auto last = p.sender.take();
    std::move(last.completions.begin(), last.completions.end(), std::back_inserter(out));
  }
  return out;
}

} // namespace millrace::runtime::link
