// What operators read of one pipeline at length: its log, its dead letters, how source and destination compare. On an actor of
// its own with a thread of its own.

#include "actors/dead_letter/letter_json.hpp"
#include "actors/supervisor/pipeline_supervisor.hpp"
#include "actors/transform/transformer.hpp"
#include "actors/verify/verify.hpp"

#include <algorithm>
#include <thread>

namespace millrace::actors::supervisor {

using namespace std::chrono_literals;
using json = nlohmann::ordered_json;
using dead_letter::parse_filter;

namespace {
json change_json(const storage::batch& b, std::uint32_t i, std::uint32_t partition) {
  const auto s = transform::summarize(b, i);
  const auto row = transform::readable(b, i);
  json out{{"partition", partition},
           {"offset", b.base().value + i},
           {"time", dead_letter::time_text(b.first_time())},
           {"op", storage::to_string(s.op)},
           {"table", dead_letter::bytes_json(s.table)},
           {"key", s.key.empty() ? json(nullptr) : json::parse(s.key, nullptr, false)},
           {"position", dead_letter::bytes_json(b.source_position(i))},
           {"transaction", dead_letter::bytes_json(s.transaction)},
           {"payload", dead_letter::bytes_json(b.payload(i))}};
  if (!row.empty()) out["row"] = json::parse(row, nullptr, false);
  return out;
}

admin_reply read_log(const admin_call& call, const pipeline_context& ctx) {
  if (call.partition >= ctx.spec->log.partitions)
    return refused("not_found", "pipeline " + ctx.spec->name + " has no partition " + std::to_string(call.partition));
  auto at = resolve_offset(call.from, *ctx.log);
  if (!at) return refused("invalid", at.error().message);
  const auto limit = call.limit == 0 ? 1000u : call.limit;
  constexpr std::size_t bytes_max = 8u << 20; // of one answer; the caller goes on from "next"
  const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(std::min(call.wait_ms, 30000u));
  json changes = json::array();
  std::size_t bytes = 0;
  auto position = at.value();
  while (changes.size() < limit && bytes < bytes_max) {
    auto read = ctx.log->read(position);
    if (!read) {
      const auto& why = read.error();
      if (why.is(storage::errc::end_of_log)) {
        if (!changes.empty() || std::chrono::steady_clock::now() >= until) break;
        std::this_thread::sleep_for(20ms); // this actor has its thread to itself
        continue;
      }
      if (why.is(storage::errc::trimmed))
        return refused("refused", "offset " + std::to_string(position.value) + " was dropped by retention; the log begins at " +
                                      std::to_string(ctx.log->info().first.value));
      return refused(why.is(storage::errc::corrupt) ? "corrupt" : "internal", why.message);
    }
    const auto& b = *read.value();
    if (b.kind() == storage::batch_kind::changes) {
      for (auto i = static_cast<std::uint32_t>(position.value - b.base().value);
           i < b.count() && changes.size() < limit && bytes < bytes_max; ++i) {
        bytes += b.payload(i).size() + 200;
        changes.push_back(change_json(b, i, call.partition));
        position = {b.base().value + i + 1};
      }
    } else {
      position = b.end();
    }
  }
  return document({{"changes", std::move(changes)}, {"next", position.value}});
}

admin_reply list_letters(const admin_call& call, const pipeline_context& ctx) {
  std::string error;
  auto filter = parse_filter(call.filter, error);
  if (!filter) return refused("invalid", error);
  std::string load_of_id;
  std::optional<storage::offset> only;
  if (!filter->id.empty()) {
    only = filter->offset_of(ctx.spec->name, load_of_id);
    if (!only)
      return refused("not_found", "'" + filter->id + "' is no dead letter of " + ctx.spec->name + "; ids look like " +
                                      ctx.spec->name + "/LOAD/0/OFFSET");
    if (!filter->state) filter->any_state = true; // `show` shows it whatever became of it
  }
  bool known = filter->load.empty();
  json out = json::array();
  for (const auto& l : ctx.spec->loads) {
    known = known || filter->load == l.name;
    if ((!filter->load.empty() && filter->load != l.name) || (only && load_of_id != l.name)) continue;
    const auto scanned = ctx.dead_letters->scan(
        l.name, only.value_or(storage::offset{0}), only ? storage::offset{only->value + 1} : storage::offset{~0ull},
        filter->payloads, [&](const storage::dead_letter& d) {
          if (filter->limit != 0 && out.size() >= filter->limit) return false;
          if (filter->takes(d)) out.push_back(dead_letter::letter_json(d, ctx.spec->name, l.name, 0, filter->payloads));
          return true;
        });
    if (!scanned) return refused("internal", scanned.error().message);
  }
  if (!known) return refused("not_found", "pipeline " + ctx.spec->name + " has no load '" + filter->load + "'");
  if (only && out.empty()) return refused("not_found", "no dead letter '" + filter->id + "'");
  return document(out);
}
} // namespace

admin_reply verify_once(const admin_call& call, const pipeline_context& ctx) {
  verify::step_request request;
  request.load = call.load;
  request.rows_a_second = call.limit;
  if (!call.from.empty()) {
    const auto cursor = json::parse(call.from, nullptr, false);
    if (!cursor.is_object() || !cursor.contains("table") || !cursor["table"].is_number_unsigned())
      return refused("invalid", "'" + call.from + "' is no cursor of an earlier verify");
    request.table = cursor["table"];
    if (cursor.contains("after")) request.after = cursor["after"].get<verify::key_values>();
  }
  auto step = verify::verify_step(ctx, request);
  if (!step) {
    const auto& why = step.error();
    return refused(is(why, errc::invalid)       ? "invalid"
                   : is(why, errc::not_found)   ? "not_found"
                   : is(why, errc::unavailable) ? "unavailable"
                                                : "refused",
                   why.message);
  }
  const auto& s = step.value();
  json cursor{{"table", s.next_table}};
  if (s.next_after) cursor["after"] = *s.next_after;
  json differences = json::array();
  for (const auto& d : s.differences) {
    json key = json::object();
    for (std::size_t i = 0; i < d.columns.size(); ++i) key[d.columns[i]] = d.key[i];
    differences.push_back({{"table", d.table}, {"kind", d.kind}, {"key", key}});
  }
  return document({{"table", s.table},
                   {"rows", s.rows},
                   {"ranges", s.ranges},
                   {"differences", differences},
                   {"unsettled", s.unsettled},
                   {"cursor", cursor.dump()},
                   {"done", s.done}});
}

admin_reply long_read(const admin_call& call, const pipeline_context& ctx) {
  if (call.what == admin_call::method::verify) return verify_once(call, ctx);
  return call.what == admin_call::method::log_read ? read_log(call, ctx) : list_letters(call, ctx);
}

} // namespace millrace::actors::supervisor
