#pragma once
// The node's RocksDB: its settings, its column families, and the one rule for writes that fail. Only rocks/ includes this.

#include "storage/node_store.hpp"
#include "storage/rocks/damage_listener.hpp"

#include <rocksdb/db.h>

#include <atomic>
#include <map>
#include <mutex>

namespace millrace::storage::rocks {

/// How store_options::memory_bytes is shared out; README.md says why.
struct memory_plan {
  std::size_t memtables = 0;    ///< all column families together
  std::size_t log_memtable = 0; ///< one partition: the size of its files
  std::size_t block_cache = 0;  ///< also holds the files' indexes
  std::size_t tails = 0;        ///< fresh entries of all partitions together
};
memory_plan plan_memory(std::size_t bytes);

/// Settings by role; log_bench takes the same for its baseline.
rocksdb::DBOptions database_settings(const memory_plan& plan);
rocksdb::ColumnFamilyOptions log_settings(const memory_plan& plan, const std::shared_ptr<rocksdb::Cache>& cache);
rocksdb::ColumnFamilyOptions table_settings(const std::shared_ptr<rocksdb::Cache>& cache);

/// Source: the files below `directory`. Owner: shared by the store, its logs and tables; closed with the last of them.
/// Thread safe. After a failed write every later one fails: what reached the disk is unknown until it is read back, so the
/// process must end.
class database {
public:
  static result<std::shared_ptr<database>> open(const store_options& options);
  ~database();
  database(const database&) = delete;
  database& operator=(const database&) = delete;

  rocksdb::DB& db() noexcept { return *db_; }
  rocksdb::ColumnFamilyHandle* meta() const noexcept { return meta_; }
  rocksdb::ColumnFamilyHandle* letters() const noexcept { return letters_; }
  rocksdb::ColumnFamilyHandle* catalog() const noexcept { return catalog_; }
  const memory_plan& memory() const noexcept { return memory_; }
  const std::filesystem::path& directory() const noexcept { return directory_; }

  /// Null if there is none.
  rocksdb::ColumnFamilyHandle* log_family(const std::string& name) const;
  std::vector<std::string> log_families() const;
  result<rocksdb::ColumnFamilyHandle*> create_log_family(const std::string& name);
  /// Nobody may use the handle any more.
  result<void> drop_log_family(const std::string& name);

  enum class durability { synced, buffered };
  /// `what` names the write in errors.
  result<void> write(rocksdb::WriteBatch& batch, durability d, std::string_view what);
  /// Makes memtables files; waits.
  result<void> flush(rocksdb::ColumnFamilyHandle* family, std::string_view what);

  /// Data stops at the reserve; control entries (quarantine, redrive, rewind, epoch markers) at an eighth of it, so that loads
  /// can drain a node that takes no more data; rows of offsets and the catalog are never refused.
  enum class use { data, control };
  result<void> check_space(use u, std::uint64_t bytes, std::string_view what) const;
  node_store::disk_space space() const;

  void say(std::string_view line) const;

private:
  database() = default;
  failure failed_write(const rocksdb::Status& status, std::string_view what);
  /// After a compaction met damage: logs keep their files where they are until the next start.
  void settle_damage();
  result<void> refuse_if_failed() const;

  std::filesystem::path directory_;
  std::function<void(std::string_view)> on_message_;
  memory_plan memory_;
  std::uint64_t reserve_bytes_ = 0;
  std::shared_ptr<rocksdb::Cache> cache_;
  std::shared_ptr<damage_listener> damage_;
  std::unique_ptr<rocksdb::DB> db_;
  rocksdb::ColumnFamilyHandle* default_ = nullptr;
  rocksdb::ColumnFamilyHandle* meta_ = nullptr;
  rocksdb::ColumnFamilyHandle* letters_ = nullptr;
  rocksdb::ColumnFamilyHandle* catalog_ = nullptr;
  mutable std::mutex families_mutex_;
  std::map<std::string, rocksdb::ColumnFamilyHandle*> logs_;

  std::atomic<bool> failed_{false};
  mutable std::mutex failure_mutex_;
  std::string first_failure_;
};

/// corrupt or io_failed, with RocksDB's text. `where` says what was being read.
failure read_failure(const rocksdb::Status& status, std::string_view where);

/// Column family of a partition's log: "log/UID/PARTITION".
std::string log_family_name(std::string_view uid, std::uint32_t partition);

} // namespace millrace::storage::rocks
