// Why each setting is as it is: design/faults.md section 1 (measured on this version) and storage/README.md.
#include "storage/rocks/database.hpp"

#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_buffer_manager.h>

#include <algorithm>

namespace millrace::storage::rocks {
namespace {
constexpr std::size_t mib = 1u << 20;
}

memory_plan plan_memory(std::size_t bytes) {
  bytes = std::max(bytes, 8 * mib);
  memory_plan plan;
  plan.memtables = bytes / 2;
  // One being filled and one being flushed must fit. Larger than 32 MiB gains nothing: the log's files only become larger.
  plan.log_memtable = std::min(32 * mib, plan.memtables / 2);
  plan.tails = bytes / 4;
  plan.block_cache = bytes / 8; // the last eighth: buffers of readers and of the WAL
  return plan;
}

rocksdb::DBOptions database_settings(const memory_plan& plan) {
  rocksdb::DBOptions o;
  o.create_if_missing = true;
  o.create_missing_column_families = true;
  o.paranoid_checks = true;
  // A torn tail is what a crash leaves; anything else wrong in a WAL refuses to open instead of cutting the log short.
  o.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  o.max_bgerror_resume_count = 0; // a failed write ends the process; resuming behind our back leaves families inconsistent
  o.recycle_log_file_num = 0;
  o.avoid_flush_during_recovery = true; // a node must start on a full disk, to say that it is full
  o.wal_compression = rocksdb::kNoCompression;
  o.manual_wal_flush = false;
  o.wal_bytes_per_sync = 0;
  o.bytes_per_sync = mib; // files are written out as they grow: no burst of a whole file in the way of the WAL's sync
  o.db_write_buffer_size = plan.memtables;
  // Bounds what a start after a kill replays, and how long a family that is hardly written to keeps WALs alive.
  o.max_total_wal_size = plan.memtables + plan.memtables / 2;
  o.max_open_files = 1024; // and so a start opens a few files, not all
  o.max_background_jobs = 3;
  o.max_manifest_file_size = 16 * mib;
  o.skip_stats_update_on_db_open = true;
  o.stats_dump_period_sec = 0;
  o.stats_persist_period_sec = 0;
  o.keep_log_file_num = 1;
  return o;
}

rocksdb::ColumnFamilyOptions log_settings(const memory_plan& plan, const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions o;
  o.write_buffer_size = plan.log_memtable;
  o.max_write_buffer_number = 2;
  o.arena_block_size = 64u << 10;          // many idle partitions must not hold a megabyte each
  o.compression = rocksdb::kNoCompression; // entries are compressed already
  // Keys only grow: each file goes to the next level by a move, where retention can drop it, and is never rewritten.
  o.num_levels = 2;
  o.level0_file_num_compaction_trigger = 1;
  o.level0_slowdown_writes_trigger = 64;
  o.level0_stop_writes_trigger = 128;
  o.max_bytes_for_level_base = std::uint64_t{1} << 50;
  o.ttl = 0; // the default rewrites files after 30 days
  o.periodic_compaction_seconds = 0;
  // Nothing to compact is no debt: the defaults would slow writers down once the last level is large.
  o.soft_pending_compaction_bytes_limit = 0;
  o.hard_pending_compaction_bytes_limit = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true; // indexes of a large log are bounded, too
  table.pin_l0_filter_and_index_blocks_in_cache = false;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return o;
}

rocksdb::ColumnFamilyOptions table_settings(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions o;
  o.write_buffer_size = 4 * mib;
  o.max_write_buffer_number = 2;
  o.arena_block_size = 64u << 10;
  o.compression = rocksdb::kLZ4Compression;
  o.target_file_size_base = 16 * mib;
  o.max_bytes_for_level_base = 64 * mib;
  o.ttl = 0;
  o.periodic_compaction_seconds = 0;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.cache_index_and_filter_blocks = true;
  table.checksum = rocksdb::kXXH3;
  table.format_version = 5;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  o.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return o;
}

} // namespace millrace::storage::rocks
