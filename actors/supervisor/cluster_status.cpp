// What operators and monitors see of the cluster from one node: its own replicas, and what all nodes together answered.
#include "actors/cluster/hub.hpp"
#include "actors/cluster/routed_calls.hpp"
#include "actors/supervisor/node_supervisor.hpp"

namespace millrace::actors::supervisor {

using json = nlohmann::ordered_json;

/// A row for each replica here, and one without `uid` that tells how the node itself is.
json node_state::local_replicas() const {
  const auto& cluster = *ctx->options.cluster;
  json out = json::array();
  json self_row = cluster.facts ? cluster.facts() : json::object();
  self_row["node"] = ctx->options.name;
  out.push_back(std::move(self_row));
  for (const auto& v : cluster.hub->views()) {
    json followers = json::object();
    for (const auto& f : v.followers)
      followers[f.node] = {{"attached", f.attached}, {"in_sync", f.in_sync}, {"durable", f.durable.value}};
    out.push_back({{"node", ctx->options.name},
                   {"uid", v.partition.uid},
                   {"partition", v.partition.partition},
                   {"role", v.role},
                   {"epoch", v.epoch.value},
                   {"end", v.end.value},
                   {"high_watermark", v.high_watermark.value},
                   {"followers", std::move(followers)},
                   {"alarms", v.alarms}});
  }
  return out;
}

/// `rows`: those of local_replicas() of every node that answered.
json node_state::cluster_document(const json& rows) const {
  const auto& cluster = *ctx->options.cluster;
  json nodes = cluster::node_documents(cluster);
  json alarms = json::array(), shortages = json::array();
  for (auto& n : nodes) {
    n["answers"] = false;
    for (const auto& r : rows) {
      if (r.contains("uid") || r.value("node", "") != n["node"]) continue;
      n["answers"] = true;
      for (const auto* key : {"catalog", "reason", "etcd", "since_alive_seconds"})
        if (r.contains(key)) n[key] = r[key];
      for (const auto& s : r.value("shortages", json::array())) shortages.push_back(s);
    }
    const std::string node = n["node"], catalog = n.value("catalog", "");
    if (!n["answers"] && n["alive"])
      alarms.push_back("node " + node + " is alive by its lease, but does not answer " + ctx->options.name);
    if (catalog == "unreachable" || catalog == "refused")
      alarms.push_back("node " + node + ": the catalog is " + catalog +
                       (n.value("reason", "").empty() ? "" : ": " + n.value("reason", "")));
  }
  json partitions = json::array();
  for (const auto& [name, e] : pipelines) {
    json in_sync = json::array(), wanted = json::array(), lag = json::object(), own = json::array(), ends = json::object();
    std::uint64_t high_watermark = 0, end = 0;
    if (e.record) {
      for (const auto& m : e.record->isr) in_sync.push_back(m.node);
      for (const auto& r : e.record->replicas) wanted.push_back(r);
    }
    for (const auto& r : rows) {
      if (r.value("uid", "") != e.uid) continue;
      const std::string node = r["node"];
      for (const auto& a : r["alarms"]) {
        own.push_back(a);
        alarms.push_back("pipeline " + name + ", node " + node + ": " + a.get<std::string>());
      }
      ends[node] = r["end"];
      if (r["role"] == "leader" && e.record && r["epoch"] == e.record->epoch.value) {
        high_watermark = r["high_watermark"];
        end = r["end"];
      }
    }
    for (auto& [node, at] : ends.items()) {
      const auto reached = at.get<std::uint64_t>();
      if (!e.record || node != e.record->leader_node) lag[node] = end > reached ? end - reached : 0;
    }
    const auto leader = leader_of(e);
    if (leader.empty() && e.record && e.record->epoch.value > 0)
      alarms.push_back("pipeline " + name + ": no node that is alive leads it");
    partitions.push_back({{"pipeline", name},
                          {"partition", 0},
                          {"leader", leader},
                          {"epoch", e.record ? e.record->epoch.value : 0},
                          {"replicas", wanted},
                          {"in_sync", in_sync},
                          {"min_in_sync", e.record ? e.record->min_in_sync : e.min_in_sync},
                          {"pinned_to", e.pin},
                          {"high_watermark", high_watermark},
                          {"lag", lag},
                          {"alarms", own}});
  }
  return {{"nodes", nodes},
          {"controller", cluster::controller_of(cluster)},
          {"partitions", partitions},
          {"shortages", shortages},
          {"alarms", alarms}};
}

/// For /metrics: each node tells of its own copies.
json node_state::cluster_samples() const {
  const auto& cluster = *ctx->options.cluster;
  json out = cluster.samples ? cluster.samples() : json::array();
  std::map<std::string, std::string> name_of;
  for (const auto& [name, e] : pipelines) name_of[e.uid] = name;
  auto gauge = [&](const char* name, const char* help, json labels, json value) {
    out.push_back(
        {{"name", name}, {"type", "gauge"}, {"help", help}, {"labels", std::move(labels)}, {"value", std::move(value)}});
  };
  for (const auto& v : cluster.hub->views()) {
    const auto named = name_of.find(v.partition.uid);
    if (named == name_of.end()) continue;
    const json at{{"pipeline", named->second}, {"partition", std::to_string(v.partition.partition)}};
    for (const char* role : {"starting", "follower", "candidate", "leader", "halted"}) {
      auto labels = at;
      labels["role"] = role;
      gauge("millrace_replica_role", "1 for the role that this node's copy has.", std::move(labels), v.role == role ? 1 : 0);
    }
    gauge("millrace_replica_epoch", "Epoch that this node's copy is in.", at, v.epoch.value);
    gauge("millrace_replica_end_offset", "Offset behind this node's copy.", at, v.end.value);
    gauge("millrace_replica_high_watermark", "Offset below which this node's copy knows all to be acknowledged.", at,
          v.high_watermark.value);
    gauge("millrace_replica_alarms", "Reasons why this node's copy needs attention.", at, v.alarms.size());
    if (v.role != "leader") continue;
    std::size_t in_sync = 1; // the leader itself
    for (const auto& f : v.followers) {
      in_sync += f.in_sync;
      auto labels = at;
      labels["follower"] = f.node;
      gauge("millrace_replica_lag_changes", "Offsets that a follower has not stored; told by the leader.", labels,
            v.end > f.durable ? v.end.value - f.durable.value : 0);
      gauge("millrace_replica_attached", "1 if the leader feeds this follower.", std::move(labels), f.attached ? 1 : 0);
    }
    gauge("millrace_in_sync_replicas", "Copies that count for acknowledgements; told by the leader.", at, in_sync);
  }
  return out;
}

} // namespace millrace::actors::supervisor
