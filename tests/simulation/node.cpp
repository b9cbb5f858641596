// A node's process around the real state machine: what the stage actor does, with a disk and a registry that may fail it.
#include "world.hpp"

namespace millrace::simulation {

std::int64_t world::clock_of(const node& n) const {
  return static_cast<std::int64_t>(time_.now() / 1000 * n.clock_percent / 100) + n.clock_offset_ms;
}

void world::start(node& n) {
  ++n.life;
  n.up = true;
  n.session = 0;
  n.hw_seen = {};
  n.epoch_seen = {};
  n.watch_time = 0;
  auto bugs = settings_.bugs.replica;
  bugs.verified_durable = bugs.verified_durable && n.stored_verified;
  n.machine = std::make_unique<rp::replica>(rp::options{n.name, {"p", 0}, random_.next(), limits_, bugs}, n.storage);
  note(n.name, ": starts, log ends at ", std::to_string(n.storage.cache().end().value), ", epoch ",
       std::to_string(n.storage.cache().seen.value));
  later(n, random_.below(3 * ms), [this, &n] {
    n.machine->start(rp::instant{clock_of(n)});
    tick(n);
  });
  later(n, random_.between(1, 40) * ms, [this, &n] { lease_tick(n); });
  // A watch begins with what the registry's member knew, which may be old.
  auto& history = registry_->history();
  if (!history.empty() && random_.chance(50)) watch(n, history[random_.below(history.size())], random_.below(5 * ms));
  watch(n, registry_->state(), random_.below(20 * ms));
}

void world::crash(node& n, const char* why) {
  if (!n.up) return;
  note(n.name, ": process ends (", why, "), ", state_of(n));
  n.stored_verified = n.machine->verified();
  n.up = n.paused = n.syncing = n.may_lead = false;
  ++n.life;
  n.inbox.clear();
  n.alarms.clear();
  n.load = node::load_state::idle;
  n.machine.reset();
  n.unreachable_since = time_.now();
  n.storage.crash(random_.below(n.storage.unsynced() + 1));
}

void world::deliver(node& n, std::uint64_t life, std::function<void()> f) {
  if (!n.up || n.life != life) return;
  if (n.paused) {
    n.inbox.push_back([this, &n, life, f = std::move(f)] { deliver(n, life, f); });
    return;
  }
  f();
  drain(n);
  check_node(n);
}

void world::tick(node& n) {
  later(n, random_.between(15, 40) * ms, [this, &n] { tick(n); });
  n.machine->tick(rp::instant{clock_of(n)});
  drain(n);
  ingest(n);
  load(n);
  trim(n);
}

void world::drain(node& n) {
  while (n.up) {
    auto actions = n.machine->take_actions();
    if (actions.empty()) return;
    for (auto& a : actions) carry_out(n, a);
  }
}

void world::carry_out(node& n, rp::action& a) {
  auto& d = n.storage;
  if (auto* send_it = std::get_if<rp::actions::send>(&a)) {
    note(n.name, " -> ", send_it->to, ": ", rp::kind_of(send_it->what), " epoch ", std::to_string(send_it->what.epoch.value));
    send(n.index, number_of(send_it->to), rp::encode(send_it->what));
  } else if (auto* ap = std::get_if<rp::actions::append_raw>(&a)) {
    note(n.name, ": writes up to ", std::to_string(ap->entries.back().end().value));
    d.write(d.written() + 1, disk::append{std::move(ap->entries), d.cache().hw});
    start_sync(n);
  } else if (auto* t = std::get_if<rp::actions::truncate>(&a)) {
    note(n.name, ": truncates to ", std::to_string(t->end.value));
    ++faults_;
    d.write(d.written() + 1, disk::truncate{t->end, t->seen});
    start_sync(n);
  } else if (auto* s = std::get_if<rp::actions::see_epoch>(&a)) {
    d.write(d.written() + 1, disk::see{s->epoch});
    start_sync(n);
  } else if (auto* r = std::get_if<rp::actions::reset>(&a)) {
    note(n.name, ": begins anew at ", std::to_string(r->start.value));
    d.write(d.written() + 1, disk::reset{settings_.bugs.keep_identity ? d.cache().store : random_.next() | 1, r->id, r->start});
    start_sync(n);
  } else if (auto* b = std::get_if<rp::actions::begin_epoch>(&a)) {
    n.may_lead = true;
    n.log_epoch = b->epoch;
    n.load = node::load_state::idle;
    on_leader(n, b->epoch);
    append(n, 0);
  } else if (std::get_if<rp::actions::end_epoch>(&a)) {
    n.may_lead = false;
  } else if (auto* adv = std::get_if<rp::actions::advance>(&a)) {
    // The leader's own advance comes before it tells anybody, and is checked with the acknowledgement.
    d.set_hw(adv->high_watermark);
    if (n.machine->role() != rp::role::leader) on_advance(n, adv->high_watermark);
  } else if (auto* tr = std::get_if<rp::actions::trim>(&a)) {
    d.write(d.written(), disk::trim{tr->start});
  } else if (auto* ack = std::get_if<rp::actions::acknowledged>(&a)) {
    on_acknowledged(n, ack->high_watermark);
    confirm(n);
  } else if (auto* p = std::get_if<rp::actions::propose>(&a)) {
    propose(n, *p);
  } else if (std::get_if<rp::actions::read_record>(&a)) {
    read_record(n);
  } else if (auto* st = std::get_if<rp::actions::announce_store>(&a)) {
    const st::store_record record{st->store, st->id};
    later(n, random_.between(1, 5) * ms, [this, &n, record] {
      if (!n.registry_cut && registry_up_) registry_->put_store(n.name, record);
    });
  } else if (auto* role = std::get_if<rp::actions::role_changed>(&a)) {
    note(n.name, ": is ", rp::to_string(role->role), ", ", state_of(n));
  } else if (auto* al = std::get_if<rp::actions::alarm>(&a)) {
    if (al->raised) note("ALARM ", rp::to_string(al->kind), ": ", al->text);
    al->raised ? (void)n.alarms.insert(al->kind) : (void)n.alarms.erase(al->kind);
    if (al->raised && al->kind == rp::alarm_kind::unsafe) throw broken{"P4: a replica halted: " + al->text};
  }
}

/// As partition_log's append: told before it is written. No records: an epoch's marker.
void world::append(node& n, std::uint32_t records) {
  const auto& log = n.storage.cache();
  const auto prev = log.entries.empty() ? st::hash128{} : log.entries.back().hash;
  const auto entry = make_entry(log.end(), std::max(records, 1u), n.log_epoch, prev, position_at_end(n) + records, ++unique_);
  const st::raw_entry entries[] = {entry};
  const auto ticket = n.machine->appending(entries);
  if (ticket != n.storage.written() + 1) throw broken{"a ticket of an append that is not the next one"};
  note(n.name, ": appends [", std::to_string(entry.base.value), ", ", std::to_string(entry.end().value), ")");
  n.storage.write(ticket, disk::append{{entry}, n.storage.cache().hw});
  start_sync(n);
}

/// One sync at a time, of all that was written when it began.
void world::start_sync(node& n) {
  if (n.syncing) return;
  n.syncing = true;
  const auto ticket = n.storage.written();
  later(n, random_.between(100, n.sync_max), [this, &n, ticket] {
    n.syncing = false;
    n.storage.sync(ticket);
    n.machine->synced(ticket);
    if (n.storage.unsynced() > 0) start_sync(n);
  });
}

void world::propose(node& n, const rp::actions::propose& p) {
  note(n.name, ": proposes (", p.why, "), guard ", std::to_string(p.record.mod_revision));
  const auto life = n.life;
  const bool reaches = !n.registry_cut && registry_up_ && !(chaos_ && random_.chance(5));
  const bool tells = !(chaos_ && random_.chance(15));
  const auto there = random_.between(1, chaos_ && random_.chance(10) ? 400 : 10) * ms;
  if (!reaches || !tells)
    later(n, random_.between(1, 60) * ms, [&n, id = p.id] { n.machine->proposed(id, rp::replica::outcome::unknown, 0); });
  if (!reaches) return;
  // What was sent takes effect even if its sender is gone by then.
  time_.after(there, [this, &n, life, p, tells] {
    if (!registry_up_) return;
    std::uint64_t revision = 0;
    const auto before = registry_->state().record.epoch;
    const auto outcome = registry_->apply(p, revision);
    if (const auto e = registry_->state().record.epoch; e != before && n.life == life) check_complete(n, e);
    note("registry: ", n.name, "'s proposal (", p.why, ") is ", outcome == rp::replica::outcome::stored ? "stored" : "refused");
    if (!tells || n.life != life) return;
    later(n, random_.between(1, 10) * ms, [this, &n, id = p.id, outcome, revision] {
      if (!n.registry_cut) n.machine->proposed(id, outcome, revision);
    });
  });
}

void world::read_record(node& n) {
  later(n, random_.between(1, 5) * ms, [this, &n] {
    if (n.registry_cut || !registry_up_) return;
    later(n, random_.between(1, 8) * ms, [&n, r = registry_->state().record] { n.machine->on_record(r, true); });
  });
}

void world::watch(node& n, const registry::view& v, sim_time delay) {
  const auto at = std::max(time_.now() + delay, n.watch_time + 1);
  n.watch_time = at;
  later(n, at - time_.now(), [this, &n, v] {
    if (n.registry_cut) return;
    n.machine->on_members(v.members, v.revision, n.session);
    n.machine->on_stores(v.stores);
    n.machine->on_record(v.record, false);
  });
}

/// Keeps the lease; finds out that it has ended, and takes a new one; a watch that missed something is told again.
void world::lease_tick(node& n) {
  later(n, random_.between(40, 120) * ms, [this, &n] { lease_tick(n); });
  if (n.registry_cut || !registry_up_) return;
  const auto& members = registry_->state().members;
  const auto at = members.find(n.name);
  if (n.session == 0 || at == members.end() || at->second != n.session) n.session = registry_->open_session(n.name);
  watch(n, registry_->state(), random_.below(5 * ms));
}

} // namespace millrace::simulation
