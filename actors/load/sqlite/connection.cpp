#include "actors/load/sqlite/connection.hpp"

#include <algorithm>
#include <map>
#include <sys/stat.h>
#include <utility>

namespace millrace::actors::load::sqlite {
namespace {

using file_identity = std::pair<unsigned long long, unsigned long long>;

std::optional<file_identity> identity_of(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return std::nullopt;
  return file_identity{info.st_dev, info.st_ino};
}

/// All open files of the process. Held during an open, so that two loads that start together share one connection.
struct registry {
  std::mutex mutex;
  std::map<file_identity, std::weak_ptr<connection>> files;
};
registry& open_files() {
  static registry instance;
  return instance;
}

} // namespace

void statement_closer::operator()(sqlite3_stmt* s) const noexcept { owner->retire(s); }

result<connection_ptr> connection::open(const std::string& path) {
  auto& all = open_files();
  const std::lock_guard lock(all.mutex);
  std::erase_if(all.files, [](const auto& entry) { return entry.second.expired(); });
  if (const auto id = identity_of(path)) {
    if (const auto found = all.files.find(*id); found != all.files.end()) {
      if (auto known = found->second.lock(); known && !known->condemned() && known->in_place(path)) return known;
    }
  }
  auto made = open_new(path);
  if (!made) return made.error();
  all.files[{made.value()->device_, made.value()->inode_}] = made.value();
  return made;
}

result<connection_ptr> connection::open_new(const std::string& path) {
  struct stat before {};
  // Never open() the file ourselves: closing such a descriptor would drop the POSIX locks that SQLite holds on it.
  if (::stat(path.c_str(), &before) == 0 && !S_ISREG(before.st_mode))
    return make_failure(errc::refused,
                        "sqlite " + path + ": it is not a regular file; expected an SQLite 3 database or a free name");
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  db_ptr db(raw);
  if (rc != SQLITE_OK) return failure_of(raw, rc, path, "opening it");
  sqlite3_extended_result_codes(raw, 1);
  if (sqlite3_db_readonly(raw, "main") == 1)
    return make_failure(errc::refused,
                        "sqlite " + path + ": it can only be read; give the node's user write permission on the file");
  auto made = connection_ptr(new connection(path, std::move(db)));
  const auto id = identity_of(path);
  if (!id) return make_failure(errc::unavailable, "sqlite " + path + ": it was deleted while it was being opened");
  std::tie(made->device_, made->inode_) = *id;
  if (auto ok = made->configure(tuning{}); !ok) return ok.error();
  return made;
}

result<void> connection::configure(const tuning& t) {
  sqlite3_busy_timeout(db_.get(), static_cast<int>(t.busy_timeout.count()));
  // page_size counts for a file that is made now; 8 KiB wrote orders 5 to 15 % faster than 4.
  // FULL: without it a power loss may take back commits that a reader has already seen. secure_delete is on in Debian's build
  // and would zero every freed cell. journal_size_limit: a WAL that one huge transaction blew up shrinks again.
  const std::string settings =
      "PRAGMA page_size=8192; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA secure_delete=OFF;"
      "PRAGMA temp_store=MEMORY; PRAGMA cache_size=-" +
      std::to_string(t.cache_kib) + "; PRAGMA wal_autocheckpoint=" + std::to_string(t.checkpoint_pages) +
      "; PRAGMA journal_size_limit=67108864; PRAGMA recursive_triggers=ON;";
  // A file system without shared memory keeps its rollback journal: slower and blocking, but just as safe, so no error.
  return execute(settings, "setting it up");
}

connection::~connection() {
  for (auto* s : retired_) sqlite3_finalize(s);
}

bool connection::acquire(const void* owner, std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  waiting_.push_back(owner);
  const bool mine = turn_.wait_for(lock, limit, [&] { return !holder_ && waiting_.front() == owner; });
  std::erase(waiting_, owner);
  if (mine) {
    holder_ = owner;
    lock.unlock();
    finalize_retired();
  } else {
    lock.unlock();
    turn_.notify_all(); // whoever stood behind us may be first now
  }
  return mine;
}

void connection::release(const void* owner) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (holder_ != owner) return;
    holder_ = nullptr;
  }
  turn_.notify_all();
}

bool connection::in_place(const std::string& path) const noexcept {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_;
}

void connection::condemn() noexcept {
  const std::lock_guard lock(mutex_);
  condemned_ = true;
}

bool connection::condemned() const noexcept {
  const std::lock_guard lock(mutex_);
  return condemned_;
}

result<statement> connection::prepare(std::string_view sql, std::string_view doing) {
  sqlite3_stmt* raw = nullptr;
  const int rc =
      sqlite3_prepare_v3(db_.get(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (rc != SQLITE_OK) return error(rc, doing);
  return statement(raw, statement_closer{this});
}

result<void> connection::execute(const std::string& sql, std::string_view doing) {
  const int rc = sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) return error(rc, doing);
  return success();
}

failure connection::error(int rc, std::string_view doing) {
  if ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CORRUPT) condemn();
  return failure_of(db_.get(), rc, path_, doing);
}

void connection::retire(sqlite3_stmt* s) noexcept {
  const std::lock_guard lock(mutex_);
  retired_.push_back(s);
}

void connection::finalize_retired() noexcept {
  std::vector<sqlite3_stmt*> dead;
  {
    const std::lock_guard lock(mutex_);
    dead.swap(retired_);
  }
  for (auto* s : dead) sqlite3_finalize(s);
}

} // namespace millrace::actors::load::sqlite
