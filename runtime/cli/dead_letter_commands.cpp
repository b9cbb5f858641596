#include "runtime/cli/command.hpp"

#include <CLI/CLI.hpp>

namespace millrace::runtime::cli {
namespace {

using method = actors::admin_call::method;

struct letter_options {
  std::string pipeline, load, reason, state;
  std::vector<std::string> ids;
  std::uint32_t limit = 0;
  bool all = false, force = false;
};

json filter_of(const letter_options& o, bool payloads) {
  json filter = json::object();
  if (!o.load.empty()) filter["load"] = o.load;
  if (!o.reason.empty()) filter["reason"] = o.reason;
  if (!o.state.empty()) filter["state"] = o.state;
  if (o.limit > 0) filter["limit"] = o.limit;
  if (o.all) filter["all"] = true;
  if (payloads) filter["payloads"] = true;
  return filter;
}

/// Asks once, or once for each id.
json letters(command_context& context, const letter_options& o, bool payloads) {
  auto call = about(method::dead_letters, o.pipeline);
  auto filter = filter_of(o, payloads);
  if (o.ids.empty()) {
    call.filter = filter.dump();
    return context.ask(call);
  }
  auto out = json::array();
  for (const auto& id : o.ids) {
    filter["id"] = id;
    call.filter = filter.dump();
    auto found = context.ask(call);
    if (found.empty())
      throw command_failed{exit_status::failed, "not_found", "pipeline " + o.pipeline + " has no dead letter " + id, {}};
    for (auto& letter : found) out.push_back(std::move(letter));
  }
  return out;
}

std::string error_text(const json& letter) {
  auto at = letter.find("error");
  if (at == letter.end()) return {};
  auto out = field(*at, "message");
  if (auto state = field(*at, "sqlstate"); !state.empty()) out += " [" + state + "]";
  return out;
}

exit_status list(command_context& context, const letter_options& o) {
  auto found = letters(context, o, context.as_json());
  if (context.as_json()) return context.out_line(found), exit_status::done;
  table t({{"ID"}, {"LOAD"}, {"OFFSET", true}, {"TABLE"}, {"KEY"}, {"REASON"}, {"STATE"}, {"STEP"}, {"ERROR"}});
  for (const auto& l : found)
    t.row({field(l, "id"),
           field(l, "load"),
           field(l, "offset"),
           field(l, "table"),
           field(l, "key"),
           {field(l, "reason"), colour::yellow},
           field(l, "state"),
           field(l, "step"),
           error_text(l)});
  context.out(t.text(context.screen));
  return exit_status::done;
}

exit_status show(command_context& context, const letter_options& o) {
  auto found = letters(context, o, true);
  if (context.as_json()) return context.out_line(found), exit_status::done;
  bool first = true;
  for (const auto& l : found) {
    std::string out = first ? "" : "\n";
    first = false;
    for (const auto& [key, value] : l.items()) {
      auto print = [&](const std::string& name, const json& v) {
        auto text = v.is_string() ? v.get<std::string>()
                    : v.is_null() ? std::string()
                                  : v.dump(-1, ' ', false, json::error_handler_t::replace);
        if (text.empty()) return;
        auto label = name;
        label.resize(std::max<std::size_t>(18, label.size() + 1), ' ');
        out += context.screen.paint(label, colour::bold) + printable(text) + "\n";
      };
      if (key == "error" && value.is_object())
        for (const auto& [inner, v] : value.items()) print("error " + inner, v);
      else
        print(key, value);
    }
    context.out(out);
  }
  if (found.empty()) context.note("no dead letters");
  return exit_status::done;
}

exit_status decide(command_context& context, const letter_options& o, method what) {
  bool redrive = what == method::redrive;
  if (o.ids.empty() && o.load.empty() && o.reason.empty() && !o.all)
    throw command_failed{exit_status::usage,
                         "usage",
                         std::string(redrive ? "redrive" : "discard") +
                             " names no dead letters; expected --id, --load, --reason or --all",
                         {}};
  auto call = about(what, o.pipeline);
  call.force = o.force;
  auto filter = filter_of(o, false);
  auto answers = json::array();
  auto send = [&] {
    call.filter = filter.dump();
    auto answer = context.ask(call);
    if (context.as_json()) {
      answers.push_back(std::move(answer));
      return;
    }
    std::string line;
    for (const auto& [key, value] : answer.items())
      line += (line.empty() ? "" : ", ") + key + " " + (value.is_string() ? value.get<std::string>() : value.dump());
    context.out(std::string(redrive ? "redrive" : "discard") + " of " + o.pipeline + ": " +
                printable(line.empty() ? "done" : line) + "\n");
  };
  if (o.ids.empty()) send();
  for (const auto& id : o.ids) {
    filter["id"] = id;
    send();
  }
  if (context.as_json()) context.out_line(answers.size() == 1 ? answers[0] : answers);
  return exit_status::done;
}

} // namespace

void add_dead_letter_commands(CLI::App& app, command_context& context) {
  auto* group = app.add_subcommand("dead-letters", "Inspect, redrive and discard quarantined changes")->require_subcommand(1);
  auto o = std::make_shared<letter_options>();
  auto command = [&](const char* name, const char* help) {
    auto* c = group->add_subcommand(name, help);
    c->add_option("PIPELINE", o->pipeline, "The pipeline")->required();
    c->add_option("--load", o->load, "Only of this load");
    c->add_option("--reason", o->reason, "Only for this reason")
        ->check(CLI::IsMember({"parse", "schema", "transform", "constraint", "type", "too_large", "held"}));
    c->add_option("--id", o->ids, "Only this one; may be repeated");
    c->add_option("--limit", o->limit, "At most so many")->check(CLI::PositiveNumber);
    return c;
  };
  auto reading = [&](CLI::App* c) {
    c->add_option("--state", o->state, "quarantined (the default), redriven or discarded")
        ->check(CLI::IsMember({"quarantined", "redriven", "discarded"}));
    c->add_flag("--all", o->all, "Of every state");
  };
  auto* list_command = command("list", "All open ones, a line each");
  reading(list_command);
  list_command->callback([&context, o] { context.action = [&context, o] { return list(context, *o); }; });
  auto* show_command = command("show", "Everything about them, payloads included");
  reading(show_command);
  show_command->callback([&context, o] { context.action = [&context, o] { return show(context, *o); }; });
  auto* redrive = command("redrive", "Put them through their load again, in order");
  redrive->add_flag("--all", o->all, "All open ones");
  redrive->add_flag("--force", o->force, "Even if a later change of the key was delivered");
  redrive->callback([&context, o] { context.action = [&context, o] { return decide(context, *o, method::redrive); }; });
  auto* discard = command("discard", "Give them up; changes held behind them are released");
  discard->add_flag("--all", o->all, "All open ones");
  discard->callback([&context, o] { context.action = [&context, o] { return decide(context, *o, method::discard); }; });
}

} // namespace millrace::runtime::cli
