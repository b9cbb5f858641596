#pragma once
// ONE connection a database file and process, shared by all loads that write to it, one transaction at a time.

#include "actors/load/sqlite/handle.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace millrace::actors::load::sqlite {

class connection;
/// Hands a statement back to its connection, which finalizes it when no other thread uses the handle.
struct statement_closer {
  connection* owner = nullptr;
  void operator()(sqlite3_stmt* s) const noexcept;
};
using statement = std::unique_ptr<sqlite3_stmt, statement_closer>;

/// Why shared: SQLite 3.7.0 to 3.51.2 can corrupt a file when one connection resets the WAL beside a checkpoint of another.
/// With one connection, which both writes and checkpoints, the race cannot happen (readers with connections of their own, in
/// any process, do neither). What lost: a rollback journal (every reader would block every commit), and a connection a load
/// behind a mutex (the checkpoint of a closing one is outside of it).
/// Owner: the loads' destinations hold it by shared_ptr; the last one closes it. The handle is opened without SQLite's own
/// mutex: everything but open(), in_place(), condemn() and condemned() needs acquire() first.
class connection {
public:
  struct tuning {
    std::chrono::milliseconds busy_timeout{500}; ///< how long another PROCESS may keep us waiting before we say unavailable
    /// Page cache, KiB. 32 MiB hold the upper levels of the B-trees of a table of 10 million orders; a node may write several
    /// files inside 400 MiB of memory.
    int cache_kib = 32 * 1024;
    /// Pages in the WAL before a commit checkpoints, about 64 MiB: measured in actors/load/README.md, "Decisions".
    int checkpoint_pages = 8192;
  };

  /// The open connection of the file behind `path`, whatever name it goes by (identity is device and inode), or a new one.
  /// Errors: unavailable, refused.
  static result<std::shared_ptr<connection>> open(const std::string& path);
  ~connection();
  connection(const connection&) = delete;
  connection& operator=(const connection&) = delete;

  /// Waits for its turn, first come first served; false if `limit` ran out. Not tied to a thread: an owner may be destroyed
  /// elsewhere.
  bool acquire(const void* owner, std::chrono::milliseconds limit);
  void release(const void* owner) noexcept;

  sqlite3* db() const noexcept { return db_.get(); }
  const std::string& path() const noexcept { return path_; }

  /// `path` still leads to the file that is open. False once it was deleted, renamed or replaced: what is written then would
  /// go to a file that nobody can see.
  bool in_place(const std::string& path) const noexcept;
  /// After an I/O error the handle's idea of the file cannot be trusted: the next open() makes a new one.
  void condemn() noexcept;
  bool condemned() const noexcept;

  result<statement> prepare(std::string_view sql, std::string_view doing);
  /// For statements without parameters, off the hot path.
  result<void> execute(const std::string& sql, std::string_view doing);
  failure error(int rc, std::string_view doing);

private:
  connection(std::string path, db_ptr db) : path_(std::move(path)), db_(std::move(db)) {}
  static result<std::shared_ptr<connection>> open_new(const std::string& path);
  result<void> configure(const tuning& t);
  friend struct statement_closer;
  void retire(sqlite3_stmt* s) noexcept;
  void finalize_retired() noexcept;

  std::string path_;
  db_ptr db_;
  unsigned long long device_ = 0, inode_ = 0;

  mutable std::mutex mutex_; // of everything below
  std::condition_variable turn_;
  std::deque<const void*> waiting_;
  const void* holder_ = nullptr;
  std::vector<sqlite3_stmt*> retired_;
  bool condemned_ = false;
};
using connection_ptr = std::shared_ptr<connection>;

} // namespace millrace::actors::load::sqlite
