#include "runtime/cli/command.hpp"

#include <CLI/CLI.hpp>

#include <chrono>
#include <map>
#include <thread>

namespace millrace::runtime::cli {
namespace {

using method = actors::admin_call::method;

exit_status list_actors(command_context& context, const std::string& pipeline) {
  auto answer = context.ask(about(method::actors, pipeline));
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  table t({{"ID"},
           {"ROLE"},
           {"PIPELINE"},
           {"LOAD"},
           {"STATE"},
           {"NODE"},
           {"MAILBOX", true},
           {"RESTARTS", true},
           {"LAST ERROR"},
           {"NOTE"}});
  for (const auto& a : answer) {
    auto state = field(a, "state");
    auto restarts = count(a, "restarts");
    t.row({field(a, "id"),
           field(a, "role"),
           field(a, "pipeline"),
           field(a, "load"),
           {state, colour_of_state(state)},
           field(a, "node"),
           grouped(count(a, "mailbox_depth")),
           {grouped(restarts), restarts ? colour::yellow : colour::none},
           field(a, "last_error"),
           field(a, "note")});
  }
  context.out(t.text(context.screen));
  return exit_status::done;
}

exit_status kill_actor(command_context& context, const std::string& id) {
  actors::admin_call call;
  call.what = method::kill_actor;
  call.name = id;
  auto answer = context.ask(call);
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  context.out("actor " + id + " killed\n");
  return exit_status::done;
}

struct top_options {
  double interval_seconds = 1;
  std::uint64_t rounds = 0; ///< 0: until interrupted
};

exit_status top(command_context& context, const top_options& o) {
  std::map<std::string, std::uint64_t> before; // changes through, by pipeline/load
  auto last = std::chrono::steady_clock::now();
  for (std::uint64_t round = 0; o.rounds == 0 || round < o.rounds; ++round) {
    if (round > 0) std::this_thread::sleep_for(std::chrono::duration<double>(o.interval_seconds));
    actors::admin_call call;
    call.what = method::list;
    auto now = std::chrono::steady_clock::now();
    auto seconds = std::chrono::duration<double>(now - last).count();
    last = now;
    auto all = json::array();
    table t({{"PIPELINE"},
             {"LOAD"},
             {"STATE"},
             {"INGESTED", true},
             {"DELIVERED", true},
             {"PER SECOND", true},
             {"LAG", true},
             {"DEAD LETTERS", true},
             {"WORKERS", true},
             {"MAILBOX", true},
             {"REASON"}});
    for (const auto& p : context.ask(call)) {
      auto reply = context.node().call(about(method::status, field(p, "pipeline")));
      if (!reply.ok && reply.code == "not_found") continue; // deleted between the two questions
      auto s = context.document_of(reply);
      for (const auto& l : s.value("loads", json::array())) {
        auto letters = l.value("dead_letters", json::object());
        auto through = count(l, "delivered") + count(l, "filtered") + count(letters, "total");
        auto name = field(s, "pipeline") + "/" + field(l, "load");
        auto rate = before.count(name) && seconds > 0 && through >= before[name]
                        ? static_cast<double>(through - before[name]) / seconds
                        : 0.0;
        before[name] = through;
        auto state = field(l, "state");
        auto open = count(letters, "open");
        auto reason = field(l, "reason");
        t.row({field(s, "pipeline"),
               field(l, "load"),
               {state, colour_of_state(state)},
               grouped(count(s, "ingested")),
               grouped(count(l, "delivered")),
               grouped(static_cast<std::uint64_t>(rate)),
               grouped(count(l, "lag_changes")),
               {grouped(open), open ? colour::yellow : colour::none},
               field(l, "workers"),
               grouped(count(l, "mailbox_depth")),
               reason.empty() ? field(s, "reason") : reason});
      }
      all.push_back(std::move(s));
    }
    if (context.as_json()) {
      context.out_line(all);
      continue;
    }
    context.out((context.screen.is_terminal ? "\x1b[H\x1b[2J" : round > 0 ? "\n" : "") + t.text(context.screen));
  }
  return exit_status::done;
}

} // namespace

void add_watch_commands(CLI::App& app, command_context& context) {
  auto name = std::make_shared<std::string>();
  auto* actors_command = app.add_subcommand("actors", "The supervision tree: state, mailbox depth, restarts, last error");
  actors_command->add_option("PIPELINE", *name, "Only of this pipeline");
  auto* kill = actors_command->add_subcommand("kill", "End one actor as a bug would (for tests of supervision)")->group("");
  kill->add_option("ID", *name, "As `actors` shows it; in a cluster the leader's, or NODE:ID")->required();
  kill->callback([&context, name] { context.action = [&context, name] { return kill_actor(context, *name); }; });
  actors_command->callback([&context, name, kill] {
    if (!kill->parsed()) context.action = [&context, name] { return list_actors(context, *name); };
  });

  auto o = std::make_shared<top_options>();
  auto* top_command = app.add_subcommand("top", "All loads, live");
  top_command->add_option("--interval", o->interval_seconds, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  top_command->add_option("--count", o->rounds, "Looks to take; until interrupted without it");
  top_command->callback([&context, o] { context.action = [&context, o] { return top(context, *o); }; });
}

} // namespace millrace::runtime::cli
