#include "registry.hpp"

namespace millrace::simulation {
namespace {

std::string epoch_text(const st::partition_record& r) { return "epoch " + std::to_string(r.epoch.value); }

void check_change(const st::partition_record& from, const st::partition_record& to) {
  if (to.log_id != from.log_id || to.min_in_sync != from.min_in_sync)
    throw broken{"I10: a replica changed what only an operator may"};
  if (to.epoch != from.epoch) {
    if (to.epoch.value != from.epoch.value + 1)
      throw broken{"I10: the registry went from " + epoch_text(from) + " to " + epoch_text(to)};
    if (to.isr != from.isr) throw broken{"I10: an election changed the in-sync set, " + epoch_text(to)};
  } else if (from.epoch.value > 0 && !to.leader_node.empty() && to.leader_node != from.leader_node) {
    throw broken{"I10: a second leader of " + epoch_text(to)};
  }
  if (to.isr.size() < to.min_in_sync) throw broken{"I10: an in-sync set below its minimum in " + epoch_text(to)};
}

} // namespace

rp::replica::outcome registry::apply(const rp::actions::propose& p, std::uint64_t& mod_revision) {
  if (p.record.mod_revision != now_.record.mod_revision) return rp::replica::outcome::conflict;
  for (const auto& g : p.guards) {
    const auto at = now_.members.find(g.node);
    if ((at == now_.members.end() ? 0 : at->second) != g.session) return rp::replica::outcome::conflict;
  }
  check_change(now_.record, p.record);
  commit([&] {
    now_.record = p.record;
    now_.record.mod_revision = mod_revision = now_.revision;
  });
  return rp::replica::outcome::stored;
}

std::uint64_t registry::open_session(const std::string& node) {
  commit([&] { now_.members[node] = now_.revision; });
  return now_.revision;
}

void registry::end_session(const std::string& node) {
  if (now_.members.count(node) != 0) commit([&] { now_.members.erase(node); });
}

void registry::put_store(const std::string& node, st::store_record r) {
  commit([&] { now_.stores[node] = r; });
}

void registry::set_replicas(std::vector<std::string> replicas) {
  commit([&] {
    now_.record.replicas = std::move(replicas);
    now_.record.mod_revision = now_.revision;
  });
}

} // namespace millrace::simulation
