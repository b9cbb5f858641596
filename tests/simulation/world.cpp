#include "world.hpp"

#include <cstdio>

namespace millrace::simulation {
namespace {

rp::limits small_limits() {
  constexpr std::size_t entry = sizeof(entry_text);
  rp::limits l;
  l.message_bytes = 4 * entry;
  l.credit_bytes = 8 * entry;
  l.unacknowledged_bytes = 12 * entry;
  l.recent_bytes = 6 * entry;
  l.lag_bytes = 5 * entry;
  l.lag_time = rp::instant{300};
  l.fetch_wait = rp::instant{60};
  l.retry = rp::instant{30};
  l.election_wait = rp::instant{60};
  l.election_alarm = rp::instant{500};
  l.catch_up_bytes_per_second = 2000 * entry;
  return l;
}

} // namespace

world::world(settings s) : settings_(s), random_(s.seed), limits_(small_limits()) {
  const auto shape = random_.below(100);
  const std::size_t count = shape < 70 ? 3 : shape < 80 ? 4 : shape < 97 ? 5 : 1;
  st::partition_record first;
  first.log_id = {random_.next() | 1};
  first.min_in_sync = count == 1 ? 1 : count == 5 && random_.chance(50) ? 3 : 2;
  nodes_.resize(count);
  for (unsigned i = 0; i < count; ++i) {
    nodes_[i].index = i;
    nodes_[i].name = std::string(1, static_cast<char>('a' + i));
    nodes_[i].storage.replace(disk_image{random_.next() | 1, {}, {}, {}, {}, {}});
    if (i != 3) first.replicas.push_back(nodes_[i].name); // the fourth may come in later
  }
  cut_.resize(count * count);
  source_.limit = random_.between(30, 150);
  wipe_any_ = count > 1 && random_.chance(10);
  registry_ = std::make_unique<registry>(std::move(first));
  registry_->changed = [this] {
    for (auto& n : nodes_)
      if (n.up && !n.registry_cut && registry_up_)
        watch(n, registry_->state(), random_.below(chaos_ && random_.chance(10) ? 300 * ms : 8 * ms));
  };
}

void world::trace(const std::string& text) {
  std::printf("%9.3f ms  %s\n", static_cast<double>(time_.now()) / 1000, text.c_str());
}

std::string world::state_of(const node& n) const {
  if (!n.machine) return "down";
  const auto& m = *n.machine;
  const auto num = [](auto v) { return std::to_string(v.value); };
  return "epoch " + num(m.epoch()) + " log [" + num(n.storage.cache().start) + ", " + num(m.end()) + ") durable " +
         num(m.durable()) + " hw " + num(m.high_watermark()) + (m.verified() ? " verified" : "") +
         (m.attached() ? " attached" : "") + (n.dirty ? " dirty" : "");
}

/// Loss, delay, reordering, repetition, links cut one way.
void world::send(unsigned from, unsigned to, rp::wire_message m) {
  if (to >= nodes_.size() || cut_[from * nodes_.size() + to] || random_.chance(loss_)) return;
  auto& n = nodes_[to];
  const auto copies = random_.chance(repeat_) ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    const auto delay = chaos_ && random_.per_mille(20) ? random_.between(50, 1500) * ms : random_.between(50, delay_max_ * ms);
    // Not bound to the receiver's process: what was sent to an earlier one may reach the next.
    time_.after(delay, [this, &n, from, m] {
      if (!n.up) return;
      deliver(n, n.life, [this, &n, from, m] {
        auto decoded = rp::decode(m.head, m.parts, parse_entry);
        if (!decoded) throw broken{"a message that was encoded cannot be decoded: " + decoded.error().message};
        n.machine->on_message(nodes_[from].name, std::move(decoded.value()));
      });
    });
  }
}

