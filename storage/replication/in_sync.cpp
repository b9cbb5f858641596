// Section 7, and how proposals to the registry are made, repeated and settled.
#include "storage/replication/replica.hpp"

#include <algorithm>

namespace millrace::storage::replication {
namespace {

/// Of a follower that is asked at least every fetch_wait: by then its host is cut off or hangs, however alive its session is.
instant silence(const limits& l) { return 5 * l.fetch_wait; }

} // namespace

void replica::propose(enum proposal::kind kind, partition_record record, std::vector<session_guard> guards, const char* why) {
  pending_ = proposal{++proposals_, kind, std::move(record), std::move(guards), why, now_, false, false};
  act(actions::propose{pending_->id, pending_->record, pending_->guards, why});
}

void replica::proposed(std::uint64_t id, outcome o, std::uint64_t mod_revision) {
  if (!pending_ || pending_->id != id || !record_ || role_ == role::halted) return;
  switch (o) {
  case outcome::stored:
    if (mod_revision > record_->mod_revision) { // else a watch was faster, and may know more
      record_ = pending_->record;
      record_->mod_revision = mod_revision;
      adopt_record();
    }
    break;
  case outcome::conflict:
    // Not stored by this attempt. An earlier one, of unknown outcome, may have been: only the record can tell.
    pending_->decided = true;
    ask_for_record();
    break;
  case outcome::unknown:
    pending_->unknown = true;
    pending_->sent = now_;
    break;
  }
  go_on();
}

/// The same transaction again, until its outcome is definite: a guard that was passed once cannot be passed again.
void replica::repeat_proposal() {
  if (!pending_) return;
  if (pending_->kind == proposal::kind::claim && role_ != role::candidate) {
    pending_.reset(); // should it be stored all the same, this node is named as leader, does not lead, and says so
    return;
  }
  if (pending_->decided) return ask_for_record();
  if (now_ - pending_->sent < (pending_->unknown ? limits_.retry : 10 * limits_.retry)) return;
  pending_->sent = now_;
  act(actions::propose{pending_->id, pending_->record, pending_->guards, pending_->why});
}

/// Only the node that is named may do this: it knows that its epoch has ended.
void replica::disown(const char* why) {
  if (pending_) return;
  auto record = *record_;
  record.leader_node.clear();
  record.leader_session = 0;
  propose(proposal::kind::disown, std::move(record), {}, why);
}

/// See record.hpp: while the epoch is 0 nothing was ever acknowledged, so any copies of this log may be the first in-sync set.
void replica::review_bootstrap() {
  const auto& r = *record_;
  if (r.epoch.value == 0 && announced_store_ == store_ && !listed() && now_ - announced_ > 10 * limits_.retry)
    announced_store_ = 0; // it may not have been stored: say it again
  if (r.epoch.value != 0 || pending_ || !stores_since_ || !r.wants(options_.node) || id_ != r.log_id) return;
  auto record = r;
  record.isr.clear();
  for (const auto& node : r.replicas)
    if (const auto at = stores_.find(node); at != stores_.end() && at->second.log_id == r.log_id)
      record.isr.push_back({node, at->second.store});
  const bool all = record.isr.size() == r.replicas.size();
  if (record.isr == r.isr || record.isr.size() < r.min_in_sync || (!all && now_ - *stores_since_ < limits_.lag_time)) return;
  // The first one that is there does it; the others only if it does not.
  if (record.isr.front().node != options_.node && random() % 8 != 0) return;
  propose(proposal::kind::bootstrap, std::move(record), {}, "the first in-sync set");
}

void replica::review_in_sync() {
  if (role_ != role::leader || pending_) return;
  if (!record_->wants(options_.node)) leading_.resigning = true; // moved away: first leadership, then the membership
  const auto& isr = record_->isr;
  // While its session lives nobody stands against a leader. One that hears too few members to acknowledge anything, is not heard
  // by them, or has no room, gives way by itself: they may well hear each other. If not, nothing is lost, and the next one does
  // the same.
  const auto working = std::count_if(isr.begin(), isr.end(), [&](const auto& m) { return works(m); });
  const bool unheard = static_cast<std::size_t>(working) < record_->min_in_sync;
  const bool somebody = std::any_of(isr.begin(), isr.end(), [&](const auto& m) { return could_lead(m, unheard); });
  if (somebody && (leading_.resigning || unheard || full_)) {
    auto record = *record_;
    record.leader_node.clear();
    record.leader_session = 0;
    // The next leader would wait for this copy as long as it waits for any that is silent.
    if ((unheard || full_ || !record.wants(options_.node)) && record.isr.size() > record.min_in_sync)
      std::erase_if(record.isr, [&](const auto& m) { return m.node == options_.node; });
    // It lets the others go first, no more: links that come and go, or nodes drained one after another, must not leave nobody.
    election_.not_before = now_ + 4 * limits_.election_wait;
    return propose(proposal::kind::resign, std::move(record), {}, "hands leadership over");
  }
  if (leading_.resigning) {
    if (!damaged_) leading_.resigning = false;
    raise(
        alarm_kind::handover,
        "leadership cannot be handed over: no other member of the in-sync set is alive, has room on its disk and has all that is "
        "acknowledged. Bring one back, then repeat");
  }
  if (!add_or_swap()) remove();
}

/// What it says does not arrive here, or nothing arrives there, for longer than one lost message explains; and for `more`. By
/// this node's clock, which stands still while it hangs itself.
bool replica::cut_off(const progress& p, instant more) const {
  return now_ - p.heard > silence(limits_) + more ||
         (p.unheard_since && now_ - *p.unheard_since >= 3 * limits_.fetch_wait + more);
}

/// Members that fall silent or complain at about the same time speak of this node's own network. It will resign, out of the set,
/// as soon as too few are left that work; had it removed the first of them, its successor would have to wait for it instead.
bool replica::others_may_follow(const isr_member& m) const {
  const auto& followers = leading_.followers;
  const auto at = followers.find(m.node);
  if (at == followers.end() || session_of(m.node) == 0 || !cut_off(at->second) || cut_off(at->second, 3 * limits_.fetch_wait))
    return false;
  return std::any_of(record_->isr.begin(), record_->isr.end(), [&](const auto& other) {
    const auto its = followers.find(other.node);
    if (other.node == options_.node || other.node == m.node || its == followers.end() || session_of(other.node) == 0)
      return false;
    const auto& p = its->second;
    return !cut_off(p) && (p.unheard_since || now_ - p.heard > 2 * limits_.fetch_wait);
  });
}

/// As far as it is heard, entries that are sent to it come back as durable.
bool replica::works(const isr_member& m) const {
  if (m.node == options_.node) return true;
  const auto at = leading_.followers.find(m.node);
  if (at == leading_.followers.end() || cut_off(at->second)) return false;
  const auto& p = at->second;
  return p.durable >= end_ || (!p.full && now_ - std::max(p.moved, p.caught_up) <= limits_.lag_time);
}

/// A member has all that is acknowledged, also one that was `never_heard` in this epoch; unless what came from it says otherwise.
bool replica::could_lead(const isr_member& m, bool never_heard) const {
  if (m.node == options_.node || session_of(m.node) == 0) return false;
  const auto at = leading_.followers.find(m.node);
  if (at == leading_.followers.end() || at->second.run == 0) return never_heard;
  const auto& p = at->second;
  return p.store == m.store && !p.full && (p.attached ? p.durable >= hw_ : never_heard);
}

/// Whoever is attached and holds all that could be acknowledged comes in, or comes back in with its new store.
bool replica::add_or_swap() {
  for (const auto& [node, p] : leading_.followers) {
    if (node == options_.node || !p.attached || now_ - p.heard > 2 * limits_.fetch_wait || !record_->wants(node)) continue;
    if (p.durable < (bugs_.expand_no_start ? hw_ : std::max(hw_, leading_.start))) continue;
    const auto* member = record_->in_sync(node);
    if (member && member->store == p.store) continue;
    if (p.full || p.unheard_since) continue;
    // Who would be removed at once is not added: a follower that is heard and hears nothing came and went at every tick.
    if (!member && p.durable < end_ && now_ - p.caught_up > limits_.lag_time && now_ - p.moved > limits_.lag_time) continue;
    auto record = *record_;
    if (member) {
      for (auto& m : record.isr)
        if (m.node == node) m.store = p.store;
      propose(proposal::kind::in_sync, std::move(record), {}, "a member's storage was replaced and is refilled");
    } else {
      record.isr.push_back({node, p.store});
      leading_.adding = isr_member{node, p.store};
      propose(proposal::kind::in_sync, std::move(record), {}, "a replica has caught up");
    }
    return true;
  }
  return false;
}

/// Gone, silent or deaf while there is something to say, without room for it, or too far behind for too long.
bool replica::lags(const isr_member& m) {
  const auto at = leading_.followers.find(m.node);
  if (at == leading_.followers.end()) return true;
  const auto& p = at->second;
  // Its session has ended: if it only lost etcd it is heard all the same, and who lives attaches to a new leader at once.
  if (members_revision_ != 0 && session_of(m.node) == 0 && now_ - p.heard > (p.run == 0 ? limits_.retry : 2 * limits_.fetch_wait))
    return true;
  const bool counts = p.attached && p.store == m.store;
  if (counts && p.durable >= end_) return false;
  if (p.full || cut_off(p)) return true;
  if (now_ - p.caught_up <= limits_.lag_time) return false;
  if (!counts || now_ - p.moved > limits_.lag_time) return true;
  const auto behind = leading_.recent.bytes_from(p.durable);
  return !behind || *behind > limits_.lag_bytes;
}

bool replica::remove() {
  std::string lagging;
  for (const auto& m : record_->isr) {
    if (m.node == options_.node) continue;
    const bool unwanted = !record_->wants(m.node);
    if (!unwanted && (!lags(m) || others_may_follow(m))) continue;
    if (record_->isr.size() <= record_->min_in_sync) {
      if (lags(m)) lagging += (lagging.empty() ? "" : ", ") + m.node;
      continue;
    }
    auto record = *record_;
    std::erase_if(record.isr, [&](const auto& other) { return other.node == m.node; });
    if (bugs_.shrink_early) leading_.removing = m.node;
    propose(proposal::kind::in_sync, std::move(record), {},
            unwanted ? "a replica is no longer wanted" : "a member is gone or lags");
    if (bugs_.shrink_early) move_high_watermark();
    return true;
  }
  if (lagging.empty())
    clear(alarm_kind::under_replicated);
  else
    raise(alarm_kind::under_replicated,
          "nothing is acknowledged, because member " + lagging +
              " of the in-sync set is gone, lags or has no room, and the set is at its minimum of " +
              std::to_string(record_->min_in_sync) +
              ". Bring the node back, make room on its disk, or replace it (millrace cluster replace)");
  return false;
}

void replica::resign() {
  if (role_ != role::leader) return;
  leading_.resigning = true;
  review_in_sync();
}

} // namespace millrace::storage::replication
