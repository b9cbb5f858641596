// What operators do to nodes: each is a key in the catalog, written from wherever they ask; the controller and the leaders heed
// it.
#include "actors/cluster/controller.hpp"
#include "actors/cluster/services.hpp"
#include "actors/supervisor/node_supervisor.hpp"
#include "actors/supervisor/pipeline_supervisor.hpp"

#include <algorithm>

namespace millrace::actors::supervisor {

using json = nlohmann::ordered_json;
using cluster::member;

namespace {

std::string joined(const std::vector<std::string>& list) {
  std::string out;
  for (const auto& s : list) out += (out.empty() ? "" : ", ") + s;
  return out;
}
std::string plural(std::size_t n, const char* one, const char* many) { return std::to_string(n) + ' ' + (n == 1 ? one : many); }

admin_reply failed(const storage::failure& why) {
  const char* code = why.is(storage::errc::not_found)  ? "not_found"
                     : why.is(storage::errc::conflict) ? "conflict"
                     : why.is(storage::errc::invalid)  ? "invalid"
                                                       : "unavailable";
  return refused(code, why.message);
}

} // namespace

admin_reply node_state::maintain(const admin_call& c) {
  if (!clustered())
    return refused("refused", "node " + ctx->options.name +
                                  " is not part of a cluster: its configuration has no `cluster` section, so there is no other "
                                  "node to hand anything to");
  auto& catalog = *ctx->options.cluster->catalog;
  const auto& node = c.name;
  const auto members = ctx->options.cluster->membership->members();
  const auto target = std::find_if(members.begin(), members.end(), [&](const member& m) { return m.node == node; });
  const bool known = target != members.end();
  auto serves = [&](const std::string& name) { // could lead, and take copies
    return std::any_of(members.begin(), members.end(),
                       [&](const member& m) { return m.node == name && m.node != node && m.alive && !m.draining && !m.leaving; });
  };
  const auto others =
      static_cast<std::size_t>(std::count_if(members.begin(), members.end(), [&](const member& m) { return serves(m.node); }));

  std::vector<std::string> leads, holds, pinned, stuck, homeless;
  for (const auto& [name, e] : pipelines) {
    if (!e.record) continue;
    const bool leading = e.record->leader_node == node;
    if (leading) leads.push_back(name);
    if (e.record->wants(node)) {
      holds.push_back(name);
      if (!e.pin.empty())
        pinned.push_back(name);
      else if (others < e.replicas)
        homeless.push_back(name);
    }
    if (leading && std::none_of(e.record->isr.begin(), e.record->isr.end(), [&](const auto& m) { return serves(m.node); }))
      stuck.push_back(name);
  }

  std::string will;
  json notes = json::array();
  storage::result<void> done = storage::success();
  if (c.from == "drain") {
    if (known && !stuck.empty() && !c.force)
      return refused("refused", "node " + node + " leads " + joined(stuck) +
                                    ", and no other in-sync copy of it is on a node that is alive and not draining: nobody "
                                    "could take over; expected another copy in sync (`millrace cluster status`), or --force "
                                    "to have it drain as far as it can");
    done = cluster::drain_node(catalog, node);
    will = leads.empty() ? "it leads nothing now and gets no new copies"
                         : "it hands over " + plural(leads.size(), "pipeline", "pipelines") + " that it leads (" + joined(leads) +
                               ") and gets no new copies";
    will += "; its copies stay and follow";
    if (!stuck.empty()) notes.push_back("it goes on leading " + joined(stuck) + " until another copy is in sync");
    if (done) notes.push_back("`millrace cluster undrain " + node + "` takes it back");
  } else if (c.from == "undrain") {
    done = cluster::undrain_node(catalog, node);
    will = known && target->draining ? "it takes copies again, and within about 15 s the lead of what it is the first choice for"
                                     : "it was not draining: nothing changes";
  } else if (c.from == "decommission") {
    if (known && !pinned.empty() && !c.force)
      return refused("refused", "node " + node + " holds " + joined(pinned) +
                                    ", which reads or writes files of that node's disk and cannot move; expected the pipeline "
                                    "to be deleted first, or --force to move all else");
    done = cluster::decommission_node(catalog, node);
    will = holds.empty() ? "it holds no copies"
                         : plural(holds.size(), "copy moves", "copies move") + " to other nodes (" + joined(holds) +
                               "), each one only once its successor is in sync";
    if (known) will += target->alive ? "; stop the node when it holds none, and the cluster forgets it" : "; it is not running";
    if (!homeless.empty())
      notes.push_back("no other node can take " + joined(homeless) +
                      " now: it stays until one joins (or `log.replicas` of the spec is lowered)");
    if (!pinned.empty()) notes.push_back("pinned, and stays: " + joined(pinned));
    if (done) notes.push_back("`millrace cluster keep " + node + "` takes it back, as far as nothing has moved");
  } else if (c.from == "replace") {
    if (c.load.empty()) return refused("invalid", "no successor was named; expected `cluster replace OLD NEW`");
    done = cluster::replace_node(catalog, node, c.load);
    will = holds.empty() ? "it held no copies; the cluster forgets it"
                         : "node " + c.load + " gets its " + plural(holds.size(), "copy", "copies") + " (" + joined(holds) +
                               "), filled by the leaders; then the cluster forgets node " + node;
    if (done)
      notes.push_back("a node that starts as " + node + " before that is to be emptied too; `millrace cluster keep " + node +
                      "` takes it back, as far as nothing has moved");
  } else if (c.from == "keep") {
    done = cluster::keep_node(catalog, node);
    will = known && target->leaving ? "it keeps the copies that it still has and gets others again"
                                    : "it was not leaving: nothing changes";
  } else {
    return refused("invalid", "no such action '" + c.from + "'; expected drain, undrain, decommission, replace or keep");
  }
  if (!done) return failed(done.error());
  ctx->log("info", "node", c.from + " of node " + node + (c.load.empty() ? "" : " by " + c.load) + ": " + will);
  return document({{"node", node}, {"action", c.from}, {"will", will}, {"notes", notes}, {"watch", "millrace cluster status"}});
}

} // namespace millrace::actors::supervisor
