// Sections 5 and 9: appending, followers' fetches, the high watermark, stepping down.
#include "storage/replication/replica.hpp"

#include <algorithm>

namespace millrace::storage::replication {

namespace {
/// Read from the disk for one message: appends wait behind the read, and each of its entries is looked at.
constexpr std::size_t disk_read_bytes = 4u << 20;
/// Without an append for so long nobody is there to be starved.
constexpr instant catch_up_quiet = 1s;
/// Through a link that breaks again and again small messages pass and large ones never do.
constexpr std::size_t message_bytes_min = 16u << 10;
} // namespace

void replica::lead() {
  leading_ = {};
  leading_.epoch = seen_epoch_;
  leading_.session = record_->leader_session;
  leading_.start = end_;
  leading_.ticked = leading_.appended = now_;
  leading_.catch_up_bytes = static_cast<double>(limits_.catch_up_bytes_per_second) / 4;
  unacknowledged_entries_.clear();
  unacknowledged_ = 0;
  for (const auto& m : record_->isr) {
    auto& p = leading_.followers[m.node];
    p.message_bytes = limits_.message_bytes;
    p.caught_up = p.moved = p.heard = now_; // the time before this leadership does not count against anybody
  }
  verified_ = true; // 6.5: elected from the in-sync set, so it holds what was acknowledged
  election_.stand_at.reset();
  set_role(role::leader);
  act(actions::begin_epoch{seen_epoch_});
}

/// It may have been deposed long ago (9): nothing was acknowledged since, because the new leader is in its in-sync set.
void replica::step_down(const char*) {
  act(actions::end_epoch{});
  leading_ = {};
  pending_.reset(); // should it be stored later, the record will say so
  unacknowledged_entries_.clear();
  unacknowledged_ = 0;
  clear(alarm_kind::under_replicated);
  clear(alarm_kind::data_lost);
  clear(alarm_kind::handover);
  detach();
  set_role(role::follower);
}

ticket replica::appending(std::span<const raw_entry> entries) {
  if (entries.empty()) return issued_;
  note_append(entries);
  if (role_ != role::leader) return issued_;
  leading_.appended = now_;
  for (const auto& e : entries) {
    leading_.recent.push(e);
    unacknowledged_entries_.push_back({e.end(), e.value->size()});
    unacknowledged_ += e.value->size();
  }
  // Before the own sync: the followers' disks work at the same time as this one.
  for (auto& [node, p] : leading_.followers) feed(node, p);
  if (bugs_.leader_unsynced) move_high_watermark();
  return issued_;
}

void replica::trimmed(offset start) {
  start_ = std::max(start_, start);
  // The row that covers the log's start stays: it says which epoch the first entry may be of.
  while (epochs_.size() > 1 && epochs_[1].first <= start_) epochs_.erase(epochs_.begin());
}

/// 6.2: the largest epoch of this log that is not above the follower's, and where it ends.
void replica::on_attach(const message& m, const attach& a) {
  if (role_ != role::leader || (!record_->wants(m.node) && !record_->in_sync(m.node))) return;
  auto& p = leading_.followers[m.node];
  progress fresh;
  fresh.run = m.run;
  fresh.store = m.store;
  fresh.heard = now_;
  fresh.message_bytes = p.message_bytes != 0 ? p.message_bytes : limits_.message_bytes;
  fresh.caught_up = p.caught_up;
  fresh.moved = p.moved;
  p = std::move(fresh);
  attach_reply reply{a.nonce, {}, start_, start_, hw_};
  for (std::size_t i = 0; i < epochs_.size() && epochs_[i].epoch <= a.last_epoch; ++i) {
    reply.back_epoch = epochs_[i].epoch;
    reply.back_end = i + 1 < epochs_.size() ? epochs_[i + 1].first : end_;
  }
  say(m.node, reply);
}

std::optional<hash128> replica::hash_before(offset at) {
  if (at == end_) return last_hash_;
  if (const auto* e = leading_.recent.at(at)) return e->prev;
  const auto read = disk_.read_raw(at, 1);
  if (!read || read.value().empty() || read.value().front().base != at) return std::nullopt;
  return read.value().front().prev;
}

/// Equal hash at equal offset means equal prefix.
bool replica::same_prefix(const fetch& f) {
  if (f.from > end_ || f.from < start_) return false;
  const auto hash = hash_before(f.from);
  return hash && (f.empty || *hash == f.hash);
}

void replica::on_fetch(const message& m, const fetch& f) {
  if (role_ != role::leader) return;
  const auto at = leading_.followers.find(m.node);
  const bool old_run = bugs_.verified_old_session && at != leading_.followers.end() && at->second.attached;
  if (at == leading_.followers.end() || at->second.run == 0 ||
      (!old_run && (at->second.run != m.run || at->second.store != m.store)))
    return say(m.node, refuse{seen_epoch_}); // not of the current attachment (5.3)
  auto& p = at->second;
  if (!p.attached) {
    if (!same_prefix(f)) return say(m.node, refuse{seen_epoch_});
    p.attached = true;
    p.round = 0;
    if (f.durable < hw_ && is_listed(m.node, m.store))
      raise(alarm_kind::data_lost, "node " + m.node + " came back with the log synced only up to offset " +
                                       std::to_string(f.durable.value) + ", but had reported what is acknowledged, up to " +
                                       std::to_string(hw_.value) +
                                       ": its disk lost synced data or an old copy was put back. It is refilled; check its disk");
  }
  p.heard = now_;
  p.full = f.full;
  if (!f.unheard)
    p.unheard_since.reset();
  else if (!p.unheard_since)
    p.unheard_since = now_;
  count(p, m, f);
  if (f.round > p.round) {
    if (!p.flying.empty()) p.message_bytes = std::max(p.message_bytes / 4, std::min(message_bytes_min, limits_.message_bytes));
    p.round = f.round;
    p.sent = f.from;
    p.flying.clear();
    p.flying_bytes = 0;
  }
  if (f.round == p.round) {
    p.credit = f.credit;
    while (!p.flying.empty() && p.flying.front().end <= f.from) {
      p.flying_bytes -= p.flying.front().bytes;
      p.flying.pop_front();
      p.message_bytes = std::min(p.message_bytes * 2, limits_.message_bytes);
    }
    p.sent = std::max(p.sent, f.from);
  }
  move_high_watermark();
  feed(m.node, p);
  if (f.round == p.round && p.flying.empty() && verified_news(p)) say_data(m.node, p, {});
}

void replica::count(progress& p, const message&, const fetch& f) {
  if (f.durable > p.durable) {
    p.durable = f.durable;
    p.moved = now_;
  }
  // It had everything at its last fetch if by now it has what there was then: one that keeps up under load is never quite at the
  // end.
  if (p.durable >= end_)
    p.caught_up = now_;
  else if (p.durable >= p.end_then)
    p.caught_up = std::max(p.caught_up, p.asked);
  p.asked = now_;
  p.end_then = end_;
  if (p.durable >= hw_) clear(alarm_kind::data_lost);
}

bool replica::verified_news(const progress& p) const { return !p.told_verified && p.durable >= std::max(hw_, leading_.start); }

result<std::vector<raw_entry>> replica::entries_for(progress& p, std::size_t bytes) {
  if (leading_.recent.has(p.sent)) return leading_.recent.read(p.sent, bytes);
  // From the disk: this follower is behind. It must not starve appends of the disk, if there are any.
  const bool appends = now_ - leading_.appended < catch_up_quiet;
  if (limits_.catch_up_bytes_per_second != 0 && leading_.catch_up_bytes <= 0 && appends) return std::vector<raw_entry>{};
  auto entries = disk_.read_raw(p.sent, std::min(bytes, disk_read_bytes));
  if (entries)
    for (const auto& e : entries.value()) leading_.catch_up_bytes -= static_cast<double>(e.value->size());
  leading_.catch_up_bytes = std::max(leading_.catch_up_bytes, -static_cast<double>(limits_.catch_up_bytes_per_second));
  return entries;
}

/// Sends what the follower's credit allows. Few messages are in flight at a time: while they are, new entries gather, so that a
/// follower with a slow disk syncs rarely and much.
void replica::feed(const std::string& node, progress& p) {
  while (p.attached && !p.full && p.round != 0 && p.sent < end_ && p.flying.size() < limits_.messages_in_flight &&
         (p.flying.empty() || p.flying_bytes < p.credit)) {
    const auto room = p.credit > p.flying_bytes ? p.credit - p.flying_bytes : 0;
    auto entries = entries_for(p, std::min(p.message_bytes, room));
    if (!entries && entries.error().is(errc::trimmed)) {
      p.attached = false; // it will learn of the log's new start when it attaches again
      return say(node, refuse{seen_epoch_});
    }
    if (!entries) {
      damaged_ = true;
      raise(alarm_kind::damaged, "the leader's log cannot be read at offset " + std::to_string(p.sent.value) + ": " +
                                     entries.error().message + ". Leadership goes to another copy, if there is one");
      leading_.resigning = true;
      return;
    }
    if (entries.value().empty()) return;
    say_data(node, p, std::move(entries.value()));
  }
}

void replica::say_data(const std::string& node, progress& p, std::vector<raw_entry> entries) {
  data d{p.sent, hw_, start_, p.durable >= std::max(hw_, leading_.start), p.run, p.round, std::move(entries)};
  p.told_verified = p.told_verified || d.verified;
  if (!d.entries.empty()) {
    std::size_t bytes = 0;
    for (const auto& e : d.entries) bytes += e.value->size();
    p.sent = d.entries.back().end();
    p.flying.push_back({p.sent, bytes});
    p.flying_bytes += bytes;
  }
  p.said = now_;
  say(node, std::move(d));
}

offset replica::counted(const isr_member& m) const {
  if (m.node == options_.node) return m.store == store_ ? durable_ : offset{};
  const auto at = leading_.followers.find(m.node);
  return at == leading_.followers.end() || !at->second.attached || at->second.store != m.store ? offset{} : at->second.durable;
}

/// 5.4. Members outside of the present attachment count as having nothing: the high watermark waits for them.
void replica::move_high_watermark() {
  if (role_ != role::leader || record_->isr.size() < record_->min_in_sync) return;
  auto to = bugs_.leader_unsynced ? end_ : durable_;
  for (const auto& m : record_->isr) {
    if (leading_.removing == m.node || (bugs_.leader_unsynced && m.node == options_.node)) continue;
    to = std::min(to, counted(m));
  }
  if (leading_.adding && !bugs_.expand_uncounted) to = std::min(to, counted(*leading_.adding));
  if (to <= hw_) return;
  hw_ = to;
  while (!unacknowledged_entries_.empty() && unacknowledged_entries_.front().end <= hw_) {
    unacknowledged_ -= unacknowledged_entries_.front().bytes;
    unacknowledged_entries_.pop_front();
  }
  auto floor = std::min(hw_, durable_);
  for (const auto& [node, p] : leading_.followers)
    if (p.attached) floor = std::min(floor, p.sent);
  leading_.recent.trim(floor, durable_, limits_.recent_bytes);
  act(actions::advance{hw_});
  act(actions::acknowledged{hw_});
}

void replica::leader_tick() {
  const auto since = now_ - std::exchange(leading_.ticked, now_);
  const auto rate = static_cast<double>(limits_.catch_up_bytes_per_second);
  leading_.catch_up_bytes = std::min(leading_.catch_up_bytes + rate * static_cast<double>(since.count()) / 1000, rate / 4);
  for (auto& [node, p] : leading_.followers) {
    feed(node, p);
    if (p.attached && now_ - p.said >= limits_.fetch_wait) say_data(node, p, {});
  }
  leading_.recent.trim({}, durable_, limits_.recent_bytes);
  review_in_sync();
}

std::vector<follower_status> replica::followers() const {
  std::vector<follower_status> out;
  if (role_ != role::leader) return out;
  for (const auto& [node, p] : leading_.followers)
    if (node != options_.node) out.push_back({node, p.attached, is_listed(node, p.store), p.durable});
  return out;
}

} // namespace millrace::storage::replication
