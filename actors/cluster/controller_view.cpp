#include "actors/cluster/controller_view.hpp"

#include <algorithm>

namespace millrace::actors::cluster {
namespace {

using storage::catalog_guard;
using storage::partition_name;
using storage::partition_record;

constexpr std::string_view pipeline_prefix = "pipeline/";

std::string show(const partition_name& p) { return p.uid + '/' + std::to_string(p.partition); }
std::string join(const std::vector<std::string>& list) {
  std::string all;
  for (const auto& s : list) all += (all.empty() ? "" : ",") + s;
  return all;
}

/// Partitions that no pipeline has any more: a uid is never used again.
void remove_orphans(const cluster_view& view, controller_plan& plan) {
  const auto wanted = [&](const std::string& uid) {
    return std::any_of(view.pipelines.begin(), view.pipelines.end(), [&](const auto& p) { return p.uid == uid; });
  };
  for (const auto& [name, record] : view.parts) {
    if (wanted(name.uid)) continue;
    controller_decision d;
    d.what = "remove partition " + show(name) + ": its pipeline was deleted";
    d.guards.push_back({storage::part_key(name), record.mod_revision});
    d.writes.push_back({storage::part_key(name), std::nullopt, 0});
    if (const auto at = view.stores.find(name); at != view.stores.end())
      for (const auto& [node, s] : at->second) d.writes.push_back({storage::store_key(name, node), std::nullopt, 0});
    plan.decisions.push_back(std::move(d));
  }
  for (const auto& [name, stores] : view.stores) { // written by a replica that had not yet heard
    if (wanted(name.uid) || view.parts.contains(name)) continue;
    controller_decision d;
    d.what = "remove what is left of partition " + show(name);
    for (const auto& [node, s] : stores) {
      d.guards.push_back({storage::store_key(name, node), s.mod_revision});
      d.writes.push_back({storage::store_key(name, node), std::nullopt, 0});
    }
    plan.decisions.push_back(std::move(d));
  }
}

/// The first in-sync set: the replicas whose stores are there (storage/replication/record.hpp says why this is safe).
void begin_partitions(const cluster_view& view, const view_times& times, const controller_options& options,
                      controller_plan& plan) {
  for (const auto& [name, record] : view.parts) {
    if (record.epoch.value != 0 || !record.leader_node.empty()) continue;
    auto next = record;
    next.isr.clear();
    std::vector<catalog_guard> guards{{storage::part_key(name), record.mod_revision}};
    std::vector<std::string> missing;
    const auto stores = view.stores.find(name);
    for (const auto& node : record.replicas) {
      const auto* s = stores == view.stores.end() || !stores->second.contains(node) ? nullptr : &stores->second.at(node);
      if (!s || s->record.log_id != record.log_id) {
        missing.push_back(node);
        continue;
      }
      next.isr.push_back({node, s->record.store});
      guards.push_back({storage::store_key(name, node), s->mod_revision});
    }
    if (!missing.empty()) {
      const auto waited = times.waited.find(name);
      const bool long_enough = waited != times.waited.end() && waited->second >= options.bootstrap_wait;
      if (next.isr.size() < record.min_in_sync)
        plan.shortages.push_back(show(name) + " waits for the storage of node " + join(missing) +
                                 " to begin: " + std::to_string(next.isr.size()) + " of at least " +
                                 std::to_string(record.min_in_sync) + " are there");
      if (!long_enough || next.isr.size() < record.min_in_sync) continue;
    }
    if (next.isr == record.isr) continue;
    plan.decisions.push_back({std::move(guards),
                              {{storage::part_key(name), storage::encode_partition_record(next), 0}},
                              "partition " + show(name) + " begins with " + std::to_string(next.isr.size()) + " copies"});
  }
}

void place_partitions(const cluster_view& view, const view_times& times, const controller_options& options,
                      const std::function<std::uint64_t()>& draw, controller_plan& plan) {
  std::vector<placement_partition> partitions;
  std::map<partition_name, const cluster_view::pipeline*> of;
  for (const auto& p : view.pipelines) {
    if (!p.shape) continue;
    for (std::uint32_t i = 0; i < p.shape->partitions; ++i) {
      placement_partition x;
      x.name = {p.uid, i};
      x.pinned = p.shape->pinned;
      x.wanted = x.pinned.empty() ? std::max(1u, p.shape->replicas) : 1;
      x.min_in_sync = std::clamp(p.shape->min_in_sync, 1u, x.wanted);
      if (const auto at = view.parts.find(x.name); at != view.parts.end()) {
        x.record = at->second;
        // Elections rely on it: it is the record's for good, whatever the spec says later.
        x.min_in_sync = std::max(1u, at->second.min_in_sync);
        x.wanted = std::max(x.wanted, x.min_in_sync);
      }
      of[x.name] = &p;
      partitions.push_back(std::move(x));
    }
  }
  auto placed = place(placement_nodes(view, times), partitions, options.placement);
  plan.shortages.insert(plan.shortages.end(), placed.shortages.begin(), placed.shortages.end());
  for (auto& change : placed.changes) {
    const auto& key = storage::part_key(change.name);
    const auto now = std::find_if(partitions.begin(), partitions.end(), [&](const auto& p) { return p.name == change.name; });
    auto next = now->record;
    const bool made = !view.parts.contains(change.name);
    if (made) {
      next.log_id = {draw()};
      next.min_in_sync = now->min_in_sync;
    }
    next.replicas = change.replicas;
    controller_decision d;
    d.guards.push_back({key, made ? 0 : next.mod_revision});
    const auto& p = *of[change.name];
    d.guards.push_back(catalog_guard::created_at(std::string(pipeline_prefix) + p.name, p.create_revision));
    d.writes.push_back({key, storage::encode_partition_record(next), 0});
    d.what = "partition " + p.name + '/' + std::to_string(change.name.partition) + (made ? " is made" : "") + ": replicas " +
             join(change.replicas) + " (" + change.why + ")";
    plan.decisions.push_back(std::move(d));
  }
}

/// Nodes that were to leave and hold nothing any more; store records of copies that nobody wants.
void forget_nodes(const cluster_view& view, controller_plan& plan) {
  for (const auto& [name, stores] : view.stores) {
    const auto part = view.parts.find(name);
    if (part == view.parts.end() || part->second.epoch.value == 0) continue;
    for (const auto& [node, s] : stores)
      if (!part->second.wants(node) && !part->second.in_sync(node))
        plan.decisions.push_back(
            {{{storage::part_key(name), part->second.mod_revision}, {storage::store_key(name, node), s.mod_revision}},
             {{storage::store_key(name, node), std::nullopt, 0}},
             "partition " + show(name) + ": the copy on " + node + " is not needed any more"});
  }
  for (const auto& m : view.members) {
    if (!m.leaving || m.alive) continue;
    const bool holds = std::any_of(view.parts.begin(), view.parts.end(),
                                   [&](const auto& p) { return p.second.wants(m.node) || p.second.in_sync(m.node); });
    if (holds) continue;
    controller_decision d;
    d.what = "node " + m.node + " has left the cluster: it holds nothing any more and is not running";
    d.guards.push_back({std::string(node_prefix) + m.node, 0});
    for (const auto prefix : {host_prefix, leave_prefix, drain_prefix})
      d.writes.push_back({std::string(prefix) + m.node, std::nullopt, 0});
    plan.decisions.push_back(std::move(d));
  }
}

} // namespace

cluster_view read_view(const storage::catalog_mirror& mirror, const shape_reader& shape) {
  cluster_view view;
  for (const auto& e : mirror.list(pipeline_prefix)) {
    const auto record = supervisor::decode_record(e.value);
    if (record)
      view.pipelines.push_back({record->name, record->uid, e.create_revision, shape(*record)});
    else
      view.damaged.push_back("catalog key " + e.key + " cannot be read");
  }
  for (const auto& e : mirror.list(storage::part_prefix)) {
    const auto name = storage::parse_part_key(e.key);
    auto record = storage::decode_partition_record(e.key, e.value, e.mod_revision);
    if (name && record)
      view.parts.emplace(*name, std::move(record).value());
    else
      view.damaged.push_back(name ? record.error().message : "catalog key " + e.key + " is no partition's");
  }
  for (const auto& e : mirror.list(storage::store_prefix)) {
    const auto name = storage::parse_store_key(e.key);
    auto record = storage::decode_store_record(e.key, e.value);
    if (name && record)
      view.stores[name->first][name->second] = {record.value(), e.mod_revision};
    else
      view.damaged.push_back(name ? record.error().message : "catalog key " + e.key + " is no store's");
  }
  view.members = members_of(mirror);
  for (const auto& e : mirror.list(leave_prefix))
    if (auto record = decode_leave_record(e.key, e.value)) view.leaves[e.key.substr(leave_prefix.size())] = record.value();
  return view;
}

std::vector<placement_node> placement_nodes(const std::vector<member>& members) {
  std::vector<placement_node> nodes;
  for (const auto& m : members) {
    const auto zone = m.record.labels.find("zone");
    nodes.push_back({m.node, zone == m.record.labels.end() ? "" : zone->second, m.alive, m.draining, m.leaving, {}, {}});
  }
  return nodes;
}

std::vector<placement_node> placement_nodes(const cluster_view& view, const view_times& times) {
  auto nodes = placement_nodes(view.members);
  for (auto& n : nodes) {
    if (const auto at = times.down.find(n.node); at != times.down.end()) n.down = at->second;
    if (const auto at = view.leaves.find(n.node); at != view.leaves.end()) n.successor = at->second.successor;
  }
  return nodes;
}

controller_plan decide(const cluster_view& view, const view_times& times, const controller_options& options,
                       const std::function<std::uint64_t()>& draw) {
  controller_plan plan;
  // A record that cannot be read may be that of any pipeline: nothing is removed beside it.
  if (view.damaged.empty()) remove_orphans(view, plan);
  begin_partitions(view, times, options, plan);
  if (view.damaged.empty()) place_partitions(view, times, options, draw, plan);
  if (view.damaged.empty()) forget_nodes(view, plan);
  for (const auto& d : view.damaged)
    plan.shortages.push_back(d + ": partitions are neither placed nor removed until it is mended");
  return plan;
}

} // namespace millrace::actors::cluster
