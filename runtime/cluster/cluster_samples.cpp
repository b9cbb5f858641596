#include "runtime/cluster/cluster_samples.hpp"

namespace millrace::runtime::cluster {
namespace {

using json = nlohmann::ordered_json;

void add(json& out, const char* type, const char* name, const char* help, json labels, json value) {
  out.push_back({{"name", name}, {"type", type}, {"help", help}, {"labels", std::move(labels)}, {"value", std::move(value)}});
}
void gauge(json& out, const char* name, const char* help, json value, json labels = json::object()) {
  add(out, "gauge", name, help, std::move(labels), std::move(value));
}
void counter(json& out, const char* name, const char* help, json value, json labels = json::object()) {
  add(out, "counter", name, help, std::move(labels), std::move(value));
}

} // namespace

json cluster_samples(const actors::cluster::membership_status& member, const storage::etcd_status& etcd,
                     const actors::cluster::controller_status& controller) {
  using state = enum actors::cluster::membership_status::state; // a member has the same name
  json out = json::array();
  for (const auto s : {state::joining, state::member, state::unreachable, state::refused})
    gauge(out, "millrace_membership_state", "1 for the state of this node's membership.", member.state == s ? 1 : 0,
          {{"state", to_string(s)}});
  gauge(out, "millrace_session_age_seconds", "Since this node's lease was last kept alive.",
        std::chrono::duration<double>(member.since_alive).count());
  counter(out, "millrace_sessions_total", "Sessions that this node has had; more than one: a lease was lost.", member.sessions);
  counter(out, "millrace_keepalive_failures_total", "Keep-alives of the lease that had no answer.", member.keepalive_failures);
  gauge(out, "millrace_catalog_reachable", "1 if etcd answered the last question.", etcd.reachable ? 1 : 0);
  counter(out, "millrace_catalog_questions_total", "Questions to etcd.", etcd.questions);
  counter(out, "millrace_catalog_failures_total", "Questions to etcd without an answer.", etcd.failures);
  counter(out, "millrace_catalog_watch_restarts_total", "Watches of etcd that were begun anew.", etcd.watch_restarts);
  gauge(out, "millrace_controller_active", "1 on the node that assigns partitions.", controller.active ? 1 : 0);
  if (controller.active)
    gauge(out, "millrace_controller_shortages", "What the controller cannot place now.", controller.shortages.size());
  counter(out, "millrace_controller_decisions_total", "Assignments written by this node.", controller.decisions);
  counter(out, "millrace_controller_conflicts_total", "Assignments that something else overtook.", controller.conflicts);
  return out;
}

json link_samples(const std::vector<actors::cluster::peer_status>& peers, const link::link_counters& counters) {
  json out = json::array();
  for (const auto& p : peers) {
    const json peer{{"peer", p.node}};
    for (const bool sent : {true, false}) {
      auto labels = peer;
      labels["direction"] = sent ? "sent" : "received";
      counter(out, "millrace_link_bytes_total", "Bytes of frames between this node and a peer.",
              sent ? p.sent_bytes : p.received_bytes, std::move(labels));
    }
    if (p.address.empty()) continue; // only sends to us
    gauge(out, "millrace_link_connected", "1 if the link to a peer is up.", p.connected ? 1 : 0, peer);
    gauge(out, "millrace_link_unacknowledged_bytes", "Bytes on their way to a peer.", p.unacknowledged_bytes, peer);
    counter(out, "millrace_link_reconnects_total", "Times that the link to a peer was made anew.", p.reconnects, peer);
  }
  counter(out, "millrace_link_failed_total", "Frames that were not delivered: the link broke, or its window was full.",
          counters.failed);
  for (std::size_t i = 0; i < link::refusals; ++i)
    counter(out, "millrace_link_refused_total", "Peers that were not let in, or put out.", counters.refused[i],
            {{"reason", link::name(static_cast<link::refusal>(i))}});
  for (std::size_t i = 0; i < link::bad_frames; ++i)
    counter(out, "millrace_link_bad_frames_total", "Messages of a known peer that ended its session.", counters.bad[i],
            {{"reason", link::name(static_cast<link::bad_frame>(i))}});
  return out;
}

} // namespace millrace::runtime::cluster
