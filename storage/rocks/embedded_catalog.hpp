#pragma once
// The catalog of a single node, in the `catalog` column family.
//   'k' KEY        -> schemas::CatalogRow
//   'h' REV(be64)  -> schemas::CatalogEvents, the newest `history_kept` revisions
//   'r'            -> be64, the newest revision
//
//   commit ──synced write──> recent_ ──> watch thread ──> watchers, each at its own revision
//   lease thread: deletes the keys of leases that were not kept alive

#include "storage/catalog.hpp"
#include "storage/rocks/database.hpp"

#include <condition_variable>
#include <deque>
#include <set>
#include <thread>

namespace millrace::storage::rocks {

class embedded_catalog final : public catalog {
public:
  /// Keys with a lease from an earlier process are deleted first.
  static result<std::unique_ptr<embedded_catalog>> open(std::shared_ptr<database> db);
  ~embedded_catalog() override;

  result<std::optional<catalog_entry>> get(std::string_view key) override;
  result<catalog_listing> snapshot(std::string_view prefix) override;
  result<std::uint64_t> commit(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes) override;
  result<std::uint64_t> revision() override;
  result<std::unique_ptr<watch_handle>> watch(std::string_view prefix, std::uint64_t after, watcher on_change,
                                              std::function<void()> on_trimmed) override;
  result<std::uint64_t> grant_lease(std::chrono::milliseconds ttl) override;
  result<void> keep_alive(std::uint64_t lease) override;
  result<void> revoke(std::uint64_t lease) override;

private:
  using clock = std::chrono::steady_clock;
  struct event {
    std::string key;
    std::optional<std::string> value;
  };
  struct revision_events {
    std::uint64_t revision = 0;
    std::vector<event> events;
  };
  struct lease {
    std::chrono::milliseconds ttl{};
    clock::time_point deadline;
    std::set<std::string> keys;
  };
  struct subscription {
    std::string prefix;
    std::uint64_t after = 0;
    watcher on_change;
    std::atomic<bool> ended{false}; ///< also read while a call runs without the lock
    bool running = false;
    subscription(std::string p, std::uint64_t a, watcher w) : prefix(std::move(p)), after(a), on_change(std::move(w)) {}
  };
  struct handle;
  struct row;

  explicit embedded_catalog(std::shared_ptr<database> db) : db_(std::move(db)) {}
  result<void> load();
  result<std::optional<row>> read(std::string_view key) const;
  /// The caller holds mutex_.
  result<std::uint64_t> commit_locked(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes);
  result<void> end_lease(std::uint64_t id);
  void forget_seen();
  void run_watches(std::stop_token stop);
  void run_leases(std::stop_token stop);
  /// Delivers to one subscription what it has not seen; gives whether there was any.
  bool deliver(std::unique_lock<std::mutex>& lock, const std::shared_ptr<subscription>& to);
  void end_watch(const std::shared_ptr<subscription>& ended);

  const std::shared_ptr<database> db_;
  std::mutex mutex_; ///< of all that follows
  std::uint64_t revision_ = 0;
  std::uint64_t compacted_ = 0; ///< events up to this revision are gone
  std::deque<revision_events> recent_;
  std::vector<std::shared_ptr<subscription>> watches_;
  std::condition_variable_any changed_; ///< a revision, a new or an ended watch
  std::condition_variable_any idle_;    ///< a call of a watcher returned
  std::map<std::uint64_t, lease> leases_;
  std::map<std::string, std::uint64_t, std::less<>> lease_of_;
  std::uint64_t next_lease_ = 1;
  std::condition_variable_any leases_changed_;

  std::jthread watch_thread_, lease_thread_; ///< last: they use everything above
};

} // namespace millrace::storage::rocks
