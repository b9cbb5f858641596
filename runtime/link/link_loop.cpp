#include "runtime/link/link_loop.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

namespace millrace::runtime::link {
namespace {

// One turn's share of incoming frames: acknowledgements, timers and other sockets get their turn within some 10 ms.
constexpr std::uint64_t bytes_at_once = 16u << 20;
constexpr int messages_at_once = 1024;
// A frame need not be acknowledged at once: each acknowledgement is encrypted, sent and wakes up the peer's link.
constexpr milliseconds ack_delay{1};
// Turns come at least so far apart: what is sent and received meanwhile is handled together. Costs latency only under load, when
// there would be a turn for each frame; there it took 15 % off the cost of frames of 64 KiB.
constexpr std::chrono::microseconds turn_min{250};
constexpr milliseconds last_words{300};
constexpr std::size_t condemned_at_once = 64;

std::string_view view(const zmq::message_t& m) { return {static_cast<const char*>(m.data()), m.size()}; }

std::set<std::uint8_t> channels_of(const handlers& all) {
  std::set<std::uint8_t> out;
  for (const auto& [channel, _] : all) out.insert(channel);
  return out;
}

} // namespace

link_loop::link_loop(const link_options& o, curve_pair self, peers_file file, peer_keys keys, handlers on_frame,
                     peer_table& table, std::uint64_t run, int wake_fd, const std::string& endpoint)
    : options_(o), self_(std::move(self)), file_(std::move(file)), keys_(std::move(keys)), handlers_(std::move(on_frame)),
      table_(table), wake_fd_(wake_fd), log_(o.log),
      receiver_({o.cluster_id, o.node, run, o.window_bytes, o.max_frame_bytes}, channels_of(handlers_)), context_(o.io_threads),
      zap_(context_,
           [this](const std::string& address, const std::string& why) {
             ++counters_.of(refusal::unknown_key);
             log_.line(std::chrono::steady_clock::now(), "warn", "key " + address,
                       "refused a connection from " + address + ": " + why + " (" + file_.path().string() + ")");
           }),
      incoming_(context_, o, self_, endpoint) {}

void link_loop::run(const std::atomic<bool>& stop) {
  reload_at_ = std::chrono::steady_clock::now() + options_.reload_every;
  while (!stop) {
    auto now = std::chrono::steady_clock::now();
    auto work = table_.collect(now);
    carry_out(work, now);
    for (auto& [node, d] : dialers_) {
      if (!d.socket && d.dial_at <= now) dial(node, d, now);
      if (d.socket && d.socket->wants_to_write())
        if (auto bytes = d.socket->flush()) table_.wrote(node, d.generation, bytes);
    }
    if (ack_at_ && *ack_at_ <= now) write_acks();
    close_condemned(now);
    if (now >= reload_at_) look_at_peers_file(now);
    table_.publish(counters_);
    std::this_thread::sleep_until(turn_at_ + turn_min);
    turn_at_ = std::chrono::steady_clock::now();
    poll(next_event(work, now));
  }
  for (const auto& [node, key] : keys_.by_node)
    if (auto connection = receiver_.forget(node); !connection.empty())
      (void)incoming_.write(connection, goodbye{0, "the node stops"});
  dialers_.clear();
  auto last = table_.close("this node stops");
  complete(last);
  table_.publish(counters_);
}

link_time link_loop::next_event(const peer_table::work& w, link_time now) const {
  if (readable_) return now;
  auto at = reload_at_;
  if (w.deadline) at = std::min(at, *w.deadline);
  if (ack_at_) at = std::min(at, *ack_at_);
  for (const auto& [node, d] : dialers_)
    if (!d.socket) at = std::min(at, d.dial_at);
  if (!condemned_.empty()) at = std::min(at, condemned_.front().at);
  return at;
}

void link_loop::carry_out(peer_table::work& w, link_time now) {
  for (auto& c : w.changes) {
    dialers_.erase(c.node);
    if (!c.endpoint.empty()) dialers_[c.node] = {c.generation, c.endpoint, nullptr, now, options_.reconnect_min};
  }
  for (auto& o : w.orders) {
    auto at = dialers_.find(o.node);
    if (at != dialers_.end() && at->second.generation == o.generation) {
      if (o.what.close) {
        log_.line(now, "warn", "session " + o.node, "link to node '" + o.node + "' ended: " + o.what.reason);
        hang_up(at->second, now);
      }
      if (at->second.socket) at->second.socket->push(std::move(o.what.wire));
    }
    complete(o.what.completions);
  }
  complete(w.completions);
}

void link_loop::complete(std::vector<link_sender::completion>& all) {
  for (auto& c : all) {
    ++(c.outcome == transport::outcome::delivered ? counters_.frames_out : counters_.failed);
    if (c.done) c.done(c.outcome);
  }
}

void link_loop::dial(const std::string& node, dialer& d, link_time now) {
  const auto* key = keys_.key_of(node);
  if (!key) {
    table_.disconnected(node, d.generation,
                        "node '" + node + "' has no line in " + file_.path().string() + "; append its " + node + ".pub");
    d.dial_at = now + options_.reload_every;
    return;
  }
  try {
    d.socket = std::make_unique<outgoing_socket>(context_, options_, self_, *key, d.endpoint);
  } catch (const zmq::error_t& e) { // out of sockets or file descriptors, or an address that cannot be parsed
    table_.disconnected(node, d.generation, "cannot connect to " + d.endpoint + ": " + e.what());
    log_.line(now, "error", "dial " + node, "cannot connect to node '" + node + "' at " + d.endpoint + ": " + e.what());
    hang_up(d, now);
  }
}

void link_loop::hang_up(dialer& d, link_time now) {
  d.socket.reset();
  d.dial_at = now + d.backoff;
  d.backoff = std::min(d.backoff * 2, options_.reconnect_max);
}

/// A peer that reaches this node is there: the link to it need not wait for its next try, up to reconnect_max later.
void link_loop::dial_again(const std::string& node, link_time now) {
  auto at = dialers_.find(node);
  if (at == dialers_.end() || table_.has_connection(node, at->second.generation)) return;
  at->second.socket.reset();
  at->second.dial_at = now;
  at->second.backoff = options_.reconnect_min;
}

void link_loop::listen(const std::string& node, dialer& d, link_time now) {
  auto heard = d.socket->listen();
  if (!heard.headers.empty() && table_.heard(node, d.generation, now, heard.headers)) {
    ++counters_.sessions_out;
    d.backoff = options_.reconnect_min;
    log_.line(now, "info", "up " + node, "link to node '" + node + "' is up");
  }
  if (heard.disconnected) {
    table_.disconnected(node, d.generation, heard.reason);
    log_.line(now, "warn", "session " + node, "link to node '" + node + "' broke: " + heard.reason);
    hang_up(d, now);
  } else if (heard.connected) {
    table_.connected(node, d.generation, now);
  } else if (!heard.reason.empty()) {
    table_.disconnected(node, d.generation, heard.reason); // never was connected: only words for the status
  }
}

void link_loop::poll(link_time until) {
  enum { wake, zap, frames, handshakes, fixed };
  std::vector<zmq::pollitem_t> items = {{nullptr, wake_fd_, ZMQ_POLLIN, 0},
                                        {zap_.handle(), 0, ZMQ_POLLIN, 0},
                                        {incoming_.handle(), 0, ZMQ_POLLIN, 0},
                                        {incoming_.monitor(), 0, ZMQ_POLLIN, 0}};
  std::vector<std::map<std::string, dialer>::iterator> dialed;
  for (auto at = dialers_.begin(); at != dialers_.end(); ++at) {
    if (!at->second.socket) continue;
    dialed.push_back(at);
    auto events = static_cast<short>(ZMQ_POLLIN | (at->second.socket->wants_to_write() ? ZMQ_POLLOUT : 0));
    items.push_back({at->second.socket->handle(), 0, events, 0});
    items.push_back({at->second.socket->monitor(), 0, ZMQ_POLLIN, 0});
  }
  // Rounded up: rounding down would spin through the last millisecond before a timer.
  auto wait = std::chrono::ceil<milliseconds>(until - std::chrono::steady_clock::now());
  try {
    zmq::poll(items, std::max(wait, milliseconds(0)));
  } catch (const zmq::error_t& e) {
    if (e.num() != EINTR) throw; // a bug: these sockets are ours alone
    return;
  }
  auto now = std::chrono::steady_clock::now();
  if (items[wake].revents) {
    std::uint64_t ignored = 0;
    (void)!::read(wake_fd_, &ignored, sizeof ignored);
  }
  if (items[zap].revents) zap_.answer(keys_);
  if (items[handshakes].revents)
    if (auto failed = incoming_.failed_handshakes()) {
      counters_.of(refusal::handshake) += failed;
      log_.line(now, "warn", "handshake",
                std::to_string(failed) + " connections to " + address() +
                    " ended before they were authenticated: no ZeroMQ peer with CURVE, another public key of "
                    "this node, or too slow");
    }
  for (std::size_t i = 0; i < dialed.size(); ++i)
    if (items[fixed + 2 * i].revents & ZMQ_POLLIN || items[fixed + 2 * i + 1].revents)
      listen(dialed[i]->first, dialed[i]->second, now);
  if (items[frames].revents || readable_) take_frames(now);
}

void link_loop::take_frames(link_time now) {
  incoming_socket::message m;
  std::map<std::string, std::uint64_t> received;
  std::uint64_t bytes = 0;
  readable_ = true;
  for (int i = 0; i < messages_at_once && bytes < bytes_at_once; ++i) {
    if (!incoming_.receive(m)) {
      readable_ = false;
      break;
    }
    auto size = take_message(m, now);
    received[m.node] += size;
    bytes += size;
    if (!ack_at_) ack_at_ = now + ack_delay;
    // A peer with its window full waits for these.
    if ((unacknowledged_ += size) > options_.window_bytes / 16) write_acks();
  }
  received.erase("");
  table_.received(received);
}

std::uint64_t link_loop::take_message(incoming_socket::message& m, link_time now) {
  const auto* owner = keys_.node_of(m.key);
  if (!owner || *owner != m.node || m.parts.empty()) { // its key is no longer in the peers file
    ++counters_.of(refusal::revoked);
    (void)receiver_.forget(m.node);
    incoming_.close(m.connection);
    log_.line(now, "warn", "revoked " + m.node,
              "cut node '" + m.node + "' off: its key is no longer in " + file_.path().string());
    m.node.clear();
    return 0;
  }
  std::vector<std::size_t> sizes;
  std::uint64_t bytes = 0;
  for (std::size_t i = 1; i < m.parts.size(); ++i) {
    sizes.push_back(m.parts[i].size());
    bytes += m.parts[i].size();
  }
  auto header = decode(view(m.parts.front()));
  auto v = header ? receiver_.received(m.connection, m.node, header.value(), sizes)
                  : receiver_.malformed(m.connection, m.node, header.error().message);
  if (v.deliver) {
    deliver(m.node, std::get<data>(header.value()), m.parts);
    receiver_.taken(m.node);
    return bytes;
  }
  if (v.refusal || v.bad) {
    refuse(m, v, now);
  } else if (v.answer) {
    (void)incoming_.write(m.connection, *v.answer);
    ++counters_.sessions_in;
    dial_again(m.node, now);
  }
  if (!v.superseded.empty()) incoming_.close(v.superseded);
  return bytes;
}

void link_loop::deliver(const std::string& node, const data& d, std::vector<zmq::message_t>& parts) {
  frame f;
  f.channel = static_cast<actors::cluster::channel>(d.channel);
  f.head = parts[1].to_string();
  f.parts.reserve(d.part_bytes.size());
  for (std::size_t i = 2; i < parts.size(); ++i) f.parts.push_back(from_part(std::move(parts[i])));
  ++counters_.frames_in;
  handlers_.at(d.channel)(node, std::move(f));
}

void link_loop::refuse(const incoming_socket::message& m, const link_receiver::verdict& v, link_time now) {
  if (v.refusal) ++counters_.of(*v.refusal);
  if (v.bad) ++counters_.of(*v.bad);
  auto kind = std::string(v.refusal ? name(*v.refusal) : name(*v.bad));
  log_.line(now, "warn", kind + " " + m.node,
            (v.refusal ? "refused node '" : "dropped a message of node '") + m.node + "' (" + kind + "): " + v.text);
  auto told = std::find_if(condemned_.begin(), condemned_.end(), [&](const auto& c) { return c.connection == m.connection; });
  if (told != condemned_.end()) { // it was told, and goes on
    condemned_.erase(told);
    incoming_.close(m.connection);
    return;
  }
  if (v.answer) (void)incoming_.write(m.connection, *v.answer);
  condemned_.push_back({m.connection, now + last_words});
  if (condemned_.size() > condemned_at_once) condemned_.front().at = now;
}

void link_loop::write_acks() {
  ack_at_.reset();
  unacknowledged_ = 0;
  for (const auto& a : receiver_.acks()) {
    auto w = incoming_.write(a.connection, a.what);
    if (w == incoming_socket::written::later) {
      receiver_.unsent(a.node);
      ack_at_ = std::chrono::steady_clock::now() + ack_delay; // a peer whose window is full sends nothing before it comes
    }
    if (w == incoming_socket::written::gone) (void)receiver_.forget(a.node);
  }
}

void link_loop::close_condemned(link_time now) {
  while (!condemned_.empty() && condemned_.front().at <= now) {
    incoming_.close(condemned_.front().connection);
    condemned_.pop_front();
  }
}

void link_loop::look_at_peers_file(link_time now) {
  reload_at_ = now + options_.reload_every;
  auto read = file_.read_if_changed();
  if (!read) return;
  if (*read) return use(std::move(read->value()), now);
  log_.line(now, "error", "peers",
            "the peers file was changed and cannot be used; the keys read before it stay valid. " + read->error().message);
}

void link_loop::use(peer_keys keys, link_time now) {
  for (const auto& [node, key] : keys_.by_node) {
    const auto* present = keys.key_of(node);
    if (present && *present == key) continue;
    if (auto connection = receiver_.forget(node); !connection.empty()) {
      ++counters_.of(refusal::revoked);
      incoming_.close(connection);
    }
    if (auto at = dialers_.find(node); at != dialers_.end() && at->second.socket) {
      table_.disconnected(node, at->second.generation, "its key was taken out of " + file_.path().string());
      hang_up(at->second, now);
    }
    log_.line(now, "warn", "key of " + node,
              "the key of node '" + node + "' was " + (present ? "replaced" : "revoked") + " in " + file_.path().string());
  }
  keys_ = std::move(keys);
  for (auto& [node, d] : dialers_)
    if (!d.socket) d.dial_at = now; // it may have got its line
}

} // namespace millrace::runtime::link
