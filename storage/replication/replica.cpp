// Start, the record, dispatch, and what all roles share.
#include "storage/replication/replica.hpp"

#include <algorithm>

namespace millrace::storage::replication {

const char* to_string(role r) {
  static constexpr const char* names[] = {"starting", "follower", "candidate", "leader", "halted"};
  return names[static_cast<std::size_t>(r)];
}
const char* to_string(alarm_kind k) {
  static constexpr const char* names[] = {"data_lost",     "damaged", "under_replicated", "election_stuck",
                                          "cannot_attach", "unsafe",  "handover"};
  return names[static_cast<std::size_t>(k)];
}

namespace {
std::uint64_t splitmix(std::uint64_t& state) {
  std::uint64_t z = (state += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
} // namespace

replica::replica(options o, const replica_storage& disk)
    : options_(std::move(o)), limits_(options_.limits), bugs_(options_.bugs), disk_(disk), random_state_(options_.seed),
      run_(splitmix(random_state_) | 1) {}

std::uint64_t replica::random() { return splitmix(random_state_); }

void replica::read_disk() {
  const auto facts = disk_.facts();
  store_ = facts.store;
  id_ = facts.id;
  seen_epoch_ = std::max(seen_epoch_, facts.seen_epoch);
  start_ = facts.start;
  hw_ = facts.high_watermark;
  end_ = durable_ = facts.position.end;
  last_epoch_ = facts.position.last_epoch;
  last_hash_ = facts.position.hash;
  epochs_ = facts.epochs;
  writes_.clear();
  unsynced_bytes_ = 0;
}

void replica::start(instant now) {
  last_tick_ = now;
  read_disk();
  verified_ = bugs_.verified_durable;
  if (hw_ > end_) {
    // Acknowledged entries are gone for certain, not only perhaps: this copy must neither stand nor report.
    damaged_ = true;
    raise(alarm_kind::damaged,
          "the log ends at offset " + std::to_string(end_.value) + ", below the stored high watermark " +
              std::to_string(hw_.value) +
              ": acknowledged entries were lost on this disk. The copy is refilled from the partition's leader; "
              "check the disk, and that no old copy of the data directory was put back");
    hw_ = end_;
  }
  ask_for_record();
}

void replica::tick(instant now) {
  // Time that a stopped process slept, and jumps of a clock, count as one second at most: they say nothing about the others.
  now_ += std::clamp(now - last_tick_, instant{0}, instant{1000});
  last_tick_ = now;
  if (role_ == role::halted) return;
  if (reading_ && now_ - read_asked_ > 5 * limits_.retry) act(actions::read_record{}), read_asked_ = now_;
  if (role_ == role::starting || !record_) return;
  repeat_proposal();
  if (!settled()) return;
  review_bootstrap();
  election_tick();
  if (role_ == role::leader) leader_tick();
  if (role_ == role::follower) follower_tick();
  if (role_ != role::leader && record_->leader_node == options_.node && record_->leader_session == own_session_ &&
      own_session_ != 0)
    disown("this node is named as leader and does not lead");
  go_on();
}

void replica::ask_for_record() {
  if (reading_) return;
  reading_ = true;
  read_asked_ = now_;
  act(actions::read_record{});
}

void replica::on_record(const std::optional<partition_record>& record, bool fresh) {
  if (role_ == role::halted) return;
  if (fresh) reading_ = false;
  // Before the first read that began after the start, nothing may be believed: a watch may tell of the past.
  if (role_ == role::starting && !fresh && !bugs_.no_registry_read) return;
  if (!record) {
    if (role_ == role::leader) step_down("the partition was deleted");
    if (role_ != role::starting) set_role(role::starting);
    record_.reset();
    pending_.reset();
    return;
  }
  if (record_ && record->mod_revision < record_->mod_revision) return;
  if (!record_ || role_ == role::starting || record->mod_revision > record_->mod_revision) {
    record_ = record;
    adopt_record();
  }
  if (fresh && pending_ && pending_->decided && pending_->kind == proposal::kind::claim) {
    // A guard on a session failed, and sessions do not come back. Should a copy of the claim still be stored, the record will
    // name a leader that does not lead, and disown() follows.
    pending_.reset();
    if (role_ == role::candidate) set_role(role::follower);
  }
  go_on();
}

void replica::adopt_record() {
  const auto& r = *record_;
  std::optional<proposal> decided;
  if (pending_ && r.mod_revision > pending_->record.mod_revision) {
    decided = std::move(pending_);
    pending_.reset();
    leading_.adding.reset();
    leading_.removing.reset();
  }
  if (role_ == role::starting && seen_epoch_.value > r.epoch.value + 1) {
    halt("this replica has seen epoch " + std::to_string(seen_epoch_.value) + ", but the catalog's record is at epoch " +
         std::to_string(r.epoch.value) +
         ". The catalog was restored from an old state or replaced. Restore its newest state, or force a leader for this "
         "partition");
    return;
  }
  if (r.epoch > seen_epoch_ && !(bugs_.no_registry_read && role_ == role::starting)) {
    if (role_ == role::leader) step_down("a newer epoch exists");
    seen_epoch_ = r.epoch;
    barrier(actions::see_epoch{r.epoch});
    detach();
  }
  if (role_ == role::starting) {
    set_role(role::follower);
    if (bugs_.resume && r.leader_node == options_.node && r.epoch == seen_epoch_) return lead();
  }
  check_log_id();
  if (role_ == role::halted) return;

  if (r.leader_node == options_.node) {
    if (role_ == role::leader && r.epoch == leading_.epoch && r.leader_session == leading_.session) {
      move_high_watermark();
      return;
    }
    const bool won = decided && decided->kind == proposal::kind::claim && decided->record.epoch == r.epoch &&
                     decided->record.leader_session == r.leader_session && role_ == role::candidate && seen_epoch_ == r.epoch;
    if (won) return lead();
    if (role_ == role::leader) step_down("the record names another leadership of this node");
    if (role_ == role::candidate) set_role(role::follower);
    disown("this node is named as leader and does not lead: it has restarted, or gave the epoch up");
    return;
  }
  if (role_ == role::leader) step_down("the record names another leader");
  // Reports were about the set as it was: ask again, or give up if the election is over or this copy is no longer listed.
  if (role_ == role::candidate) {
    set_role(role::follower);
    election_.stand_at = now_;
  }
  if (r.epoch < seen_epoch_ || r.leader_node.empty()) detach();
}

void replica::check_log_id() {
  const auto& r = *record_;
  if (id_ == r.log_id) return;
  if (last_epoch_.value == 0) { // no entries: storage that was never used
    id_ = r.log_id;
    stale_facts_ = true;
    barrier(actions::reset{r.log_id, offset{0}});
  } else if (!listed()) {
    damaged_ = true;
    raise(alarm_kind::damaged, "the log here has id " + std::to_string(id_.value) + ", the partition's is " +
                                   std::to_string(r.log_id.value) +
                                   ": a leader was forced. This copy is replaced by the leader's");
  } else {
    halt("the log here has id " + std::to_string(id_.value) + " and is listed as a copy of log " +
         std::to_string(r.log_id.value) + ". Remove this node's copy of the partition, or correct the record");
  }
}

void replica::on_members(std::map<std::string, std::uint64_t> members, std::uint64_t revision, std::uint64_t own_session) {
  own_session_ = own_session;
  if (revision < members_revision_) return;
  members_ = std::move(members);
  members_revision_ = revision;
}

void replica::on_stores(const std::map<std::string, store_record>& stores) {
  stores_ = stores;
  if (!stores_since_) stores_since_ = now_;
}

std::uint64_t replica::session_of(const std::string& node) const {
  const auto at = members_.find(node);
  return at == members_.end() ? 0 : at->second;
}

bool replica::dead() const {
  const auto& r = *record_;
  if (r.leader_node.empty()) return true;
  if (r.leader_node == options_.node) return own_session_ != 0 && own_session_ != r.leader_session;
  return members_revision_ >= r.leader_session && session_of(r.leader_node) != r.leader_session;
}

bool replica::is_listed(const std::string& node, std::uint64_t store) const {
  const auto* m = record_->in_sync(node);
  return m && m->store == store;
}

void replica::on_message(const std::string& from, message m) {
  if (role_ == role::starting || role_ == role::halted || !record_ || !settled()) return; // it will come again
  if (m.node != from || from == options_.node || m.partition != options_.partition) return;
  if (const auto* q = std::get_if<query>(&m.body)) {
    on_query(m, *q);
  } else if (const auto* rep = std::get_if<report>(&m.body)) {
    on_report(m, *rep);
  } else if (const auto* s = std::get_if<stand>(&m.body)) {
    on_stand(*s);
  } else if (const auto* ref = std::get_if<refuse>(&m.body)) {
    on_refuse(from, *ref);
  } else if (bugs_.old_epoch_ack && role_ == role::leader && m.epoch < seen_epoch_ && std::holds_alternative<fetch>(m.body)) {
    const auto& f = std::get<fetch>(m.body);
    auto& p = leading_.followers[from];
    p.store = m.store;
    p.attached = true;
    p.durable = std::max(p.durable, f.durable);
    move_high_watermark();
  } else if (m.epoch < seen_epoch_) {
    say(from, refuse{seen_epoch_});
  } else if (m.epoch > seen_epoch_) {
    ask_for_record();
  } else if (const auto* a = std::get_if<attach>(&m.body)) {
    on_attach(m, *a);
  } else if (const auto* f = std::get_if<fetch>(&m.body)) {
    on_fetch(m, *f);
  } else if (const auto* reply = std::get_if<attach_reply>(&m.body)) {
    on_attach_reply(m, *reply);
  } else if (auto* d = std::get_if<data>(&m.body)) {
    on_data(m, *d);
  }
  go_on();
}

void replica::on_refuse(const std::string& from, const refuse& m) {
  if (m.seen > seen_epoch_) {
    if (role_ == role::leader) step_down("a replica has seen a newer epoch");
    ask_for_record();
  } else if (m.seen == seen_epoch_ && role_ == role::follower && from == record_->leader_node && following_.attached) {
    detach();
  }
}

void replica::synced(ticket t) {
  if (role_ == role::halted) return;
  synced_ = std::max(synced_, std::min(t, issued_));
  const auto before = durable_;
  while (!writes_.empty() && writes_.front().ticket <= synced_) {
    durable_ = std::max(durable_, writes_.front().end);
    unsynced_bytes_ -= writes_.front().bytes;
    writes_.pop_front();
  }
  if (stale_facts_ && settled()) {
    stale_facts_ = false;
    const auto hw = hw_;
    read_disk();
    if (hw <= end_) hw_ = std::max(hw_, hw); // the stored one may be older than what this process knows
  }
  if (role_ == role::leader) {
    if (durable_ != before) move_high_watermark();
  } else {
    learn_high_watermark(following_.attached ? following_.leader_hw : offset{0});
    if (durable_ != before && following_.attached && settled()) say_fetch();
  }
  go_on();
}

void replica::go_on() {
  if (!record_ || role_ == role::starting || role_ == role::halted || !settled()) return;
  if (announced_store_ != store_ && id_ == record_->log_id && record_->wants(options_.node)) {
    announced_store_ = store_;
    announced_ = now_;
    act(actions::announce_store{store_, id_});
  }
  answer_queries();
  if (role_ == role::candidate) campaign();
  if (role_ == role::follower) follow();
}

void replica::note_append(std::span<const raw_entry> entries) {
  std::size_t bytes = 0;
  for (const auto& e : entries) {
    if (epochs_.empty() || epochs_.back().epoch < e.epoch) epochs_.push_back({e.epoch, e.base});
    bytes += e.value->size();
  }
  const auto& last = entries.back();
  end_ = last.end();
  last_hash_ = last.hash;
  last_epoch_ = last.epoch;
  writes_.push_back({++issued_, end_, bytes});
  unsynced_bytes_ += bytes;
}

/// Never above what is synced here: a stored high watermark beyond the log would look like lost data.
void replica::learn_high_watermark(offset hw) {
  hw = std::min(hw, durable_);
  if (hw <= hw_) return;
  hw_ = hw;
  act(actions::advance{hw_});
}

void replica::set_role(replication::role r) {
  if (r == role_) return;
  role_ = r;
  if (r == role::leader) clear(alarm_kind::election_stuck);
  act(actions::role_changed{r, seen_epoch_});
}

std::string replica::where() const {
  return "pipeline " + options_.partition.uid + ", partition " + std::to_string(options_.partition.partition) + ", node " +
         options_.node + ": ";
}

void replica::raise(alarm_kind k, const std::string& text) {
  if (alarms_.insert(k).second) act(actions::alarm{k, true, where() + text});
}

void replica::clear(alarm_kind k) {
  if (alarms_.erase(k) != 0) act(actions::alarm{k, false, {}});
}

void replica::halt(const std::string& text) {
  if (role_ == role::leader) step_down("halted");
  raise(alarm_kind::unsafe, text);
  set_role(role::halted);
}

std::vector<action> replica::take_actions() { return std::exchange(actions_, {}); }

} // namespace millrace::storage::replication
