#pragma once
// Everything a node keeps on its disk: one RocksDB with a column family for each partition's log, and the embedded catalog.

#include "storage/catalog.hpp"
#include "storage/partition_log.hpp"
#include "storage/replica_log.hpp"

#include <filesystem>

namespace millrace::storage {

struct store_options {
  std::filesystem::path directory;
  /// Refuse appends (no_space) below this many free bytes on the file system; 0: the smaller of 512 MiB and 5 % of it.
  /// Never less than a log's memtable and 16 MiB (48 MiB by default), which a start after a kill may have to write.
  std::uint64_t disk_reserve_bytes = 0;
  std::size_t memory_bytes = 128u << 20; ///< memtables, block cache and tail caches together
  /// RocksDB's own words, warnings and above; called on any thread. Never RocksDB's default info log: it aborts on a full disk.
  std::function<void(std::string_view line)> on_message = {};
};

struct partition_options {
  codec compression = codec::zstd;
  std::string node = {};              ///< who leads, for the partition's record
  std::size_t tail_bytes = 16u << 20; ///< fresh entries kept in memory for tail readers
};

/// One object, by both of its faces.
struct replica_partition {
  std::shared_ptr<partition_log> log;
  std::shared_ptr<replica_log> replica;
};

/// Owner: runtime/ creates it, actors share it. Thread safe; one process a directory (RocksDB's lock file sees to it).
/// Errors of open(): io_failed; corrupt (a damaged file, with its name); the text says what an operator can do.
class node_store {
public:
  virtual ~node_store() = default;
  static result<std::shared_ptr<node_store>> open(const store_options& options);

  virtual storage::catalog& catalog() = 0;
  /// Opens or creates a partition and takes a new epoch: compare-and-swap on its record, then the epoch marker as the first
  /// entry. Opening a partition that is open in this process gives the same object and epoch.
  /// Errors: corrupt (this partition only; others open), no_space, io_failed.
  virtual result<std::shared_ptr<partition_log>> open_log(const std::string& pipeline_uid, std::uint32_t partition,
                                                          const partition_options& options) = 0;
  /// Opens or creates this node's replica of a partition. The caller owns the partition's record; the catalog here is not
  /// asked. A new one has no log (id 0) until reset(). The stored high watermark may be old, and everything is refused that the
  /// replica_log's header refuses.
  /// Errors: corrupt: a damaged copy (replication.md section 10), see reject_replica(); invalid: a single node's log;
  /// conflict: open as one; no_space, io_failed.
  virtual result<replica_partition> open_replica(const std::string& pipeline_uid, std::uint32_t partition,
                                                 const partition_options& options) = 0;
  /// Drops a replica with its state and dead letters, readable or not, so that open_replica() begins with an empty new store:
  /// a copy from the leader must follow. It must not be in use. Repeatable after a crash in the middle.
  virtual result<void> reject_replica(const std::string& pipeline_uid, std::uint32_t partition) = 0;
  /// The partition if it is open in this process, else null.
  virtual std::shared_ptr<partition_log> opened(const std::string& pipeline_uid, std::uint32_t partition) const = 0;
  virtual result<std::shared_ptr<dead_letter_table>> dead_letters(const std::string& pipeline_uid, std::uint32_t partition) = 0;
  /// Drops logs, state and dead letters of a deleted pipeline. Its partitions must not be in use.
  virtual result<void> drop_pipeline(const std::string& pipeline_uid) = 0;

  struct disk_space {
    std::uint64_t free_bytes = 0, reserve_bytes = 0, total_bytes = 0;
  };
  virtual disk_space space() const = 0;
};

} // namespace millrace::storage