void world::run() {
  for (auto& n : nodes_) start(n);
  next_fault();
  // Leases: a node that was down, stopped or cut off for long enough loses its own.
  std::function<void()> leases = [this, &leases] {
    for (auto& n : nodes_)
      if ((!n.up || n.paused || n.registry_cut) && time_.now() - n.unreachable_since > 250 * ms) registry_->end_session(n.name);
    time_.after(50 * ms, leases);
  };
  leases();

  const auto chaos_end = random_.between(800, 3000) * ms;
  while (time_.now() < chaos_end && time_.step())
    if (!acked_.empty()) check_copies();
  heal();
  const auto deadline = time_.now() + (wipe_any_ ? 5000 : 30000) * ms;
  for (auto next_look = time_.now(); time_.now() < deadline && time_.step();) {
    if (!acked_.empty()) check_copies();
    if (time_.now() < next_look) continue;
    next_look = time_.now() + 20 * ms;
    if (converged()) return;
    if ((stopped_ = needs_operator())) return;
  }
  if (wipe_any_ && (stopped_ = std::any_of(nodes_.begin(), nodes_.end(), [](const auto& n) { return !n.alarms.empty(); })))
    return;
  std::string states;
  for (const auto& n : nodes_)
    states += "\n  " + n.name + ": " + (n.machine ? rp::to_string(n.machine->role()) : "down") + ", " + state_of(n);
  const auto& r = registry_->state().record;
  states += "\n  record: epoch " + std::to_string(r.epoch.value) + ", leader '" + r.leader_node + "', in-sync set of " +
            std::to_string(r.isr.size()) + "; destination at " + std::to_string(destination_.next.value) + ", acknowledged " +
            std::to_string(acked_end().value);
  throw broken{"I13: 30 s after everything was healed the flow has not resumed" + states};
}

void world::heal() {
  note("everything heals");
  chaos_ = false;
  registry_up_ = true;
  loss_ = repeat_ = 0;
  delay_max_ = 3;
  std::fill(cut_.begin(), cut_.end(), false);
  source_.limit += 10;
  for (auto& n : nodes_) {
    n.registry_cut = false;
    n.sync_max = 2 * ms;
    n.clock_percent = 100;
    if (n.paused) {
      n.paused = false;
      for (auto& f : std::exchange(n.inbox, {})) f();
    }
    if (!n.up) start(n);
  }
}

/// One leader, all wanted replicas in the set with equal logs, everything acknowledged and delivered.
bool world::converged() {
  const auto& r = registry_->state().record;
  if (r.leader_node.empty() || r.isr.size() != r.replicas.size()) return false;
  const auto& leader = nodes_[number_of(r.leader_node)];
  if (!leader.up || leader.machine->role() != rp::role::leader || leader.machine->epoch() != r.epoch) return false;
  const auto end = leader.machine->end();
  if (leader.machine->high_watermark() != end || destination_.next != end || position_at_end(leader) < source_.limit)
    return false;
  for (const auto& name : r.replicas) {
    const auto& n = nodes_[number_of(name)];
    if (!n.up || n.machine->high_watermark() != end || n.machine->durable() != end || outside(n)) return false;
    if (!(n.storage.durable().entries.back().hash == leader.storage.durable().entries.back().hash))
      throw broken{"I6: the logs of " + n.name + " and " + leader.name + " differ after all was healed"};
  }
  return destination_.position == source_.limit;
}

/// Too few members that could report: by section 10 the partition stays stopped, and an alarm must say so.
bool world::needs_operator() {
  const auto& r = registry_->state().record;
  unsigned able = 0;
  bool alarm = false;
  for (const auto& n : nodes_) {
    if (!n.up) return false;
    alarm = alarm || n.alarms.count(rp::alarm_kind::election_stuck) != 0 || n.alarms.count(rp::alarm_kind::damaged) != 0;
    if (n.machine->role() == rp::role::leader) return false;
    const auto* m = r.in_sync(n.name);
    if (!m || m->store != n.storage.cache().store || n.alarms.count(rp::alarm_kind::damaged) != 0) continue;
    ++able;
    if (n.machine->verified()) return false;
  }
  return r.epoch.value > 0 && able < r.min_in_sync && alarm;
}

} // namespace millrace::simulation
