// What operators and monitors see of one pipeline: derived from the log, the quarantine and the children's last reports.

#include "actors/supervisor/pipeline_supervisor.hpp"

#include <algorithm>

namespace millrace::actors::supervisor {

using json = nlohmann::ordered_json;
using namespace std::chrono_literals;

namespace {
constexpr auto stuck_time = 15s; ///< changes wait and none moved for so long: not ready, whatever the states say

const char* to_text(pipeline_state::child_state s) {
  switch (s) {
  case pipeline_state::child_state::starting:
    return "starting";
  case pipeline_state::child_state::running:
    return "running";
  case pipeline_state::child_state::restarting:
    return "restarting";
  case pipeline_state::child_state::failed:
    return "failed";
  case pipeline_state::child_state::stopping:
    return "stopping";
  }
  return "unknown";
}

struct load_numbers {
  std::uint64_t next = 0, lag = 0, delivered = 0, filtered = 0, open = 0, total = 0;
  double lag_seconds = 0;
  bool caught_up = false;
};

load_numbers numbers_of(const pipeline_state::load_runtime& l, const pipeline_context& ctx, const storage::log_info& info) {
  load_numbers n;
  if (!ctx.log) return n;
  const auto& w = l.writer;
  n.next = w.next.value;
  n.filtered = w.filtered;
  const auto counts = ctx.dead_letters->counts(l.spec->name);
  n.open = counts.open;
  n.total = counts.total;
  const auto passed = ctx.log->changes_below(w.next);
  const auto below = passed ? passed.value() : 0;
  n.delivered = below >= w.filtered + w.dead_below ? below - w.filtered - w.dead_below : 0;
  n.lag = info.changes >= below ? info.changes - below : 0;
  n.caught_up = l.writer_ready && w.next == info.next;
  if (n.lag > 0 && w.applied.time_since_epoch().count() > 0)
    n.lag_seconds = std::max(0.0, std::chrono::duration<double>(storage::now() - w.applied).count());
  return n;
}
} // namespace

std::string pipeline_state::id_of(const child& c) const {
  std::string id = ctx->spec->name;
  if (c.load >= 0) id += "/" + loads[static_cast<std::size_t>(c.load)].spec->name;
  id += std::string("/") + to_string(c.what);
  if (c.what == role::worker) id += "/" + std::to_string(c.id);
  return id;
}

std::pair<std::string, std::string> pipeline_state::state() const {
  if (!stage_failed.empty()) return {"failed", "stage: " + stage_failed};
  if (paused) return {"paused", stopping ? "stopping" : ""};
  if (following) return {"following", stage_waiting.empty() ? "" : "log: " + stage_waiting};
  if (begins_anew()) return {"starting", ""};
  if (!ingest_failed.empty()) return {"failed", "source: " + ingest_failed};
  for (const auto& l : loads)
    if (!l.failed.empty()) return {"failed", "load " + l.spec->name + ": " + l.failed};
  if (!stage_waiting.empty()) return {"waiting", "log: " + stage_waiting};
  if (!opened) return {"starting", ""};
  for (const auto& l : loads)
    if (!l.writer.waiting.empty()) return {"waiting", "load " + l.spec->name + ": " + l.writer.waiting};
  if (!source.waiting.empty()) return {"waiting", "source: " + source.waiting};
  if (!source.source.waiting.empty()) return {"waiting", "source: " + source.source.waiting};
  for (const auto& l : loads)
    if (!l.writer_ready) return {"starting", ""};
  if (!source.ready) return {"starting", ""};
  if (source.source.snapshotting) return {"snapshotting", ""};
  return {"running", ""};
}

json pipeline_state::status() const {
  const auto info = ctx->log ? ctx->log->info() : storage::log_info{};
  const auto [name_of_state, reason] = state();
  json out{{"pipeline", ctx->spec->name},
           {"state", name_of_state},
           {"reason", reason},
           {"revision", ctx->revision},
           {"ingested", info.changes}};
  const bool source_done = !begins_anew() && source.ready && source.idle && source.source.caught_up &&
                           !source.source.snapshotting && source.waiting.empty();
  out["source"] = {{"type", ctx->spec->source.type},
                   {"position", source.source.position},
                   {"lag_bytes", source.source.lag_bytes},
                   {"caught_up", source_done},
                   {"waiting", !source.waiting.empty() ? source.waiting : source.source.waiting}};
  if (!source.source.snapshots.empty()) {
    json snapshots = json::array();
    for (const auto& s : source.source.snapshots)
      snapshots.push_back({{"table", s.table}, {"rows", s.rows}, {"rows_estimate", s.rows_estimate}, {"done", s.done}});
    out["source"]["snapshots"] = std::move(snapshots);
  }
  out["log"] = log_info();
  json list = json::array();
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const auto& l = loads[i];
    const auto n = numbers_of(l, *ctx, info);
    std::string load_state = "running", why;
    if (begins_anew())
      load_state = "starting";
    else if (!l.failed.empty())
      load_state = "failed", why = l.failed;
    else if (paused)
      load_state = "paused";
    else if (!l.writer.waiting.empty())
      load_state = "waiting", why = l.writer.waiting;
    else if (!l.writer_ready)
      load_state = "starting";
    std::uint32_t workers = 0;
    for (const auto& [id, c] : children)
      if (c.what == role::worker && c.load == static_cast<int>(i) &&
          (c.state == child_state::running || c.state == child_state::starting))
        ++workers;
    list.push_back({{"load", l.spec->name},
                    {"state", load_state},
                    {"reason", why},
                    {"committed_offset", json::array({n.next})},
                    {"lag_changes", n.lag},
                    {"lag_seconds", n.lag_seconds},
                    {"caught_up", n.caught_up && !begins_anew()},
                    {"delivered", n.delivered},
                    {"filtered", n.filtered},
                    {"dead_letters", {{"open", n.open}, {"total", n.total}}},
                    {"workers", workers},
                    {"mailbox_depth", l.depth},
                    {"scaling",
                     {{"min", l.scale.bounds().min},
                      {"max", l.scale.bounds().max},
                      {"target_depth", l.scale.bounds().target_depth},
                      {"wanted", l.scale.current().workers},
                      {"why", l.scale.current().why}}}});
  }
  out["loads"] = std::move(list);
  return out;
}

