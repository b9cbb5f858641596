// What goes wrong. Everything may happen at any time, but lost data stays within what P1 allows: fewer than min_isr copies
// damaged and not refilled (replication.pml: AMNESIA, WIPE).
#include "world.hpp"

namespace millrace::simulation {

node& world::leader_or_any() {
  for (auto& n : nodes_)
    if (n.up && n.machine->role() == rp::role::leader && random_.chance(80)) return n;
  return any();
}

void world::next_fault() {
  time_.after(random_.between(5, 120) * ms, [this] {
    if (!chaos_) return;
    inject();
    next_fault();
  });
}

void world::inject() {
  ++faults_;
  auto& n = random_.chance(50) ? leader_or_any() : any();
  const auto down_for = random_.between(2, random_.chance(20) ? 900 : 120) * ms;
  const auto restart = [this](node& which, sim_time after) {
    time_.after(after, [this, &which, life = which.life] {
      if (!which.up && which.life == life) start(which);
    });
  };
  switch (random_.below(19)) {
  case 18: { // a slow disk, then a crash: the others may have synced what this one loses
    auto& slow = leader_or_any();
    note("fault: syncs of ", slow.name, " become slow, then it is killed");
    slow.sync_max = 200 * ms;
    time_.after(random_.between(20, 200) * ms, [this, &slow, restart] {
      crash(slow, "killed with a slow disk");
      slow.sync_max = 2 * ms;
      restart(slow, random_.between(1, 10) * ms);
    });
    return;
  }
  case 0:
  case 1:
  case 2: // killed; or a write or sync failed, which ends the process too
    crash(n, "killed");
    restart(n, down_for);
    return;
  case 3: // the leader, and whoever comes after it
    crash(n, "killed");
    restart(n, down_for);
    time_.after(random_.between(10, 150) * ms, [this, restart, down_for] {
      auto& next = leader_or_any();
      crash(next, "killed as its successor");
      restart(next, down_for / 2);
    });
    return;
  case 4: // power of all
    if (!random_.chance(30)) return cut_links();
    for (auto& each : nodes_) {
      crash(each, "power lost everywhere");
      restart(each, random_.between(1, 200) * ms);
    }
    return;
  case 5:
  case 6:
    return cut_links();
  case 7:
    note("fault: ", n.name, " is cut from the registry");
    n.registry_cut = true;
    n.unreachable_since = time_.now();
    time_.after(down_for * 2, [&n] { n.registry_cut = false; });
    return;
  case 8:
    if (!random_.chance(30)) return;
    note("fault: the registry is down");
    registry_up_ = false;
    time_.after(down_for, [this] { registry_up_ = true; });
    return;
  case 9:
  case 10:
    note("fault: the lease of ", n.name, " ends");
    registry_->end_session(n.name);
    return;
  case 11:
    if (!n.up || n.paused) return;
    note("fault: ", n.name, " is stopped for a while");
    n.paused = true;
    n.unreachable_since = time_.now();
    time_.after(down_for * 2, [this, &n, life = n.life] {
      if (n.life != life || !n.paused) return;
      note(n.name, ": wakes up");
      n.paused = false;
      for (auto& f : std::exchange(n.inbox, {})) f();
    });
    return;
  case 12:
    n.sync_max = random_.chance(50) ? 2 * ms : 150 * ms;
    note("fault: syncs of ", n.name, " take up to ", std::to_string(n.sync_max / ms), " ms");
    return;
  case 13:
    n.clock_percent = static_cast<unsigned>(random_.between(50, 200));
    n.clock_offset_ms += static_cast<std::int64_t>(random_.below(7200000)) - 3600000;
    return;
  case 14:
    loss_ = random_.chance(50) ? 0 : static_cast<unsigned>(random_.below(30));
    repeat_ = random_.chance(50) ? 0 : static_cast<unsigned>(random_.below(20));
    delay_max_ = random_.chance(50) ? 3 : static_cast<unsigned>(random_.below(80)) + 1;
    return;
  case 15:
  case 16:
    damage(n);
    if (n.up) return;
    restart(n, down_for);
    if (random_.chance(50)) // before it is refilled
      time_.after(down_for + random_.between(5, 120) * ms, [this, restart] {
        auto& next = leader_or_any();
        crash(next, "killed while another one is being refilled");
        restart(next, 200 * ms);
      });
    return;
  case 17:
    if (n.up && !n.paused && random_.chance(60)) {
      note("fault: ", n.name, " is told to hand over");
      n.machine->resign();
      drain(n);
    } else if (nodes_.size() > 3 && random_.chance(40)) { // the controller moves a replica
      std::vector<std::string> names;
      for (const auto& each : nodes_)
        if (each.name != n.name) names.push_back(each.name);
      note("fault: the replica on ", n.name, " is moved away");
      registry_->set_replicas(std::move(names));
    }
    return;
  }
}

void world::cut_links() {
  const auto forever = random_.between(20, 700) * ms;
  const auto size = nodes_.size();
  const auto cut = [&](std::size_t from, std::size_t to) {
    cut_[from * size + to] = true;
    time_.after(forever, [this, at = from * size + to] { cut_[at] = false; });
  };
  const auto a = leader_or_any().index;
  if (random_.chance(50)) { // one direction of one link
    const auto b = random_.below(size);
    random_.chance(50) ? cut(a, b) : cut(b, a);
    note("fault: a link of ", nodes_[a].name, " is cut one way");
    return;
  }
  note("fault: ", nodes_[a].name, " is cut from the other nodes");
  for (std::size_t b = 0; b < size; ++b) cut(a, b), cut(b, a);
}

void world::damage(node& n) {
  if (n.storage.durable().id.value == 0) return;
  const auto bound = registry_->state().record.min_in_sync;
  if (random_.chance(25) && n.up) {
    if (n.backups.size() < 3) n.backups.push_back(n.storage.durable());
    return;
  }
  if ((damaged(&n) >= bound && !wipe_any_) || registry_->state().record.epoch.value == 0) return;
  crash(n, "before its disk is damaged");
  auto image = n.storage.durable();
  const auto kind = wipe_any_ ? 0 : random_.below(3);
  if (kind == 0) {
    note("fault: the disk of ", n.name, " is replaced by an empty one");
    image = disk_image{settings_.bugs.keep_identity ? image.store : random_.next() | 1, {}, {}, {}, {}, {}};
    n.dirty = settings_.bugs.keep_identity;
    if (settings_.bugs.keep_identity) image.id = n.storage.durable().id;
    n.backups.clear();
  } else if (kind == 1 && !n.backups.empty() && n.backups.back().store == image.store) {
    note("fault: an old copy of the storage of ", n.name, " is put back");
    image = n.backups[random_.below(n.backups.size())];
    if (image.store != n.storage.durable().store) image = n.backups.back();
    n.dirty = true;
  } else {
    if (image.entries.empty()) return;
    const auto keep = random_.chance(50) ? image.entries.size() - 1 : random_.below(image.entries.size());
    image.entries.resize(keep);
    const bool known = random_.chance(10); // the loss shows: the stored high watermark is above the end
    if (!known) image.hw = {};
    image.seen = image.entries.empty() ? st::epoch{} : image.entries.back().epoch;
    note("fault: ", n.name, " loses synced entries from offset ", std::to_string(image.end().value), " on");
    n.dirty = true;
  }
  n.stored_verified = n.stored_verified && settings_.bugs.replica.verified_durable;
  n.storage.replace(std::move(image));
  check_copies();
}

} // namespace millrace::simulation
