#pragma once
// Small values under compare-and-swap, with watches and leases. Embedded (RocksDB) on a single node; etcd in a cluster.

#include "storage/result.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::storage {

struct catalog_entry {
  std::string key, value;
  std::uint64_t create_revision = 0;
  std::uint64_t mod_revision = 0;
};

/// Everything under a prefix, as it was at one revision: a watch() after it misses nothing and repeats nothing.
struct catalog_listing {
  std::vector<catalog_entry> entries; ///< by key
  std::uint64_t revision = 0;
};

/// What must hold of a key for a commit to happen. `{key, r}`: its mod revision is r; 0 means that the key must not exist.
struct catalog_guard {
  enum class compare : std::uint8_t { mod_equal, create_equal, create_not_equal };
  std::string key;
  std::uint64_t revision = 0;
  compare how = compare::mod_equal;
  /// The key was created at `r` and has existed since: a node's session goes on. 0: it does not exist.
  static catalog_guard created_at(std::string key, std::uint64_t r) { return {std::move(key), r, compare::create_equal}; }
  /// The key is absent or was created at another revision than `r`, which is above 0: that session is over.
  static catalog_guard not_created_at(std::string key, std::uint64_t r) { return {std::move(key), r, compare::create_not_equal}; }
};
struct catalog_write {
  std::string key;
  std::optional<std::string> value; ///< none: delete
  std::uint64_t lease = 0;          ///< 0: no lease
};

/// Thread safe; calls may block for as long as the implementation waits for its server. Any of them may say `unavailable`: it
/// cannot be reached now, nothing was done, try again later. Every change is one linearizable transaction with one revision;
/// revisions only rise.
class catalog {
public:
  virtual ~catalog() = default;
  virtual result<std::optional<catalog_entry>> get(std::string_view key) = 0;
  virtual result<catalog_listing> snapshot(std::string_view prefix) = 0;
  result<std::vector<catalog_entry>> list(std::string_view prefix) {
    auto all = snapshot(prefix);
    if (!all) return all.error();
    return std::move(all.value().entries);
  }
  /// All writes or none, once; gives its revision (if nothing changed, as when absent keys are deleted, the present one or a new
  /// one). Errors: conflict if a guard does not hold; not_found if a lease has ended; invalid for a key written twice; io_failed;
  /// unavailable: nothing was done; unknown_outcome: it was done, or not, or may still be: read again.
  virtual result<std::uint64_t> commit(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes) = 0;

  /// The newest revision. Taken before a list(), it is what a watch() after that list begins with.
  virtual result<std::uint64_t> revision() = 0;

  /// Called for each change under `prefix` after revision `after`, in order, on a thread of the catalog; none missed.
  /// A deleted key has no value. Destroying the handle ends the watch and waits for a running call (but a call may destroy its
  /// own handle); it must not outlive the catalog. A slow watcher delays the others. A watch goes on by itself, from where it
  /// was, when the catalog was out of reach; if meanwhile the history was trimmed past that point, `on_trimmed` is called once,
  /// on the same thread, and then nothing more: take a snapshot() and watch again (catalog_mirror does).
  /// Errors: trimmed if the history no longer goes back to `after`; unavailable.
  struct watch_handle {
    virtual ~watch_handle() = default;
  };
  using watcher = std::function<void(std::uint64_t revision, const std::string& key, const std::optional<std::string>& value)>;
  virtual result<std::unique_ptr<watch_handle>> watch(std::string_view prefix, std::uint64_t after, watcher on_change,
                                                      std::function<void()> on_trimmed) = 0;

  /// Keys written with a lease vanish when it is not kept alive for `ttl`. In the embedded catalog also at process end.
  virtual result<std::uint64_t> grant_lease(std::chrono::milliseconds ttl) = 0;
  /// Errors: not_found once it has ended: take a new one.
  virtual result<void> keep_alive(std::uint64_t lease) = 0;
  virtual result<void> revoke(std::uint64_t lease) = 0;
};

} // namespace millrace::storage