json pipeline_state::log_info() const {
  json out = json::array();
  if (!ctx->log) return out;
  const auto info = ctx->log->info();
  out.push_back({{"partition", 0},
                 {"first_offset", info.first.value},
                 {"next_offset", info.next.value},
                 {"high_watermark", info.high_watermark.value},
                 {"bytes", info.bytes},
                 {"changes", info.changes},
                 {"epoch", info.epoch.value},
                 {"log_id", std::to_string(info.id.value)}});
  return out;
}

json pipeline_state::actor_list() const {
  json out = json::array();
  const auto node = ctx->node->options.name;
  out.push_back({{"id", ctx->spec->name},
                 {"role", "pipeline"},
                 {"pipeline", ctx->spec->name},
                 {"load", ""},
                 {"state", state().first},
                 {"node", node},
                 {"mailbox_depth", 0},
                 {"restarts", 0},
                 {"last_error", ""},
                 {"note", state().second}});
  for (const auto& [n, c] : children) {
    const load_runtime* l = c.load >= 0 ? &loads[static_cast<std::size_t>(c.load)] : nullptr;
    std::uint64_t depth = 0;
    std::string note;
    if (l && c.what == role::dispatcher) {
      depth = l->depth;
      note = l->scale.current().why;
    }
    if (l && c.what == role::writer) depth = l->writer.queued;
    const bool waits = c.state == child_state::running && !c.waiting.empty();
    out.push_back({{"id", id_of(c)},
                   {"role", to_string(c.what)},
                   {"pipeline", ctx->spec->name},
                   {"load", l ? l->spec->name : ""},
                   {"state", waits ? "waiting" : to_text(c.state)},
                   {"node", node},
                   {"mailbox_depth", depth},
                   {"restarts", c.restarts},
                   {"last_error", c.last_error},
                   {"note", waits ? c.waiting : note},
                   {"recovery_seconds", c.recovery_seconds}});
  }
  return out;
}

