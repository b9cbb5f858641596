// Section 8. Leases only trigger elections: whether an epoch is dead is decided by the registry, in the claim's guards.
#include "storage/replication/replica.hpp"

#include <algorithm>

namespace millrace::storage::replication {

void replica::election_tick() {
  if (!dead() || record_->epoch.value == 0) election_.dead_since = now_;
  if (!dead() || !listed() || damaged_) {
    election_.stand_at.reset();
    if (role_ == role::candidate) set_role(role::follower);
    if (!dead()) clear(alarm_kind::election_stuck);
    if (now_ - election_.dead_since > limits_.election_alarm && record_->wants(options_.node))
      raise(alarm_kind::election_stuck,
            "epoch " + std::to_string(record_->epoch.value) +
                " has no leader, and no member of the in-sync set is elected; this copy "
                "may not stand, because it is " +
                (damaged_ ? "damaged" : "not in the set") +
                ". Bring the nodes of the set back; if their disks are lost for good, an operator may force a leader");
    return;
  }
  // Without a lease of its own a claim could not be stored; a leader goes on, because nobody else may have noticed.
  if (own_session_ == 0) return;
  if (role_ == role::leader) { // its lease was made anew: this costs one election, which it may win
    step_down("the node's lease was lost and made anew");
    election_.stand_at = now_;
  }
  if (role_ == role::follower) {
    if (!election_.stand_at) {
      election_.stand_at = std::max(now_ + random_wait(limits_.election_wait), election_.not_before);
      if (full_) *election_.stand_at += limits_.lag_time; // it could not append: first those who can
    }
    if (now_ >= *election_.stand_at) stand_for_election();
  } else if (role_ == role::candidate && now_ - election_.since > limits_.election_alarm) {
    raise(alarm_kind::election_stuck,
          "epoch " + std::to_string(election_.target.value) + " gets no leader: " + std::to_string(election_.reports.size() + 1) +
              " of " + std::to_string(record_->min_in_sync) +
              " members of the in-sync set that are needed have reported. This copy restarted, so it cannot know alone what was "
              "acknowledged. Bring another member back; if all others are lost for good, an operator may force a leader");
  }
}

/// 8.1: from here on this replica takes nothing of older epochs.
void replica::stand_for_election() {
  election_.stand_at.reset();
  const storage::epoch target{record_->epoch.value + 1};
  if (seen_epoch_ > target) return ask_for_record();
  seen_epoch_ = target;
  barrier(actions::see_epoch{target}); // the log is synced with it
  detach();
  election_.target = target;
  election_.nonce = random() | 1;
  election_.reports.clear();
  election_.asked = now_ - limits_.retry;
  election_.since = now_;
  set_role(role::candidate);
}

/// After every input while a candidate, once its log and epoch are synced.
void replica::campaign() {
  if (pending_) return;
  // A verified copy needs no reports. But one that nobody answers would lead nobody: those who hear each other go first.
  if (election_.reports.size() + 1 >= record_->min_in_sync) return claim();
  if (verified_ && now_ - election_.since >= 2 * limits_.election_wait) return claim();
  if (now_ - election_.asked < limits_.retry) return;
  election_.asked = now_;
  for (const auto& m : record_->isr)
    if (m.node != options_.node) say(m.node, query{election_.target, election_.nonce});
}

void replica::claim() {
  const auto& r = *record_;
  if (own_session_ == 0) return;
  std::vector<session_guard> guards{{options_.node, own_session_}};
  if (!r.leader_node.empty() && r.leader_node != options_.node) guards.push_back({r.leader_node, session_of(r.leader_node)});
  auto record = r;
  record.epoch = election_.target;
  record.leader_node = options_.node;
  record.leader_session = own_session_;
  propose(proposal::kind::claim, std::move(record), std::move(guards), "the epoch is dead");
}

void replica::on_query(const message& m, const query& q) {
  if (q.target <= record_->epoch || q.target < seen_epoch_) return say(m.node, refuse{seen_epoch_});
  // Who is listed, and for which epoch, may have changed since this replica last heard of it.
  if (q.target.value > record_->epoch.value + 1 || !is_listed(m.node, m.store) || !listed()) return ask_for_record();
  if (damaged_) return;
  if (role_ == role::leader) step_down("a candidate asked");
  if (q.target > seen_epoch_) {
    if (role_ == role::candidate) set_role(role::follower);
    seen_epoch_ = q.target;
  }
  detach();
  owed_[m.node] = {q.target, q.nonce};
  barrier(actions::see_epoch{seen_epoch_}); // the log is synced with it
}

void replica::answer_queries() {
  for (const auto& [node, owed] : std::exchange(owed_, {}))
    if (owed.target == seen_epoch_ && owed.target > record_->epoch) say(node, report{owed.target, owed.nonce, last_epoch_, end_});
}

void replica::on_report(const message& m, const report& r) {
  if (role_ != role::candidate || pending_ || r.nonce != election_.nonce || r.target != election_.target) return;
  if (seen_epoch_ != election_.target || !is_listed(m.node, m.store)) return;
  if (!verified_ && std::pair(r.last_epoch, r.end) > std::pair(last_epoch_, end_)) {
    // It knows of entries that this copy lost or never got. Let it run; stand again if it does not.
    say(m.node, stand{election_.target});
    set_role(role::follower);
    election_.stand_at = now_ + 2 * limits_.election_wait + random_wait(limits_.election_wait);
    return;
  }
  election_.reports[m.node] = {r.last_epoch, r.end};
}

void replica::on_stand(const stand& s) {
  if (s.target.value == record_->epoch.value + 1 && role_ == role::follower && dead()) election_.stand_at = now_;
}

} // namespace millrace::storage::replication
