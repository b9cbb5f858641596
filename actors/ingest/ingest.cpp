#include "actors/ingest/ingest.hpp"

#include <algorithm>

namespace millrace::actors::ingest {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

void ingest_state::attach() {
  attached = false;
  unacknowledged.clear();
  unacknowledged_bytes = 0;
  resend = false;
  next_sequence = 0;
  const auto mine = ++attempt;
  self->request(stage, caf::infinite, attach_atom::value)
      .then(
          [this, mine](const attach_reply& reply) {
            if (mine == attempt) opened(reply);
          },
          [this, mine](const caf::error&) {
            if (mine == attempt) waiting = "the stage is being restarted";
          });
}

void ingest_state::opened(const attach_reply& reply) {
  if (!reply.ok) {
    waiting = reply.why.message;
    return;
  }
  session = reply.session;
  auto made = make_source_reader(ctx->spec->source);
  if (!made) return self->quit(quit_reason(made.error()));
  reader = std::move(made).value();
  if (auto opened = reader->open(reply.state); !opened) {
    if (!is(opened.error(), errc::unavailable)) return self->quit(quit_reason(opened.error()));
    waiting = opened.error().message; // poll() goes on trying
  }
  attached = true;
  waiting.clear();
  report(true);
  schedule(0ms);
}

void ingest_state::schedule(std::chrono::milliseconds delay) {
  if (tick_now || (tick_later && delay.count() > 0)) return;
  if (delay.count() == 0) {
    tick_now = true;
    self->send(self, tick_atom::value);
  } else {
    tick_later = true;
    self->delayed_send(self, delay, tick_atom::value);
  }
}

void ingest_state::tick() {
  (tick_now ? tick_now : tick_later) = false;
  if (!attached) return;
  const auto now = clock::now();
  if (resend && now >= resend_at) {
    resend = false;
    for (const auto& item : unacknowledged) send(item);
  }
  const bool full = unacknowledged_bytes >= ingest_window_bytes;
  if (stopping || resend || full) reader->idle();
  if (stopping) {
    if (unacknowledged.empty() && drained.pending()) drained.deliver(simple_reply{});
    report();
    return schedule(unacknowledged.empty() ? 100ms : 20ms);
  }
  if (resend) {
    report();
    return schedule(100ms);
  }
  if (full) { // out of credit; the next acknowledgement ticks before this does
    report();
    return schedule(100ms);
  }
  if (now < retry_at) {
    report();
    return schedule(100ms);
  }
  auto polled = reader->poll(unacknowledged.empty() ? 50ms : 5ms);
  for (const auto& notice : reader->take_notices()) ctx->node->log("info", ctx->component("ingest"), notice);
  if (!polled) {
    if (!is(polled.error(), errc::unavailable)) return self->quit(quit_reason(polled.error()));
    if (waiting != polled.error().message)
      ctx->node->log("warn", ctx->component("ingest"), "the source waits: " + polled.error().message);
    waiting = polled.error().message;
    retry_at = now + 500ms;
    report();
    return schedule(100ms);
  }
  waiting.clear();
  if (auto& block = polled.value()) {
    auto batch = storage::encode(*block, ctx->spec->log.compression);
    if (!batch) return self->quit(quit_reason(batch.error()));
    in_flight item;
    item.sequence = next_sequence++;
    item.batch = std::move(batch).value();
    item.state = std::move(block->source_state);
    item.bytes = item.batch->raw_bytes() + item.batch->stored_bytes();
    unacknowledged_bytes += item.bytes;
    if (!resend) send(item);
    unacknowledged.push_back(std::move(item));
  }
  report();
  schedule(0ms);
}

void ingest_state::send(const in_flight& item) {
  append_request request;
  request.session = session;
  request.sequence = item.sequence;
  request.batches.push_back(item.batch);
  self->request(stage, caf::infinite, std::move(request))
      .then([this, mine = attempt, sequence = item.sequence](const append_reply& reply) { acknowledged(mine, sequence, reply); },
            [](const caf::error&) {}); // the stage died: the supervisor wires the next one, and we attach anew
}

void ingest_state::acknowledged(std::uint64_t of_attempt, std::uint64_t sequence, const append_reply& reply) {
  if (of_attempt != attempt || !attached) return;
  if (!reply.ok) {
    if (is(reply.why, errc::stale_session)) return self->quit(quit_reason(reply.why));
    if (is(reply.why, errc::log_unavailable)) waiting = reply.why.message;
    if (!resend) {
      resend = true;
      resend_at = clock::now() + (is(reply.why, errc::conflict) ? 0ms : 500ms);
    }
    report();
    return schedule(100ms);
  }
  for (auto& item : unacknowledged)
    if (item.sequence == sequence) item.acknowledged = true;
  while (!unacknowledged.empty() && unacknowledged.front().acknowledged) {
    auto& front = unacknowledged.front();
    reader->acknowledged(front.state);
    unacknowledged_bytes -= front.bytes;
    unacknowledged.pop_front();
  }
  if (!resend) waiting.clear();
  schedule(0ms);
}

void ingest_state::report(bool force) {
  const auto now = clock::now();
  ingest_report r;
  r.ready = attached;
  r.source = reader ? reader->status() : source_status{};
  r.idle = unacknowledged.empty();
  r.waiting = waiting;
  const bool changed = r.idle != last_report.idle || r.source.caught_up != last_report.source.caught_up ||
                       r.source.waiting != last_report.source.waiting || r.waiting != last_report.waiting ||
                       r.source.position != last_report.source.position;
  if (!force && (now - reported_at < 50ms || (!changed && now - reported_at < 500ms))) {
    if (!(changed && r.idle && r.source.caught_up)) return;
  }
  reported_at = now;
  last_report = r;
  self->send(supervisor, std::move(r));
}

ingest_actor::behavior_type ingest(ingest_actor::stateful_pointer<ingest_state> self, pipeline_context_ptr ctx,
                                   pipeline_actor supervisor, stage_actor stage) {
  set_crash_handler(self, ctx, ctx->component("ingest"));
  auto& st = self->state;
  st.ctx = std::move(ctx);
  st.supervisor = std::move(supervisor);
  st.stage = std::move(stage);
  st.attach();
  return {
      [self](tick_atom) { self->state.tick(); },
      [self](wire_atom, const stage_actor& s) {
        self->state.stage = s;
        self->state.attach();
      },
      [self](drain_atom) -> caf::result<simple_reply> {
        auto& st = self->state;
        st.stopping = true;
        st.drained = self->make_response_promise<simple_reply>();
        auto answer = st.drained;
        if (st.unacknowledged.empty()) answer.deliver(simple_reply{});
        return answer;
      },
      [](const push_message&) {
        return push_reply{404, 0, "this pipeline's source is not pushed to", 0};
      },
      [self](const snapshot_request& request) {
        auto& st = self->state;
        if (!st.attached || !st.reader) return simple_reply{false, make_failure(errc::unavailable, st.waiting), 0};
        auto asked = request.columns.empty() ? st.reader->snapshot(request.table)
                                             : st.reader->reread(request.table, request.columns, request.keys);
        if (asked) st.schedule(0ms);
        return asked ? simple_reply{} : simple_reply{false, asked.error(), 0};
      },
  };
}

} // namespace millrace::actors::ingest
