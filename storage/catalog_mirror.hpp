#pragma once
// What lies under a prefix of the catalog, in memory and up to date: snapshot, watch, and both again when the history was
// trimmed.

#include "storage/catalog.hpp"

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

namespace millrace::storage {

/// Thread safe. One thread of its own. It may lag behind the catalog (for as long as that cannot be reached): whoever acts on it
/// guards the commit with the revisions read here. Revisions only rise, and every key is right for revision(), but for a commit
/// that is being taken in.
class catalog_mirror {
public:
  /// `c` must outlive it. `log`: one line when the catalog cannot be read and when it can again.
  catalog_mirror(catalog& c, std::string prefix, std::function<void(const std::string& line)> log = {});
  ~catalog_mirror();
  catalog_mirror(const catalog_mirror&) = delete;
  catalog_mirror& operator=(const catalog_mirror&) = delete;

  std::optional<catalog_entry> get(std::string_view key) const;
  std::vector<catalog_entry> list(std::string_view prefix) const;
  /// 0 until the first snapshot was taken: then nothing here means anything.
  std::uint64_t revision() const;
  /// Until revision() is at least this; false after `within`.
  bool wait_for(std::uint64_t revision, std::chrono::milliseconds within) const;

  /// `on_change` is called after a change of a key under `prefix` (and after a snapshot), on the catalog's thread or the
  /// mirror's, without locks held; it must not block. The handle ends it and waits for a running call; it must not outlive the
  /// mirror.
  struct listener {
    virtual ~listener() = default;
  };
  std::unique_ptr<listener> listen(std::string prefix, std::function<void()> on_change);

private:
  struct subscription {
    std::string prefix;
    std::function<void()> on_change;
    std::mutex calling;
    bool ended = false;
  };
  struct handle;
  void run(std::stop_token stop);
  void apply(std::uint64_t revision, const std::string& key, const std::optional<std::string>& value);
  void install(catalog_listing listing);
  void tell(std::string_view key) const; ///< empty: everybody

  catalog& catalog_;
  const std::string prefix_;
  const std::function<void(const std::string&)> log_;
  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  std::map<std::string, catalog_entry, std::less<>> entries_;
  std::uint64_t revision_ = 0;
  bool trimmed_ = false;
  std::vector<std::shared_ptr<subscription>> listeners_;
  std::jthread thread_; ///< last: it uses everything above
};

} // namespace millrace::storage
