// Sections 5.2 and 6: joining an epoch, and taking what its leader sends.
#include "storage/replication/replica.hpp"

#include <algorithm>

namespace millrace::storage::replication {

void replica::detach() {
  following_.attached = false;
  following_.nonce = 0;
  following_.unheard = false;
  following_.leader_hw = {};
}

/// Keeps asking until attached; called after every input.
void replica::follow() {
  const auto& r = *record_;
  if (following_.attached || r.leader_node.empty() || r.leader_node == options_.node || r.epoch != seen_epoch_) return;
  if (!r.wants(options_.node) && !r.in_sync(options_.node)) return; // no longer wanted here: the owner drops this copy
  if (following_.nonce != 0 && now_ - following_.asked < limits_.retry) return;
  if (following_.nonce == 0) following_.since = now_;
  ask_to_attach();
}

void replica::ask_to_attach() {
  if (bugs_.trunc_hw && end_ > hw_ && last_epoch_ < seen_epoch_) return cut(hw_);
  following_.nonce = random() | 1; // an answer to an older question could cut what was appended since
  following_.asked = now_;
  say(record_->leader_node, attach{last_epoch_, end_, following_.nonce});
  if (now_ - following_.since > 3 * limits_.lag_time)
    raise(alarm_kind::cannot_attach, "cannot attach to leader " + record_->leader_node + " of epoch " +
                                         std::to_string(seen_epoch_.value) + " since " +
                                         std::to_string((now_ - following_.since).count() / 1000) +
                                         " s: check the link between the two nodes (millrace cluster status)");
}

void replica::on_attach_reply(const message& m, const attach_reply& r) {
  if (role_ != role::follower || following_.attached || m.node != record_->leader_node) return;
  if (r.nonce != following_.nonce || following_.nonce == 0) return;
  const bool empty = last_epoch_.value == 0;
  if (damaged_ || r.log_start > end_) return begin_anew(r.log_start);
  if (empty || (r.back_epoch == last_epoch_ && end_ <= r.back_end)) {
    following_.attached = true;
    following_.heard = now_;
    ++following_.round;
    clear(alarm_kind::cannot_attach);
    say_fetch();
    return;
  }
  following_.nonce = 0; // ask again after the truncation
  auto to = r.back_end;
  if (r.back_epoch != last_epoch_) {
    const auto first = std::find_if(epochs_.begin(), epochs_.end(), [&](const auto& row) { return row.epoch > r.back_epoch; });
    to = first == epochs_.end() ? start_ : std::max(first->first, start_);
  }
  // What the two logs have in common may end below what retention left there, though this log's end is above: behind all the
  // same.
  if (to < r.log_start && hw_ <= r.log_start) return begin_anew(r.log_start);
  cut(to);
}

/// Retention at the leader went past this copy, or this copy may not be trusted: it becomes another, empty store (13).
void replica::begin_anew(offset log_start) {
  following_.nonce = 0;
  damaged_ = verified_ = false;
  clear(alarm_kind::damaged);
  stale_facts_ = true;
  hw_ = {};
  barrier(actions::reset{record_->log_id, log_start});
}

/// 6.3: what is below the high watermark was acknowledged; a leader without it must never have been elected.
void replica::cut(offset to) {
  if (to < hw_ && !bugs_.trunc_hw) {
    halt("leader " + record_->leader_node + " of epoch " + std::to_string(seen_epoch_.value) + " has the log only up to offset " +
         std::to_string(to.value) + " in common with this one, whose entries below " + std::to_string(hw_.value) +
         " were acknowledged. Acknowledged data was lost on other nodes. Keep this node's data directory; the partition needs an "
         "operator who decides which copy is right");
    return;
  }
  stale_facts_ = true;
  barrier(actions::truncate{to, seen_epoch_});
}

void replica::say_fetch() {
  const auto credit = limits_.credit_bytes > unsynced_bytes_ && !full_ ? limits_.credit_bytes - unsynced_bytes_ : 0;
  say(record_->leader_node, fetch{end_, last_hash_, bugs_.ack_early ? end_ : durable_, credit, following_.round,
                                  last_epoch_.value == 0, full_, following_.unheard});
}

/// The entries that were refused are nowhere: what was noted of them is read back from the disk, and they are asked for again.
void replica::no_room() {
  full_ = true;
  if (role_ == role::leader) return review_in_sync();
  if (!writes_.empty()) {
    const auto hw = hw_;
    read_disk();
    hw_ = std::max(hw_, hw);
  }
  if (role_ != role::follower || !following_.attached) return;
  ++following_.round;
  say_fetch();
}

void replica::room() {
  full_ = false;
  if (role_ == role::follower && following_.attached) say_fetch();
}

void replica::on_data(const message& m, data& d) {
  if (role_ != role::follower || !following_.attached || m.node != record_->leader_node) return;
  if (d.run != run_) return; // meant for this replica before it restarted
  if (d.verified) verified_ = true;
  if (d.round == following_.round) { // else the fetch that began this round was lost
    following_.heard = now_;
    following_.unheard = false;
  }
  if (full_ && !d.entries.empty()) return; // was under way when this copy said so; room() asks for it again
  if (d.round != following_.round) return; // sent before this follower asked again
  // Repeated; or an old attach and fetch came late, and the leader takes this copy for what it was then.
  if (d.from < end_) return say_fetch();
  if (d.log_start > end_) return detach();
  if (d.from > end_) {
    // Something was lost on the way: ask for it once, what else is in flight belongs to the old round.
    ++following_.round;
    say_fetch();
    return;
  }
  const bool idle = d.entries.empty();
  if (!idle) {
    const bool empty = last_epoch_.value == 0;
    const auto& first = d.entries.front();
    if ((!empty && !(first.prev == last_hash_)) || first.epoch < last_epoch_ || d.entries.back().epoch > seen_epoch_)
      return detach(); // not the log that was agreed on at the attachment: compare again
    note_append(d.entries);
    act(actions::append_raw{std::move(d.entries)});
    if (bugs_.ack_early) say_fetch();
  }
  following_.leader_hw = std::max(following_.leader_hw, d.high_watermark);
  learn_high_watermark(following_.leader_hw);
  if (idle) say_fetch(); // the leader's way to ask: the last fetch may have been lost, with what was durable
  if (d.log_start > start_ && d.log_start <= hw_) {
    trimmed(d.log_start);
    act(actions::trim{d.log_start});
  }
}

void replica::follower_tick() {
  const auto& r = *record_;
  if (r.epoch < seen_epoch_ && !r.leader_node.empty() && r.leader_node != options_.node && !dead() &&
      now_ - following_.asked >= limits_.fetch_wait) {
    // This replica took part in an election that came to nothing, and can take nothing from the old epoch any more.
    following_.asked = now_;
    return say(r.leader_node, refuse{seen_epoch_});
  }
  if (!following_.attached || now_ - following_.heard < 3 * limits_.fetch_wait) return;
  // The leader speaks every fetch_wait: this fetch, or its answer, was lost; or the leader has forgotten this follower.
  following_.heard = now_;
  following_.unheard = true;
  ++following_.round;
  say_fetch();
}

} // namespace millrace::storage::replication
