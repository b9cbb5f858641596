#include "runtime/cli/command.hpp"
#include "runtime/config/units.hpp"

#include <CLI/CLI.hpp>

namespace millrace::runtime::cli {
namespace {

using method = actors::admin_call::method;

struct read_options {
  std::string pipeline, from = "start";
  std::uint32_t partition = 0;
  std::uint64_t limit = 0;
  bool follow = false;
};

std::string payload_text(const json& change) {
  auto at = change.find("payload");
  if (at == change.end()) return {};
  return at->is_string() ? at->get<std::string>() : at->dump();
}

/// One change a line; a table would have to wait for the last one.
void print(const command_context& context, const json& change) {
  if (context.as_json()) return context.out_line(change);
  auto line =
      field(change, "offset") + "  " + context.screen.paint(field(change, "time"), colour::dim) + "  " + field(change, "op");
  if (auto t = field(change, "table"); !t.empty()) line += "  " + printable(t);
  if (auto k = field(change, "key"); !k.empty()) line += "  " + printable(k);
  context.out(line + "  " + printable(payload_text(change)) + "\n");
}

exit_status read(command_context& context, const read_options& o) {
  check_position(o.from, {"start", "end"}, "--from");
  constexpr std::uint32_t page = 1000;
  constexpr std::uint32_t wait_ms = 5000;
  auto call = about(method::log_read, o.pipeline);
  call.partition = o.partition;
  call.from = o.from;
  // Without --follow it ends where the log ends now; a fast source must not keep it going.
  std::uint64_t end = 0;
  if (!o.follow) {
    auto partitions = context.ask(about(method::log_info, o.pipeline));
    bool found = false;
    for (const auto& p : partitions)
      if (count(p, "partition") == o.partition) end = count(p, "high_watermark"), found = true;
    if (!found)
      throw command_failed{
          exit_status::failed, "not_found", "pipeline " + o.pipeline + " has no partition " + std::to_string(o.partition), {}};
  }
  std::uint64_t left = o.limit ? o.limit : ~0ull;
  while (left > 0) {
    call.limit = static_cast<std::uint32_t>(std::min<std::uint64_t>(left, page));
    call.wait_ms = o.follow ? wait_ms : 0;
    auto answer = context.ask(call);
    auto changes = answer.find("changes");
    std::uint64_t shown = 0;
    if (changes != answer.end())
      for (const auto& change : *changes) {
        if (!o.follow && count(change, "offset") >= end) return exit_status::done;
        print(context, change);
        ++shown;
      }
    left -= std::min(left, shown);
    auto next = field(answer, "next");
    if (!o.follow && (count(answer, "next") >= end || (shown == 0 && next == call.from))) break;
    call.from = next;
  }
  return exit_status::done;
}

exit_status info(command_context& context, const std::string& pipeline) {
  auto answer = context.ask(about(method::log_info, pipeline));
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  table t({{"PARTITION", true}, {"FIRST", true}, {"NEXT", true}, {"HIGH WATERMARK", true}, {"SIZE", true}, {"EPOCH", true}});
  for (const auto& p : answer)
    t.row({field(p, "partition"), grouped(count(p, "first_offset")), grouped(count(p, "next_offset")),
           grouped(count(p, "high_watermark")), config::bytes_text(count(p, "bytes")), field(p, "epoch")});
  context.out(t.text(context.screen));
  return exit_status::done;
}

exit_status rewind(command_context& context, const std::string& target, const std::string& to, bool truncate) {
  auto [pipeline, load] = split_load(target);
  check_position(to, {"start"}, "--to");
  auto call = about(method::rewind, pipeline);
  call.load = load;
  call.from = to;
  call.truncate = truncate;
  auto answer = context.ask(call);
  if (context.as_json()) return context.out_line(answer), exit_status::done;
  auto offset = field(answer, "offset");
  context.out("load " + target + " rewound to " + (offset.empty() ? to : "offset " + offset) +
              (truncate ? ", its tables emptied" : "") + "\n");
  return exit_status::done;
}

} // namespace

void add_log_commands(CLI::App& app, command_context& context) {
  auto* log = app.add_subcommand("log", "Look into a pipeline's log")->require_subcommand(1);
  auto o = std::make_shared<read_options>();
  auto* read_command = log->add_subcommand("read", "The changes as they arrived, one a line");
  read_command->add_option("PIPELINE", o->pipeline, "The pipeline")->required();
  read_command->add_option("--partition", o->partition, "The partition")->capture_default_str();
  read_command->add_option("--from", o->from, "OFFSET, TIME, start or end")->capture_default_str();
  read_command->add_option("--limit", o->limit, "Changes to show; all without it")->check(CLI::PositiveNumber);
  read_command->add_flag("--follow,-f", o->follow, "Go on with changes as they arrive");
  read_command->callback([&context, o] { context.action = [&context, o] { return read(context, *o); }; });

  auto name = std::make_shared<std::string>();
  auto* info_command = log->add_subcommand("info", "Offsets and bytes of each partition");
  info_command->add_option("PIPELINE", *name, "The pipeline")->required();
  info_command->callback([&context, name] { context.action = [&context, name] { return info(context, *name); }; });

  auto* load = app.add_subcommand("load", "Steer one load")->require_subcommand(1);
  struct rewind_options {
    std::string target, to;
    bool truncate = false;
  };
  auto r = std::make_shared<rewind_options>();
  auto* rewind_command = load->add_subcommand("rewind", "Replay the log into the same tables");
  rewind_command->add_option("PIPELINE/LOAD", r->target, "The load")->required();
  rewind_command->add_option("--to", r->to, "OFFSET, TIME or start")->required();
  rewind_command->add_flag("--truncate", r->truncate,
                           "Empty the load's tables in the same transaction (append and history need it)");
  rewind_command->callback(
      [&context, r] { context.action = [&context, r] { return rewind(context, r->target, r->to, r->truncate); }; });
}

} // namespace millrace::runtime::cli