json pipeline_state::metrics() const {
  json out = json::array();
  const auto& pipeline = ctx->spec->name;
  auto add = [&](const char* name, const char* type, const char* help, json labels, json value) {
    out.push_back({{"name", name}, {"type", type}, {"help", help}, {"labels", std::move(labels)}, {"value", std::move(value)}});
  };
  auto add_histogram = [&](const char* name, const char* help, json labels, const histogram& h) {
    json buckets = json::array();
    std::uint64_t cumulative = 0;
    for (std::size_t i = 0; i < histogram::bounds.size(); ++i) {
      cumulative += h.counts[i];
      buckets.push_back({histogram::bounds[i], cumulative});
    }
    out.push_back({{"name", name},
                   {"type", "histogram"},
                   {"help", help},
                   {"labels", std::move(labels)},
                   {"buckets", std::move(buckets)},
                   {"sum", h.sum},
                   {"count", h.count}});
  };
  for (const auto& [r, count] : restarts_by_role)
    add("millrace_actor_restarts_total", "counter", "Actors started again after a failure.",
        {{"pipeline", pipeline}, {"role", to_string(r)}}, count);
  add_histogram("millrace_recovery_seconds", "From an actor's end until it worked again.", {{"pipeline", pipeline}}, recovery);
  if (following) return out; // the leader speaks for the flow: nothing is counted twice
  for (const auto& [stage, h] : batch_seconds)
    add_histogram("millrace_batch_seconds", "Time of a stage's unit of work.", {{"pipeline", pipeline}, {"stage", stage}}, h);
  const json partition{{"pipeline", pipeline}, {"partition", "0"}};
  const auto info = ctx->log ? ctx->log->info() : storage::log_info{};
  if (ctx->log) {
    add("millrace_ingested_changes_total", "counter", "Data changes staged in the log.", partition, info.changes);
    add("millrace_staged_bytes_total", "counter", "Bytes of the log on disk.", partition, info.bytes);
    add("millrace_log_next_offset", "gauge", "Offset the next change will get.", partition, info.next.value);
    add("millrace_log_high_watermark", "gauge", "Offset below which every change is durable.", partition,
        info.high_watermark.value);
  }
  add("millrace_source_lag_bytes", "gauge", "Bytes known to be in the source and not read.", {{"pipeline", pipeline}},
      source.source.lag_bytes);
  const auto current = state().first;
  for (const char* s : {"starting", "snapshotting", "running", "paused", "waiting", "failed"})
    add("millrace_pipeline_state", "gauge", "1 for the state the pipeline is in.", {{"pipeline", pipeline}, {"state", s}},
        current == s ? 1 : 0);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const auto& l = loads[i];
    const auto n = numbers_of(l, *ctx, info);
    const json at{{"pipeline", pipeline}, {"load", l.spec->name}, {"partition", "0"}};
    const json load{{"pipeline", pipeline}, {"load", l.spec->name}};
    add("millrace_load_committed_offset", "gauge", "Offset the destination has committed below.", at, n.next);
    add("millrace_load_lag_changes", "gauge", "Changes in the log that the load has not passed.", at, n.lag);
    add("millrace_load_lag_seconds", "gauge", "Age of the oldest change not passed.", at, n.lag_seconds);
    add("millrace_delivered_changes_total", "counter", "Changes delivered to the destination.", load, n.delivered);
    add("millrace_filtered_changes_total", "counter", "Changes the load's steps filtered.", load, n.filtered);
    add("millrace_dead_letters_open", "gauge", "Dead letters that wait for an operator.", load, n.open);
    if (ctx->dead_letters)
      for (const auto& [reason, count] : ctx->dead_letters->totals_by_reason(l.spec->name)) {
        auto labels = load;
        labels["reason"] = reason;
        add("millrace_dead_letters_total", "counter", "Dead letters by reason.", labels, count);
      }
    std::uint64_t workers = 0;
    for (const auto& [id, c] : children)
      if (c.what == role::worker && c.load == static_cast<int>(i) && c.state == child_state::running) ++workers;
    auto stage_labels = load;
    stage_labels["stage"] = "transform";
    add("millrace_mailbox_depth", "gauge", "Changes that wait for a stage's actors.", stage_labels, l.depth);
    add("millrace_workers", "gauge", "Actors of a stage.", stage_labels, workers);
    stage_labels["stage"] = "load";
    add("millrace_mailbox_depth", "gauge", "Changes that wait for a stage's actors.", stage_labels, l.writer.queued);
  }
  return out;
}

json pipeline_state::readiness() const {
  json reasons = json::array();
  const auto [name_of_state, why] = state();
  const auto& pipeline = ctx->spec->name;
  // A follower is ready if its copy follows: the leader speaks for the rest.
  const bool follows = name_of_state == "following" && stage_role == "follower" && why.empty();
  if (name_of_state != "running" && name_of_state != "snapshotting" && name_of_state != "paused" && !follows)
    reasons.push_back(pipeline + " is " + name_of_state + (why.empty() ? "" : ": " + why));
  if (!paused && !following && ctx->log) {
    const auto info = ctx->log->info();
    for (const auto& l : loads)
      if (l.failed.empty() && l.writer.next < info.next && clock::now() - l.moved_at > stuck_time)
        reasons.push_back(pipeline + "/" + l.spec->name + " has " + std::to_string(info.next.value - l.writer.next.value) +
                          " offsets to go and has not moved for 15 s");
  }
  return {{"ready", reasons.empty()}, {"reasons", std::move(reasons)}};
}

} // namespace millrace::actors::supervisor
