#include "runtime/cli/command.hpp"
#include "runtime/config/units.hpp"

#include <CLI/CLI.hpp>

#include <unistd.h>

#include <chrono>
#include <thread>

namespace millrace::runtime::cli {
namespace {

using clock = std::chrono::steady_clock;
using method = actors::admin_call::method;

bool true_at(const json& object, const char* key) {
  auto at = object.find(key);
  return at != object.end() && at->is_boolean() && at->get<bool>();
}
const json& member(const json& object, const char* key) {
  static const json none = json::array();
  auto at = object.find(key);
  return at == object.end() ? none : *at;
}

bool is_caught_up(const json& status) {
  if (!status.contains("source") || !true_at(status["source"], "caught_up")) return false;
  for (const auto& load : member(status, "loads"))
    if (!true_at(load, "caught_up")) return false;
  return true;
}
bool is_running(const json& status) {
  const auto state = field(status, "state");
  if (state != "running" && state != "snapshotting") return false;
  for (const auto& load : member(status, "loads"))
    if (field(load, "state") != "running") return false;
  return true;
}

/// Why it will not get there by itself; empty while it may.
std::string failure_of(const json& status) {
  if (field(status, "state") == "failed")
    return "pipeline " + field(status, "pipeline") + " has failed: " + field(status, "reason");
  for (const auto& load : member(status, "loads"))
    if (field(load, "state") == "failed") return "load " + field(load, "load") + " has failed: " + field(load, "reason");
  return {};
}

/// What it still waits for, for the message of a wait that ran out.
std::string pending_of(const json& status) {
  auto out = "state " + field(status, "state");
  if (auto reason = field(status, "reason"); !reason.empty()) out += " (" + reason + ")";
  if (status.contains("source")) {
    if (!true_at(status["source"], "caught_up"))
      out += ", source " + config::bytes_text(count(status["source"], "lag_bytes")) + " behind";
  }
  for (const auto& load : member(status, "loads")) {
    out += ", load " + field(load, "load") + " " + field(load, "state");
    if (auto reason = field(load, "reason"); !reason.empty()) out += " (" + reason + ")";
    if (auto lag = count(load, "lag_changes")) out += ", " + grouped(lag) + " changes behind";
  }
  return out;
}

std::uint64_t delivered_of(const json& status) {
  std::uint64_t sum = 0;
  for (const auto& load : member(status, "loads")) {
    sum += count(load, "delivered") + count(load, "filtered");
    if (load.contains("dead_letters")) sum += count(load["dead_letters"], "total");
  }
  return sum;
}
std::uint64_t lag_of(const json& status) {
  std::uint64_t worst = 0;
  for (const auto& load : member(status, "loads")) worst = std::max(worst, count(load, "lag_changes"));
  return worst;
}

/// Says how far a long wait is: in place on a terminal, a line every five seconds elsewhere.
class progress {
public:
  explicit progress(const command_context& context) : context_(context), terminal_(isatty(STDERR_FILENO) == 1) {}
  ~progress() {
    if (terminal_ && shown_) std::fprintf(stderr, "\r\x1b[K");
  }
  void show(const json& status) {
    if (context_.as_json()) return;
    auto now = clock::now();
    auto seconds = std::chrono::duration<double>(now - begun_).count();
    auto done = delivered_of(status);
    if (!first_) first_ = done;
    if (!terminal_ && now - last_ < std::chrono::seconds{5}) return;
    last_ = now;
    auto rate = seconds > 0.3 ? static_cast<double>(done - std::min(done, *first_)) / seconds : 0.0;
    auto lag = lag_of(status);
    auto line = field(status, "pipeline") + ": " + grouped(done) + " changes through, " + grouped(lag) + " waiting, " +
                grouped(static_cast<std::uint64_t>(rate)) + " a second";
    if (rate > 1 && lag > 0) line += ", about " + config::duration_text(static_cast<double>(lag) / rate) + " left";
    std::fprintf(stderr, terminal_ ? "\r\x1b[K%s" : "%s\n", line.c_str());
    shown_ = true;
  }

private:
  const command_context& context_;
  bool terminal_, shown_ = false;
  clock::time_point begun_ = clock::now(), last_ = clock::now();
  std::optional<std::uint64_t> first_;
};

void print(const command_context& context, const json& s) {
  if (context.as_json()) return context.out_line(s);
  const auto& screen = context.screen;
  auto state = field(s, "state");
  std::string out = "pipeline " + screen.paint(printable(field(s, "pipeline")), colour::bold) + "  " +
                    screen.paint(state, colour_of_state(state)) + "  revision " + field(s, "revision") + "\n";
  if (auto reason = field(s, "reason"); !reason.empty()) out += "  reason    " + printable(reason) + "\n";
  out += "  ingested  " + grouped(count(s, "ingested")) + " changes\n";
  if (s.contains("source")) {
    const auto& source = s["source"];
    out += "  source    " + printable(field(source, "position")) +
           (true_at(source, "caught_up") ? ", caught up" : ", " + config::bytes_text(count(source, "lag_bytes")) + " behind") +
           "\n";
  }
  context.out(out + "\n");
  table snapshots({{"SNAPSHOT"}, {"ROWS", true}, {"OF ABOUT", true}, {"DONE", true}});
  if (s.contains("source"))
    for (const auto& t : member(s["source"], "snapshots")) {
      const auto rows = count(t, "rows"), estimate = count(t, "rows_estimate");
      const auto percent = estimate > 0 ? std::min<std::uint64_t>(99, rows * 100 / estimate) : 0; // an estimate is one
      snapshots.row({printable(field(t, "table")), grouped(rows), estimate ? grouped(estimate) : "?",
                     true_at(t, "done") ? "done"
                     : estimate         ? std::to_string(percent) + " %"
                                        : "?"});
    }
  if (!snapshots.empty()) context.out(snapshots.text(screen) + "\n");
  table logs({{"PARTITION", true}, {"FIRST", true}, {"NEXT", true}, {"HIGH WATERMARK", true}, {"SIZE", true}});
  for (const auto& l : member(s, "log"))
    logs.row({field(l, "partition"), grouped(count(l, "first_offset")), grouped(count(l, "next_offset")),
              grouped(count(l, "high_watermark")), config::bytes_text(count(l, "bytes"))});
  if (!logs.empty()) context.out(logs.text(screen) + "\n");
  table loads({{"LOAD"},
               {"STATE"},
               {"COMMITTED", true},
               {"LAG", true},
               {"DELIVERED", true},
               {"FILTERED", true},
               {"DEAD LETTERS", true},
               {"WORKERS", true},
               {"MAILBOX", true},
               {"REASON"}});
  for (const auto& l : member(s, "loads")) {
    auto load_state = field(l, "state");
    std::string committed;
    for (const auto& offset : member(l, "committed_offset")) committed += (committed.empty() ? "" : ",") + offset.dump();
    std::uint64_t open = l.contains("dead_letters") ? count(l["dead_letters"], "open") : 0;
    loads.row({field(l, "load"),
               {load_state, colour_of_state(load_state)},
               committed,
               grouped(count(l, "lag_changes")),
               grouped(count(l, "delivered")),
               grouped(count(l, "filtered")),
               {grouped(open), open ? colour::yellow : colour::none},
               field(l, "workers"),
               grouped(count(l, "mailbox_depth")),
               field(l, "reason")});
  }
  context.out(loads.text(screen));
}

exit_status status(command_context& context, const std::string& pipeline, const std::string& wait, const std::string& timeout) {
  auto call = about(method::status, pipeline);
  auto limit = config::parse_duration(timeout);
  if (!limit)
    throw command_failed{
        exit_status::usage, "usage", "--timeout is '" + timeout + "'; expected " + config::duration_expected, {}};
  auto s = context.ask(call);
  if (!wait.empty()) {
    auto deadline = clock::now() + *limit;
    progress shown(context);
    auto reached = [&] { return wait == "caught-up" ? is_caught_up(s) : is_running(s); };
    while (!reached()) {
      if (auto why = failure_of(s); !why.empty()) throw command_failed{exit_status::failed, "refused", why, {}};
      if (clock::now() >= deadline)
        throw command_failed{exit_status::timed_out,
                             "timeout",
                             "pipeline " + pipeline + " is not " + wait + " after " + timeout + ": " + pending_of(s),
                             {}};
      shown.show(s);
      std::this_thread::sleep_for(std::min<clock::duration>(std::chrono::milliseconds{100}, deadline - clock::now()));
      s = context.ask(call);
    }
  }
  print(context, s);
  return exit_status::done;
}

} // namespace

void add_status_command(CLI::App& pipeline, command_context& context) {
  struct options {
    std::string name, wait, timeout = "60s";
  };
  auto o = std::make_shared<options>();
  auto* command = pipeline.add_subcommand("status", "State, positions, counts and lag");
  command->add_option("NAME", o->name, "The pipeline")->required();
  command->add_option("--wait", o->wait, "Wait until it is caught-up or running")->check(CLI::IsMember({"caught-up", "running"}));
  command->add_option("--timeout", o->timeout, "How long to wait")->capture_default_str();
  command->callback([&context, o] { context.action = [&context, o] { return status(context, o->name, o->wait, o->timeout); }; });
}

} // namespace millrace::runtime::cli
