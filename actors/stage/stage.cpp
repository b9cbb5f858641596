#include "actors/stage/stage.hpp"

#include <algorithm>

namespace millrace::actors::stage {

void stage_state::open() {
  storage::partition_options options;
  options.compression = ctx->spec->log.compression;
  options.node = ctx->node->options.name;
  auto opened = ctx->node->options.store->open_log(ctx->uid, 0, options);
  stage_report report;
  if (!opened) {
    const auto& why = opened.error();
    if (ctx->node->fatal(why, ctx->component("stage"))) return;
    if (why.is(storage::errc::no_space)) { // nothing is damaged: the epoch marker waits like every other append
      set_blocked(why.message);
      self->delayed_send(self, std::chrono::milliseconds(500), flush_atom::value);
      return;
    }
    report.why = why;
    self->send(supervisor, report);
    self->quit(quit_reason(why));
    return;
  }
  log = std::move(opened).value();
  log->take_writer(); // an earlier stage may still have a call in its mailbox: it is refused from here on
  auto letters = ctx->node->options.store->dead_letters(ctx->uid, 0);
  if (!letters) {
    ctx->node->fatal(letters.error(), ctx->component("stage"));
    self->quit(quit_reason(letters.error()));
    return;
  }
  dead_letters = std::move(letters).value();
  report.opened = true;
  report.log = log;
  report.dead_letters = dead_letters;
  self->send(supervisor, report);
}

caf::result<attach_reply> stage_state::attach() {
  flush(); // what an earlier session queued here is taken or refused before the newcomer learns where to go on
  attach_reply reply;
  auto state = log->source_state();
  if (!state) {
    ctx->node->fatal(state.error(), ctx->component("stage"));
    reply.why = state.error();
    return reply;
  }
  reply.ok = true;
  reply.session = waiting.new_session();
  reply.state = std::move(state).value();
  return reply;
}

caf::result<append_reply> stage_state::append(append_request& request) {
  auto promise = self->make_response_promise<append_reply>();
  waiting.push({std::move(request), promise});
  if (!flush_sent) {
    flush_sent = true;
    self->send(self, flush_atom::value);
  }
  return promise;
}

void stage_state::flush() {
  flush_sent = false;
  if (waiting.empty()) return;
  auto group = waiting.take();
  if (group.batches.empty()) return;
  auto reply = answer(log->append(group.batches));
  if (!reply.ok) waiting.not_written(group);
  for (auto& r : group.requests) {
    r.promise.deliver(reply);
    for (const auto& batch : r.what.batches) reply.first.value += batch->count();
  }
  if (reply.ok) advanced();
}

append_reply stage_state::answer(const result<storage::offset>& outcome) {
  append_reply reply;
  if (outcome) {
    reply.ok = true;
    reply.first = outcome.value();
    set_blocked({});
    return reply;
  }
  const auto& why = outcome.error();
  ctx->node->fatal(why, ctx->component("stage"));
  if (why.is(storage::errc::no_space)) set_blocked(why.message);
  reply.why = make_failure(errc::log_unavailable, why.message);
  return reply;
}

append_reply stage_state::control(const control_request& request) {
  flush();
  append_reply reply;
  switch (request.kind) {
  case storage::batch_kind::redrive:
    reply = answer(log->append_redrive(request.load, request.offsets, request.flag));
    break;
  case storage::batch_kind::discard:
    reply = answer(log->append_discard(request.load, request.offsets));
    break;
  case storage::batch_kind::rewind:
    reply = answer(log->append_rewind(request.load, request.to, request.flag));
    break;
  case storage::batch_kind::outcomes:
    reply = answer(log->append_outcomes(request.load, request.to, request.outcomes));
    break;
  default:
    reply.why = make_failure(errc::invalid, "no such control entry");
    return reply;
  }
  if (reply.ok) advanced();
  return reply;
}

append_reply stage_state::quarantine(const quarantine_request& request) {
  auto reply = answer(log->append_quarantine(request.load, request.letters));
  if (reply.ok) advanced();
  return reply;
}

void stage_state::trim(storage::offset floor) {
  const auto before = log->info().first;
  auto first = log->trim(ctx->spec->log.retention, floor, storage::now(), ctx->spec->log.retention_force);
  if (!first) {
    if (!ctx->node->fatal(first.error(), ctx->component("stage")))
      ctx->node->log("warn", ctx->component("stage"), "retention could not drop files: " + first.error().message);
    return;
  }
  if (first.value() > before)
    ctx->node->log("info", ctx->component("stage"), "retention dropped offsets below " + std::to_string(first.value().value));
}

void stage_state::advanced() {
  for (const auto& d : dispatchers) self->send(d, advanced_atom::value);
}

void stage_state::set_blocked(std::string why) {
  if (why.empty() == blocked.empty()) return;
  blocked = std::move(why);
  ctx->node->log(blocked.empty() ? "info" : "warn", ctx->component("stage"),
                 blocked.empty() ? "appends go on" : "appends wait: " + blocked);
  stage_report report;
  report.opened = log != nullptr;
  report.log = log;
  report.dead_letters = dead_letters;
  report.waiting = blocked;
  self->send(supervisor, report);
}

stage_actor::behavior_type stage(stage_actor::stateful_pointer<stage_state> self, pipeline_context_ptr ctx,
                                 pipeline_actor supervisor) {
  set_crash_handler(self, ctx, ctx->component("stage"));
  self->state.ctx = std::move(ctx);
  self->state.supervisor = std::move(supervisor);
  self->set_down_handler([self](caf::down_msg& down) {
    std::erase_if(self->state.dispatchers, [&](const dispatcher_actor& d) { return d.address() == down.source; });
  });
  self->state.open();
  return {
      [self](attach_atom) { return self->state.attach(); },
      [self](append_request& request) { return self->state.append(request); },
      [self](const quarantine_request& request) { return self->state.quarantine(request); },
      [self](const control_request& request) { return self->state.control(request); },
      [self](flush_atom) {
        if (self->state.log)
          self->state.flush();
        else
          self->state.open();
      },
      [self](subscribe_atom, const dispatcher_actor& d) {
        auto& all = self->state.dispatchers;
        if (std::find(all.begin(), all.end(), d) == all.end()) {
          all.push_back(d);
          self->monitor(d);
        }
        self->send(d, advanced_atom::value);
      },
      [self](const trim_request& request) { self->state.trim(request.floor); },
      [](const replica_frame&) {},
      [](const record_news&) {},
      [](const members_news&) {},
      [](const proposal_news&) {},
      [](tick_atom) {},
      [](resign_atom) {},
  };
}

} // namespace millrace::actors::stage
