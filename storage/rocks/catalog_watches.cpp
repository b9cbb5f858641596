// Watches and leases of the embedded catalog: what happens on its two threads.
#include "storage/rocks/embedded_catalog.hpp"

#include <algorithm>

namespace millrace::storage::rocks {

struct embedded_catalog::handle final : watch_handle {
  handle(embedded_catalog& c, std::shared_ptr<subscription> s) : owner(c), watch(std::move(s)) {}
  ~handle() override { owner.end_watch(watch); }
  embedded_catalog& owner;
  const std::shared_ptr<subscription> watch;
};

result<std::unique_ptr<catalog::watch_handle>> embedded_catalog::watch(std::string_view prefix, std::uint64_t after,
                                                                       watcher on_change, std::function<void()>) {
  // on_trimmed is never needed: forget_seen() keeps what a watcher has still to see.
  std::lock_guard lock(mutex_);
  if (after < compacted_)
    return failure{errc::trimmed, "the catalog's history begins at revision " + std::to_string(compacted_ + 1) +
                                      ", a watch after " + std::to_string(after) +
                                      " would miss changes: list again and watch from revision()"};
  auto made = std::make_shared<subscription>(std::string(prefix), after, std::move(on_change));
  watches_.push_back(made);
  changed_.notify_all();
  return std::unique_ptr<watch_handle>(std::make_unique<handle>(*this, std::move(made)));
}

void embedded_catalog::end_watch(const std::shared_ptr<subscription>& ended) {
  std::unique_lock lock(mutex_);
  ended->ended = true;
  std::erase(watches_, ended);
  forget_seen();
  // A watcher may end its own watch from within its call.
  if (std::this_thread::get_id() != watch_thread_.get_id()) idle_.wait(lock, [&] { return !ended->running; });
}

bool embedded_catalog::deliver(std::unique_lock<std::mutex>& lock, const std::shared_ptr<subscription>& to) {
  const auto from = std::upper_bound(recent_.begin(), recent_.end(), to->after,
                                     [](std::uint64_t revision, const revision_events& e) { return revision < e.revision; });
  if (from == recent_.end()) return false;
  const auto events = *from; // a copy: the call runs without the lock
  to->running = true;
  lock.unlock();
  for (const auto& e : events.events)
    if (!to->ended && e.key.starts_with(to->prefix)) to->on_change(events.revision, e.key, e.value);
  lock.lock();
  to->running = false;
  to->after = events.revision;
  idle_.notify_all();
  return true;
}

void embedded_catalog::run_watches(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    bool any = false;
    const auto all = watches_; // a call may begin or end watches
    for (const auto& watch : all)
      if (!watch->ended && !stop.stop_requested()) any |= deliver(lock, watch);
    if (any) continue;
    changed_.wait(lock, stop, [&] {
      return std::any_of(watches_.begin(), watches_.end(), [&](const auto& w) { return w->after < revision_; });
    });
  }
}

result<std::uint64_t> embedded_catalog::grant_lease(std::chrono::milliseconds ttl) {
  if (ttl.count() <= 0) return failure{errc::invalid, "a lease needs a time to live above 0"};
  std::lock_guard lock(mutex_);
  const auto id = next_lease_++;
  leases_[id] = {ttl, clock::now() + ttl, {}};
  leases_changed_.notify_all();
  return id;
}

result<void> embedded_catalog::keep_alive(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  const auto found = leases_.find(id);
  // Expired, though the lease thread may not have come to it yet: whoever comes late has lost it.
  if (found == leases_.end() || found->second.deadline <= clock::now())
    return failure{errc::not_found, "lease " + std::to_string(id) + " has ended"};
  found->second.deadline = clock::now() + found->second.ttl;
  return success();
}

result<void> embedded_catalog::revoke(std::uint64_t id) {
  std::lock_guard lock(mutex_);
  if (!leases_.contains(id)) return failure{errc::not_found, "lease " + std::to_string(id) + " has ended"};
  return end_lease(id);
}

result<void> embedded_catalog::end_lease(std::uint64_t id) {
  std::vector<catalog_write> deletes;
  for (const auto& key : leases_[id].keys) deletes.push_back({key, std::nullopt, 0});
  auto done = commit_locked({}, deletes);
  if (!done) return done.error();
  leases_.erase(id);
  return success();
}

void embedded_catalog::run_leases(std::stop_token stop) {
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const auto now = clock::now();
    auto next = clock::time_point::max();
    std::vector<std::uint64_t> expired;
    for (const auto& [id, lease] : leases_) {
      if (lease.deadline <= now)
        expired.push_back(id);
      else
        next = std::min(next, lease.deadline);
    }
    for (const auto id : expired) {
      if (auto ok = end_lease(id); !ok) {
        db_->say("the catalog cannot end lease " + std::to_string(id) + ": " + ok.error().message);
        leases_.erase(id); // the store takes no more writes; the rows go with the next start
      }
    }
    if (next == clock::time_point::max())
      leases_changed_.wait(lock, stop, [&] { return !leases_.empty(); });
    else
      leases_changed_.wait_until(lock, stop, next, [&] {
        return std::any_of(leases_.begin(), leases_.end(), [&](const auto& l) { return l.second.deadline < next; });
      });
  }
}

} // namespace millrace::storage::rocks
