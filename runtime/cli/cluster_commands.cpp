#include "runtime/cli/command.hpp"

#include <CLI/CLI.hpp>

namespace millrace::runtime::cli {
namespace {

using method = actors::admin_call::method;

std::string joined(const json& list) {
  std::string out;
  if (list.is_array())
    for (const auto& v : list) out += (out.empty() ? "" : ",") + (v.is_string() ? v.get<std::string>() : v.dump());
  return out;
}
std::string pairs(const json& object) {
  std::string out;
  if (object.is_object())
    for (const auto& [key, v] : object.items())
      out += (out.empty() ? "" : " ") + key + "=" + (v.is_string() ? v.get<std::string>() : v.dump());
  return out;
}
bool is(const json& row, const char* key) { return field(row, key) == "true"; }

table_cell link_of(const json& node) {
  if (!node.contains("connected")) return ""; // the node that was asked, or one that this one does not dial
  return is(node, "connected") ? table_cell{"up", colour::green} : table_cell{"down", colour::red};
}

exit_status cluster_status(command_context& context) {
  actors::admin_call call;
  call.what = method::cluster;
  auto answer = context.ask(call);
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  table nodes({{"NODE"}, {"ALIVE"}, {"STATE"}, {"CATALOG"}, {"CONTROLLER"}, {"ADDRESS"}, {"LINK"}, {"LABELS"}});
  const auto controller = field(answer, "controller");
  for (const auto& n : answer.value("nodes", json::array())) {
    const bool alive = is(n, "alive");
    const auto state = is(n, "leaving") ? "leaving" : is(n, "draining") ? "draining" : "";
    const auto catalog = field(n, "catalog");
    nodes.row({field(n, "node"),
               {alive ? "yes" : "no", alive ? colour::green : colour::red},
               {state, colour::yellow},
               {catalog, catalog == "member" ? colour::green : colour::yellow},
               field(n, "node") == controller ? "yes" : "",
               field(n, "link"),
               link_of(n),
               pairs(n.value("labels", json::object()))});
  }
  context.out(nodes.text(context.screen) + "\n");
  table partitions({{"PIPELINE"},
                    {"PARTITION", true},
                    {"LEADER"},
                    {"EPOCH", true},
                    {"REPLICAS"},
                    {"IN SYNC"},
                    {"MIN", true},
                    {"HIGH WATERMARK", true},
                    {"LAG"},
                    {"PINNED TO"}});
  for (const auto& p : answer.value("partitions", json::array())) {
    const auto in_sync = p.value("in_sync", json::array()), replicas = p.value("replicas", json::array());
    const auto leader = field(p, "leader");
    partitions.row({field(p, "pipeline"),
                    field(p, "partition"),
                    leader.empty() ? table_cell{"none", colour::red} : table_cell{leader},
                    field(p, "epoch"),
                    joined(replicas),
                    {joined(in_sync), in_sync.size() < replicas.size() ? colour::yellow : colour::none},
                    field(p, "min_in_sync"),
                    grouped(count(p, "high_watermark")),
                    pairs(p.value("lag", json::object())),
                    field(p, "pinned_to")});
  }
  context.out(partitions.text(context.screen));
  std::string below;
  for (const char* key : {"alarms", "shortages"})
    for (const auto& line : answer.value(key, json::array()))
      below += context.screen.paint(std::string(key) == "alarms" ? "alarm: " : "shortage: ", colour::yellow) +
               printable(line.get<std::string>()) + "\n";
  if (!below.empty()) context.out("\n" + below);
  return exit_status::done;
}

struct maintain_options {
  std::string node, successor;
  bool force = false;
};

exit_status maintain(command_context& context, const char* action, const maintain_options& o) {
  actors::admin_call call;
  call.what = method::maintain;
  call.from = action;
  call.name = o.node;
  call.load = o.successor;
  call.force = o.force;
  auto answer = context.ask(call);
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  context.out("node " + o.node + ": " + printable(field(answer, "will")) + "\n");
  for (const auto& n : answer.value("notes", json::array())) context.out("  " + printable(n.get<std::string>()) + "\n");
  context.out("  watch it: " + field(answer, "watch") + "\n");
  return exit_status::done;
}

} // namespace

void add_cluster_commands(CLI::App& app, command_context& context) {
  auto* cluster = app.add_subcommand("cluster", "Look at the cluster, take nodes out of it")->require_subcommand(1);
  cluster->add_subcommand("status", "Nodes, leases, partition leaders, epochs, in-sync replicas, lag, alarms")
      ->callback([&context] { context.action = [&context] { return cluster_status(context); }; });

  auto o = std::make_shared<maintain_options>();
  auto add = [&](const char* action, const char* help) {
    auto* command = cluster->add_subcommand(action, help);
    const bool replaces = std::string_view(action) == "replace";
    command->add_option(replaces ? "OLD" : "NODE", o->node, replaces ? "The node that is gone for good" : "The node")->required();
    if (replaces) command->add_option("NEW", o->successor, "A running node that gets its copies")->required();
    command->callback(
        [&context, o, action] { context.action = [&context, o, action] { return maintain(context, action, *o); }; });
    return command;
  };
  add("drain", "Have a node hand over what it leads, and give it nothing new: before a restart or an upgrade")
      ->add_flag("--force", o->force, "Even if nobody could take over some of it now");
  add("undrain", "Take a drain back");
  add("decommission", "Have a node hand over all of its copies, to leave the cluster")
      ->add_flag("--force", o->force, "Even if it holds what cannot move");
  add("replace", "Give the copies of a node that is gone for good to another one");
  add("keep", "Take back a decommission or a replace, as far as nothing has moved");
}

} // namespace millrace::runtime::cli
