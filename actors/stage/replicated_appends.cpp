// A replicated stage's appends: what its leader is asked for, gathered into one write, and answered once it is acknowledged.

#include "actors/stage/replicated_stage.hpp"

namespace millrace::actors::stage {

namespace replication = storage::replication;

namespace {
failure not_leading() { return make_failure(errc::log_unavailable, "this node does not lead the partition, or no longer"); }
} // namespace

caf::result<attach_reply> replicated_stage_state::attach() {
  auto promise = self->make_response_promise<attach_reply>();
  if (!leading) {
    attach_reply refused;
    refused.why = not_leading();
    promise.deliver(refused);
    return promise;
  }
  flush();
  attaching.push_back(promise);
  answer_attaching();
  return promise;
}

/// The source's state follows the high watermark: whoever asks where to go on waits until it is that of the log's end.
void replicated_stage_state::answer_attaching() {
  if (attaching.empty() || !leading || !waiting.empty() || replica->high_watermark() < replica->end()) return;
  attach_reply reply;
  auto state = log->source_state();
  if (state) {
    reply.ok = true;
    reply.session = waiting.new_session();
    reply.state = std::move(state).value();
  } else {
    ctx->node->fatal(state.error(), ctx->component("stage"));
    reply.why = state.error();
  }
  for (auto& p : std::exchange(attaching, {})) p.deliver(reply);
}

caf::result<append_reply> replicated_stage_state::append(append_request& request) {
  auto promise = self->make_response_promise<append_reply>();
  if (!leading) {
    promise.deliver(refusal(not_leading()));
    return promise;
  }
  waiting.push({std::move(request), promise});
  if (!flush_sent) {
    flush_sent = true;
    self->send(self, flush_atom::value);
  }
  return promise;
}

append_reply replicated_stage_state::refusal(const failure& why) {
  append_reply reply;
  reply.why = make_failure(errc::log_unavailable, why.message);
  return reply;
}

void replicated_stage_state::flush() {
  flush_sent = false;
  if (waiting.empty() || !leading || !replica || !replica->may_append()) return;
  auto group = waiting.take();
  if (group.batches.empty()) return;
  auto outcome = log->append(group.batches);
  if (!outcome) {
    waiting.not_written(group);
    const auto refused = refusal(outcome.error());
    for (auto& r : group.requests) r.promise.deliver(refused);
    if (!outcome.error().is(storage::errc::no_space)) return disk_failed(outcome.error(), "an append");
    out_of_room(outcome.error());
    return act();
  }
  if (full) {
    full = false;
    replica->room();
  }
  set_blocked({});
  append_reply reply;
  reply.ok = true;
  reply.first = outcome.value();
  const auto end = log->info().next;
  for (auto& r : group.requests) {
    sent.push_back({end, reply, r.promise});
    for (const auto& batch : r.what.batches) reply.first.value += batch->count();
  }
  replica->synced(replica->issued());
  act();
}

caf::result<append_reply> replicated_stage_state::decided(const result<storage::offset>& outcome) {
  auto promise = self->make_response_promise<append_reply>();
  if (!outcome) {
    promise.deliver(refusal(outcome.error()));
    if (outcome.error().is(storage::errc::io_failed)) disk_failed(outcome.error(), "an append");
    if (!outcome.error().is(storage::errc::no_space)) return promise;
    out_of_room(outcome.error());
    act();
    return promise;
  }
  append_reply reply;
  reply.ok = true;
  reply.first = outcome.value();
  sent.push_back({log->info().next, reply, promise});
  replica->synced(replica->issued());
  act();
  // All of it may have been decided, and acknowledged, before: then no new acknowledgement comes.
  replication::actions::acknowledged now_acknowledged{replica ? replica->high_watermark() : storage::offset{}};
  perform(now_acknowledged);
  return promise;
}

caf::result<append_reply> replicated_stage_state::control(const control_request& request) {
  flush();
  if (!leading) return refusal(not_leading());
  switch (request.kind) {
  case storage::batch_kind::redrive:
    return decided(log->append_redrive(request.load, request.offsets, request.flag));
  case storage::batch_kind::discard:
    return decided(log->append_discard(request.load, request.offsets));
  case storage::batch_kind::rewind:
    return decided(log->append_rewind(request.load, request.to, request.flag));
  case storage::batch_kind::outcomes:
    return decided(log->append_outcomes(request.load, request.to, request.outcomes));
  case storage::batch_kind::rewound:
    return decided(log->append_rewound(request.load));
  default: {
    append_reply refused;
    refused.why = make_failure(errc::invalid, "no such control entry");
    return refused;
  }
  }
}

caf::result<append_reply> replicated_stage_state::quarantine(const quarantine_request& request) {
  flush();
  if (!leading) return refusal(not_leading());
  return decided(log->append_quarantine(request.load, request.letters));
}

} // namespace millrace::actors::stage
