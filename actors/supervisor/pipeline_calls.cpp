// What operators ask of one pipeline.

#include "actors/dead_letter/letter_json.hpp"
#include "actors/supervisor/pipeline_supervisor.hpp"

#include <algorithm>
#include <charconv>

namespace millrace::actors::supervisor {

using namespace std::chrono_literals;
using json = nlohmann::ordered_json;
using dead_letter::letter_filter;
using dead_letter::parse_filter;

namespace {
constexpr std::size_t letters_an_entry = 1000; ///< a redrive entry is one transaction of the destination
constexpr auto redrive_wait = 20s;
constexpr auto open_time = 3s; ///< how long a call waits for a log that is being opened
} // namespace

admin_reply refused(std::string code, std::string message, std::string detail) {
  admin_reply r;
  r.code = std::move(code);
  r.message = std::move(message);
  r.detail = std::move(detail);
  return r;
}

admin_reply document(const json& doc) {
  admin_reply r;
  r.ok = true;
  r.document = doc.dump();
  return r;
}

result<storage::offset> resolve_offset(const std::string& text, const storage::partition_log& log) {
  const auto info = log.info();
  if (text.empty() || text == "start") return info.first;
  if (text == "end") return info.next;
  std::uint64_t value = 0;
  const auto* end = text.data() + text.size();
  if (const auto [p, ec] = std::from_chars(text.data(), end, value); ec == std::errc{} && p == end) return storage::offset{value};
  if (const auto t = dead_letter::time_from(text)) return log.seek_time(*t);
  return make_failure(errc::invalid,
                      "'" + text + "' is no position: expected an offset, a time like 2026-01-31T12:00:00Z, start or end");
}

caf::result<admin_reply> pipeline_state::call(const admin_call& c) {
  using method = admin_call::method;
  switch (c.what) {
  case method::status:
    return document(status());
  case method::actors:
    return document(actor_list());
  case method::metrics:
    return document(metrics());
  case method::ready:
    return document(readiness());
  case method::pause:
    return pause_or_resume(true);
  case method::resume:
    return pause_or_resume(false);
  case method::kill_actor:
    return kill(c.name);
  default:
    break;
  }
  if (!ctx->log) {
    early.push_back({c, self->make_response_promise<admin_reply>(), clock::now() + open_time});
    auto promise = early.back().promise;
    check_early();
    return promise;
  }
  switch (c.what) {
  case method::log_info:
    return document(log_info());
  case method::rewind:
    return rewind(c);
  case method::snapshot:
    return snapshot(c.name);
  case method::repair:
    return repair(c);
  case method::redrive:
    return redrive(c, false);
  case method::discard:
    return redrive(c, true);
  case method::verify:
  case method::log_read:
  case method::dead_letters: {
    auto promise = self->make_response_promise<admin_reply>();
    auto reader = self->spawn<caf::detached>(
        [c, shared = std::make_shared<const pipeline_context>(*ctx)](caf::event_based_actor* me) -> caf::behavior {
          return {[me, c, shared](tick_atom) {
            me->quit();
            return long_read(c, *shared);
          }};
        });
    self->request(reader, caf::infinite, tick_atom::value)
        .then([promise](const admin_reply& r) mutable { promise.deliver(r); },
              [promise](const caf::error&) mutable { promise.deliver(refused("internal", "the read was ended")); });
    return promise;
  }
  default:
    return refused("internal", "not a call to a pipeline");
  }
}

void pipeline_state::check_early() {
  for (auto& e : std::exchange(early, {})) {
    if (ctx->log) {
      self->request(pipeline_actor{self}, caf::infinite, e.call)
          .then([promise = e.promise](const admin_reply& r) mutable { promise.deliver(r); },
                [promise = e.promise](const caf::error&) mutable {
                  promise.deliver(refused("unavailable", "the pipeline's supervisor ended"));
                });
    } else if (following) {
      e.promise.deliver(refused(moved, "this node does not lead pipeline " + ctx->spec->name + " any more"));
    } else if (!stage_failed.empty() || quitting || clock::now() >= e.until) {
      e.promise.deliver(refused("unavailable", "the log of " + ctx->spec->name + " is not open" +
                                                   (stage_failed.empty() ? std::string{} : ": " + stage_failed)));
    } else {
      early.push_back(std::move(e));
    }
  }
}

caf::result<admin_reply> pipeline_state::snapshot(const std::string& table) {
  auto reader = handle<ingest_actor>(role::ingest);
  if (!reader)
    return refused("unavailable", "the source of " + ctx->spec->name + " is not being read now" +
                                      (ingest_failed.empty() ? std::string{} : ": " + ingest_failed));
  auto promise = self->make_response_promise<admin_reply>();
  self->request(reader, 30s, snapshot_request{table, {}, {}})
      .then(
          [this, promise, table](const simple_reply& r) mutable {
            if (r.ok) return static_cast<void>(promise.deliver(document({{"pipeline", ctx->spec->name}, {"snapshot", table}})));
            const auto* code = is(r.why, errc::invalid) ? "invalid" : is(r.why, errc::unavailable) ? "unavailable" : "refused";
            promise.deliver(refused(code, r.why.message));
          },
          [promise](const caf::error&) mutable { promise.deliver(refused("unavailable", "the source did not answer")); });
  return promise;
}

/// Rows come through the log, in order with the changes: what the source has now, or a delete of what it has not.
caf::result<admin_reply> pipeline_state::repair(const admin_call& c) {
  const auto wanted = json::parse(c.filter, nullptr, false);
  std::map<std::string, snapshot_request> by_table;
  const auto unusable = [](const std::string& what) {
    return refused("invalid", "no keys to repair: found " + what + ", expected differences as verify gave them: " +
                                  R"([{"table": "public.orders", "key": {"id": "7"}}])");
  };
  if (!wanted.is_array() || wanted.empty()) return unusable(wanted.is_discarded() ? "no JSON" : "no list");
  for (const auto& d : wanted) {
    const bool named = d.is_object() && d.contains("table") && d["table"].is_string();
    if (!named || !d.contains("key") || !d["key"].is_object() || d["key"].empty()) return unusable(d.dump());
    auto& request = by_table[d["table"].get<std::string>()];
    request.table = d["table"];
    std::vector<std::string> columns, key;
    for (const auto& [column, value] : d["key"].items()) {
      if (!value.is_string()) return unusable(d.dump());
      columns.push_back(column);
      key.push_back(value.get<std::string>());
    }
    if (!request.columns.empty() && request.columns != columns) return unusable(d.dump() + " beside keys of other columns");
    request.columns = std::move(columns);
    request.keys.push_back(std::move(key));
  }
  auto reader = handle<ingest_actor>(role::ingest);
  if (!reader) return refused("unavailable", "the source of " + ctx->spec->name + " is not being read now");
  auto promise = self->make_response_promise<admin_reply>();
  auto left = std::make_shared<std::size_t>(by_table.size());
  auto keys = std::make_shared<std::size_t>(0);
  auto failed = [promise, left](std::string code, std::string why) mutable {
    if (*left == 0) return;
    *left = 0;
    promise.deliver(refused(std::move(code), std::move(why)));
  };
  for (auto& [table, request] : by_table) {
    const auto count = request.keys.size();
    self->request(reader, 30s, std::move(request))
        .then(
            [promise, left, keys, count, failed](const simple_reply& r) mutable {
              if (!r.ok) return failed("refused", r.why.message);
              *keys += count;
              if (*left > 0 && --*left == 0) promise.deliver(document({{"keys", *keys}}));
            },
            [failed](const caf::error&) mutable { failed("unavailable", "the source did not answer"); });
  }
  return promise;
}

caf::result<admin_reply> pipeline_state::pause_or_resume(bool pause) {
  if (pause == paused && (pause || (stage_failed.empty() && ingest_failed.empty() &&
                                    std::all_of(loads.begin(), loads.end(), [](const auto& l) { return l.failed.empty(); }))))
    return document({{"pipeline", ctx->spec->name}, {"state", state().first}});
  paused = pause;
  if (!pause) {
    if (!stage_failed.empty()) {
      stage_failed.clear();
      for (auto& [id, c] : children)
        if (c.what == role::stage && c.state == child_state::failed) {
          c.policy.reset();
          spawn(c);
        }
    }
    if (opened && !stopping) { // a failed actor starts again with everything else, from durable state
      stop_workload();
    }
    return document({{"pipeline", ctx->spec->name}, {"state", "running"}});
  }
  on_stopped.push_back(self->make_response_promise<admin_reply>());
  auto promise = on_stopped.back();
  stop_workload();
  return promise;
}

caf::result<admin_reply> pipeline_state::rewind(const admin_call& c) {
  const auto load =
      std::find_if(ctx->spec->loads.begin(), ctx->spec->loads.end(), [&](const load_spec& l) { return l.name == c.load; });
  if (load == ctx->spec->loads.end())
    return refused("not_found", "pipeline " + ctx->spec->name + " has no load '" + c.load + "'");
  auto to = resolve_offset(c.from, *ctx->log);
  if (!to) return refused("invalid", to.error().message);
  const auto info = ctx->log->info();
  if (to.value() > info.next)
    return refused("refused",
                   "offset " + std::to_string(to.value().value) + " is beyond the log's end, " + std::to_string(info.next.value));
  if (to.value() < info.first)
    return refused("refused", "offset " + std::to_string(to.value().value) + " was dropped by retention; the log begins at " +
                                  std::to_string(info.first.value));
  for (const auto& t : load->tables)
    if ((t.mode == load_mode::append || t.mode == load_mode::history) && !c.truncate)
      return refused("refused", std::string("a load in ") + to_string(t.mode) +
                                    " mode would get rows twice; --truncate empties its table in the same transaction");
  const json answer{{"pipeline", ctx->spec->name}, {"load", c.load}, {"to", to.value().value}, {"truncate", c.truncate}};
  auto promise = self->make_response_promise<admin_reply>();
  auto failed = [promise](const std::string& why) mutable { promise.deliver(refused("unavailable", why)); };
  const auto index = static_cast<int>(load - ctx->spec->loads.begin());
  if (auto w = handle<writer_actor>(role::writer, index); w && !stopping) {
    self->request(w, caf::infinite, rewind_request{to.value(), c.truncate})
        .then(
            [promise, failed, answer](const simple_reply& r) mutable {
              if (r.ok)
                promise.deliver(document(answer));
              else
                failed(r.why.message);
            },
            [failed](const caf::error&) mutable { failed("the load's writer was restarted meanwhile; ask again"); });
    return promise;
  }
  // Paused or failed: the log remembers it, and the load's next claim carries it out.
  auto s = handle<stage_actor>(role::stage);
  if (!s) return refused("unavailable", "the stage is not running");
  self->request(s, caf::infinite, control_request{storage::batch_kind::rewind, c.load, {}, to.value(), c.truncate})
      .then(
          [promise, failed, answer](const append_reply& r) mutable {
            auto doc = answer;
            doc["when"] = "at the next resume";
            if (r.ok)
              promise.deliver(document(doc));
            else
              failed(r.why.message);
          },
          [failed](const caf::error&) mutable { failed("the stage was restarted meanwhile; ask again"); });
  return promise;
}

caf::result<admin_reply> pipeline_state::redrive(const admin_call& c, bool discard) {
  const char* verb = discard ? "discard" : "redrive";
  std::string error;
  auto filter = parse_filter(c.filter, error);
  if (!filter) return refused("invalid", error);
  if (filter->id.empty() && filter->reason.empty() && filter->load.empty() && !filter->all)
    return refused("invalid", std::string("nothing was named to ") + verb + ": expected --id, --reason, --load or --all");
  std::string load_of_id;
  std::optional<storage::offset> only;
  if (!filter->id.empty()) {
    only = filter->offset_of(ctx->spec->name, load_of_id);
    if (!only)
      return refused("not_found", "'" + filter->id + "' is no dead letter of " + ctx->spec->name + "; ids look like " +
                                      ctx->spec->name + "/LOAD/0/OFFSET");
  }
  filter->state = storage::dead_letter_state::quarantined;
  filter->any_state = false;
  auto s = handle<stage_actor>(role::stage);
  if (!s) return refused("unavailable", "the stage is not running");

  std::uint64_t superseded = 0, found = 0;
  auto pending = std::make_shared<std::vector<pending_redrive>>();
  for (const auto& l : ctx->spec->loads) {
    if ((!filter->load.empty() && filter->load != l.name) || (only && load_of_id != l.name)) continue;
    pending_redrive p{c, l.name, {}, {}, clock::now() + redrive_wait, {}};
    const auto scanned = ctx->dead_letters->scan(l.name, only.value_or(storage::offset{0}),
                                                 only ? storage::offset{only->value + 1} : storage::offset{~0ull}, false,
                                                 [&](const storage::dead_letter& d) {
                                                   if (!filter->takes(d)) return true;
                                                   ++found;
                                                   if (!discard && d.superseded_by != 0 && !c.force)
                                                     ++superseded;
                                                   else
                                                     p.letters.push_back(d.offset);
                                                   return filter->limit == 0 || p.letters.size() < filter->limit;
                                                 });
    if (!scanned) return refused("internal", scanned.error().message);
    if (!p.letters.empty()) pending->push_back(std::move(p));
  }
  if (found == 0)
    return refused("not_found",
                   only ? "dead letter '" + filter->id + "' is not open" : std::string("no open dead letter matches"));
  if (pending->empty())
    return refused(
        "refused",
        std::to_string(superseded) + (superseded == 1 ? " dead letter is" : " dead letters are") +
            " superseded: a later change of the key was delivered since; --force puts the older values over the newer ones");
  auto promise = self->make_response_promise<admin_reply>(); // not before: a plain return would go nowhere
  for (auto& p : *pending) p.promise = promise;
  // One entry after the other; the last one's offset tells when all are through.
  struct progress {
    std::size_t load = 0, next = 0;
  };
  auto at = std::make_shared<progress>();
  auto step = std::make_shared<std::function<void()>>();
  *step = [this, at, pending, promise, discard, s, step, force = c.force]() mutable {
    if (at->load == pending->size()) {
      for (auto& p : *pending) redrives.push_back(std::move(p));
      *step = nullptr;
      return check_redrives();
    }
    auto& p = (*pending)[at->load];
    control_request request{discard ? storage::batch_kind::discard : storage::batch_kind::redrive, p.load, {}, {}, force};
    const auto end = std::min(at->next + letters_an_entry, p.letters.size());
    request.offsets.assign(p.letters.begin() + static_cast<std::ptrdiff_t>(at->next),
                           p.letters.begin() + static_cast<std::ptrdiff_t>(end));
    self->request(s, caf::infinite, std::move(request))
        .then(
            [at, pending, promise, step, end](const append_reply& r) mutable {
              if (!r.ok) {
                promise.deliver(refused("unavailable", r.why.message));
                return;
              }
              auto& p = (*pending)[at->load];
              p.entry = r.first;
              at->next = end;
              if (at->next == p.letters.size()) {
                ++at->load;
                at->next = 0;
              }
              auto go = *step;
              go();
            },
            [promise](const caf::error&) mutable {
              promise.deliver(refused("unavailable", "the stage was restarted meanwhile; ask again"));
            });
  };
  auto go = *step;
  go();
  return promise;
}

/// Answers redrives and discards whose entries the load has passed.
void pipeline_state::check_redrives() {
  for (auto it = redrives.begin(); it != redrives.end();) {
    const auto l = std::find_if(loads.begin(), loads.end(), [&](const load_runtime& r) { return r.spec->name == it->load; });
    const bool passed = l != loads.end() && l->writer.next > it->entry;
    const bool stands = l == loads.end() || !l->failed.empty() || !l->writer.waiting.empty() || paused || stopping;
    if (!passed && !stands && clock::now() < it->deadline) {
      ++it;
      continue;
    }
    std::uint64_t redriven = 0, discarded = 0, still_open = 0;
    std::string sample;
    for (const auto at : it->letters) {
      const auto found = ctx->dead_letters->find(it->load, at);
      if (!found || !found.value()) continue;
      switch (found.value()->state) {
      case storage::dead_letter_state::redriven:
        ++redriven;
        break;
      case storage::dead_letter_state::discarded:
        ++discarded;
        break;
      case storage::dead_letter_state::quarantined:
        ++still_open;
        if (sample.empty()) sample = found.value()->reason + ": " + found.value()->message;
        break;
      case storage::dead_letter_state::replaced:
        break;
      }
    }
    json doc{{"pipeline", ctx->spec->name},
             {"load", it->load},
             {"asked", it->letters.size()},
             {"redriven", redriven},
             {"discarded", discarded},
             {"still_open", still_open},
             {"done", passed}};
    if (!sample.empty()) doc["sample"] = sample;
    if (!passed) doc["note"] = "asked for in the log; the load does it when it gets there";
    auto promise = it->promise;
    it = redrives.erase(it);
    // Several loads of one call share a promise: the last answer would be lost, so the first says all.
    if (promise.pending()) promise.deliver(document(doc));
  }
}

admin_reply pipeline_state::kill(const std::string& id) {
  for (auto& [n, c] : children) {
    if (id_of(c) != id) continue;
    if (!c.handle || c.state == child_state::failed || c.state == child_state::restarting)
      return refused("conflict", "actor " + id + " is not running now");
    self->send_exit(caf::actor_cast<caf::actor>(c.handle), caf::exit_reason::kill);
    return document({{"killed", id}});
  }
  return refused("not_found", "no actor '" + id + "'; `millrace actors` lists them");
}

} // namespace millrace::actors::supervisor
