#include "runtime/link/link_receiver.hpp"

#include <algorithm>
#include <utility>

namespace millrace::runtime::link {

link_receiver::verdict link_receiver::received(const std::string& connection, const std::string& node, const link_header& h,
                                               std::span<const std::size_t> sizes) {
  if (const auto* d = std::get_if<data>(&h)) return take(connection, node, *d, sizes);
  if (!sizes.empty()) return reject(connection, node, bad_frame::sizes, "message parts behind a header that announces none");
  if (const auto* hi = std::get_if<hello>(&h)) return greet(connection, node, *hi);
  if (std::holds_alternative<goodbye>(h)) {
    auto at = sessions_.find(node);
    if (at != sessions_.end() && at->second.connection == connection) sessions_.erase(at);
    return {};
  }
  return reject(connection, node, bad_frame::unexpected, "a message that only receivers send");
}

link_receiver::verdict link_receiver::malformed(const std::string& connection, const std::string& node, std::string what) {
  return reject(connection, node, bad_frame::malformed, std::move(what));
}

link_receiver::verdict link_receiver::greet(const std::string& connection, const std::string& node, const hello& h) {
  hello_reply reply{0, std::nullopt, {}, self_.node, self_.run, h.session, self_.window_bytes, self_.max_frame_bytes};
  auto refuse = [&](refusal why, std::string text) {
    verdict v;
    reply.refusal = why;
    reply.reason = text;
    v.answer = reply;
    v.close = true;
    v.refusal = why;
    v.text = std::move(text);
    auto at = sessions_.find(node);
    if (at != sessions_.end() && at->second.connection == connection) sessions_.erase(at);
    return v;
  };
  if (h.cluster != self_.cluster)
    return refuse(refusal::cluster, "node '" + h.node + "' belongs to cluster '" + h.cluster + "', this node to '" +
                                        self_.cluster + "'; cluster.id must be the same in both configurations");
  if (h.node != node)
    return refuse(refusal::node, "the hello names node '" + h.node + "', but the peers file gives its key to '" + node + "'");
  if (h.target != self_.node)
    return refuse(refusal::target, "the hello is meant for node '" + h.target + "', this is '" + self_.node +
                                       "'; is an address or a name in the peers file wrong?");
  auto version = std::min(h.version_max, version_max);
  if (version < std::max(h.version_min, version_min))
    return refuse(refusal::version, "node '" + h.node + "' speaks versions " + std::to_string(h.version_min) + " to " +
                                        std::to_string(h.version_max) + " of the link's protocol, this node " +
                                        std::to_string(version_min) + " to " + std::to_string(version_max));
  auto newest = newest_.find(node);
  if (h.session == 0 || (newest != newest_.end() && newest->second.first == h.run && h.session <= newest->second.second))
    return refuse(refusal::replayed, "session " + std::to_string(h.session) + " of node '" + h.node + "' is not a new one");

  newest_[node] = {h.run, h.session};
  verdict v;
  auto& s = sessions_[node];
  if (!s.connection.empty() && s.connection != connection) v.superseded = s.connection;
  s = {connection, h.run, h.session, 1, false};
  reply.version = version;
  v.answer = reply;
  return v;
}

link_receiver::verdict link_receiver::take(const std::string& connection, const std::string& node, const data& d,
                                           std::span<const std::size_t> sizes) {
  auto at = sessions_.find(node);
  if (at == sessions_.end() || at->second.connection != connection)
    return reject(connection, node, bad_frame::before_hello, "data on a connection that has no session");
  auto& s = at->second;
  if (d.session != s.number)
    return reject(connection, node, bad_frame::stale_session,
                  "data of session " + std::to_string(d.session) + "; the one that was greeted is " + std::to_string(s.number));
  if (d.sequence != s.next) {
    auto text = "sequence " + std::to_string(d.sequence) + "; expected " + std::to_string(s.next);
    return reject(connection, node, d.sequence < s.next ? bad_frame::duplicate : bad_frame::gap, std::move(text));
  }
  if (auto wrong = check_parts(d, sizes, self_.max_frame_bytes)) return reject(connection, node, wrong->reason, wrong->text);
  if (!channels_.count(d.channel))
    return reject(connection, node, bad_frame::unexpected,
                  "a frame of channel " + std::to_string(d.channel) + ", which nobody here handles");
  ++s.next; // before the handler runs: whatever happens there, this sequence is not delivered again
  verdict v;
  v.deliver = true;
  return v;
}

link_receiver::verdict link_receiver::reject(const std::string& connection, const std::string& node, bad_frame reason,
                                             std::string text) {
  auto at = sessions_.find(node);
  if (at != sessions_.end() && at->second.connection == connection) sessions_.erase(at);
  verdict v;
  v.answer = goodbye{0, text};
  v.close = true;
  v.bad = reason;
  v.text = std::move(text);
  return v;
}

void link_receiver::taken(const std::string& node) {
  auto at = sessions_.find(node);
  if (at != sessions_.end()) at->second.ack_due = true;
}

void link_receiver::unsent(const std::string& node) { taken(node); }

std::vector<link_receiver::acknowledgement> link_receiver::acks() {
  std::vector<acknowledgement> out;
  for (auto& [node, s] : sessions_)
    if (std::exchange(s.ack_due, false)) out.push_back({node, s.connection, {s.number, s.next, self_.window_bytes}});
  return out;
}

std::string link_receiver::forget(const std::string& node) {
  auto at = sessions_.find(node);
  if (at == sessions_.end()) return {};
  auto connection = at->second.connection;
  sessions_.erase(at);
  return connection;
}

} // namespace millrace::runtime::link
