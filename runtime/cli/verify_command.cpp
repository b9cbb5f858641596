#include "runtime/cli/command.hpp"

#include <CLI/CLI.hpp>

#include <thread>

namespace millrace::runtime::cli {
namespace {

using method = actors::admin_call::method;

struct verify_options {
  std::string target;
  bool repair = false;
  std::uint32_t rows_a_second = 0;
};

struct findings {
  std::uint64_t rows = 0, ranges = 0, unsettled = 0, differing = 0;
  json differences = json::array();
};

constexpr std::size_t kept_max = 100000; ///< of differences: beyond that the tables are not copies of each other

/// The node does it in steps of some seconds, so that it can be left at any time.
findings compare(command_context& context, const std::string& pipeline, const std::string& load, const verify_options& o) {
  findings out;
  auto call = about(method::verify, pipeline);
  call.load = load;
  call.limit = o.rows_a_second;
  call.wait_ms = 120000; // a step waits for the load to catch up
  auto shown = std::chrono::steady_clock::now();
  for (;;) {
    const auto step = context.ask(call);
    out.rows += count(step, "rows");
    out.ranges += count(step, "ranges");
    out.unsettled += count(step, "unsettled");
    out.differing += step.at("differences").size();
    for (const auto& d : step.at("differences"))
      if (out.differences.size() < kept_max) out.differences.push_back(d);
    if (const auto now = std::chrono::steady_clock::now(); now - shown > std::chrono::seconds(3)) {
      context.note(grouped(out.rows) + " rows compared, at " + printable(field(step, "table")));
      shown = now;
    }
    if (step.value("done", false)) return out;
    call.from = field(step, "cursor");
  }
}

std::uint64_t repair(command_context& context, const std::string& pipeline, const std::string& load, const json& differences) {
  constexpr std::size_t at_once = 1000;
  std::uint64_t keys = 0;
  for (std::size_t i = 0; i < differences.size(); i += at_once) {
    json some = json::array();
    for (std::size_t k = i; k < differences.size() && k < i + at_once; ++k) some.push_back(differences[k]);
    auto call = about(method::repair, pipeline);
    call.load = load;
    call.filter = some.dump();
    call.wait_ms = 60000;
    keys += count(context.ask(call), "keys");
  }
  return keys;
}

exit_status verify(command_context& context, const verify_options& o) {
  const auto [pipeline, load] = split_load(o.target);
  const auto found = compare(context, pipeline, load, o);
  json answer{{"pipeline", pipeline},
              {"load", load},
              {"equal", found.differences.empty()},
              {"rows", found.rows},
              {"ranges", found.ranges},
              {"unsettled", found.unsettled},
              {"differing", found.differing},
              {"differences", found.differences}};
  bool equal = found.differences.empty();
  std::uint64_t repaired = 0;
  json remaining = json::array();
  if (o.repair && !equal) {
    repaired = repair(context, pipeline, load, found.differences);
    // What was read again comes through the log: the next look waits for it.
    for (int look = 0; look < 10 && !equal; ++look) {
      if (look > 0) std::this_thread::sleep_for(std::chrono::milliseconds(500));
      remaining = compare(context, pipeline, load, o).differences;
      equal = remaining.empty();
    }
    answer["repaired"] = repaired;
    answer["remaining"] = remaining;
    answer["equal"] = equal;
  }
  if (context.as_json()) {
    context.out_line(answer);
  } else {
    constexpr std::size_t shown_max = 50;
    if (!found.differences.empty()) {
      table t({{"TABLE"}, {"KIND"}, {"KEY"}});
      for (std::size_t i = 0; i < found.differences.size() && i < shown_max; ++i) {
        const auto& d = found.differences[i];
        t.row({printable(field(d, "table")), field(d, "kind"), printable(d.at("key").dump())});
      }
      context.out(t.text(context.screen));
      if (found.differing > shown_max)
        context.out("and " + grouped(found.differing - shown_max) + " more (-o json shows " + grouped(kept_max) + ")\n");
    }
    std::string line = grouped(found.rows) + " rows of the source compared: ";
    line += found.differences.empty() ? "equal" : grouped(found.differing) + " rows differ";
    if (found.unsettled > 0) line += "; " + grouped(found.unsettled) + " changed at each look and were left out";
    if (repaired > 0)
      line += "; " + grouped(repaired) +
              " read again from the source: " + (equal ? "equal now" : grouped(remaining.size()) + " still differ");
    context.out(line + "\n");
  }
  return equal ? exit_status::done : exit_status::failed;
}

} // namespace

void add_verify_command(CLI::App& app, command_context& context) {
  auto o = std::make_shared<verify_options>();
  auto* command = app.add_subcommand("verify", "Compare source and destination row by row, while changes flow");
  command->add_option("PIPELINE/LOAD", o->target, "The load")->required();
  command->add_flag("--repair", o->repair, "Read the keys that differ again from the source, in order with its changes");
  command->add_option("--rows-per-second", o->rows_a_second, "At most so many rows read a second, both sides together");
  command->callback([&context, o] { context.action = [&context, o] { return verify(context, *o); }; });
}

} // namespace millrace::runtime::cli
