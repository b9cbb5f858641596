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

/// One guard: the key's mod revision must be this; 0 means that the key must not exist.
struct catalog_guard {
  std::string key;
  std::uint64_t mod_revision = 0;
};
struct catalog_write {
  std::string key;
  std::optional<std::string> value; ///< none: delete
  std::uint64_t lease = 0;          ///< 0: no lease
};

/// Thread safe. Every change is one linearizable transaction with one revision; revisions only rise.
class catalog {
public:
  virtual ~catalog() = default;
  virtual result<std::optional<catalog_entry>> get(std::string_view key) = 0;
  virtual result<std::vector<catalog_entry>> list(std::string_view prefix) = 0;
  /// All writes or none; gives the new revision (the present one if nothing changed: deletes of absent keys).
  /// Errors: conflict if a guard does not hold; not_found if a lease has ended; invalid for a key written twice; io_failed.
  virtual result<std::uint64_t> commit(const std::vector<catalog_guard>& guards, const std::vector<catalog_write>& writes) = 0;

  /// The newest revision. Taken before a list(), it is what a watch() after that list begins with.
  virtual result<std::uint64_t> revision() = 0;

  /// Called for each change under `prefix` after revision `after`, in order, on a thread of the catalog; none missed.
  /// A deleted key has no value. Destroying the handle ends the watch and waits for a running call (but a call may destroy its
  /// own handle); it must not outlive the catalog. A slow watcher delays the others.
  /// Errors: trimmed if the history no longer goes back to `after`: list again, and watch from revision().
  struct watch_handle {
    virtual ~watch_handle() = default;
  };
  using watcher = std::function<void(std::uint64_t revision, const std::string& key, const std::optional<std::string>& value)>;
  virtual result<std::unique_ptr<watch_handle>> watch(std::string_view prefix, std::uint64_t after, watcher on_change) = 0;

  /// Keys written with a lease vanish when it is not kept alive for `ttl`. In the embedded catalog also at process end.
  virtual result<std::uint64_t> grant_lease(std::chrono::milliseconds ttl) = 0;
  /// Errors: not_found once it has ended: take a new one.
  virtual result<void> keep_alive(std::uint64_t lease) = 0;
  virtual result<void> revoke(std::uint64_t lease) = 0;
};

} // namespace millrace::storage
