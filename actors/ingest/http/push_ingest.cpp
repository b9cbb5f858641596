#include "actors/ingest/http/push_ingest.hpp"

#include "actors/ingest/http/body_splitter.hpp"

namespace millrace::actors::ingest {

using namespace std::chrono_literals;

namespace {
push_reply reply_of(int status, std::string message, int retry_after = 0) { return {status, 0, std::move(message), retry_after}; }
} // namespace

void push_state::attach() {
  attached = false;
  std::vector<std::uint64_t> all;
  for (const auto& [ticket, w] : waiters) all.push_back(ticket);
  settle(all, reply_of(503, "the log was restarted while this body was on its way: send it again", 1));
  window = http::producer_window{};
  const auto mine = ++attempt;
  self->request(stage, caf::infinite, attach_atom::value)
      .then(
          [this, mine](const attach_reply& reply) {
            if (mine != attempt) return;
            if (!reply.ok) return;
            if (auto restored = window.restore(reply.state); !restored) return self->quit(quit_reason(restored.error()));
            session = reply.session;
            attached = true;
            report();
          },
          [](const caf::error&) {});
}

caf::result<push_reply> push_state::push(const push_request& request) {
  if (!attached || stopping) return reply_of(503, "the pipeline is not taking changes now", 1);
  std::vector<storage::state_entry> state;
  const auto ticket = next_ticket++;
  const bool named = request.has_sequence;
  if (named) {
    auto verdict = window.begin(request.producer, request.sequence, ticket);
    using kind = http::producer_window::verdict;
    switch (verdict.what) {
    case kind::accepted:
      state = std::move(verdict.state);
      break;
    case kind::in_flight: {
      auto promise = self->make_response_promise<push_reply>();
      waiters[ticket] = {promise, 0};
      return promise;
    }
    case kind::repeat:
      return reply_of(200, "");
    case kind::too_old:
      return reply_of(409, verdict.message);
    case kind::busy:
    case kind::too_many_producers:
      return reply_of(429, verdict.message, 1);
    case kind::bad_producer:
      return reply_of(400, verdict.message);
    }
  }
  auto blocks = http::split_body(request.body, ctx->spec->source.envelope,
                                 http::origin_of(request.producer, request.sequence, named), std::move(state));
  const auto accepted = http::changes_in(blocks);
  if (blocks.empty()) return push_reply{200, 0, "", 0};
  append_request append;
  append.session = session;
  append.sequence = append_unordered;
  for (const auto& block : blocks) {
    auto encoded = storage::encode(block, ctx->spec->log.compression);
    if (!encoded) {
      if (named) window.failed(request.producer, request.sequence);
      return reply_of(400, encoded.error().message);
    }
    append.batches.push_back(std::move(encoded).value());
  }
  blocks.clear();
  ++bodies;
  auto promise = self->make_response_promise<push_reply>();
  waiters[ticket] = {promise, accepted};
  self->request(stage, caf::infinite, std::move(append))
      .then(
          [this, mine = attempt, ticket, named, producer = request.producer, sequence = request.sequence](const append_reply& r) {
            if (mine != attempt) return;
            if (is(r.why, errc::stale_session)) return self->quit(quit_reason(r.why));
            waiting = r.ok ? std::string{} : r.why.message;
            auto tickets = named ? (r.ok ? window.acknowledged(producer, sequence) : window.failed(producer, sequence))
                                 : std::vector{ticket};
            settle(tickets, r.ok ? push_reply{200, 0, "", 0} : reply_of(503, r.why.message, 5));
            report();
          },
          [](const caf::error&) {}); // the stage died: attach() answers
  return promise;
}

void push_state::settle(const std::vector<std::uint64_t>& tickets, const push_reply& reply) {
  for (const auto ticket : tickets) {
    const auto it = waiters.find(ticket);
    if (it == waiters.end()) continue;
    auto answer = reply;
    if (reply.status == 200) answer.accepted = it->second.accepted;
    it->second.promise.deliver(answer);
    waiters.erase(it);
  }
  if (stopping && waiters.empty() && drained.pending()) drained.deliver(simple_reply{});
}

void push_state::report() {
  ingest_report r;
  r.ready = attached;
  r.idle = waiters.empty();
  r.waiting = waiting;
  r.source.caught_up = waiters.empty();
  r.source.position = std::to_string(window.producers()) + " producers";
  self->send(supervisor, r);
}

ingest_actor::behavior_type push_ingest(ingest_actor::stateful_pointer<push_state> self, pipeline_context_ptr ctx,
                                        pipeline_actor supervisor, stage_actor stage) {
  set_crash_handler(self, ctx, ctx->component("ingest"));
  auto& st = self->state;
  st.ctx = std::move(ctx);
  st.supervisor = std::move(supervisor);
  st.stage = std::move(stage);
  st.attach();
  return {
      [](tick_atom) {},
      [self](wire_atom, const stage_actor& s) {
        self->state.stage = s;
        self->state.attach();
      },
      [self](drain_atom) -> caf::result<simple_reply> {
        auto& st = self->state;
        st.stopping = true;
        if (st.waiters.empty()) return simple_reply{};
        st.drained = self->make_response_promise<simple_reply>();
        return st.drained;
      },
      [self](const push_message& m) { return self->state.push(*m.request); },
      [](const snapshot_request&) {
        return simple_reply{false, make_failure(errc::invalid, "a source that is pushed to takes no snapshots"), 0};
      },
  };
}

} // namespace millrace::actors::ingest
