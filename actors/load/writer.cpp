#include "actors/load/writer.hpp"

#include "actors/load/letters.hpp"

#include <algorithm>

namespace millrace::actors::load {

using namespace std::chrono_literals;
using clock = std::chrono::steady_clock;

namespace {
constexpr auto linger_time = 3ms;        ///< how long an open transaction waits for more before it commits
constexpr auto transaction_time = 150ms; ///< and how long it may take while more comes
constexpr std::size_t transaction_bytes_max = load_window_bytes / 2; ///< half: the dispatcher fills the other half meanwhile
constexpr std::size_t letters_max = 20000, letter_bytes_max = 16u << 20;
constexpr auto catalog_retry = 10s;
constexpr auto backoff_min = 100ms, backoff_max = 5000ms;
std::string delivered_key(const pipeline_context& ctx, const std::string& load) { return "delivered/" + ctx.uid + "/" + load; }
} // namespace

// ---- claiming

void writer_state::claim() {
  target->rollback();
  reset_transaction();
  phase = phase_kind::unclaimed;
  generation = std::max<std::uint64_t>(generation + 1, static_cast<std::uint64_t>(storage::now().time_since_epoch().count()));
  arrived.clear();
  arrived_changes = 0;
  next_sequence = 0;
  held.clear();
  decided.clear();
  lingering = false;

  const auto info = ctx->log->info();
  claim_request request{ctx->spec->name, load->name, 0, info.id, info.epoch, ctx->retired};
  auto claimed = target->claim(request);
  if (!claimed) return fail(claimed.error());
  auto at = claimed.value();
  if (at.next > info.next)
    return fail(make_failure(errc::log_mismatch, target->name() + " has changes below offset " + std::to_string(at.next.value) +
                                                     ", but the log ends at " + std::to_string(info.next.value) +
                                                     ": acknowledged data was lost here; nothing is skipped or written"));
  auto& letters_table = *ctx->dead_letters;
  auto storage_failed = [&](const failure& why) {
    if (!ctx->node->fatal(why, who())) self->quit(quit_reason(why));
  };
  auto pending = letters_table.rewind_of(load->name);
  if (!pending) return storage_failed(pending.error());
  result<bool> before = false;
  if (at.created && !pending.value()) {
    before = delivered_before();
    if (!before) return fail(before.error()); // a lost destination must not pass for a new one
  }
  bool move = pending.value().has_value();
  bool truncate = false;
  auto to = at.next;
  if (move) {
    to = pending.value()->to;
    truncate = pending.value()->truncate;
  } else if (before.value()) {
    // The table or file of earlier commits is gone. What the log still has is delivered again; a gap is never passed over.
    if (info.first.value > 0)
      return fail(make_failure(
          errc::log_mismatch, target->name() + " has lost what was delivered to it, and retention dropped the log below offset " +
                                  std::to_string(info.first.value) +
                                  ": put the destination back, or delete the pipeline to begin anew"));
    ctx->node->log("warn", who(),
                   target->name() + " has lost what was delivered to it: everything is delivered again from the log");
  } else if (at.next.value == 0 && info.first.value > 0 && !ctx->spec->log.retention_force) {
    // Retention keeps what a load has not committed, so this load is younger than what was dropped: it starts at what is there.
    move = true;
    to = info.first;
  }
  if (move) {
    auto below = letters_table.filtered_below(load->name, to);
    if (!below) return storage_failed(below.error());
    at = {to, below.value()};
    if (auto moved = target->rewind(at, truncate); !moved) return fail(moved.error());
    if (ctx->node->options.cluster) // one that is lost is carried out again: it moves to the same place
      caf::anon_send(stage, control_request{storage::batch_kind::rewound, load->name, {}, {}, false, {}});
    else if (auto cleared = letters_table.clear_rewind(load->name); !cleared)
      return storage_failed(cleared.error());
  }
  if (auto settled = letters_table.settle(load->name, at.next); !settled) return storage_failed(settled.error());

  dead_below = 0;
  auto scanned = letters_table.scan(load->name, {0}, {~0ull}, false, [&](const storage::dead_letter& l) {
    const bool is_open = l.state == storage::dead_letter_state::quarantined;
    if (l.offset < at.next) {
      if (is_open) held.add(l.key_hash, l.before_key_hash);
      if (is_open || l.state == storage::dead_letter_state::discarded) ++dead_below;
    } else if (is_open) {
      decided[l.offset.value] = {l.key_hash, l.before_key_hash};
    }
    return true;
  });
  if (!scanned) return storage_failed(scanned.error());

  held.mark();
  committed = at;
  position = at.next;
  phase = phase_kind::running;
  // A claim says that the destination answers, not that it takes rows (it may be full): the next commit says that.
  if (at.next >= info.next) waiting.clear();
  self->send(dispatcher, seek_request{generation, at.next, caf::actor_cast<caf::strong_actor_ptr>(self)});
  if (rewind_promise.pending()) {
    if (rewinding.truncate == truncate && rewinding.to == to && move)
      rewind_promise.deliver(simple_reply{true, {}, to.value});
    else
      start_rewind();
  }
  report(true);
}

/// Whether this node remembers a commit of this load: after a restart only it can tell a lost destination from a new one.
result<bool> writer_state::delivered_before() const {
  auto known = ctx->node->options.catalog().get(delivered_key(*ctx, load->name));
  if (!known) return known.error();
  return known.value().has_value();
}

void writer_state::remember_delivery() {
  if (remembered || clock::now() < remember_at) return;
  auto known = delivered_before();
  if (known && !known.value())
    if (auto noted = ctx->node->options.catalog().commit({}, {{delivered_key(*ctx, load->name), "", 0}}); !noted)
      known = noted.error();
  remembered = static_cast<bool>(known);
  if (remembered || ctx->node->fatal(known.error(), who())) return;
  remember_at = clock::now() + catalog_retry; // a catalog that is away costs seconds a question: not at each commit
}

void writer_state::fail(const failure& why) {
  target->rollback();
  phase = phase_kind::unclaimed;
  if (rewind_promise.pending()) rewind_promise.deliver(simple_reply{false, why, 0});
  if (drain_promise.pending()) {
    phase = phase_kind::drained; // what was not committed is in the log
    drain_promise.deliver(simple_reply{});
    return;
  }
  if (is(why, errc::fenced) || is(why, errc::log_mismatch)) return self->quit(quit_reason(why));
  // Busy, full, unreachable, not allowed: the log keeps the changes, nothing becomes a dead letter, and we try again.
  wait(why.message);
}

void writer_state::wait(const std::string& why) {
  if (waiting != why) ctx->node->log("warn", who(), "waiting: " + why);
  waiting = why;
  backoff = std::clamp<std::chrono::milliseconds>(backoff * 2, backoff_min, backoff_max);
  self->delayed_send(self, backoff, retry_atom::value, generation);
  report(true);
}

void writer_state::retry(std::uint64_t timer) {
  if (timer != generation) return;
  if (phase == phase_kind::unclaimed) claim();
  if (phase == phase_kind::quarantining) commit();
}

// ---- applying

void writer_state::wake() {
  if (pumping || phase != phase_kind::running) return;
  pumping = true;
  self->send(self, pump_atom::value);
}

void writer_state::pump() {
  pumping = false;
  if (phase != phase_kind::running) return;
  const auto it = arrived.find(next_sequence);
  if (it == arrived.end()) {
    if (position > committed.next && !inside && !lingering) {
      lingering = true;
      self->delayed_send(self, linger_time, commit_atom::value, generation);
    }
    return;
  }
  const auto kind = it->second.batch->kind();
  const bool alone = (kind == storage::batch_kind::redrive || kind == storage::batch_kind::discard) &&
                     it->second.batch->control().load == load->name;
  if (alone && position > committed.next && !inside)
    return commit(); // a redrive has its own transaction; its turn comes again after this one
  const auto item = it->second;
  if (!open && !begin()) return;
  if (!apply(item)) return;
  arrived.erase(it);
  arrived_changes -= item.batch->count();
  ++next_sequence;
  const bool many_letters = letters.size() >= letters_max || letter_bytes >= letter_bytes_max;
  const bool large = transaction_bytes >= transaction_bytes_max;
  if (inside && halted.empty()) {
    // The source's transaction goes on. Its rows are the destination's now: their memory is free for what follows.
    if (many_letters) return commit();
    if (large) {
      self->send(dispatcher, released{generation, next_sequence});
      transaction_bytes = 0;
    }
    return wake();
  }
  if (alone || !halted.empty() || large || many_letters || clock::now() - opened_at >= transaction_time) return commit();
  wake();
}

bool writer_state::begin() {
  if (auto begun = target->begin(); !begun) {
    fail(begun.error());
    return false;
  }
  open = true;
  opened_at = clock::now();
  return true;
}

bool writer_state::apply(const load_item& item) {
  if (item.rows ? !apply_rows(item) : !apply_control(item)) return false;
  if (halted.empty()) {
    position = item.end;
    if (item.rows) inside = item.batch->open_end();
  } else if (item.rows) {
    const auto change = static_cast<std::uint32_t>(position.value - item.batch->base().value);
    const auto* t = item.batch->transaction_of(change);
    inside = t != nullptr && (t->first_change != change || t->first_index != 0);
  }
  position_time = item.batch->last_time();
  transaction_changes += item.batch->count();
  transaction_bytes += 2 * item.batch->bytes();
  return true;
}

bool writer_state::apply_rows(const load_item& item) {
  const auto& set = *item.rows;
  const auto base = item.batch->base().value;
  std::size_t row = 0, skipped = 0;
  auto note_filtered_until = [&](std::uint64_t change) {
    for (; skipped < set.filtered.size() && set.filtered[skipped] < change; ++skipped) {
      const auto at = base + set.filtered[skipped];
      if (at >= committed.next.value && !decided.contains(at)) filtered.push_back(at);
    }
  };
  for (std::size_t f = 0; f <= set.failures.size(); ++f) {
    const auto stop = f < set.failures.size() ? set.failures[f].change : set.end;
    const auto end = static_cast<std::size_t>(
        std::lower_bound(set.rows.begin() + static_cast<std::ptrdiff_t>(row), set.rows.end(), stop,
                         [](const transform::row& r, std::uint32_t change) { return r.change < change; }) -
        set.rows.begin());
    if (end > row) {
      auto applied = target->apply(item.rows, row, end, *this);
      if (!applied) {
        if (!is(applied.error(), errc::halted)) {
          fail(applied.error());
          return false;
        }
        if (!isolating && target->buffers()) {
          isolate();
          return false;
        }
        note_filtered_until(position.value - base); // rejected() set the position to the change that halts
        return true;
      }
      row = end;
    }
    note_filtered_until(stop);
    if (f == set.failures.size()) break;
    const auto& failed = set.failures[f];
    const auto at = base + failed.change;
    if (at < committed.next.value) continue;
    if (decided.contains(at)) {
      held.add(failed.key_hash, failed.before_key_hash);
      ++transaction_dead;
      continue;
    }
    if (load->on_error == error_action::halt) {
      halted = "offset " + std::to_string(at) + ": " + failed.reason + ": " + failed.message;
      position = {at};
      return true;
    }
    quarantine(letter_of(set, failed, *ctx));
  }
  return true;
}

bool writer_state::admit(const transform::row_set& set, const transform::row& first) {
  const auto at = set.batch->base().value + first.change;
  if (at < committed.next.value) return false;
  if (!decided.empty() && decided.contains(at)) {
    held.add(first.key_hash, first.before_key_hash);
    ++transaction_dead;
    return false;
  }
  if (held.empty() || !held.holds_either(first.key_hash, first.before_key_hash)) return true;
  if (hold()) {
    const row_error why{"held", "an earlier change of this key is in quarantine", {}, {}, {}};
    quarantine(letter_of(set, first, why, "order", *ctx));
    return false;
  }
  if (held.holds(first.key_hash)) passed_keys.emplace_back(first.key_hash, at);
  if (first.before_key_hash != first.key_hash && held.holds(first.before_key_hash))
    passed_keys.emplace_back(first.before_key_hash, at);
  return true;
}

bool writer_state::rejected(const transform::row_set& set, const transform::row& first, row_error why) {
  const auto at = set.batch->base().value + first.change;
  if (load->on_error == error_action::halt) {
    halted = "offset " + std::to_string(at) + ": " + why.reason + ": " + why.message;
    position = {at};
    return false;
  }
  quarantine(letter_of(set, first, why, "load " + target->name(), *ctx));
  return true;
}

void writer_state::quarantine(storage::dead_letter letter) {
  held.add(letter.key_hash, letter.before_key_hash);
  ++transaction_dead;
  letter_bytes += letter.payload.size() + 512;
  letters.push_back(std::move(letter));
}

bool writer_state::apply_control(const load_item& item) {
  const auto kind = item.batch->kind();
  if (item.batch->control().load != load->name) return true;
  if (kind == storage::batch_kind::redrive) return redrive(*item.batch, false);
  if (kind == storage::batch_kind::discard) return redrive(*item.batch, true);
  return true; // quarantine: the index says it; rewind: was carried out when it was asked for
}

// ---- rewinding

void writer_state::start_rewind() {
  target->rollback();
  reset_transaction();
  phase = phase_kind::rewinding;
  control_request request{storage::batch_kind::rewind, load->name, {}, rewinding.to, rewinding.truncate};
  self->request(stage, caf::infinite, std::move(request))
      .then(
          [this](const append_reply& reply) {
            if (!reply.ok && rewind_promise.pending()) rewind_promise.deliver(simple_reply{false, reply.why, 0});
            claim(); // carries out what is pending
          },
          [this](const caf::error&) {
            if (rewind_promise.pending())
              rewind_promise.deliver(simple_reply{false, make_failure(errc::unavailable, "the stage was restarted"), 0});
            claim();
          });
}

void writer_state::report(bool force) {
  const auto now = clock::now();
  if (!force && now - reported_at < 50ms) return;
  reported_at = now;
  writer_report r;
  r.ready = phase != phase_kind::unclaimed;
  r.waiting = waiting;
  r.next = committed.next;
  r.filtered = committed.filtered;
  r.dead_below = dead_below;
  r.applied = applied_time;
  r.queued = arrived_changes;
  r.commit_seconds = std::exchange(commit_seconds, 0);
  self->send(supervisor, r);
}

writer_actor::behavior_type writer(writer_actor::stateful_pointer<writer_state> self, pipeline_context_ptr ctx,
                                   std::shared_ptr<const load_spec> load, pipeline_actor supervisor, stage_actor stage) {
  set_crash_handler(self, ctx, ctx->component("writer", load->name));
  auto& st = self->state;
  st.ctx = std::move(ctx);
  st.load = std::move(load);
  st.supervisor = std::move(supervisor);
  st.stage = std::move(stage);
  auto made = make_destination(*st.load);
  if (!made)
    self->quit(quit_reason(made.error()));
  else
    st.target = std::move(made).value();
  return {
      [self](load_item& item) {
        auto& st = self->state;
        // A repeat comes from a worker that died after it sent its result; an older generation's is void.
        if (item.generation != st.generation || item.sequence < st.next_sequence) return;
        const auto count = item.batch->count();
        if (st.arrived.emplace(item.sequence, std::move(item)).second) st.arrived_changes += count;
        st.wake();
      },
      [self](commit_atom, std::uint64_t timer) {
        auto& st = self->state;
        if (timer != st.generation) return;
        st.lingering = false;
        if (st.phase == writer_state::phase_kind::running && st.position > st.committed.next && !st.inside &&
            !st.arrived.contains(st.next_sequence))
          st.commit();
      },
      [self](retry_atom, std::uint64_t timer) { self->state.retry(timer); },
      [self](wire_atom, const dispatcher_actor& d) {
        self->state.dispatcher = d;
        if (self->state.phase != writer_state::phase_kind::drained) self->state.claim();
      },
      [self](wire_atom, const caf::strong_actor_ptr& s) {
        self->state.stage = caf::actor_cast<stage_actor>(s);
        if (self->state.phase == writer_state::phase_kind::quarantining) self->state.commit();
      },
      [self](const rewind_request& request) -> caf::result<simple_reply> {
        auto& st = self->state;
        using phase_kind = writer_state::phase_kind;
        if (st.rewind_promise.pending() || st.phase == phase_kind::drained || st.phase == phase_kind::unclaimed) {
          const std::string why = st.rewind_promise.pending() ? "another rewind is under way"
                                                              : "the destination cannot be written now: " + st.waiting;
          return simple_reply{false, make_failure(errc::unavailable, why), 0};
        }
        st.rewinding = request;
        st.rewind_promise = self->make_response_promise<simple_reply>();
        auto promise = st.rewind_promise;
        if (st.phase == phase_kind::running) st.start_rewind();
        return promise;
      },
      [self](drain_atom) -> caf::result<simple_reply> {
        auto& st = self->state;
        using phase_kind = writer_state::phase_kind;
        st.drain_promise = self->make_response_promise<simple_reply>();
        auto promise = st.drain_promise;
        if (st.phase == phase_kind::running && st.open && st.position > st.committed.next && !st.inside) {
          st.commit();
        } else if (st.phase != phase_kind::quarantining) {
          st.target->rollback();
          st.phase = phase_kind::drained;
          promise.deliver(simple_reply{});
        }
        return promise;
      },
      [self](pump_atom) { self->state.pump(); },
  };
}

} // namespace millrace::actors::load
