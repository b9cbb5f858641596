#include "actors/load/dispatcher.hpp"

#include <algorithm>

namespace millrace::actors::load {

using namespace std::chrono_literals;

namespace {
/// Two batches a worker: the next one is there when it finishes, and a retired or lost worker has little to give back.
constexpr std::uint32_t worker_credit = 2;
/// What a batch costs until its commit: itself and the rows made of it, which measured about as much again.
std::size_t cost(const storage::batch& b) { return 2 * b.bytes() + 1024; }
} // namespace

void dispatcher_state::seek(const seek_request& request) {
  if (request.generation <= generation) return;
  generation = request.generation;
  writer = request.writer;
  next_sequence = 0;
  flights.clear();
  queue.clear();
  queued_changes = 0;
  window = 0;
  for (auto& w : workers) w.busy = 0;
  position = request.from;
  cursor = ctx->log->scan(position);
  at_end = false;
  report(true);
  wake();
}

void dispatcher_state::wake() {
  if (pumping || generation == 0) return;
  pumping = true;
  self->send(self, pump_atom::value);
}

void dispatcher_state::pump() {
  pumping = false;
  if (generation == 0 || at_end || (window >= load_window_bytes && !flights.empty())) {
    assign();
    return report();
  }
  auto next = cursor->next();
  if (!next) {
    const auto& why = next.error();
    if (why.is(storage::errc::end_of_log)) {
      at_end = true;
    } else if (!ctx->node->fatal(why, ctx->component("dispatcher", load))) {
      return self->quit(quit_reason(why)); // trimmed and corrupt name the offset; the operator must act
    }
    assign();
    return report();
  }
  auto batch = std::move(next).value();
  const auto sequence = next_sequence++;
  flight f;
  f.first = static_cast<std::uint32_t>(std::max(batch->base(), position).value - batch->base().value);
  f.bytes = cost(*batch);
  f.batch = batch;
  position = batch->end();
  window += f.bytes;
  if (batch->kind() == storage::batch_kind::changes) {
    f.queued = true;
    queue.insert(sequence);
    queued_changes += batch->count() - f.first;
    flights.emplace(sequence, std::move(f));
    assign();
  } else {
    flights.emplace(sequence, std::move(f));
    self->send(caf::actor_cast<writer_actor>(writer), load_item{generation, sequence, nullptr, batch, batch->end()});
  }
  report();
  wake();
}

void dispatcher_state::assign() {
  while (!queue.empty()) {
    worker_slot* best = nullptr;
    for (auto& w : workers)
      if (!w.retiring && w.busy < worker_credit && (!best || w.busy < best->busy)) best = &w;
    if (!best) return;
    const auto sequence = *queue.begin();
    queue.erase(queue.begin());
    auto& f = flights.at(sequence);
    f.queued = false;
    f.worker = best->handle.address();
    ++best->busy;
    queued_changes -= f.batch->count() - f.first;
    self->send(best->handle, work{generation, sequence, f.batch, f.first, f.batch->count(), writer});
  }
}

void dispatcher_state::done(const work_done& w, const caf::actor_addr& from) {
  if (w.generation != generation) return;
  for (auto it = workers.begin(); it != workers.end(); ++it) {
    if (it->handle.address() != from) continue;
    if (it->busy > 0) --it->busy;
    if (it->retiring && it->busy == 0) {
      self->send_exit(it->handle, caf::exit_reason::user_shutdown);
      workers.erase(it);
    }
    break;
  }
  if (auto it = flights.find(w.sequence); it != flights.end()) it->second.worker = {};
  assign();
  wake();
}

void dispatcher_state::free_below(const released& r) {
  if (r.generation != generation) return;
  while (!flights.empty() && flights.begin()->first < r.below_sequence) {
    window -= flights.begin()->second.bytes;
    flights.erase(flights.begin());
  }
  wake();
}

void dispatcher_state::lost(const caf::actor_addr& worker) {
  std::erase_if(workers, [&](const worker_slot& w) { return w.handle.address() == worker; });
  for (auto& [sequence, f] : flights) {
    if (f.worker != worker) continue;
    // Its result may have reached the writer before it died: the writer takes each sequence once.
    f.worker = {};
    f.queued = true;
    queue.insert(sequence);
    queued_changes += f.batch->count() - f.first;
  }
  assign();
  report(true);
}

void dispatcher_state::report(bool force) {
  const auto now = std::chrono::steady_clock::now();
  if (!force && (now - reported_at < 50ms || queued_changes == reported_depth)) return;
  reported_at = now;
  reported_depth = queued_changes;
  self->send(supervisor, dispatcher_report{generation != 0, queued_changes});
}

dispatcher_actor::behavior_type dispatcher(dispatcher_actor::stateful_pointer<dispatcher_state> self, pipeline_context_ptr ctx,
                                           std::string load, pipeline_actor supervisor) {
  set_crash_handler(self, ctx, ctx->component("dispatcher", load));
  auto& st = self->state;
  st.ctx = std::move(ctx);
  st.load = std::move(load);
  st.supervisor = std::move(supervisor);
  self->delayed_send(self, 100ms, tick_atom::value);
  return {
      [self](const seek_request& r) { self->state.seek(r); },
      [self](advanced_atom) {
        self->state.at_end = false;
        self->state.wake();
      },
      [self](const work_done& w) {
        const auto from = caf::actor_cast<caf::actor_addr>(self->current_sender());
        self->state.done(w, from);
      },
      [self](const released& r) { self->state.free_below(r); },
      [self](wire_atom, const caf::strong_actor_ptr& worker) {
        self->state.workers.push_back({caf::actor_cast<worker_actor>(worker), 0, false});
        self->state.assign();
      },
      [self](retire_atom, const caf::strong_actor_ptr& worker) {
        auto& workers = self->state.workers;
        for (auto it = workers.begin(); it != workers.end(); ++it) {
          if (it->handle.address() != caf::actor_cast<caf::actor_addr>(worker)) continue;
          it->retiring = true;
          if (it->busy == 0) {
            self->send_exit(it->handle, caf::exit_reason::user_shutdown);
            workers.erase(it);
          }
          return;
        }
      },
      [self](lost_atom, const caf::actor_addr& worker) { self->state.lost(worker); },
      [self](pump_atom) { self->state.pump(); },
      [self](tick_atom) { // depth is looked at several times a second, also while nothing moves
        self->state.report();
        self->delayed_send(self, 100ms, tick_atom::value);
      },
  };
}

} // namespace millrace::actors::load
