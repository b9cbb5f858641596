// The source and the destination of the partition, and what the leader's ingest and load do (sections 11 and 12).
#include "world.hpp"

namespace millrace::simulation {

/// Where the source's stream stands at the end of this node's log. Markers carry it on, and retention keeps the newest entry.
std::uint64_t world::position_at_end(const node& n) const {
  const auto& log = n.storage.cache().entries;
  return log.empty() ? 0 : position_of(log.back());
}

void world::ingest(node& n) {
  if (!n.up || !n.may_lead || n.machine->role() != rp::role::leader) return;
  for (auto batches = random_.below(4); batches > 0 && n.may_lead && n.machine->may_append(); --batches) {
    const auto position = position_at_end(n);
    if (position < source_.confirmed && n.log_epoch < registry_->state().record.epoch) return; // deposed, and does not know yet
    if (position < source_.confirmed)
      throw broken{"P4: leader " + n.name + " begins to read the source at " + std::to_string(position) +
                   ", but the source was told it may forget up to " + std::to_string(source_.confirmed)};
    if (position >= source_.limit) return;
    append(n, static_cast<std::uint32_t>(std::min(random_.between(1, 3), source_.limit - position)));
    drain(n);
  }
}

void world::confirm(node& n) {
  const auto* last = n.storage.cache().covering({n.machine->high_watermark().value - 1});
  if (!last) return;
  const auto position = position_of(*last);
  const auto* acked = acked_covering({n.machine->high_watermark().value - 1});
  if (!acked || position_of(*acked) < position)
    throw broken{"I8: " + n.name + " confirms position " + std::to_string(position) + ", which is not durable"};
  source_.confirmed = std::max(source_.confirmed, position);
}

void world::load(node& n) {
  if (!n.up || !n.may_lead || n.machine->role() != rp::role::leader) return;
  const bool late = time_.now() - n.load_since > 150 * ms; // no answer: the outcome is unknown, and the row tells
  if (n.load == node::load_state::idle || (n.load != node::load_state::ready && late)) return claim(n);
  if (n.load == node::load_state::ready && n.load_offset < n.machine->high_watermark()) apply(n);
}

void world::claim(node& n) {
  n.load = node::load_state::claiming;
  n.load_since = time_.now();
  const auto number = ++n.load_number;
  const auto epoch = n.log_epoch;
  const auto life = n.life;
  time_.after(random_.between(1, chaos_ && random_.chance(10) ? 300 : 5) * ms, [this, &n, number, epoch, life] {
    if (destination_.epoch > epoch.value) return; // fenced: a newer leader has claimed
    destination_.epoch = epoch.value;
    if (destination_.epoch > registry_->state().record.epoch.value)
      throw broken{"I9: the destination knows an epoch that the registry does not"};
    const auto next = destination_.next;
    if (n.life != life) return;
    later(n, random_.between(1, 5) * ms, [this, &n, number, next] {
      if (n.load_number != number || !n.may_lead) return;
      if (next > n.storage.cache().end())
        throw broken{"P1: the destination is at offset " + std::to_string(next.value) + ", beyond the end of leader " + n.name +
                     "'s log"};
      n.load_offset = next;
      n.load = node::load_state::ready;
    });
  });
}

void world::apply(node& n) {
  auto entries = n.storage.read_raw(n.load_offset, 72 * random_.between(1, 5));
  if (!entries)
    throw broken{"I9: leader " + n.name + " cannot read offset " + std::to_string(n.load_offset.value) +
                 " for the load: " + entries.error().message};
  while (!entries.value().empty() && entries.value().back().end() > n.machine->high_watermark()) entries.value().pop_back();
  if (entries.value().empty()) return;
  n.load = node::load_state::applying;
  n.load_since = time_.now();
  const auto number = ++n.load_number;
  const auto epoch = n.log_epoch;
  const auto from = n.load_offset;
  const auto life = n.life;
  // The transaction may outlive its owner, and its outcome may never be known.
  time_.after(random_.between(1, chaos_ && random_.chance(20) ? 600 : 8) * ms, [this, &n, number, epoch, from, life,
                                                                                batch = std::move(entries.value())] {
    const auto& bugs = settings_.bugs;
    const bool hits =
        bugs.sink_blind || (destination_.next == from && (bugs.sink_ignores_epoch || destination_.epoch == epoch.value));
    if (hits) {
      if (destination_.epoch != epoch.value)
        throw broken{"P3: the destination took a commit of epoch " + std::to_string(epoch.value) + " after epoch " +
                     std::to_string(destination_.epoch) + " had claimed"};
      if (destination_.next != from)
        throw broken{"P3: the destination took offset " + std::to_string(from.value) + " when " +
                     std::to_string(destination_.next.value) + " was next"};
      for (const auto& e : batch) {
        const auto* acked = acked_covering(e.base);
        if (!acked || !(acked->hash == e.hash))
          throw broken{"I9: the destination took an entry at offset " + std::to_string(e.base.value) +
                       " that was never acknowledged"};
        const auto position = position_of(e);
        if (position != destination_.position && position - e.count != destination_.position)
          throw broken{"P3: the destination took source position " + std::to_string(position) + " after " +
                       std::to_string(destination_.position)};
        destination_.position = position;
      }
      destination_.next = batch.back().end();
    }
    if (n.life != life || (chaos_ && random_.chance(10))) return;
    later(n, random_.between(1, 5) * ms, [&n, number, hits, end = batch.back().end()] {
      if (n.load_number != number) return;
      n.load = hits ? node::load_state::ready : node::load_state::idle; // zero rows: fenced, or an older answer was lost
      n.load_offset = end;
    });
  });
}

/// Retention at the leader: below what the destination has, and never the newest entry.
void world::trim(node& n) {
  if (!n.up || !n.may_lead || n.machine->role() != rp::role::leader || !random_.per_mille(8)) return;
  const auto& log = n.storage.cache();
  const auto bound = std::min(destination_.next, n.machine->high_watermark());
  const auto* e = bound.value == 0 ? nullptr : log.covering({bound.value - 1});
  if (!e || e->base <= log.start || log.entries.size() < 3) return;
  const auto start = e->base;
  note(n.name, ": retention drops what is below ", std::to_string(start.value));
  n.storage.write(n.storage.written(), disk::trim{start});
  n.machine->trimmed(start);
}

} // namespace millrace::simulation
