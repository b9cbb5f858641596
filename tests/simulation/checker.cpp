// What must hold, whatever happened. The world remembers each entry that was ever acknowledged; a promise is checked against
// that.
#include "world.hpp"

namespace millrace::simulation {

const st::raw_entry* world::acked_covering(st::offset o) const {
  auto it = std::upper_bound(acked_.begin(), acked_.end(), o, [](st::offset at, const auto& e) { return at < e.base; });
  if (it == acked_.begin()) return nullptr;
  --it;
  return o < it->end() ? &*it : nullptr;
}

/// Listed in the set with a storage that is no longer there.
bool world::outside(const node& n) const {
  const auto* m = registry_->state().record.in_sync(n.name);
  return m && m->store != n.storage.durable().store;
}

unsigned world::damaged(const node* besides) const {
  unsigned count = 0;
  for (const auto& n : nodes_) count += &n == besides || n.dirty || outside(n);
  return count;
}

/// P2, I6: what a reader may see here is acknowledged, and is what was acknowledged.
void world::on_advance(node& n, st::offset hw) {
  if (hw < n.hw_seen) throw broken{"I7: the high watermark of " + n.name + " went back to " + std::to_string(hw.value)};
  n.hw_seen = hw;
  if (hw.value == 0) return;
  const auto* here = n.storage.cache().covering({hw.value - 1});
  if (!here && hw > n.storage.cache().end()) throw broken{"P2: the high watermark of " + n.name + " is above its log"};
  const auto* acked = acked_covering({hw.value - 1});
  if (!acked)
    throw broken{"P2: readers of " + n.name + " see up to offset " + std::to_string(hw.value) + ", acknowledged is only up to " +
                 std::to_string(acked_end().value)};
  if (here && !(here->hash == acked->hash))
    throw broken{"P2, I6: the entry below offset " + std::to_string(hw.value) + " at " + n.name +
                 " is another one than was acknowledged"};
}

void world::on_acknowledged(node& n, st::offset hw) {
  note(n.name, ": acknowledges up to ", std::to_string(hw.value));
  const auto& log = n.storage.cache();
  while (acked_end() < hw) {
    const auto* e = log.at(acked_end());
    if (!e)
      throw broken{"P1: " + n.name + " acknowledges up to " + std::to_string(hw.value) + " and has no entry that begins at " +
                   std::to_string(acked_end().value)};
    if (!acked_.empty()) {
      if (!(e->prev == acked_.back().hash))
        throw broken{"P1: the acknowledged entry before offset " + std::to_string(e->base.value) + " was changed; " + n.name +
                     " leads"};
      const auto before = position_of(acked_.back());
      const auto position = position_of(*e);
      if (position != before && position - e->count != before)
        throw broken{"I2: source position " + std::to_string(position) + " follows " + std::to_string(before)};
    }
    acked_.push_back(*e);
  }
  on_advance(n, hw);
  check_copies();
}

/// I10: one leader an epoch. It may learn that it won only when it was already deposed.
void world::on_leader(node& n, st::epoch e) {
  const auto [at, first] = leaders_.try_emplace(e.value, n.name, n.life);
  if (!first) throw broken{"I10: epoch " + std::to_string(e.value) + " has two leaders, " + at->second.first + " and " + n.name};
  if (registry_->state().record.epoch == e) check_complete(n, e);
}

/// P1: nobody comes to power without all that was acknowledged. Power is what the registry says.
void world::check_complete(const node& n, st::epoch e) {
  const auto& log = n.storage.durable();
  if (log.end() < acked_end())
    throw broken{"P1: " + n.name + " leads epoch " + std::to_string(e.value) + " with a log that ends at " +
                 std::to_string(log.end().value) + "; acknowledged is " + std::to_string(acked_end().value)};
  if (acked_.empty()) return;
  const auto* last = log.covering({acked_end().value - 1});
  if (!last || !(last->hash == acked_.back().hash))
    throw broken{"P1: " + n.name + " leads epoch " + std::to_string(e.value) + " and has another entry at offset " +
                 std::to_string(acked_.back().base.value) + " than was acknowledged"};
}

/// P1, I5: enough synced copies of the newest acknowledged entry, and so, by its hash, of all before it.
void world::check_copies() {
  if (acked_.empty() || wipe_any_) return;
  unsigned copies = 0;
  for (const auto& n : nodes_) {
    const auto* e = n.storage.durable().covering(acked_.back().base);
    copies += e && e->hash == acked_.back().hash;
  }
  const auto wanted = registry_->state().record.min_in_sync;
  const auto lost = damaged(nullptr);
  if (copies < std::max(1u, wanted > lost ? wanted - lost : 1u))
    throw broken{"P1: the acknowledged entry at offset " + std::to_string(acked_.back().base.value) + " is synced on " +
                 std::to_string(copies) + " nodes; " + std::to_string(wanted) + " promised, " + std::to_string(lost) +
                 " damaged"};
}

void world::check_node(node& n) {
  if (!n.up) return;
  const auto& m = *n.machine;
  if (n.dirty && m.verified() && !settings_.bugs.replica.verified_durable && !settings_.bugs.replica.verified_old_session)
    n.dirty = false;
  if (m.epoch() < n.epoch_seen) throw broken{"I7: the epoch of " + n.name + " went back"};
  n.epoch_seen = m.epoch();
  if (m.high_watermark() > m.end() || m.durable() > m.end())
    throw broken{"I7: " + n.name + " claims more than it has: " + state_of(n)};
  if (m.role() == rp::role::leader && m.high_watermark() > m.durable() && !settings_.bugs.replica.leader_unsynced)
    throw broken{"P1: leader " + n.name + " has acknowledged what it has not synced"};
}

} // namespace millrace::simulation
