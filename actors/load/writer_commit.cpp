// How a writer's transaction ends: letters and outcomes into the log first, then rows and the next offset into the destination.

#include "actors/load/writer.hpp"

#include <algorithm>

namespace millrace::actors::load {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

/// The same changes again, each applied and checked by itself: what halts or breaks a constraint is found exactly.
void writer_state::isolate() {
  isolating = true;
  target->set_isolation(true);
  claim();
}

bool writer_state::flush() {
  if (!open) return true;
  auto flushed = target->flush(*this);
  if (flushed) return true;
  if (is(flushed.error(), errc::halted) && !isolating)
    isolate();
  else
    fail(flushed.error());
  return false;
}

void writer_state::commit() {
  if (phase == phase_kind::running && !flush()) return;
  if (!halted.empty() && inside) {
    // A source's transaction is delivered whole or not at all: what came before it in this one waits with it.
    const auto why = make_failure(errc::halted, "on_error halt at " + halted);
    target->rollback();
    report(true);
    return self->quit(quit_reason(why));
  }
  if (!letters.empty()) {
    // Failures of a bulk step come after later changes were looked at.
    std::sort(letters.begin(), letters.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
    phase = phase_kind::quarantining;
    self->request(stage, caf::infinite, quarantine_request{load->name, letters})
        .then(
            [this, mine = generation](const append_reply& reply) {
              if (mine != generation || phase != phase_kind::quarantining) return;
              if (!reply.ok) return wait(reply.why.message); // retry() comes back here; the destination's transaction stays open
              tell_alerts(letters);
              letters.clear();
              letter_bytes = 0;
              decide_outcomes();
            },
            [](const caf::error&) {}); // the stage died: the next one is wired, and asked again
    return;
  }
  decide_outcomes();
}

/// A redrive's or discard's outcomes are in the log before the destination passes its order.
void writer_state::decide_outcomes() {
  if (!outcomes) return finish_commit();
  phase = phase_kind::quarantining;
  self->request(stage, caf::infinite, *outcomes)
      .then(
          [this, mine = generation](const append_reply& reply) {
            if (mine != generation || phase != phase_kind::quarantining) return;
            if (!reply.ok) return wait(reply.why.message); // retry() comes back here
            outcomes.reset();
            finish_commit();
          },
          [](const caf::error&) {});
}

void writer_state::finish_commit() {
  if (inside && halted.empty()) { // only the decisions were due
    phase = phase_kind::running;
    if (drain_promise.pending()) {
      target->rollback();
      phase = phase_kind::drained;
      drain_promise.deliver(simple_reply{});
      return;
    }
    if (rewind_promise.pending()) return start_rewind();
    return wake();
  }
  auto& table = *ctx->dead_letters;
  std::vector<std::uint8_t> bits;
  if (!filtered.empty()) {
    bits.resize((filtered.back() - committed.next.value) / 8 + 1);
    for (const auto at : filtered)
      bits[(at - committed.next.value) / 8] |= static_cast<std::uint8_t>(1u << ((at - committed.next.value) % 8));
  }
  auto check = [&](const result<void>& r) {
    if (r) return true;
    if (!ctx->node->fatal(r.error(), who())) self->quit(quit_reason(r.error()));
    return false;
  };
  if (position > committed.next && !check(table.note_filtered(load->name, committed.next, position, committed.filtered, bits)))
    return;
  for (const auto& [hash, by] : passed_keys) {
    auto open_ones = table.open_of_key(load->name, hash);
    if (!open_ones) return static_cast<void>(check(open_ones.error()));
    for (const auto letter : open_ones.value())
      if (letter.value < by && !check(table.supersede(load->name, letter, {by}))) return;
  }
  const progress next{position, committed.filtered + filtered.size() + redriven_filtered};
  const auto started = clock::now();
  auto done = target->commit(next);
  if (!done) {
    if (is(done.error(), errc::refused) && !isolating) return isolate(); // a constraint that only the commit checks
    return fail(done.error());
  }
  commit_seconds = std::chrono::duration<double>(clock::now() - started).count();
  remember_delivery();
  if (isolating) {
    isolating = false;
    target->set_isolation(false);
  }
  const bool settle = prepared;
  const auto stop = halted;
  dead_below = static_cast<std::uint64_t>(static_cast<std::int64_t>(dead_below + transaction_dead) + redriven_dead);
  committed = next;
  applied_time = position_time;
  held.mark();
  decided.erase(decided.begin(), decided.lower_bound(next.next.value));
  reset_transaction();
  phase = phase_kind::running;
  backoff = 0ms;
  waiting.clear();
  if (settle && !check(table.settle(load->name, next.next))) return;
  self->send(dispatcher, released{generation, next_sequence});
  if (!stop.empty()) {
    report(true);
    return self->quit(quit_reason(make_failure(errc::halted, "on_error halt at " + stop)));
  }
  if (rewind_promise.pending()) return start_rewind();
  if (drain_promise.pending()) {
    phase = phase_kind::drained;
    report(true);
    drain_promise.deliver(simple_reply{});
    return;
  }
  report(arrived.empty());
  wake();
}

void writer_state::reset_transaction() {
  open = inside = false;
  transaction_changes = transaction_dead = 0;
  transaction_bytes = 0;
  filtered.clear();
  letters.clear();
  letter_bytes = 0;
  halted.clear();
  passed_keys.clear();
  prepared = false;
  outcomes.reset();
  redriven_filtered = 0;
  redriven_dead = 0;
}

void writer_state::tell_alerts(const std::vector<storage::dead_letter>& fresh) {
  std::map<std::string, failure_report> groups;
  for (const auto& l : fresh) {
    auto& g = groups[l.reason];
    if (g.count++ == 0) {
      g.load = load->name;
      g.reason = l.reason;
      g.first = l.first_time;
      g.sample = l;
    }
    g.last = l.last_time;
  }
  for (auto& [reason, g] : groups) self->send(supervisor, std::move(g));
}

} // namespace millrace::actors::load
